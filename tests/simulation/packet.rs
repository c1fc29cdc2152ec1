//! Frames as the wire sees them, read without the library's help, so that a
//! mistake of its own parser or emitter shows.

use std::net::IpAddr;

pub const ETHERNET: usize = 14;
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
pub const ECE: u8 = 64;
pub const CWR: u8 = 128;
/// Congestion experienced (RFC 3168 section 5).
pub const CE: u8 = 3;

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    /// The two bits of IP's header that are for congestion.
    pub ecn: u8,
    /// Where TCP begins in the frame.
    pub at: usize,
    /// TCP header in bytes, options included.
    pub header: usize,
    /// Payload in bytes.
    pub len: u32,
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub sack_ok: bool,
    pub times: Option<(u32, u32)>,
    pub sacks: [(u32, u32); 4],
    pub sack_count: usize,
}

impl Segment {
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Behind its last sequence number.
    pub const fn end(&self) -> u32 {
        let flags = self.has(SYN) as u32 + self.has(FIN) as u32;
        self.seq.wrapping_add(self.len).wrapping_add(flags)
    }

    pub fn blocks(&self) -> &[(u32, u32)] {
        &self.sacks[..self.sack_count]
    }
}

pub fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*b.get(at..)?.first_chunk()?))
}

pub fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*b.get(at..)?.first_chunk()?))
}

/// Ones' complement sum of big-endian words, not folded.
pub fn sum(bytes: &[u8]) -> u64 {
    let mut sum = 0u64;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_be_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Length of the IP packet in a frame, if it is one.
pub fn ip_len(frame: &[u8]) -> Option<usize> {
    match be16(frame, 12)? {
        0x0800 => be16(frame, 16).map(usize::from),
        0x86dd => be16(frame, 18).map(|n| usize::from(n) + 40),
        _ => None,
    }
}

/// The bits for congestion in the IP header of a frame.
fn ecn_of(frame: &[u8]) -> u8 {
    match frame.get(ETHERNET) {
        Some(first) if first >> 4 == 4 => frame[ETHERNET + 1] & 3,
        Some(_) => (frame[ETHERNET + 1] >> 4) & 3,
        None => 0,
    }
}

/// Marks a packet that may be marked, as a router with a long queue does.
pub fn mark(frame: &mut [u8]) {
    if !matches!(ecn_of(frame), 1 | 2) {
        return;
    }
    if frame[ETHERNET] >> 4 == 4 {
        let old = u16::from_be_bytes([frame[ETHERNET], frame[ETHERNET + 1]]);
        frame[ETHERNET + 1] |= CE;
        let new = u16::from_be_bytes([frame[ETHERNET], frame[ETHERNET + 1]]);
        let check = u16::from_be_bytes([frame[ETHERNET + 10], frame[ETHERNET + 11]]);
        let sum = u64::from(!check) + u64::from(!old) + u64::from(new);
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(!fold(sum)).to_be_bytes());
    } else {
        frame[ETHERNET + 1] |= CE << 4;
    }
}

/// The TCP segment in a frame; `None` for what is none.
///
/// # Errors
/// What is wrong with it.
pub fn parse(frame: &[u8]) -> Result<Option<Segment>, &'static str> {
    let ip = frame.get(ETHERNET..).ok_or("no Ethernet header")?;
    let addr4 = |at| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
    let addr6 = |at| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
    let (src, dst, header, addresses) = match be16(frame, 12) {
        Some(0x0800) => {
            if ip.get(9) != Some(&6) {
                return Ok(None);
            }
            if ip[0] != 0x45 || fold(sum(&ip[..20])) != 0xffff {
                return Err("bad IPv4 header");
            }
            (addr4(12), addr4(16), 20, 12..20)
        }
        Some(0x86dd) => {
            if ip.get(6) != Some(&6) {
                return Ok(None);
            }
            (addr6(8), addr6(24), 40, 8..40)
        }
        _ => return Ok(None),
    };
    let total = ip_len(frame).ok_or("no IP length")?;
    let packet = ip
        .get(..total)
        .ok_or("an IP packet longer than its frame")?;
    let tcp = packet.get(header..).ok_or("no TCP header")?;
    let pseudo = sum(&packet[addresses]) + 6 + tcp.len() as u64;
    if fold(pseudo + sum(tcp)) != 0xffff {
        return Err("a wrong TCP checksum");
    }
    read_tcp(tcp, src.zip(dst), ETHERNET + header)
        .map(|s| Segment {
            ecn: ecn_of(frame),
            ..s
        })
        .map(Some)
        .ok_or("a TCP header that makes no sense")
}

fn read_tcp(tcp: &[u8], ends: Option<(IpAddr, IpAddr)>, at: usize) -> Option<Segment> {
    let (src, dst) = ends?;
    let header = usize::from(tcp.get(12)? >> 4) * 4;
    let mut options = tcp.get(20..header)?;
    let mut s = Segment {
        src,
        dst,
        sport: be16(tcp, 0)?,
        dport: be16(tcp, 2)?,
        seq: be32(tcp, 4)?,
        ack: be32(tcp, 8)?,
        flags: tcp[13],
        window: be16(tcp, 14)?,
        ecn: 0,
        at,
        header,
        len: (tcp.len() - header) as u32,
        mss: None,
        scale: None,
        sack_ok: false,
        times: None,
        sacks: [(0, 0); 4],
        sack_count: 0,
    };
    while let Some(&kind) = options.first() {
        if kind <= 1 {
            options = if kind == 1 { &options[1..] } else { &[] };
            continue;
        }
        let len = usize::from(*options.get(1)?);
        let body = options.get(2..len)?;
        match kind {
            2 => s.mss = be16(body, 0),
            3 => s.scale = body.first().copied(),
            4 => s.sack_ok = true,
            5 => {
                for block in body.chunks_exact(8).take(4) {
                    s.sacks[s.sack_count] = (be32(block, 0)?, be32(block, 4)?);
                    s.sack_count += 1;
                }
            }
            8 => s.times = Some((be32(body, 0)?, be32(body, 4)?)),
            _ => {}
        }
        options = options.get(len..)?;
    }
    Some(s)
}

/// Changes the 16-bit word at `at` of a TCP header that begins at `tcp`, and
/// its checksum with it (RFC 1624).
pub fn rewrite(frame: &mut [u8], tcp: usize, at: usize, word: u16) {
    let old = u16::from_be_bytes([frame[tcp + at], frame[tcp + at + 1]]);
    let check = u16::from_be_bytes([frame[tcp + 16], frame[tcp + 17]]);
    let sum = u64::from(!check) + u64::from(!old) + u64::from(word);
    frame[tcp + at..tcp + at + 2].copy_from_slice(&word.to_be_bytes());
    frame[tcp + 16..tcp + 18].copy_from_slice(&(!fold(sum)).to_be_bytes());
}

/// A router's answer to a frame that is too large for the way on: ICMP
/// "fragmentation needed" (RFC 1191) or ICMPv6 "packet too big" (RFC 8201).
pub fn too_big(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    const ROUTER: [u8; 6] = [2, 0, 0, 0, 0xff, 1];
    let ip = frame.get(ETHERNET..)?;
    let mut out = Vec::with_capacity(200);
    out.extend_from_slice(&frame[6..12]);
    out.extend_from_slice(&ROUTER);
    out.extend_from_slice(&frame[12..14]);
    if be16(frame, 12)? == 0x0800 {
        // As little as RFC 792 asks for of TCP; of UDP part of what it carries.
        let most = if ip[9] == 17 { 28 + 20 } else { 28 };
        let quoted = &ip[..ip.len().min(most)];
        let mut header = [
            0x45, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 10, 1, 255, 254, 0, 0, 0, 0,
        ];
        header[2..4].copy_from_slice(&(28 + quoted.len() as u16).to_be_bytes());
        header[16..20].copy_from_slice(&ip[12..16]);
        let check = !fold(sum(&header));
        header[10..12].copy_from_slice(&check.to_be_bytes());
        let mut message = vec![3, 4, 0, 0, 0, 0, (mtu >> 8) as u8, mtu as u8];
        message.extend_from_slice(quoted);
        let check = !fold(sum(&message));
        message[2..4].copy_from_slice(&check.to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&message);
    } else {
        let quoted = &ip[..ip.len().min(100)];
        let mut header = [0; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&(8 + quoted.len() as u16).to_be_bytes());
        (header[6], header[7]) = (58, 60);
        header[8..24].copy_from_slice(&[0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 254]);
        header[24..40].copy_from_slice(&ip[8..24]);
        let mut message = vec![2, 0, 0, 0, 0, 0, (mtu >> 8) as u8, mtu as u8];
        message.extend_from_slice(quoted);
        let pseudo = sum(&header[8..40]) + 58 + message.len() as u64;
        let check = !fold(pseudo + sum(&message));
        message[2..4].copy_from_slice(&check.to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&message);
    }
    Some(out)
}
