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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::time::Duration;

    pub fn readable(waker: &Waker, timeout: Duration) -> bool {
        let fd = waker.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let timeout = rustix::event::Timespec::try_from(timeout).unwrap();
        poll(&mut fds, Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn only_a_sleeping_engine_is_woken() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(!readable(&waker, Duration::ZERO));
        assert!(!waker.prepare_sleep(false, || true), "there is work");
        waker.wake();
        assert!(!readable(&waker, Duration::ZERO));
        assert!(waker.prepare_sleep(false, || false));
        waker.wake();
        waker.wake();
        assert!(readable(&waker, Duration::ZERO));
        waker.awake();
        assert!(!readable(&waker, Duration::ZERO));
    }

    #[test]
    fn a_stop_wakes_and_forbids_sleep_until_seen() {
        let waker = Waker::new().unwrap();
        assert!(waker.prepare_sleep(false, || false));
        waker.stop();
        assert!(readable(&waker, Duration::ZERO));
        waker.awake();
        assert!(!waker.prepare_sleep(false, || false));
        assert!(waker.prepare_sleep(true, || false));
    }
}
