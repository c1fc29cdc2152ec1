//! What the transports have in common: what an application hears of a
//! connection, what it may queue and how that lies in frames, and how
//! connections share the frames of their engine.

pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod payload;
pub(crate) mod share;

use std::fmt;

pub use share::{is_short, reserve};

/// Ports of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ports {
    /// Ours.
    pub local: u16,
    /// The peer's.
    pub remote: u16,
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
