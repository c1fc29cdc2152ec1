//! UDP (RFC 768).

use super::Error;
use super::checksum::Sum;

/// Length of a header, in bytes.
pub const HEADER_LEN: usize = 8;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port; 0 when the sender wants no answer.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The checksum as on the wire; 0 when the sender made none.
    pub checksum: u16,
}

impl Header {
    /// Reads the header; the payload is `bytes[8..length]` with the length
    /// that is returned beside it. The checksum is not verified.
    ///
    /// # Errors
    /// `Truncated`, `BadLength`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Header, usize), Error> {
        let b = bytes.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let len = usize::from(u16::from_be_bytes([b[4], b[5]]));
        if len < HEADER_LEN {
            return Err(Error::BadLength);
        }
        if len > bytes.len() {
            return Err(Error::Truncated);
        }
        let header = Header {
            src_port: u16::from_be_bytes([b[0], b[1]]),
            dst_port: u16::from_be_bytes([b[2], b[3]]),
            checksum: u16::from_be_bytes([b[6], b[7]]),
        };
        Ok((header, len))
    }

    /// Writes the header before `payload_len` bytes of payload with the sum
    /// `payload_sum`, and returns its length: 8. `pseudo` is the sum of the
    /// pseudo-header for `8 + payload_len` bytes. `self.checksum` is not used.
    ///
    /// # Panics
    /// When `out` is shorter than that.
    #[inline]
    pub fn emit(&self, out: &mut [u8], pseudo: Sum, payload_len: usize, payload_sum: Sum) -> usize {
        debug_assert!(payload_len <= 0xffff - HEADER_LEN);
        let out = &mut out[..HEADER_LEN];
        out[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        out[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        out[4..6].copy_from_slice(&((HEADER_LEN + payload_len) as u16).to_be_bytes());
        out[6..8].copy_from_slice(&[0, 0]);
        let checksum = match Sum::of(out).add(pseudo).add(payload_sum).finish() {
            0 => 0xffff, // zero would mean that there is none
            checksum => checksum,
        };
        out[6..8].copy_from_slice(&checksum.to_be_bytes());
        HEADER_LEN
    }
}
