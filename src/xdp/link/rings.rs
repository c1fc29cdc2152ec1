//! What a link needs of the rings of its socket, so that a model can stand in
//! for the kernel's.

use std::io;

use xsk_rs::umem::frame::FrameDesc;

use crate::xdp::ring::Outgoing;
use crate::xdp::socket::{self, Rings};

/// A descriptor as the rings have it.
pub(super) trait Descriptor: Copy + Default {
    /// Where it points to, in bytes from the start of the memory.
    fn address(&self) -> usize;

    /// Bytes of the frame.
    fn length(&self) -> usize;

    /// Whether the frame goes on in the next descriptor.
    fn continues(&self) -> bool;
}

/// The four rings of one socket, and the system calls that make the kernel look
/// at them.
pub(super) trait RingSet {
    /// What they carry.
    type Desc: Descriptor;

    /// The descriptor of a whole chunk to receive into.
    fn empty(&self, chunk: usize) -> Self::Desc;

    /// Takes received frames: as many as there are, up to `descs.len()`.
    fn take_received(&mut self, descs: &mut [Self::Desc]) -> usize;

    /// Takes completed transmissions, likewise.
    fn take_completed(&mut self, descs: &mut [Self::Desc]) -> usize;

    /// Puts chunks on the fill ring: all or none. Answers how many.
    ///
    /// # Safety
    /// They are of the memory of the rings, and nothing in this process refers
    /// to their bytes until the kernel returns them.
    unsafe fn put_fill(&mut self, descs: &[Self::Desc]) -> usize;

    /// Puts frames on the transmit ring: all or none. Answers how many.
    ///
    /// # Safety
    /// They are of the memory of the rings, and nothing in this process writes
    /// to their bytes until the kernel returns them.
    unsafe fn put_tx(&mut self, descs: &[Outgoing]) -> usize;

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

impl Descriptor for FrameDesc {
    #[inline]
    fn address(&self) -> usize {
        self.addr()
    }

    #[inline]
    fn length(&self) -> usize {
        self.lengths().data()
    }

    #[inline]
    fn continues(&self) -> bool {
        self.has_more_frames()
    }
}

/// Those of the kernel.
impl RingSet for Rings {
    type Desc = FrameDesc;

    #[inline]
    fn empty(&self, chunk: usize) -> FrameDesc {
        self.umem.descs()[chunk]
    }

    #[inline]
    fn take_received(&mut self, descs: &mut [FrameDesc]) -> usize {
        // SAFETY: the descriptors are only filled in.
        let taken = unsafe { self.rx.consume(descs) };
        self.watch.took(taken);
        taken
    }

    #[inline]
    fn take_completed(&mut self, descs: &mut [FrameDesc]) -> usize {
        // SAFETY: the descriptors are only filled in.
        unsafe { self.completion.consume(descs) }
    }

    #[inline]
    unsafe fn put_fill(&mut self, descs: &[FrameDesc]) -> usize {
        // SAFETY: by this function's contract.
        unsafe { self.fill.produce(descs) }
    }

    #[inline]
    unsafe fn put_tx(&mut self, descs: &[Outgoing]) -> usize {
        // SAFETY: by this function's contract.
        unsafe { self.tx.put(descs) }
    }

    #[inline]
    fn fill_room(&mut self, wanted: u32) -> u32 {
        self.fill.nb_free(wanted)
    }

    #[inline]
    fn tx_room(&mut self, wanted: u32) -> u32 {
        self.tx.room(wanted)
    }

    #[inline]
    fn tx_pending(&mut self) -> u32 {
        self.tx.pending()
    }

    #[inline]
    fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    #[inline]
    fn tx_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    fn kick_fill(&mut self) -> io::Result<()> {
        socket::kick_fill(self.fd)
    }

    fn kick_tx(&mut self) -> io::Result<()> {
        socket::kick_tx(self.fd)
    }
}
