//! CUBIC (RFC 9438), in integers.
//!
//! Time is counted in ticks of 2^-20 s, so that a cube of it turns into bytes
//! by a shift.

use std::time::Duration;

use super::tolerance::{self, Tolerance};
use super::window::Window;
use super::{AckSample, Signal};
use crate::time::Instant;

/// Longer times are taken for this one (2.4 hours), which keeps every product
/// in range.
const MAX_NANOS: u64 = 1 << 43;
/// The part by which a window that is a guess grows in a round trip at least,
/// as Linux's does.
const GUESS_DIVISOR: u64 = 20;

#[derive(Clone, Debug, Default)]
pub(super) struct Cubic {
    /// The window at which the last loss happened, in bytes; lowered by fast
    /// convergence. Zero when there is none to return to.
    w_max: u32,
    /// The window when the threshold was last set.
    cwnd_prior: u32,
    // Apart: who sends little has none.
    epoch: Option<Box<Epoch>>,
    /// Not for CUBIC as the RFC has it.
    tolerance: Option<Tolerance>,
}

/// One stage of congestion avoidance.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// `W_cubic(t)` has its origin here; moved on by the time in which the
    /// window was not the limit.
    start: Instant,
    /// Ticks from `start` to the plateau.
    k: u64,
    /// Height of the plateau in bytes.
    plateau: u32,
    /// What Reno would have by now, in bytes.
    w_est: u64,
    /// Remainders of the two divisions by the window.
    est_credit: u64,
    credit: u64,
    last_ack: Instant,
}

impl Cubic {
    /// One that backs off less for a loss that says nothing of congestion.
    pub(super) fn tolerant() -> Self {
        Self {
            tolerance: Some(Tolerance::new()),
            ..Self::default()
        }
    }

    pub(super) fn observe(&mut self, a: &AckSample, smss: u32) {
        if let Some(t) = &mut self.tolerance {
            t.observe(a, smss);
        }
    }

    /// `guessed` says that slow start was left for what looked like a full
    /// path, and nothing has been lost since.
    pub(super) fn grow(&mut self, window: &mut Window, acked: u32, a: &AckSample, guessed: bool) {
        let cwnd_prior = self.cwnd_prior;
        let w_max = self.w_max;
        let epoch = self
            .epoch
            .get_or_insert_with(|| Box::new(Epoch::new(window, w_max, a.now)));
        epoch.last_ack = epoch.last_ack.max(a.now);
        let t = a.now.since(epoch.start);

        let w_est = epoch.reno_estimate(window, acked, cwnd_prior);
        let cwnd = u64::from(window.cwnd);
        if epoch.w_cubic(window.smss, t) < w_est && !guessed {
            // Reno-friendly region (§4.3).
            window.grow(w_est.saturating_sub(cwnd));
            return;
        }
        // Concave and convex regions (§4.4, §4.5).
        let mut target = epoch.w_cubic(window.smss, t.saturating_add(a.srtt));
        if guessed {
            target = target.max(cwnd + (cwnd / GUESS_DIVISOR).max(window.smss.into()));
        }
        let target = target.clamp(cwnd, cwnd + cwnd / 2);
        epoch.credit += (target - cwnd) * u64::from(acked.min(window.cwnd));
        window.grow(epoch.credit / cwnd);
        epoch.credit %= cwnd;
    }

    /// The window was not the limit: that time does not count (§5.8).
    pub(super) fn pause(&mut self, now: Instant) {
        if let Some(epoch) = &mut self.epoch {
            epoch.start += now.since(epoch.last_ack);
            epoch.last_ack = epoch.last_ack.max(now);
        }
    }

    /// Multiplicative decrease and fast convergence (§4.6, §4.7); RFC 8511
    /// for a mark.
    pub(super) fn back_off(&mut self, window: &Window, used: u32, signal: Signal) -> u32 {
        // Slow start doubles until something is lost: that is congestion.
        if signal == Signal::Loss
            && !window.in_slow_start()
            && let Some(t) = &mut self.tolerance
            && t.forgives(window.smss)
        {
            // There is no one to give way to, and nothing to be approached
            // with care: as fast as Reno at once.
            self.w_max = window.cwnd;
            self.cwnd_prior = 0;
            self.epoch = None;
            return tolerance::lowered(used);
        }
        self.decrease(window.cwnd, used, signal)
    }

    /// Further `bytes` are lost in a recovery that began with `cwnd`. The
    /// threshold in place of `ssthresh`, if the first was forgiven in error.
    pub(super) fn further_loss(
        &mut self,
        bytes: u32,
        smss: u32,
        cwnd: u32,
        ssthresh: u32,
    ) -> Option<u32> {
        let revoked = self.tolerance.as_mut()?.revokes(bytes, smss);
        revoked.then(|| self.decrease(cwnd, tolerance::before(ssthresh), Signal::Loss))
    }

    fn decrease(&mut self, cwnd: u32, used: u32, signal: Signal) -> u32 {
        self.w_max = if cwnd < self.w_max {
            scale(cwnd, 17, 20)
        } else {
            cwnd
        };
        self.cwnd_prior = cwnd;
        self.epoch = None;
        if let Some(t) = &mut self.tolerance {
            t.forget();
        }
        match signal {
            Signal::Loss | Signal::Timeout => scale(used, 7, 10),
            Signal::Ecn => scale(used, 17, 20),
        }
    }

    /// After a time-out the plateau is where congestion avoidance begins
    /// (§4.8).
    pub(super) fn on_rto(&mut self) {
        self.w_max = 0;
        self.epoch = None;
    }

    /// The next acknowledgment begins a new stage.
    pub(super) fn restart_epoch(&mut self) {
        self.epoch = None;
    }
}

impl Epoch {
    fn new(window: &Window, w_max: u32, now: Instant) -> Self {
        let plateau = w_max.max(window.cwnd);
        // K = cbrt((W_max - cwnd) / C), with C = 0.4 segments/s³ (§4.2).
        let below = u128::from(plateau - window.cwnd);
        let k = cube_root(((below * 5) << 60) / (2 * u128::from(window.smss)));
        Self {
            start: now,
            k,
            plateau,
            w_est: u64::from(window.cwnd),
            est_credit: 0,
            credit: 0,
            last_ack: now,
        }
    }

    /// `W_cubic(t) = C*(t-K)³ + W_max` in bytes.
    fn w_cubic(&self, smss: u32, t: Duration) -> u64 {
        let t = ticks(t);
        let distance = u128::from(t.abs_diff(self.k));
        let bytes = (u128::from(smss) * distance * distance * distance) >> 59;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX) / 5;
        if t < self.k {
            u64::from(self.plateau).saturating_sub(bytes)
        } else {
            u64::from(self.plateau).saturating_add(bytes)
        }
    }

    /// `W_est` after `acked` more bytes (§4.3): slower than Reno until the
    /// window of the last loss is reached, then as fast.
    fn reno_estimate(&mut self, window: &Window, acked: u32, cwnd_prior: u32) -> u64 {
        // alpha = 3 * (1 - beta) / (1 + beta) = 9 / 17.
        let (num, den) = if self.w_est >= u64::from(cwnd_prior) {
            (17, 17)
        } else {
            (9, 17)
        };
        let whole = u64::from(window.cwnd) * den;
        self.est_credit += u64::from(acked.min(window.cwnd)) * u64::from(window.smss) * num;
        self.w_est = self.w_est.saturating_add(self.est_credit / whole);
        self.est_credit %= whole;
        self.w_est
    }
}

fn scale(bytes: u32, num: u64, den: u64) -> u32 {
    u32::try_from(u64::from(bytes) * num / den).unwrap_or(u32::MAX)
}

fn ticks(d: Duration) -> u64 {
    let nanos = u64::try_from(d.as_nanos())
        .unwrap_or(MAX_NANOS)
        .min(MAX_NANOS);
    (nanos << 20) / 1_000_000_000
}

/// The integer cube root, by digits of two.
fn cube_root(mut rest: u128) -> u64 {
    let mut root: u128 = 0;
    for shift in (0..=126).rev().step_by(3) {
        root <<= 1;
        let step = 3 * root * (root + 1) + 1;
        if rest >> shift >= step {
            rest -= step << shift;
            root += 1;
        }
    }
    u64::try_from(root).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_a_millionth_of_two() {
        assert_eq!(ticks(Duration::from_secs(1)), 1 << 20);
        assert_eq!(ticks(Duration::MAX), ticks(Duration::from_nanos(MAX_NANOS)));
    }

    proptest! {
        #[test]
        fn cube_root_is_the_floor(n in 0u128..(1 << 120)) {
            let r = u128::from(cube_root(n));
            prop_assert!(r.pow(3) <= n && (r + 1).pow(3) > n);
        }
    }
}
