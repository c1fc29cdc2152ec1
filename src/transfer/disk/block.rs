//! Buffers that travel between the engine and a disk thread.

use std::io::{IoSlice, IoSliceMut};

/// A group of buffers that is moved to a disk thread and back.
///
/// The engine's blocks are made of frames; tests use `Vec<u8>`.
pub trait Block: Send + 'static {
    /// The buffers, to be filled in this order; `limit` bytes or fewer in sum.
    fn to_fill(&mut self, limit: usize) -> Vec<IoSliceMut<'_>>;

    /// Tells that the first `len` bytes have been filled. What a transport
    /// wants to know about them (lengths, checksums) is worked out here, off
    /// the engine's core.
    fn filled(&mut self, len: usize);

    /// The content to write, in this order.
    fn to_write(&self) -> Vec<IoSlice<'_>>;
}

impl Block for Vec<u8> {
    fn to_fill(&mut self, limit: usize) -> Vec<IoSliceMut<'_>> {
        let limit = limit.min(self.len());
        vec![IoSliceMut::new(&mut self[..limit])]
    }

    fn filled(&mut self, len: usize) {
        self.truncate(len);
    }

    fn to_write(&self) -> Vec<IoSlice<'_>> {
        vec![IoSlice::new(self)]
    }
}
