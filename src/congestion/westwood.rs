//! Westwood+: Reno's growth, and a back-off to what the path was measured to
//! carry (Mascolo et al., "TCP Westwood+", 2004). A loss that has nothing to do
//! with congestion then costs little.
//!
//! The bandwidth is the best of the last rounds rather than the paper's
//! low-pass filter: that lags some sixteen rounds behind a growing window, and
//! each back-off to it would take the growth back.

use std::time::Duration;

use super::reno::Reno;
use super::window::Window;
use super::{AckSample, Signal};
use crate::time::{Instant, Nanos};

/// Bandwidth is not measured over less than this: bursts of acknowledgments
/// would be taken for the path's rate.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Rounds of which the best counts: long enough to span a recovery, short
/// enough to follow a path that became slower.
const ROUNDS: usize = 10;
/// Bytes that bandwidth is counted in: up to 2 Tbit/s fit 32 bits.
const UNIT: u64 = 64;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Westwood {
    reno: Reno,
    /// Bandwidth of the last rounds in [`UNIT`]s a second; zero until measured.
    rounds: [u32; ROUNDS],
    /// The place of the oldest.
    oldest: u8,
    min_rtt: Nanos,
    /// [`Instant::ZERO`] before the first.
    interval_start: Instant,
    /// Bytes delivered since `interval_start`.
    delivered: u64,
    /// The sender was held back by something else during this interval.
    app_limited: bool,
}

impl Westwood {
    pub(super) fn grow(&mut self, window: &mut Window, acked: u32) {
        self.reno.grow(window, acked);
    }

    pub(super) fn restart(&mut self) {
        self.reno.restart();
    }

    /// One bandwidth sample each round trip.
    pub(super) fn observe(&mut self, a: &AckSample) {
        self.min_rtt = a.min_rtt.into();
        let start = self.interval_start;
        if start == Instant::ZERO {
            self.interval_start = a.now;
            return;
        }
        self.delivered = self.delivered.saturating_add(u64::from(a.acked));
        self.app_limited |= !a.cwnd_limited;
        let elapsed = a.now.since(start);
        if elapsed < a.srtt.max(MIN_INTERVAL) {
            return;
        }
        let nanos = elapsed.as_nanos().max(1);
        let sample = u128::from(self.delivered) * 1_000_000_000 / nanos;
        self.sample(u64::try_from(sample).unwrap_or(u64::MAX));
        self.interval_start = a.now;
        self.delivered = 0;
        self.app_limited = false;
    }

    /// A slow sample of a sender that had nothing to send says nothing.
    fn sample(&mut self, sample: u64) {
        let sample = u32::try_from(sample / UNIT).unwrap_or(u32::MAX);
        let best = self.rounds.iter().max();
        if !self.app_limited || best.is_none_or(|best| sample > *best) {
            self.rounds[usize::from(self.oldest)] = sample;
            self.oldest = (self.oldest + 1) % ROUNDS as u8;
        }
    }

    /// The best of the last rounds, in bytes a second.
    fn bandwidth(&self) -> u64 {
        u64::from(self.rounds.iter().copied().max().unwrap_or(0)) * UNIT
    }

    /// Bandwidth times the round trip of an empty path, never more than
    /// `used`; Reno's half before anything was measured.
    pub(super) fn back_off(&mut self, used: u32, signal: Signal) -> u32 {
        let reno = self.reno.back_off(used, signal);
        let pipe =
            u128::from(self.bandwidth()) * Duration::from(self.min_rtt).as_nanos() / 1_000_000_000;
        if pipe == 0 {
            reno
        } else {
            u32::try_from(pipe).unwrap_or(u32::MAX).min(used)
        }
    }
}
