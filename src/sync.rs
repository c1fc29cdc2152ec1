//! What threads share is made of. Everything that two threads touch without a
//! lock is built from these, in modules small enough to be model-checked:
//! `models/` compiles the same modules with loom's versions of these.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use crossbeam::queue::ArrayQueue;
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
pub use std::thread::yield_now;

use rustix::event::{EventfdFlags, eventfd};

/// A file descriptor that is readable once signalled, until cleared.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// Not signalled.
    ///
    /// # Errors
    /// If the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Makes it readable.
    pub fn signal(&self) {
        // Fails only when the counter is at its end, and then it is readable.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub fn clear(&self) {
        // Fails when it is unreadable already.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }

    /// To wait for.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
