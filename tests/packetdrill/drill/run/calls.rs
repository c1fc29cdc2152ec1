//! System calls: what the script's arguments mean, and whether the answer is
//! right.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::super::ast::{self, Arg, Event, Expected, Span};
use super::super::constants::errno_name;
use super::super::target::{Call, Fd, OptionValue, Outcome};
use super::conn::stream;
use super::report::seconds;
use super::{DEFAULT_PORT, Open, Result, Runner, Stop, Window, failed};

/// What the runner knows of a descriptor.
#[derive(Clone, Copy, Debug)]
struct File {
    live: Fd,
    /// Bytes read and written so far: where in the stream the next ones are.
    read: u32,
    written: u32,
    v6: bool,
}

/// The descriptors of a script, by the numbers that it gives them.
#[derive(Debug, Default)]
pub struct Files {
    files: BTreeMap<i64, File>,
    port: Option<u16>,
    /// The one that was last connected or accepted.
    connection: Option<i64>,
}

impl Files {
    /// The port that the script's last `bind` or `listen` was for.
    pub fn listening_port(&self) -> Option<u16> {
        self.port
    }

    /// The target's descriptor of the connection that was made last.
    pub fn connection(&self) -> Option<Fd> {
        let fd = self.connection?;
        self.files.get(&fd).map(|f| f.live)
    }
}

/// What to do with an answer.
#[derive(Clone, Debug)]
pub struct Prepared<'a> {
    call: Call,
    /// The script's call.
    script: &'a ast::Call,
    /// The script's descriptor.
    fd: Option<i64>,
    /// What `poll` is to say about each.
    revents: Vec<Option<i16>>,
    /// What an option or `ioctl` is to say.
    value: Option<OptionValue>,
    /// Whether a new descriptor is a connection's.
    v6: bool,
}

/// A call's arguments, one after the other.
struct Args<'a> {
    name: &'a str,
    args: &'a [Arg],
}

impl Args<'_> {
    fn unsupported(&self, what: &str) -> Stop {
        Stop::Unsupported(format!("{}: {what}", self.name))
    }

    fn get(&self, at: usize) -> Result<&Arg> {
        let missing = || self.unsupported("an argument is missing");
        self.args.get(at).ok_or_else(missing)
    }

    fn int(&self, at: usize) -> Result<i64> {
        let arg = self.get(at)?;
        arg.int()
            .ok_or_else(|| self.unsupported(&format!("argument {} is no number", at + 1)))
    }

    /// A number, or `default` for `...` or nothing.
    fn int_or(&self, at: usize, default: i64) -> Result<i64> {
        match self.args.get(at) {
            None | Some(Arg::Any) => Ok(default),
            Some(_) => self.int(at),
        }
    }

    fn narrow<T: TryFrom<i64>>(&self, at: usize) -> Result<T> {
        T::try_from(self.int(at)?).map_err(|_| self.unsupported("a number is out of range"))
    }
}

impl<'a> Runner<'a> {
    /// Makes a call.
    pub(super) fn call(
        &mut self,
        event: &'a Event,
        script: &'a ast::Call,
        window: Window,
    ) -> Result<()> {
        let call = self.prepare(script)?;
        let now = self.target.now();
        let text = &event.text[event.text.find(&script.name).unwrap_or(0)..];
        self.table.did(now, event.line, text.to_owned());
        let id = self.target.call(&call.call);
        let (due, tolerance) = match event.when.span {
            Span::Blocking(from, to) => {
                let lasts = to.saturating_sub(from);
                (window.from + lasts, self.tolerance(lasts))
            }
            _ => (now, self.tolerance.0),
        };
        let blocks = matches!(event.when.span, Span::Blocking(..));
        self.open.push(Open {
            id,
            event,
            call,
            due,
            tolerance,
        });
        self.answers()?;
        if blocks {
            return Ok(());
        }
        let latest = due + tolerance;
        while self.open.iter().any(|o| o.id == id) {
            if self.target.now() >= latest {
                return Err(failed(
                    "the call blocks",
                    show_expected(&script.result),
                    format!("no answer by {}", seconds(self.target.now())),
                ));
            }
            self.target.advance(latest);
            self.drain();
            self.answers()?;
        }
        Ok(())
    }

    /// Looks at the calls that have answered.
    pub(super) fn answers(&mut self) -> Result<()> {
        let mut i = 0;
        while i < self.open.len() {
            let Some((at, outcome)) = self.target.finished(self.open[i].id) else {
                i += 1;
                continue;
            };
            let open = self.open.remove(i);
            if let Some(what) = &outcome.unsupported {
                return Err(Stop::Unsupported(what.clone()));
            }
            let blocked = matches!(open.event.when.span, Span::Blocking(..));
            if blocked {
                let text = format!(
                    "{} returns {}",
                    open.call.script.name,
                    show_outcome(&outcome)
                );
                self.table.did(at, open.event.line, text);
            }
            self.judge_answer(&open, &outcome)
                .map_err(|e| e.at(open.event))?;
            let early = at + open.tolerance < open.due;
            if early || at > open.due + open.tolerance {
                let (due, came) = (seconds(open.due), seconds(at));
                let stop = failed(
                    "the call returns at another time",
                    format!("at {due}"),
                    format!("at {came}"),
                );
                return Err(stop.at(open.event));
            }
        }
        Ok(())
    }

    /// The call with the target's descriptors, and what it is to answer.
    fn prepare(&mut self, script: &'a ast::Call) -> Result<Prepared<'a>> {
        let args = Args {
            name: &script.name,
            args: &script.args,
        };
        let mut prepared = Prepared {
            call: Call::Close { fd: -1 },
            script,
            fd: None,
            revents: Vec::new(),
            value: None,
            v6: false,
        };
        let fd = |runner: &Self, at: usize| -> Result<Fd> {
            let fd = args.int(at)?;
            // A number that is no descriptor is passed on: EBADF.
            Ok(runner.files.files.get(&fd).map_or(-1, |f| f.live))
        };
        let no = |what: &str| args.unsupported(what);
        let call = match script.name.as_str() {
            "socket" => {
                let kind = args.int(1)? as i32;
                if kind & 0xf != libc::SOCK_STREAM {
                    return Err(no("other than SOCK_STREAM"));
                }
                let family = args.int_or(0, 0)? as i32;
                prepared.v6 = match family {
                    0 => self.target.ends().local.is_ipv6(),
                    family => family == libc::AF_INET6,
                };
                Call::Socket {
                    v6: prepared.v6,
                    nonblocking: kind & libc::SOCK_NONBLOCK != 0,
                }
            }
            "bind" | "connect" => {
                let to = self.address(&args, script.name == "bind")?;
                if script.name == "bind" {
                    self.files.port = Some(to.port());
                    Call::Bind {
                        fd: fd(self, 0)?,
                        at: to,
                    }
                } else {
                    Call::Connect {
                        fd: fd(self, 0)?,
                        to,
                    }
                }
            }
            "listen" => Call::Listen {
                fd: fd(self, 0)?,
                backlog: args.narrow(1)?,
            },
            "accept" | "accept4" => Call::Accept {
                fd: fd(self, 0)?,
                nonblocking: args.int_or(3, 0)? as i32 & libc::SOCK_NONBLOCK != 0,
            },
            "read" | "recv" | "recvfrom" | "readv" | "recvmsg" => {
                let (len, flags) = match script.name.as_str() {
                    "read" => (args.int(2)?, 0),
                    "readv" => (vector(args.get(1)?).ok_or_else(|| no("its vector"))?, 0),
                    "recvmsg" => (message(&args)?, args.int_or(2, 0)?),
                    _ => (args.int(2)?, args.int_or(3, 0)?),
                };
                Call::Read {
                    fd: fd(self, 0)?,
                    len: usize::try_from(len).map_err(|_| no("a length below zero"))?,
                    flags: flags as i32,
                }
            }
            "write" | "send" | "sendto" | "writev" | "sendmsg" => {
                let (len, flags) = match script.name.as_str() {
                    "write" => (args.int(2)?, 0),
                    "writev" => (vector(args.get(1)?).ok_or_else(|| no("its vector"))?, 0),
                    "sendmsg" => (message(&args)?, args.int_or(2, 0)?),
                    _ => (args.int(2)?, args.int_or(3, 0)?),
                };
                let len = u32::try_from(len).map_err(|_| no("its length"))?;
                let file = self.files.files.get(&args.int(0)?);
                Call::Write {
                    fd: fd(self, 0)?,
                    data: stream(file.map_or(0, |f| f.written), len),
                    flags: flags as i32,
                }
            }
            "shutdown" => Call::Shutdown {
                fd: fd(self, 0)?,
                how: args.narrow(1)?,
            },
            "close" => Call::Close { fd: fd(self, 0)? },
            "fcntl" => Call::Fcntl {
                fd: fd(self, 0)?,
                command: args.narrow(1)?,
                argument: args.int_or(2, 0)? as i32,
            },
            "poll" => {
                let Arg::List(list) = args.get(0)? else {
                    return Err(no("its list"));
                };
                let mut fds = Vec::new();
                for entry in list {
                    let field = |name| entry.field(name).and_then(Arg::int);
                    let fd = field("fd").ok_or_else(|| no("fd"))?;
                    let live = self.files.files.get(&fd).map_or(-1, |f| f.live);
                    fds.push((live, field("events").unwrap_or(0) as i16));
                    prepared.revents.push(field("revents").map(|n| n as i16));
                }
                let timeout = u64::try_from(args.int(2)?).ok().map(Duration::from_millis);
                Call::Poll { fds, timeout }
            }
            "ioctl" => {
                prepared.value = args.get(2)?.int().map(|n| OptionValue::Int(n as i32));
                Call::Ioctl {
                    fd: fd(self, 0)?,
                    request: args.int(1)?,
                }
            }
            "setsockopt" => Call::SetOption {
                fd: fd(self, 0)?,
                level: args.narrow(1)?,
                name: args.narrow(2)?,
                value: value(args.get(3)?).ok_or_else(|| no("its value"))?,
            },
            "getsockopt" => {
                prepared.value = value(args.get(3)?);
                Call::GetOption {
                    fd: fd(self, 0)?,
                    level: args.narrow(1)?,
                    name: args.narrow(2)?,
                }
            }
            name => return Err(Stop::Unsupported(format!("the call {name}"))),
        };
        prepared.fd = args.args.first().and_then(Arg::int);
        prepared.call = call;
        Ok(prepared)
    }

    /// The address of `bind` and `connect`: `...` is the target's own end or
    /// the peer's, at the port of all scripts. Addresses of other networks,
    /// which foreign scripts name, are taken for these as well.
    fn address(&self, args: &Args<'_>, own: bool) -> Result<SocketAddr> {
        let ends = self.target.ends();
        let ip = if own { ends.local } else { ends.remote };
        let mut port = DEFAULT_PORT;
        let mut unspecified = false;
        if let Arg::Struct(_) = args.get(1)? {
            let field = |name| args.args[1].field(name);
            let given = field("sin_port").or_else(|| field("sin6_port"));
            if let Some(n) = given.and_then(Arg::int) {
                port = u16::try_from(n).map_err(|_| args.unsupported("its port"))?;
            }
            unspecified = match field("sin_addr").or_else(|| field("sin6_addr")) {
                Some(Arg::Int(0)) => true,
                Some(Arg::Str(text)) => text.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()),
                _ => false,
            };
        }
        Ok(match (unspecified && own, ip) {
            (false, ip) => SocketAddr::new(ip, port),
            (true, IpAddr::V4(_)) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            (true, IpAddr::V6(_)) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        })
    }

    /// Whether the answer is the script's, and what follows from it.
    fn judge_answer(&mut self, open: &Open<'_>, outcome: &Outcome) -> Result<()> {
        let script = open.call.script;
        let makes_file = matches!(open.call.call, Call::Socket { .. } | Call::Accept { .. });
        let right = match (&script.result, outcome.result) {
            (Expected::Any, _) => true,
            // Descriptors have numbers of their own at the target.
            (Expected::Value(v), Ok(_)) if makes_file => *v >= 0,
            (Expected::Value(v), Ok(n)) => *v == n,
            (Expected::Error(e, _), Err(n)) => *e == n,
            _ => false,
        };
        if !right {
            return Err(failed(
                format!("{} answers something else", script.name),
                show_expected(&script.result),
                show_outcome(outcome),
            ));
        }
        let wrong = |what: &str, expected: String, came: String| {
            Err(failed(format!("{}: {what}", script.name), expected, came))
        };
        for (i, (expected, came)) in open.call.revents.iter().zip(&outcome.revents).enumerate() {
            if expected.is_some_and(|e| e != *came) {
                return wrong(
                    &format!("revents of entry {i}"),
                    show_events(expected.unwrap_or(0)),
                    show_events(*came),
                );
            }
        }
        let gives = matches!(open.call.call, Call::GetOption { .. } | Call::Ioctl { .. });
        if gives
            && outcome.result.is_ok()
            && let Some(expected) = &open.call.value
            && !same_value(expected, outcome.value.as_ref())
        {
            return wrong(
                "the value",
                format!("{expected:?}"),
                format!("{:?}", outcome.value),
            );
        }
        self.note_answer(open, outcome, makes_file)
    }

    fn note_answer(&mut self, open: &Open<'_>, outcome: &Outcome, makes_file: bool) -> Result<()> {
        let Ok(result) = outcome.result else {
            // The attempt goes on: this is the connection to look at.
            if let Call::Connect { .. } = open.call.call {
                self.files.connection = open.call.fd;
            }
            return Ok(());
        };
        if makes_file && let Expected::Value(number) = open.call.script.result {
            let file = File {
                live: result as Fd,
                read: 0,
                written: 0,
                v6: open.call.v6,
            };
            self.files.files.insert(number, file);
            if let Call::Accept { .. } = open.call.call {
                self.files.connection = Some(number);
            }
            return Ok(());
        }
        let number = open.call.fd.unwrap_or(-1);
        let Some(file) = self.files.files.get_mut(&number) else {
            return Ok(());
        };
        match &open.call.call {
            Call::Write { .. } => file.written = file.written.wrapping_add(result as u32),
            Call::Read { flags, .. } => {
                let at = file.read;
                if flags & libc::MSG_PEEK == 0 {
                    file.read = at.wrapping_add(result as u32);
                }
                if let Some(data) = &outcome.data
                    && *data != stream(at, data.len() as u32)
                {
                    let wrong = stream(at, data.len() as u32)
                        .iter()
                        .zip(data)
                        .position(|(a, b)| a != b);
                    return Err(failed(
                        "other bytes are read than were sent",
                        format!("the stream from its byte {at}"),
                        format!("byte {:?} of {} is wrong", wrong, data.len()),
                    ));
                }
            }
            Call::Connect { .. } => self.files.connection = Some(number),
            Call::Close { .. } => {
                self.files.files.remove(&number);
                if self.files.connection == Some(number)
                    && let Some(conn) = self.current.and_then(|n| self.conns.get_mut(&n))
                {
                    conn.over = true;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Bytes of an `iovec` array: `[{..., 100}, {..., 200}]`.
fn vector(arg: &Arg) -> Option<i64> {
    let Arg::List(parts) = arg else { return None };
    let mut sum = 0;
    for part in parts {
        let Arg::Struct(fields) = part else {
            return None;
        };
        let len = part
            .field("iov_len")
            .or_else(|| fields.get(1).map(|f| &f.1));
        sum += len?.int()?;
    }
    Some(sum)
}

/// Bytes of a `msghdr` without ancillary data.
fn message(args: &Args<'_>) -> Result<i64> {
    let header = args.get(1)?;
    if let Some(Arg::List(_)) = header.field("msg_control") {
        return Err(args.unsupported("ancillary data"));
    }
    let vector = header.field("msg_iov").and_then(vector);
    vector.ok_or_else(|| args.unsupported("its message"))
}

/// The value of an option; `None` when the script does not say one.
fn value(arg: &Arg) -> Option<OptionValue> {
    match arg {
        Arg::Int(n) => Some(OptionValue::Int(*n as i32)),
        Arg::List(items) => match items.as_slice() {
            [one] => value(one),
            _ => None,
        },
        Arg::Str(text) => Some(OptionValue::Text(text.clone())),
        Arg::Struct(_) => {
            let field = |name| arg.field(name).and_then(Arg::int);
            let on = field("onoff").or_else(|| field("l_onoff"))?;
            let seconds = field("linger").or_else(|| field("l_linger"))?;
            Some(OptionValue::Linger(on as i32, seconds as i32))
        }
        Arg::Any => None,
    }
}

fn same_value(expected: &OptionValue, came: Option<&OptionValue>) -> bool {
    match (expected, came) {
        (OptionValue::Text(a), Some(OptionValue::Text(b))) => a == b,
        (a, b) => Some(a) == b,
    }
}

fn show_expected(expected: &Expected) -> String {
    match expected {
        Expected::Any => "anything".to_owned(),
        Expected::Value(n) => n.to_string(),
        Expected::Error(_, name) => format!("-1 {name}"),
    }
}

fn show_outcome(outcome: &Outcome) -> String {
    match outcome.result {
        Ok(n) => n.to_string(),
        Err(e) => format!("-1 {}", errno_name(e)),
    }
}

fn show_events(events: i16) -> String {
    const NAMES: [(&str, i16); 10] = [
        ("POLLIN", libc::POLLIN),
        ("POLLPRI", libc::POLLPRI),
        ("POLLOUT", libc::POLLOUT),
        ("POLLERR", libc::POLLERR),
        ("POLLHUP", libc::POLLHUP),
        ("POLLNVAL", libc::POLLNVAL),
        ("POLLRDNORM", libc::POLLRDNORM),
        ("POLLRDBAND", libc::POLLRDBAND),
        ("POLLWRNORM", libc::POLLWRNORM),
        ("POLLRDHUP", libc::POLLRDHUP),
    ];
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(_, bit)| events & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        "0".to_owned()
    } else {
        names.join("|")
    }
}
