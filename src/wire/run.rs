//! Segments that continue the one before: of one connection and one length, and
//! with headers that differ in nothing but what counts on.

use super::again::Again;
use super::checksum::{Sum, length};
use super::tcp::{Flags, HEADER_LEN, SeqNumber};
use super::{eth, ipv4};

/// Headers of untagged Ethernet, IPv4 and TCP, without options.
const LEN: usize = L4 + HEADER_LEN;
/// The same with timestamps (RFC 7323, appendix A).
const LEN_TIMESTAMPS: usize = LEN + TIMESTAMPS;
const TIMESTAMPS: usize = 12;
/// Where TCP begins.
const L4: usize = eth::HEADER_LEN + ipv4::HEADER_LEN;
const SEQ: usize = L4 + 4;

/// Bits of byte `at` that the headers of a run have in common: all but
/// identification, sequence number, checksums and PSH.
const fn common(at: usize) -> u8 {
    match at {
        18 | 19 | 24 | 25 | 50 | 51 => 0,
        SEQ..=41 => 0,
        47 => !Flags::PSH.0,
        _ => 0xff,
    }
}

/// Words that cover the headers, the last of which overlap.
const WORDS: [usize; 7] = [0, 8, 16, 24, 32, 40, LEN - 8];

const COMMON: [u64; WORDS.len()] = {
    let mut masks = [0; WORDS.len()];
    let mut word = 0;
    while word < WORDS.len() {
        let mut bytes = [0; 8];
        let mut i = 0;
        while i < 8 {
            bytes[i] = common(WORDS[word] + i);
            i += 1;
        }
        masks[word] = u64::from_ne_bytes(bytes);
        word += 1;
    }
    masks
};

/// The headers of a segment that others may continue, before it is known what
/// they mean.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    headers: [u8; LEN_TIMESTAMPS],
    /// Bytes of the frame.
    len: usize,
}

impl Head {
    /// The headers of `frame`, if it is of a length that payload has.
    #[inline]
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        const WORTH: usize = 2 * LEN_TIMESTAMPS;
        let headers = *frame.first_chunk()?;
        (frame.len() >= WORTH).then_some(Self {
            headers,
            len: frame.len(),
        })
    }
}

/// A segment to compare those behind it with.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    head: Head,
    /// Bytes of the headers: [`LEN`] or [`LEN_TIMESTAMPS`].
    headers: usize,
    /// Behind the payload.
    end: usize,
    /// The sum over the IP header without identification and checksum.
    ip: Sum,
    /// The pseudo-header's.
    pseudo: Sum,
}

impl Run {
    /// To be continued is a segment that was found to be `again` one like that
    /// before. `None` if it has other options than timestamps.
    #[inline]
    #[must_use]
    pub fn new(again: &Again, head: &Head) -> Option<Self> {
        let h = &head.headers;
        let headers = L4 + usize::from(h[46] >> 4) * 4;
        let total = u16::from_be_bytes([h[16], h[17]]);
        let end = eth::HEADER_LEN + usize::from(total);
        if !matches!(headers, LEN | LEN_TIMESTAMPS) || end <= headers || end > head.len {
            return None;
        }
        let (ip, pseudo) = again.sums();
        Some(Self {
            head: *head,
            headers,
            end,
            ip: ip
                .add(Sum::word(total))
                .add(Sum::word(u16::from_be_bytes([h[22], h[23]]))),
            pseudo: pseudo.add(length(end - L4)),
        })
    }

    /// Where the payload of each is in its frame.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> (usize, usize) {
        (self.headers, self.end)
    }

    /// Whether `frame` is the one that begins at `seq`. With `verify` both
    /// checksums are checked.
    #[inline]
    #[must_use]
    pub fn goes_on(&self, frame: &[u8], seq: SeqNumber, verify: bool) -> bool {
        let Some(headers) = frame.first_chunk::<LEN>() else {
            return false;
        };
        frame.len() == self.head.len
            && headers[SEQ..SEQ + 4] == seq.0.to_be_bytes()
            && self.has_same(headers)
            && (self.headers == LEN || self.has_same_timestamps(frame))
            && (!verify || self.sums_hold(headers, frame))
    }

    #[inline]
    fn has_same_timestamps(&self, frame: &[u8]) -> bool {
        // Of a known length, so that it is two comparisons.
        let option = |bytes: &[u8]| bytes.get(LEN..)?.first_chunk::<TIMESTAMPS>().copied();
        option(frame) == option(&self.head.headers)
    }

    #[inline(always)]
    fn has_same(&self, headers: &[u8; LEN]) -> bool {
        let mut differs = 0;
        for (at, common) in WORDS.into_iter().zip(COMMON) {
            let word = |bytes: &[u8]| {
                let word = bytes[at..].first_chunk();
                word.map_or(0, |word| u64::from_ne_bytes(*word))
            };
            differs |= (word(headers) ^ word(&self.head.headers)) & common;
        }
        differs == 0
    }

    #[inline(always)]
    fn sums_hold(&self, headers: &[u8; LEN], frame: &[u8]) -> bool {
        let word = |at| Sum::word(u16::from_be_bytes([headers[at], headers[at + 1]]));
        let ip = self.ip.add(word(18)).add(word(24));
        let l4 = frame.get(L4..self.end).unwrap_or_default();
        ip.finish() == 0 && self.pseudo.add(Sum::of_long(l4)).finish() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ip::{Parsed, parse_frame};
    use crate::wire::tcp::{Header, Options, Timestamps};
    use crate::wire::testing::{path, tcp_frame_of};

    fn header(seq: u32, timestamps: bool) -> Header {
        Header {
            src_port: 80,
            dst_port: 5000,
            seq: SeqNumber(seq),
            ack: SeqNumber(77),
            flags: Flags::ACK,
            window: 900,
            options: Options {
                timestamps: timestamps.then_some(Timestamps { val: 5, ecr: 6 }),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    fn run(frame: &[u8]) -> Option<Run> {
        let Ok(Parsed::Tcp { envelope, .. }) = parse_frame(frame, true) else {
            panic!("no segment");
        };
        Run::new(&Again::of(frame, &envelope)?, &Head::of(frame)?)
    }

    #[test]
    fn the_next_one_goes_on() {
        for timestamps in [false, true] {
            let payload = [7; 200];
            let first = tcp_frame_of(&path(false), &header(1000, timestamps), &payload, 1);
            let run = run(&first).unwrap();
            let mut next = header(1200, timestamps);
            next.flags |= Flags::PSH;
            let next = tcp_frame_of(&path(false), &next, &payload, 2);
            assert!(run.goes_on(&next, SeqNumber(1200), true));
            assert!(!run.goes_on(&next, SeqNumber(1201), true));
            let (start, end) = run.payload();
            assert_eq!(next[start..end], payload);
            let mut wrong = next.clone();
            wrong[100] ^= 1;
            assert!(!run.goes_on(&wrong, SeqNumber(1200), true));
            assert!(run.goes_on(&wrong, SeqNumber(1200), false));
        }
    }

    #[test]
    fn short_ones_and_other_options_have_no_run() {
        let short = tcp_frame_of(&path(false), &header(1, false), &[1; 20], 1);
        assert!(Head::of(&short).is_none());
        let mut other = header(1, false);
        other.options.mss = Some(1460);
        let other = tcp_frame_of(&path(false), &other, &[1; 200], 1);
        assert!(run(&other).is_none());
    }

    proptest! {
        /// What goes on is read in full as the next segment that says nothing
        /// else; what does not differs in something that counts.
        #[test]
        fn what_goes_on_says_the_same(
            timestamps: bool,
            ident: u16,
            push: bool,
            fill: u8,
            changes in proptest::collection::vec((0usize..90, 0u32..8), 0..3),
            mend: bool,
        ) {
            let first = tcp_frame_of(&path(false), &header(1000, timestamps), &[1; 200], 1);
            let run = run(&first).unwrap();
            let mut h = header(1200, timestamps);
            if push {
                h.flags |= Flags::PSH;
            }
            let mut next = tcp_frame_of(&path(false), &h, &[fill; 200], ident);
            for (at, bit) in changes {
                next[at] ^= 1 << bit;
            }
            let read = |frame: &[u8]| match parse_frame(frame, !mend) {
                Ok(Parsed::Tcp { envelope, header, payload }) => {
                    Some((envelope, header, payload.range()))
                }
                _ => None,
            };
            let (start, end) = run.payload();
            let full = read(&next);
            if run.goes_on(&next, SeqNumber(1200), !mend) {
                let (envelope, mut header, payload) = full.unwrap();
                let (first, ..) = read(&first).unwrap();
                header.flags = header.flags.without(Flags::PSH);
                h.flags = h.flags.without(Flags::PSH);
                prop_assert_eq!(header, h);
                prop_assert_eq!(payload, start..end);
                prop_assert_eq!(
                    (envelope.src, envelope.dst, envelope.src_mac, envelope.dst_mac, envelope.ecn),
                    (first.src, first.dst, first.src_mac, first.dst_mac, first.ecn)
                );
            } else if let Some((_, header, _)) = full {
                let differs = (0..start).any(|at| {
                    (next[at] ^ first[at]) & if at < LEN { common(at) } else { 0xff } != 0
                });
                prop_assert!(differs || header.seq != SeqNumber(1200));
            }
        }
    }
}
