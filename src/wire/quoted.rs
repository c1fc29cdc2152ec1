//! The packet that an ICMP error quotes.

use std::net::{IpAddr, Ipv4Addr};

use super::tcp::SeqNumber;
use super::{array, ip, ipv4, ipv6, udp};

/// Payload bytes of a datagram that are kept: uTP's header.
const DATAGRAM: usize = 20;

/// Which packet of ours an ICMP error is about. Anybody may have made it up:
/// RFC 5927 has the consumer check addresses, ports and sequence number
/// against what is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// TCP (6) or UDP (17).
    pub protocol: u8,
    /// Source of the quoted packet: ours.
    pub src: IpAddr,
    /// Destination of the quoted packet: the peer's.
    pub dst: IpAddr,
    /// Source port: ours.
    pub src_port: u16,
    /// Destination port: the peer's.
    pub dst_port: u16,
    /// TCP sequence number; means nothing for UDP.
    pub seq: SeqNumber,
    /// The first payload bytes of a UDP datagram, if the quote goes that far.
    pub datagram: Option<[u8; DATAGRAM]>,
}

impl Quoted {
    /// Reads an IPv4 header and the first 8 bytes behind it. The quote may end
    /// there, so its lengths and checksums are not looked at.
    pub(super) fn parse_v4(quote: &[u8]) -> Option<Quoted> {
        let b = quote.first_chunk::<{ ipv4::HEADER_LEN }>()?;
        let header_len = ipv4::header_len(b).ok()?;
        if ipv4::is_later_fragment(b) {
            return None;
        }
        let src = Ipv4Addr::new(b[12], b[13], b[14], b[15]);
        let dst = Ipv4Addr::new(b[16], b[17], b[18], b[19]);
        Quoted::transport(b[9], src.into(), dst.into(), quote, header_len)
    }

    /// Reads an IPv6 header and the first 8 bytes behind its extensions.
    pub(super) fn parse_v6(quote: &[u8]) -> Option<Quoted> {
        let header = ipv6::Header::fixed(quote.first_chunk()?).ok()?;
        let (protocol, at) = ipv6::skip_extensions(header.protocol, quote).ok()?;
        Quoted::transport(protocol, header.src.into(), header.dst.into(), quote, at)
    }

    fn transport(
        protocol: u8,
        src: IpAddr,
        dst: IpAddr,
        quote: &[u8],
        at: usize,
    ) -> Option<Quoted> {
        if protocol != ip::PROTOCOL_TCP && protocol != ip::PROTOCOL_UDP {
            return None;
        }
        let [a, b, c, d, s @ ..] = array::<8>(quote, at)?;
        Some(Quoted {
            protocol,
            src,
            dst,
            src_port: u16::from_be_bytes([a, b]),
            dst_port: u16::from_be_bytes([c, d]),
            seq: SeqNumber(u32::from_be_bytes(s)),
            datagram: (protocol == ip::PROTOCOL_UDP)
                .then(|| array(quote, at + udp::HEADER_LEN))
                .flatten(),
        })
    }
}
