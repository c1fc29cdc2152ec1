//! Path MTUs that routers have reported (RFC 1191, RFC 8201).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::neigh::Keyed;
use crate::time::Instant;

/// Destinations kept.
pub const CAPACITY: usize = 1024;
/// For how long a report counts (RFC 1191, section 6.3; RFC 8201, section 4).
const LIFETIME: Duration = Duration::from_secs(600);
/// IPv4 reports below this are raised to it. RFC 1191 allows 68; packets that
/// small serve nobody but an attacker, and Linux has the same floor.
pub const MIN_V4: u16 = 552;
/// IPv6 has no smaller links (RFC 8200, section 5).
pub const MIN_V6: u16 = 1280;

/// Reported path MTUs by destination.
#[derive(Debug)]
pub struct PathMtus {
    entries: HashMap<IpAddr, (u16, Instant), Keyed>,
}

impl PathMtus {
    /// An empty cache; `seed` keys its hash.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            entries: HashMap::with_hasher(Keyed(seed)),
        }
    }

    /// The largest packet in bytes that reaches `remote`, if a router said so.
    #[must_use]
    pub fn get(&self, now: Instant, remote: IpAddr) -> Option<u16> {
        self.entries
            .get(&remote)
            .filter(|(_, until)| now < *until)
            .map(|(mtu, _)| *mtu)
    }

    /// Keeps a report that has been found to answer one of our packets. A
    /// report only ever lowers what is known. Answers whether it changed
    /// anything.
    pub fn learn(&mut self, now: Instant, remote: IpAddr, mtu: u16) -> bool {
        let mtu = mtu.max(if remote.is_ipv6() { MIN_V6 } else { MIN_V4 });
        if self.get(now, remote).is_some_and(|known| known <= mtu) {
            return false;
        }
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&remote) {
            self.entries.retain(|_, (_, until)| now < *until);
            if self.entries.len() >= CAPACITY {
                let oldest = self.entries.iter().min_by_key(|(_, (_, until))| *until);
                if let Some(ip) = oldest.map(|(ip, _)| *ip) {
                    self.entries.remove(&ip);
                }
            }
        }
        self.entries.insert(remote, (mtu, now + LIFETIME));
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// The next lower common MTU below the length of a packet that did not fit,
/// for routers that report 0 (RFC 1191, section 7.1).
#[must_use]
pub fn plateau(total_len: u16) -> u16 {
    const PLATEAUS: [u16; 8] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, MIN_V4];
    PLATEAUS
        .into_iter()
        .find(|mtu| *mtu < total_len)
        .unwrap_or(MIN_V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_only_lower_and_expire() {
        let mut cache = PathMtus::new(1);
        let (a, t) = ("10.0.0.1".parse().unwrap(), Instant::from_millis(1));
        assert!(cache.learn(t, a, 1400));
        assert!(!cache.learn(t, a, 1500) && !cache.learn(t, a, 1400));
        assert!(cache.learn(t, a, 68));
        assert_eq!(cache.get(t, a), Some(MIN_V4));
        assert_eq!(cache.get(t + LIFETIME, a), None);
        assert!(cache.learn(t + LIFETIME, a, 1450));
        let b = "fd00::1".parse().unwrap();
        assert!(cache.learn(t, b, 100));
        assert_eq!(cache.get(t, b), Some(MIN_V6));
    }

    #[test]
    fn the_cache_is_bounded_and_drops_the_oldest() {
        let mut cache = PathMtus::new(1);
        let ip = |n: u32| IpAddr::V4(n.into());
        for n in 0..CAPACITY as u32 + 10 {
            cache.learn(Instant::from_millis(n.into()), ip(n), 1400);
        }
        let now = Instant::from_millis(5000);
        assert_eq!(cache.entries.len(), CAPACITY);
        assert_eq!(cache.get(now, ip(9)), None);
        assert_eq!(cache.get(now, ip(10)), Some(1400));
    }

    #[test]
    fn plateaus_go_down() {
        assert_eq!(plateau(1500), 1492);
        assert_eq!(plateau(1492), 1006);
        assert_eq!(plateau(20), MIN_V4);
    }
}
