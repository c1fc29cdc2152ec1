//! Interface names, and addresses with a prefix.

use super::units::{Scalar, scalar};
use std::fmt;
use std::net::IpAddr;

/// A name that a Linux network interface can have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scalar for InterfaceName {
    fn expecting() -> String {
        "an interface name: 1 to 15 bytes without spaces, \"/\" or \":\"".into()
    }
    fn from_text(text: &str) -> Option<Self> {
        let valid = (1..=15).contains(&text.len())
            && text != "."
            && text != ".."
            && !text.contains(|c: char| {
                c == '/' || c == ':' || c == '\0' || c.is_whitespace() || c.is_control()
            });
        valid.then(|| Self(text.to_owned()))
    }
}
scalar!([] InterfaceName);

/// A host's address with the length of its network's prefix: `"192.0.2.7/24"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the network's prefix.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `other` is in the same network.
    #[must_use]
    pub fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                (a.to_bits() ^ b.to_bits()) & mask == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                (a.to_bits() ^ b.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// Whether the address is one that a host can have: not the network's
    /// own, its broadcast, a multicast, a loopback or the unspecified one.
    fn is_host(self) -> bool {
        let special = self.address.is_multicast()
            || self.address.is_unspecified()
            || self.address.is_loopback();
        let edge = match self.address {
            IpAddr::V4(a) if self.prefix <= 30 => {
                let host = a.to_bits()
                    & !u32::MAX
                        .checked_shl(32 - u32::from(self.prefix))
                        .unwrap_or(0);
                host == 0 || host == (u32::MAX >> self.prefix)
            }
            IpAddr::V4(a) => a.is_broadcast(),
            IpAddr::V6(_) => false,
        };
        !special && !edge
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Scalar for Cidr {
    fn expecting() -> String {
        "a host's address with its prefix length, such as \"192.0.2.7/24\"".into()
    }
    fn from_text(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let cidr = Self { address, prefix };
        ((1..=most).contains(&prefix) && cidr.is_host()).then_some(cidr)
    }
}
scalar!([] Cidr);

impl Scalar for IpAddr {
    fn expecting() -> String {
        "an IP address".into()
    }
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
