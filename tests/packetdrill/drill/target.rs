//! What a script is run against.
//!
//! A target is a TCP with a socket interface, at one end of a wire whose other
//! end is the runner. The runner makes and reads IP packets itself, keeps the
//! script's sequence numbers, compares and reports; a target only moves
//! packets, makes calls and lets time pass.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ast::Ecn;

/// A socket's number at the target; not the one that the script uses.
pub type Fd = i32;

/// Names a call that was begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// Something that a target can run scripts against.
///
/// One target runs one script: sockets, settings and neighbours of one must
/// not be seen by the next. Times count from the moment that the target was
/// made.
///
/// The order of calls is: any number of [`configure`](Self::configure), then
/// the others in any order; `configure` may come again.
pub trait Target {
    /// `fullbore` or `linux`: what `#if` in scripts compares with.
    fn name(&self) -> &'static str;

    /// Whether the target offers what a script `needs`, such as
    /// `virtual-time`.
    fn offers(&self, need: &str) -> bool;

    /// The two ends of the wire.
    fn ends(&self) -> Ends;

    /// Sets something that a `sysctl` of Linux sets; `name` is without
    /// `net.ipv4.`, such as `tcp_ecn`. Whether the target knows it.
    fn configure(&mut self, name: &str, value: &str) -> bool;

    /// The present.
    fn now(&mut self) -> Duration;

    /// Lets time pass until `until`, or until something can be had from
    /// [`capture`](Self::capture) or [`finished`](Self::finished) that could
    /// not before. May return early for no reason; returns at once when
    /// `until` has passed, having done all that is due by then.
    fn advance(&mut self, until: Duration);

    /// The peer sends an IP packet. It is handled at the present time, though
    /// perhaps only in the next [`advance`](Self::advance).
    fn inject(&mut self, packet: &[u8]);

    /// The next IP packet that the target has sent, and when.
    fn capture(&mut self) -> Option<(Duration, Vec<u8>)>;

    /// Begins a call. Calls that can answer at once do, so that
    /// [`finished`](Self::finished) has the answer without an `advance`;
    /// those on blocking sockets may last.
    fn call(&mut self, call: &Call) -> CallId;

    /// The answer of a call, once it has one: when, and what. Answered once.
    fn finished(&mut self, id: CallId) -> Option<(Duration, Outcome)>;

    /// `tcpi_` values of a connection, by name, in Linux's units. `None` when
    /// there is none behind `fd`.
    fn info(&mut self, fd: Fd) -> Option<Info>;
}

/// `TCP_INFO`. The keys are the C structure's, such as `tcpi_snd_cwnd`. Times
/// are in the structure's units (mostly microseconds), windows in segments
/// where Linux counts segments.
pub type Info = BTreeMap<&'static str, i64>;

/// Addresses at the two ends of the wire.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The target's address.
    pub local: IpAddr,
    /// The address that the runner plays. The target must take it for a
    /// neighbour, or a host behind one, from the beginning: no question about
    /// it appears in [`Target::capture`].
    pub remote: IpAddr,
}

/// What a target has to know before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether packets are IPv6.
    pub v6: bool,
    /// Largest IP packet, in bytes: `--mtu`.
    pub mtu: u16,
}

/// A system call. Descriptors are the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the parameters' names are POSIX's
pub enum Call {
    Socket {
        v6: bool,
        nonblocking: bool,
    },
    Bind {
        fd: Fd,
        at: SocketAddr,
    },
    Listen {
        fd: Fd,
        backlog: i32,
    },
    Accept {
        fd: Fd,
        nonblocking: bool,
    },
    Connect {
        fd: Fd,
        to: SocketAddr,
    },
    /// Also `readv`, `recv`, `recvfrom` and `recvmsg`.
    Read {
        fd: Fd,
        len: usize,
        flags: i32,
    },
    /// Also `writev`, `send`, `sendto` and `sendmsg`.
    Write {
        fd: Fd,
        data: Vec<u8>,
        flags: i32,
    },
    Shutdown {
        fd: Fd,
        how: i32,
    },
    Close {
        fd: Fd,
    },
    Fcntl {
        fd: Fd,
        command: i32,
        argument: i32,
    },
    Poll {
        fds: Vec<(Fd, i16)>,
        timeout: Option<Duration>,
    },
    /// `SIOCINQ`, `SIOCOUTQ`: the number they tell is in
    /// [`Outcome::value`].
    Ioctl {
        fd: Fd,
        request: i64,
    },
    SetOption {
        fd: Fd,
        level: i32,
        name: i32,
        value: OptionValue,
    },
    GetOption {
        fd: Fd,
        level: i32,
        name: i32,
    },
}

/// What `setsockopt` takes and `getsockopt` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// An `int`.
    Int(i32),
    /// `struct linger`: on, seconds.
    Linger(i32, i32),
    /// A string, such as the name of a congestion controller.
    Text(String),
}

/// What a call answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result, or the error's number; for [`Call::Socket`] and
    /// [`Call::Accept`] the new descriptor.
    pub result: Result<i64, i32>,
    /// What was read, unless it was thrown away (`MSG_TRUNC`).
    pub data: Option<Vec<u8>>,
    /// Of `poll`: each descriptor's `revents`, in the order of the call.
    pub revents: Vec<i16>,
    /// Of `getsockopt` and `ioctl`.
    pub value: Option<OptionValue>,
    /// The target cannot do this at all, and why: the script is skipped.
    pub unsupported: Option<String>,
}

impl Outcome {
    /// A result and nothing else.
    pub fn of(result: Result<i64, i32>) -> Self {
        Self {
            result,
            data: None,
            revents: Vec::new(),
            value: None,
            unsupported: None,
        }
    }

    /// The target cannot do it: the script is skipped.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self {
            unsupported: Some(what.into()),
            ..Self::of(Err(libc::EOPNOTSUPP))
        }
    }
}

impl Ecn {
    /// The bits; `Ect01` has no single value.
    pub fn bits(self) -> Option<u8> {
        match self {
            Ecn::None => Some(0),
            Ecn::Ect1 => Some(1),
            Ecn::Ect0 => Some(2),
            Ecn::Ce => Some(3),
            Ecn::Ect01 => None,
        }
    }
}
