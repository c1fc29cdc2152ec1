//! The memory that a process and the kernel share: rings whose cursors begin
//! anywhere, and the packets.

use crate::frame::Backing;
use crate::xdp::ring::{Consumer, Layout, Producer};

const NEED_WAKEUP: u32 = 1;

/// A ring as it is mapped: cursors, flags and entries.
pub struct Ring<T> {
    producer: *mut u32,
    consumer: *mut u32,
    flags: *mut u32,
    entries: *mut [T],
    size: u32,
}

impl<T: Copy + 'static> Ring<T> {
    pub fn new(size: u32, start: u32, zero: T) -> Self {
        let word = |value: u32| Box::into_raw(Box::new(value));
        Self {
            producer: word(start),
            consumer: word(start),
            flags: word(0),
            entries: Box::into_raw(vec![zero; size as usize].into_boxed_slice()),
            size,
        }
    }

    const fn layout(&self) -> Layout<T> {
        Layout {
            producer: self.producer,
            consumer: self.consumer,
            flags: self.flags,
            entries: self.entries.cast(),
            size: self.size,
        }
    }

    /// What the process makes of it that puts things in.
    pub fn produced(&self) -> Producer<T> {
        // SAFETY: the memory lives as long as `self`, and there is one thread.
        unsafe { Producer::new(self.layout()) }
    }

    /// As `produced`, of the process that takes things out.
    pub fn consumed(&self) -> Consumer<T> {
        // SAFETY: as in `produced`.
        unsafe { Consumer::new(self.layout()) }
    }

    pub fn len(&self) -> u32 {
        // SAFETY: as in `produced`.
        let n = unsafe { (*self.producer).wrapping_sub(*self.consumer) };
        assert!(n <= self.size, "{n} entries in a ring of {}", self.size);
        n
    }

    pub fn room(&self) -> u32 {
        self.size - self.len()
    }

    fn entry(&self, cursor: u32) -> *mut T {
        // SAFETY: the index lies in the allocation.
        unsafe {
            self.entries
                .cast::<T>()
                .add((cursor & (self.size - 1)) as usize)
        }
    }

    pub fn take(&self) -> Option<T> {
        if self.len() == 0 {
            return None;
        }
        // SAFETY: as in `produced`.
        unsafe {
            let value = *self.entry(*self.consumer);
            *self.consumer = (*self.consumer).wrapping_add(1);
            Some(value)
        }
    }

    pub fn put(&self, value: T) {
        assert!(self.room() > 0);
        // SAFETY: as in `produced`.
        unsafe {
            *self.entry(*self.producer) = value;
            *self.producer = (*self.producer).wrapping_add(1);
        }
    }

    pub fn asks(&self) -> bool {
        // SAFETY: as in `produced`.
        unsafe { *self.flags & NEED_WAKEUP != 0 }
    }

    pub fn ask(&self, on: bool) {
        // SAFETY: as in `produced`.
        unsafe { *self.flags = u32::from(on) * NEED_WAKEUP }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: all came from `Box::into_raw`, and nobody uses them any more.
        unsafe {
            drop(Box::from_raw(self.producer));
            drop(Box::from_raw(self.consumer));
            drop(Box::from_raw(self.flags));
            drop(Box::from_raw(self.entries));
        }
    }
}

/// Packet memory that a kernel writes.
pub struct Memory(pub *mut [u8]);

// SAFETY: it only owns the memory.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Backing for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it came from `Box::into_raw`.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
