//! A token bucket.

use std::time::Duration;

use crate::time::Instant;

/// Lets `rate` events a second pass, and bursts of `burst`.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Time that one event takes up.
    cost: u64,
    /// Most time that can be saved up.
    depth: u64,
    /// When the bucket would be full if nothing more came.
    full_at: Instant,
}

impl RateLimit {
    /// A full bucket. A rate or burst of 0 is taken as 1.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Self {
        let cost = 1_000_000_000 / u64::from(rate.max(1));
        Self {
            cost,
            depth: cost.saturating_mul(u64::from(burst.max(1))),
            full_at: Instant::ZERO,
        }
    }

    /// A full bucket that lets one event pass in each `interval`.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        let cost = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self {
            cost,
            depth: cost,
            full_at: Instant::ZERO,
        }
    }

    /// Whether one more event may pass; if so it is counted.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + Duration::from_nanos(self.cost);
        let fits = full_at.since(now) <= Duration::from_nanos(self.depth);
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let mut limit = RateLimit::new(10, 3);
        let t = Instant::from_millis(5_000);
        assert_eq!((0..9).filter(|_| limit.take(t)).count(), 3);
        assert!(!limit.take(t + Duration::from_millis(99)));
        assert!(limit.take(t + Duration::from_millis(100)));
        // Two seconds later it holds a burst again, not twenty events.
        let t = t + Duration::from_secs(2);
        assert_eq!((0..30).filter(|_| limit.take(t)).count(), 3);
    }
}
