//! The transmit ring of a socket, as this process maps it: xsk-rs gives every
//! descriptor one fixed place in its chunk, and the parts of a frame that is
//! longer than a chunk begin where their payload does.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use libxdp_sys as xdp;

/// What the kernel is to send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outgoing {
    /// Where it begins, in bytes from the start of the memory.
    pub address: u64,
    /// Its bytes.
    pub length: u32,
    /// Whether the frame goes on in the next descriptor.
    pub continues: bool,
}

impl From<&Outgoing> for xdp::xdp_desc {
    #[inline]
    fn from(desc: &Outgoing) -> Self {
        Self {
            addr: desc.address,
            len: desc.length,
            options: if desc.continues {
                libc::XDP_PKT_CONTD
            } else {
                0
            },
        }
    }
}

/// Puts `descs` on a ring: all or none. Answers how many.
///
/// # Safety
/// `ring` is as `xsk_socket__create` makes one, nothing else uses it at the
/// same time, and what is put there may be sent.
#[inline]
pub(super) unsafe fn put(ring: *mut xdp::xsk_ring_prod, descs: &[Outgoing]) -> usize {
    let mut at = 0;
    // SAFETY: by this function's contract; only what was reserved is written.
    unsafe {
        let n = xdp::xsk_ring_prod__reserve(ring, descs.len() as u32, &raw mut at);
        for desc in &descs[..n as usize] {
            *xdp::xsk_ring_prod__tx_desc(ring, at) = desc.into();
            at = at.wrapping_add(1);
        }
        xdp::xsk_ring_prod__submit(ring, n);
        n as usize
    }
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

impl Mapping {
    /// The first `bytes` bytes of the ring of `fd` that the kernel has at
    /// `offset`.
    fn new(fd: RawFd, protection: i32, bytes: usize, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping, where the kernel likes.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
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

/// Looks at how many frames a socket has received, and at nothing else.
#[derive(Debug)]
pub(super) struct RxWatch {
    producer: *const AtomicU32,
    /// Frames that were taken from the ring, as the ring counts them.
    taken: u32,
    _map: Mapping,
}

// SAFETY: it points to memory that is shared with the kernel alone, which it
// only reads.
unsafe impl Send for RxWatch {}

impl RxWatch {
    /// Of the AF_XDP socket `fd`, from which nothing was received so far.
    pub(super) fn map(fd: RawFd) -> io::Result<Self> {
        let rx = offsets(fd)?.rx;
        // The numbers come before the descriptors.
        let map = Mapping::new(
            fd,
            libc::PROT_READ,
            rx.desc as usize,
            libc::XDP_PGOFF_RX_RING,
        )?;
        // SAFETY: the kernel has said where in the mapping they are.
        let (producer, consumer) = unsafe { (map.at(rx.producer), map.at(rx.consumer)) };
        // SAFETY: of the mapping, and this process alone changes it.
        let taken = unsafe { consumer.cast::<u32>().read_volatile() };
        Ok(Self {
            producer: producer.cast_const().cast(),
            taken,
            _map: map,
        })
    }

    /// Notes that `n` frames were taken from the ring.
    #[inline]
    pub(super) const fn took(&mut self, n: usize) {
        self.taken = self.taken.wrapping_add(n as u32);
    }

    /// Whether all that was received has been taken.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        // SAFETY: of the mapping, and aligned as the kernel has it. Whoever
        // takes frames reads the number again, before them.
        let received = unsafe { &*self.producer }.load(Ordering::Relaxed);
        received == self.taken
    }
}

/// The mapped ring. Whoever has it is the only one who puts things there.
#[derive(Debug)]
pub(super) struct TxRing {
    ring: xdp::xsk_ring_prod,
    _map: Mapping,
}

// SAFETY: it points to memory that is shared with the kernel alone, and all
// that changes it takes it exclusively.
unsafe impl Send for TxRing {}

impl TxRing {
    /// Maps the transmit ring of `size` entries, a power of two, of the AF_XDP
    /// socket `fd`, on which nothing was put so far.
    pub(super) fn map(fd: RawFd, size: u32) -> io::Result<Self> {
        let tx = offsets(fd)?.tx;
        let bytes = tx.desc as usize + size as usize * size_of::<xdp::xdp_desc>();
        let map = Mapping::new(
            fd,
            libc::PROT_READ | libc::PROT_WRITE,
            bytes,
            libc::XDP_PGOFF_TX_RING,
        )?;
        // SAFETY: the kernel has said where in the mapping they are.
        let at = |offset: u64| unsafe { map.at(offset) };
        let word = |offset| at(offset).cast::<u32>();
        let (producer, consumer) = (word(tx.producer), word(tx.consumer));
        // SAFETY: of the mapping, and so far nobody changes them.
        let (cached_prod, read) = unsafe { (producer.read_volatile(), consumer.read_volatile()) };
        let ring = xdp::xsk_ring_prod {
            cached_prod,
            cached_cons: read.wrapping_add(size),
            mask: size - 1,
            size,
            producer,
            consumer,
            ring: at(tx.desc),
            flags: word(tx.flags),
        };
        Ok(Self { ring, _map: map })
    }

    /// As [`put`].
    ///
    /// # Safety
    /// What is put there may be sent.
    #[inline]
    pub(super) unsafe fn put(&mut self, descs: &[Outgoing]) -> usize {
        // SAFETY: the ring is mapped, and this is its only user.
        unsafe { put(&raw mut self.ring, descs) }
    }

    /// Free entries: at least as many as there are of `wanted`.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        // SAFETY: as in `put`.
        unsafe { xdp::xsk_prod_nb_free(&raw mut self.ring, wanted) }
    }

    /// Entries that the kernel has not taken.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        // More than there can be, so that it is read anew.
        let free = self.room(self.ring.size + 1);
        self.ring.size.saturating_sub(free)
    }

    /// Whether the kernel takes nothing more by itself.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `put`.
        unsafe { xdp::xsk_ring_prod__needs_wakeup(&raw const self.ring) != 0 }
    }
}
