//! Looking ahead in a batch of received frames: among many connections those of
//! the next frames are in no cache, and waiting for the memory of one after the
//! other would be most of the work. So their places in the index, and then they
//! themselves, are loaded while the frames before are handled.
//!
//! Nothing depends on what is foreseen here: whoever comes is looked up again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Stack;
use super::flow::Tuple;
use crate::frame::{Packet, Pool};
use crate::wire::ip::PROTOCOL_TCP;
use crate::wire::{eth, ipv4, ipv6};

/// With fewer connections they are in the caches anyway.
const MANY: usize = 256;
/// How many frames ahead the index is asked for, and how many the connection
/// itself.
const HASHED: usize = 12;
const FOUND: usize = 6;
/// Frames that are being looked ahead at; a power of two.
const WINDOW: usize = 16;
/// No connection foreseen.
const NONE: u32 = u32::MAX;

/// What is known of the next frames of a batch.
#[derive(Debug, Default)]
pub struct Foresight {
    /// Hashes of their tuples, if they have any.
    hashes: [Option<u32>; WINDOW],
    /// Connections that they are probably for.
    found: [u32; WINDOW],
    /// Frames handled.
    done: usize,
}

/// The ends of a TCP segment in a frame of the usual kind.
#[inline]
fn peek(frame: &[u8]) -> Option<Tuple> {
    let kind = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let ip = frame.get(eth::HEADER_LEN..)?;
    let (local, remote, ports): (IpAddr, IpAddr, _) = match kind {
        eth::TYPE_IPV4 => {
            let header: &[u8; 20] = ip.first_chunk()?;
            if header[0] != 0x45 || header[9] != PROTOCOL_TCP {
                return None;
            }
            let [.., a, b, c, d, e, f, g, h] = *header;
            let (src, dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            (dst.into(), src.into(), ip.get(ipv4::HEADER_LEN..)?)
        }
        eth::TYPE_IPV6 => {
            if *ip.get(6)? != PROTOCOL_TCP {
                return None;
            }
            let src: [u8; 16] = *ip.get(8..)?.first_chunk()?;
            let dst: [u8; 16] = *ip.get(24..)?.first_chunk()?;
            let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
            (dst.into(), src.into(), ip.get(ipv6::HEADER_LEN..)?)
        }
        _ => return None,
    };
    let &[a, b, c, d] = ports.first_chunk()?;
    Some(Tuple {
        local,
        remote,
        local_port: u16::from_be_bytes([c, d]),
        remote_port: u16::from_be_bytes([a, b]),
    })
}

impl Stack {
    /// Whether it is worth while to look ahead in `batch`, which it does then.
    /// [`foresee`](Self::foresee) goes on.
    pub fn begin_foresight(&self, pool: &Pool, batch: &[Packet]) -> Option<Foresight> {
        if self.flows.len() < MANY || batch.len() < 2 {
            return None;
        }
        let mut f = Foresight::default();
        for (n, packet) in batch.iter().enumerate().take(HASHED) {
            self.foresee_hash(&mut f, pool, n, packet);
        }
        for n in 0..FOUND.min(batch.len()) {
            self.foresee_flow(&mut f, n);
        }
        Some(f)
    }

    /// The next frame is about to be handled, and `behind` follow it.
    #[inline]
    pub fn foresee(&mut self, f: &mut Foresight, pool: &Pool, behind: &[Packet]) {
        let n = f.done;
        f.done += 1;
        if let Some(packet) = behind.get(HASHED - 1) {
            self.foresee_hash(f, pool, n + HASHED, packet);
        }
        if behind.len() >= FOUND {
            self.foresee_flow(f, n + FOUND);
        }
        // It saves looking it up again, if it is the one.
        let found = f.found[n % WINDOW];
        if found != NONE {
            self.last = found;
        }
    }

    /// `taken` more frames have been handled, and `behind` follow them.
    #[inline]
    pub fn pass_over(&self, f: &mut Foresight, pool: &Pool, taken: usize, behind: &[Packet]) {
        if taken == 0 {
            return;
        }
        f.done += taken;
        for (n, packet) in behind.iter().enumerate().take(HASHED) {
            if n + taken >= HASHED {
                self.foresee_hash(f, pool, f.done + n, packet);
            }
        }
        for n in 0..FOUND.min(behind.len()) {
            if n + taken >= FOUND {
                self.foresee_flow(f, f.done + n);
            }
        }
    }

    #[inline]
    fn foresee_hash(&self, f: &mut Foresight, pool: &Pool, n: usize, packet: &Packet) {
        let tuple = peek(pool.bytes(packet));
        f.hashes[n % WINDOW] = tuple.map(|t| self.flows.foresee_hash(&t));
    }

    #[inline]
    fn foresee_flow(&self, f: &mut Foresight, n: usize) {
        let hash = f.hashes[n % WINDOW];
        let found = hash.and_then(|h| self.flows.foresee_flow(h));
        f.found[n % WINDOW] = found.unwrap_or(NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::eth::Mac;
    use crate::wire::template::{Path, Template};

    #[test]
    fn sees_who_the_segment_is_for() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
            let path = Path {
                src_mac: Mac([2; 6]),
                dst_mac: Mac([4; 6]),
                vlan: None,
                src,
                dst,
                ttl: 64,
                tos: 0,
            };
            let template = Template::new(&path, PROTOCOL_TCP).unwrap();
            let mut frame = vec![0; template.len() + 20];
            template.write(&mut frame, 20, 7);
            frame[template.len()..][..4].copy_from_slice(&[0x12, 0x34, 0, 80]);
            let seen = peek(&frame).unwrap();
            assert_eq!((seen.local, seen.remote), (dst, src));
            assert_eq!((seen.local_port, seen.remote_port), (80, 0x1234));
            for len in 0..template.len() + 4 {
                assert_eq!(peek(&frame[..len]), None, "{len} bytes");
            }
            frame[12] = 0x12;
            assert_eq!(peek(&frame), None);
        }
    }
}
