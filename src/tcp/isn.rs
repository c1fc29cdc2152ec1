//! Initial sequence numbers (RFC 6528) and timestamp offsets.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

use crate::time::Instant;
use crate::wire::tcp::SeqNumber;

/// A keyed hash over two endpoints.
pub(super) fn keyed(key: &[u8; 16], tag: u8, local: SocketAddr, remote: SocketAddr) -> SipHasher24 {
    let mut h = SipHasher24::new_with_key(key);
    h.write_u8(tag);
    for end in [local, remote] {
        match end.ip() {
            IpAddr::V4(a) => h.write(&a.octets()),
            IpAddr::V6(a) => h.write(&a.octets()),
        }
        h.write_u16(end.port());
    }
    h
}

/// Makes initial sequence numbers that an outsider cannot guess and that
/// still grow for one pair of endpoints.
#[derive(Clone)]
pub struct IsnGenerator {
    key: [u8; 16],
}

impl std::fmt::Debug for IsnGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IsnGenerator") // the key is a secret
    }
}

impl IsnGenerator {
    /// A generator with the secret `key`.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// RFC 6528 section 3: a clock of 4 us plus a keyed hash of the two ends.
    #[must_use]
    pub fn iss(&self, now: Instant, local: SocketAddr, remote: SocketAddr) -> SeqNumber {
        let m = (now.as_micros() / 4) as u32;
        let f = keyed(&self.key, 0, local, remote).finish() as u32;
        SeqNumber(m.wrapping_add(f))
    }

    /// Offset of the timestamp clock for a pair of endpoints (RFC 7323
    /// section 7.1), so that its values do not tell the uptime.
    #[must_use]
    pub fn ts_offset(&self, local: SocketAddr, remote: SocketAddr) -> u32 {
        keyed(&self.key, 1, local, remote).finish() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_for_one_pair_and_differs_between_pairs_and_keys() {
        let (a, b) = (
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:4000".parse().unwrap(),
        );
        let c = "10.0.0.2:4001".parse().unwrap();
        let g = IsnGenerator::new([1; 16]);
        let first = g.iss(Instant::from_millis(1), a, b);
        let later = g.iss(Instant::from_millis(2), a, b);
        assert_eq!(later.distance(first), 250);
        assert_ne!(first, g.iss(Instant::from_millis(1), a, c));
        assert_ne!(
            first,
            IsnGenerator::new([2; 16]).iss(Instant::from_millis(1), a, b)
        );
        assert_ne!(g.ts_offset(a, b), g.ts_offset(a, c));
    }
}
