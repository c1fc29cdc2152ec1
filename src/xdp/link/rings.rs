//! What a link needs of the rings of its socket, so that a model can stand in
//! for the kernel's.

use std::io;

use crate::xdp::ring::Desc;
use crate::xdp::socket::{self, Rings};

/// The four rings of one socket, and the system calls that make the kernel look
/// at them.
pub(super) trait RingSet {
    /// Takes received frames: as many as are known of, up to `most`.
    fn take_received(&mut self, most: usize, each: impl FnMut(Desc)) -> usize;

    /// Takes the addresses of completed transmissions, likewise.
    fn take_completed(&mut self, most: usize, each: impl FnMut(u64)) -> usize;

    /// Puts chunks on the fill ring, by the addresses at which they are to be
    /// written, as far as [`fill_room`](Self::fill_room) has found room: no more are
    /// asked for. Answers how many.
    ///
    /// # Safety
    /// They are of the memory of the rings, and nothing in this process refers
    /// to their bytes until the kernel returns them.
    unsafe fn put_fill(&mut self, addresses: impl Iterator<Item = u64>) -> usize;

    /// Puts frames on the transmit ring, for which [`tx_room`](Self::tx_room)
    /// has found room. Answers how many.
    ///
    /// # Safety
    /// They are of the memory of the rings, and nothing in this process writes
    /// to their bytes until the kernel returns them.
    unsafe fn put_tx(&mut self, descs: impl Iterator<Item = Desc>) -> usize;

    /// Room on the fill ring: at least as much as there is of `wanted`.
    fn fill_room(&mut self, wanted: u32) -> u32;

    /// Room on the transmit ring, likewise.
    fn tx_room(&mut self, wanted: u32) -> u32;

    /// Frames on the transmit ring that the kernel has not taken.
    fn tx_pending(&mut self) -> u32;

    /// Whether the kernel takes nothing more from the fill ring by itself.
    fn fill_needs_wakeup(&self) -> bool;

    /// Whether the kernel takes nothing more from the transmit ring by itself.
    fn tx_needs_wakeup(&self) -> bool;

    /// Makes the kernel look at the fill ring.
    fn kick_fill(&mut self) -> io::Result<()>;

    /// Makes the kernel send.
    fn kick_tx(&mut self) -> io::Result<()>;
}

/// Those of the kernel.
impl RingSet for Rings {
    #[inline]
    fn take_received(&mut self, most: usize, each: impl FnMut(Desc)) -> usize {
        self.ends.rx.take(most, each)
    }

    #[inline]
    fn take_completed(&mut self, most: usize, each: impl FnMut(u64)) -> usize {
        self.ends.completion.take(most, each)
    }

    #[inline]
    unsafe fn put_fill(&mut self, addresses: impl Iterator<Item = u64>) -> usize {
        // SAFETY: by this function's contract.
        unsafe { self.ends.fill.put(addresses) }
    }

    #[inline]
    unsafe fn put_tx(&mut self, descs: impl Iterator<Item = Desc>) -> usize {
        // SAFETY: by this function's contract.
        unsafe { self.ends.tx.put(descs) }
    }

    #[inline]
    fn fill_room(&mut self, wanted: u32) -> u32 {
        self.ends.fill.room(wanted)
    }

    #[inline]
    fn tx_room(&mut self, wanted: u32) -> u32 {
        self.ends.tx.room(wanted)
    }

    #[inline]
    fn tx_pending(&mut self) -> u32 {
        self.ends.tx.pending()
    }

    #[inline]
    fn fill_needs_wakeup(&self) -> bool {
        self.ends.fill.needs_wakeup()
    }

    #[inline]
    fn tx_needs_wakeup(&self) -> bool {
        self.ends.tx.needs_wakeup()
    }

    fn kick_fill(&mut self) -> io::Result<()> {
        socket::kick_fill(self.fd)
    }

    fn kick_tx(&mut self) -> io::Result<()> {
        socket::kick_tx(self.fd)
    }
}
