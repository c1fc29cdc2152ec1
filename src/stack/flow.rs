//! Connections and how they are found.

use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use super::index::Index;
use crate::stats::TcpCounters;
use crate::tcp::{Connection, Reason};
use crate::time::Instant;
use crate::wire::template::Template;

/// A connection of one engine. A handle outlives its connection harmlessly:
/// what is asked of a connection that is gone does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    index: u32,
    generation: u32,
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
    /// The headers below TCP.
    pub template: Template,
    /// The interface's generation that it was found in.
    pub generation: u64,
    /// When to look again.
    pub refresh: Instant,
}

/// A connection and what belongs to it.
#[derive(Debug)]
pub struct Slot {
    /// The machine.
    pub conn: Connection,
    /// Its ends.
    pub tuple: Tuple,
    generation: u32,
    hash: u32,
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
    /// Its local port was claimed for it.
    pub claimed: bool,
    /// Differentiated Services codepoint of its packets.
    dscp: u8,
}

impl Slot {
    /// A slot for `conn`, in none of the lists.
    #[must_use]
    pub fn new(conn: Connection, tuple: Tuple, phase: Phase) -> Self {
        Self {
            conn,
            tuple,
            generation: 0,
            hash: 0,
            phase,
            route: None,
            failed: None,
            armed: Instant::FAR,
            in_events: false,
            in_output: false,
            in_waiting: false,
            starved: false,
            claimed: false,
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

    /// Whether nothing is left to be done for the connection.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Over && (self.failed.is_some() || self.conn.is_done())
    }
}

/// The connections of an engine, at most a configured number.
#[derive(Debug)]
pub struct FlowTable {
    // Boxed: the table grows without moving connections, and its holes cost
    // little.
    slots: Slab<Box<Slot>>,
    index: Index,
    max: usize,
    generation: u32,
    /// What happened to connections that are gone.
    past: TcpCounters,
    /// Payloads that they had no frames for.
    past_unread_full: u64,
}

impl FlowTable {
    /// A table for at most `max` connections, hashed under `key`.
    #[must_use]
    pub fn new(max: usize, key: [u8; 16]) -> Self {
        Self {
            slots: Slab::new(),
            index: Index::new(key),
            // Indices are 32 bits, of which the last is kept for "none".
            max: max.min(u32::MAX as usize - 1),
            generation: 0,
            past: TcpCounters::default(),
            past_unread_full: 0,
        }
    }

    /// Connections in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether no more connections fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }

    /// Adds a connection. `None` if the table is full or has the tuple.
    pub fn insert(&mut self, slot: Slot) -> Option<Flow> {
        let hash = self.index.hash(&slot.tuple);
        if self.is_full() || self.find_hashed(hash, &slot.tuple).is_some() {
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.slots.insert(Box::new(Slot {
            generation,
            hash,
            ..slot
        })) as u32;
        self.index.insert(hash, index);
        Some(Flow { index, generation })
    }

    /// The index of the connection with this tuple.
    #[inline]
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<u32> {
        self.find_hashed(self.index.hash(tuple), tuple)
    }

    #[inline]
    fn find_hashed(&self, hash: u32, tuple: &Tuple) -> Option<u32> {
        self.index.find(hash, |index| {
            self.slots
                .get(index as usize)
                .is_some_and(|s| s.tuple == *tuple)
        })
    }

    /// The connection at `index`.
    #[inline]
    #[must_use]
    pub fn at(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize).map(|s| &**s)
    }

    /// The connection at `index`.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize).map(|s| &mut **s)
    }

    /// The handle of the connection at `index`.
    #[inline]
    #[must_use]
    pub fn flow(&self, index: u32) -> Option<Flow> {
        self.at(index).map(|s| Flow {
            index,
            generation: s.generation,
        })
    }

    /// The connection behind a handle, while the application has it.
    #[inline]
    #[must_use]
    pub fn get(&self, flow: Flow) -> Option<&Slot> {
        self.at(flow.index)
            .filter(|s| s.generation == flow.generation && s.phase != Phase::Over)
    }

    /// The connection behind a handle, while the application has it.
    #[inline]
    pub fn get_mut(&mut self, flow: Flow) -> Option<&mut Slot> {
        self.at_mut(flow.index)
            .filter(|s| s.generation == flow.generation && s.phase != Phase::Over)
    }

    /// Lets a new connection have the tuple of one that is over but for its
    /// application, which has it as before.
    pub fn give_up_tuple(&mut self, index: u32) {
        if let Some(slot) = self.slots.get(index as usize) {
            self.index.remove(slot.hash, index);
        }
    }

    /// Takes a connection out. Its frames are to be released by the caller.
    pub fn remove(&mut self, index: u32) -> Option<Box<Slot>> {
        let slot = self.slots.try_remove(index as usize)?;
        self.index.remove(slot.hash, index);
        add_counters(&mut self.past, &slot.conn);
        self.past_unread_full += slot.conn.counters().no_room;
        Some(slot)
    }

    /// Indices of all connections.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().map(|(index, _)| index as u32)
    }

    /// One more than the largest index there may be.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.slots.capacity() as u32
    }

    /// What happened to all connections, past and present. Reads every one.
    #[must_use]
    pub fn counters(&self) -> TcpCounters {
        let mut sum = self.past;
        for (_, slot) in &self.slots {
            add_counters(&mut sum, &slot.conn);
        }
        sum
    }

    /// Payloads dropped since connections' unread ones had the frames.
    #[must_use]
    pub fn unread_full(&self) -> u64 {
        let present = self.slots.iter().map(|(_, s)| s.conn.counters().no_room);
        self.past_unread_full + present.sum::<u64>()
    }
}

fn add_counters(sum: &mut TcpCounters, conn: &Connection) {
    let c = conn.counters();
    sum.segments_in += c.segments_received;
    sum.segments_out += c.segments_sent;
    sum.bytes_in += c.bytes_received;
    sum.bytes_acked += c.bytes_acked;
    sum.retransmits += c.retransmits;
    sum.fast_retransmits += c.fast_retransmits;
    sum.window_probes += c.window_probes;
    sum.keepalives += c.keepalives;
    sum.timeouts += c.timeouts;
    sum.tail_loss_probes += c.probes;
    sum.spurious += c.undone;
    sum.marks_in += c.marks_received;
    sum.mark_reductions += c.mark_reductions;
    sum.out_of_order += c.out_of_order;
    sum.duplicates += c.duplicates;
    sum.challenge_acks += c.challenges;
}
