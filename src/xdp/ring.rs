//! The rings of a socket, as this process maps them. Entries are read and
//! written where they lie; the counters of a ring are moved once for a batch.
//!
//! The kernel may write any number and any entry at any time: an entry is read
//! once, what it says is for others to check, and no index leaves the mapping.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// An entry of the receive and the transmit ring.
pub(super) use libc::xdp_desc as Desc;

/// Whether the frame of an entry goes on in the next.
#[inline]
pub(super) const fn continues(desc: &Desc) -> bool {
    desc.options & libc::XDP_PKT_CONTD != 0
}

/// Where in memory a ring has its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<T> {
    pub producer: *mut u32,
    pub consumer: *mut u32,
    pub flags: *mut u32,
    pub entries: *mut T,
    /// How many entries: a power of two.
    pub size: u32,
}

impl<T> Layout<T> {
    /// The entry that a counter stands for.
    ///
    /// # Safety
    /// The ring is mapped.
    #[inline]
    const unsafe fn entry(&self, at: u32) -> *mut T {
        // SAFETY: less than `size`, and by this function's contract.
        unsafe { self.entries.add((at & (self.size - 1)) as usize) }
    }
}

/// One of the counters of a ring.
///
/// # Safety
/// It is mapped for `'a`, and nobody writes it but by atomic operations.
#[inline]
const unsafe fn counter<'a>(at: *mut u32) -> &'a AtomicU32 {
    // SAFETY: by this function's contract; the kernel aligns it.
    unsafe { AtomicU32::from_ptr(at) }
}

/// This process's end of a ring that the kernel puts entries on.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    ring: Layout<T>,
    /// The next entry to take.
    at: u32,
    /// Where the entries end that are known of.
    end: u32,
}

// SAFETY: it points to memory that is shared with the kernel alone, of which
// `&self` reads a counter, and all that changes it takes it exclusively.
unsafe impl<T: Copy> Send for Consumer<T> {}

impl<T: Copy> Consumer<T> {
    /// # Safety
    /// The ring is mapped for as long as this is used, and this is the only one
    /// who takes entries. Any bits are a `T`.
    pub(super) unsafe fn new(ring: Layout<T>) -> Self {
        // SAFETY: by this function's contract.
        let at = unsafe { counter(ring.consumer) }.load(Ordering::Relaxed);
        Self { ring, at, end: at }
    }

    /// Takes up to `most` entries, oldest first. Answers how many. Looks for more
    /// than it knows of only when it knows of none.
    #[inline]
    pub(super) fn take(&mut self, most: usize, mut each: impl FnMut(T)) -> usize {
        let ring = self.ring;
        if self.at == self.end {
            // SAFETY: by the contract of `new`.
            self.end = unsafe { counter(ring.producer) }.load(Ordering::Acquire);
        }
        let n = (self.end.wrapping_sub(self.at) as usize).min(most) as u32;
        if n == 0 {
            return 0;
        }
        let mut at = self.at;
        let end = at.wrapping_add(n);
        while at != end {
            // SAFETY: by the contract of `new`; read once, since the kernel may
            // change it.
            each(unsafe { ring.entry(at).read_volatile() });
            at = at.wrapping_add(1);
        }
        self.at = end;
        // SAFETY: by the contract of `new`.
        unsafe { counter(ring.consumer) }.store(end, Ordering::Release);
        n as usize
    }

    /// Whether all that the kernel has put there was taken.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: by the contract of `new`. Who takes entries reads the number
        // again, before them.
        let end = unsafe { counter(self.ring.producer) }.load(Ordering::Relaxed);
        end == self.at
    }
}

/// This process's end of a ring that the kernel takes entries from.
#[derive(Debug)]
pub(super) struct Producer<T> {
    ring: Layout<T>,
    /// The next entry to write.
    at: u32,
    /// Where the room ends that is known of.
    end: u32,
}

// SAFETY: as of `Consumer`.
unsafe impl<T: Copy> Send for Producer<T> {}

impl<T: Copy> Producer<T> {
    /// # Safety
    /// The ring is mapped for as long as this is used, and this is the only one
    /// who puts entries there.
    pub(super) unsafe fn new(ring: Layout<T>) -> Self {
        // SAFETY: by this function's contract.
        let (at, taken) = unsafe { (counter(ring.producer), counter(ring.consumer)) };
        Self {
            ring,
            at: at.load(Ordering::Relaxed),
            end: taken.load(Ordering::Relaxed).wrapping_add(ring.size),
        }
    }

    /// Free entries: at least as many as there are of `wanted`.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let known = self.end.wrapping_sub(self.at);
        if known >= wanted { known } else { self.free() }
    }

    /// Free entries, of a number read anew.
    #[inline]
    fn free(&mut self) -> u32 {
        // SAFETY: by the contract of `new`. What is written to the entries comes
        // behind.
        let taken = unsafe { counter(self.ring.consumer) }.load(Ordering::Acquire);
        self.end = taken.wrapping_add(self.ring.size);
        self.end.wrapping_sub(self.at)
    }

    /// Entries that the kernel has not taken.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        self.ring.size.saturating_sub(self.free())
    }

    /// Puts on the ring what `entries` gives, as far as there is
    /// [`room`](Self::room) that is known of. Answers how many; what does not fit is not
    /// asked for.
    ///
    /// # Safety
    /// The kernel may have what is put there.
    #[inline]
    pub(super) unsafe fn put(&mut self, entries: impl Iterator<Item = T>) -> usize {
        let (ring, begin) = (self.ring, self.at);
        let room = self.end.wrapping_sub(begin).min(ring.size);
        let mut at = begin;
        for entry in entries.take(room as usize) {
            // SAFETY: by the contract of `new`; the kernel has taken what was
            // there before.
            unsafe { ring.entry(at).write(entry) };
            at = at.wrapping_add(1);
        }
        if at != begin {
            self.at = at;
            // SAFETY: by the contract of `new`.
            unsafe { counter(ring.producer) }.store(at, Ordering::Release);
        }
        at.wrapping_sub(begin) as usize
    }

    /// Whether the kernel takes nothing more by itself.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // SAFETY: by the contract of `new`.
        let flags = unsafe { counter(self.ring.flags) }.load(Ordering::Relaxed);
        flags & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The four rings of a socket, mapped.
#[derive(Debug)]
pub(super) struct Mapped {
    pub rx: Consumer<Desc>,
    pub tx: Producer<Desc>,
    pub fill: Producer<u64>,
    pub completion: Consumer<u64>,
    /// Keep them.
    _maps: [Mapping; 4],
}

/// How many entries each ring has.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingSizes {
    pub rx: u32,
    pub tx: u32,
    pub fill: u32,
    pub completion: u32,
}

impl Mapped {
    /// Those of the bound AF_XDP socket `fd`, which nothing else uses.
    pub(super) fn map(fd: RawFd, sizes: RingSizes) -> io::Result<Self> {
        let at = offsets(fd)?;
        let (fill, completion) = (
            libc::XDP_UMEM_PGOFF_FILL_RING.cast_signed(),
            libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed(),
        );
        let (rx, rx_map) = layout(fd, &at.rx, sizes.rx, libc::XDP_PGOFF_RX_RING)?;
        let (tx, tx_map) = layout(fd, &at.tx, sizes.tx, libc::XDP_PGOFF_TX_RING)?;
        let (fill, fill_map) = layout(fd, &at.fr, sizes.fill, fill)?;
        let (completion, completion_map) = layout(fd, &at.cr, sizes.completion, completion)?;
        // SAFETY: the mappings are kept with them, and nobody else uses the
        // rings. Entries are plain numbers.
        unsafe {
            Ok(Self {
                rx: Consumer::new(rx),
                tx: Producer::new(tx),
                fill: Producer::new(fill),
                completion: Consumer::new(completion),
                _maps: [rx_map, tx_map, fill_map, completion_map],
            })
        }
    }
}

/// Maps the ring of `fd` that the kernel has at `offset`.
fn layout<T>(
    fd: RawFd,
    at: &libc::xdp_ring_offset,
    size: u32,
    offset: libc::off_t,
) -> io::Result<(Layout<T>, Mapping)> {
    debug_assert!(size.is_power_of_two());
    let map = Mapping::new(
        fd,
        at.desc as usize + size as usize * size_of::<T>(),
        offset,
    )?;
    // SAFETY: the kernel has said where in the mapping they are.
    let part = |offset: u64| unsafe { map.at(offset) };
    let layout = Layout {
        producer: part(at.producer).cast(),
        consumer: part(at.consumer).cast(),
        flags: part(at.flags).cast(),
        entries: part(at.desc).cast(),
        size,
    };
    Ok((layout, map))
}

/// Where in its mappings the rings of the AF_XDP socket `fd` have their parts.
fn offsets(fd: RawFd) -> io::Result<libc::xdp_mmap_offsets> {
    let mut offsets = std::mem::MaybeUninit::<libc::xdp_mmap_offsets>::zeroed();
    let mut length = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: pointer and length describe `offsets`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            offsets.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if length as usize != size_of::<libc::xdp_mmap_offsets>() {
        // Before Linux 5.4, which has no flags in its rings.
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: plain numbers, which the kernel has filled in.
    Ok(unsafe { offsets.assume_init() })
}

/// Memory shared with the kernel.
#[derive(Debug)]
struct Mapping {
    map: NonNull<libc::c_void>,
    bytes: usize,
}

// SAFETY: it only owns the mapping; it never reads or writes it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// The first `bytes` bytes of the ring of `fd` that the kernel has at
    /// `offset`.
    fn new(fd: RawFd, bytes: usize, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping, where the kernel likes.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                offset,
            )
        };
        match NonNull::new(map).filter(|map| map.as_ptr() != libc::MAP_FAILED) {
            Some(map) => Ok(Self { map, bytes }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// What lies `offset` bytes behind its beginning.
    ///
    /// # Safety
    /// The kernel has said that it is there.
    const unsafe fn at(&self, offset: u64) -> *mut libc::c_void {
        // SAFETY: by this function's contract it is inside of the mapping.
        unsafe { self.map.as_ptr().byte_add(offset as usize) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` made exactly this mapping, and whoever has pointers
        // into it has it as well.
        unsafe { libc::munmap(self.map.as_ptr(), self.bytes) };
    }
}
