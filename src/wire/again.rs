//! Headers below the transport that are those of the frame before.
//!
//! Packets of one connection come in trains. What does not differ from one to
//! the next was read and judged with the first; of the others it is compared.

use super::checksum::{Sum, length, pseudo_addresses};
use super::ip::Envelope;
use super::{Span, eth, ipv4, tcp, udp};

/// Ethernet without a tag and IPv4 without options.
const LEN: usize = eth::HEADER_LEN + ipv4::HEADER_LEN;
const IP_AT: usize = eth::HEADER_LEN;
const PROTOCOL_AT: usize = IP_AT + 9;
/// Congestion experienced, in the byte that also has the DSCP.
const CE: u8 = 3;

/// The headers of one frame of TCP or UDP over untagged IPv4, to know the next by.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    headers: [u8; LEN],
    /// Addresses and protocol of the pseudo-header.
    pseudo: Sum,
    /// The sum over what does not differ of the IP header.
    ip: Sum,
}

impl Again {
    /// The headers of `frame`, which was found to be in order; `None` if they
    /// are of another kind, or carry a congestion mark.
    #[must_use]
    pub fn of(frame: &[u8], envelope: &Envelope) -> Option<Self> {
        let headers = frame.first_chunk::<LEN>()?;
        let plain = headers[12..15] == [0x08, 0x00, 0x45] && headers[15] & CE != CE;
        plain.then(|| Self {
            headers: *headers,
            pseudo: pseudo_addresses(envelope.src, envelope.dst, headers[PROTOCOL_AT]),
            ip: Sum::of(&headers[IP_AT..IP_AT + 2])
                .add(Sum::of(&headers[IP_AT + 6..IP_AT + 8]))
                .add(Sum::of(&headers[IP_AT + 12..])),
        })
    }

    /// The sum over what does not differ of the IP header (without length, time
    /// to live and protocol), and that over addresses and protocol of the
    /// pseudo-header.
    #[inline]
    pub(super) const fn sums(&self) -> (Sum, Sum) {
        (self.ip, self.pseudo)
    }

    /// What follows the IP header of a frame that has the same headers but for
    /// length, identification, time to live and checksum.
    #[inline(always)]
    fn l4<'a>(&self, frame: &'a [u8]) -> Option<(&'a [u8; LEN], &'a [u8])> {
        let (b, a) = (frame.first_chunk::<LEN>()?, &self.headers);
        let same = b[..16] == a[..16] // Ethernet; version, header length, DSCP and ECN
            && b[20..22] == a[20..22] // fragmentation
            && b[23] == a[23] // protocol
            && b[26..] == a[26..]; // addresses
        if !same {
            return None;
        }
        let end = IP_AT + usize::from(u16::from_be_bytes([b[16], b[17]]));
        Some((b, frame.get(LEN..end)?))
    }

    /// Whether the IP header's checksum is right, and that over `l4`.
    #[inline(always)]
    fn sums_hold(&self, headers: &[u8; LEN], l4: &[u8]) -> bool {
        let l4 = self.pseudo.add(length(l4.len())).add(Sum::of(l4));
        let word = |at| Sum::word(u16::from_be_bytes([headers[at], headers[at + 1]]));
        // Length and identification; time to live, protocol and checksum.
        let ip = self
            .ip
            .add(word(16))
            .add(word(18))
            .add(word(22))
            .add(word(24));
        ip.finish() == 0 && l4.finish() == 0
    }

    /// Reads a frame that has the same headers but for length, identification,
    /// time to live and checksum, which are those of TCP: its TCP header, and
    /// where its payload is. `None` if the headers differ or anything is wrong
    /// with the frame, which [`parse_frame`](super::ip::parse_frame) then tells
    /// apart. With `verify` both checksums are checked.
    #[inline]
    #[must_use]
    pub fn read(&self, frame: &[u8], verify: bool) -> Option<(tcp::Header, Span)> {
        let (headers, l4) = self.l4(frame)?;
        let (header, header_len) = tcp::Header::parse(l4).ok()?;
        if verify && !self.sums_hold(headers, l4) {
            return None;
        }
        Some((header, Span::new(LEN + header_len, LEN + l4.len())))
    }

    /// As [`read`](Self::read), where the headers are those of UDP. A datagram
    /// without a checksum is none of these.
    #[inline]
    #[must_use]
    pub fn read_udp(&self, frame: &[u8], verify: bool) -> Option<(udp::Header, Span)> {
        let (headers, l4) = self.l4(frame)?;
        let (header, len) = udp::Header::parse(l4).ok()?;
        let l4 = &l4[..len];
        if verify && (header.checksum == 0 || !self.sums_hold(headers, l4)) {
            return None;
        }
        Some((header, Span::new(LEN + udp::HEADER_LEN, LEN + len)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ip::{PROTOCOL_UDP, Parsed, parse_frame};
    use crate::wire::template::Template;
    use crate::wire::testing::{path, tcp_frame};

    fn frame(payload: &[u8], ident: u16, ecn: u8) -> Vec<u8> {
        tcp_frame(payload, false, ident, ecn)
    }

    fn datagram(payload: &[u8], ident: u16) -> Vec<u8> {
        let t = Template::new(&path(false), PROTOCOL_UDP).unwrap();
        let header = udp::Header {
            src_port: 1,
            dst_port: 2,
            checksum: 0,
        };
        let at = t.len();
        let l4 = udp::HEADER_LEN + payload.len();
        let mut frame = vec![0; at + udp::HEADER_LEN];
        let sum = Sum::of(payload);
        header.emit(&mut frame[at..], t.pseudo_sum(l4), payload.len(), sum);
        frame.extend_from_slice(payload);
        t.write_marked(&mut frame[..at], l4, ident, 0);
        frame
    }

    fn parsed_udp(frame: &[u8]) -> Option<(Envelope, udp::Header, Span)> {
        match parse_frame(frame, true) {
            Ok(Parsed::Udp {
                envelope,
                header,
                payload,
            }) => Some((envelope, header, payload)),
            _ => None,
        }
    }

    fn parsed(frame: &[u8]) -> Option<(Envelope, tcp::Header, Span)> {
        match parse_frame(frame, true) {
            Ok(Parsed::Tcp {
                envelope,
                header,
                payload,
            }) => Some((envelope, header, payload)),
            _ => None,
        }
    }

    #[test]
    fn a_marked_frame_is_never_the_same_again() {
        let first = frame(b"abc", 1, 2);
        let again = Again::of(&first, &parsed(&first).unwrap().0).unwrap();
        assert!(again.read(&frame(b"defg", 2, 2), true).is_some());
        let marked = frame(b"defg", 2, 3);
        assert!(again.read(&marked, true).is_none());
        assert!(Again::of(&marked, &parsed(&marked).unwrap().0).is_none());
    }

    #[test]
    fn a_datagram_without_a_checksum_is_read_in_full() {
        let mut frame = datagram(b"abc", 1);
        let again = Again::of(&frame, &parsed_udp(&frame).unwrap().0).unwrap();
        assert!(again.read_udp(&frame, true).is_some());
        frame[40..42].copy_from_slice(&[0, 0]);
        assert!(again.read_udp(&frame, true).is_none());
        assert!(parsed_udp(&frame).is_some());
        assert!(again.read_udp(&frame, false).is_some());
    }

    proptest! {
        /// The same of datagrams.
        #[test]
        fn the_short_reading_of_datagrams_is_the_full_one(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            ident: u16,
            changes in proptest::collection::vec((0usize..60, any::<u8>()), 0..3),
            cut in 0usize..300,
        ) {
            let first = datagram(b"first", 7);
            let (envelope, ..) = parsed_udp(&first).unwrap();
            let again = Again::of(&first, &envelope).unwrap();
            let mut next = datagram(&payload, ident);
            for (at, bits) in changes {
                if let Some(byte) = next.get_mut(at) {
                    *byte ^= bits;
                }
            }
            next.truncate(cut.max(14));
            let full = parsed_udp(&next);
            if let Some(read) = again.read_udp(&next, true) {
                let full = full.map(|(_, header, payload)| (header, payload));
                prop_assert_eq!(Some(read), full);
            } else if let Some((_, header, _)) = full {
                // Only what differs in a byte that is compared.
                let same = next[..16] == first[..16]
                    && next[20..22] == first[20..22]
                    && next[26..34] == first[26..34];
                prop_assert!(!same || header.checksum == 0);
            }
        }

        /// What is read in short is what is read in full, and whatever is
        /// wrong with a frame leads to the full reading.
        #[test]
        fn the_short_reading_is_the_full_one(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            ident: u16,
            changes in proptest::collection::vec((0usize..60, any::<u8>()), 0..3),
            cut in 0usize..300,
        ) {
            let first = frame(b"first", 7, 0);
            let (envelope, ..) = parsed(&first).unwrap();
            let again = Again::of(&first, &envelope).unwrap();
            let mut next = frame(&payload, ident, 0);
            for (at, bits) in changes {
                if let Some(byte) = next.get_mut(at) {
                    *byte ^= bits;
                }
            }
            next.truncate(cut.max(14));
            let full = parsed(&next);
            let expected = full
                .filter(|(e, ..)| {
                    (e.src, e.dst, e.src_mac, e.dst_mac, e.ecn)
                        == (envelope.src, envelope.dst, envelope.src_mac, envelope.dst_mac, 0)
                })
                .map(|(_, header, payload)| (header, payload));
            if let Some(read) = again.read(&next, true) {
                prop_assert_eq!(Some(read), expected);
            } else if let Some((envelope, ..)) = full {
                // Only what differs in a byte that is compared.
                let same = next[..16] == first[..16]
                    && next[20..22] == first[20..22]
                    && next[26..34] == first[26..34];
                prop_assert!(!same, "{envelope:?}");
            }
        }
    }
}
