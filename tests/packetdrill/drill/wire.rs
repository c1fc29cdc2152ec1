//! IP packets, made and read without the code under test.

use std::fmt;
use std::net::IpAddr;

use super::ast::{Flags, TcpOption};

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What the runner cares about in an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// DSCP and ECN.
    pub tos: u8,
    pub ttl: u8,
}

/// A TCP segment as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    pub win: u16,
    pub urg: u16,
    pub options: Vec<TcpOption>,
    pub payload: Vec<u8>,
}

/// An ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    /// The four bytes behind the checksum.
    pub rest: u32,
    /// What it quotes.
    pub data: Vec<u8>,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Tcp(Tcp),
    Icmp(Icmp),
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub ip: Ip,
    pub payload: Payload,
}

/// Why bytes are no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(0, |total: u32, word| {
        let (high, low) = (word[0], word.get(1).copied().unwrap_or(0));
        let total = total + u32::from(u16::from_be_bytes([high, low]));
        (total & 0xffff) + (total >> 16)
    })
}

fn checksum(parts: &[&[u8]]) -> u16 {
    // Every part but the last has an even length.
    let total: u32 = parts.iter().map(|p| sum(p)).sum();
    let total = (total & 0xffff) + (total >> 16);
    !((total & 0xffff) + (total >> 16)) as u16
}

fn pseudo(ip: &Ip, protocol: u8, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for address in [ip.src, ip.dst] {
        match address {
            IpAddr::V4(a) => out.extend(a.octets()),
            IpAddr::V6(a) => out.extend(a.octets()),
        }
    }
    out.extend((len as u32).to_be_bytes());
    out.extend([0, 0, 0, protocol]);
    out
}

/// The header for `len` bytes of `protocol`.
pub fn ip_header(ip: &Ip, protocol: u8, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(60);
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out.extend([0x45, ip.tos]);
            out.extend(((20 + len) as u16).to_be_bytes());
            out.extend([0, 0, 0x40, 0, ip.ttl, protocol, 0, 0]);
            out.extend(src.octets());
            out.extend(dst.octets());
            let sum = checksum(&[&out]);
            out[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend((0x6000_0000 | u32::from(ip.tos) << 20).to_be_bytes());
            out.extend((len as u16).to_be_bytes());
            out.extend([protocol, ip.ttl]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        _ => unreachable!("both ends have one family"),
    }
    out
}

/// The bytes of a TCP header with its options, checksum zero.
pub fn tcp_header(tcp: &Tcp) -> Vec<u8> {
    let mut options = Vec::new();
    for option in &tcp.options {
        match option {
            TcpOption::Eol => options.push(0),
            TcpOption::Nop => options.push(1),
            TcpOption::Mss(mss) => {
                options.extend([2, 4]);
                options.extend(mss.to_be_bytes());
            }
            TcpOption::WindowScale(shift) => options.extend([3, 3, *shift]),
            TcpOption::SackPermitted => options.extend([4, 2]),
            TcpOption::Sack(blocks) => {
                options.extend([5, 2 + 8 * blocks.len() as u8]);
                for (left, right) in blocks {
                    options.extend(left.to_be_bytes());
                    options.extend(right.to_be_bytes());
                }
            }
            TcpOption::Timestamps { val, ecr } => {
                options.extend([8, 10]);
                options.extend(val.to_be_bytes());
                options.extend(ecr.to_be_bytes());
            }
            TcpOption::Other { kind, data } => {
                options.extend([*kind, 2 + data.len() as u8]);
                options.extend(data);
            }
            TcpOption::Raw(bytes) => options.extend(bytes),
        }
    }
    while options.len() % 4 != 0 {
        options.push(0);
    }
    let mut out = Vec::with_capacity(60);
    out.extend(tcp.src_port.to_be_bytes());
    out.extend(tcp.dst_port.to_be_bytes());
    out.extend(tcp.seq.to_be_bytes());
    out.extend(tcp.ack.to_be_bytes());
    let offset = ((20 + options.len()) / 4) as u8;
    out.push(offset << 4 | (tcp.flags.0 >> 8) as u8 & 1);
    out.push(tcp.flags.0 as u8);
    out.extend(tcp.win.to_be_bytes());
    out.extend([0, 0]);
    out.extend(tcp.urg.to_be_bytes());
    out.extend(options);
    out
}

impl Packet {
    /// The bytes, checksums included.
    ///
    /// # Errors
    /// When the TCP options take more than 40 bytes.
    pub fn emit(&self) -> Result<Vec<u8>, Malformed> {
        let v6 = self.ip.src.is_ipv6();
        let (protocol, mut body, at) = match &self.payload {
            Payload::Tcp(tcp) => {
                let mut body = tcp_header(tcp);
                if body.len() > 60 {
                    return Err(Malformed("more than 40 bytes of options".to_owned()));
                }
                body.extend(&tcp.payload);
                (TCP, body, 16)
            }
            Payload::Icmp(icmp) => {
                let mut body = vec![icmp.kind, icmp.code, 0, 0];
                body.extend(icmp.rest.to_be_bytes());
                body.extend(&icmp.data);
                (if v6 { ICMPV6 } else { ICMP }, body, 2)
            }
        };
        let sum = if protocol == ICMP {
            checksum(&[&body])
        } else {
            checksum(&[&pseudo(&self.ip, protocol, body.len()), &body])
        };
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut out = ip_header(&self.ip, protocol, body.len());
        out.extend(body);
        Ok(out)
    }

    /// Reads a packet and checks its checksums.
    ///
    /// # Errors
    /// When it is not one, or one of something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = |what: &str| Malformed(what.to_owned());
        let short = || malformed("a packet that is cut short");
        let (ip, protocol, body) = match bytes.first().ok_or_else(short)? >> 4 {
            4 => {
                let header: &[u8; 20] = bytes.first_chunk().ok_or_else(short)?;
                let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let at = usize::from(header[0] & 15) * 4;
                let body = bytes.get(at..total).ok_or_else(short)?;
                if checksum(&[&bytes[..at]]) != 0 {
                    return Err(malformed("a wrong IP checksum"));
                }
                let address = |at: usize| -> IpAddr {
                    IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]])
                };
                let ip = Ip {
                    src: address(12),
                    dst: address(16),
                    tos: header[1],
                    ttl: header[8],
                };
                (ip, header[9], body)
            }
            6 => {
                let header: &[u8; 40] = bytes.first_chunk().ok_or_else(short)?;
                let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
                let body = bytes.get(40..40 + len).ok_or_else(short)?;
                let address = |at: usize| -> IpAddr {
                    let mut octets = [0u8; 16];
                    octets.copy_from_slice(&header[at..at + 16]);
                    IpAddr::from(octets)
                };
                let ip = Ip {
                    src: address(8),
                    dst: address(24),
                    tos: header[0] << 4 | header[1] >> 4,
                    ttl: header[7],
                };
                (ip, header[6], body)
            }
            _ => return Err(malformed("no IP packet")),
        };
        let right = match protocol {
            ICMP => checksum(&[body]) == 0,
            _ => checksum(&[&pseudo(&ip, protocol, body.len()), body]) == 0,
        };
        let payload = match protocol {
            TCP => Payload::Tcp(parse_tcp(body).ok_or_else(short)?),
            ICMP | ICMPV6 => {
                let [kind, code, _, _, a, b, c, d] = *body.first_chunk().ok_or_else(short)?;
                Payload::Icmp(Icmp {
                    kind,
                    code,
                    rest: u32::from_be_bytes([a, b, c, d]),
                    data: body[8..].to_vec(),
                })
            }
            other => return Err(Malformed(format!("a packet of protocol {other}"))),
        };
        if !right {
            return Err(malformed("a wrong checksum"));
        }
        Ok(Self { ip, payload })
    }
}

fn parse_tcp(body: &[u8]) -> Option<Tcp> {
    let h: &[u8; 20] = body.first_chunk()?;
    let at = usize::from(h[12] >> 4) * 4;
    let options = parse_options(body.get(20..at)?)?;
    let word = |at: usize| u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
    Some(Tcp {
        src_port: half(0),
        dst_port: half(2),
        seq: word(4),
        ack: word(8),
        flags: Flags(u16::from(h[13]) | u16::from(h[12] & 1) << 8),
        win: half(14),
        urg: half(18),
        options,
        payload: body[at..].to_vec(),
    })
}

fn parse_options(mut area: &[u8]) -> Option<Vec<TcpOption>> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = area {
        let single = match kind {
            0 => Some(TcpOption::Eol),
            1 => Some(TcpOption::Nop),
            _ => None,
        };
        if let Some(option) = single {
            options.push(option);
            area = rest;
            continue;
        }
        let len = usize::from(*rest.first()?);
        let data = area.get(2..len)?;
        let word = |at: usize| {
            let bytes: [u8; 4] = data.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        options.push(match (kind, data) {
            (2, [a, b]) => TcpOption::Mss(u16::from_be_bytes([*a, *b])),
            (3, [shift]) => TcpOption::WindowScale(*shift),
            (4, []) => TcpOption::SackPermitted,
            (5, data) if data.len() % 8 == 0 => TcpOption::Sack(
                (0..data.len() / 8)
                    .map(|i| Some((word(8 * i)?, word(8 * i + 4)?)))
                    .collect::<Option<_>>()?,
            ),
            (8, [_, _, _, _, _, _, _, _]) => TcpOption::Timestamps {
                val: word(0)?,
                ecr: word(4)?,
            },
            (kind, data) => TcpOption::Other {
                kind: *kind,
                data: data.to_vec(),
            },
        });
        area = &area[len..];
    }
    // What a header is padded with is not an option.
    while options.last() == Some(&TcpOption::Eol) && options.len() > 1 {
        options.pop();
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_as_they_were_made() {
        for (src, dst) in [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")] {
            let ip = Ip {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                tos: 3,
                ttl: 64,
            };
            let tcp = Tcp {
                src_port: 1,
                dst_port: 2,
                seq: 0xffff_fff0,
                ack: 7,
                flags: Flags(Flags::ACK.0 | Flags::AE.0 | Flags::ECE.0),
                win: 99,
                urg: 0,
                options: vec![
                    TcpOption::Mss(1000),
                    TcpOption::Nop,
                    TcpOption::WindowScale(7),
                    TcpOption::SackPermitted,
                    TcpOption::Timestamps { val: 1, ecr: 2 },
                    TcpOption::Sack(vec![(1, 2)]),
                ],
                payload: vec![1, 2, 3],
            };
            let packet = Packet {
                ip,
                payload: Payload::Tcp(tcp),
            };
            let mut bytes = packet.emit().unwrap();
            assert_eq!(Packet::parse(&bytes).unwrap(), packet);
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            assert!(Packet::parse(&bytes).is_err());
            let icmp = Packet {
                ip,
                payload: Payload::Icmp(Icmp {
                    kind: 3,
                    code: 4,
                    rest: 1200,
                    data: vec![9; 33],
                }),
            };
            assert_eq!(Packet::parse(&icmp.emit().unwrap()).unwrap(), icmp);
        }
    }
}
