//! Connections and how they are found.

use std::net::{IpAddr, SocketAddr};

use super::Conn;
use super::index::Index;
use super::slots::Slots;
use crate::stats::{TcpCounters, UtpCounters};
use crate::tcp::Counters;
use crate::time::Instant;
use crate::transport::Reason;
use crate::utp;
use crate::wire::template::Template;

/// Memory kept for the list of connections in use, in their number.
const MOST_FRESH: usize = 1024;
/// How far ahead connections are loaded, where all are looked at.
const AHEAD: usize = 4;

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
    generation: u32,
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
    /// Among [`FlowTable::fresh`].
    fresh: bool,
    /// Differentiated Services codepoint of its packets.
    dscp: u8,
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

/// The connections of an engine, at most a configured number.
#[derive(Debug)]
pub struct FlowTable {
    slots: Slots<Slot>,
    /// Connections of TCP by their tuple.
    index: Index,
    /// Those of uTP by tuple and connection id.
    utp: Index,
    max: usize,
    generation: u32,
    /// What happened to connections that are gone, and to those that are not
    /// among `fresh`.
    settled: Sums,
    /// Connections that may have counted something since the last
    /// [`settle`](Self::settle); some are gone.
    fresh: Vec<u32>,
    /// For each index whether it is among them.
    listed: Vec<u64>,
}

/// What connections have counted together.
#[derive(Clone, Debug, Default)]
struct Sums {
    tcp: TcpCounters,
    utp: UtpCounters,
    /// Payloads that there were no frames for.
    unread_full: u64,
}

impl Sums {
    fn add(&mut self, conn: &Conn) {
        match conn {
            Conn::Tcp(conn) => {
                let c = conn.counters();
                for (sum, n) in self.of(&c) {
                    *sum += n;
                }
            }
            Conn::Utp(conn) => {
                let c = conn.counters();
                for (sum, n) in self.of_utp(&c) {
                    *sum += n;
                }
            }
        }
    }

    #[cold]
    fn take(&mut self, conn: &Conn) {
        match conn {
            Conn::Tcp(conn) => {
                let c = conn.counters();
                for (sum, n) in self.of(&c) {
                    *sum -= n;
                }
            }
            Conn::Utp(conn) => {
                let c = conn.counters();
                for (sum, n) in self.of_utp(&c) {
                    *sum -= n;
                }
            }
        }
    }

    const fn of(&mut self, c: &Counters) -> [(&mut u64, u64); 17] {
        let s = &mut self.tcp;
        [
            (&mut s.segments_in, c.segments_received),
            (&mut s.segments_out, c.segments_sent),
            (&mut s.bytes_in, c.bytes_received),
            (&mut s.bytes_acked, c.bytes_acked),
            (&mut s.retransmits, c.retransmits),
            (&mut s.fast_retransmits, c.fast_retransmits),
            (&mut s.window_probes, c.window_probes),
            (&mut s.keepalives, c.keepalives),
            (&mut s.timeouts, c.timeouts),
            (&mut s.tail_loss_probes, c.probes),
            (&mut s.spurious, c.undone),
            (&mut s.marks_in, c.marks_received),
            (&mut s.mark_reductions, c.mark_reductions),
            (&mut s.out_of_order, c.out_of_order),
            (&mut s.duplicates, c.duplicates),
            (&mut s.challenge_acks, c.challenges),
            (&mut self.unread_full, c.no_room),
        ]
    }
}

impl Sums {
    const fn of_utp(&mut self, c: &utp::Counters) -> [(&mut u64, u64); 17] {
        let s = &mut self.utp;
        [
            (&mut s.packets_in, c.packets_received),
            (&mut s.packets_out, c.packets_sent),
            (&mut s.bytes_in, c.bytes_received),
            (&mut s.bytes_acked, c.bytes_acked),
            (&mut s.retransmits, c.retransmits),
            (&mut s.fast_retransmits, c.fast_retransmits),
            (&mut s.timeouts, c.timeouts),
            (&mut s.mtu_probes, c.mtu_probes),
            (&mut s.black_holes, c.black_holes),
            (&mut s.window_probes, c.window_probes),
            (&mut s.keepalives, c.keepalives),
            (&mut s.out_of_order, c.out_of_order),
            (&mut s.duplicates, c.duplicates),
            (&mut s.out_of_window, c.out_of_window),
            (&mut s.bad_acks, c.bad_acks),
            (&mut s.bad_resets, c.bad_resets),
            (&mut self.unread_full, c.no_room),
        ]
    }
}

impl FlowTable {
    /// A table for at most `max` connections, those of TCP hashed under `key`,
    /// those of uTP under `utp_key`.
    #[must_use]
    pub fn new(max: usize, key: [u8; 16], utp_key: [u8; 16]) -> Self {
        Self {
            slots: Slots::new(),
            index: Index::new(key),
            utp: Index::new(utp_key),
            // Indices are 32 bits, of which the last is kept for "none".
            max: max.min(u32::MAX as usize - 1),
            generation: 0,
            settled: Sums::default(),
            fresh: Vec::new(),
            listed: Vec::new(),
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
        self.slots.len() == 0
    }

    /// Whether no more connections fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }

    /// Adds a connection. `None` if the table is full or has the tuple.
    pub fn insert(&mut self, slot: Slot) -> Option<Flow> {
        let known = match &slot.conn {
            Conn::Tcp(_) => self.find(&slot.tuple),
            Conn::Utp(conn) => self.find_utp(&slot.tuple, conn.recv_id()),
        };
        if self.is_full() || known.is_some() {
            return None;
        }
        let utp = slot.conn.utp().map(|c| c.recv_id());
        let hash = match utp {
            None => self.index.hash(&slot.tuple),
            Some(id) => self.utp.hash_id(&slot.tuple, id),
        };
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.slots.insert(Slot {
            generation,
            fresh: true,
            ..slot
        });
        match utp {
            None => self.index.insert(hash, index),
            Some(_) => self.utp.insert(hash, index),
        }
        let (word, bit) = (index as usize / 64, 1 << (index % 64));
        if word == self.listed.len() {
            self.listed.push(0);
        }
        if self.listed[word] & bit == 0 {
            self.listed[word] |= bit;
            self.fresh.push(index);
        }
        Some(Flow { index, generation })
    }

    /// The index of the connection of TCP with this tuple.
    #[inline]
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<u32> {
        self.find_hashed(self.index.hash(tuple), tuple)
    }

    #[inline]
    fn find_hashed(&self, hash: u32, tuple: &Tuple) -> Option<u32> {
        self.index.find(hash, |index| {
            // Hardly anything else has the same hash: all of it will be used.
            self.slots.prefetch(index);
            self.slots.get(index).is_some_and(|s| s.tuple == *tuple)
        })
    }

    /// The index of the connection of uTP with this tuple that receives by this
    /// connection id.
    #[inline]
    #[must_use]
    pub fn find_utp(&self, tuple: &Tuple, id: u16) -> Option<u32> {
        let is_it = |s: &Slot| s.tuple == *tuple && s.conn.utp().is_some_and(|c| c.recv_id() == id);
        self.utp.find(self.utp.hash_id(tuple, id), |index| {
            self.slots.get(index).is_some_and(is_it)
        })
    }

    /// The index of the connection of uTP with this tuple that sends by this
    /// connection id: what receives by the one before or behind it.
    #[must_use]
    pub fn find_utp_sender(&self, tuple: &Tuple, id: u16) -> Option<u32> {
        let sends = |index: &u32| {
            let conn = self.at(*index).and_then(|s| s.conn.utp());
            conn.is_some_and(|c| c.send_id() == id)
        };
        [id.wrapping_sub(1), id.wrapping_add(1)]
            .into_iter()
            .find_map(|other| self.find_utp(tuple, other).filter(sends))
    }

    /// The connection at `index`.
    #[inline]
    #[must_use]
    pub fn at(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index)
    }

    /// The connection at `index`, which may count something now.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index)?;
        if !slot.fresh {
            slot.fresh = true;
            self.settled.take(&slot.conn);
            self.listed[index as usize / 64] |= 1 << (index % 64);
            self.fresh.push(index);
        }
        Some(slot)
    }

    /// The connection at `index`, which counts nothing now.
    #[inline]
    pub(super) fn at_rest(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index)
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
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        match &slot.conn {
            Conn::Tcp(_) => self.index.remove(self.index.hash(&slot.tuple), index),
            Conn::Utp(conn) => {
                let hash = self.utp.hash_id(&slot.tuple, conn.recv_id());
                self.utp.remove(hash, index);
            }
        }
    }

    /// Takes a connection out. Its frames are to be released by the caller.
    pub fn remove(&mut self, index: u32) -> Option<Slot> {
        self.give_up_tuple(index);
        let slot = self.slots.remove(index)?;
        if slot.fresh {
            self.settled.add(&slot.conn);
        }
        Some(slot)
    }

    /// Indices of all connections.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().map(|(index, _)| index)
    }

    /// One more than the largest index there may be.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.slots.places()
    }

    /// Adds up what has been counted, so that [`counters`](Self::counters) has
    /// to look only at those connections that count something after this: not
    /// at a million that are idle. To be called now and then.
    pub fn settle(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        for (n, &index) in fresh.iter().enumerate() {
            if let Some(&next) = fresh.get(n + AHEAD) {
                self.slots.prefetch(next);
            }
            self.listed[index as usize / 64] &= !(1 << (index % 64));
            if let Some(slot) = self.slots.get_mut(index) {
                slot.fresh = false;
                self.settled.add(&slot.conn);
            }
        }
        self.fresh = fresh;
        self.fresh.clear();
        self.fresh.shrink_to(MOST_FRESH);
    }

    fn sums(&self) -> Sums {
        let mut sums = self.settled.clone();
        for slot in self.fresh.iter().filter_map(|&index| self.at(index)) {
            sums.add(&slot.conn);
        }
        sums
    }

    /// What happened to all connections of TCP, past and present, and to those
    /// of uTP. Reads every one that something may have happened to since the
    /// last [`settle`](Self::settle).
    #[must_use]
    pub fn counters(&self) -> (TcpCounters, UtpCounters) {
        let sums = self.sums();
        (sums.tcp, sums.utp)
    }

    /// Payloads dropped since connections' unread ones had the frames.
    #[must_use]
    pub fn unread_full(&self) -> u64 {
        self.sums().unread_full
    }

    /// The connection at `index` is going to be used soon.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        self.slots.prefetch(index);
    }

    /// The hash of a tuple that is going to be looked up soon.
    #[inline]
    pub(super) fn foresee_hash(&self, tuple: &Tuple) -> u32 {
        let hash = self.index.hash(tuple);
        self.index.prefetch(hash);
        hash
    }

    /// The connection that a tuple with this hash probably has: it is going to
    /// be used soon.
    #[inline]
    pub(super) fn foresee_flow(&self, hash: u32) -> Option<u32> {
        let index = self.index.find(hash, |_| true)?;
        self.slots.prefetch(index);
        Some(index)
    }
}

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
