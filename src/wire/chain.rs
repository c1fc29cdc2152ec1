//! TCP segments whose frames lie in several parts of memory.

use super::checksum::{self, Sum};
use super::ip::{Envelope, PROTOCOL_TCP};
use super::{Error, Span, eth, ipv4, ipv6, tcp};

/// A segment in parts. Its headers are in the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The headers below TCP.
    pub envelope: Envelope,
    /// The TCP header.
    pub header: tcp::Header,
    /// The payload's position in the whole frame; it ends in a later part.
    pub payload: Span,
}

/// Reads the headers of a frame whose first part is `head`, and which goes on
/// in `rest`. With `verify`, checksums are checked as by
/// [`parse_frame`](super::ip::parse_frame). `None` if it is not TCP.
///
/// # Errors
/// The first thing that is wrong. All headers have to lie in `head`.
pub fn parse_chain<'a>(
    head: &[u8],
    rest: impl Iterator<Item = &'a [u8]> + Clone,
    verify: bool,
) -> Result<Option<Chain>, Error> {
    let (ethernet, ip_at) = eth::Header::parse(head)?;
    let packet = &head[ip_at..];
    let whole = packet.len() + rest.clone().map(<[u8]>::len).sum::<usize>();
    let (src, dst, ecn, ttl, protocol, span) = match ethernet.ethertype {
        eth::TYPE_IPV4 => {
            let (ip, l4) = ipv4::Header::parse_start(packet, whole, verify)?;
            let (src, dst) = (ip.src.into(), ip.dst.into());
            (src, dst, ip.tos & 3, ip.ttl, ip.protocol, l4)
        }
        eth::TYPE_IPV6 => {
            let (ip, l4) = ipv6::Header::parse_start(packet, whole)?;
            let (src, dst) = (ip.src.into(), ip.dst.into());
            (
                src,
                dst,
                ip.traffic_class & 3,
                ip.hop_limit,
                ip.protocol,
                l4,
            )
        }
        _ => return Ok(None),
    };
    if protocol != PROTOCOL_TCP {
        return Ok(None);
    }
    let envelope = Envelope {
        src_mac: ethernet.src,
        dst_mac: ethernet.dst,
        vlan: ethernet.vlan,
        src,
        dst,
        ecn,
        ttl,
        packet: Span::new(ip_at, ip_at + span.end()),
    };
    let first = packet
        .get(span.start()..span.end().min(packet.len()))
        .ok_or(Error::Truncated)?;
    let (header, header_len) = tcp::Header::parse(first)?;
    let len = span.end() - span.start();
    if verify {
        let sum = checksum::pseudo_header(src, dst, PROTOCOL_TCP, len);
        let (mut sum, mut at) = (sum.add(Sum::of(first)), first.len());
        for part in rest {
            let part = &part[..part.len().min(len - at)];
            let sum_of_part = Sum::of(part);
            sum = if at.is_multiple_of(2) {
                sum.add(sum_of_part)
            } else {
                sum.add_odd(sum_of_part)
            };
            at += part.len();
        }
        if sum.finish() != 0 {
            return Err(Error::BadChecksum);
        }
    }
    let at = ip_at + span.start() + header_len;
    Ok(Some(Chain {
        envelope,
        header,
        payload: Span::new(at, at + len - header_len),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ip::{Parsed, parse_frame};
    use crate::wire::testing::tcp_frame;

    proptest! {
        /// Wherever a frame is cut, it is read as it is in one piece, or not at
        /// all where a header does not lie in the first part.
        #[test]
        fn cut_frames_are_read_as_whole_ones(
            payload in proptest::collection::vec(any::<u8>(), 0..400),
            v6: bool,
            padding in 0usize..9,
            cuts in proptest::collection::vec(14usize..500, 1..6),
            change in proptest::option::of((0usize..500, 1u8..)),
        ) {
            let mut bytes = tcp_frame(&payload, v6, 1, 0);
            bytes.extend(vec![7; padding]);
            if let Some((at, bits)) = change && let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let rest: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let read = parse_chain(&bytes[..cuts[0]], rest.iter().copied(), true);
            let whole = parse_frame(&bytes, true);
            let headers = if v6 { 74 } else { 54 };
            match (read, whole) {
                (Ok(Some(chain)), Ok(Parsed::Tcp { envelope, header, payload })) => {
                    prop_assert_eq!(chain, Chain { envelope, header, payload });
                }
                (Ok(None), Ok(Parsed::Tcp { .. })) => prop_assert!(false, "it is TCP"),
                (Ok(None), _) => {}
                (Ok(Some(_)), other) => prop_assert!(false, "{other:?}"),
                (Err(error), Err(other)) => {
                    // A length that goes beyond the first part.
                    prop_assert!(error == other || error == Error::Truncated);
                }
                (Err(error), Ok(_)) => {
                    prop_assert!(cuts[0] < headers || change.is_some(), "{error:?}");
                    prop_assert_eq!(error, Error::Truncated);
                }
            }
        }
    }
}
