//! LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): LEDBAT without the advantage
//! of who comes last. That one takes the queue of those before it for a part of
//! the path, so that its target is beyond theirs and they starve.
//!
//! - Every flow slows down to two segments from time to time, so that the others
//!   see the path without its queue. It takes a tenth of the time at most.
//! - Above the target the window falls in proportion to itself.
//! - Growth is slower on short paths, where Reno's would be fast: by
//!   `min(16, ceil(2 * target / base))`, in slow start too.
//! - Delays are of round trips, also where one-way delays are known: no clocks
//!   are compared, and there is less to lie about.
//!
//! The target is 60 ms unless told otherwise. Only the first slow start ends by
//! the delay: one after a slowdown goes back to the window before, whatever the
//! queue of the others, or a small flow would stay small.

use std::time::Duration;

use super::AckSample;
use super::delay::Delays;
use super::ledbat::{MIN_WINDOW, bounded};
use super::window::Window;
use crate::time::Instant;

const DEFAULT_TARGET: Duration = Duration::from_millis(60);
const MAX_DIVISOR: u32 = 16;
/// What parts of a segment are counted in.
const UNIT: u64 = 1024;
/// Round trips after the first slow start until the first slowdown.
const UNTIL_FIRST: u32 = 2;
/// Round trips at the least window.
const FROZEN: u32 = 2;
/// The time between slowdowns, in times of how long one took.
const INTERVAL: u32 = 9;
/// Slowdowns are no further apart.
const MAX_INTERVAL: Duration = Duration::from_secs(600);

/// Where the flow stands between slowdowns.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The first slow start.
    First,
    /// Until the next slowdown.
    Steady { until: Instant },
    /// At the least window, with the one to return to.
    Frozen { since: Instant, back_to: u32 },
    /// On the way back.
    Ramp { since: Instant },
}

#[derive(Clone, Debug)]
pub(super) struct LedbatPlus {
    delays: Delays,
    /// Microseconds.
    target: u32,
    /// Growth too small for a byte, in bytes times [`UNIT`] times the window.
    credit: u64,
    /// Of what is acknowledged in slow start, what growth has not used yet.
    rest: u32,
    phase: Phase,
}

impl LedbatPlus {
    pub(super) fn new() -> Self {
        Self {
            delays: Delays::default(),
            target: bounded(DEFAULT_TARGET),
            credit: 0,
            rest: 0,
            phase: Phase::First,
        }
    }

    pub(super) fn set_target(&mut self, target: Duration) {
        self.target = bounded(target);
    }

    pub(super) fn observe(&mut self, a: &AckSample) {
        self.delays.take(&AckSample { delay: None, ..*a });
    }

    /// New data was acknowledged. `usable` says that slow start may grow.
    pub(super) fn on_ack(&mut self, window: &mut Window, a: &AckSample, usable: bool) {
        if self.slows_down(window, a) {
            return;
        }
        let delay = self.delays.queueing().unwrap_or(0);
        if window.in_slow_start() {
            if !matches!(self.phase, Phase::First) || delay <= self.target / 4 * 3 {
                if usable {
                    let divisor = self.divisor();
                    // The divisor may have been larger before.
                    let rest = self.rest.min(divisor.saturating_sub(1));
                    let acked = rest.saturating_add(a.acked);
                    self.rest = acked % divisor;
                    window.slow_start(acked / divisor);
                }
                return;
            }
            window.lower(window.cwnd, window.cwnd);
            self.credit = 0;
        }
        self.avoid(window, a, delay);
    }

    /// Growth is divided by this.
    fn divisor(&self) -> u32 {
        let base = self.delays.base().unwrap_or(u32::MAX).max(1);
        (2 * self.target).div_ceil(base).min(MAX_DIVISOR)
    }

    /// A segment a round trip, divided, and what the delay is above the target
    /// in proportion to the window, of which at most half goes in a round trip.
    fn avoid(&mut self, window: &mut Window, a: &AckSample, delay: u32) {
        if delay <= self.target && !a.cwnd_limited {
            return;
        }
        let acked = u64::from(a.acked.min(window.cwnd));
        self.credit += acked * u64::from(window.smss) * UNIT / u64::from(self.divisor());
        window.earn(&mut self.credit, UNIT);
        if delay > self.target {
            let above = u64::from(delay - self.target) * UNIT / u64::from(self.target);
            window.give_way(a.acked, above.min(UNIT / 2), MIN_WINDOW);
        }
    }

    /// Goes from one phase to the next. Whether the window stands still.
    fn slows_down(&mut self, window: &mut Window, a: &AckSample) -> bool {
        match self.phase {
            Phase::First if !window.in_slow_start() => {
                let until = a.now + a.srtt.saturating_mul(UNTIL_FIRST);
                self.phase = Phase::Steady { until };
            }
            Phase::Steady { until } if a.now >= until && !window.in_slow_start() => {
                self.phase = Phase::Frozen {
                    since: a.now,
                    back_to: window.cwnd,
                };
                window.lower(0, MIN_WINDOW * window.smss);
                self.restart();
                return true;
            }
            Phase::Frozen { since, back_to } => {
                if a.now.since(since) < a.srtt.saturating_mul(FROZEN) {
                    return true;
                }
                window.set_ssthresh(back_to);
                self.phase = Phase::Ramp { since };
            }
            Phase::Ramp { since } if !window.in_slow_start() => {
                let took = a.now.since(since);
                let interval = took.saturating_mul(INTERVAL).min(MAX_INTERVAL);
                self.phase = Phase::Steady {
                    until: a.now + interval,
                };
            }
            Phase::First | Phase::Steady { .. } | Phase::Ramp { .. } => {}
        }
        false
    }

    /// Something was lost: that is what the window returns to from a slowdown.
    pub(super) fn back_off(&mut self, used: u32) -> u32 {
        if let Phase::Frozen { back_to, .. } = &mut self.phase {
            *back_to /= 2;
        }
        used / 2
    }

    /// The window did not grow out of the one before.
    pub(super) fn restart(&mut self) {
        self.credit = 0;
        self.rest = 0;
    }
}
