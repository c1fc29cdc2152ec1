//! [`XdpLink`]: a NIC queue through an AF_XDP socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use xsk_rs::umem::frame::FrameDesc;

use crate::frame::{Packet, Pool, TxDesc};
use crate::link::Link;
use crate::stats::{KernelCounters, LinkCounters};
use crate::time::Instant;

mod rings;

use super::chunks::ChunkSet;
use super::socket::{self, Rings};
use super::{LinkOptions, Steering, Umem, XdpError};

/// Descriptors moved to or from a ring at once.
const BATCH: usize = 256;
/// Transmissions that do not complete for so long have stalled.
const STALL: Duration = Duration::from_secs(1);

/// One queue of a network interface through an AF_XDP socket. Holds the
/// steering program attached.
///
/// Drop it with [`XdpLink::close`], or its chunks stay in the ledger as the
/// kernel's.
#[derive(Debug)]
pub struct XdpLink {
    /// `None` once closed.
    rings: Option<Rings>,
    umem: Arc<Umem>,
    steering: Steering,
    queue: u32,
    fill_target: usize,
    /// Chunks that the kernel has through this socket.
    filled: ChunkSet,
    sent: ChunkSet,
    scratch: Box<[FrameDesc]>,
    poll: Vec<libc::pollfd>,
    /// The rest of a frame of several chunks is to be dropped.
    in_oversize: bool,
    /// When a transmission last completed, or nothing was under way.
    progress: Instant,
    fill_kicked: Instant,
    /// The device was down when it was last asked to send.
    down: bool,
    gone: Option<i32>,
    counters: LinkCounters,
}

impl XdpLink {
    /// Binds a socket to `queue` of the interface that `steering` is attached
    /// to, gives it chunks of `pool` to receive into, and has the queue's
    /// claimed frames sent to it.
    ///
    /// # Errors
    ///
    /// [`XdpError::InterfaceDown`], [`XdpError::NoSuchQueue`],
    /// [`XdpError::MtuTooLarge`], [`XdpError::QueueTaken`],
    /// [`XdpError::BindRefused`], [`XdpError::NotPermitted`],
    /// [`XdpError::Option`], or the system call that failed.
    pub fn open(
        umem: &Arc<Umem>,
        pool: &mut Pool,
        steering: &Steering,
        queue: u32,
        options: &LinkOptions,
    ) -> Result<Self, XdpError> {
        if !Arc::ptr_eq(pool.region(), umem.region()) {
            let why = "it is of another memory than the socket's".into();
            return Err(XdpError::Option { what: "pool", why });
        }
        if options.fill == 0 || options.fill > umem.fill_ring() {
            return Err(XdpError::Option {
                what: "chunks for receiving",
                why: format!("{}: has to be from 1 to {}", options.fill, umem.fill_ring()),
            });
        }
        if umem.is_spent() {
            let why = "its links have been closed; new links need new memory".into();
            return Err(XdpError::Option {
                what: "packet memory",
                why,
            });
        }
        let rings = socket::bind(umem, steering, queue, options)?;
        umem.opened(rings.fd);
        let chunks = umem.descs().len();
        let mut link = Self {
            rings: Some(rings),
            umem: Arc::clone(umem),
            steering: steering.clone(),
            queue,
            fill_target: options.fill as usize,
            filled: ChunkSet::new(chunks),
            sent: ChunkSet::new(chunks),
            scratch: vec![FrameDesc::default(); BATCH].into_boxed_slice(),
            poll: Vec::with_capacity(16),
            in_oversize: false,
            progress: Instant::ZERO,
            fill_kicked: Instant::ZERO,
            down: false,
            gone: None,
            counters: LinkCounters::default(),
        };
        link.refill(Instant::ZERO, pool);
        if let Err(error) = steering.set_socket(queue, link.as_fd()) {
            link.close(pool);
            return Err(error);
        }
        Ok(link)
    }

    /// Whether the driver reads and writes packet memory itself.
    #[must_use]
    pub fn zero_copy(&self) -> bool {
        self.rings.as_ref().is_some_and(|rings| rings.zero_copy)
    }

    /// Whether packet memory lies in huge pages.
    #[must_use]
    pub fn huge_pages(&self) -> bool {
        self.umem.huge_pages()
    }

    /// The queue of the interface.
    #[must_use]
    pub const fn queue(&self) -> u32 {
        self.queue
    }

    /// The steering program that serves this link.
    #[must_use]
    pub const fn steering(&self) -> &Steering {
        &self.steering
    }

    /// What has passed through.
    #[must_use]
    pub const fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// The kernel's own statistics of the socket: one system call.
    ///
    /// # Errors
    ///
    /// What the operating system answers.
    pub fn kernel_counters(&self) -> io::Result<KernelCounters> {
        self.rings
            .as_ref()
            .map_or(Ok(KernelCounters::default()), |r| socket::statistics(&r.rx))
    }

    /// Transmissions that the kernel has not completed.
    #[must_use]
    pub const fn in_transmission(&self) -> usize {
        self.sent.len()
    }

    /// Waits until everything handed to the kernel has been sent, at most
    /// `limit`. Answers whether it has.
    pub fn drain(&mut self, pool: &mut Pool, limit: Duration) -> bool {
        let start = std::time::Instant::now();
        loop {
            self.reap(pool);
            if self.sent.is_empty() {
                return true;
            }
            if start.elapsed() >= limit || self.gone.is_some() {
                return false;
            }
            self.kick(pool);
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Takes the queue back from the kernel and puts the chunks it had into
    /// the pool; unsent frames are lost. Frames that come in from now on are
    /// the kernel's.
    ///
    /// Of several links of one memory, that opened first gives its chunks for
    /// receiving back when the last is closed. With zero-copy they stay in the
    /// ledger as the fill ring's: the driver lets go of them some time later.
    pub fn close(mut self, pool: &mut Pool) {
        let copied = !self.zero_copy();
        if !Arc::ptr_eq(pool.region(), self.umem.region()) {
            return;
        }
        let returned = self.shut();
        for chunk in self.sent.drain() {
            // SAFETY: its socket sends no more, and what the kernel may still
            // read of it has no effect on this process.
            let _ = unsafe { pool.complete_chunk(chunk) };
        }
        if copied {
            for chunk in returned {
                // SAFETY: its socket has been closed, which waits for the
                // kernel's receive path to have left it; nothing but that
                // path writes the chunks of a copying socket.
                unsafe { pool.unlend(chunk) };
            }
        }
    }

    /// Closes the socket; answers the chunks that nobody writes any more.
    fn shut(&mut self) -> Vec<u32> {
        let Some(rings) = self.rings.take() else {
            return Vec::new();
        };
        let _ = self.steering.clear_socket(self.queue);
        let fd = rings.fd;
        drop(rings);
        self.umem.closed(fd, self.filled.drain().collect())
    }
}

impl Link for XdpLink {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        debug_assert!(Arc::ptr_eq(pool.region(), self.umem.region()));
        let chunk_size = self.umem.chunk_size() as usize;
        let before = out.len();
        let mut taken = 0;
        while taken < max {
            let Some(rings) = &mut self.rings else { break };
            let batch = (max - taken).min(BATCH);
            // SAFETY: the descriptors are only filled in; the ring is of this
            // memory.
            let n = unsafe { rings.rx.consume(&mut self.scratch[..batch]) };
            for desc in &self.scratch[..n] {
                let (chunk, start) = (desc.addr() / chunk_size, desc.addr() % chunk_size);
                if !self.filled.remove(chunk) {
                    self.counters.device_errors += 1;
                    continue;
                }
                let oversize = desc.has_more_frames() || self.in_oversize;
                if oversize {
                    self.in_oversize = desc.has_more_frames();
                    self.counters.rx_oversize += u64::from(!self.in_oversize);
                }
                let length = u16::try_from(desc.lengths().data()).unwrap_or(u16::MAX);
                // SAFETY: the kernel has just returned the chunk, which was
                // lent to it through this socket.
                let packet = if oversize {
                    None
                } else {
                    unsafe { pool.received(chunk as u32, start as u16, length) }
                };
                match packet {
                    Some(packet) => {
                        self.counters.rx_bytes += u64::from(length);
                        out.push(packet);
                    }
                    None => {
                        self.counters.device_errors += u64::from(!oversize);
                        // SAFETY: as above.
                        unsafe { pool.unlend(chunk as u32) };
                    }
                }
            }
            taken += n;
            if n < batch {
                break;
            }
        }
        let received = out.len() - before;
        self.counters.rx_frames += received as u64;
        self.counters.rx_bursts += u64::from(received > 0);
        self.refill(now, pool);
        received
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        debug_assert!(Arc::ptr_eq(pool.region(), self.umem.region()));
        let completed = self.counters.tx_completed;
        self.reap(pool);
        if self.sent.is_empty() || self.counters.tx_completed != completed {
            self.progress = now;
        }
        while !queue.is_empty() {
            if self.submit(pool, queue) == 0 {
                self.counters.tx_ring_full += 1;
                let left = self.sent.len();
                self.kick(pool);
                self.reap(pool);
                if self.sent.len() == left || self.rings.is_none() {
                    break;
                }
            }
        }
        if self.sent.is_empty() {
            return;
        }
        let stalled = now.since(self.progress) >= STALL;
        if stalled {
            self.progress = now;
            self.counters.tx_stalled += 1;
        }
        if stalled
            || self
                .rings
                .as_ref()
                .is_some_and(|rings| rings.tx.needs_wakeup())
        {
            self.kick(pool);
        }
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.poll.clear();
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        if let Some(rings) = &self.rings {
            self.poll.push(entry(rings.fd));
        }
        self.poll
            .extend(wakers.iter().map(|fd| entry(fd.as_raw_fd())));
        let timeout = timeout.min(self.longest_sleep());
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        self.counters.sleeps += 1;
        // SAFETY: the pointer and length describe `self.poll`, the timeout is
        // a local, and there is no signal mask.
        let result = unsafe {
            libc::ppoll(
                self.poll.as_mut_ptr(),
                self.poll.len() as libc::nfds_t,
                &raw const timeout,
                std::ptr::null(),
            )
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EINTR) => Ok(()),
                _ => Err(error),
            };
        }
        let errors = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        if self.rings.is_some() && self.poll.first().is_some_and(|p| p.revents & errors != 0) {
            return self.health();
        }
        Ok(())
    }

    fn counters(&self) -> LinkCounters {
        self.counters
    }

    fn kernel_counters(&self) -> KernelCounters {
        Self::kernel_counters(self).unwrap_or_default()
    }

    /// One system call: not for every turn.
    fn health(&mut self) -> io::Result<()> {
        if self.gone.is_none() {
            match &self.rings {
                None => self.gone = Some(libc::ENOTCONN),
                Some(rings) => {
                    if let Err(error) = socket::take_error(rings.fd) {
                        self.counters.device_errors += 1;
                        self.gone = error.raw_os_error().or(Some(libc::EIO));
                    }
                }
            }
        }
        match self.gone {
            None => Ok(()),
            Some(number) => {
                let why = io::Error::from_raw_os_error(number);
                let name = &self.steering.interface().name;
                let text = format!("queue {} of interface {name} is gone: {why}", self.queue);
                Err(io::Error::new(why.kind(), text))
            }
        }
    }
}

impl AsFd for XdpLink {
    /// The socket, readable when packets have arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self
            .rings
            .as_ref()
            .map_or(libc::STDIN_FILENO, |rings| rings.fd);
        // SAFETY: the socket stays open while `self` is borrowed.
        unsafe { socket::borrow(fd) }
    }
}

impl Drop for XdpLink {
    fn drop(&mut self) {
        self.shut();
    }
}
