//! Messages from other threads to an engine.

use std::fmt;
use std::io;

use super::Waker;
use super::gate::Gate;
use crate::sync::{Arc, ArrayQueue};

struct Shared<M> {
    queue: ArrayQueue<M>,
    /// Who puts a message into the queue is inside: nothing comes after it is
    /// closed.
    gate: Gate,
}

/// The sending side: any number of clones, in any thread.
pub struct Mailbox<M> {
    shared: Arc<Shared<M>>,
    waker: Waker,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            waker: self.waker.clone(),
        }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = &self.shared.queue;
        write!(f, "Mailbox({} of {})", queue.len(), queue.capacity())
    }
}

impl<M: Send> Mailbox<M> {
    /// Gives a message to the engine; wakes it if it sleeps. Never blocks.
    ///
    /// # Errors
    /// The message itself, when the mailbox is full or the engine is gone.
    pub fn send(&self, message: M) -> Result<(), M> {
        let Some(inside) = self.shared.gate.enter() else {
            return Err(message);
        };
        self.shared.queue.push(message)?;
        drop(inside);
        self.waker.wake();
        Ok(())
    }

    /// Messages that are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no message is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Whether the engine is gone, so that no message will be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.gate.is_closed()
    }

    /// Wakes and stops the engine.
    #[must_use]
    pub const fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// The engine's side: made before the engine, so that threads can be given
/// their [`Mailbox`] first.
pub struct Inbox<M> {
    shared: Arc<Shared<M>>,
    waker: Waker,
}

impl<M: Send> Inbox<M> {
    /// A mailbox for `capacity` messages (at least one).
    ///
    /// # Errors
    /// When the operating system has no file descriptor for the wake-up.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                queue: ArrayQueue::new(capacity.max(1)),
                gate: Gate::default(),
            }),
            waker: Waker::new()?,
        })
    }

    /// A sender to this inbox.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox<M> {
        Mailbox {
            shared: Arc::clone(&self.shared),
            waker: self.waker.clone(),
        }
    }

    /// The next message.
    #[inline]
    pub fn pop(&self) -> Option<M> {
        self.shared.queue.pop()
    }

    /// Whether no message is waiting.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Wakes and stops the engine.
    #[must_use]
    pub const fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl<M> Inbox<M> {
    /// From now on senders get their messages back. What is in the queue
    /// stays there, and is all: no message is on its way any more.
    pub fn close(&self) {
        self.shared.gate.close();
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        self.close();
    }
}
