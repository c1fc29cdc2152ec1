//! LEDBAT (RFC 6817): fills the path as long as nobody else does, with a queue
//! of the target's length, and gives way as soon as the queue gets longer.
//!
//! Where the RFC leaves a choice, or libutp does something else:
//!
//! - The target is 100 ms, as in both, unless told otherwise; never more, which
//!   the RFC forbids.
//! - The gain is one segment a round trip, the most that the RFC allows: no
//!   faster than Reno. libutp: 3000 bytes.
//! - Above the target the window falls in proportion to itself, by what part of
//!   the target the delay is above it, and by half of it in a round trip at most.
//!   The RFC and libutp take as many segments as they would add below, which
//!   leaves a fifth of the path beside CUBIC instead of a twentieth: a large
//!   window takes too long to give way.
//! - Slow start doubles as TCP's does and ends when the delay is above a quarter
//!   of the target. Since what was measured left a round trip before, with half
//!   the window, the window returns to that half. The RFC has no slow start;
//!   libutp's is slower, and ends at nine tenths of the target.
//! - Who was held down to the least window and finds the queue gone returns by
//!   slow start to the window that delay and losses bore out before; neither has
//!   that, and long paths then stay idle for a minute.
//! - The window does not grow unless it was the limit; what was the limit a
//!   second ago does not count, as it does in libutp. It is not cut to what is
//!   in flight (RFC 6817 section 2.4.2, ALLOWED_INCREASE), but decays when idle.
//! - It is two segments at least, as in the RFC; libutp goes below a packet.
//! - A loss halves it, a mark as well, and a time-out leaves one segment.

use std::time::Duration;

use super::AckSample;
use super::delay::{Delays, micros};
use super::window::Window;

/// RFC 6817 section 2.5: no more than that.
const MAX_TARGET: u32 = 100_000;
/// The shortest target that is taken, in microseconds.
const MIN_TARGET: u32 = 1_000;
/// Of the target: more ends slow start.
const EXIT: u32 = 4;
/// Least window in segments.
pub(super) const MIN_WINDOW: u32 = 2;
/// What parts of the target are counted in.
const UNIT: u64 = 1024;

#[derive(Clone, Debug)]
pub(super) struct Ledbat {
    delays: Delays,
    /// Microseconds.
    target: u32,
    /// Growth too small for a byte, in bytes times [`UNIT`] times the window.
    credit: u64,
    /// The window fell to the least by the delay of others.
    held_down: bool,
    /// The largest window that the delay and losses have borne out.
    best: u32,
    /// What slow start would have come to since the last time-out.
    reach: u32,
}

impl Ledbat {
    pub(super) fn new() -> Self {
        Self {
            delays: Delays::default(),
            target: MAX_TARGET,
            credit: 0,
            held_down: false,
            best: 0,
            reach: u32::MAX,
        }
    }

    pub(super) fn set_target(&mut self, target: Duration) {
        self.target = bounded(target);
    }

    pub(super) fn observe(&mut self, a: &AckSample) {
        self.delays.take(a);
    }

    /// New data was acknowledged. `usable` says that slow start may grow.
    pub(super) fn on_ack(&mut self, window: &mut Window, a: &AckSample, usable: bool) {
        self.reach = self.reach.saturating_add(a.acked);
        let delay = self.delays.queueing().unwrap_or(0);
        if window.in_slow_start() {
            if delay <= self.target / EXIT {
                if usable {
                    window.slow_start(a.acked);
                }
                return;
            }
            let least = window.initial().max(MIN_WINDOW * window.smss);
            let least = least.min(window.cwnd);
            window.lower(window.cwnd / 2, least);
            self.credit = 0;
            self.best = window.cwnd;
        }
        if delay > self.target {
            self.give_way(window, a.acked, delay - self.target);
        } else if a.cwnd_limited {
            self.grow(window, a.acked, self.target - delay);
        }
    }

    /// A segment a round trip at most, in proportion to what the delay is
    /// `below` the target.
    fn grow(&mut self, window: &mut Window, acked: u32, below: u32) {
        if self.held_down && below >= self.target - self.target / EXIT {
            self.held_down = false;
            window.set_ssthresh(self.best);
            return;
        }
        let part = u64::from(below) * UNIT / u64::from(self.target);
        self.credit += u64::from(acked.min(window.cwnd)) * u64::from(window.smss) * part;
        window.earn(&mut self.credit, UNIT);
        self.best = self.best.max(window.cwnd);
    }

    /// In proportion to the window and to what the delay is `above` the target,
    /// by half of the window in a round trip at most.
    fn give_way(&mut self, window: &mut Window, acked: u32, above: u32) {
        let part = u64::from(above) * UNIT / u64::from(self.target);
        window.give_way(acked, part.min(UNIT / 2), MIN_WINDOW);
        self.held_down |= window.cwnd <= MIN_WINDOW * window.smss;
    }

    /// What `used` bytes of the window become by a loss.
    pub(super) fn back_off(&mut self, used: u32) -> u32 {
        self.best = self.best.min(self.reach).max(used) / 2;
        self.held_down = false;
        used / 2
    }

    /// After a time-out others begin again too, and what they lose before they
    /// are back counts from there.
    pub(super) fn on_rto(&mut self, smss: u32) {
        self.reach = smss;
    }

    /// The window did not grow out of the one before.
    pub(super) fn restart(&mut self) {
        self.credit = 0;
    }
}

/// A target in microseconds that can be worked with.
pub(super) fn bounded(target: Duration) -> u32 {
    micros(target).clamp(MIN_TARGET, MAX_TARGET)
}

/// The window after `idle`: a third less for each time-out that has passed, and
/// no less than `least`.
pub(super) fn decayed(cwnd: u32, idle: Duration, rto: Duration, least: u32) -> u32 {
    let mut cwnd = cwnd;
    let mut left = idle;
    while left > rto && cwnd > least {
        cwnd -= (cwnd / 3).max(1);
        left = left.saturating_sub(rto.max(Duration::from_nanos(1)));
    }
    cwnd.max(least)
}
