//! One AF_XDP socket: binding it, and the system calls on it that xsk-rs does
//! not offer or whose errors it hides.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xsk_rs::config::{BindFlags, Interface as XskInterface, LibxdpFlags, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue};

use crate::stats::KernelCounters;

use super::ring::{Mapped, RingSizes};
use super::umem::{Umem, ring_size};
use super::{AttachedMode, Interface, Steering, XdpError};

/// How a socket and its driver share packet memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum BindMode {
    /// The NIC reads and writes it.
    ZeroCopy,
    /// The kernel copies into and out of it.
    Copy,
    /// Zero-copy where the driver can, copy where it cannot.
    #[default]
    Auto,
}

/// How a socket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkOptions {
    /// How to share packet memory with the driver.
    pub bind: BindMode,
    /// Entries of the receive ring, a power of two from 64 to 32768.
    pub rx_ring: u32,
    /// Entries of the transmit ring, likewise.
    pub tx_ring: u32,
    /// Chunks kept with the kernel for receiving: few stay in the cache, many
    /// outlast a longer pause. At most the fill ring's entries. If not given,
    /// as many as the rings hold with zero-copy, and at most 512 of them
    /// without, for each chunk that a frame may take.
    pub fill: Option<u32>,
    /// How long to wait for a queue that is just being given up.
    pub queue_wait: Duration,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            bind: BindMode::Auto,
            rx_ring: 2048,
            tx_ring: 2048,
            fill: None,
            queue_wait: Duration::from_secs(1),
        }
    }
}

/// Chunks kept with the kernel for receiving where nothing else is asked for.
///
/// A copying socket needs few: the frames that wait for a slow engine wait as
/// the kernel's own. With zero-copy they have nowhere else to wait, and the
/// NIC keeps as many chunks as its own ring has entries before the first frame
/// comes; so all that the rings hold.
/// `parts` is how many chunks a frame may take.
pub(super) fn fill_level(zero_copy: bool, fill_ring: u32, rx_ring: u32, parts: u32) -> u32 {
    let few = COPY_FILL.saturating_mul(parts);
    let most = fill_ring.min(rx_ring);
    if zero_copy { most } else { most.min(few) }
}

/// Frames of one chunk: few enough to stay in the cache.
const COPY_FILL: u32 = 512;
/// Descriptors that one wake-up of a copying socket may send. The kernel's
/// default is 32.
const TX_BUDGET: u32 = 256;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// Bytes that a frame may have besides the MTU: Ethernet, two tags and the frame
/// check sequence. Linux 7 wants room for all of them where the driver writes
/// into chunks itself, and refuses to bind otherwise.
pub(super) const FRAME_OVERHEAD: u32 = 26;

/// The rings of a bound socket.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) ends: Mapped,
    pub(super) rx: RxQueue,
    pub(super) fd: RawFd,
    pub(super) zero_copy: bool,
    /// Chunks that a frame may take.
    pub(super) parts: u32,
    /// Keep the socket with `rx`; what they would do, `ends` does.
    _others: (TxQueue, FillQueue, CompQueue),
    _umem: Arc<Umem>,
}

/// Binds a socket to `queue` of the interface of `steering`.
pub(super) fn bind(
    umem: &Arc<Umem>,
    steering: &Steering,
    queue: u32,
    options: &LinkOptions,
) -> Result<Rings, XdpError> {
    // Read again: it may have been changed since the program was attached.
    let interface = Interface::read(&steering.interface().name)?;
    interface.check_queue(queue)?;
    let frame = interface.mtu.saturating_add(FRAME_OVERHEAD);
    let parts = frame.div_ceil(umem.max_frame());
    let chains = parts > 1;
    let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
    if chains {
        flags |= BindFlags::XDP_USE_SG;
    }
    match (options.bind, steering.mode()) {
        (BindMode::ZeroCopy, AttachedMode::Generic) => {
            return Err(refused(
                &interface,
                queue,
                options.bind,
                "zero-copy needs the steering program in native mode, and it runs in generic"
                    .into(),
            ));
        }
        (BindMode::ZeroCopy, AttachedMode::Native) => flags |= BindFlags::XDP_ZEROCOPY,
        (BindMode::Copy, _) | (BindMode::Auto, AttachedMode::Generic) => {
            flags |= BindFlags::XDP_COPY;
        }
        (BindMode::Auto, AttachedMode::Native) => {}
    }
    let config = SocketConfig::builder()
        .rx_queue_size(ring_size("receive ring", options.rx_ring)?)
        .tx_queue_size(ring_size("transmit ring", options.tx_ring)?)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(flags)
        .build();
    let (tx, rx, fill, completion) = create(umem, &interface, queue, config, options, chains)?;
    let fd = rx.fd().as_raw_fd();
    let failed = |e| XdpError::system(format!("map the rings of {}", interface.name), e);
    let sizes = RingSizes {
        rx: options.rx_ring,
        tx: options.tx_ring,
        fill: umem.fill_ring(),
        completion: umem.completion_ring(),
    };
    let ends = Mapped::map(fd, sizes).map_err(failed)?;
    let budget = TX_BUDGET.min(options.tx_ring);
    // Kernels before 6.17 do not know it: they send 32 at a time.
    let _ = set_option(fd, XDP_MAX_TX_SKB_BUDGET, &budget);
    let zero_copy = bound_zero_copy(fd)
        .map_err(|e| XdpError::system(format!("ask for the mode of {}", interface.name), e))?;
    Ok(Rings {
        ends,
        rx,
        fd,
        zero_copy,
        parts,
        _others: (tx, fill, completion),
        _umem: Arc::clone(umem),
    })
}

/// Creates the socket, retrying while the queue is busy: the kernel frees a
/// closed socket's queue a little later.
fn create(
    umem: &Umem,
    interface: &Interface,
    queue: u32,
    config: SocketConfig,
    options: &LinkOptions,
    chains: bool,
) -> Result<(TxQueue, RxQueue, FillQueue, CompQueue), XdpError> {
    let name: XskInterface = interface
        .name
        .parse()
        .map_err(|_| XdpError::NoSuchInterface(interface.name.clone()))?;
    let start = Instant::now();
    let error = loop {
        // SAFETY: the flag INHIBIT_PROG_LOAD is set, which the contract asks
        // for when a pair of interface and queue is bound more than once.
        match unsafe { Socket::new(config, umem.inner(), &name, queue) } {
            Ok((tx, rx, Some((fill, completion)))) => return Ok((tx, rx, fill, completion)),
            Ok((_, _, None)) => break io::Error::from_raw_os_error(libc::EBUSY),
            Err(error) => {
                let error = os_error(&error);
                if error.raw_os_error() != Some(libc::EBUSY)
                    || start.elapsed() >= options.queue_wait
                {
                    break error;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Err(match error.raw_os_error() {
        Some(libc::EBUSY) => XdpError::QueueTaken {
            interface: interface.name.clone(),
            queue,
            waited_ms: start.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
        },
        Some(libc::ENETDOWN) => XdpError::InterfaceDown(interface.name.clone()),
        Some(libc::ENODEV) => XdpError::NoSuchInterface(interface.name.clone()),
        Some(libc::EPERM | libc::EACCES) => XdpError::NotPermitted {
            action: format!("bind an AF_XDP socket to {}", interface.name),
        },
        // Before Linux 6.6, or a driver whose zero-copy takes single chunks.
        Some(libc::EINVAL | libc::EOPNOTSUPP) if chains => XdpError::MtuTooLarge {
            interface: interface.name.clone(),
            mtu: interface.mtu,
            chunk: umem.chunk_size(),
            room: umem.max_frame(),
        },
        Some(libc::EOPNOTSUPP) if options.bind == BindMode::ZeroCopy => refused(
            interface,
            queue,
            options.bind,
            format!("the driver has no zero-copy support for this queue ({error})"),
        ),
        _ => refused(interface, queue, options.bind, error.to_string()),
    })
}

fn refused(interface: &Interface, queue: u32, mode: BindMode, reason: String) -> XdpError {
    XdpError::BindRefused {
        interface: interface.name.clone(),
        driver: interface.driver.clone(),
        queue,
        mode: match mode {
            BindMode::ZeroCopy => "zero-copy",
            BindMode::Copy => "copy",
            BindMode::Auto => "zero-copy or copy",
        },
        reason,
    }
}

/// The system's error behind one of xsk-rs.
fn os_error(error: &dyn std::error::Error) -> io::Error {
    match error
        .source()
        .and_then(|e| e.downcast_ref::<io::Error>())
        .map(io::Error::raw_os_error)
    {
        Some(Some(number)) => io::Error::from_raw_os_error(number),
        _ => io::Error::other(error.to_string()),
    }
}

/// Asks the kernel to send what is on the transmit ring.
pub(super) fn kick_tx(fd: RawFd) -> io::Result<()> {
    // The bare call: libc's own is a point at which threads can be cancelled,
    // which takes longer than all the rest of this.
    // SAFETY: a null buffer of length zero, and no address.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            std::ptr::null::<libc::c_void>(),
            0usize,
            libc::MSG_DONTWAIT,
            std::ptr::null::<libc::sockaddr>(),
            0usize,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes a driver look at the fill ring again.
pub(super) fn kick_fill(fd: RawFd) -> io::Result<()> {
    // SAFETY: a null buffer of length zero, and no address.
    let result = unsafe {
        libc::recvfrom(
            fd,
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes the error that the kernel left at the socket, as it does when the
/// device goes away.
pub(super) fn take_error(fd: RawFd) -> io::Result<()> {
    let mut number = 0i32;
    get_option(fd, libc::SOL_SOCKET, libc::SO_ERROR, &mut number)?;
    if number == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(number))
    }
}

/// The kernel's statistics of the socket.
pub(super) fn statistics(rx: &RxQueue) -> io::Result<KernelCounters> {
    let kernel = rx.fd().xdp_statistics()?;
    Ok(KernelCounters {
        rx_dropped: kernel.rx_dropped(),
        rx_invalid_descs: kernel.rx_invalid_descs(),
        tx_invalid_descs: kernel.tx_invalid_descs(),
        rx_ring_full: kernel.rx_ring_full(),
        rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs(),
        tx_ring_empty_descs: kernel.tx_ring_empty_descs(),
    })
}

/// Closes the socket behind `fd` but keeps the number taken: libxdp closes the
/// number of a memory's first socket only together with the memory, and until
/// then the socket would hold its queue.
///
/// # Safety
///
/// `fd` must be open, an AF_XDP socket whose rings have been unmapped.
pub(super) unsafe fn close_keeping_number(fd: RawFd) -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both are open; whoever owns the number closes what is put there.
    let result = unsafe { libc::dup3(null.as_raw_fd(), fd, libc::O_CLOEXEC) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// # Safety
///
/// `fd` must stay open for `'a`.
pub(super) unsafe fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: by this function's contract.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn bound_zero_copy(fd: RawFd) -> io::Result<bool> {
    let mut options = libc::xdp_options { flags: 0 };
    get_option(fd, libc::SOL_XDP, libc::XDP_OPTIONS, &mut options)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// `T` must be plain data, as the kernel's structure for the option.
fn get_option<T: Copy>(fd: RawFd, level: i32, name: i32, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which is borrowed
    // exclusively for the call.
    let result = unsafe {
        libc::getsockopt(
            fd,
            level,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn set_option<T: Copy>(fd: RawFd, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_XDP,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::fill_level;

    #[test]
    fn zero_copy_keeps_all_that_the_rings_hold_with_the_driver() {
        assert_eq!(fill_level(true, 2048, 2048, 1), 2048);
        assert_eq!(fill_level(true, 4096, 1024, 3), 1024);
        assert_eq!(fill_level(false, 2048, 2048, 1), 512);
        assert_eq!(fill_level(false, 256, 2048, 1), 256);
        assert_eq!(fill_level(false, 2048, 64, 1), 64);
        assert_eq!(fill_level(false, 2048, 2048, 3), 1536);
        assert_eq!(fill_level(false, 2048, 2048, 37), 2048);
    }
}
