//! Digests that were worked out before.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::file::Meta;
use crate::transfer::http::digest::{Digest, Digests};

/// Files whose digests are kept; about 200 bytes each.
const CAPACITY: usize = 16 * 1024;

/// A file that changed this recently may change again without its time of
/// modification moving: file systems keep time by the tick.
const SETTLED: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Entries {
    by_file: HashMap<Meta, Digests>,
    order: VecDeque<Meta>,
}

/// Digests keyed by device, inode, size and times of a file. Used by
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

    /// The known digests of a file in exactly this state.
    #[must_use]
    pub fn get(&self, meta: &Meta) -> Digests {
        self.lock().by_file.get(meta).copied().unwrap_or_default()
    }

    /// Remembers a digest, unless the file changed only just before `now`.
    pub fn insert(&self, meta: Meta, digest: Digest, now: SystemTime) {
        if now
            .duration_since(meta.modified())
            .is_ok_and(|age| age >= SETTLED)
        {
            self.insert_settled(meta, digest);
        }
    }

    /// Remembers the digest of a file that nobody else can have open.
    pub fn insert_settled(&self, meta: Meta, digest: Digest) {
        let mut entries = self.lock();
        if let Some(known) = entries.by_file.get_mut(&meta) {
            known.insert(digest);
            return;
        }
        entries.by_file.insert(meta, digest.into());
        entries.order.push_back(meta);
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
        let [one, two] = [Digest::sha256([1; 32]), Digest::blake3([2; 32])];
        cache.insert(meta(1, 500), one, now);
        assert_eq!(cache.get(&meta(1, 500)), one.into());
        assert!(cache.get(&meta(1, 501)).is_empty());
        // The other algorithm's goes beside it.
        cache.insert(meta(1, 500), two, now);
        let both = cache.get(&meta(1, 500));
        assert_eq!(both.iter().collect::<Vec<_>>(), [two, one]);
        // Too fresh to be believed, or from the future.
        cache.insert(meta(2, 1000), one, now);
        cache.insert(meta(3, 2000), one, now);
        assert!(cache.get(&meta(2, 1000)).is_empty());
        assert!(cache.get(&meta(3, 2000)).is_empty());
        for ino in 10..10 + CAPACITY as u64 {
            cache.insert(meta(ino, 500), one, now);
            cache.insert(meta(ino, 500), two, now);
        }
        assert!(cache.get(&meta(1, 500)).is_empty());
        assert_eq!(cache.lock().by_file.len(), CAPACITY);
        assert_eq!(cache.lock().order.len(), CAPACITY);
    }
}
