//! Byte ranges (RFC 9110 section 14).

use super::fields::{decimal, list};

/// Bytes `start` to `end`, `end` not included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none; never so for a range that was parsed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// What a `Range` field asks of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: the field is in an unknown unit, malformed, or asks for
    /// more work than the whole would be.
    Whole,
    /// These parts, in the order asked for, no two of them overlapping.
    Parts(Vec<ByteRange>),
    /// Nothing of it exists.
    Unsatisfiable,
}

/// Ranges accepted in one request; a longer list is answered with the whole.
pub const MAX_RANGES: usize = 32;

/// Resolves a `Range` field against a representation of `size` bytes.
///
/// Lists that are long, overlap, or add up to more than the representation are
/// answered with the whole (RFC 9110 section 14.2 permits it, section 17.15
/// tells why).
#[must_use]
pub fn select(field: &str, size: u64) -> Selection {
    let Some((unit, set)) = field.split_once('=') else {
        return Selection::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let mut parts: Vec<ByteRange> = Vec::new();
    let mut asked = 0;
    for spec in list(set) {
        asked += 1;
        let Some((first, last)) = spec.split_once('-') else {
            return Selection::Whole;
        };
        let (first, last) = (first.trim(), last.trim());
        let range = if first.is_empty() {
            let Some(suffix) = decimal(last) else {
                return Selection::Whole;
            };
            ByteRange {
                start: size.saturating_sub(suffix),
                end: size,
            }
        } else {
            let Some(start) = decimal(first) else {
                return Selection::Whole;
            };
            let end = if last.is_empty() {
                size
            } else {
                match decimal(last) {
                    Some(last) if last >= start => last.saturating_add(1).min(size),
                    _ => return Selection::Whole,
                }
            };
            ByteRange { start, end }
        };
        if asked > MAX_RANGES {
            return Selection::Whole;
        }
        if range.is_empty() {
            continue;
        }
        if parts
            .iter()
            .any(|p| range.start < p.end && p.start < range.end)
        {
            return Selection::Whole;
        }
        parts.push(range);
    }
    match (asked, parts.is_empty()) {
        (0, _) => Selection::Whole,
        (_, true) => Selection::Unsatisfiable,
        _ => Selection::Parts(parts),
    }
}

/// A `Content-Range` field of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that follow; `None` in a 416 response.
    pub range: Option<ByteRange>,
    /// The size of the representation, if the sender knows it.
    pub size: Option<u64>,
}

/// Reads a `Content-Range` field in bytes.
#[must_use]
pub fn parse_content_range(field: &str) -> Option<ContentRange> {
    let (unit, rest) = field.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, size) = rest.trim().split_once('/')?;
    let size = if size == "*" {
        None
    } else {
        Some(decimal(size)?)
    };
    let range = if range == "*" {
        size?;
        None
    } else {
        let (first, last) = range.split_once('-')?;
        let (start, last) = (decimal(first)?, decimal(last)?);
        let end = last.checked_add(1)?;
        if last < start || size.is_some_and(|s| end > s) {
            return None;
        }
        Some(ByteRange { start, end })
    };
    Some(ContentRange { range, size })
}

/// A `Content-Range` field for `range` of `size` bytes.
#[must_use]
pub fn content_range(range: ByteRange, size: u64) -> String {
    format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(of: &[(u64, u64)]) -> Selection {
        Selection::Parts(
            of.iter()
                .map(|&(start, end)| ByteRange { start, end })
                .collect(),
        )
    }

    #[test]
    fn selections() {
        assert_eq!(select("bytes=0-499", 1000), parts(&[(0, 500)]));
        assert_eq!(select("bytes=500-", 1000), parts(&[(500, 1000)]));
        assert_eq!(select("bytes=-300", 1000), parts(&[(700, 1000)]));
        assert_eq!(select("bytes=-3000", 1000), parts(&[(0, 1000)]));
        assert_eq!(select("Bytes=900-99999", 1000), parts(&[(900, 1000)]));
        assert_eq!(select("bytes=0-0, -1", 1000), parts(&[(0, 1), (999, 1000)]));
        assert_eq!(
            select("bytes=5-6,0-1,2000-", 1000),
            parts(&[(5, 7), (0, 2)])
        );
        assert_eq!(
            select("bytes=0-18446744073709551615", 10),
            parts(&[(0, 10)])
        );
        assert_eq!(select("bytes=1000-", 1000), Selection::Unsatisfiable);
        assert_eq!(select("bytes=-0", 1000), Selection::Unsatisfiable);
        assert_eq!(select("bytes=0-", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn whole_when_malformed_or_abusive() {
        for field in [
            "",
            "bytes",
            "items=0-1",
            "bytes=",
            "bytes=,",
            "bytes=5",
            "bytes=9-5",
            "bytes=a-b",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=0-18446744073709551616",
            "bytes=0-9,5-15",
            "bytes=0-,0-,0-",
        ] {
            assert_eq!(select(field, 1000), Selection::Whole, "{field:?}");
        }
        let many: Vec<_> = (0..=MAX_RANGES).map(|i| format!("{i}-{i}")).collect();
        assert_eq!(
            select(&format!("bytes={}", many.join(",")), 1000),
            Selection::Whole
        );
        assert!(matches!(
            select(&format!("bytes={}", many[1..].join(",")), 1000),
            Selection::Parts(p) if p.len() == MAX_RANGES
        ));
    }

    #[test]
    fn content_ranges() {
        let range = ByteRange { start: 5, end: 10 };
        assert_eq!(content_range(range, 20), "bytes 5-9/20");
        assert_eq!(
            parse_content_range("bytes 5-9/20"),
            Some(ContentRange {
                range: Some(range),
                size: Some(20)
            })
        );
        assert_eq!(
            parse_content_range("bytes 5-9/*"),
            Some(ContentRange {
                range: Some(range),
                size: None
            })
        );
        assert_eq!(
            parse_content_range("bytes */20"),
            Some(ContentRange {
                range: None,
                size: Some(20)
            })
        );
        for bad in [
            "",
            "bytes",
            "bytes 5-9",
            "bytes */*",
            "bytes 9-5/20",
            "bytes 5-20/20",
            "items 0-1/2",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_inside(field in "bytes=[0-9,\\- ]{0,40}", size in 0u64..5000) {
            if let Selection::Parts(parts) = select(&field, size) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|p| !p.is_empty() && p.end <= size));
                prop_assert!(parts.iter().map(ByteRange::len).sum::<u64>() <= size);
            }
        }
    }
}
