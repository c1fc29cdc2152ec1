//! Percentiles.

use hdrhistogram::Histogram;

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

/// In microseconds.
#[must_use]
pub fn figures(histogram: &Histogram<u64>) -> Figures {
    PERCENTILES
        .map(|(name, percent)| (name, histogram.value_at_percentile(percent) as f64 / 1e3))
        .to_vec()
}
