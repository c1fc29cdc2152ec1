//! Frames that come in at one engine and belong to another.
//!
//! The engines of an interface form a ring. A segment that no connection of an
//! engine claims goes to the next one, until one knows it or all have seen it.
//! Receive-side scaling makes this rare, so it copies. What neighbours say goes
//! to all.

use std::collections::VecDeque;

use super::Waker;
use super::core::Core;
use super::ring::Ring;
use crate::frame::{PACKET_START, Packet, TxDesc};
use crate::stack::demux::Foreign;
use crate::stack::icmp::Report;
use crate::stats::DropReason;

/// What goes round.
pub(super) enum What {
    /// A whole frame.
    Frame(Box<[u8]>),
    /// An ICMP error about a segment.
    Report(Report),
}

/// Something on its way round.
pub(super) struct Moved {
    pub what: What,
    /// Engines that may still be asked after the one that it is for.
    pub hops: usize,
}

/// One engine's place in the ring.
pub struct Handover(Ring<Moved>);

impl Handover {
    /// A ring of engines with these wakers; each engine's queue holds
    /// `capacity` frames. One engine alone has nobody to hand over to.
    #[must_use]
    pub fn ring(wakers: &[Waker], capacity: usize) -> Vec<Self> {
        Ring::new(wakers, capacity).into_iter().map(Self).collect()
    }

    /// How many engines a frame that came from the link may be passed to.
    pub(super) const fn others(&self) -> usize {
        self.0.others()
    }

    pub(super) fn pop(&self) -> Option<Moved> {
        self.0.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which of how many engines this is.
    pub(super) const fn share(&self) -> (usize, usize) {
        (self.0.place(), self.0.others() + 1)
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Passes something on to the next engine; `false` if its queue is full.
    pub(super) fn pass(&self, what: What, hops: usize) -> bool {
        self.0.pass(Moved { what, hops }).is_ok()
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handover(to {} others)", self.others())
    }
}

impl<M> Core<M> {
    /// Takes a frame that `hops` other engines may have to see as well.
    #[inline]
    pub(super) fn receive_in_ring(
        &mut self,
        packet: Packet,
        tx: &mut VecDeque<TxDesc>,
        handover: &Handover,
        hops: usize,
    ) {
        let pool = &mut self.pool;
        // Each engine has its own neighbour table, and the answers to all of
        // them come in at one queue.
        if hops > 0 && self.stack.iface.is_for_all(pool.bytes(&packet)) {
            let _ = handover.pass(What::Frame(pool.bytes(&packet).into()), hops - 1);
        }
        match self.stack.receive(self.now, pool, packet, tx, hops > 0) {
            None => {}
            Some(Foreign::Frame(packet)) => {
                // Looked at first: a full queue must not cost a copy each.
                let passed = handover.has_room()
                    && handover.pass(What::Frame(pool.bytes(&packet).into()), hops - 1);
                pool.free(packet);
                self.count_passed(passed);
            }
            Some(Foreign::Report(report)) => self.pass_report(handover, report, hops),
        }
    }

    pub(super) fn pass_report(&mut self, handover: &Handover, report: Report, hops: usize) {
        if hops == 0 {
            self.stack.drops.count(DropReason::IcmpIgnored);
            return;
        }
        let passed = handover.pass(What::Report(report), hops - 1);
        self.count_passed(passed);
    }

    fn count_passed(&mut self, passed: bool) {
        if passed {
            self.counters.handed_over += 1;
        } else {
            self.stack.drops.count(DropReason::HandoverFull);
        }
    }

    /// Receives a frame in parts, by whatever way there is for others' frames.
    pub(super) fn receive_gathered(
        &mut self,
        parts: &mut Vec<Packet>,
        tx: &mut VecDeque<TxDesc>,
        handover: Option<&Handover>,
    ) {
        if let Some(handover) = handover {
            self.receive_chain_in_ring(parts, tx, handover, handover.others());
        } else {
            // With nobody to pass it on to, nothing comes back.
            let pool = &mut self.pool;
            let _ = self.stack.receive_chain(self.now, pool, parts, tx, false);
        }
    }

    /// As [`receive_in_ring`](Self::receive_in_ring), of a frame in parts.
    pub(super) fn receive_chain_in_ring(
        &mut self,
        parts: &mut Vec<Packet>,
        tx: &mut VecDeque<TxDesc>,
        handover: &Handover,
        hops: usize,
    ) {
        let pool = &mut self.pool;
        let foreign = self
            .stack
            .receive_chain(self.now, pool, parts, tx, hops > 0);
        if let Some(Foreign::Frame(first)) = foreign {
            parts.insert(0, first);
            let passed = handover.has_room() && {
                let bytes = parts.iter().flat_map(|part| pool.bytes(part));
                handover.pass(What::Frame(bytes.copied().collect()), hops - 1)
            };
            for packet in parts.drain(..) {
                pool.free(packet);
            }
            self.count_passed(passed);
        }
    }

    /// Puts the next packet to those of its frame. Answers whether the frame is
    /// complete.
    #[cold]
    pub(super) fn gather(&mut self, packet: Packet, parts: &mut Vec<Packet>) -> bool {
        let complete = !packet.continues();
        parts.push(packet);
        complete
    }

    /// Packets with the bytes of a frame of another engine.
    pub(super) fn copy_in(&mut self, frame: &[u8], parts: &mut Vec<Packet>) {
        let room = self.pool.max_packet();
        if frame.len().div_ceil(room) > self.pool.available() {
            self.stack.drops.count(DropReason::PoolEmpty);
            return;
        }
        let mut rest = frame;
        while !rest.is_empty()
            && let Some(mut packet) = self.pool.alloc()
        {
            let (bytes, more) = rest.split_at(rest.len().min(room));
            rest = more;
            packet.set_range(PACKET_START, bytes.len() as u16);
            packet.set_continues(!rest.is_empty());
            self.pool.bytes_mut(&mut packet).copy_from_slice(bytes);
            parts.push(packet);
        }
    }
}
