//! Pacing: new data leaves over the round trip rather than all at once, so that
//! queues stay short. At twice the window in a smoothed round trip in slow
//! start, which doubles it, and at six fifths of it afterwards; by so much ahead
//! that the window remains what limits. Retransmissions are left to those who
//! repair.

use std::time::Duration;

/// Shorter round trips are not paced: what a timer would cost is more than a
/// queue of that length does.
const MIN_ROUND_TRIP: Duration = Duration::from_millis(1);
/// Longer ones count as this, which keeps products in range.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(60);
/// What leaves at once: that much time's worth, and two segments at least.
const BURST: Duration = Duration::from_millis(1);

/// How fast new data may leave.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Nanoseconds that a window takes, and its bytes.
    nanos: u128,
    window: u128,
}

impl Rate {
    /// The rate of a window of `cwnd` bytes; `None` where the round trip is
    /// too short for one.
    pub fn of(srtt: Option<Duration>, cwnd: u32, slow_start: bool) -> Option<Self> {
        let srtt = srtt.filter(|t| *t >= MIN_ROUND_TRIP)?;
        let (num, den) = if slow_start { (2, 1) } else { (6, 5) };
        let window = u128::from(cwnd) * num;
        Some(Self {
            nanos: srtt.min(MAX_ROUND_TRIP).as_nanos() * den,
            window: window.max(1),
        })
    }

    /// New data that may leave, in bytes, when what has left is `ahead` of its
    /// time; at least a byte lets one of `segment` bytes go.
    pub fn room(&self, ahead: Duration, segment: u16) -> u32 {
        let two = 2 * u128::from(segment) * self.nanos / self.window;
        self.in_nanos(BURST.as_nanos().max(two).saturating_sub(ahead.as_nanos()))
    }

    /// The bytes of that much time.
    pub fn gives(&self, time: Duration) -> u32 {
        self.in_nanos(time.as_nanos())
    }

    fn in_nanos(&self, nanos: u128) -> u32 {
        u32::try_from(nanos * self.window / self.nanos).unwrap_or(u32::MAX)
    }

    /// The time that `bytes` take.
    pub fn takes(&self, bytes: u32) -> Duration {
        let nanos = u128::from(bytes) * self.nanos / self.window;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
