//! From a 4-tuple to a place in the flow table: open addressing under a keyed
//! hash, so that nobody outside can choose tuples that collide.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::flow::Tuple;

const NONE: u32 = u32::MAX;
const MIN_LEN: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    /// [`NONE`]: the entry is free.
    slot: u32,
}

const FREE: Entry = Entry {
    hash: 0,
    slot: NONE,
};

/// Linear probing at a load of at most one half. A removal moves later entries
/// up, so that there are no tombstones to be cleaned.
#[derive(Debug)]
pub(super) struct Index {
    entries: Vec<Entry>,
    len: usize,
    key: [u8; 16],
}

impl Index {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self {
            entries: vec![FREE; MIN_LEN],
            len: 0,
            key,
        }
    }

    #[inline]
    pub(super) fn hash(&self, tuple: &Tuple) -> u32 {
        let mut h = SipHasher13::new_with_key(&self.key);
        let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
        match (tuple.local, tuple.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                h.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => {
                for ip in [local, remote] {
                    match ip {
                        IpAddr::V4(ip) => h.write(&ip.octets()),
                        IpAddr::V6(ip) => h.write(&ip.octets()),
                    }
                }
            }
        }
        h.write_u32(ports);
        h.finish() as u32
    }

    #[inline]
    const fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    /// The slot with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize & self.mask();
        loop {
            let entry = self.entries[at];
            if entry.slot == NONE {
                return None;
            }
            if entry.hash == hash && is_it(entry.slot) {
                return Some(entry.slot);
            }
            at = (at + 1) & self.mask();
        }
    }

    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if (self.len + 1) * 2 > self.entries.len() {
            let bigger = vec![FREE; self.entries.len() * 2];
            let old = std::mem::replace(&mut self.entries, bigger);
            for entry in old.into_iter().filter(|e| e.slot != NONE) {
                self.place(entry);
            }
        }
        self.place(Entry { hash, slot });
        self.len += 1;
    }

    fn place(&mut self, entry: Entry) {
        let mut at = entry.hash as usize & self.mask();
        while self.entries[at].slot != NONE {
            at = (at + 1) & self.mask();
        }
        self.entries[at] = entry;
    }

    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let mask = self.mask();
        let mut at = hash as usize & mask;
        while self.entries[at].slot != slot {
            if self.entries[at].slot == NONE {
                return;
            }
            at = (at + 1) & mask;
        }
        self.len -= 1;
        // Close the gap: an entry may move to it if its own place is not
        // between the gap and where it is now.
        let mut gap = at;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry.slot == NONE {
                break;
            }
            let from_home = at.wrapping_sub(entry.hash as usize) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.entries[gap] = entry;
                gap = at;
            }
        }
        self.entries[gap] = FREE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn agrees_with_a_map_through_insertions_and_removals() {
        // Few hashes, so that chains form, wrap around and close again.
        let mut state = 0x2545_f491u32;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let mut index = Index::new([0; 16]);
        let mut model: HashMap<u32, u32> = HashMap::new();
        for step in 0..40_000u32 {
            let slot = random() % 300;
            if let Some(hash) = model.remove(&slot) {
                index.remove(hash, slot);
            } else {
                let hash = random() % 40 + if random() % 2 == 0 { u32::MAX - 40 } else { 0 };
                index.insert(hash, slot);
                model.insert(slot, hash);
            }
            if step % 64 == 0 {
                for slot in 0..300 {
                    let hash = model.get(&slot).copied();
                    let found = hash.and_then(|h| index.find(h, |s| s == slot));
                    assert_eq!(found.is_some(), hash.is_some(), "slot {slot}, step {step}");
                }
                assert_eq!(index.len, model.len());
            }
        }
        index.remove(3, 4242);
        assert_eq!(index.len, model.len());
    }

    #[test]
    fn the_key_and_each_part_of_the_tuple_count() {
        let tuple = Tuple::new(
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:4000".parse().unwrap(),
        );
        let index = Index::new([7; 16]);
        let hash = index.hash(&tuple);
        assert_eq!(hash, index.hash(&tuple));
        assert_ne!(hash, Index::new([8; 16]).hash(&tuple));
        for other in [
            Tuple {
                local_port: 81,
                ..tuple
            },
            Tuple {
                remote_port: 4001,
                ..tuple
            },
            Tuple {
                remote: tuple.local,
                ..tuple
            },
            Tuple {
                local: tuple.remote,
                ..tuple
            },
        ] {
            assert_ne!(hash, index.hash(&other), "{other:?}");
        }
    }
}
