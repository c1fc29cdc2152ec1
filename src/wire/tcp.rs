//! TCP header and options: RFC 9293, section 3.1; RFC 7323; RFC 2018.

use std::fmt;
use std::ops::{Add, AddAssign, BitOr, BitOrAssign, Sub};

use super::Error;

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Most bytes that options can take.
pub const MAX_OPTIONS_LEN: usize = 40;
/// Most SACK blocks that fit into the options.
pub const MAX_SACK_BLOCKS: usize = 4;

const OPT_END: u8 = 0;
const OPT_NOP: u8 = 1;
const OPT_MSS: u8 = 2;
const OPT_WINDOW_SCALE: u8 = 3;
const OPT_SACK_PERMITTED: u8 = 4;
const OPT_SACK: u8 = 5;
const OPT_TIMESTAMPS: u8 = 8;

/// A sequence number: arithmetic is modulo 2^32 (RFC 9293, section 3.4).
///
/// There is no `PartialOrd` on purpose: the order is not transitive. Use
/// [`lt`](Self::lt) and its siblings, which hold for numbers less than 2^31
/// apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Bytes from `earlier` to `self`; negative when `self` comes first.
    #[inline]
    pub fn distance(self, earlier: SeqNumber) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Whether `self` comes before `other`.
    #[inline]
    pub fn lt(self, other: SeqNumber) -> bool {
        self.distance(other) < 0
    }

    /// Whether `self` comes before `other` or equals it.
    #[inline]
    pub fn le(self, other: SeqNumber) -> bool {
        self.distance(other) <= 0
    }

    /// Whether `self` comes after `other`.
    #[inline]
    pub fn gt(self, other: SeqNumber) -> bool {
        self.distance(other) > 0
    }

    /// Whether `self` comes after `other` or equals it.
    #[inline]
    pub fn ge(self, other: SeqNumber) -> bool {
        self.distance(other) >= 0
    }

    /// The later of the two.
    #[inline]
    pub fn max(self, other: SeqNumber) -> SeqNumber {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    pub fn min(self, other: SeqNumber) -> SeqNumber {
        if other.lt(self) { other } else { self }
    }
}

impl Add<u32> for SeqNumber {
    type Output = SeqNumber;
    #[inline]
    fn add(self, bytes: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for SeqNumber {
    type Output = SeqNumber;
    #[inline]
    fn sub(self, bytes: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(bytes))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The control bits of the header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag at all.
    pub const NONE: Flags = Flags(0);
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push function.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer counts.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// All flags but those of `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    #[inline]
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    #[inline]
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if separator.is_empty() {
            f.write_str("-")
        } else {
            Ok(())
        }
    }
}

/// The timestamps option (RFC 7323, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock, `TSval`.
    pub val: u32,
    /// The peer's clock echoed, `TSecr`; counts only when ACK is set.
    pub ecr: u32,
}

/// Up to four SACK blocks, in the order of the option (RFC 2018, section 3).
/// The first may be a duplicate report (RFC 2883).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    // Unused entries stay at their default, so that equality can be derived.
    blocks: [(SeqNumber, SeqNumber); MAX_SACK_BLOCKS],
    len: u8,
}

impl SackBlocks {
    /// Appends the block `left..right`; false when four are there already.
    #[inline]
    pub fn push(&mut self, left: SeqNumber, right: SeqNumber) -> bool {
        match self.blocks.get_mut(usize::from(self.len)) {
            Some(block) => {
                *block = (left, right);
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// How many blocks there are: 0 to 4.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is no block.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks as `(left edge, right edge)`; the right edge is the first
    /// number that is not covered.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (SeqNumber, SeqNumber)> + '_ {
        self.blocks.iter().copied().take(self.len())
    }
}

/// The options that are understood; all others are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size, in bytes, as on the wire (any value).
    pub mss: Option<u16>,
    /// Window shift as on the wire; it may exceed 14, which the receiver has
    /// to take for 14 (RFC 7323, section 2.3).
    pub window_scale: Option<u8>,
    /// The sender accepts SACK blocks.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Blocks received out of order; empty when the option is absent.
    pub sack: SackBlocks,
}

impl Options {
    /// Reads the options area. Unknown options are skipped; a length that does
    /// not fit ends the reading, and what was read before it stands.
    fn parse(mut area: &[u8]) -> Options {
        let mut options = Options::default();
        loop {
            match *area {
                [] | [OPT_END, ..] => return options,
                [OPT_NOP, ref rest @ ..] => area = rest,
                [kind, len, ..] => {
                    let len = usize::from(len);
                    if len < 2 || len > area.len() {
                        return options;
                    }
                    let (option, rest) = area.split_at(len);
                    options.read(kind, &option[2..]);
                    area = rest;
                }
                [_] => return options,
            }
        }
    }

    /// Takes in one option; one of a wrong length is ignored.
    fn read(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (OPT_MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (OPT_WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (OPT_SACK_PERMITTED, []) => self.sack_permitted = true,
            (OPT_TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some(Timestamps {
                    val: u32::from_be_bytes([a, b, c, d]),
                    ecr: u32::from_be_bytes([e, f, g, h]),
                });
            }
            (OPT_SACK, data) => {
                let (blocks, odd) = data.as_chunks::<8>();
                if odd.is_empty() {
                    // A repeated option replaces the one before.
                    self.sack = SackBlocks::default();
                    for &[a, b, c, d, e, f, g, h] in blocks {
                        self.sack.push(
                            SeqNumber(u32::from_be_bytes([a, b, c, d])),
                            SeqNumber(u32::from_be_bytes([e, f, g, h])),
                        );
                    }
                }
            }
            _ => {}
        }
    }

    /// Bytes before the SACK option: a multiple of 4, at most 24.
    #[inline]
    fn fixed_len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        // SACK-permitted takes the place of the two NOPs before timestamps.
        let sack_permitted_timestamps = match (self.sack_permitted, self.timestamps) {
            (_, Some(_)) => 12,
            (true, None) => 4,
            (false, None) => 0,
        };
        let window_scale = if self.window_scale.is_some() { 4 } else { 0 };
        mss + sack_permitted_timestamps + window_scale
    }

    /// How many SACK blocks find room.
    #[inline]
    fn sack_emitted(&self) -> usize {
        let room = MAX_OPTIONS_LEN - self.fixed_len() - 4;
        self.sack.len().min(room / 8)
    }

    /// Bytes that [`emit`](Header::emit) writes for the options: a multiple of
    /// 4, at most 40.
    #[inline]
    pub fn emit_len(&self) -> usize {
        let sack = match self.sack_emitted() {
            0 => 0,
            blocks => 4 + 8 * blocks,
        };
        self.fixed_len() + sack
    }

    /// Writes the options in Linux's order; `out` is `emit_len` bytes.
    fn emit(&self, out: &mut [u8]) {
        let mut writer = Writer { out, at: 0 };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            writer.put([OPT_MSS, 4, a, b]);
        }
        if let Some(Timestamps { val, ecr }) = self.timestamps {
            writer.put(if self.sack_permitted {
                [OPT_SACK_PERMITTED, 2, OPT_TIMESTAMPS, 10]
            } else {
                [OPT_NOP, OPT_NOP, OPT_TIMESTAMPS, 10]
            });
            writer.put(val.to_be_bytes());
            writer.put(ecr.to_be_bytes());
        } else if self.sack_permitted {
            writer.put([OPT_NOP, OPT_NOP, OPT_SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            writer.put([OPT_NOP, OPT_WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_emitted();
        if blocks > 0 {
            writer.put([OPT_NOP, OPT_NOP, OPT_SACK, 2 + 8 * blocks as u8]);
            for (left, right) in self.sack.iter().take(blocks) {
                writer.put(left.0.to_be_bytes());
                writer.put(right.0.to_be_bytes());
            }
        }
        debug_assert_eq!(writer.at, self.emit_len());
    }
}

/// Appends 32-bit words; every layout of options here is made of them.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline(always)]
    fn put(&mut self, word: [u8; 4]) {
        self.out[self.at..self.at + 4].copy_from_slice(&word);
        self.at += 4;
    }
}

/// A TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first payload byte, or of the SYN.
    pub seq: SeqNumber,
    /// Next sequence number expected; counts only with ACK.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// Window as on the wire, not scaled.
    pub window: u16,
    /// Urgent pointer; counts only with URG.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

impl Header {
    /// Reads the header of `segment`; the payload begins at the length that is
    /// returned beside it. The checksum is not looked at.
    ///
    /// # Errors
    /// `Truncated` when the segment is shorter than its header, `BadLength`
    /// when the data offset is below 5.
    #[inline(always)] // to hand the result over costs as much as the work
    pub fn parse(segment: &[u8]) -> Result<(Header, usize), Error> {
        let b = segment
            .first_chunk::<HEADER_LEN>()
            .ok_or(Error::Truncated)?;
        let header_len = usize::from(b[12] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(Error::BadLength);
        }
        let area = segment
            .get(HEADER_LEN..header_len)
            .ok_or(Error::Truncated)?;
        // What nearly every segment of an established connection carries.
        let options = match *area {
            [] => Options::default(),
            [OPT_NOP, OPT_NOP, OPT_TIMESTAMPS, 10, a, b, c, d, e, f, g, h] => Options {
                timestamps: Some(Timestamps {
                    val: u32::from_be_bytes([a, b, c, d]),
                    ecr: u32::from_be_bytes([e, f, g, h]),
                }),
                ..Options::default()
            },
            ref other => Options::parse(other),
        };
        let header = Header {
            src_port: u16::from_be_bytes([b[0], b[1]]),
            dst_port: u16::from_be_bytes([b[2], b[3]]),
            seq: SeqNumber(u32::from_be_bytes([b[4], b[5], b[6], b[7]])),
            ack: SeqNumber(u32::from_be_bytes([b[8], b[9], b[10], b[11]])),
            flags: Flags(b[13]),
            window: u16::from_be_bytes([b[14], b[15]]),
            urgent: u16::from_be_bytes([b[18], b[19]]),
            options,
        };
        Ok((header, header_len))
    }

    /// Bytes that [`emit`](Self::emit) writes: 20 to 60, a multiple of 4.
    #[inline]
    pub fn emit_len(&self) -> usize {
        HEADER_LEN + self.options.emit_len()
    }

    /// Writes the header with a checksum field of zero and returns its length.
    /// SACK blocks that find no room are left out from the end: three remain
    /// beside timestamps.
    ///
    /// # Panics
    /// When `out` is shorter than [`emit_len`](Self::emit_len).
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.emit_len();
        let (fixed, options) = out[..len].split_at_mut(HEADER_LEN);
        fixed[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        fixed[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12] = (len as u8 / 4) << 4;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].copy_from_slice(&[0, 0]);
        fixed[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        if !options.is_empty() {
            self.options.emit(options);
        }
        len
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
