//! One connection, as an engine has it.

use std::net::{IpAddr, SocketAddr};

use super::Conn;
use crate::time::Instant;
use crate::transport::Reason;
use crate::wire::template::Template;

/// A connection of one engine. A handle outlives its connection harmlessly:
/// what is asked of a connection that is gone does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Flow {
    /// Place of the connection in its engine's table: below the configured
    /// number of connections, used again after the connection has gone.
    /// Applications may keep their own state in a vector by it.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What tells connections apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// Own address.
    pub local: IpAddr,
    /// The peer's address.
    pub remote: IpAddr,
    /// Own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
}

impl Tuple {
    /// The tuple of the connection between two ends.
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: local.ip(),
            remote: remote.ip(),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    /// Own address and port.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.local_port)
    }

    /// The peer's address and port.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote, self.remote_port)
    }
}

/// What the application knows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The application connects; it has not heard the outcome.
    Connecting,
    /// A peer connects; the application has not heard of it.
    Accepting {
        /// Whose backlog it is counted in.
        listener: u32,
    },
    /// The application has it.
    Open,
    /// The application has heard the end, or never wanted it.
    Over,
}

/// Where a connection's frames go.
#[derive(Clone, Debug)]
pub struct Route {
    /// The headers below the transport.
    pub template: Template,
    /// The lower half of the interface's generation that it was found in: it is
    /// looked up again now and then anyway.
    pub generation: u32,
    /// When to look again.
    pub refresh: Instant,
}

/// A connection and what belongs to it. Whole lines of memory, so that none
/// is shared by two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Slot {
    /// The machine.
    pub conn: Conn,
    /// Its ends.
    pub tuple: Tuple,
    pub(super) generation: u32,
    /// What the application knows.
    pub phase: Phase,
    /// Where its frames go, once that is known.
    pub route: Option<Route>,
    /// Set instead of an event of the machine when it could not even begin.
    pub failed: Option<Reason>,
    /// The deadline in the engine's wheel; [`Instant::FAR`] if there is none.
    pub armed: Instant,
    /// Waits for its events to be told.
    pub in_events: bool,
    /// Waits for its segments to be sent.
    pub in_output: bool,
    /// Waits for its route.
    pub in_waiting: bool,
    /// Its application waits for frames.
    pub starved: bool,
    /// Will be asked for memory that it does not need.
    pub in_resting: bool,
    /// Its local port was claimed for it.
    pub claimed: bool,
    /// Among those that may have counted something lately.
    pub(super) fresh: bool,
    /// Differentiated Services codepoint of its packets.
    pub(super) dscp: u8,
}

impl Slot {
    /// A slot for `conn`, in none of the lists.
    #[must_use]
    pub fn new(conn: Conn, tuple: Tuple, phase: Phase) -> Self {
        Self {
            conn,
            tuple,
            generation: 0,
            phase,
            route: None,
            failed: None,
            armed: Instant::FAR,
            in_events: false,
            in_output: false,
            in_waiting: false,
            starved: false,
            in_resting: false,
            claimed: false,
            fresh: false,
            dscp: 0,
        }
    }

    /// Its frames go by this route from now on.
    pub fn set_route(&mut self, mut route: Route) {
        if self.dscp != 0 {
            route.template.set_dscp(self.dscp);
        }
        self.route = Some(route);
    }

    /// Its packets have this Differentiated Services codepoint (0 to 63) from
    /// now on (RFC 9293 section 3.9.1.9, MUST-48).
    pub fn set_dscp(&mut self, dscp: u8) {
        self.dscp = dscp;
        if let Some(route) = &mut self.route {
            route.template.set_dscp(dscp);
        }
    }

    /// The handle of this connection, whose place is `index`.
    #[inline]
    pub(super) const fn flow(&self, index: u32) -> Flow {
        Flow {
            index,
            generation: self.generation,
        }
    }

    /// Whether there may be anything to tell of it.
    #[inline]
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.conn.has_events() || self.failed.is_some()
    }

    /// Whether its events are going to be told, if there are any, and its segments
    /// sent, anyway.
    #[inline]
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.in_output && (self.in_events || !self.has_events())
    }

    /// Whether nothing is left to be done for the connection.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Over && (self.failed.is_some() || self.conn.is_done())
    }
}

/// A connection is at most this large, in bytes: there may be a million. With
/// its places in the index (17 to 34) and the timer wheel (16), and what an
/// application keeps, it stays below a kibibyte.
pub const SLOT_BUDGET: usize = 960;

// Tests count more.
#[cfg(not(test))]
const _: () = assert!(size_of::<Option<Slot>>() <= SLOT_BUDGET);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_whole_lines_of_its_own() {
        let size = size_of::<Option<Slot>>();
        assert_eq!(size, size_of::<Slot>(), "a free place costs nothing more");
        // What only tests count is one line more.
        assert!(size <= SLOT_BUDGET + 64, "{size} bytes");
        assert_eq!(align_of::<Slot>(), 64);
    }
}
