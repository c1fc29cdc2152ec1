//! Files, and the threads that wait for them.
//!
//! The engine must never wait for a disk, so every system call that could runs
//! on a thread of [`Pool`]. Requests carry buffers that they own and come back
//! with them: what is read goes into its frames, and what is written comes out of
//! the frames it arrived in, by a copy in the cache each.

pub mod block;
pub mod cache;
pub mod file;
pub mod hash;
pub mod list;
pub mod pool;
pub mod root;
pub mod scratch;
pub mod sink;
pub mod upload;

pub use block::Block;
pub use file::OpenFile;
pub use hash::Hasher;
pub use pool::{Completion, Mailbox, Op, Outcome, Pool, PoolConfig, Tag};
pub use root::{Found, Root};
pub use sink::Sink;
pub use upload::{Stored, Upload};

use rustix::io::Errno;

/// Names that begin like this are never listed, served or written: unfinished
/// uploads have them on file systems without unnamed temporary files.
pub const TEMP_PREFIX: &str = ".fullbore-";

/// Why a file operation failed, as far as a peer may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// The directory that should hold the file does not exist.
    #[error("no such directory")]
    NoParent,
    /// Permissions, or a read-only file system.
    #[error("permission denied")]
    Denied,
    /// Neither a regular file nor a directory.
    #[error("not a regular file")]
    NotRegular,
    /// A directory where a file was expected.
    #[error("is a directory")]
    IsDirectory,
    /// A link that leads out of the served directory.
    #[error("leads out of the served directory")]
    Outside,
    /// A name longer than the file system takes.
    #[error("name too long")]
    NameTooLong,
    /// The file system or the quota is full.
    #[error("no space left")]
    NoSpace,
    /// The system is short of file descriptors or memory: may work later.
    #[error("out of file descriptors or memory")]
    Exhausted,
    /// The file became shorter, or changed, while it was read.
    #[error("the file changed while it was read")]
    Changed,
    /// A precondition of the request does not hold (any longer).
    #[error("a precondition does not hold")]
    Precondition,
    /// The content is not what its digest says.
    #[error("the content does not match its digest")]
    Digest,
    /// Anything else the system reported.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Other(i32),
}

impl From<Errno> for DiskError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::NotFound,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::Denied,
            // ENXIO: a socket, or a device without its driver.
            Errno::NXIO | Errno::NODEV => Self::NotRegular,
            Errno::ISDIR => Self::IsDirectory,
            Errno::XDEV | Errno::LOOP => Self::Outside,
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Exhausted,
            other => Self::Other(other.raw_os_error()),
        }
    }
}

#[cfg(test)]
mod tests;
