//! Percentiles.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use super::Figures;

/// Those that are reported: name and percent.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Of nanoseconds, up to a minute.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the crate takes.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}

/// How many processors were in use.
pub const PROCESSORS: &str = "processors";

/// Processor time of this process, from when it was made.
pub struct Spent {
    begin: Instant,
    before: Duration,
}

impl Spent {
    /// Begins now.
    #[must_use]
    #[allow(clippy::new_without_default)] // it reads clocks
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            before: spent(),
        }
    }

    /// Processors in use since then.
    #[must_use]
    pub fn processors(&self) -> f64 {
        (spent() - self.before).as_secs_f64() / self.begin.elapsed().as_secs_f64().max(1e-9)
    }
}

fn spent() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// In microseconds, and the processors in use.
#[must_use]
pub fn figures(histogram: &Histogram<u64>, processors: f64) -> Figures {
    let percentiles = PERCENTILES
        .map(|(name, percent)| (name, histogram.value_at_percentile(percent) as f64 / 1e3));
    let processors = [(PROCESSORS, processors)];
    percentiles.into_iter().chain(processors).collect()
}
