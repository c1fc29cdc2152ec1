//! IPv4 (RFC 791). Options are skipped; fragments are refused.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::{Error, Span};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

const DONT_FRAGMENT: u8 = 0x40;

/// An IPv4 header of a datagram that is not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// DSCP (upper six bits) and ECN (lower two bits).
    pub tos: u8,
    /// Identification; means nothing outside fragments (RFC 6864).
    pub ident: u16,
    /// Routers must not fragment the datagram.
    pub dont_fragment: bool,
    /// Time to live, in hops.
    pub ttl: u8,
    /// The protocol that follows.
    pub protocol: u8,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

impl Header {
    /// Reads the header at the start of `packet` and finds its payload there;
    /// what follows the total length (Ethernet's padding) is left out. With
    /// `verify` the header checksum is checked.
    ///
    /// # Errors
    /// `Truncated`, `BadVersion`, `BadLength`, `BadChecksum`, `Fragment`.
    #[inline]
    pub fn parse(packet: &[u8], verify: bool) -> Result<(Header, Span), Error> {
        Self::parse_start(packet, packet.len(), verify)
    }

    /// As [`parse`](Self::parse), of a packet of `whole` bytes of which
    /// `packet` are the first.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn parse_start(packet: &[u8], whole: usize, verify: bool) -> Result<(Header, Span), Error> {
        let b = packet.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let header_len = header_len(b)?;
        let total_len = usize::from(u16::from_be_bytes([b[2], b[3]]));
        if total_len < header_len {
            return Err(Error::BadLength);
        }
        if total_len > whole {
            return Err(Error::Truncated);
        }
        let header = packet.get(..header_len).ok_or(Error::Truncated)?;
        if verify && Sum::of(header).finish() != 0 {
            return Err(Error::BadChecksum);
        }
        if is_fragment(b) {
            return Err(Error::Fragment);
        }
        let header = Header {
            tos: b[1],
            ident: u16::from_be_bytes([b[4], b[5]]),
            dont_fragment: b[6] & DONT_FRAGMENT != 0,
            ttl: b[8],
            protocol: b[9],
            src: Ipv4Addr::new(b[12], b[13], b[14], b[15]),
            dst: Ipv4Addr::new(b[16], b[17], b[18], b[19]),
        };
        Ok((header, Span::new(header_len, total_len)))
    }

    /// Writes the header, checksum included, for `payload_len` bytes of
    /// payload, and returns its length: 20.
    ///
    /// # Panics
    /// When `out` is shorter than that.
    pub fn emit(&self, out: &mut [u8], payload_len: usize) -> usize {
        debug_assert!(payload_len <= 0xffff - HEADER_LEN);
        let out = &mut out[..HEADER_LEN];
        out[0] = 0x45;
        out[1] = self.tos;
        out[2..4].copy_from_slice(&((HEADER_LEN + payload_len) as u16).to_be_bytes());
        out[4..6].copy_from_slice(&self.ident.to_be_bytes());
        out[6] = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        out[7] = 0;
        out[8] = self.ttl;
        out[9] = self.protocol;
        out[10..12].copy_from_slice(&[0, 0]);
        out[12..16].copy_from_slice(&self.src.octets());
        out[16..20].copy_from_slice(&self.dst.octets());
        let checksum = Sum::of(out).finish();
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        HEADER_LEN
    }
}

/// The length of the header with its options, in bytes: 20 to 60.
#[inline]
pub(super) fn header_len(b: &[u8; HEADER_LEN]) -> Result<usize, Error> {
    if b[0] >> 4 != 4 {
        return Err(Error::BadVersion);
    }
    let len = usize::from(b[0] & 0x0f) * 4;
    if len < HEADER_LEN {
        return Err(Error::BadLength);
    }
    Ok(len)
}

/// Whether more fragments follow, or some came before.
#[inline]
fn is_fragment(b: &[u8; HEADER_LEN]) -> bool {
    u16::from_be_bytes([b[6], b[7]]) & 0x3fff != 0
}

/// Whether the datagram is a fragment that does not hold the first bytes.
#[inline]
pub(super) fn is_later_fragment(b: &[u8; HEADER_LEN]) -> bool {
    u16::from_be_bytes([b[6], b[7]]) & 0x1fff != 0
}
