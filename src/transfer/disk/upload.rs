//! An upload: invisible until it is complete, then there at once.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, fstatvfs,
    fsync, linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::file::Meta;
use super::root::{Found, Root, hidden};
use super::sink::Sink;
use super::{DiskError, TEMP_PREFIX};
use crate::transfer::http::Request;
use crate::transfer::http::condition::{self, Validators};
use crate::transfer::http::digest::{self, Algorithm, Digest};
use crate::transfer::http::target::{Path, Target};

/// A file on its way into the served directory.
pub struct Upload {
    root: Arc<Root>,
    sink: Sink,
    parent: OwnedFd,
    name: Vec<u8>,
    path: Path,
    /// The hidden name of a file that could not be created without one.
    temp: Option<String>,
    published: AtomicBool,
    must_be_new: bool,
    must_replace: Option<Meta>,
    algorithm: Algorithm,
}

/// An upload that has become a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// There was no file of that name before.
    pub created: bool,
    /// Its entity tag.
    pub etag: String,
    /// Its digest.
    pub digest: Digest,
}

/// Tells apart the temporary names of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn temp_name() -> String {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos());
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{TEMP_PREFIX}{:x}-{n:x}-{nanos:x}", std::process::id())
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Upload {
    /// Makes room for what `request` wants to put: checks the target, the
    /// preconditions and the free space, then creates a file without a name.
    ///
    /// # Errors
    /// See [`DiskError`]; nothing is left behind.
    pub fn create(
        root: &Arc<Root>,
        request: &Request,
        length: Option<u64>,
    ) -> Result<Self, DiskError> {
        let Target::Path(path) = &request.target else {
            return Err(DiskError::IsDirectory);
        };
        let (parent, name) = path.split().ok_or(DiskError::IsDirectory)?;
        if path.is_directory() {
            return Err(DiskError::IsDirectory);
        }
        if hidden(path.bytes()) {
            return Err(DiskError::Denied);
        }
        let parent = root
            .resolve(parent, DIRECTORY, false)
            .map_err(|e| match e {
                Errno::NOENT | Errno::NOTDIR => DiskError::NoParent,
                e => e.into(),
            })?;
        // The name itself is replaced, not what it may link to.
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile | FileType::Symlink => {}
                FileType::Directory => return Err(DiskError::IsDirectory),
                _ => return Err(DiskError::NotRegular),
            },
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let existing = existing(root, path);
        check(request, existing.as_ref())?;
        if let Some(length) = length {
            let fs = fstatvfs(&parent)?;
            if fs.f_bavail.saturating_mul(fs.f_frsize) < length {
                return Err(DiskError::NoSpace);
            }
        }
        let (fd, temp) = create_hidden(&parent)?;
        let algorithm = algorithm(request);
        let sink = Sink::new(fd, &[]);
        sink.hash_by(&[algorithm]);
        Ok(Self {
            root: root.clone(),
            sink,
            parent,
            name: name.to_vec(),
            path: path.clone(),
            temp,
            published: AtomicBool::new(false),
            must_be_new: request
                .if_none_match
                .as_deref()
                .is_some_and(|f| f.trim() == "*"),
            must_replace: existing.filter(|_| request.if_match.is_some()),
            algorithm,
        })
    }

    /// Where its content goes.
    #[must_use]
    pub const fn sink(&self) -> &Sink {
        &self.sink
    }

    /// By which algorithm its digest is worked out while it comes.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks the content of `size` bytes against `expected`, syncs it, gives
    /// it its name and syncs the directory.
    ///
    /// # Errors
    /// [`DiskError::Digest`] if the content is not what was announced,
    /// [`DiskError::Precondition`] if the target has changed since the upload
    /// began. Nothing is visible then.
    pub fn commit(&self, size: u64, expected: &[Digest]) -> Result<Stored, DiskError> {
        let digest = self.sink.digest(size, self.algorithm)?;
        for expected in expected {
            let same = if expected.algorithm == self.algorithm {
                digest == *expected
            } else {
                self.sink.digest(size, expected.algorithm)? == *expected
            };
            if !same {
                return Err(DiskError::Digest);
            }
        }
        fsync(self.sink.fd())?;
        if self.must_replace.is_some() && existing(&self.root, &self.path) != self.must_replace {
            return Err(DiskError::Precondition);
        }
        let created = self.publish()?;
        self.published.store(true, Ordering::Relaxed);
        fsync(&self.parent)?;
        let meta = Meta::of(&fstat(self.sink.fd())?);
        for digest in expected.iter().chain([&digest]) {
            self.root.digests.insert_settled(meta, *digest);
        }
        Ok(Stored {
            created,
            etag: meta.etag(),
            digest,
        })
    }

    /// Gives the file its name. Answers whether the name is new.
    fn publish(&self) -> Result<bool, DiskError> {
        let name = &self.name[..];
        let Some(temp) = &self.temp else {
            match self.link(name) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) if self.must_be_new => return Err(DiskError::Precondition),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            // A link cannot replace a name; a rename can.
            let temp = temp_name();
            self.link(temp.as_bytes())?;
            return match renameat(&self.parent, &*temp, &self.parent, name) {
                Ok(()) => Ok(false),
                Err(e) => {
                    let _ = unlinkat(&self.parent, &*temp, AtFlags::empty());
                    Err(e.into())
                }
            };
        };
        match renameat_with(
            &self.parent,
            &**temp,
            &self.parent,
            name,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if self.must_be_new => Err(DiskError::Precondition),
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {
                let new = statat(&self.parent, name, AtFlags::SYMLINK_NOFOLLOW).is_err();
                renameat(&self.parent, &**temp, &self.parent, name)?;
                Ok(new)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn link(&self, name: &[u8]) -> Result<(), Errno> {
        let fd = self.sink.fd();
        match linkat(fd, "", &self.parent, name, AtFlags::EMPTY_PATH) {
            // Without CAP_DAC_READ_SEARCH the kernel wants the path that
            // /proc gives to the descriptor.
            Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                linkat(CWD, path, &self.parent, name, AtFlags::SYMLINK_FOLLOW)
            }
            other => other,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp
            && !*self.published.get_mut()
        {
            let _ = unlinkat(&self.parent, &**temp, AtFlags::empty());
        }
    }
}

fn existing(root: &Root, path: &Path) -> Option<Meta> {
    match root.lookup(path) {
        Ok(Found::File(file, _)) => Some(*file.meta()),
        _ => None,
    }
}

fn check(request: &Request, existing: Option<&Meta>) -> Result<(), DiskError> {
    let outcome = match existing {
        Some(meta) => {
            let etag = meta.etag();
            let validators = Validators {
                etag: &etag,
                modified: meta.modified(),
            };
            condition::evaluate(request, Some(&validators))
        }
        None => condition::evaluate(request, None),
    };
    if outcome == condition::Outcome::Proceed {
        Ok(())
    } else {
        Err(DiskError::Precondition)
    }
}

/// What the digest is to be made with: what the request announces in its head,
/// or else what it wants to hear, since a trailer will have that as well.
fn algorithm(request: &Request) -> Algorithm {
    let announced = [&request.repr_digest, &request.content_digest]
        .into_iter()
        .flatten()
        .find_map(|field| digest::parse(field).ok()?.iter().next());
    let wanted = || digest::wanted(request.want_repr_digest.as_deref()?);
    announced
        .map(|digest| digest.algorithm)
        .or_else(wanted)
        .unwrap_or(Algorithm::Sha256)
}

fn create_hidden(parent: &OwnedFd) -> Result<(OwnedFd, Option<String>), DiskError> {
    let mode = Mode::from_raw_mode(0o666);
    match openat(
        parent,
        ".",
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        mode,
    ) {
        Ok(fd) => Ok((fd, None)),
        // The file system has no unnamed files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => create_named(parent),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn create_named(parent: &OwnedFd) -> Result<(OwnedFd, Option<String>), DiskError> {
    sweep(parent);
    let name = temp_name();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = openat(parent, &*name, flags, Mode::from_raw_mode(0o666))?;
    // Marks it as in use: see `sweep`. Some file systems have no locks.
    let _ = flock(&fd, FlockOperation::NonBlockingLockExclusive);
    Ok((fd, Some(name)))
}

/// Removes temporary files of processes that were killed: nobody holds their
/// lock any more.
fn sweep(parent: &OwnedFd) {
    let Ok(dir) = Dir::read_from(parent) else {
        return;
    };
    for entry in dir.flatten() {
        let name = entry.file_name();
        if !name.to_bytes().starts_with(TEMP_PREFIX.as_bytes()) {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(fd) = openat(parent, name, flags, Mode::empty())
            && flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = unlinkat(parent, name, AtFlags::empty());
        }
    }
}
