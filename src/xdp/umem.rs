//! Packet memory shared with the kernel.

use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;

use crate::frame::{Backing, PACKET_START, Pool, Region};

use super::XdpError;
use super::socket::close_keeping_number;

/// Whether packet memory is to lie in huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum HugePages {
    /// An error if there are not enough.
    Require,
    /// If there are enough.
    #[default]
    Try,
    /// No.
    Off,
}

/// What a [`Umem`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UmemOptions {
    /// Chunks, at least 64. Rounded up to fill the last huge page.
    pub chunks: u32,
    /// Bytes of a chunk: 2048 or 4096. 256 of them are headroom.
    pub chunk_size: u32,
    /// Whether to use huge pages.
    pub huge_pages: HugePages,
    /// Entries of each fill ring, a power of two.
    pub fill_ring: u32,
    /// Entries of each completion ring, a power of two.
    pub completion_ring: u32,
}

impl Default for UmemOptions {
    fn default() -> Self {
        Self {
            chunks: 8192,
            chunk_size: 2048,
            huge_pages: HugePages::Try,
            fill_ring: 2048,
            completion_ring: 2048,
        }
    }
}

/// Packet memory registered with the kernel, for the sockets of one engine.
///
/// Once all its links have been closed it takes no more; the queue of the link
/// opened first is free for others only when all are closed.
#[derive(Debug)]
pub struct Umem {
    inner: xsk_rs::Umem,
    region: Arc<Region>,
    chunk_size: u32,
    fill_ring: u32,
    completion_ring: u32,
    huge_pages: bool,
    sockets: Mutex<Sockets>,
}

/// The sockets of a memory. libxdp makes the first on the file descriptor that
/// the memory is registered with, and needs that one to unmap the rings of all
/// others: it can be closed only after them.
#[derive(Debug, Default)]
struct Sockets {
    open: usize,
    first: Option<RawFd>,
    /// Chunks that the first socket had when its link was closed.
    left: Vec<u32>,
}

/// Keeps the mapping for as long as the region is used.
struct Mapping(#[expect(dead_code, reason = "held for its destructor")] xsk_rs::Umem);

impl Backing for Mapping {}

impl Umem {
    /// Allocates and registers the memory. The pool is the only one of it.
    ///
    /// # Errors
    ///
    /// [`XdpError::Option`] for sizes the kernel would not take,
    /// [`XdpError::HugePages`] if they are required and missing,
    /// [`XdpError::NotPermitted`], or the system call that failed.
    pub fn new(options: &UmemOptions) -> Result<(Self, Pool), XdpError> {
        check(options)?;
        let huge = match options.huge_pages {
            HugePages::Off => None,
            HugePages::Try => Self::map(options, true).ok(),
            HugePages::Require => Some(Self::map(options, true).map_err(|e| match e {
                XdpError::System { source, .. } => XdpError::HugePages {
                    bytes: u64::from(chunks(options, true)) * u64::from(options.chunk_size),
                    reason: source.to_string(),
                },
                other => other,
            })?),
        };
        let huge_pages = huge.is_some();
        let (inner, descs) = match huge {
            Some(mapped) => mapped,
            None => Self::map(options, false)?,
        };
        let region = region(&inner, &descs, options.chunk_size)?;
        let pool = Pool::new(region);
        let umem = Self {
            inner,
            region: Arc::clone(pool.region()),
            chunk_size: options.chunk_size,
            fill_ring: options.fill_ring,
            completion_ring: options.completion_ring,
            huge_pages,
            sockets: Mutex::default(),
        };
        Ok((umem, pool))
    }

    /// Whether the memory lies in huge pages.
    #[must_use]
    pub const fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// Bytes of a chunk.
    #[must_use]
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Bytes of the largest frame that one chunk takes.
    #[must_use]
    pub const fn max_frame(&self) -> u32 {
        self.chunk_size - PACKET_START as u32
    }

    pub(super) const fn inner(&self) -> &xsk_rs::Umem {
        &self.inner
    }

    pub(super) const fn region(&self) -> &Arc<Region> {
        &self.region
    }

    pub(super) const fn fill_ring(&self) -> u32 {
        self.fill_ring
    }

    pub(super) const fn completion_ring(&self) -> u32 {
        self.completion_ring
    }

    /// Whether all sockets have been closed, the memory's own with them.
    pub(super) fn is_spent(&self) -> bool {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.open == 0 && sockets.first.is_some()
    }

    /// Notes a socket that was made of this memory.
    pub(super) fn opened(&self, fd: RawFd) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.open += 1;
        sockets.first.get_or_insert(fd);
    }

    /// Notes that the rings of a socket have been unmapped, and closes the
    /// first socket if it was the last. `chunks` are those that the kernel
    /// could still write through it; answered are those that it no longer can.
    pub(super) fn closed(&self, fd: RawFd, mut chunks: Vec<u32>) -> Vec<u32> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.open = sockets.open.saturating_sub(1);
        if sockets.first == Some(fd) {
            sockets.left.append(&mut chunks);
        }
        if sockets.open == 0
            && let Some(first) = sockets.first
        {
            // SAFETY: the number is open until the memory goes, and no ring
            // of this memory is mapped any more.
            if unsafe { close_keeping_number(first) }.is_ok() {
                chunks.append(&mut sockets.left);
            }
        }
        chunks
    }

    fn map(options: &UmemOptions, huge: bool) -> Result<(xsk_rs::Umem, Vec<FrameDesc>), XdpError> {
        let invalid = |what: &'static str| move |e: String| XdpError::Option { what, why: e };
        let config = UmemConfig::builder()
            .frame_size(
                FrameSize::new(options.chunk_size)
                    .map_err(|e| invalid("chunk size")(e.to_string()))?,
            )
            .fill_queue_size(ring_size("fill ring", options.fill_ring)?)
            .comp_queue_size(ring_size("completion ring", options.completion_ring)?)
            .frame_headroom(0)
            .build()
            .map_err(|e| invalid("chunk size")(e.to_string()))?;
        let count = NonZeroU32::new(chunks(options, huge))
            .ok_or_else(|| invalid("chunks")("none".into()))?;
        xsk_rs::Umem::new(config, count, huge).map_err(|e| {
            let source = std::error::Error::source(&e)
                .and_then(|e| e.downcast_ref::<std::io::Error>())
                .map_or_else(
                    || std::io::Error::other(e.to_string()),
                    |io| {
                        io.raw_os_error()
                            .map_or_else(|| io.kind().into(), std::io::Error::from_raw_os_error)
                    },
                );
            match source.raw_os_error() {
                Some(libc::EAFNOSUPPORT) => XdpError::Unsupported(
                    "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)".into(),
                ),
                Some(libc::ENOBUFS) => XdpError::System {
                    action: "cannot register packet memory: the limit on locked memory \
                             (`ulimit -l`) is too low without CAP_IPC_LOCK"
                        .into(),
                    source,
                },
                _ => XdpError::system("allocate and register packet memory", source),
            }
        })
    }
}

pub(super) fn ring_size(what: &'static str, size: u32) -> Result<QueueSize, XdpError> {
    if !(64..=32_768).contains(&size) || !size.is_power_of_two() {
        let why = format!("{size} entries: has to be a power of two from 64 to 32768");
        return Err(XdpError::Option { what, why });
    }
    QueueSize::new(size).map_err(|e| XdpError::Option {
        what,
        why: e.to_string(),
    })
}

fn check(options: &UmemOptions) -> Result<(), XdpError> {
    if ![2048, 4096].contains(&options.chunk_size) {
        return Err(XdpError::Option {
            what: "chunk size",
            why: format!("{} bytes: has to be 2048 or 4096", options.chunk_size),
        });
    }
    if !(64..=4 << 20).contains(&options.chunks) {
        return Err(XdpError::Option {
            what: "chunks",
            why: format!("{}: has to be from 64 to 4194304", options.chunks),
        });
    }
    ring_size("fill ring", options.fill_ring)?;
    ring_size("completion ring", options.completion_ring).map(drop)
}

/// How many chunks to map: huge pages are unmapped whole.
fn chunks(options: &UmemOptions, huge: bool) -> u32 {
    if !huge {
        return options.chunks;
    }
    let per_page = (huge_page_size() / u64::from(options.chunk_size)).max(1);
    u64::from(options.chunks)
        .next_multiple_of(per_page)
        .try_into()
        .unwrap_or(options.chunks)
}

/// The kernel's default huge page, in bytes.
fn huge_page_size() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("Hugepagesize:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(2 << 20, |kib| kib << 10)
}

/// The region over the memory that xsk-rs has mapped.
fn region(
    umem: &xsk_rs::Umem,
    descs: &[FrameDesc],
    chunk_size: u32,
) -> Result<Arc<Region>, XdpError> {
    let odd = || XdpError::Unsupported("xsk-rs laid out packet memory in another way".into());
    let mut first = *descs.first().ok_or_else(odd)?;
    let laid_out = descs.iter().enumerate().all(|(chunk, desc)| {
        desc.addr() == chunk * chunk_size as usize + usize::from(PACKET_START)
    });
    if !laid_out {
        return Err(odd());
    }
    // SAFETY: `first` describes a chunk of `umem` that the kernel has not been
    // given, and nothing else refers to its bytes; the slice is of its
    // (empty) headroom, so only the address is taken.
    let base = unsafe { umem.headroom_mut(&mut first) }
        .contents_mut()
        .as_mut_ptr();
    // The slice's own provenance covers nothing. The mapping's was exposed
    // when its address was handed to the kernel.
    let base = std::ptr::with_exposed_provenance_mut::<u8>(base.addr());
    let base = NonNull::new(base).ok_or_else(odd)?;
    let chunks = u32::try_from(descs.len()).map_err(|_| odd())?;
    // SAFETY: the mapping is `chunks * chunk_size` zeroed bytes, checked above
    // by the addresses of its descriptors, and lives as long as a handle of
    // the `Umem`, of which `Mapping` holds one. This crate reads and writes
    // it only through the region, except for setting descriptor lengths,
    // which touches no byte.
    Ok(unsafe { Region::from_raw(base, chunks, chunk_size, Box::new(Mapping(umem.clone()))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_the_kernel_would_refuse_are_named() {
        let good = UmemOptions::default();
        let refused = |options: UmemOptions, word: &str| {
            let text = Umem::new(&options).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        };
        refused(
            UmemOptions {
                chunk_size: 3000,
                ..good
            },
            "chunk size",
        );
        refused(UmemOptions { chunks: 10, ..good }, "chunks");
        refused(
            UmemOptions {
                fill_ring: 100,
                ..good
            },
            "fill ring",
        );
        refused(
            UmemOptions {
                completion_ring: 1 << 20,
                ..good
            },
            "completion ring",
        );
    }

    #[test]
    fn huge_pages_are_filled() {
        let options = UmemOptions {
            chunks: 1000,
            chunk_size: 2048,
            ..UmemOptions::default()
        };
        assert_eq!(chunks(&options, false), 1000);
        let bytes = u64::from(chunks(&options, true)) * 2048;
        assert!(bytes >= 1000 * 2048 && bytes.is_multiple_of(huge_page_size()));
    }
}
