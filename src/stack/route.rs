//! Prefixes and routes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Most routes that a table keeps. Looking a destination up walks them, which
/// happens once a connection, not once a packet.
pub const MAX_ROUTES: usize = 16_384;

/// An address and the length of the network part of it, as in `10.0.0.1/24`.
/// Bits after the network part are kept: they are the host's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

/// Why a text or a pair is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The part before the slash is not an IP address.
    #[error("\"{0}\" is not an IP address; expected one like 10.0.0.1/24 or fd00::1/64")]
    Address(String),
    /// The part after the slash is missing, no number, or too large.
    #[error(
        "\"{0}\" has no valid prefix length: 0 to 32 after the slash for IPv4, 0 to 128 for IPv6"
    )]
    Length(String),
}

impl Prefix {
    /// The prefix; `None` if `len` is longer than the address.
    #[must_use]
    pub const fn new(addr: IpAddr, len: u8) -> Option<Self> {
        if len <= bits(addr) {
            Some(Self { addr, len })
        } else {
            None
        }
    }

    /// The prefix that holds one address only.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        Self {
            addr,
            len: bits(addr),
        }
    }

    /// The address, with its host bits.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Bits of the network part.
    #[allow(clippy::len_without_is_empty)] // not a collection
    #[must_use]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// The prefix without its host bits.
    #[must_use]
    pub fn network(&self) -> Self {
        let addr = match self.addr {
            IpAddr::V4(a) => IpAddr::V4((a.to_bits() & mask4(self.len)).into()),
            IpAddr::V6(a) => IpAddr::V6((a.to_bits() & mask6(self.len)).into()),
        };
        Self { addr, ..*self }
    }

    /// Whether `ip` lies in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) & mask4(self.len) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()) & mask6(self.len) == 0,
            _ => false,
        }
    }

    /// Whether `ip` is the IPv4 broadcast or network address of this prefix,
    /// which no host may have. Prefixes of 31 and 32 bits have none (RFC 3021).
    #[must_use]
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        let (IpAddr::V4(_), IpAddr::V4(b)) = (self.addr, ip) else {
            return false;
        };
        let host = !mask4(self.len);
        self.len < 31
            && self.contains(ip)
            && (b.to_bits() & host == host || b.to_bits() & host == 0)
    }
}

const fn bits(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (addr, len) = text.split_once('/').unwrap_or((text, ""));
        let addr = addr
            .parse()
            .map_err(|_| PrefixError::Address(text.to_owned()))?;
        let len = if len.bytes().all(|b| b.is_ascii_digit()) {
            len.parse().ok()
        } else {
            None // `parse` alone would accept a sign
        };
        len.and_then(|len| Self::new(addr, len))
            .ok_or_else(|| PrefixError::Length(text.to_owned()))
    }
}

/// Where packets for a prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations.
    pub to: Prefix,
    /// The next hop; `None` if the destinations are on the link themselves.
    pub gateway: Option<IpAddr>,
    /// The address to send from, if the route prefers one.
    pub source: Option<IpAddr>,
    /// Largest packet along this route in bytes, if smaller than the link's.
    pub mtu: Option<u16>,
    /// Of two routes for the same prefix the one with the lower metric is
    /// taken.
    pub metric: u32,
    /// What to do with the packets.
    pub kind: RouteKind,
}

/// What a route does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// They leave through this interface.
    Here,
    /// They leave through another interface.
    Elsewhere,
    /// There is a route that says that there is none (unreachable, prohibit,
    /// blackhole).
    Refused,
}

impl Route {
    /// A route through this interface.
    #[must_use]
    pub fn new(to: Prefix, gateway: Option<IpAddr>) -> Self {
        Self {
            to: to.network(),
            gateway,
            source: None,
            mtu: None,
            metric: 0,
            kind: RouteKind::Here,
        }
    }
}

/// Routes, the one to be preferred first.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// By prefix length, longest first, then by metric.
    routes: Vec<Route>,
    ignored: usize,
}

impl RouteTable {
    /// A table of `routes`. Beyond [`MAX_ROUTES`] the most specific ones are
    /// left out and counted as [`ignored`](Self::ignored).
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|r| (std::cmp::Reverse(r.to.len()), r.metric));
        let ignored = routes.len().saturating_sub(MAX_ROUTES);
        routes.drain(..ignored);
        Self { routes, ignored }
    }

    /// Routes left out since there were too many.
    #[must_use]
    pub const fn ignored(&self) -> usize {
        self.ignored
    }

    /// The route that packets for `remote` take.
    #[must_use]
    pub fn lookup(&self, remote: IpAddr) -> Option<&Route> {
        self.routes.iter().find(|r| r.to.contains(remote))
    }

    /// All routes, the one to be preferred first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_read_and_refused() {
        assert_eq!(prefix("10.1.2.3/8").network(), prefix("10.0.0.0/8"));
        assert_eq!(prefix("fd00::1/64").to_string(), "fd00::1/64");
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "::/129",
            "::/-1",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
        assert!(matches!(
            "x/8".parse::<Prefix>(),
            Err(PrefixError::Address(_))
        ));
    }

    #[test]
    fn containment_at_the_edges() {
        assert!(prefix("0.0.0.0/0").contains(ip("255.1.2.3")));
        assert!(prefix("::/0").contains(ip("ff::")));
        assert!(!prefix("0.0.0.0/0").contains(ip("::1")));
        assert!(prefix("10.0.0.1/32").contains(ip("10.0.0.1")));
        assert!(!prefix("10.0.0.1/32").contains(ip("10.0.0.0")));
    }

    #[test]
    fn broadcast_and_network_addresses() {
        let p = prefix("10.0.0.7/24");
        assert!(p.is_broadcast(ip("10.0.0.255")) && p.is_broadcast(ip("10.0.0.0")));
        assert!(!p.is_broadcast(ip("10.0.0.1")) && !p.is_broadcast(ip("10.0.1.255")));
        assert!(!prefix("10.0.0.0/31").is_broadcast(ip("10.0.0.0")));
        assert!(!prefix("fd00::/64").is_broadcast(ip("fd00::")));
    }

    #[test]
    fn longest_prefix_then_lowest_metric() {
        let mut far = Route::new(prefix("0.0.0.0/0"), Some(ip("10.0.0.254")));
        far.metric = 100;
        let mut near = Route::new(prefix("0.0.0.0/0"), Some(ip("10.0.0.253")));
        near.metric = 50;
        let link = Route::new(prefix("10.0.0.9/24"), None);
        let table = RouteTable::new(vec![far, near, link]);
        assert_eq!(table.lookup(ip("10.0.0.1")), Some(&link));
        assert_eq!(table.lookup(ip("8.8.8.8")), Some(&near));
        assert_eq!(table.lookup(ip("::1")), None);
    }

    #[test]
    fn too_many_routes_are_counted() {
        let one = Route::new(prefix("10.0.0.0/24"), None);
        let default = Route::new(prefix("0.0.0.0/0"), Some(ip("10.0.0.1")));
        let mut routes = vec![one; MAX_ROUTES + 2];
        routes.push(default);
        let table = RouteTable::new(routes);
        assert_eq!(table.ignored(), 3);
        assert_eq!(table.lookup(ip("9.9.9.9")), Some(&default));
    }

    proptest! {
        #[test]
        fn network_is_contained_and_masks_agree(a: u128, b: u128, len in 0u8..=128) {
            let p = Prefix::new(IpAddr::V6(a.into()), len).unwrap();
            prop_assert!(p.contains(p.network().addr()));
            let bits = (0..len).all(|i| (a >> (127 - i)) & 1 == (b >> (127 - i)) & 1);
            prop_assert_eq!(p.contains(IpAddr::V6(b.into())), bits);
            prop_assert_eq!(p.to_string().parse::<Prefix>(), Ok(p));
        }
    }
}
