//! The connections of an engine, and how they are found.

use super::Conn;
use super::flow::{Flow, Phase, Slot, Tuple};
use super::index::Index;
use super::slots::Slots;
use super::sums::Sums;
use crate::stats::{TcpCounters, UtpCounters};

/// Memory kept for the list of connections in use, in their number.
const MOST_FRESH: usize = 1024;
/// How far ahead connections are loaded, where all are looked at.
const AHEAD: usize = 4;

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
