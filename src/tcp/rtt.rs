//! Round-trip time and the retransmission time-out (RFC 6298), and the
//! smallest round trip of the last minutes that RACK wants (RFC 8985
//! section 6.2 step 1).

use std::time::Duration;

use super::Config;
use crate::time::{Instant, Nanos};

/// Time-out before the first measurement (RFC 6298 section 2.1).
const INITIAL_RTO: Nanos = Nanos::from_secs(1);
/// How long a minimum stands before a larger one may replace it. Linux: 300 s.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Rtt {
    srtt: Nanos,
    rttvar: Nanos,
    rto: Nanos,
    min: Nanos,
    min_at: Instant,
    measured: bool,
    backoff: u8,
}

impl Rtt {
    pub const fn new() -> Self {
        Self {
            srtt: Nanos::ZERO,
            rttvar: Nanos::ZERO,
            rto: INITIAL_RTO,
            min: Nanos::MOST,
            min_at: Instant::ZERO,
            measured: false,
            backoff: 0,
        }
    }

    /// Takes a measurement; the caller applies Karn's rule.
    pub fn sample(&mut self, now: Instant, rtt: Duration, config: &Config) {
        let rtt = Nanos::from(rtt).max(Nanos::LEAST);
        if rtt <= self.min || now.since(self.min_at) > MIN_RTT_WINDOW {
            self.min = rtt;
            self.min_at = now;
        }
        if self.measured {
            // RFC 6298 section 2.3, alpha = 1/8 and beta = 1/4.
            let diff = self.srtt.abs_diff(rtt);
            self.rttvar = self.rttvar.part(3, 4).plus(diff.part(1, 4));
            self.srtt = self.srtt.part(7, 8).plus(rtt.part(1, 8));
        } else {
            self.measured = true;
            self.srtt = rtt;
            self.rttvar = rtt.part(1, 2);
        }
        let (least, most) = (config.min_rto.into(), config.max_rto.into());
        let rto = self.srtt.plus(self.rttvar.times(4).max(least));
        self.rto = rto.max(least).min(most);
        // Only this takes the back-off away (RFC 6298 section 5).
        self.backoff = 0;
    }

    /// The time-out in force, back-off included.
    pub fn rto(&self, config: &Config) -> Duration {
        self.time_out(config).into()
    }

    /// The same as a number.
    #[inline]
    pub fn time_out(&self, config: &Config) -> Nanos {
        let rto = self.rto.times(1 << self.backoff.min(63));
        rto.min(config.max_rto.into())
    }

    /// Doubles the time-out (RFC 6298 section 5.5).
    pub fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(31);
    }

    /// Doublings in force.
    pub const fn backoff(&self) -> u8 {
        self.backoff
    }

    /// What it was doubled for is over: the next time-out is not backed off.
    pub const fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    /// After a SYN had to be sent again, the time-out restarts at 3 s
    /// (RFC 6298 section 5.7).
    pub fn syn_was_lost(&mut self) {
        if !self.measured {
            self.rto = Duration::from_secs(3).into();
        }
        self.backoff = 0;
    }

    pub fn srtt(&self) -> Option<Duration> {
        self.measured.then(|| self.srtt.into())
    }

    pub fn rttvar(&self) -> Duration {
        self.rttvar.into()
    }

    /// Smallest recent round trip; [`Duration::MAX`] before any.
    pub fn min(&self) -> Duration {
        match self.min {
            Nanos::MOST => Duration::MAX,
            least => least.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formulas_of_rfc_6298() {
        let c = Config {
            min_rto: Duration::from_millis(1),
            ..Config::default()
        };
        let mut r = Rtt::new();
        assert_eq!(r.rto(&c), Duration::from_secs(1));
        r.sample(Instant::ZERO, Duration::from_millis(100), &c);
        assert_eq!(r.srtt(), Some(Duration::from_millis(100)));
        assert_eq!(r.rto(&c), Duration::from_millis(300));
        r.sample(Instant::ZERO, Duration::from_millis(180), &c);
        assert_eq!(r.srtt(), Some(Duration::from_millis(110)));
        // 3/4 * 50 + 1/4 * 80 = 57.5
        assert_eq!(r.rttvar(), Duration::from_micros(57_500));
        assert_eq!(r.rto(&c), Duration::from_millis(340));
    }

    #[test]
    fn backs_off_to_the_ceiling_and_recovers() {
        let c = Config::default();
        let mut r = Rtt::new();
        for _ in 0..40 {
            r.back_off();
        }
        assert_eq!(r.rto(&c), c.max_rto);
        r.reset_backoff();
        assert_eq!(r.rto(&c), Duration::from_secs(1));
    }

    #[test]
    fn the_minimum_ages() {
        let c = Config::default();
        let mut r = Rtt::new();
        r.sample(Instant::ZERO, Duration::from_millis(5), &c);
        r.sample(Instant::from_millis(1000), Duration::from_millis(9), &c);
        assert_eq!(r.min(), Duration::from_millis(5));
        r.sample(Instant::from_millis(400_000), Duration::from_millis(9), &c);
        assert_eq!(r.min(), Duration::from_millis(9));
    }
}
