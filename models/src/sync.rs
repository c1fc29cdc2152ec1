//! What `src/sync.rs` of fullbore has, as loom needs it.

use std::io;
use std::os::fd::BorrowedFd;

pub use loom::sync::Arc;
pub use loom::sync::atomic::Ordering;
pub use loom::thread::yield_now;

use loom::sync::Condvar;
use loom::sync::atomic as weak;
use std::sync::Mutex;

/// A step that others of the same place do not commute with, and nothing else:
/// it orders no memory.
///
/// loom tries two steps in both orders if they conflict, and looks for
/// conflicts with the last step at an atomic only. So it misses a store's
/// conflict with a load if another load came between them. Every operation
/// begins with such a step instead, of which none is missed.
#[derive(Debug)]
struct Place(Condvar);

impl Place {
    fn new() -> Self {
        Self(Condvar::new())
    }

    fn step(&self) {
        self.0.notify_all();
    }
}

loom::lazy_static! {
    static ref FENCES: Place = Place::new();
}

/// A fence. loom has no step there.
pub fn fence(ordering: Ordering) {
    FENCES.step();
    weak::fence(ordering);
}

macro_rules! atomic {
    ($name:ident, $value:ty, $($operation:ident)*) => {
        /// The standard library's, with loom's idea of memory.
        #[derive(Debug)]
        pub struct $name(weak::$name, Place);

        impl $name {
            pub fn new(value: $value) -> Self {
                Self(weak::$name::new(value), Place::new())
            }

            pub fn load(&self, ordering: Ordering) -> $value {
                self.1.step();
                self.0.load(ordering)
            }

            /// A swap, since loom lets a plain store come between the halves
            /// of another thread's swap (tokio-rs/loom#282).
            pub fn store(&self, value: $value, ordering: Ordering) {
                self.swap(value, ordering);
            }

            $(pub fn $operation(&self, value: $value, ordering: Ordering) -> $value {
                self.1.step();
                self.0.$operation(value, ordering)
            })*
        }
    };
}

atomic!(AtomicBool, bool, swap);
atomic!(AtomicUsize, usize, swap fetch_add fetch_sub fetch_or);

impl AtomicUsize {
    pub fn compare_exchange(
        &self,
        current: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        self.1.step();
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// An eventfd: a count, and whoever waits for it. To wait for ever is a loop
/// without end, which loom reports.
#[derive(Debug)]
pub struct Event(AtomicUsize);

impl Event {
    pub fn new() -> io::Result<Self> {
        Ok(Self(AtomicUsize::new(0)))
    }

    pub fn signal(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub fn clear(&self) {
        self.0.swap(0, Ordering::AcqRel);
    }

    pub fn is_signalled(&self) -> bool {
        self.0.fetch_add(0, Ordering::AcqRel) > 0
    }

    /// `poll` without a time-out.
    pub fn wait(&self) {
        // Always the latest value, as system calls see it.
        while !self.is_signalled() {
            yield_now();
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("a model waits by `wait`");
    }
}

/// A bounded queue by the same scheme as crossbeam's: cursors that run on, and
/// a stamp in each slot that says for which of the cursors it is ready.
///
/// Its orderings are as weak as the scheme allows, so that whoever relies on
/// more than what a queue promises is found out. `capacity` is a power of two
/// here, and the cursors begin where [`start_at`] says, a lap before they wrap
/// if need be.
#[derive(Debug)]
pub struct ArrayQueue<T> {
    slots: Box<[Slot<T>]>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

#[derive(Debug)]
struct Slot<T> {
    /// The cursor that finds it empty, or one more: the cursor that finds it
    /// full.
    stamp: AtomicUsize,
    value: Mutex<Option<T>>,
}

thread_local! {
    static START: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Where the cursors of queues begin that this thread makes from now on.
pub fn start_at(cursor: usize) {
    START.with(|s| s.set(cursor));
}

impl<T> ArrayQueue<T> {
    pub fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        let start = START.with(std::cell::Cell::get) & !(capacity - 1);
        Self {
            slots: (0..capacity)
                .map(|i| Slot {
                    stamp: AtomicUsize::new(start.wrapping_add(i)),
                    value: Mutex::new(None),
                })
                .collect(),
            head: AtomicUsize::new(start),
            tail: AtomicUsize::new(start),
        }
    }

    fn slot(&self, cursor: usize) -> &Slot<T> {
        &self.slots[cursor & (self.slots.len() - 1)]
    }

    pub fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(tail);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == tail {
                let next = tail.wrapping_add(1);
                match self
                    .tail
                    .compare_exchange(tail, next, Ordering::SeqCst, Ordering::Relaxed)
                {
                    Ok(_) => {
                        *slot.value.lock().unwrap() = Some(value);
                        slot.stamp.store(next, Ordering::Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
                continue;
            }
            if stamp.wrapping_add(self.slots.len()) == tail.wrapping_add(1) {
                fence(Ordering::SeqCst);
                if self
                    .head
                    .load(Ordering::Relaxed)
                    .wrapping_add(self.slots.len())
                    == tail
                {
                    return Err(value);
                }
            }
            // Somebody is in the middle of it.
            yield_now();
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    pub fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            let stamp = slot.stamp.load(Ordering::Acquire);
            let next = head.wrapping_add(1);
            if stamp == next {
                match self
                    .head
                    .compare_exchange(head, next, Ordering::SeqCst, Ordering::Relaxed)
                {
                    Ok(_) => {
                        let value = slot.value.lock().unwrap().take();
                        slot.stamp
                            .store(head.wrapping_add(self.slots.len()), Ordering::Release);
                        assert!(value.is_some(), "an empty slot was stamped full");
                        return value;
                    }
                    Err(now) => head = now,
                }
                continue;
            }
            if stamp == head {
                fence(Ordering::SeqCst);
                if self.tail.load(Ordering::Relaxed) == head {
                    return None;
                }
            }
            yield_now();
            head = self.head.load(Ordering::Relaxed);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == self.tail.load(Ordering::Relaxed)
    }

    pub fn is_full(&self) -> bool {
        let (head, tail) = (
            self.head.load(Ordering::Relaxed),
            self.tail.load(Ordering::Relaxed),
        );
        tail.wrapping_sub(head) == self.slots.len()
    }

    pub fn len(&self) -> usize {
        self.tail
            .load(Ordering::Relaxed)
            .wrapping_sub(self.head.load(Ordering::Relaxed))
    }

    pub fn capacity(&self) -> usize {
        self.slots.len()
    }
}
