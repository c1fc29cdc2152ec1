//! A file that is being written, hashed on the way.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::{Errno, pwritev, write};
use sha2::{Digest as _, Sha256};

use super::DiskError;
use super::block::Block;
use super::file::hash_range;
use crate::transfer::http::ByteRange;
use crate::transfer::http::digest::Sha256Digest;

/// What may be read back for hashing along with one write, as a multiple of
/// what was written: the hash catches up with parts that came out of order
/// without holding up the writes.
const CATCH_UP: u64 = 2;

#[derive(Default)]
struct State {
    hasher: Sha256,
    hashed: u64,
    /// Written parts, start to end, neither touching nor overlapping.
    written: BTreeMap<u64, u64>,
}

/// A file, or a stream such as standard output, that blocks are written to.
pub struct Sink {
    fd: OwnedFd,
    stream: bool,
    state: Mutex<State>,
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
            state: Mutex::new(state),
        }
    }

    /// Writes to a descriptor in order; offsets must follow each other.
    #[must_use]
    pub fn stream(fd: OwnedFd) -> Self {
        Self {
            fd,
            stream: true,
            state: Mutex::default(),
        }
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
        let mut slices = block.to_write();
        let mut state = self.lock();
        if self.stream && state.hashed != offset {
            return Err(DiskError::Changed);
        }
        let mut rest = &mut slices[..];
        let mut at = offset;
        let in_order = state.hashed == offset;
        if in_order {
            for slice in rest.iter() {
                state.hasher.update(&**slice);
            }
        }
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let batch = rest.len().min(1024); // IOV_MAX
            let result = if self.stream {
                rest.first().map_or(Ok(0), |slice| write(&self.fd, slice))
            } else {
                pwritev(&self.fd, &rest[..batch], at)
            };
            match result {
                Ok(0) => return Err(DiskError::NoSpace),
                Ok(n) => {
                    at += n as u64;
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
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

    /// Hashes on from where the hash stands, as far as there is content
    /// without a gap, but not beyond `limit`.
    fn hash_to(&self, state: &mut State, limit: u64) -> Result<(), DiskError> {
        let Some(end) = end_of(&state.written, state.hashed) else {
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

    /// The SHA-256 of the first `size` bytes, all of which must have been
    /// written. What was not hashed yet is read back.
    ///
    /// # Errors
    /// [`DiskError::Changed`] if some of them are missing.
    pub fn digest(&self, size: u64) -> Result<Sha256Digest, DiskError> {
        let mut state = self.lock();
        self.hash_to(&mut state, size)?;
        if state.hashed != size {
            return Err(DiskError::Changed);
        }
        Ok(state.hasher.clone().finalize().into())
    }
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
            for &i in &order[done..] {
                let block = content[i * 1000..i * 1000 + 1000].to_vec();
                prop_assert_eq!(sink.write(i as u64 * 1000, &block), Ok(1000));
            }
            let want: Sha256Digest = Sha256::digest(&content).into();
            prop_assert_eq!(sink.digest(16_000), Ok(want));
            prop_assert_eq!(sink.written(), vec![ByteRange { start: 0, end: 16_000 }]);
        }
    }

    #[test]
    fn a_gap_has_no_digest() {
        let sink = Sink::new(tempfile::tempfile().unwrap().into(), &[]);
        sink.write(10, &vec![1; 10]).unwrap();
        assert_eq!(sink.digest(20), Err(DiskError::Changed));
        sink.write(0, &vec![1; 10]).unwrap();
        assert_eq!(sink.digest(20), Ok(Sha256::digest([1; 20]).into()));
    }

    #[test]
    fn streams_are_written_in_order() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let sink = Sink::stream(writer.into());
        assert_eq!(sink.write(0, &b"abc".to_vec()), Ok(3));
        assert_eq!(sink.write(9, &b"x".to_vec()), Err(DiskError::Changed));
        assert_eq!(sink.write(3, &b"de".to_vec()), Ok(2));
        assert_eq!(sink.digest(5), Ok(Sha256::digest(b"abcde").into()));
        drop(sink);
        let mut got = String::new();
        std::io::Read::read_to_string(&mut reader, &mut got).unwrap();
        assert_eq!(got, "abcde");
    }
}
