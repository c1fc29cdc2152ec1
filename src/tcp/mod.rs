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
mod single;
mod stretch;
mod timeout;
mod timers;
mod train;
mod tune;
mod undo;
mod user;

pub use config::Config;
pub use connection::{Connection, Setup};
pub use counters::Counters;
pub use ecn::Ecn;
pub use info::{CaState, Info};
pub use output::write_bare;
pub use pmtu::MtuProbing;

pub use crate::transport::{Event, Ports, Reason, is_short, reserve};

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

#[cfg(test)]
mod arrival_tests;
#[cfg(test)]
mod background_tests;
#[cfg(test)]
mod bottleneck;
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
mod share_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
