//! How long packets wait in queues: what a delay is above the least of the last
//! minutes (RFC 6817 section 2.4.2).
//!
//! A transport whose packets carry the time at which they left gives one-way
//! delays, which contain the difference of two clocks; one without gives round
//! trips. All are 32-bit microseconds that wrap. Nothing that a peer reports is
//! believed beyond what it can do: a delay that is too long slows down its own
//! download, and one that is too short leaves what losses allow.

use std::time::Duration;

use super::AckSample;
use crate::time::Instant;

/// Minutes of which the least delay is remembered (RFC 6817: 10; libutp: 13).
const BASE_HISTORY: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Delays of which the least is the current one (RFC 6817: 4 at least; libutp:
/// 3).
const CURRENT_FILTER: usize = 4;
/// More than that is no clock that runs slow, but another path.
const MAX_SKEW: u32 = 10_000;
/// A peer's clock that loses more than that in a [`PERIOD`] is penalised.
const MAX_DRIFT: i64 = 200_000;
const DRIFT_PENALTY: i64 = 7;
/// Between two estimates of the drift.
const PERIOD: Duration = Duration::from_secs(5);
/// What uTP sends while it has measured nothing.
const UNKNOWN: [u32; 2] = [0, 0x7fff_ffff];

/// One-way delays in raw microseconds, which wrap and contain the difference of
/// the two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelaySample {
    /// Of our packets, as the peer reports it: `timestamp_difference`. 0 and
    /// 0x7fffffff are none.
    pub ours: u32,
    /// Of the peer's packets, as we measured it. 0 and 0x7fffffff are none.
    pub theirs: u32,
}

/// The delay of queues, as one connection sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    ours: History,
    theirs: History,
    current: [u32; CURRENT_FILTER],
    /// Of those, how many there are, and where the next goes.
    filled: u8,
    next: u8,
    /// Delays are one-way; otherwise round trips.
    one_way: bool,
    drift: Drift,
    queueing: Option<u32>,
}

impl Delays {
    pub(super) fn take(&mut self, a: &AckSample) {
        match a.delay {
            Some(d) => {
                if !self.one_way {
                    *self = Self {
                        one_way: true,
                        ..Self::default()
                    };
                }
                self.take_theirs(a.now, d.theirs);
                if !UNKNOWN.contains(&d.ours) {
                    self.drift.add(a.now, d.ours);
                    self.add(a.now, d.ours, a.rtt);
                }
            }
            // Both in one history would say nothing.
            None if self.one_way => {}
            None => {
                if let Some(rtt) = a.rtt {
                    self.add(a.now, micros(rtt), None);
                }
            }
        }
    }

    /// How long packets wait in queues, in microseconds; `None` before the
    /// first measurement.
    pub(super) const fn queueing(&self) -> Option<u32> {
        self.queueing
    }

    /// The least of the last minutes; of use for round trips only.
    pub(super) fn base(&self) -> Option<u32> {
        (self.ours.filled > 0).then_some(self.ours.least)
    }

    fn add(&mut self, now: Instant, raw: u32, rtt: Option<Duration>) {
        self.ours.add(now, raw);
        self.current[usize::from(self.next)] = raw;
        self.next = (self.next + 1) % CURRENT_FILTER as u8;
        self.filled = (self.filled + 1).min(CURRENT_FILTER as u8);
        let current = &self.current[..usize::from(self.filled)];
        let above = current.iter().map(|raw| self.ours.above(*raw)).min();
        let mut queueing = above.unwrap_or(0);
        // It cannot have taken longer than there and back: the base is wrong.
        if let Some(most) = rtt.map(micros)
            && queueing > most
        {
            self.ours.shift(queueing - most);
            queueing = most;
        }
        self.queueing = Some(queueing.saturating_add(self.drift.penalty()));
    }

    /// When the least delay of the peer's packets falls, its clock runs faster
    /// than ours, and what it measures of ours rises by as much.
    fn take_theirs(&mut self, now: Instant, raw: u32) {
        if UNKNOWN.contains(&raw) {
            return;
        }
        let before = (self.theirs.filled > 0).then_some(self.theirs.least);
        self.theirs.add(now, raw);
        if let Some(before) = before {
            let fallen = before.wrapping_sub(self.theirs.least);
            if (1..=MAX_SKEW).contains(&fallen) {
                self.ours.shift(fallen);
            }
        }
    }
}

/// The least delay of each of the last minutes.
#[derive(Clone, Debug, Default)]
struct History {
    minutes: [u32; BASE_HISTORY],
    filled: u8,
    newest: u8,
    /// When the newest began.
    since: Instant,
    /// The least of all.
    least: u32,
}

impl History {
    fn add(&mut self, now: Instant, raw: u32) {
        if self.filled == 0 {
            self.since = now;
            self.push(raw);
            return;
        }
        let passed = now.since(self.since).as_secs() / MINUTE.as_secs();
        if passed > 0 {
            self.since += MINUTE.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX));
            // Minutes without any count as this one.
            for _ in 0..passed.min(BASE_HISTORY as u64) {
                self.push(raw);
            }
            return;
        }
        let newest = &mut self.minutes[usize::from(self.newest)];
        if is_less(raw, *newest) {
            *newest = raw;
            self.least = lesser(self.least, raw);
        }
    }

    fn push(&mut self, raw: u32) {
        self.newest = (self.newest + 1) % BASE_HISTORY as u8;
        if self.filled == 0 {
            self.newest = 0;
        }
        self.minutes[usize::from(self.newest)] = raw;
        self.filled = (self.filled + 1).min(BASE_HISTORY as u8);
        let all = &self.minutes[..usize::from(self.filled)];
        self.least = all.iter().fold(raw, |least, m| lesser(least, *m));
    }

    fn above(&self, raw: u32) -> u32 {
        if is_less(raw, self.least) {
            0
        } else {
            raw.wrapping_sub(self.least)
        }
    }

    fn shift(&mut self, by: u32) {
        for m in &mut self.minutes {
            *m = m.wrapping_add(by);
        }
        self.least = self.least.wrapping_add(by);
    }
}

/// How much the delay changes in [`PERIOD`] on the average: the difference in
/// speed of the two clocks. A peer that lets its clock run slow would always
/// look as if it had no queue.
#[derive(Clone, Debug, Default)]
struct Drift {
    /// What delays are compared with: the average of the period before.
    reference: u32,
    sum: i64,
    samples: u32,
    began: Option<Instant>,
    /// There was a period before.
    measured: bool,
    /// Microseconds in a period.
    estimate: i64,
}

impl Drift {
    fn add(&mut self, now: Instant, raw: u32) {
        let began = match self.began {
            Some(at) if now.since(at) <= 2 * PERIOD => at,
            // The first, or the first after a pause.
            _ => {
                self.reference = raw;
                (self.sum, self.samples) = (0, 0);
                self.measured = false;
                *self.began.insert(now)
            }
        };
        self.sum += i64::from(signed(raw.wrapping_sub(self.reference)));
        self.samples = self.samples.saturating_add(1);
        if now.since(began) < PERIOD {
            return;
        }
        let average = self.sum / i64::from(self.samples);
        if self.measured {
            self.estimate = (self.estimate * 7 + average) / 8;
        }
        // From the sum of 32-bit numbers: fits.
        self.reference = self.reference.wrapping_add(average as u32);
        (self.sum, self.samples) = (0, 0);
        self.measured = true;
        self.began = Some(now);
    }

    /// Microseconds that are added to the delay.
    fn penalty(&self) -> u32 {
        let beyond = -self.estimate - MAX_DRIFT;
        u32::try_from(beyond.max(0) / DRIFT_PENALTY).unwrap_or(u32::MAX)
    }
}

/// Half of the numbers are before any other.
const fn is_less(a: u32, b: u32) -> bool {
    signed(a.wrapping_sub(b)) < 0
}

const fn lesser(a: u32, b: u32) -> u32 {
    if is_less(b, a) { b } else { a }
}

const fn signed(difference: u32) -> i32 {
    difference as i32
}

/// Microseconds; what does not fit counts as 18 minutes, so that longer and
/// shorter can still be told apart.
pub(super) fn micros(d: Duration) -> u32 {
    const MOST: u32 = 1 << 30;
    u32::try_from(d.as_micros()).unwrap_or(MOST).min(MOST)
}
