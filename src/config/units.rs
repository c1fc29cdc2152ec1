//! Values that cannot be invalid: numbers within bounds, sizes and
//! durations.
//!
//! Each is read from TOML and from a command-line argument by the same rules.

use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A value written as one number or one string.
pub(super) trait Scalar: Sized {
    /// What is accepted, to follow "expected".
    fn expecting() -> String;
    fn from_int(_: i64) -> Option<Self> {
        None
    }
    fn from_text(_: &str) -> Option<Self> {
        None
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&T::expecting())
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<T, E> {
        T::from_int(v).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(v), &self))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<T, E> {
        i64::try_from(v)
            .ok()
            .and_then(T::from_int)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(v), &self))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<T, E> {
        T::from_text(v).ok_or_else(|| E::invalid_value(de::Unexpected::Str(v), &self))
    }
}

pub(super) fn deserialize<'de, T: Scalar, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    d.deserialize_any(ScalarVisitor(PhantomData))
}

macro_rules! scalar {
    ([$($generics:tt)*] $type:ty) => {
        impl<'de, $($generics)*> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                crate::config::units::deserialize(d)
            }
        }

        impl<$($generics)*> std::str::FromStr for $type {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                use crate::config::units::Scalar;
                let s = s.trim();
                Self::from_text(s)
                    .or_else(|| s.parse().ok().and_then(Self::from_int))
                    .ok_or_else(|| format!("expected {}", Self::expecting()))
            }
        }
    };
}
pub(super) use scalar;

/// Splits "12.5ms" into 12.5 and "ms".
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    Some((number, text[at..].trim()))
}

/// `number * factor` as an integer, unless it is none or too large for `u64`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn scaled(number: f64, factor: f64) -> Option<u64> {
    let value = number * factor;
    let whole = value.round();
    // A fraction that the factor does not make whole is a slip ("1.5" frames).
    ((value - whole).abs() < 1e-6 * value.max(1.0) && whole < 2f64.powi(63)).then_some(whole as u64)
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// `n`, if it is within the bounds.
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        if n >= MIN && n <= MAX {
            Some(Self(n))
        } else {
            None
        }
    }

    /// `n` moved to the nearest bound.
    #[must_use]
    pub const fn clamped(n: u64) -> Self {
        Self(if n < MIN {
            MIN
        } else if n > MAX {
            MAX
        } else {
            n
        })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Count<MIN, MAX> {
    fn expecting() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }
    fn from_int(n: i64) -> Option<Self> {
        Self::new(u64::try_from(n).ok()?)
    }
}
scalar!([const MIN: u64, const MAX: u64] Count<MIN, MAX>);

/// A ring's size: a power of two from 64 to 32768.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(u32);

impl RingSize {
    /// `n`, if it is a size that a ring can have.
    #[must_use]
    pub const fn new(n: u32) -> Option<Self> {
        if n.is_power_of_two() && n >= 64 && n <= 32_768 {
            Some(Self(n))
        } else {
            None
        }
    }

    /// Descriptors that the ring holds.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Scalar for RingSize {
    fn expecting() -> String {
        "a power of two from 64 to 32768".into()
    }
    fn from_int(n: i64) -> Option<Self> {
        Self::new(u32::try_from(n).ok()?)
    }
}
scalar!([] RingSize);

/// A number of bytes from `MIN` to `MAX`: `65536` or `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// `bytes`, if it is within the bounds.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes >= MIN && bytes <= MAX {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// `bytes` moved to the nearest bound.
    #[must_use]
    pub const fn clamped(bytes: u64) -> Self {
        Self(Count::<MIN, MAX>::clamped(bytes).get())
    }

    /// Bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    fn expecting() -> String {
        format!(
            "a size from {} to {}, such as \"64KiB\"",
            size_text(MIN),
            size_text(MAX)
        )
    }
    fn from_int(n: i64) -> Option<Self> {
        Self::new(u64::try_from(n).ok()?)
    }
    fn from_text(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            _ => return None,
        };
        #[allow(clippy::cast_precision_loss)]
        Self::new(scaled(number, factor as f64)?)
    }
}
scalar!([const MIN: u64, const MAX: u64] Size<MIN, MAX>);

/// A number of bytes in the largest binary unit that divides it.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// A duration from `MIN` to `MAX` microseconds, written with its unit:
/// `"50us"`, `"20ms"`, `"1.5s"`, `"5min"`, `"2h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Span<MIN, MAX> {
    /// `us` microseconds moved to the nearest bound.
    #[must_use]
    pub const fn micros(us: u64) -> Self {
        Self(Duration::from_micros(Count::<MIN, MAX>::clamped(us).get()))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Span<MIN, MAX> {
    fn expecting() -> String {
        format!(
            "a duration with its unit, from {} to {}",
            span_text(MIN),
            span_text(MAX)
        )
    }
    fn from_text(text: &str) -> Option<Self> {
        let d = parse_duration(text)?;
        (Duration::from_micros(MIN) <= d && d <= Duration::from_micros(MAX)).then_some(Self(d))
    }
}
scalar!([const MIN: u64, const MAX: u64] Span<MIN, MAX>);

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let ns = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "min" => 60e9,
        "h" => 3_600e9,
        _ => return None,
    };
    Some(Duration::from_nanos(scaled(number, ns)?))
}

/// Microseconds in the largest unit that divides them.
fn span_text(us: u64) -> String {
    for (factor, unit) in [
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
    ] {
        if us >= factor && us.is_multiple_of(factor) {
            return format!("\"{}{unit}\"", us / factor);
        }
    }
    format!("\"{us}us\"")
}

/// A value, or the word "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    /// Switched off.
    Off,
    /// Switched on, with its value.
    On(T),
}

impl<T> OrOff<T> {
    /// The value, if it is switched on.
    #[must_use]
    pub fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T: Scalar> Scalar for OrOff<T> {
    fn expecting() -> String {
        format!("\"off\" or {}", T::expecting())
    }
    fn from_int(n: i64) -> Option<Self> {
        T::from_int(n).map(Self::On)
    }
    fn from_text(text: &str) -> Option<Self> {
        if text == "off" {
            Some(Self::Off)
        } else {
            T::from_text(text).map(Self::On)
        }
    }
}

impl<'de, T: Scalar> de::Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        deserialize(d)
    }
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
