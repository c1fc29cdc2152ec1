//! Ethernet II with at most one 802.1Q tag.

use std::fmt;
use std::str::FromStr;

use super::{Error, array};

/// Length of a header without a tag, in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of one 802.1Q tag, in bytes.
pub const VLAN_LEN: usize = 4;

/// Ethertype of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// Ethertype of an 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// Ethertype of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// All zero: no address.
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether it is a group address; broadcast is one.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it can be one station's address: neither a group nor zero.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Mac::ZERO
    }

    /// The group address for an IPv6 multicast destination (RFC 2464,
    /// section 7).
    pub const fn multicast_v6(ip: std::net::Ipv6Addr) -> Mac {
        let o = ip.octets();
        Mac([0x33, 0x33, o[12], o[13], o[14], o[15]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an Ethernet address: expected six two-digit hexadecimal numbers like 02:00:5e:10:00:01"
)]
pub struct MacParseError;

impl FromStr for Mac {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Mac, MacParseError> {
        let mut mac = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().ok_or(MacParseError)?;
            // `from_str_radix` alone would accept a sign.
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(MacParseError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| MacParseError)?;
        }
        if parts.next().is_some() {
            Err(MacParseError)
        } else {
            Ok(Mac(mac))
        }
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// VLAN id, 1 to 4095. A tag with id 0 carries a priority only and is read
    /// as no VLAN.
    pub vlan: Option<u16>,
    /// What follows; that of a second tag is left to the caller.
    pub ethertype: u16,
}

impl Header {
    /// Reads the header; the payload begins at the length returned beside it.
    ///
    /// # Errors
    /// `Truncated`.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Header, usize), Error> {
        let b = frame.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let mut header = Header {
            dst: Mac([b[0], b[1], b[2], b[3], b[4], b[5]]),
            src: Mac([b[6], b[7], b[8], b[9], b[10], b[11]]),
            vlan: None,
            ethertype: u16::from_be_bytes([b[12], b[13]]),
        };
        if header.ethertype != TYPE_VLAN {
            return Ok((header, HEADER_LEN));
        }
        let [a, b, c, d] = array::<VLAN_LEN>(frame, HEADER_LEN).ok_or(Error::Truncated)?;
        let id = u16::from_be_bytes([a, b]) & 0x0fff;
        header.vlan = (id != 0).then_some(id);
        header.ethertype = u16::from_be_bytes([c, d]);
        Ok((header, HEADER_LEN + VLAN_LEN))
    }

    /// Bytes that [`emit`](Self::emit) writes: 14 or 18.
    #[inline]
    pub const fn emit_len(&self) -> usize {
        match self.vlan {
            None => HEADER_LEN,
            Some(_) => HEADER_LEN + VLAN_LEN,
        }
    }

    /// Writes the header and returns its length. The tag's priority is 0.
    ///
    /// # Panics
    /// When `out` is shorter than [`emit_len`](Self::emit_len).
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        out[0..6].copy_from_slice(&self.dst.0);
        out[6..12].copy_from_slice(&self.src.0);
        let mut at = 12;
        if let Some(id) = self.vlan {
            out[12..14].copy_from_slice(&TYPE_VLAN.to_be_bytes());
            out[14..16].copy_from_slice(&(id & 0x0fff).to_be_bytes());
            at = 16;
        }
        out[at..at + 2].copy_from_slice(&self.ethertype.to_be_bytes());
        at + 2
    }
}
