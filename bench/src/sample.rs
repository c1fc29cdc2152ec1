//! Medians and spreads of a few measurements.

use serde_json::{Value, json};

/// Measurements of one quantity, in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The measurements.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The median; of an even number the mean of the middle two, of none not
    /// a number.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(&high) = sorted.get(sorted.len() / 2) else {
            return f64::NAN;
        };
        if sorted.len() % 2 == 1 {
            high
        } else {
            f64::midpoint(sorted[sorted.len() / 2 - 1], high)
        }
    }

    /// The least.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The greatest.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// This one's measurements divided by those of `other` that were taken in
    /// the same rounds.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    /// For reports by machine.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "median": self.median(), "min": self.min(), "max": self.max(), "runs": self.0,
        })
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let odd: Sample = [3.0, 1.0, 10.0].into_iter().collect();
        assert_eq!((odd.median(), odd.min(), odd.max()), (3.0, 1.0, 10.0));
        let even: Sample = [4.0, 1.0, 2.0, 9.0].into_iter().collect();
        assert_eq!(even.median(), 3.0);
        assert!(Sample::default().median().is_nan());
        let pairs = even.over(&odd);
        assert_eq!(pairs.values(), [4.0 / 3.0, 1.0, 0.2], "round by round");
    }
}
