//! The memory that packets live in.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Packet;

/// What keeps the memory mapped for as long as the [`Region`] lives.
pub trait Backing: Send + Sync {}

/// A contiguous area carved into equal chunks, shared by everything that
/// holds a [`Packet`] in it.
///
/// The region itself hands out bytes only against a packet, and a packet is
/// the only handle of its chunk, so two threads cannot reach the same bytes.
pub struct Region {
    id: u32,
    base: NonNull<u8>,
    chunk_size: u32,
    chunks: u32,
    pooled: AtomicBool,
    _backing: Box<dyn Backing>,
}

fn check_chunk_size(chunk_size: u32) {
    assert!(
        chunk_size.is_power_of_two() && (2048..=65536).contains(&chunk_size),
        "chunk size {chunk_size} is not a power of two from 2048 to 65536"
    );
}

// SAFETY: the region's bytes are reached only through a `Packet`, which is
// the unique handle of its chunk (see `Pool`); of the other fields only an
// atomic changes.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` alone gives access to no byte.
unsafe impl Sync for Region {}

/// Distinguishes regions, so that a packet used with another's memory is
/// caught.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Region {
    /// Zeroed memory for links that need no kernel. Pages of it are taken as
    /// they are first touched.
    ///
    /// # Panics
    /// If `chunk_size` is not a power of two from 2048 to 65536, or if the
    /// size overflows the address space: both are the caller's constants.
    #[must_use]
    pub fn anonymous(chunks: u32, chunk_size: u32) -> Arc<Self> {
        check_chunk_size(chunk_size);
        let len = (chunks.max(1) as usize)
            .checked_mul(chunk_size as usize)
            .expect("region size fits the address space");
        let backing = Mapping::new(len);
        let base = backing.base;
        // SAFETY: `base` points to `chunks * chunk_size` zeroed bytes that
        // live as long as `backing`, and nothing else refers to them.
        unsafe { Self::from_raw(base, chunks, chunk_size, Box::new(backing)) }
    }

    /// Memory that somebody else mapped.
    ///
    /// # Safety
    /// `base` must point to `chunks * chunk_size` initialised bytes that stay
    /// valid while `backing` lives, and that nothing but this region and the
    /// kernel, for chunks given to it, reads or writes.
    ///
    /// # Panics
    /// If `chunk_size` is not a power of two from 2048 to 65536.
    #[must_use]
    pub unsafe fn from_raw(
        base: NonNull<u8>,
        chunks: u32,
        chunk_size: u32,
        backing: Box<dyn Backing>,
    ) -> Arc<Self> {
        check_chunk_size(chunk_size);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id,
            base,
            chunk_size,
            chunks,
            pooled: AtomicBool::new(false),
            _backing: backing,
        })
    }

    /// Claims the region for a pool. `false` if it ever had one: packets of
    /// that pool may be about, and a second would hand out their chunks again.
    pub(super) fn claim(&self) -> bool {
        !self.pooled.swap(true, Ordering::Relaxed)
    }

    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// Number of chunks.
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Bytes in one chunk.
    #[must_use]
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The bytes of a packet.
    ///
    /// # Panics
    /// If the packet belongs to another region: a bug of the caller.
    #[inline]
    #[must_use]
    pub fn bytes<'a>(&'a self, packet: &'a Packet) -> &'a [u8] {
        let at = self.offset(packet.region, packet.chunk, packet.start, packet.len);
        // SAFETY: `offset` checked that the range lies inside the chunk; the
        // packet is the chunk's only handle and is borrowed for `'a`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at), packet.len as usize) }
    }

    /// The bytes of a packet, to write.
    ///
    /// # Panics
    /// If the packet belongs to another region: a bug of the caller.
    #[inline]
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, packet: &'a mut Packet) -> &'a mut [u8] {
        let at = self.offset(packet.region, packet.chunk, packet.start, packet.len);
        // SAFETY: as in `bytes`; the packet is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(at), packet.len as usize) }
    }

    /// Where a range of a chunk begins.
    #[inline]
    pub(super) fn offset(&self, region: u32, chunk: u32, start: u16, len: u16) -> usize {
        let inside = region == self.id
            && chunk < self.chunks
            && u32::from(start) + u32::from(len) <= self.chunk_size;
        if !inside {
            outside();
        }
        chunk as usize * self.chunk_size as usize + start as usize
    }

    /// The base address, for the code that shares the region with the kernel.
    #[inline]
    pub(super) const fn base(&self) -> NonNull<u8> {
        self.base
    }
}

/// Apart, so that who asks for bytes has nothing to prepare for it.
#[cold]
#[inline(never)]
fn outside() -> ! {
    panic!("packet outside its region");
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Region({} chunks of {} bytes)",
            self.chunks, self.chunk_size
        )
    }
}

/// Zeroed pages of this process alone.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> Self {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping, where the kernel likes, is nobody's memory.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        let base = NonNull::new(at.cast::<u8>()).filter(|_| at != libc::MAP_FAILED);
        let Some(base) = base else {
            handle_alloc_error(Layout::from_size_align(len, 4096).unwrap_or(Layout::new::<u8>()))
        };
        Self { base, len }
    }
}

impl Backing for Mapping {}

// SAFETY: `Mapping` only owns the pages; it never reads or writes them.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this, and the region that handed out
        // its bytes is gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
