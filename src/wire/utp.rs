//! uTP, version 1 (BEP 29): what a UDP datagram of it carries.
//!
//! ```text
//!  0       4       8               16              24              32
//! +-------+-------+---------------+---------------+---------------+
//! | type  | ver   | extension     | connection_id                 |
//! +-------+-------+---------------+---------------+---------------+
//! | timestamp_microseconds                                        |
//! +---------------------------------------------------------------+
//! | timestamp_difference_microseconds                             |
//! +---------------------------------------------------------------+
//! | wnd_size                                                      |
//! +-------------------------------+-------------------------------+
//! | seq_nr                        | ack_nr                        |
//! +-------------------------------+-------------------------------+
//! ```

use std::fmt;

use super::{Error, Span};

/// Length of a header without extensions, in bytes.
pub const HEADER_LEN: usize = 20;
/// The version that is spoken.
pub const VERSION: u8 = 1;
/// Extension: selective acknowledgement, a bit for each packet from
/// `ack_nr + 2` on, the least significant bit of each byte first.
pub const SELECTIVE_ACK: u8 = 1;
/// Extension: eight bytes of bits that nobody has given a meaning.
pub const EXTENSION_BITS: u8 = 2;
/// Extension: why a connection is being closed, a 32-bit number of which the
/// lower half is used (libtorrent).
pub const CLOSE_REASON: u8 = 3;
/// Most extensions of one packet; what has more is refused.
const MAX_EXTENSIONS: usize = 64;
/// Largest content of one extension, in bytes.
pub const MAX_EXTENSION: usize = 255;

/// A sequence number: of packets, modulo 2^16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNr(pub u16);

impl SeqNr {
    /// The number `n` further on.
    #[inline]
    #[must_use]
    pub const fn plus(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The number `n` before.
    #[inline]
    #[must_use]
    pub const fn minus(self, n: u16) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// How far it is from `earlier`: negative if it comes before.
    #[inline]
    #[must_use]
    pub const fn distance(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i16 as i32
    }

    /// Whether it comes before `other`.
    #[inline]
    #[must_use]
    pub const fn lt(self, other: Self) -> bool {
        self.distance(other) < 0
    }

    /// Whether it comes before `other` or is that.
    #[inline]
    #[must_use]
    pub const fn le(self, other: Self) -> bool {
        self.distance(other) <= 0
    }
}

impl fmt::Debug for SeqNr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Type of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Kind {
    /// Payload.
    Data = 0,
    /// The end of the sender's stream.
    Fin = 1,
    /// An acknowledgement alone.
    #[default]
    State = 2,
    /// The connection is over, or never was.
    Reset = 3,
    /// Begins a connection.
    Syn = 4,
}

/// What a packet says, its selective acknowledgement and payload left in
/// place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Type.
    pub kind: Kind,
    /// Connection id: of a SYN the one that the answer has to carry, of all
    /// others the one that the receiver goes by.
    pub conn_id: u16,
    /// The sender's clock in microseconds when it was sent.
    pub timestamp: u32,
    /// What the sender measured between the timestamp of the last packet it
    /// received and its own clock at that time, in microseconds; see
    /// [`delay_sample`](Self::delay_sample).
    pub timestamp_diff: u32,
    /// The sender's receive window in bytes.
    pub window: u32,
    /// Sequence number.
    pub seq: SeqNr,
    /// The last packet received in order.
    pub ack: SeqNr,
    /// Where in the packet the bits of a selective acknowledgement are.
    pub sack: Span,
    /// Why the sender closes, if it says so.
    pub close_reason: Option<u16>,
    /// Length of all headers in bytes: where the payload begins.
    pub len: u16,
}

/// An extension to be written.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    /// Its number, not 0.
    pub id: u8,
    /// Its content, at most [`MAX_EXTENSION`] bytes.
    pub bytes: &'a [u8],
}

impl Header {
    /// Reads the header of a packet, extensions included: the payload is
    /// `bytes[header.len..]`. Unknown extensions are skipped.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` for another version or type, which other
    /// protocols on the same port have; `BadLength` for more extensions than
    /// anybody sends.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let b = bytes.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let kind = match b[0] {
            0x01 => Kind::Data,
            0x11 => Kind::Fin,
            0x21 => Kind::State,
            0x31 => Kind::Reset,
            0x41 => Kind::Syn,
            _ => return Err(Error::Unsupported),
        };
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let half = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        let mut header = Self {
            kind,
            conn_id: half(2),
            timestamp: word(4),
            timestamp_diff: word(8),
            window: word(12),
            seq: SeqNr(half(16)),
            ack: SeqNr(half(18)),
            sack: Span::default(),
            close_reason: None,
            len: HEADER_LEN as u16,
        };
        if b[1] != 0 {
            header.read_extensions(b[1], bytes)?;
        }
        Ok(header)
    }

    fn read_extensions(&mut self, mut id: u8, bytes: &[u8]) -> Result<(), Error> {
        let mut at = HEADER_LEN;
        for _ in 0..MAX_EXTENSIONS {
            let &[next, len] = bytes
                .get(at..)
                .and_then(|b| b.first_chunk::<2>())
                .ok_or(Error::Truncated)?;
            let content = Span::new(at + 2, at + 2 + usize::from(len));
            let held = bytes.get(content.range()).ok_or(Error::Truncated)?;
            match (id, held) {
                (SELECTIVE_ACK, _) if self.sack.is_empty() => self.sack = content,
                (CLOSE_REASON, &[_, _, high, low]) => {
                    self.close_reason = Some(u16::from_be_bytes([high, low]));
                }
                _ => {}
            }
            at = content.end();
            if next == 0 {
                self.len = u16::try_from(at).map_err(|_| Error::BadLength)?;
                return Ok(());
            }
            id = next;
        }
        Err(Error::BadLength)
    }

    /// Length of the headers with these extensions, in bytes.
    #[must_use]
    pub fn emit_len(extensions: &[Extension<'_>]) -> usize {
        HEADER_LEN + extensions.iter().map(|e| 2 + e.bytes.len()).sum::<usize>()
    }

    /// Writes header and extensions, and returns their length. `sack`,
    /// `close_reason` and `len` are not looked at.
    ///
    /// # Panics
    /// When `out` is too short for them.
    #[inline]
    pub fn emit(&self, out: &mut [u8], extensions: &[Extension<'_>]) -> usize {
        let b = &mut out[..HEADER_LEN];
        b[0] = (self.kind as u8) << 4 | VERSION;
        b[1] = extensions.first().map_or(0, |e| e.id);
        b[2..4].copy_from_slice(&self.conn_id.to_be_bytes());
        b[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        b[8..12].copy_from_slice(&self.timestamp_diff.to_be_bytes());
        b[12..16].copy_from_slice(&self.window.to_be_bytes());
        b[16..18].copy_from_slice(&self.seq.0.to_be_bytes());
        b[18..20].copy_from_slice(&self.ack.0.to_be_bytes());
        let mut at = HEADER_LEN;
        for (i, e) in extensions.iter().enumerate() {
            debug_assert!(e.id != 0 && e.bytes.len() <= MAX_EXTENSION);
            out[at] = extensions.get(i + 1).map_or(0, |next| next.id);
            out[at + 1] = e.bytes.len() as u8;
            out[at + 2..at + 2 + e.bytes.len()].copy_from_slice(e.bytes);
            at += 2 + e.bytes.len();
        }
        at
    }

    /// The one-way delay that the sender measured of our packets, in wrapping
    /// microseconds and with an unknown offset. `None` if it has none: it sends
    /// 0 or 2^31 - 1 then.
    #[inline]
    #[must_use]
    pub const fn delay_sample(&self) -> Option<u32> {
        match self.timestamp_diff {
            0 | 0x7fff_ffff => None,
            measured => Some(measured),
        }
    }
}

/// Whether bit `i` of a selective acknowledgement is set: that of the packet
/// `ack_nr + 2 + i`.
#[inline]
#[must_use]
pub fn sack_bit(bits: &[u8], i: usize) -> bool {
    bits.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 != 0)
}

#[cfg(test)]
#[path = "utp_tests.rs"]
mod tests;
