//! The pace of new data ([`Rate`]). What was lost goes again at once.

use super::connection::Connection;
use super::timers::Timer;
use crate::time::Instant;
use crate::transport::pace::Rate;

impl Connection {
    /// How fast new data may leave; `None` if there is no pace.
    fn pace(&self) -> Option<Rate> {
        if !self.config.pacing {
            return None;
        }
        Rate::of(self.rtt.srtt(), self.cc.cwnd(), self.cc.in_slow_start())
    }

    /// New data that may leave now, in bytes; at least a byte lets a packet go.
    pub(super) fn pace_room(&self, now: Instant) -> u32 {
        let ahead = self.pace_at.since(now);
        self.pace()
            .map_or(u32::MAX, |rate| rate.room(ahead, self.snd.mss))
    }

    /// Nothing may leave now: tries again when a burst may.
    pub(super) fn wait_for_pace(&mut self) {
        let at = self.pace_at.min(self.timers.get(Timer::Retry));
        self.timers.set(Timer::Retry, at);
    }

    /// New data of `bytes` has left.
    pub(super) fn keep_pace(&mut self, now: Instant, bytes: u32) {
        if let Some(rate) = self.pace() {
            self.pace_at = self.pace_at.max(now) + rate.takes(bytes);
        }
    }
}
