//! Bursts of packets in and out: the trait, and the links that need no
//! hardware.

pub mod fault;
mod memory;
mod pcap;
pub(crate) mod sleep;

pub use fault::{FaultLink, FaultSettings};
pub use memory::MemoryLink;
pub use pcap::{Capture, CaptureLink, CaptureSummary};

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::{KernelCounters, LinkCounters};
use crate::time::Instant;

/// One queue of a network interface, or something that behaves like one.
///
/// All calls are for batches and cheap when there is nothing to do. A link
/// never blocks except in [`wait`](Link::wait).
///
/// A frame that is longer than a chunk is a chain of packets, or of
/// descriptors, each but the last of which [continues](Packet::continues) in
/// the next. Chains are received, submitted and dropped as a whole.
pub trait Link {
    /// Appends received packets to `out`, each (or the first of its chain) with
    /// the Ethernet header first, and gives fresh chunks to the receive side.
    /// Begins no further frame once there are `max`. Answers how many were
    /// appended.
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize;

    /// Whether nothing waits to be received, where that can be said at almost no
    /// cost: for who looks again and again. `false` says nothing.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Packets that can arrive while nobody receives, and none is lost.
    fn room(&self) -> usize {
        256
    }

    /// Takes completed transmissions back, then submits packets from the
    /// front of `queue` until it is empty or the link is full. What is left
    /// stays in `queue`, in order.
    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>);

    /// When the link wants to be called although nothing arrives (an
    /// emulated delay, say).
    fn next_event(&self) -> Option<Instant> {
        None
    }

    /// Sleeps until something can be received, one of `wakers` is readable,
    /// or `timeout` has passed.
    ///
    /// # Errors
    /// What the operating system answers; an interrupted wait is no error.
    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()>;

    /// What the link has moved.
    fn counters(&self) -> LinkCounters {
        LinkCounters::default()
    }

    /// What the kernel counted for the link. A system call: not for every
    /// batch.
    fn kernel_counters(&self) -> KernelCounters {
        KernelCounters::default()
    }

    /// Whether the link still works.
    ///
    /// # Errors
    /// The reason, when the interface is gone or was taken away: final.
    fn health(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        (**self).receive(now, pool, out, max)
    }

    fn is_quiet(&self) -> bool {
        (**self).is_quiet()
    }

    fn room(&self) -> usize {
        (**self).room()
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        (**self).transmit(now, pool, queue);
    }

    fn next_event(&self) -> Option<Instant> {
        (**self).next_event()
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        (**self).wait(timeout, wakers)
    }

    fn counters(&self) -> LinkCounters {
        (**self).counters()
    }

    fn kernel_counters(&self) -> KernelCounters {
        (**self).kernel_counters()
    }

    fn health(&mut self) -> io::Result<()> {
        (**self).health()
    }
}
