//! Packet memory: the region shared with the kernel, move-only handles of its
//! chunks, and the ledger of who owns each.
//!
//! A [`Packet`] is a chunk with a range in it, owned by this process. On its
//! way out it becomes a [`TxDesc`], which gives no access until the kernel has
//! completed it; a packet that may have to be sent again is a [`Held`] first,
//! of which the kernel borrows the chunk for each transmission.
//!
//! A frame of the wire that is longer than a chunk is a *chain*: a packet or
//! descriptor for each of its parts, one behind the other in the same queue,
//! all but the last of which [continue](Packet::continues) in the next.

mod hints;
mod pool;
mod region;

pub use hints::{LINE, prefer_huge_pages, prefetch};
pub use pool::{Ledger, Pool};
pub use region::{Backing, Region};

/// Where a fresh packet begins in its chunk, and where the kernel puts a
/// received one: `XDP_PACKET_HEADROOM`.
pub const PACKET_START: u16 = 256;

/// A chunk and a range of bytes in it. The only handle of its chunk, so that it
/// cannot be freed twice:
///
/// ```compile_fail,E0382
/// # use fullbore::frame::{Pool, Region};
/// let mut pool = Pool::new(Region::anonymous(1, 2048));
/// let packet = pool.alloc().unwrap();
/// pool.free(packet);
/// pool.free(packet);
/// ```
#[must_use = "a packet that is dropped is lost to its pool"]
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    chunk: u32,
    region: u32,
    start: u16,
    len: u16,
    continues: bool,
    /// The kernel has written it, and nobody since.
    received: bool,
}

impl Packet {
    /// Bytes in the range.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the range has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset of the range in the chunk, in bytes.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start as usize
    }

    /// Whether the frame that this is part of goes on in the next packet.
    #[must_use]
    pub const fn continues(&self) -> bool {
        self.continues
    }

    /// Says whether the frame goes on in the next packet.
    pub const fn set_continues(&mut self, continues: bool) {
        self.continues = continues;
    }

    /// Sets the range: `len` bytes from `start` bytes into the chunk. A range
    /// that leaves the chunk is caught when the bytes are asked for.
    #[inline]
    pub const fn set_range(&mut self, start: u16, len: u16) {
        self.start = start;
        self.len = len;
    }

    /// Drops the first `n` bytes of the range, or all if there are fewer.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len as usize) as u16;
        self.start += n;
        self.len -= n;
    }

    /// Shortens the range to `n` bytes, if it is longer.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = n.min(self.len as usize) as u16;
    }

    /// Narrows the range to `range`, given relative to its start and clamped
    /// to it.
    #[inline]
    pub fn slice(&mut self, range: std::ops::Range<usize>) {
        self.truncate(range.end);
        self.advance(range.start);
    }
}

/// A packet in a send queue: kept until the peer has acknowledged it, lent to
/// the kernel each time it is transmitted.
#[must_use = "a held packet that is dropped is lost to its pool"]
#[derive(Debug)]
pub struct Held {
    chunk: u32,
    region: u32,
    start: u16,
    len: u16,
}

impl Held {
    /// Bytes in the range.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the range has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A chunk on its way to the transmit ring. The kernel may read it until the
/// completion ring gives it back.
#[must_use = "a transmit descriptor that is dropped is lost to its pool"]
#[derive(Debug)]
pub struct TxDesc {
    chunk: u32,
    region: u32,
    start: u16,
    len: u16,
    continues: bool,
}

impl TxDesc {
    /// Chunk number in the region.
    #[must_use]
    pub const fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Offset of the packet in the chunk, in bytes.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start as usize
    }

    /// Length of the packet in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the packet has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the frame that this is part of goes on in the next descriptor.
    #[must_use]
    pub const fn continues(&self) -> bool {
        self.continues
    }

    /// Says whether the frame goes on in the next descriptor.
    pub const fn set_continues(&mut self, continues: bool) {
        self.continues = continues;
    }

    /// Drops the first `n` bytes of the range, or all if there are fewer: a
    /// part of a chain is sent without the room before its payload.
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len as usize) as u16;
        self.start += n;
        self.len -= n;
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
