//! The served directory. No path leaves it: the kernel resolves each with
//! `RESOLVE_BENEATH`, links and `..` included.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path as FsPath, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::cache::DigestCache;
use super::file::OpenFile;
use super::{DiskError, TEMP_PREFIX};
use crate::transfer::http::digest::{Algorithm, Digests};
use crate::transfer::http::target::Path;

/// Files up to this size always get a SHA-256 digest: it costs less than the reply.
const SMALL: u64 = 64 * 1024;

/// A served directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It cannot be opened.
    #[error("cannot serve {}: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel cannot keep paths inside it.
    #[error("this kernel has no openat2 (Linux 5.6 or later is needed), or forbids it")]
    NoOpenat2,
}

/// What a path names.
#[derive(Debug)]
pub enum Found {
    /// A regular file and its digests, as far as they are known or cheap.
    File(OpenFile, Digests),
    /// A directory.
    Directory(OwnedFd),
}

/// A served directory.
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    /// Digests of its files.
    pub digests: DigestCache,
}

impl Root {
    /// Opens directory `path`.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn open(path: &FsPath) -> Result<Self, RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| RootError::Open {
            path: path.to_owned(),
            source: e.into(),
        })?;
        let root = Self {
            dir,
            path: path.to_owned(),
            digests: DigestCache::default(),
        };
        match root.resolve(b"", flags, false) {
            Ok(_) => Ok(root),
            Err(Errno::NOSYS | Errno::PERM) => Err(RootError::NoOpenat2),
            Err(e) => Err(RootError::Open {
                path: path.to_owned(),
                source: e.into(),
            }),
        }
    }

    /// Where it is, as it was given.
    #[must_use]
    pub fn path(&self) -> &FsPath {
        &self.path
    }

    pub(super) fn resolve(
        &self,
        path: &[u8],
        flags: OFlags,
        cached: bool,
    ) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::CACHED, cached);
        let mut tries = 0;
        loop {
            match openat2(
                &self.dir,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                // A rename somewhere raced with a `..` in a link.
                Err(Errno::AGAIN | Errno::INTR) if !cached && tries < 16 => tries += 1,
                other => return other,
            }
        }
    }

    /// Opens what `path` names. Opening a FIFO does not wait for its writer;
    /// it is refused like everything that is neither file nor directory.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn lookup(&self, path: &Path) -> Result<Found, DiskError> {
        self.find(path, false)
    }

    /// [`lookup`](Self::lookup), if that needs no disk; `None` if it might.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn lookup_cached(&self, path: &Path) -> Option<Result<Found, DiskError>> {
        match self.find(path, true) {
            Err(DiskError::Other(e)) if e == Errno::AGAIN.raw_os_error() => None,
            other => Some(other),
        }
    }

    fn find(&self, path: &Path, cached: bool) -> Result<Found, DiskError> {
        if hidden(path.bytes()) {
            return Err(DiskError::NotFound);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.resolve(path.bytes(), flags, cached)?;
        let stat = rustix::fs::fstat(&fd)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Ok(Found::Directory(fd));
        }
        let file = OpenFile::new(fd)?;
        if path.is_directory() {
            return Err(DiskError::NotFound); // "file/" names nothing
        }
        let small = file.meta().size <= SMALL && !cached;
        let mut digests = self.digests.get(file.meta());
        // A digest is an extra: without it the file can still be served.
        if digests.is_empty()
            && small
            && let Ok(digest) = file.digest(&self.digests, Algorithm::Sha256)
        {
            digests.insert(digest);
        }
        Ok(Found::File(file, digests))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Whether a component of `path` is one of our temporary names.
pub(super) fn hidden(path: &[u8]) -> bool {
    path.split(|&b| b == b'/')
        .any(|s| s.starts_with(TEMP_PREFIX.as_bytes()))
}
