//! How other threads wake a sleeping engine, at no cost while it is awake.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

#[derive(Debug)]
struct Shared {
    /// Set while the engine sleeps or is about to: who finds it set has to
    /// write to `event`.
    asleep: AtomicBool,
    stop: AtomicBool,
    event: OwnedFd,
}

/// Wakes an engine, and asks it to stop. Any number of clones, in any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared {
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            event,
        })))
    }

    /// Makes the engine look at its queues. To be called after something was
    /// put into one.
    pub fn wake(&self) {
        // Pairs with the fence in `prepare_sleep`: either the engine sees
        // what was queued, or this thread sees that the engine sleeps.
        fence(Ordering::SeqCst);
        if self.0.asleep.load(Ordering::Relaxed) && self.0.asleep.swap(false, Ordering::Relaxed) {
            // Fails only when the counter is at its end, and then there are
            // wake-ups enough.
            let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
        }
    }

    /// Asks for an orderly stop, as [`Context::stop`](super::Context::stop)
    /// does.
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
        self.0.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !work_waits() && (stopping || !self.stop_requested()) {
            return true;
        }
        self.awake();
        false
    }

    /// The engine is awake: nobody needs to wake it.
    pub(super) fn awake(&self) {
        if !self.0.asleep.swap(false, Ordering::Relaxed) {
            // Somebody wrote, or is about to: the latter costs one needless
            // wake-up later.
            let _ = rustix::io::read(&self.0.event, &mut [0u8; 8]);
        }
    }

    /// Readable when somebody wants the engine awake.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
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
