//! Segments as bytes: built and read here rather than by fullbore's own code,
//! so that malformed ones can be built and a shared mistake would show.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kernel::{HOST_MAC, PEER_MAC};

/// The host under test.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Whoever crafts the segments.
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The same, for exchanges over IPv6.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// The addresses of host and peer.
pub fn ends(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        (HOST_V6.into(), PEER_V6.into())
    } else {
        (HOST.into(), PEER.into())
    }
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
const TTL: u8 = 64;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// A TCP segment in an IP packet in an Ethernet frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub v6: bool,
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    /// Options as they are, a multiple of four bytes.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Header length in words, if not the true one.
    pub offset: Option<u8>,
    pub bad_checksum: bool,
    /// The packet must not be fragmented, as none is over IPv6.
    pub df: bool,
    /// Time to live or hop limit, and type of service or traffic class.
    pub ttl: u8,
    pub tos: u8,
}

impl Segment {
    /// The frame from the peer to the host.
    pub fn frame(&self) -> Vec<u8> {
        let header = TCP + self.options.len();
        assert_eq!(header % 4, 0, "options are padded");
        let mut tcp = Vec::with_capacity(header + self.payload.len());
        tcp.extend(self.src_port.to_be_bytes());
        tcp.extend(self.dst_port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.push(self.offset.unwrap_or((header / 4) as u8) << 4);
        tcp.push(self.flags);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 2]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let (host, peer) = ends(self.v6);
        let (host, peer) = (octets(host), octets(peer));
        let pseudo = sum(&peer) + sum(&host) + 6 + tcp.len() as u64;
        let mut checksum = fold(pseudo + sum(&tcp));
        if self.bad_checksum {
            checksum ^= 0x5555;
        }
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());

        let mut frame = Vec::with_capacity(ETHERNET + IPV6 + tcp.len());
        frame.extend(HOST_MAC);
        frame.extend(PEER_MAC);
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((tcp.len() as u16).to_be_bytes());
            frame.extend([6, TTL]);
            frame.extend(peer);
            frame.extend(host);
        } else {
            let mut ip = vec![0x45, 0];
            ip.extend(((IPV4 + tcp.len()) as u16).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, TTL, 6, 0, 0]);
            ip.extend(peer);
            ip.extend(host);
            let checksum = fold(sum(&ip));
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        frame.extend(tcp);
        frame
    }

    /// The segment in a frame from the host to the peer; `None` for anything
    /// else.
    ///
    /// # Panics
    /// When a checksum or an Ethernet address is wrong.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let v6 = match frame.get(12..14)? {
            [8, 0] if *packet.first()? == 0x45 && *packet.get(9)? == 6 => false,
            [0x86, 0xdd] if *packet.get(6)? == 6 => true,
            _ => return None,
        };
        let (host, peer) = ends(v6);
        let addresses = if v6 { 8..40 } else { 12..20 };
        if packet.get(addresses.clone())? != [octets(host), octets(peer)].concat() {
            return None;
        }
        assert_eq!(frame[..12], [PEER_MAC, HOST_MAC].concat(), "Ethernet");
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (header, len, ttl, tos) = if v6 {
            let len = IPV6 + usize::from(word(4));
            (IPV6, len, packet[7], (word(0) >> 4) as u8)
        } else {
            assert_eq!(fold(sum(&packet[..IPV4])), 0, "the header's checksum");
            (IPV4, usize::from(word(2)), packet[8], packet[1])
        };
        let b = packet.get(header..len)?;
        let pseudo = sum(&packet[addresses]) + 6 + b.len() as u64;
        assert_eq!(fold(pseudo + sum(b)), 0, "checksum of {b:02x?}");
        let word = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        let long = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let header = usize::from(b[12] >> 4) * 4;
        Some(Self {
            v6,
            src_port: word(0),
            dst_port: word(2),
            seq: long(4),
            ack: long(8),
            flags: b[13],
            window: word(14),
            urgent: word(18),
            options: b[TCP..header].to_vec(),
            payload: b[header..].to_vec(),
            offset: None,
            bad_checksum: false,
            df: v6 || packet[6] & 0x40 != 0,
            ttl,
            tos,
        })
    }

    /// Sequence numbers that it takes up.
    pub fn seq_len(&self) -> u32 {
        let flags = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.payload.len() as u32 + flags
    }

    /// The options in order: kind and content, padding left out.
    pub fn options(&self) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        let mut rest = &self.options[..];
        while let [kind, tail @ ..] = rest {
            match (kind, tail.first()) {
                (0, _) | (2.., None) => break,
                (1, _) => rest = tail,
                (_, Some(&len)) => {
                    let len = usize::from(len);
                    assert!((2..=rest.len()).contains(&len), "options {rest:?}");
                    found.push((*kind, rest[2..len].to_vec()));
                    rest = &rest[len..];
                }
            }
        }
        found
    }

    /// Value and echo of its timestamps option.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let options = self.options();
        let (_, data) = options.iter().find(|(kind, _)| *kind == 8)?;
        let long = |at: usize| Some(u32::from_be_bytes(*data.get(at..at + 4)?.first_chunk()?));
        Some((long(0)?, long(4)?))
    }
}

/// The names of flags, as `SYN,ACK`.
pub struct Names(pub u8);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let names: Vec<&str> = (0..8)
            .filter(|bit| self.0 & (1 << bit) != 0)
            .map(|bit| NAMES[bit])
            .collect();
        f.pad(&if names.is_empty() {
            "none".into()
        } else {
            names.join(",")
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|c| u64::from(c[0]) << 8 | u64::from(*c.get(1).unwrap_or(&0)))
        .sum()
}

pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
