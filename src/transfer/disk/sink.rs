//! A file that is being written, hashed on the way.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::{Errno, pwrite, write};

use super::DiskError;
use super::block::Block;
use super::file::hash_range;
use super::hash::Hasher;
use super::scratch;
use crate::transfer::http::ByteRange;
use crate::transfer::http::digest::{Algorithm, Digest};

/// What may be read back for hashing along with one write, as a multiple of
/// what was written: the hash catches up with parts that came out of order
/// without holding up the writes.
const CATCH_UP: u64 = 2;

/// Content is hashed and written by this much, from a multiple of it on, so that
/// it is still in the cache for the second, and few pages are written in parts.
const GROUP: u64 = 128 * 1024;

#[derive(Default)]
struct State {
    hasher: Hasher,
    /// The algorithms of `hasher`.
    set: u8,
    /// How far it has come; with a stream, how much has been written.
    hashed: u64,
    /// Written parts, start to end, neither touching nor overlapping.
    written: BTreeMap<u64, u64>,
}

/// A file, or a stream such as standard output, that blocks are written to.
pub struct Sink {
    fd: OwnedFd,
    stream: bool,
    /// The algorithms that are asked for, which `state` may have to follow.
    wanted: AtomicU8,
    state: Mutex<State>,
}

/// A set of algorithms, a bit each.
fn set(algorithms: &[Algorithm]) -> u8 {
    algorithms.iter().fold(0, |set, a| set | 1 << *a as u8)
}

impl Sink {
    /// Writes to a file that is open for reading and writing, in which the
    /// `present` parts are already there.
    #[must_use]
    pub fn new(fd: OwnedFd, present: &[ByteRange]) -> Self {
        let mut state = State::default();
        for part in present {
            add(&mut state.written, part.start, part.end);
        }
        Self {
            fd,
            stream: false,
            wanted: AtomicU8::new(0),
            state: Mutex::new(state),
        }
    }

    /// Writes to a descriptor in order; offsets must follow each other.
    #[must_use]
    pub fn stream(fd: OwnedFd) -> Self {
        Self {
            fd,
            stream: true,
            wanted: AtomicU8::new(0),
            state: Mutex::default(),
        }
    }

    /// Works out digests by these algorithms from now on; without it, by none.
    /// What was written before is read again, which a stream cannot do: there
    /// it has no effect once something was written. Never waits.
    pub fn hash_by(&self, algorithms: &[Algorithm]) {
        self.wanted.store(set(algorithms), Ordering::Relaxed);
    }

    /// Follows [`hash_by`](Self::hash_by).
    fn choose(&self, state: &mut State) {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if state.set == wanted || (self.stream && state.hashed > 0) {
            return;
        }
        let all = Algorithm::ALL.into_iter();
        let algorithms: Vec<_> = all.filter(|a| set(&[*a]) & wanted != 0).collect();
        state.hasher = Hasher::new(&algorithms);
        state.set = wanted;
        state.hashed = 0;
    }

    /// The file.
    #[must_use]
    pub const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a panic on a disk thread poisons it, and then the transfer
        // fails for want of an answer.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the content of `block` at `offset`. Answers its length.
    ///
    /// # Errors
    /// Whatever the system reports; [`DiskError::Changed`] for a stream
    /// written out of order.
    pub fn write<B: Block>(&self, offset: u64, block: &B) -> Result<u64, DiskError> {
        let mut state = self.lock();
        self.choose(&mut state);
        if self.stream && state.hashed != offset {
            return Err(DiskError::Changed);
        }
        let in_order = state.hashed == offset;
        let mut at = offset;
        scratch::with(GROUP as usize, |memory| {
            let (mut used, mut room) = (0, up_to_group(at));
            let mut put = |bytes: &[u8]| {
                if in_order {
                    state.hasher.update(bytes);
                }
                self.write_all(at, bytes)?;
                at += bytes.len() as u64;
                Ok::<_, DiskError>(up_to_group(at))
            };
            for mut piece in block.pieces() {
                while !piece.is_empty() {
                    let (now, later) = piece.split_at(piece.len().min(room - used));
                    memory[used..used + now.len()].copy_from_slice(now);
                    used += now.len();
                    piece = later;
                    if used == room {
                        room = put(&memory[..used])?;
                        used = 0;
                    }
                }
            }
            put(&memory[..used])
        })?;
        add(&mut state.written, offset, at);
        if in_order {
            state.hashed = at;
        } else {
            let reach = state
                .hashed
                .saturating_add((at - offset).saturating_mul(CATCH_UP));
            self.hash_to(&mut state, reach)?;
        }
        Ok(at - offset)
    }

    fn write_all(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let result = if self.stream {
                write(&self.fd, rest)
            } else {
                pwrite(&self.fd, rest, offset + done as u64)
            };
            match result {
                Ok(0) => return Err(DiskError::NoSpace),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Hashes on from where the hash stands, as far as there is content
    /// without a gap, but not beyond `limit`.
    fn hash_to(&self, state: &mut State, limit: u64) -> Result<(), DiskError> {
        let Some(end) = end_of(&state.written, state.hashed).filter(|_| state.set != 0) else {
            return Ok(());
        };
        let to = end.min(limit);
        if to > state.hashed && !self.stream {
            hash_range(&self.fd, state.hashed, to, &mut state.hasher)?;
            state.hashed = to;
        }
        Ok(())
    }

    /// Forgets all content, to begin again.
    ///
    /// # Errors
    /// [`DiskError::Changed`] for a stream that something was written to.
    pub fn reset(&self) -> Result<(), DiskError> {
        let mut state = self.lock();
        if self.stream {
            return if state.hashed == 0 {
                Ok(())
            } else {
                Err(DiskError::Changed)
            };
        }
        rustix::fs::ftruncate(&self.fd, 0)?;
        *state = State::default();
        Ok(())
    }

    /// The parts that have been written, in order.
    #[must_use]
    pub fn written(&self) -> Vec<ByteRange> {
        self.lock()
            .written
            .iter()
            .map(|(&start, &end)| ByteRange { start, end })
            .collect()
    }

    /// The digest of the first `size` bytes, all of which must have been
    /// written. What was not hashed yet is read back.
    ///
    /// # Errors
    /// [`DiskError::Changed`] if some of them are missing, or for a stream that
    /// was not hashed by this algorithm from its beginning.
    pub fn digest(&self, size: u64, algorithm: Algorithm) -> Result<Digest, DiskError> {
        if !self.stream {
            let wanted = self.wanted.load(Ordering::Relaxed);
            if wanted & set(&[algorithm]) == 0 {
                self.hash_by(&[algorithm]);
            }
        }
        let mut state = self.lock();
        self.choose(&mut state);
        self.hash_to(&mut state, size)?;
        if state.hashed != size {
            return Err(DiskError::Changed);
        }
        state.hasher.digest(algorithm).ok_or(DiskError::Changed)
    }
}

/// Bytes from `at` to the next multiple of [`GROUP`].
const fn up_to_group(at: u64) -> usize {
    (GROUP - at % GROUP) as usize
}

/// Adds `start..end`, joining what touches.
fn add(parts: &mut BTreeMap<u64, u64>, start: u64, end: u64) {
    if start >= end {
        return;
    }
    let (mut start, mut end) = (start, end);
    if let Some((&s, &e)) = parts.range(..=start).next_back()
        && e >= start
    {
        start = s;
        end = end.max(e);
    }
    while let Some((&s, &e)) = parts.range(start..=end).next() {
        end = end.max(e);
        parts.remove(&s);
    }
    parts.insert(start, end);
}

/// The end of the part that contains `at` or begins there.
fn end_of(parts: &BTreeMap<u64, u64>, at: u64) -> Option<u64> {
    parts
        .range(..=at)
        .next_back()
        .map(|(_, &e)| e)
        .filter(|&e| e >= at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    proptest! {
        #[test]
        fn parts_against_a_bitmap(ranges in prop::collection::vec((0u64..60, 0u64..12), 0..30)) {
            let mut parts = BTreeMap::new();
            let mut bitmap = [false; 80];
            for (start, len) in ranges {
                add(&mut parts, start, start + len);
                bitmap[start as usize..(start + len) as usize].fill(true);
            }
            let mut again = [false; 80];
            let mut last = None;
            for (&start, &end) in &parts {
                prop_assert!(start < end && last.is_none_or(|l| l < start));
                again[start as usize..end as usize].fill(true);
                last = Some(end);
            }
            prop_assert_eq!(bitmap, again);
            let run = bitmap.iter().take_while(|b| **b).count() as u64;
            prop_assert_eq!(end_of(&parts, 0).unwrap_or(0), run);
        }

        #[test]
        fn hashed_in_any_order(order in Just((0..16usize).collect::<Vec<_>>()).prop_shuffle(), done in 0usize..16) {
            let content: Vec<u8> = (0..16_000u32).map(|i| (i * 7 % 251) as u8).collect();
            let file = tempfile::tempfile().unwrap();
            // Some parts are left from an earlier attempt.
            let present: Vec<_> = order[..done]
                .iter()
                .map(|&i| ByteRange { start: i as u64 * 1000, end: i as u64 * 1000 + 1000 })
                .collect();
            for part in &present {
                let bytes = &content[part.start as usize..part.end as usize];
                std::os::unix::fs::FileExt::write_all_at(&file, bytes, part.start).unwrap();
            }
            let sink = Sink::new(file.into(), &present);
            sink.hash_by(&[Algorithm::Blake3]);
            for &i in &order[done..] {
                let block = content[i * 1000..i * 1000 + 1000].to_vec();
                prop_assert_eq!(sink.write(i as u64 * 1000, &block), Ok(1000));
            }
            for _ in 0..2 {
                let want = Digest::blake3(blake3::hash(&content));
                prop_assert_eq!(sink.digest(16_000, Algorithm::Blake3), Ok(want));
                // Not asked for before: read back.
                let want = Digest::sha256(Sha256::digest(&content));
                prop_assert_eq!(sink.digest(16_000, Algorithm::Sha256), Ok(want));
            }
            prop_assert_eq!(sink.written(), vec![ByteRange { start: 0, end: 16_000 }]);
        }
    }

    #[test]
    fn a_gap_has_no_digest() {
        let sink = Sink::new(tempfile::tempfile().unwrap().into(), &[]);
        sink.write(10, &vec![1; 10]).unwrap();
        let digest = || sink.digest(20, Algorithm::Sha256);
        assert_eq!(digest(), Err(DiskError::Changed));
        sink.write(0, &vec![1; 10]).unwrap();
        assert_eq!(digest(), Ok(Digest::sha256(Sha256::digest([1; 20]))));
    }

    #[test]
    fn another_algorithm_begins_again() {
        let sink = Sink::new(tempfile::tempfile().unwrap().into(), &[]);
        sink.hash_by(&[Algorithm::Blake3]);
        sink.write(0, &vec![1; 1000]).unwrap();
        sink.hash_by(&[Algorithm::Sha256]);
        sink.write(1000, &vec![2; 1000]).unwrap();
        let content = [vec![1; 1000], vec![2; 1000]].concat();
        let want = Digest::sha256(Sha256::digest(&content));
        assert_eq!(sink.digest(2000, Algorithm::Sha256), Ok(want));
    }

    #[test]
    fn streams_are_written_in_order() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let sink = Sink::stream(writer.into());
        sink.hash_by(&[Algorithm::Sha256]);
        assert_eq!(sink.write(0, &b"abc".to_vec()), Ok(3));
        assert_eq!(sink.write(9, &b"x".to_vec()), Err(DiskError::Changed));
        assert_eq!(sink.write(3, &b"de".to_vec()), Ok(2));
        let want = Digest::sha256(Sha256::digest(b"abcde"));
        assert_eq!(sink.digest(5, Algorithm::Sha256), Ok(want));
        // What is gone cannot be read again.
        sink.hash_by(&Algorithm::ALL);
        let other = sink.digest(5, Algorithm::Blake3);
        assert_eq!(other, Err(DiskError::Changed));
        assert_eq!(sink.digest(5, Algorithm::Sha256), Ok(want));
        drop(sink);
        let mut got = String::new();
        std::io::Read::read_to_string(&mut reader, &mut got).unwrap();
        assert_eq!(got, "abcde");
    }
}
