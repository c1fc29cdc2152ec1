//! Engines in a ring: each passes things on to the next.

use super::Waker;
use crate::sync::{Arc, ArrayQueue};

/// One engine's place in the ring.
pub struct Ring<T> {
    incoming: Arc<ArrayQueue<T>>,
    next: Arc<ArrayQueue<T>>,
    next_waker: Waker,
    place: usize,
    /// Engines other than this one.
    others: usize,
}

impl<T> Ring<T> {
    /// The places of engines with these wakers; each engine's queue holds
    /// `capacity` things, at least one.
    pub fn new(wakers: &[Waker], capacity: usize) -> Vec<Self> {
        let queues: Vec<_> = wakers
            .iter()
            .map(|_| Arc::new(ArrayQueue::new(capacity.max(1))))
            .collect();
        let next = |i| (i + 1) % wakers.len();
        (0..wakers.len())
            .map(|i| Self {
                incoming: Arc::clone(&queues[i]),
                next: Arc::clone(&queues[next(i)]),
                next_waker: wakers[next(i)].clone(),
                place: i,
                others: wakers.len() - 1,
            })
            .collect()
    }

    /// Engines other than this one.
    pub const fn others(&self) -> usize {
        self.others
    }

    /// Which of the engines this is, from 0.
    pub const fn place(&self) -> usize {
        self.place
    }

    /// What came from the engine before.
    pub fn pop(&self) -> Option<T> {
        self.incoming.pop()
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.incoming.is_empty()
    }

    /// Whether the next engine's queue has room.
    pub fn has_room(&self) -> bool {
        !self.next.is_full()
    }

    /// Passes something on to the next engine, and wakes it.
    ///
    /// # Errors
    /// The thing itself, if that engine's queue is full.
    pub fn pass(&self, thing: T) -> Result<(), T> {
        self.next.push(thing)?;
        self.next_waker.wake();
        Ok(())
    }
}
