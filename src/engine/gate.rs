//! A door that is closed behind the last one through it.

use crate::sync::{AtomicUsize, Ordering, yield_now};

const CLOSED: usize = 1;
/// One thread inside.
const ONE: usize = 2;

/// Threads go in for a moment while it is open. Who closes it knows
/// afterwards that nobody is inside, and that nobody will be.
#[derive(Debug)]
pub struct Gate(AtomicUsize);

/// Being inside, until it is dropped.
#[derive(Debug)]
pub struct Inside<'a>(&'a Gate);

impl Default for Gate {
    /// Open.
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl Gate {
    /// Goes in, unless it is closed.
    #[inline]
    pub fn enter(&self) -> Option<Inside<'_>> {
        let before = self.0.fetch_add(ONE, Ordering::Acquire);
        let inside = Inside(self);
        (before & CLOSED == 0).then_some(inside)
    }

    /// Whether it is closed.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes it, and waits for those inside. What they did there is visible
    /// afterwards.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) != CLOSED {
            yield_now();
        }
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.fetch_sub(ONE, Ordering::Release);
    }
}
