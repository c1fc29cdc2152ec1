//! From a frame to what it carries, in one pass.

use std::net::IpAddr;

use super::checksum::{self, Sum};
use super::eth::{self, Mac};
use super::{Error, Span, arp, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// What the headers below the transport say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Ethernet source.
    pub src_mac: Mac,
    /// Ethernet destination; whether it is ours is for the caller to check.
    pub dst_mac: Mac,
    /// VLAN id, 1 to 4095.
    pub vlan: Option<u16>,
    /// Source.
    pub src: IpAddr,
    /// Destination; whether it is ours is for the caller to check.
    pub dst: IpAddr,
    /// ECN bits: 0 not capable, 1 and 2 capable, 3 congestion experienced.
    pub ecn: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The IP packet in the frame, from its header to its end.
    pub packet: Span,
}

/// What a frame carries. The spans are positions in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An ARP packet.
    Arp {
        /// The Ethernet header before it.
        ethernet: eth::Header,
        /// The packet.
        packet: arp::Packet,
    },
    /// A TCP segment.
    Tcp {
        /// The headers before it.
        envelope: Envelope,
        /// Its header.
        header: tcp::Header,
        /// Its payload.
        payload: Span,
    },
    /// A UDP datagram.
    Udp {
        /// The headers before it.
        envelope: Envelope,
        /// Its header.
        header: udp::Header,
        /// Its payload.
        payload: Span,
    },
    /// An ICMP message.
    Icmpv4 {
        /// The headers before it.
        envelope: Envelope,
        /// The message.
        message: icmpv4::Message,
        /// Its data.
        payload: Span,
    },
    /// An ICMPv6 message.
    Icmpv6 {
        /// The headers before it.
        envelope: Envelope,
        /// The message.
        message: icmpv6::Message,
        /// Its data.
        payload: Span,
    },
    /// Another ethertype or protocol.
    Other,
}

/// Reads all headers of a frame. With `verify`, checksums are checked too: the
/// IPv4 header's and the transport's. A UDP datagram over IPv4 may have none.
///
/// Addresses are reported, not judged.
///
/// # Errors
/// The first thing that is wrong; see [`Error`].
#[inline]
pub fn parse_frame(frame: &[u8], verify: bool) -> Result<Parsed, Error> {
    let (ethernet, ip_at) = eth::Header::parse(frame)?;
    let packet = &frame[ip_at..];
    match ethernet.ethertype {
        eth::TYPE_IPV4 => {
            let (ip, l4) = ipv4::Header::parse(packet, verify)?;
            let envelope = Envelope {
                src_mac: ethernet.src,
                dst_mac: ethernet.dst,
                vlan: ethernet.vlan,
                src: ip.src.into(),
                dst: ip.dst.into(),
                ecn: ip.tos & 3,
                ttl: ip.ttl,
                packet: Span::new(ip_at, ip_at + l4.end()),
            };
            let (l4, at) = (l4.of(packet), ip_at + l4.start());
            match ip.protocol {
                PROTOCOL_TCP => parse_tcp(envelope, l4, at, verify),
                PROTOCOL_UDP => parse_udp(envelope, l4, at, verify),
                PROTOCOL_ICMP => {
                    let (message, data) = icmpv4::Message::parse(l4, verify)?;
                    Ok(Parsed::Icmpv4 {
                        envelope,
                        message,
                        payload: data.shifted(at),
                    })
                }
                _ => Ok(Parsed::Other),
            }
        }
        eth::TYPE_IPV6 => {
            let (ip, l4) = ipv6::Header::parse(packet)?;
            let envelope = Envelope {
                src_mac: ethernet.src,
                dst_mac: ethernet.dst,
                vlan: ethernet.vlan,
                src: ip.src.into(),
                dst: ip.dst.into(),
                ecn: ip.traffic_class & 3,
                ttl: ip.hop_limit,
                packet: Span::new(ip_at, ip_at + l4.end()),
            };
            let (l4, at) = (l4.of(packet), ip_at + l4.start());
            match ip.protocol {
                PROTOCOL_TCP => parse_tcp(envelope, l4, at, verify),
                PROTOCOL_UDP => parse_udp(envelope, l4, at, verify),
                PROTOCOL_ICMPV6 => {
                    let (message, data) = icmpv6::Message::parse(&ip, l4, verify)?;
                    Ok(Parsed::Icmpv6 {
                        envelope,
                        message,
                        payload: data.shifted(at),
                    })
                }
                _ => Ok(Parsed::Other),
            }
        }
        eth::TYPE_ARP => Ok(Parsed::Arp {
            ethernet,
            packet: arp::Packet::parse(packet)?,
        }),
        _ => Ok(Parsed::Other),
    }
}

#[inline]
fn parse_tcp(envelope: Envelope, l4: &[u8], at: usize, verify: bool) -> Result<Parsed, Error> {
    let (header, header_len) = tcp::Header::parse(l4)?;
    if verify && !checksum_holds(&envelope, PROTOCOL_TCP, l4) {
        return Err(Error::BadChecksum);
    }
    Ok(Parsed::Tcp {
        envelope,
        header,
        payload: Span::new(at + header_len, at + l4.len()),
    })
}

fn parse_udp(envelope: Envelope, l4: &[u8], at: usize, verify: bool) -> Result<Parsed, Error> {
    let (header, len) = udp::Header::parse(l4)?;
    // RFC 8200, section 8.1: over IPv6 a checksum is compulsory.
    let none_needed = header.checksum == 0 && envelope.src.is_ipv4();
    if verify
        && !none_needed
        && (header.checksum == 0 || !checksum_holds(&envelope, PROTOCOL_UDP, &l4[..len]))
    {
        return Err(Error::BadChecksum);
    }
    Ok(Parsed::Udp {
        envelope,
        header,
        payload: Span::new(at + udp::HEADER_LEN, at + len),
    })
}

#[inline]
fn checksum_holds(envelope: &Envelope, protocol: u8, l4: &[u8]) -> bool {
    checksum::pseudo_header(envelope.src, envelope.dst, protocol, l4.len())
        .add(Sum::of(l4))
        .finish()
        == 0
}

#[cfg(test)]
#[path = "ip_tests/mod.rs"]
mod tests;
