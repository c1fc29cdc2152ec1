//! How other threads wake a sleeping engine, at no cost while it is awake.

use std::io;
use std::os::fd::BorrowedFd;

use crate::link::sleep::Sleeper;
use crate::sync::{Arc, AtomicBool, Event, Ordering};

#[derive(Debug)]
struct Shared {
    sleeper: Sleeper,
    stop: AtomicBool,
}

/// Wakes an engine, and asks it to stop. Any number of clones, in any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// Of an engine that does not sleep.
    ///
    /// # Errors
    /// When the operating system has no file descriptor for the wake-up.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            sleeper: Sleeper::new()?,
            stop: AtomicBool::new(false),
        })))
    }

    /// Makes the engine look at its queues. To be called after something was
    /// put into one.
    pub fn wake(&self) {
        self.0.sleeper.wake();
    }

    /// Asks for an orderly stop, as `Context::stop` does.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether a stop has been asked for.
    #[inline]
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// Announces that the engine is about to sleep until [`fd`](Self::fd) is
    /// readable. `false`, and nothing announced, when `work_waits` finds
    /// something to do or a stop was asked for. To be followed by
    /// [`awake`](Self::awake).
    pub(super) fn prepare_sleep(&self, stopping: bool, work_waits: impl FnOnce() -> bool) -> bool {
        self.0
            .sleeper
            .prepare(|| work_waits() || (!stopping && self.stop_requested()))
    }

    /// The engine is awake: nobody needs to wake it.
    pub(super) fn awake(&self) {
        self.0.sleeper.awake();
    }

    /// Signalled when somebody wants the engine awake.
    pub(super) fn event(&self) -> &Event {
        self.0.sleeper.event()
    }

    /// Readable when somebody wants the engine awake.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.event().as_fd()
    }
}
