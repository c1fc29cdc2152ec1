//! What has arrived out of order: packets that wait in place until the hole
//! before them is filled, and the ranges that selective acknowledgements report
//! of them (RFC 2018).

use std::collections::VecDeque;

use super::check::hold;
use crate::frame::{Packet, Pool};
use crate::transport::inbox::{COMPACT, append, fits};
use crate::wire::tcp::{SackBlocks, SeqNumber};

/// Ranges remembered in the order of their arrival, for the order of SACK
/// blocks (RFC 2018 section 4).
const RECENT: usize = 4;

/// Sequence numbers from the first to before the second.
pub type Range = (SeqNumber, SeqNumber);

/// A packet that arrived ahead of RCV.NXT.
#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    packet: Packet,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.seq + self.packet.len() as u32
    }
}

/// The out-of-order queue of a connection that has needed one.
#[derive(Debug, Default)]
pub struct Early {
    queue: VecDeque<Piece>,
    /// Disjoint ranges that `queue` covers, sorted.
    ranges: Vec<Range>,
    recent: [Option<SeqNumber>; RECENT],
}

impl Early {
    /// Whether nothing waits, and nothing is to be reported.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.ranges.is_empty()
    }

    /// Packets that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.queue.iter().map(|p| p.packet.len()).sum()
    }

    /// Whether there is a range to be reported.
    pub fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    #[cfg(test)]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Frees the packet that is furthest out of order; whether there was one.
    /// Although it may have been reported (RFC 2018 section 8).
    #[cold]
    pub fn drop_last(&mut self, pool: &mut Pool) -> bool {
        let Some(last) = self.queue.pop_back() else {
            return false;
        };
        if let Some(range) = self.ranges.last_mut() {
            range.1 = last.seq;
            if range.0 == range.1 {
                self.ranges.pop();
            }
        }
        pool.free(last.packet);
        true
    }

    /// The first part of `left..right` that waits already.
    pub fn overlap(&self, left: SeqNumber, right: SeqNumber) -> Option<Range> {
        let i = self.ranges.partition_point(|r| r.1.le(left));
        let &(l, r) = self.ranges.get(i).filter(|r| r.0.lt(right))?;
        Some((l.max(left), r.min(right)))
    }

    /// Takes out the first packet, if it begins no later than `nxt`; what came
    /// twice is cut off. It may be empty.
    pub fn pop_reached(&mut self, nxt: SeqNumber) -> Option<Packet> {
        if self.queue.front()?.seq.gt(nxt) {
            return None;
        }
        let Piece { seq, mut packet } = self.queue.pop_front()?;
        packet.advance(nxt.distance(seq).max(0) as usize);
        Some(packet)
    }

    /// Everything before `nxt` has been delivered.
    pub fn reached(&mut self, nxt: SeqNumber) {
        self.ranges.retain(|r| r.1.gt(nxt));
    }

    /// Puts a packet in its place, without what waits already; whether
    /// anything of it was new.
    pub fn keep(&mut self, mut seq: SeqNumber, mut packet: Packet, pool: &mut Pool) -> bool {
        let whole = (seq, seq + packet.len() as u32);
        let at = self.queue.partition_point(|e| e.seq.le(seq));
        if let Some(before) = at.checked_sub(1).and_then(|i| self.queue.get(i)) {
            let overlap = before.end().distance(seq).max(0) as usize;
            packet.advance(overlap);
            seq += overlap.min(whole.1.distance(whole.0).max(0) as usize) as u32;
        }
        while let Some(after) = self.queue.get(at) {
            let end = seq + packet.len() as u32;
            if packet.is_empty() || after.seq.ge(end) {
                break;
            }
            if after.end().le(end) {
                if let Some(covered) = self.queue.remove(at) {
                    pool.free(covered.packet);
                }
            } else {
                packet.truncate(after.seq.distance(seq).max(0) as usize);
            }
        }
        if packet.is_empty() {
            self.note(whole.0);
            pool.free(packet);
            return false;
        }
        self.cover(whole);
        self.note(whole.0);
        if let Some(before) = at.checked_sub(1).and_then(|i| self.queue.get_mut(i))
            && before.end() == seq
            && packet.len() <= COMPACT
            && fits(&before.packet, packet.len(), pool)
        {
            append(&mut before.packet, packet, pool);
        } else {
            pool.unread_now(&packet);
            self.queue.insert(at, Piece { seq, packet });
        }
        true
    }

    /// Adds a range to `ranges`, merging those it touches.
    fn cover(&mut self, (mut left, mut right): Range) {
        let from = self.ranges.partition_point(|r| r.1.lt(left));
        let to = self.ranges.partition_point(|r| r.0.le(right));
        if from < to {
            left = left.min(self.ranges[from].0);
            right = right.max(self.ranges[to - 1].1);
        }
        self.ranges.splice(from..to, [(left, right)]);
    }

    fn note(&mut self, seq: SeqNumber) {
        self.recent.rotate_right(1);
        self.recent[0] = Some(seq);
    }

    /// Appends the ranges by recency (RFC 2018 section 4), up to `max` blocks.
    pub fn report(&self, blocks: &mut SackBlocks, max: usize) {
        let range_of = |seq: SeqNumber| {
            let i = self.ranges.partition_point(|r| r.1.le(seq));
            self.ranges.get(i).filter(|r| r.0.le(seq)).copied()
        };
        let before = blocks.len();
        let add = |blocks: &mut SackBlocks, (l, r): Range| {
            if blocks.len() < max && !blocks.iter().skip(before).any(|b| b.0 == l) {
                blocks.push(l, r);
            }
        };
        for seq in self.recent.iter().flatten() {
            if let Some(r) = range_of(*seq) {
                add(blocks, r);
            }
        }
        for r in self.ranges.iter().take(max) {
            add(blocks, *r);
        }
    }

    /// The stream ends at `end`: what waits from behind it is freed.
    pub fn cut(&mut self, end: SeqNumber, pool: &mut Pool) {
        while self.queue.back().is_some_and(|e| e.seq.ge(end)) {
            if let Some(e) = self.queue.pop_back() {
                pool.free(e.packet);
            }
        }
        if let Some(last) = self.queue.back_mut() {
            last.packet.truncate(end.distance(last.seq).max(0) as usize);
        }
        self.ranges.retain(|r| r.0.lt(end));
        if let Some(last) = self.ranges.last_mut() {
            last.1 = last.1.min(end);
        }
    }

    /// Frees everything: it will not be delivered.
    pub fn clear(&mut self, pool: &mut Pool) {
        for e in self.queue.drain(..) {
            pool.free(e.packet);
        }
        self.ranges.clear();
        self.recent = [None; RECENT];
    }

    /// The first rule that does not hold of the queue between `nxt` and the
    /// window's edge `adv`.
    pub fn check(&self, nxt: SeqNumber, adv: SeqNumber) -> Result<(), &'static str> {
        let mut at = nxt;
        for e in &self.queue {
            hold!(e.seq.ge(at), "early packets are apart and in order");
            hold!(!e.packet.is_empty(), "an early packet has payload");
            hold!(e.end().le(adv), "nothing is kept beyond the window");
            let i = self.ranges.partition_point(|r| r.1.le(e.seq));
            let covered = self.ranges.get(i);
            hold!(
                covered.is_some_and(|r| r.0.le(e.seq) && e.end().le(r.1)),
                "what is kept is reported (RFC 2018 3)"
            );
            at = e.end();
        }
        let mut at = nxt;
        for (left, right) in &self.ranges {
            hold!(left.gt(at) && right.gt(*left), "ranges lie apart, in order");
            at = *right;
        }
        Ok(())
    }
}
