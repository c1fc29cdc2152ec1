//! Wire formats: parse once, then accessors that cannot fail.
//!
//! Each protocol has a `Copy` struct that `parse` fills and `emit` writes. No
//! function here panics on bytes from the network. The `emit` functions write
//! into a buffer that the caller has sized by `emit_len` (or the protocol's
//! header length) and panic when it is shorter: that is a mistake in this
//! program, never a peer's doing.

pub mod again;
pub mod arp;
pub mod chain;
pub mod checksum;
pub mod eth;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod quoted;
pub mod run;
pub mod segment;
pub mod tcp;
pub mod template;
#[cfg(test)]
mod testing;
pub mod udp;
pub mod utp;

use std::ops::Range;

/// Why a frame or a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// The bytes end before the header, or before the length it announces.
    #[error("truncated")]
    Truncated,
    /// The IP version does not match the ethertype.
    #[error("wrong IP version")]
    BadVersion,
    /// A length field contradicts the format's own minimum.
    #[error("bad length field")]
    BadLength,
    /// A checksum does not match.
    #[error("bad checksum")]
    BadChecksum,
    /// A fragment of an IP datagram; reassembly is not offered.
    #[error("IP fragment")]
    Fragment,
    /// More, or misplaced, IPv6 extension headers than are accepted.
    #[error("unacceptable IPv6 extension headers")]
    BadExtension,
    /// A neighbour discovery message that RFC 4861, section 7.1, has discarded.
    #[error("invalid neighbour discovery message")]
    BadNeighborDiscovery,
    /// A well-formed header of a kind that is not handled.
    #[error("unsupported")]
    Unsupported,
    /// Source and destination are of different address families.
    #[error("addresses of different families")]
    MixedFamilies,
}

/// A copy of `N` bytes at `at`; `None` when they are not all there.
#[inline(always)]
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// A range of positions in a frame, at most 4 GiB: a `Range<usize>` that can be
/// copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The positions `start..end`; none when `end` comes first.
    #[inline]
    pub fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end.max(start) as u32,
        }
    }

    /// The first position.
    #[inline]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last position.
    #[inline]
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// How many positions.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no position.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// As a range.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start()..self.end()
    }

    /// The bytes of `frame` there; none when the frame is shorter.
    #[inline]
    pub fn of(self, frame: &[u8]) -> &[u8] {
        frame.get(self.range()).unwrap_or_default()
    }

    /// The same bytes in a frame where they begin `by` positions later.
    #[inline]
    pub(crate) fn shifted(self, by: usize) -> Span {
        Span::new(self.start() + by, self.end() + by)
    }
}
