//! The TCP machine of RFC 9293, without clock, socket or thread.
//!
//! A [`Connection`] is driven from outside: segments and deadlines come in
//! through `handle_*`, the user's wishes through mutators, and segments,
//! deadlines and events are taken out through `poll_*`.

mod check;
mod config;
mod connection;
pub mod cookie;
mod counters;
mod delivered;
mod early;
mod ecn;
mod info;
mod input;
pub mod isn;
mod loss;
mod output;
mod pacing;
mod parts;
mod pmtu;
mod predict;
mod rack;
mod recv;
pub mod reset;
mod rtt;
mod send;
mod share;
mod stretch;
mod timeout;
mod timers;
mod train;
mod tune;
mod undo;
mod user;

use std::fmt;

pub use config::Config;
pub use connection::{Connection, Ports, Setup};
pub use counters::Counters;
pub use ecn::Ecn;
pub use info::{CaState, Info};
pub use output::write_bare;
pub use pmtu::MtuProbing;
pub use send::reserve;
pub use share::is_short;

/// State of a connection (RFC 9293 section 3.3.2). LISTEN is not one of a
/// connection here: listeners live in the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)] // the names are the RFC's
pub enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

impl State {
    /// Whether a connection was established and both ends agree on where the
    /// sequence space begins.
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::SynSent | Self::SynReceived | Self::Closed)
    }

    /// Whether the peer may still send payload.
    #[must_use]
    pub const fn can_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Whether the application may still queue payload.
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Reason {
    /// Both directions were closed in order.
    Finished,
    /// The peer reset it.
    Reset,
    /// The peer refused it: a reset in answer to our SYN.
    Refused,
    /// No answer within the configured time.
    TimedOut,
    /// The network answered that the peer cannot be reached.
    Unreachable,
    /// The application aborted it.
    Aborted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Reset => "connection reset by peer",
            Self::Refused => "connection refused",
            Self::TimedOut => "connection timed out",
            Self::Unreachable => "peer unreachable",
            Self::Aborted => "aborted",
        })
    }
}

/// Something that the application wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The handshake is complete.
    Connected,
    /// More payload waits.
    Readable,
    /// There is room again after the application was refused some.
    Writable,
    /// The peer's stream has ended; what came before it is readable.
    PeerClosed,
    /// It is over. Delivered once: after [`Reason::Finished`] not before
    /// everything received has been read; the connection may remain in
    /// TIME-WAIT.
    Closed(Reason),
}

#[cfg(test)]
mod arrival_tests;
#[cfg(test)]
mod bottleneck_tests;
#[cfg(test)]
mod defect_tests;
#[cfg(test)]
mod ecn_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod option_tests;
#[cfg(test)]
mod pmtu_tests;
#[cfg(test)]
mod rfc5681_tests;
#[cfg(test)]
mod rfc5927_tests;
#[cfg(test)]
mod rfc5961_tests;
#[cfg(test)]
mod rfc6298_tests;
#[cfg(test)]
mod rfc7323_tests;
#[cfg(test)]
mod rfc9293_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
