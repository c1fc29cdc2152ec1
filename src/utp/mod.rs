//! The uTP machine of BEP 29, without clock, socket or thread.
//!
//! A [`Connection`] is driven from outside as one of `tcp` is, and looks the
//! same to the application: packets and deadlines come in through `handle_*`,
//! the user's wishes through mutators, and packets, deadlines and events are
//! taken out through `poll_*`. Where implementations differ,
//! `docs/conformance/utp.md` says what is done here.

mod check;
mod config;
mod connection;
mod counters;
mod delivered;
mod early;
mod emit;
mod info;
mod input;
mod loss;
mod mtu;
mod output;
mod pacing;
mod parts;
mod predict;
mod probe;
mod recv;
pub mod reset;
mod rtt;
mod send;
mod stretch;
mod timeout;
mod timers;
mod train;
mod tune;
mod user;

pub use config::Config;
pub use connection::{Connection, Setup};
pub use counters::Counters;
pub use emit::write_bare;
pub use info::Info;
pub use output::HEADERS;

pub use crate::transport::{Event, Ports, Reason};

/// State of a connection. Who listens has none: listeners live in the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// Our SYN is on its way.
    SynSent,
    /// A SYN was answered; its sender has not shown that it got the answer.
    SynReceived,
    /// Both ends may send, but for a peer whose stream has ended.
    Connected,
    /// Our stream ends: its FIN is queued, sent or acknowledged.
    Closing,
    /// Both streams have ended. What still arrives is acknowledged again.
    Lingering,
    /// Over.
    Closed,
}

impl State {
    /// Whether the peer has shown that it is where it says.
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        matches!(self, Self::Connected | Self::Closing | Self::Lingering)
    }

    /// Whether the peer may still send payload, unless its stream has ended.
    #[must_use]
    pub const fn can_receive(self) -> bool {
        matches!(self, Self::Connected | Self::Closing)
    }

    /// Whether the application may still queue payload.
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Connected)
    }
}

#[cfg(test)]
mod close_tests;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod mtu_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod peers_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;
