//! The transmit ring of a socket, as this process maps it: xsk-rs gives every
//! descriptor one fixed place in its chunk, and the parts of a frame that is
//! longer than a chunk begin where their payload does.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;

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

/// The mapped ring. Whoever has it is the only one who puts things there.
#[derive(Debug)]
pub(super) struct TxRing {
    ring: xdp::xsk_ring_prod,
    map: NonNull<libc::c_void>,
    bytes: usize,
}

// SAFETY: it points to memory that is shared with the kernel alone, and all
// that changes it takes it exclusively.
unsafe impl Send for TxRing {}

impl TxRing {
    /// Maps the transmit ring of `size` entries, a power of two, of the AF_XDP
    /// socket `fd`, on which nothing was put so far.
    pub(super) fn map(fd: RawFd, size: u32) -> io::Result<Self> {
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
        let tx = unsafe { offsets.assume_init() }.tx;
        let bytes = tx.desc as usize + size as usize * size_of::<xdp::xdp_desc>();
        // SAFETY: a new mapping, where the kernel likes.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                libc::XDP_PGOFF_TX_RING,
            )
        };
        let Some(map) = NonNull::new(map).filter(|map| map.as_ptr() != libc::MAP_FAILED) else {
            return Err(io::Error::last_os_error());
        };
        // SAFETY: the kernel has said where in the mapping they are.
        let at = |offset: u64| unsafe { map.as_ptr().byte_add(offset as usize) };
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
        Ok(Self { ring, map, bytes })
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

impl Drop for TxRing {
    fn drop(&mut self) {
        // SAFETY: `map` made exactly this mapping, and its pointers go with it.
        unsafe { libc::munmap(self.map.as_ptr(), self.bytes) };
    }
}
