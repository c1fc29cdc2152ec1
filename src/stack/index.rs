//! From a 4-tuple, and an id where there is one, to a place in the flow table: open addressing under a keyed
//! hash, so that nobody outside can choose tuples that collide.

use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::flow::Tuple;
use crate::frame::{prefer_huge_pages, prefetch};

const MIN_LEN: usize = 64;

/// A hash in the upper half, and one more than a place below it. Nothing but
/// zeros is a free one, so that memory for many of them costs nothing before
/// it is used.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const fn new(hash: u32, slot: u32) -> Self {
        Self((hash as u64) << 32 | (slot as u64 + 1))
    }

    const fn is_free(self) -> bool {
        self.0 == 0
    }

    const fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn slot(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }
}

/// Linear probing at a load of at most one half. A removal moves later entries
/// up, so that there are no tombstones to be cleaned.
#[derive(Debug)]
pub(super) struct Index {
    entries: Vec<u64>,
    len: usize,
    key: [u8; 16],
}

impl Index {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self {
            entries: vec![0; MIN_LEN],
            len: 0,
            key,
        }
    }

    #[inline]
    pub(super) fn hash(&self, tuple: &Tuple) -> u32 {
        let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
        let h = SipHasher13::new_with_key(&self.key);
        // All at once: pieces would have to be put together first.
        let hash = if let (IpAddr::V4(local), IpAddr::V4(remote)) = (tuple.local, tuple.remote) {
            let mut all = [0; 12];
            all[..4].copy_from_slice(&local.octets());
            all[4..8].copy_from_slice(&remote.octets());
            all[8..].copy_from_slice(&ports.to_le_bytes());
            h.hash(&all)
        } else {
            let mut all = [0; 36];
            for (at, ip) in [(0, tuple.local), (16, tuple.remote)] {
                match ip {
                    IpAddr::V4(ip) => all[at..at + 4].copy_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => all[at..at + 16].copy_from_slice(&ip.octets()),
                }
            }
            all[32..].copy_from_slice(&ports.to_le_bytes());
            h.hash(&all)
        };
        hash as u32
    }

    /// The same of a tuple and a connection id.
    #[inline]
    pub(super) fn hash_id(&self, tuple: &Tuple, id: u16) -> u32 {
        let mut all = [0; 38];
        for (at, ip) in [(0, tuple.local), (16, tuple.remote)] {
            match ip {
                IpAddr::V4(ip) => all[at..at + 4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => all[at..at + 16].copy_from_slice(&ip.octets()),
            }
        }
        all[32..34].copy_from_slice(&tuple.local_port.to_le_bytes());
        all[34..36].copy_from_slice(&tuple.remote_port.to_le_bytes());
        all[36..].copy_from_slice(&id.to_le_bytes());
        SipHasher13::new_with_key(&self.key).hash(&all) as u32
    }

    #[inline]
    const fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    #[inline]
    fn entry(&self, at: usize) -> Entry {
        Entry(self.entries[at])
    }

    /// A slot with this hash is going to be looked for soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        prefetch(&self.entries[hash as usize & self.mask()]);
    }

    /// The slot with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize & self.mask();
        loop {
            let entry = self.entry(at);
            if entry.is_free() {
                return None;
            }
            if entry.hash() == hash && is_it(entry.slot()) {
                return Some(entry.slot());
            }
            at = (at + 1) & self.mask();
        }
    }

    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if (self.len + 1) * 2 > self.entries.len() {
            let mut bigger = vec![0; self.entries.len() * 2];
            prefer_huge_pages(&mut bigger);
            let old = std::mem::replace(&mut self.entries, bigger);
            for entry in old.into_iter().map(Entry).filter(|e| !e.is_free()) {
                self.place(entry);
            }
        }
        self.place(Entry::new(hash, slot));
        self.len += 1;
    }

    fn place(&mut self, entry: Entry) {
        let mut at = entry.hash() as usize & self.mask();
        while !self.entry(at).is_free() {
            at = (at + 1) & self.mask();
        }
        self.entries[at] = entry.0;
    }

    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let mask = self.mask();
        let mut at = hash as usize & mask;
        while self.entry(at) != Entry::new(hash, slot) {
            if self.entry(at).is_free() {
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
            let entry = self.entry(at);
            if entry.is_free() {
                break;
            }
            let from_home = at.wrapping_sub(entry.hash() as usize) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.entries[gap] = entry.0;
                gap = at;
            }
        }
        self.entries[gap] = 0;
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
        let by_id = index.hash_id(&tuple, 7);
        assert_ne!(by_id, index.hash_id(&tuple, 8));
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
            assert_ne!(by_id, index.hash_id(&other, 7), "{other:?}");
        }
    }
}
