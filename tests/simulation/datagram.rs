//! uTP's packets as the wire sees them (BEP 29), read without the library's
//! help.

use std::net::{IpAddr, SocketAddr};

use crate::packet::{ETHERNET, be16, be32, fold, ip_len, sum};

pub const DATA: u8 = 0;
pub const FIN: u8 = 1;
pub const STATE: u8 = 2;
pub const RESET: u8 = 3;
pub const SYN: u8 = 4;

/// A packet of uTP.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub kind: u8,
    pub id: u16,
    pub window: u32,
    pub seq: u16,
    pub ack: u16,
    /// The bits of a selective acknowledgement.
    pub sack: Vec<u8>,
    /// Payload in bytes, and a number that differs where its bytes do.
    pub len: u32,
    pub digest: u64,
    /// Where uTP and its payload begin in the frame.
    pub at: usize,
    pub payload: usize,
}

/// The ports of a UDP datagram or a TCP segment.
pub fn ports(frame: &[u8]) -> Option<(u16, u16)> {
    let ip = frame.get(ETHERNET..)?;
    let (protocol, header) = match be16(frame, 12)? {
        0x0800 => (*ip.get(9)?, 20),
        0x86dd => (*ip.get(6)?, 40),
        _ => return None,
    };
    let known = protocol == 6 || protocol == 17;
    known.then_some((be16(ip, header)?, be16(ip, header + 2)?))
}

/// The packet of uTP in a frame; `None` for what is no UDP.
///
/// # Errors
/// What is wrong with it.
pub fn parse(frame: &[u8]) -> Result<Option<Datagram>, &'static str> {
    let ip = frame.get(ETHERNET..).ok_or("no Ethernet header")?;
    let addr4 = |at| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
    let addr6 = |at| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
    let (ends, header, addresses) = match be16(frame, 12) {
        Some(0x0800) if ip.get(9) == Some(&17) => {
            if ip[0] != 0x45 || fold(sum(&ip[..20])) != 0xffff {
                return Err("bad IPv4 header");
            }
            (addr4(12).zip(addr4(16)), 20, 12..20)
        }
        Some(0x86dd) if ip.get(6) == Some(&17) => (addr6(8).zip(addr6(24)), 40, 8..40),
        _ => return Ok(None),
    };
    let total = ip_len(frame).ok_or("no IP length")?;
    let packet = ip.get(..total).ok_or("more IP than its frame has")?;
    let udp = packet.get(header..).ok_or("no UDP header")?;
    if be16(udp, 4).map(usize::from) != Some(udp.len()) {
        return Err("a wrong UDP length");
    }
    let pseudo = sum(&packet[addresses]) + 17 + udp.len() as u64;
    if be16(udp, 6) == Some(0) || fold(pseudo + sum(udp)) != 0xffff {
        return Err("a wrong UDP checksum");
    }
    let read = ends.and_then(|ends| read(udp, ends, ETHERNET + header + 8));
    read.map(Some).ok_or("a uTP header that makes no sense")
}

fn read(udp: &[u8], (src, dst): (IpAddr, IpAddr), at: usize) -> Option<Datagram> {
    let utp = udp.get(8..)?;
    let (kind, version) = (utp.first()? >> 4, utp[0] & 15);
    if version != 1 || kind > SYN {
        return None;
    }
    let mut rest = utp.get(20..)?;
    let (mut next, mut sack) = (utp[1], Vec::new());
    while next != 0 {
        let len = usize::from(*rest.get(1)?);
        let body = rest.get(2..2 + len)?;
        if next == 1 {
            sack = body.to_vec();
        }
        next = rest[0];
        rest = &rest[2 + len..];
    }
    let digest = rest
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
    Some(Datagram {
        src: SocketAddr::new(src, be16(udp, 0)?),
        dst: SocketAddr::new(dst, be16(udp, 2)?),
        kind,
        id: be16(utp, 2)?,
        window: be32(utp, 12)?,
        seq: be16(utp, 16)?,
        ack: be16(utp, 18)?,
        sack,
        len: rest.len() as u32,
        digest,
        at,
        payload: at + utp.len() - rest.len(),
    })
}

/// Changes the 16-bit word at `at` of a frame whose UDP header ends at `utp`,
/// and the checksum with it (RFC 1624).
pub fn rewrite(frame: &mut [u8], utp: usize, at: usize, word: u16) {
    let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let check = u16::from_be_bytes([frame[utp - 2], frame[utp - 1]]);
    let sum = u64::from(!check) + u64::from(!old) + u64::from(word);
    let check = match !fold(sum) {
        0 => 0xffff,
        check => check,
    };
    frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
    frame[utp - 2..utp].copy_from_slice(&check.to_be_bytes());
}
