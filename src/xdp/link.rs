//! [`XdpLink`]: a NIC queue through an AF_XDP socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::frame::{Packet, Pool, TxDesc};
use crate::link::Link;
use crate::stats::{KernelCounters, LinkCounters};
use crate::time::Instant;

mod rings;
#[cfg(test)]
mod tests;
mod traffic;

use self::traffic::{FILL_BATCH, Sizes, Traffic};
use super::socket::{self, Rings};
use super::{LinkOptions, Steering, Umem, XdpError};

/// One queue of a network interface through an AF_XDP socket. Holds the
/// steering program attached.
///
/// Drop it with [`XdpLink::close`], or its chunks stay in the ledger as the
/// kernel's.
#[derive(Debug)]
pub struct XdpLink {
    /// `None` once closed.
    rings: Option<Rings>,
    /// Frames that the chunks in the fill ring take.
    room: usize,
    umem: Arc<Umem>,
    steering: Steering,
    queue: u32,
    traffic: Traffic,
    poll: Vec<libc::pollfd>,
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
        if let Some(fill) = options.fill
            && !(1..=umem.fill_ring()).contains(&fill)
        {
            return Err(XdpError::Option {
                what: "chunks for receiving",
                why: format!("{fill}: has to be from 1 to {}", umem.fill_ring()),
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
        let fill = options.fill.unwrap_or_else(|| {
            let (fill, rx) = (umem.fill_ring(), options.rx_ring);
            socket::fill_level(rings.zero_copy, fill, rx, rings.parts)
        });
        let room = (fill / rings.parts.max(1)) as usize;
        let mut link = Self {
            rings: Some(rings),
            room,
            umem: Arc::clone(umem),
            steering: steering.clone(),
            queue,
            traffic: Traffic::new(Sizes {
                chunks: umem.region().chunks() as usize,
                chunk: umem.chunk_size() as usize,
                frame: umem.max_frame() as usize,
                fill: fill as usize,
            }),
            poll: Vec::with_capacity(16),
        };
        if let Some(rings) = &mut link.rings {
            link.traffic.refill(rings, Instant::ZERO, pool, FILL_BATCH);
        }
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

    /// Whether frames may take several chunks, which the MTU asks for.
    #[must_use]
    pub fn chains(&self) -> bool {
        self.rings.as_ref().is_some_and(|rings| rings.parts > 1)
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
        &self.traffic.counters
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
        self.traffic.sent.len()
    }

    /// Waits until everything handed to the kernel has been sent, at most
    /// `limit`. Answers whether it has.
    pub fn drain(&mut self, pool: &mut Pool, limit: Duration) -> bool {
        let start = std::time::Instant::now();
        let Some(rings) = &mut self.rings else {
            return true;
        };
        let traffic = &mut self.traffic;
        loop {
            traffic.reap(rings, pool);
            if traffic.sent.is_empty() {
                return true;
            }
            if start.elapsed() >= limit || traffic.gone.is_some() {
                return false;
            }
            traffic.kick(rings, pool);
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
        self.traffic.drop_parts(pool);
        let returned = self.shut();
        for chunk in self.traffic.sent.drain() {
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
        self.umem.closed(fd, self.traffic.filled.drain().collect())
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
        match &mut self.rings {
            Some(rings) => self.traffic.receive(rings, now, pool, out, max),
            None => 0,
        }
    }

    #[inline]
    fn is_quiet(&self) -> bool {
        self.rings
            .as_ref()
            .is_none_or(|rings| rings.ends.rx.is_empty())
    }

    fn room(&self) -> usize {
        self.room
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        debug_assert!(Arc::ptr_eq(pool.region(), self.umem.region()));
        if let Some(rings) = &mut self.rings {
            self.traffic.transmit(rings, now, pool, queue);
        }
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.poll.clear();
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut longest = timeout;
        if let Some(rings) = &mut self.rings {
            self.poll.push(entry(rings.fd));
            longest = self.traffic.longest_sleep(rings);
        }
        self.poll
            .extend(wakers.iter().map(|fd| entry(fd.as_raw_fd())));
        let timeout = timeout.min(longest);
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        self.traffic.counters.sleeps += 1;
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
        self.traffic.counters
    }

    fn kernel_counters(&self) -> KernelCounters {
        Self::kernel_counters(self).unwrap_or_default()
    }

    /// One system call: not for every turn.
    fn health(&mut self) -> io::Result<()> {
        let traffic = &mut self.traffic;
        if traffic.gone.is_none() {
            match &self.rings {
                None => traffic.gone = Some(libc::ENOTCONN),
                Some(rings) => {
                    if let Err(error) = socket::take_error(rings.fd) {
                        traffic.counters.device_errors += 1;
                        traffic.gone = error.raw_os_error().or(Some(libc::EIO));
                    }
                }
            }
        }
        match traffic.gone {
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
