//! How many connections there may be, in sum and for each address.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::transfer::http::{Refusal, Status};

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is served.
    Yes,
    /// It gets one answer, then it is closed. It counts like a served one.
    Refuse(Refusal),
    /// It is reset; it does not count.
    Reset,
}

/// Counts connections. An IPv6 address counts with all of its /64, which one
/// host has to itself.
#[derive(Debug)]
pub struct Admission {
    total: usize,
    max_total: usize,
    max_per_address: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Connections that get an answer beyond a limit, before they are reset.
const GRACE: usize = 64;

fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => std::net::Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Admission {
    /// At most `total` connections, `per_address` of them from one address.
    #[must_use]
    pub fn new(total: usize, per_address: usize) -> Self {
        Self {
            total: 0,
            max_total: total,
            max_per_address: per_address,
            by_address: HashMap::new(),
        }
    }

    /// A connection from `peer` has been opened.
    pub fn opened(&mut self, peer: IpAddr) -> Admitted {
        let here = self.by_address.get(&key(peer)).copied().unwrap_or(0);
        if self.total >= self.max_total.saturating_add(GRACE)
            || here >= self.max_per_address.saturating_add(GRACE)
        {
            return Admitted::Reset;
        }
        self.total += 1;
        *self.by_address.entry(key(peer)).or_default() += 1;
        if here >= self.max_per_address {
            return Admitted::Refuse(Refusal::new(
                Status::TOO_MANY_REQUESTS,
                "too many connections from this address",
            ));
        }
        if self.total > self.max_total {
            return Admitted::Refuse(Refusal::new(Status::UNAVAILABLE, "too many connections"));
        }
        Admitted::Yes
    }

    /// A connection from `peer` that was not reset is over.
    pub fn closed(&mut self, peer: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(n) = self.by_address.get_mut(&key(peer)) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.by_address.remove(&key(peer));
            }
        }
    }

    /// Connections that count now.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(admitted: Admitted) -> u16 {
        match admitted {
            Admitted::Refuse(refusal) => refusal.status.code(),
            Admitted::Yes => 0,
            Admitted::Reset => 1,
        }
    }

    #[test]
    fn per_address_and_total() {
        let mut limits = Admission::new(5, 2);
        let a = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert_eq!([1, 1, 1].map(|n| status(limits.opened(a(n)))), [0, 0, 429]);
        assert_eq!([2, 2, 3].map(|n| status(limits.opened(a(n)))), [0, 0, 503]);
        limits.closed(a(1));
        limits.closed(a(1));
        limits.closed(a(1));
        assert_eq!(status(limits.opened(a(1))), 0);
        assert_eq!(limits.total(), 4);
    }

    #[test]
    fn a_flood_is_reset_and_forgotten() {
        let mut limits = Admission::new(1000, 2);
        let peers: Vec<IpAddr> = (0..100u16)
            .map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]))
            .collect();
        let got: Vec<_> = peers.iter().map(|p| limits.opened(*p)).collect();
        let counted = got.iter().filter(|g| **g != Admitted::Reset).count();
        assert_eq!(counted, 2 + GRACE, "one /64 is one address");
        for peer in &peers[..counted] {
            limits.closed(*peer);
        }
        assert_eq!((limits.total(), limits.by_address.len()), (0, 0));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        limits.opened(mapped);
        limits.opened(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(limits.by_address.len(), 1);
    }
}
