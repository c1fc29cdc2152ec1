//! Round-trip time and the retransmission time-out, by the formulas of BEP 29:
//! those of RFC 6298 with another floor.

use std::time::Duration;

use super::Config;
use crate::time::{Instant, Nanos};

/// How long a minimum stands before a larger one may replace it.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Rtt {
    srtt: Nanos,
    rttvar: Nanos,
    min: Nanos,
    min_at: Instant,
    last: Nanos,
    measured: bool,
    backoff: u8,
}

impl Rtt {
    pub const fn new() -> Self {
        Self {
            srtt: Nanos::ZERO,
            rttvar: Nanos::ZERO,
            min: Nanos::MOST,
            min_at: Instant::ZERO,
            last: Nanos::ZERO,
            measured: false,
            backoff: 0,
        }
    }

    /// Takes a measurement, of a packet that was sent once.
    pub fn sample(&mut self, now: Instant, rtt: Duration) {
        let rtt = Nanos::from(rtt).max(Nanos::LEAST);
        self.last = rtt;
        if rtt <= self.min || now.since(self.min_at) > MIN_RTT_WINDOW {
            self.min = rtt;
            self.min_at = now;
        }
        if self.measured {
            let diff = self.srtt.abs_diff(rtt);
            self.rttvar = self.rttvar.part(3, 4).plus(diff.part(1, 4));
            self.srtt = self.srtt.part(7, 8).plus(rtt.part(1, 8));
        } else {
            self.measured = true;
            self.srtt = rtt;
            self.rttvar = rtt.part(1, 2);
        }
        self.backoff = 0;
    }

    /// The time-out in force, back-off included.
    pub fn rto(&self, config: &Config) -> Duration {
        let base = if self.measured {
            self.srtt.plus(self.rttvar.times(4))
        } else {
            config.initial_rto.into()
        };
        let rto = base.max(config.min_rto.into());
        let rto = rto.times(1 << self.backoff.min(63));
        Duration::from(rto).min(config.max_rto)
    }

    /// Doubles the time-out.
    pub fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(31);
    }

    /// Doublings in force.
    pub const fn backoff(&self) -> u8 {
        self.backoff
    }

    /// What it was doubled for is over.
    pub const fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    pub fn srtt(&self) -> Option<Duration> {
        self.measured.then(|| self.srtt.into())
    }

    pub fn rttvar(&self) -> Duration {
        self.rttvar.into()
    }

    /// The longer of the smoothed round trip and the last; none before any.
    pub fn longest(&self) -> Duration {
        self.srtt.max(self.last).into()
    }

    /// Smallest recent round trip; zero before any.
    pub fn min(&self) -> Duration {
        match self.min {
            Nanos::MOST => Duration::ZERO,
            least => least.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_follows_bep_29() {
        let c = Config::default();
        let mut r = Rtt::new();
        assert_eq!(r.rto(&c), c.initial_rto);
        r.sample(Instant::ZERO, Duration::from_millis(400));
        // 400 + 4 * 200
        assert_eq!(r.rto(&c), Duration::from_millis(1200));
        r.sample(Instant::ZERO, Duration::from_millis(480));
        // 410 + 4 * (3/4 * 200 + 1/4 * 80)
        assert_eq!(r.rto(&c), Duration::from_millis(410 + 4 * 170));
        for _ in 0..100 {
            r.sample(Instant::ZERO, Duration::from_millis(20));
        }
        assert_eq!(r.rto(&c), Duration::from_millis(500), "the floor");
        r.back_off();
        r.back_off();
        assert_eq!(r.rto(&c), Duration::from_secs(2));
        for _ in 0..40 {
            r.back_off();
        }
        assert_eq!(r.rto(&c), c.max_rto);
        r.sample(Instant::ZERO, Duration::from_millis(20));
        assert_eq!((r.backoff(), r.min()), (0, Duration::from_millis(20)));
    }
}
