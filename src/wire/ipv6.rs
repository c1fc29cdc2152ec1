//! IPv6 (RFC 8200). Extension headers are skipped where that is safe;
//! fragments are refused.

use std::net::Ipv6Addr;

use super::{Error, Span, array};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;

/// Most extension headers that are skipped in one packet; RFC 8504, section
/// 5.3, allows a host such a limit.
pub const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// An IPv6 header of a packet that is not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// DSCP (upper six bits) and ECN (lower two bits).
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// The protocol behind all extension headers.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

impl Header {
    /// Reads the header at the start of `packet` and finds there the payload
    /// behind the extension headers; what follows the payload length
    /// (Ethernet's padding) is left out.
    ///
    /// The options in hop-by-hop and destination headers are not looked at. A
    /// routing header is accepted only when no segment is left, that is, when
    /// the destination is final.
    ///
    /// # Errors
    /// `Truncated`, `BadVersion`, `BadExtension`, `Fragment` (atomic fragments
    /// too).
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Header, Span), Error> {
        Self::parse_start(packet, packet.len())
    }

    /// As [`parse`](Self::parse), of a packet of `whole` bytes of which
    /// `packet` are the first: those have to hold all extension headers.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn parse_start(packet: &[u8], whole: usize) -> Result<(Header, Span), Error> {
        let b = packet.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let mut header = Header::fixed(b)?;
        let end = HEADER_LEN + usize::from(u16::from_be_bytes([b[4], b[5]]));
        if end > whole {
            return Err(Error::Truncated);
        }
        let datagram = &packet[..end.min(packet.len())];
        let (protocol, start) = skip_extensions(header.protocol, datagram)?;
        header.protocol = protocol;
        Ok((header, Span::new(start, end)))
    }

    /// Reads the fixed header; `protocol` is the next header, whatever it is.
    #[inline]
    pub(super) fn fixed(b: &[u8; HEADER_LEN]) -> Result<Header, Error> {
        if b[0] >> 4 != 6 {
            return Err(Error::BadVersion);
        }
        let address = |at| Ipv6Addr::from(array::<16>(b, at).unwrap_or_default());
        Ok(Header {
            traffic_class: b[0] << 4 | b[1] >> 4,
            flow_label: u32::from_be_bytes([0, b[1] & 0x0f, b[2], b[3]]),
            protocol: b[6],
            hop_limit: b[7],
            src: address(8),
            dst: address(24),
        })
    }

    /// Writes the header for `payload_len` bytes of payload and returns its
    /// length: 40.
    ///
    /// # Panics
    /// When `out` is shorter than that.
    pub fn emit(&self, out: &mut [u8], payload_len: usize) -> usize {
        debug_assert!(payload_len <= 0xffff);
        let out = &mut out[..HEADER_LEN];
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        out[0..4].copy_from_slice(&word.to_be_bytes());
        out[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
        out[6] = self.protocol;
        out[7] = self.hop_limit;
        out[8..24].copy_from_slice(&self.src.octets());
        out[24..40].copy_from_slice(&self.dst.octets());
        HEADER_LEN
    }
}

/// Walks the extension headers of `packet` from the end of the fixed header,
/// and returns the protocol behind them and where it begins.
#[inline]
pub(super) fn skip_extensions(next: u8, packet: &[u8]) -> Result<(u8, usize), Error> {
    match next {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION => walk_extensions(next, packet),
        _ => Ok((next, HEADER_LEN)),
    }
}

#[cold]
fn walk_extensions(mut next: u8, packet: &[u8]) -> Result<(u8, usize), Error> {
    let mut at = HEADER_LEN;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            // Only directly behind the fixed header: RFC 8200, section 4.1.
            HOP_BY_HOP if at != HEADER_LEN => return Err(Error::BadExtension),
            HOP_BY_HOP | ROUTING | DESTINATION => {}
            FRAGMENT => return Err(Error::Fragment),
            _ => return Ok((next, at)),
        }
        let [following, length, _, segments_left] = array(packet, at).ok_or(Error::Truncated)?;
        if next == ROUTING && segments_left != 0 {
            return Err(Error::BadExtension);
        }
        at += 8 + 8 * usize::from(length);
        if at > packet.len() {
            return Err(Error::Truncated);
        }
        next = following;
    }
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION => Err(Error::BadExtension),
        FRAGMENT => Err(Error::Fragment),
        _ => Ok((next, at)),
    }
}
