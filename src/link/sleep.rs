//! Sleeping until another thread has put something into a queue, at no cost to
//! that thread while nobody sleeps, and without losing its wake-up.

use std::io;

use crate::sync::{AtomicBool, Event, Ordering, fence};

/// Who sleeps, and how to wake it. One thread sleeps, any number wake it.
#[derive(Debug)]
pub struct Sleeper {
    /// Set while the thread sleeps or is about to: who finds it set, and
    /// clears it, has to signal.
    asleep: AtomicBool,
    event: Event,
}

impl Sleeper {
    /// Nobody sleeps.
    ///
    /// # Errors
    /// If the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            asleep: AtomicBool::new(false),
            event: Event::new()?,
        })
    }

    /// Wakes the thread if it sleeps: to be called after something was queued
    /// for it.
    #[inline]
    pub fn wake(&self) {
        // Pairs with the fence in `prepare`: either that thread sees what was
        // queued, or this one sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.event.signal();
        }
    }

    /// Announces that the thread is about to sleep until
    /// [`event`](Self::event) is readable. `false`, and nothing announced, when
    /// `work_waits` finds something to do. To be followed by
    /// [`awake`](Self::awake).
    pub fn prepare(&self, work_waits: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !work_waits() {
            return true;
        }
        if !self.asleep.swap(false, Ordering::Relaxed) {
            // Somebody has signalled, or is about to: the latter costs one
            // needless wake-up later.
            self.event.clear();
        }
        false
    }

    /// The thread has slept and is awake: nobody needs to wake it.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        // Always: a signal that came late would end every sleep from now on.
        self.event.clear();
    }

    /// Readable when the thread is wanted awake.
    pub const fn event(&self) -> &Event {
        &self.event
    }
}
