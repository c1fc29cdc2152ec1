//! Which controllers there are, and their names.

use std::fmt;
use std::str::FromStr;

/// Which congestion controller a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// AIMD of RFC 5681 and RFC 6582, with appropriate byte counting.
    Reno,
    /// RFC 9438.
    Cubic,
    /// CUBIC that backs off less for a loss that comes without a queue, while
    /// such losses are rare.
    #[default]
    Tolerant,
    /// Westwood+: backs off to the bandwidth that was measured.
    Westwood,
    /// RFC 6817: gives way to everything else, by the delay of queues.
    Ledbat,
    /// draft-irtf-iccrg-ledbat-plus-plus: LEDBAT that also shares fairly with
    /// its like.
    LedbatPlusPlus,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 6] = [
        Self::Reno,
        Self::Cubic,
        Self::Tolerant,
        Self::Westwood,
        Self::Ledbat,
        Self::LedbatPlusPlus,
    ];

    /// The name by which configuration and reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
            Self::Tolerant => "tolerant",
            Self::Westwood => "westwood",
            Self::Ledbat => "ledbat",
            Self::LedbatPlusPlus => "ledbat++",
        }
    }

    /// Whether the window follows the delay of queues, so that an
    /// acknowledgement may lower it.
    #[must_use]
    pub const fn follows_delay(self) -> bool {
        matches!(self, Self::Ledbat | Self::LedbatPlusPlus)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no congestion control algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown congestion control `{0}`; use reno, cubic, tolerant, westwood, ledbat or ledbat++"
)]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}
