//! One direction of a faulty link.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::settings::{Direction, MAX_QUEUE};
use crate::time::Instant;

/// What happened to the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Packets that came.
    pub packets: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped since the queue of the rate limit or the delay was full.
    pub overflowed: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back so that others overtake them.
    pub reordered: u64,
    /// Changed by one bit.
    pub corrupted: u64,
}

/// What becomes of the caller's packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It goes on as it is.
    Pass,
    /// Lost, or copied to be released later: the caller frees its own.
    Taken,
}

/// When a held packet is due; the order of arrival decides between equals.
type Due = Reverse<(Instant, u64, u32)>;

pub(super) struct Line {
    settings: Direction,
    random: SplitMix64,
    held: BinaryHeap<Due>,
    buffers: Vec<Vec<u8>>,
    unused: Vec<u32>,
    arrivals: u64,
    /// When the rate limit lets the next packet begin.
    busy_until: Instant,
    /// Ends of the packets in the queue of the rate limit.
    departures: VecDeque<Instant>,
    /// The latest time that an unreordered packet is due.
    last_due: Instant,
    pub(super) counters: FaultCounters,
}

/// The throws for one packet. Always all of them, so that one setting does
/// not move the others' throws.
struct Throws {
    lost: bool,
    duplicated: bool,
    reordered: bool,
    corrupted: bool,
    jitter: Duration,
    lateness: Duration,
    bit: u64,
}

impl Line {
    pub(super) fn new(settings: Direction, seed: u64) -> Self {
        Self {
            settings,
            random: SplitMix64(seed),
            held: BinaryHeap::new(),
            buffers: Vec::new(),
            unused: Vec::new(),
            arrivals: 0,
            busy_until: Instant::ZERO,
            departures: VecDeque::new(),
            last_due: Instant::ZERO,
            counters: FaultCounters::default(),
        }
    }

    /// Decides on a packet that enters the line.
    pub(super) fn judge(&mut self, now: Instant, bytes: &[u8]) -> Verdict {
        self.counters.packets += 1;
        let throws = self.throw();
        if throws.lost {
            self.counters.lost += 1;
            return Verdict::Taken;
        }
        let Some(departure) = self.depart(now, bytes.len()) else {
            self.counters.overflowed += 1;
            return Verdict::Taken;
        };
        let mut due = departure + self.settings.delay + throws.jitter;
        due = due.max(self.last_due);
        if throws.reordered {
            self.counters.reordered += 1;
            due += throws.lateness;
        } else {
            self.last_due = due;
        }
        let pass = due <= now && !throws.corrupted && self.held.is_empty();
        if !pass {
            self.hold(due, bytes, throws.corrupted.then_some(throws.bit));
        }
        if throws.duplicated {
            self.counters.duplicated += 1;
            self.hold(due, bytes, None);
        }
        if pass { Verdict::Pass } else { Verdict::Taken }
    }

    /// Gives the first packet that is due to `take`, unless that refuses it
    /// (`None`): then it stays, and so it does for want of such a packet.
    /// Answers whether one was taken.
    pub(super) fn release(&mut self, now: Instant, take: impl FnOnce(&[u8]) -> Option<()>) -> bool {
        let Some(&Reverse((due, _, slot))) = self.held.peek() else {
            return false;
        };
        if due > now || take(&self.buffers[slot as usize]).is_none() {
            return false;
        }
        self.held.pop();
        self.unused.push(slot);
        true
    }

    /// When the next held packet is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse((due, ..))| *due)
    }

    fn throw(&mut self) -> Throws {
        let s = self.settings;
        let r = &mut self.random;
        Throws {
            lost: r.chance(s.loss),
            duplicated: r.chance(s.duplicate),
            reordered: r.chance(s.reorder),
            corrupted: r.chance(s.corrupt),
            jitter: s.jitter.mul_f64(r.unit()),
            lateness: s.lateness.mul_f64(r.unit()).max(Duration::from_nanos(1)),
            bit: r.next(),
        }
    }

    /// When the rate limit has let the packet through; `None` if its queue is
    /// full.
    fn depart(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.settings.rate else {
            return Some(now);
        };
        while self.departures.front().is_some_and(|&d| d <= now) {
            self.departures.pop_front();
        }
        if self.departures.len() >= self.settings.queue {
            return None;
        }
        let nanos = (len as u64).saturating_mul(8_000_000_000) / rate;
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos);
        self.departures.push_back(self.busy_until);
        Some(self.busy_until)
    }

    /// Keeps a copy, with one bit changed if `bit` says so.
    fn hold(&mut self, due: Instant, bytes: &[u8], bit: Option<u64>) {
        if self.held.len() >= MAX_QUEUE {
            self.counters.overflowed += 1;
            return;
        }
        let slot = self.unused.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::new());
            (self.buffers.len() - 1) as u32
        });
        let buffer = &mut self.buffers[slot as usize];
        buffer.clear();
        buffer.extend_from_slice(bytes);
        if let (Some(bit), false) = (bit, bytes.is_empty()) {
            self.counters.corrupted += 1;
            let bit = bit % (bytes.len() as u64 * 8);
            buffer[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        self.held.push(Reverse((due, self.arrivals, slot)));
        self.arrivals += 1;
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and fixed for ever, so
/// that a seed written down today replays tomorrow.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to just below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // First values of the reference implementation for seed 1234567.
        let mut r = SplitMix64(1_234_567);
        assert_eq!(r.next(), 6_457_827_717_110_365_317);
        assert_eq!(r.next(), 3_203_168_211_198_807_973);
    }
}
