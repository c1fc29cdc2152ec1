//! One direction of a host's way to the others, and how it changes.

use std::collections::VecDeque;
use std::time::Duration;

use fullbore::time::Instant;

use crate::rng::Rng;

/// How packets are lost. Probabilities are in millionths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each by itself.
    Even(u32),
    /// In bursts: the two states of Gilbert and Elliott.
    Bursts { enter: u32, leave: u32, inside: u32 },
}

impl Loss {
    /// The share that is lost in the long run, in millionths.
    pub fn mean(self) -> u32 {
        match self {
            Self::Even(p) => p,
            Self::Bursts {
                enter,
                leave,
                inside,
            } => {
                let bad = f64::from(enter) / (f64::from(enter) + f64::from(leave)).max(1.0);
                (bad * f64::from(inside)) as u32
            }
        }
    }
}

/// What a line is like for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    pub up: bool,
    pub loss: Loss,
    pub duplicate: u32,
    pub reorder: u32,
    pub late: Duration,
    pub corrupt: u32,
    /// Packets marked for congestion that may be.
    pub mark: u32,
    pub delay: Duration,
    pub jitter: Duration,
    /// Bits a second, and packets that wait for their turn at most.
    pub rate: Option<(u64, usize)>,
    /// Largest IP packet, and whether the router says so.
    pub mtu: u16,
    pub icmp: bool,
    /// Largest window that gets through, in the field's units.
    pub clamp: Option<u16>,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            up: true,
            loss: Loss::Even(0),
            duplicate: 0,
            reorder: 0,
            late: Duration::ZERO,
            corrupt: 0,
            mark: 0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            mtu: 9000,
            icmp: true,
            clamp: None,
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Lost(&'static str),
    TooBig {
        mtu: u16,
        told: bool,
    },
    Passes {
        due: Instant,
        again: Option<Instant>,
        corrupt: bool,
        mark: bool,
    },
}

#[derive(Debug)]
pub struct Line {
    /// Conditions and when each begins.
    schedule: Vec<(Instant, Condition)>,
    at: usize,
    rng: Rng,
    in_burst: bool,
    busy_until: Instant,
    departures: VecDeque<Instant>,
    last_due: Instant,
}

impl Line {
    /// A line with a schedule in the order of time; perfect until it begins.
    pub fn new(schedule: Vec<(Instant, Condition)>, rng: Rng) -> Self {
        let mut all = vec![(Instant::ZERO, Condition::default())];
        all.extend(schedule);
        Self {
            schedule: all,
            at: 0,
            rng,
            in_burst: false,
            busy_until: Instant::ZERO,
            departures: VecDeque::new(),
            last_due: Instant::ZERO,
        }
    }

    pub fn condition(&mut self, now: Instant) -> Condition {
        while self
            .schedule
            .get(self.at + 1)
            .is_some_and(|(from, _)| *from <= now)
        {
            self.at += 1;
        }
        self.schedule[self.at].1
    }

    /// The last time up to `now` at which nothing got through, or at which
    /// conditions changed: whoever backed off then may take a while.
    pub fn disturbed(&mut self, now: Instant) -> Instant {
        if self.condition(now).up {
            self.schedule[self.at].0
        } else {
            now
        }
    }

    /// Decides on a packet of `len` bytes, `ip` of which are IP's.
    pub fn judge(&mut self, now: Instant, len: usize, ip: usize) -> Fate {
        let c = self.condition(now);
        if !c.up {
            return Fate::Lost("blackout");
        }
        if ip > usize::from(c.mtu) {
            return Fate::TooBig {
                mtu: c.mtu,
                told: c.icmp,
            };
        }
        if self.loses(c.loss) {
            return Fate::Lost("loss");
        }
        let Some(departure) = self.depart(now, len, c.rate) else {
            return Fate::Lost("queue full");
        };
        let mut due = departure + c.delay;
        if !c.jitter.is_zero() {
            due += self.rng.time(c.jitter);
        }
        due = due.max(self.last_due);
        if self.rng.ppm(c.reorder) {
            due += self.rng.time(c.late);
        } else {
            self.last_due = due;
        }
        let again = self
            .rng
            .ppm(c.duplicate)
            .then(|| due + self.rng.time(c.late));
        Fate::Passes {
            due,
            again,
            corrupt: self.rng.ppm(c.corrupt),
            mark: self.rng.ppm(c.mark),
        }
    }

    fn loses(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::Even(p) => self.rng.ppm(p),
            Loss::Bursts {
                enter,
                leave,
                inside,
            } => {
                let change = if self.in_burst { leave } else { enter };
                self.in_burst ^= self.rng.ppm(change);
                self.in_burst && self.rng.ppm(inside)
            }
        }
    }

    /// When the rate lets the packet through; `None` if its queue is full.
    fn depart(&mut self, now: Instant, len: usize, rate: Option<(u64, usize)>) -> Option<Instant> {
        let Some((rate, queue)) = rate else {
            return Some(now);
        };
        while self.departures.front().is_some_and(|&d| d <= now) {
            self.departures.pop_front();
        }
        if self.departures.len() >= queue {
            return None;
        }
        let time = Duration::from_nanos(len as u64 * 8_000_000_000 / rate);
        self.busy_until = self.busy_until.max(now) + time;
        self.departures.push_back(self.busy_until);
        Some(self.busy_until)
    }
}
