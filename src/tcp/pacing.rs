//! Pacing: new data leaves over the round trip rather than all at once, so that
//! queues stay short. At twice the window in a smoothed round trip in slow
//! start, which doubles it, and at six fifths of it afterwards; by so much ahead
//! that the window remains what limits. Retransmissions are left to proportional
//! rate reduction.

use std::time::Duration;

use super::connection::Connection;
use super::timers::Timer;
use crate::time::Instant;

/// Shorter round trips are not paced: what a timer would cost is more than a
/// queue of that length does.
const MIN_ROUND_TRIP: Duration = Duration::from_millis(1);
/// Longer ones count as this, which keeps products in range.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(60);
/// What leaves at once: that much time's worth, and two segments at least.
const BURST: Duration = Duration::from_millis(1);

impl Connection {
    /// Nanoseconds that a window takes, and its bytes; `None` if there is no pace.
    fn pace(&self) -> Option<(u128, u128)> {
        let srtt = self.rtt.srtt().filter(|t| *t >= MIN_ROUND_TRIP)?;
        if !self.config.pacing {
            return None;
        }
        let (num, den) = if self.cc.in_slow_start() {
            (2, 1)
        } else {
            (6, 5)
        };
        let window = u128::from(self.cc.cwnd()) * num;
        Some((srtt.min(MAX_ROUND_TRIP).as_nanos() * den, window.max(1)))
    }

    /// New data that may leave now, in bytes; at least a byte lets a segment go.
    pub(super) fn pace_room(&self, now: Instant) -> u32 {
        let Some((nanos, window)) = self.pace() else {
            return u32::MAX;
        };
        let two = 2 * u128::from(self.snd.mss) * nanos / window;
        let ahead = self.pace_at.since(now).as_nanos();
        let left = BURST.as_nanos().max(two).saturating_sub(ahead);
        u32::try_from(left * window / nanos).unwrap_or(u32::MAX)
    }

    /// Nothing may leave now: tries again when a burst may.
    pub(super) fn wait_for_pace(&mut self) {
        let at = self.pace_at.min(self.timers.get(Timer::Retry));
        self.timers.set(Timer::Retry, at);
    }

    /// New data of `bytes` has left.
    pub(super) fn keep_pace(&mut self, now: Instant, bytes: u32) {
        if let Some((nanos, window)) = self.pace() {
            let takes = u128::from(bytes) * nanos / window;
            let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
            self.pace_at = self.pace_at.max(now) + takes;
        }
    }
}
