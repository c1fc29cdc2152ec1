//! An open regular file.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Advice, FileType, Stat, fadvise, fstat, fstatfs};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, read};

use super::DiskError;
use super::block::Block;
use super::cache::DigestCache;
use super::hash::Hasher;
use super::scratch;
use crate::transfer::http::digest::{Algorithm, Digest};

/// Identity and state of a file: two equal values are the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of it.
    pub mtime_nsec: u32,
    /// Last status change, seconds since 1970.
    pub ctime: i64,
    /// Nanoseconds of it.
    pub ctime_nsec: u32,
}

impl Meta {
    /// Reads it from `stat`.
    #[must_use]
    #[allow(clippy::unnecessary_cast)] // the fields' types differ between architectures
    pub fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: stat.st_mtime as i64,
            mtime_nsec: stat.st_mtime_nsec as u32,
            ctime: stat.st_ctime as i64,
            ctime_nsec: stat.st_ctime_nsec as u32,
        }
    }

    /// Last modification; 1970 for a time before it.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        u64::try_from(self.mtime)
            .ok()
            .and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::new(s, self.mtime_nsec)))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// A strong entity tag, in its quotes.
    #[must_use]
    pub fn etag(&self) -> String {
        format!(
            "\"{:x}-{:x}-{:x}.{:x}\"",
            self.ino, self.size, self.mtime, self.mtime_nsec
        )
    }
}

/// A regular file, or a stream such as standard input, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    meta: Meta,
    stream: bool,
    /// Hash of what was read in order, and up to where.
    hash: Option<Box<Mutex<(Hasher, u64)>>>,
    /// What is known of reads that must not wait, once one was refused.
    waits: OnceLock<Waits>,
}

/// Whether reads wait where the kernel has no flag against that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// They may.
    Maybe,
    /// All there is lies in memory.
    Never,
}

/// `statfs` calls a file system in memory this.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// How much is read at a time to work out a digest: fits the L2 cache.
const HASH_BLOCK: usize = 256 * 1024;

/// Files of this size and above are announced to the kernel as read in order.
const READ_AHEAD_FROM: u64 = 1 << 20;

impl OpenFile {
    /// Takes a descriptor that was opened for reading.
    ///
    /// # Errors
    /// [`DiskError::IsDirectory`] and [`DiskError::NotRegular`] for what is
    /// no regular file.
    pub fn new(fd: OwnedFd) -> Result<Self, DiskError> {
        let stat = fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(DiskError::IsDirectory),
            _ => return Err(DiskError::NotRegular),
        }
        let meta = Meta::of(&stat);
        if meta.size >= READ_AHEAD_FROM {
            // Only a hint.
            let _ = fadvise(&fd, 0, None, Advice::Sequential);
        }
        Ok(Self {
            fd,
            meta,
            stream: false,
            hash: None,
            waits: OnceLock::new(),
        })
    }

    /// Takes a descriptor that can only be read in order, whatever it is;
    /// offsets are ignored.
    ///
    /// # Errors
    /// When the descriptor is not open.
    pub fn stream(fd: OwnedFd) -> Result<Self, DiskError> {
        let meta = Meta::of(&fstat(&fd)?);
        Ok(Self {
            fd,
            meta,
            stream: true,
            hash: None,
            waits: OnceLock::new(),
        })
    }

    /// Works out the digest of what is read, as it is read. Only reads in
    /// order count: each has to begin where the last one ended.
    #[must_use]
    pub fn hashing(mut self, algorithm: Algorithm) -> Self {
        self.hash = Some(Box::new(Mutex::new((Hasher::new(&[algorithm]), 0))));
        self
    }

    fn hash(&self) -> Option<MutexGuard<'_, (Hasher, u64)>> {
        Some(
            self.hash
                .as_ref()?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The digest of what has been read so far, by an algorithm that it was
    /// told.
    #[must_use]
    pub fn hashed(&self) -> Option<Digest> {
        let hash = self.hash()?;
        Algorithm::ALL.into_iter().find_map(|a| hash.0.digest(a))
    }

    /// The same file, to be read from its beginning, and hashed if told.
    ///
    /// # Errors
    /// When the system is short of descriptors.
    pub fn again(&self) -> Result<Self, DiskError> {
        Ok(Self {
            fd: rustix::io::dup(&self.fd)?,
            meta: self.meta,
            stream: self.stream,
            hash: None,
            waits: OnceLock::new(),
        })
    }

    /// Its state when it was opened.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Fills `block` with `len` bytes from `offset`; fewer at the end.
    /// Answers how many.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn read<B: Block>(
        &self,
        offset: u64,
        len: usize,
        block: &mut B,
    ) -> Result<usize, DiskError> {
        scratch::with(len, |memory| {
            let got = self.fetch(offset, memory)?;
            let bytes = memory.get(..got).unwrap_or_default();
            block.fill(bytes);
            if let Some(mut hash) = self.hash()
                && (self.stream || hash.1 == offset)
            {
                hash.0.update(bytes);
                hash.1 += got as u64;
            }
            Ok(got)
        })
    }

    /// Reads until `memory` is full or there is no more.
    fn fetch(&self, offset: u64, memory: &mut [u8]) -> Result<usize, DiskError> {
        let mut got = 0usize;
        while got < memory.len() {
            let rest = &mut memory[got..];
            let result = if self.stream {
                read(&self.fd, rest)
            } else {
                pread(&self.fd, rest, offset + got as u64)
            };
            match result {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(got)
    }

    /// Like [`read`](Self::read), if it need not wait for a disk; `None` (and an
    /// unusable content of `block`) if it might. That is what is in the page
    /// cache, and all of a file system in memory that nothing is swapped out of.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn read_cached<B: Block>(
        &self,
        offset: u64,
        len: usize,
        block: &mut B,
    ) -> Result<Option<usize>, DiskError> {
        let flags = match self.waits.get() {
            Some(Waits::Maybe) => return Ok(None),
            Some(Waits::Never) => ReadWriteFlags::empty(),
            None => ReadWriteFlags::NOWAIT,
        };
        scratch::with(len, |memory| {
            let mut whole = [IoSliceMut::new(memory)];
            match preadv2(&self.fd, &mut whole, offset, flags) {
                Ok(n) if n == len => {
                    block.fill(memory);
                    Ok(Some(n))
                }
                Err(Errno::OPNOTSUPP) if self.waits.get().is_none() => {
                    let _ = self.waits.set(self.whether_it_waits());
                    self.read_cached(offset, len, block)
                }
                Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })
    }

    #[allow(clippy::unnecessary_cast)] // the field's type differs between architectures
    fn whether_it_waits(&self) -> Waits {
        let in_memory = fstatfs(&self.fd).is_ok_and(|fs| fs.f_type as u64 == TMPFS_MAGIC);
        if in_memory && rustix::system::sysinfo().totalswap == 0 {
            Waits::Never
        } else {
            Waits::Maybe
        }
    }

    /// The digest of the whole file, from `cache` or worked out now. SHA-256
    /// takes about a second a gigabyte, BLAKE3 a fifth of that.
    ///
    /// # Errors
    /// [`DiskError::Changed`] if the file changed meanwhile.
    pub fn digest(&self, cache: &DigestCache, algorithm: Algorithm) -> Result<Digest, DiskError> {
        if let Some(digest) = cache.get(&self.meta).get(algorithm) {
            return Ok(digest);
        }
        let mut hasher = Hasher::new(&[algorithm]);
        hash_range(&self.fd, 0, self.meta.size, &mut hasher)?;
        if Meta::of(&fstat(&self.fd)?) != self.meta {
            return Err(DiskError::Changed);
        }
        let digest = hasher.digest(algorithm).ok_or(DiskError::Changed)?;
        cache.insert(self.meta, digest, SystemTime::now());
        Ok(digest)
    }
}

/// Feeds bytes `from..to` of a file to `hasher`.
///
/// # Errors
/// [`DiskError::Changed`] if the file ends before `to`.
pub(super) fn hash_range(
    fd: &OwnedFd,
    from: u64,
    to: u64,
    hasher: &mut Hasher,
) -> Result<(), DiskError> {
    let left = to.saturating_sub(from);
    let mut buffer = vec![0; left.min(HASH_BLOCK as u64) as usize];
    let mut at = from;
    while at < to {
        let want = (to - at).min(buffer.len() as u64) as usize;
        match pread(fd, &mut buffer[..want], at) {
            Ok(0) => return Err(DiskError::Changed),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
