//! A connection's Ethernet and IP headers, prepared once.

use std::net::IpAddr;

use super::checksum::{self, Sum};
use super::eth::{self, Mac};
use super::{Error, ipv4, ipv6};

pub use super::checksum::fill_tcp_checksum;

/// Most bytes that a template writes: Ethernet, one tag, IPv6.
pub const MAX_LEN: usize = eth::HEADER_LEN + eth::VLAN_LEN + ipv6::HEADER_LEN;

/// Between whom packets go, below the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Own Ethernet address.
    pub src_mac: Mac,
    /// Ethernet address of the next hop.
    pub dst_mac: Mac,
    /// VLAN id, 1 to 4094, or none.
    pub vlan: Option<u16>,
    /// Own address.
    pub src: IpAddr,
    /// The peer's address, of the same family.
    pub dst: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The DSCP (upper six bits) and ECN (lower two bits) byte.
    pub tos: u8,
}

/// The headers below the transport of all packets that go along one path.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    bytes: [u8; MAX_LEN],
    len: u8,
    ip_at: u8,
    v6: bool,
    /// The sum over addresses and protocol of the pseudo-header.
    pseudo: u16,
    /// That over the IPv4 header without total length and identification.
    ip_sum: u16,
}

impl Template {
    /// Prepares the headers for `protocol` along `path`.
    ///
    /// # Errors
    /// `MixedFamilies` when the two addresses are not of one family.
    pub fn new(path: &Path, protocol: u8) -> Result<Template, Error> {
        let mut bytes = [0; MAX_LEN];
        let v6 = path.src.is_ipv6();
        let ethernet = eth::Header {
            dst: path.dst_mac,
            src: path.src_mac,
            vlan: path.vlan,
            ethertype: if v6 { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 },
        };
        let ip_at = ethernet.emit(&mut bytes);
        let mut ip_sum = Sum::ZERO;
        let ip_len = match (path.src, path.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ip = &mut bytes[ip_at..ip_at + ipv4::HEADER_LEN];
                ip[0] = 0x45;
                ip[1] = path.tos;
                ip[6] = 0x40; // don't fragment
                ip[8] = path.ttl;
                ip[9] = protocol;
                ip[12..16].copy_from_slice(&src.octets());
                ip[16..20].copy_from_slice(&dst.octets());
                ip_sum = Sum::of(ip);
                ipv4::HEADER_LEN
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let ip = &mut bytes[ip_at..ip_at + ipv6::HEADER_LEN];
                ip[0] = 0x60 | path.tos >> 4;
                ip[1] = path.tos << 4;
                ip[6] = protocol;
                ip[7] = path.ttl;
                ip[8..24].copy_from_slice(&src.octets());
                ip[24..40].copy_from_slice(&dst.octets());
                ipv6::HEADER_LEN
            }
            _ => return Err(Error::MixedFamilies),
        };
        Ok(Template {
            bytes,
            len: (ip_at + ip_len) as u8,
            ip_at: ip_at as u8,
            v6,
            pseudo: checksum::pseudo_addresses(path.src, path.dst, protocol).get(),
            ip_sum: ip_sum.get(),
        })
    }

    /// Bytes of all headers together: 34, 38, 54 or 58.
    #[allow(clippy::len_without_is_empty)] // never empty
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bytes of the Ethernet header: 14, or 18 with a VLAN tag.
    #[inline]
    pub fn eth_len(&self) -> usize {
        usize::from(self.ip_at)
    }

    /// Whether the path is IPv6.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        self.v6
    }

    /// Sends to another next hop from now on.
    #[inline]
    pub fn set_dst_mac(&mut self, mac: Mac) {
        self.bytes[0..6].copy_from_slice(&mac.0);
    }

    /// Has another protocol follow from now on.
    pub fn set_protocol(&mut self, protocol: u8) {
        let ip = &mut self.bytes[usize::from(self.ip_at)..usize::from(self.len)];
        let addresses = if self.v6 {
            ip[6] = protocol;
            Sum::of(&ip[8..40])
        } else {
            ip[9] = protocol;
            // Length, identification and checksum are zero in the template.
            self.ip_sum = Sum::of(ip).get();
            Sum::of(&ip[12..20])
        };
        self.pseudo = addresses.add(Sum::word(u16::from(protocol))).get();
    }

    /// Sends with another Differentiated Services codepoint (0 to 63, the
    /// rest is cut off) from now on (RFC 2474, section 3).
    pub fn set_dscp(&mut self, dscp: u8) {
        let tos = dscp << 2;
        let ip = &mut self.bytes[usize::from(self.ip_at)..usize::from(self.len)];
        if self.v6 {
            ip[0] = 0x60 | tos >> 4;
            ip[1] = tos << 4 | ip[1] & 0x3f;
        } else {
            ip[1] = tos | ip[1] & 3;
            // Length, identification and checksum are zero in the template.
            self.ip_sum = Sum::of(ip).get();
        }
    }

    /// Writes the headers of an `l4_len`-byte transport segment (header and
    /// payload) to `out[..self.len()]`. `ident` is the IPv4 identification;
    /// don't-fragment is always set.
    ///
    /// # Panics
    /// When `out` is shorter than [`len`](Self::len).
    #[inline]
    pub fn write(&self, out: &mut [u8], l4_len: usize, ident: u16) {
        self.write_marked(out, l4_len, ident, 0);
    }

    /// As [`write`](Self::write), with `ecn` (0 to 3) in the ECN bits, which
    /// the path's `tos` leaves at zero (RFC 3168, section 5).
    ///
    /// # Panics
    /// When `out` is shorter than [`len`](Self::len).
    #[inline]
    pub fn write_marked(&self, out: &mut [u8], l4_len: usize, ident: u16, ecn: u8) {
        debug_assert!(ecn < 4);
        debug_assert!(l4_len <= 0xffff - ipv4::HEADER_LEN);
        // Copies of a constant length become a few moves.
        match self.len {
            34 => self.write_v4::<34>(out, l4_len, ident, ecn),
            38 => self.write_v4::<38>(out, l4_len, ident, ecn),
            54 => self.write_v6::<54>(out, l4_len, ecn),
            _ => self.write_v6::<58>(out, l4_len, ecn),
        }
    }

    #[inline(always)]
    fn write_v4<const LEN: usize>(&self, out: &mut [u8], l4_len: usize, ident: u16, ecn: u8) {
        out[..LEN].copy_from_slice(&self.bytes[..LEN]);
        let ip = &mut out[LEN - ipv4::HEADER_LEN..LEN];
        let total_len = (ipv4::HEADER_LEN + l4_len) as u16;
        let mut sum = Sum::word(self.ip_sum)
            .add(Sum::word(total_len))
            .add(Sum::word(ident));
        if ecn != 0 {
            ip[1] |= ecn;
            sum = sum.add(Sum::word(u16::from(ecn)));
        }
        ip[2..4].copy_from_slice(&total_len.to_be_bytes());
        ip[4..6].copy_from_slice(&ident.to_be_bytes());
        ip[10..12].copy_from_slice(&sum.finish().to_be_bytes());
    }

    #[inline(always)]
    fn write_v6<const LEN: usize>(&self, out: &mut [u8], l4_len: usize, ecn: u8) {
        out[..LEN].copy_from_slice(&self.bytes[..LEN]);
        let ip = &mut out[LEN - ipv6::HEADER_LEN..LEN];
        ip[1] |= ecn << 4;
        ip[4..6].copy_from_slice(&(l4_len as u16).to_be_bytes());
    }

    /// Has routers cut the packet whose headers have just been written to
    /// `out` where it is too long, instead of dropping it (RFC 791). IPv6 has
    /// no such thing.
    ///
    /// # Panics
    /// When `out` is shorter than [`len`](Self::len).
    pub fn allow_fragments(&self, out: &mut [u8]) {
        if !self.v6 {
            let ip = &mut out[self.eth_len()..self.len()];
            ip[6] &= !0x40;
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).finish();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// The sum of the pseudo-header of an `l4_len`-byte transport segment.
    #[inline]
    pub fn pseudo_sum(&self, l4_len: usize) -> Sum {
        Sum::word(self.pseudo).add(checksum::length(l4_len))
    }
}
