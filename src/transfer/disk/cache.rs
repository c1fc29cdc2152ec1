//! Digests that were worked out before.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::file::Meta;
use crate::transfer::http::digest::Sha256Digest;

/// Digests kept; about 150 bytes each.
const CAPACITY: usize = 16 * 1024;

/// A file that changed this recently may change again without its time of
/// modification moving: file systems keep time by the tick.
const SETTLED: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Entries {
    by_file: HashMap<Meta, Sha256Digest>,
    order: VecDeque<Meta>,
}

/// SHA-256 digests keyed by device, inode, size and times of a file. Used by
/// disk threads only.
#[derive(Default)]
pub struct DigestCache {
    entries: Mutex<Entries>,
}

impl DigestCache {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // The map is never left half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of a file in exactly this state.
    #[must_use]
    pub fn get(&self, meta: &Meta) -> Option<Sha256Digest> {
        self.lock().by_file.get(meta).copied()
    }

    /// Remembers a digest, unless the file changed only just before `now`.
    pub fn insert(&self, meta: Meta, digest: Sha256Digest, now: SystemTime) {
        if now
            .duration_since(meta.modified())
            .is_ok_and(|age| age >= SETTLED)
        {
            self.insert_settled(meta, digest);
        }
    }

    /// Remembers the digest of a file that nobody else can have open.
    pub fn insert_settled(&self, meta: Meta, digest: Sha256Digest) {
        let mut entries = self.lock();
        if entries.by_file.insert(meta, digest).is_none() {
            entries.order.push_back(meta);
        }
        if entries.order.len() > CAPACITY
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.by_file.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(ino: u64, mtime: i64) -> Meta {
        Meta {
            dev: 1,
            ino,
            size: 5,
            mtime,
            mtime_nsec: 0,
            ctime: 0,
            ctime_nsec: 0,
        }
    }

    #[test]
    fn keyed_by_state_and_bounded() {
        let cache = DigestCache::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        cache.insert(meta(1, 500), [1; 32], now);
        assert_eq!(cache.get(&meta(1, 500)), Some([1; 32]));
        assert_eq!(cache.get(&meta(1, 501)), None);
        // Too fresh to be believed, or from the future.
        cache.insert(meta(2, 1000), [2; 32], now);
        cache.insert(meta(3, 2000), [3; 32], now);
        assert_eq!(
            (cache.get(&meta(2, 1000)), cache.get(&meta(3, 2000))),
            (None, None)
        );
        for ino in 10..10 + CAPACITY as u64 {
            cache.insert(meta(ino, 500), [9; 32], now);
        }
        assert_eq!(cache.get(&meta(1, 500)), None);
        assert_eq!(cache.lock().by_file.len(), CAPACITY);
    }
}
