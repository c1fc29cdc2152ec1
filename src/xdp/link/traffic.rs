//! Moving chunks to and from the rings of a socket.

use std::collections::VecDeque;
use std::time::Duration;

use super::rings::{Descriptor, RingSet};
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::LinkCounters;
use crate::time::Instant;
use crate::xdp::chunks::ChunkSet;

/// Descriptors moved to or from a ring at once.
pub(super) const BATCH: usize = 256;
/// The fill ring is topped up when so many chunks are missing.
pub(super) const FILL_BATCH: usize = 32;
/// Transmissions that do not complete for so long have stalled.
pub(super) const STALL: Duration = Duration::from_secs(1);
/// Wake-ups in a row for one burst.
const MAX_KICKS: usize = 16;
/// At most one reminder of the fill ring in this time, if it has not changed.
pub(super) const FILL_KICK_EVERY: Duration = Duration::from_micros(100);
/// No sleep is longer.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// Sleep while frames wait on the transmit ring: nothing wakes for room.
pub(super) const SLEEP_PENDING: Duration = Duration::from_micros(100);
/// Sleep while completions are due: nothing wakes for them either.
pub(super) const SLEEP_SENDING: Duration = Duration::from_millis(10);
/// An Ethernet header.
const MIN_FRAME: usize = 14;

/// The sizes that one link works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Chunks of the memory.
    pub chunks: usize,
    /// Bytes of a chunk.
    pub chunk: usize,
    /// Bytes of the longest frame.
    pub frame: usize,
    /// Chunks to keep with the kernel for receiving.
    pub fill: usize,
}

/// Which chunks the kernel has through the rings of one socket, and what moves
/// them there and back.
#[derive(Debug)]
pub(super) struct Traffic<D> {
    sizes: Sizes,
    /// Chunks that the kernel may write.
    pub filled: ChunkSet,
    /// Chunks that the kernel may read.
    pub sent: ChunkSet,
    scratch: Box<[D]>,
    /// The rest of a frame of several chunks is to be dropped.
    in_oversize: bool,
    /// When a transmission last completed, or nothing was under way.
    progress: Instant,
    fill_kicked: Instant,
    /// The device was down when it was last asked to send.
    down: bool,
    /// Why the device takes no more, by the number of the error.
    pub gone: Option<i32>,
    pub counters: LinkCounters,
}

impl<D: Descriptor> Traffic<D> {
    /// Of rings that are empty.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            filled: ChunkSet::new(sizes.chunks),
            sent: ChunkSet::new(sizes.chunks),
            scratch: vec![D::default(); BATCH].into_boxed_slice(),
            in_oversize: false,
            progress: Instant::ZERO,
            fill_kicked: Instant::ZERO,
            down: false,
            gone: None,
            counters: LinkCounters::default(),
        }
    }

    /// As [`Link::receive`](crate::link::Link::receive).
    pub(super) fn receive(
        &mut self,
        rings: &mut impl RingSet<Desc = D>,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = out.len();
        let mut taken = 0;
        while taken < max {
            let batch = (max - taken).min(BATCH);
            let n = rings.take_received(&mut self.scratch[..batch]);
            for at in 0..n {
                let desc = self.scratch[at];
                self.received(&desc, pool, out);
            }
            taken += n;
            if n < batch {
                break;
            }
        }
        let received = out.len() - before;
        self.counters.rx_frames += received as u64;
        self.counters.rx_bursts += u64::from(received > 0);
        self.refill(rings, now, pool);
        received
    }

    /// Takes one descriptor of the receive ring.
    #[inline]
    fn received(&mut self, desc: &D, pool: &mut Pool, out: &mut Vec<Packet>) {
        let chunk = desc.address() / self.sizes.chunk;
        let start = desc.address() % self.sizes.chunk;
        if !self.filled.remove(chunk) {
            self.counters.device_errors += 1;
            return;
        }
        let oversize = desc.continues() || self.in_oversize;
        if oversize {
            self.in_oversize = desc.continues();
            self.counters.rx_oversize += u64::from(!self.in_oversize);
        }
        let length = u16::try_from(desc.length()).unwrap_or(u16::MAX);
        let packet = if oversize {
            None
        } else {
            // SAFETY: the kernel has just returned the chunk, which was lent
            // to it through this socket.
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

    /// As [`Link::transmit`](crate::link::Link::transmit).
    pub(super) fn transmit(
        &mut self,
        rings: &mut impl RingSet<Desc = D>,
        now: Instant,
        pool: &mut Pool,
        queue: &mut VecDeque<TxDesc>,
    ) {
        let completed = self.counters.tx_completed;
        self.reap(rings, pool);
        if self.sent.is_empty() {
            self.progress = now;
        }
        while !queue.is_empty() {
            if self.submit(rings, pool, queue) == 0 {
                self.counters.tx_ring_full += 1;
                let left = self.sent.len();
                self.kick(rings, pool);
                self.reap(rings, pool);
                if self.sent.len() == left {
                    break;
                }
            }
        }
        if self.counters.tx_completed != completed {
            self.progress = now;
        }
        if self.sent.is_empty() {
            return;
        }
        let stalled = now.since(self.progress) >= STALL;
        if stalled {
            self.progress = now;
            self.counters.tx_stalled += 1;
        }
        if stalled || rings.tx_needs_wakeup() {
            self.kick(rings, pool);
        }
    }

    /// Takes completions.
    pub(super) fn reap(&mut self, rings: &mut impl RingSet<Desc = D>, pool: &mut Pool) {
        while !self.sent.is_empty() {
            let n = rings.take_completed(&mut self.scratch);
            for desc in &self.scratch[..n] {
                let chunk = desc.address() / self.sizes.chunk;
                // SAFETY: the kernel has just returned it, and it was sent
                // through this socket.
                if self.sent.remove(chunk) && unsafe { pool.complete_chunk(chunk as u32) } {
                    self.counters.tx_completed += 1;
                } else {
                    self.counters.device_errors += 1;
                }
            }
            if n < BATCH {
                break;
            }
        }
    }

    /// Makes the kernel send, again while it takes only a part of the ring.
    pub(super) fn kick(&mut self, rings: &mut impl RingSet<Desc = D>, pool: &mut Pool) {
        let mut before = u32::MAX;
        for _ in 0..MAX_KICKS {
            let pending = rings.tx_pending();
            if pending == 0 || pending == before {
                return;
            }
            before = pending;
            self.counters.tx_kicks += 1;
            let Err(error) = rings.kick_tx() else {
                self.down = false;
                return;
            };
            match error.raw_os_error() {
                // Its budget is used up, or completions are waiting.
                Some(libc::EAGAIN) => self.reap(rings, pool),
                Some(libc::EINTR) => before = u32::MAX,
                // No memory, or the device's queue is full: next turn.
                Some(libc::ENOBUFS | libc::EBUSY) => return,
                number => return self.failed(number),
            }
        }
    }

    /// How long the link may sleep.
    pub(super) fn longest_sleep(&mut self, rings: &mut impl RingSet<Desc = D>) -> Duration {
        if self.sent.is_empty() {
            MAX_SLEEP
        } else if !self.down && rings.tx_pending() > 0 {
            SLEEP_PENDING
        } else {
            SLEEP_SENDING
        }
    }

    /// Notes an error of the device. That it is down may pass.
    fn failed(&mut self, number: Option<i32>) {
        self.counters.device_errors += 1;
        self.down = number == Some(libc::ENETDOWN);
        if !self.down {
            self.gone = number.or(Some(libc::EIO));
        }
    }

    /// Tops the fill ring up.
    pub(super) fn refill(
        &mut self,
        rings: &mut impl RingSet<Desc = D>,
        now: Instant,
        pool: &mut Pool,
    ) {
        let missing = self.sizes.fill.saturating_sub(self.filled.len());
        let mut added = 0;
        if missing >= FILL_BATCH.min(self.sizes.fill) {
            let room = rings.fill_room(missing as u32) as usize;
            let wanted = missing.min(room);
            while added < wanted {
                let mut n = 0;
                for slot in self.scratch.iter_mut().take(wanted - added) {
                    let Some(chunk) = pool.lend() else { break };
                    *slot = rings.empty(chunk as usize);
                    self.filled.insert(chunk as usize);
                    n += 1;
                }
                // SAFETY: the ledger has just lent these chunks to the fill
                // ring; they are of the memory that the ring belongs to.
                let taken = unsafe { rings.put_fill(&self.scratch[..n]) };
                if taken < n {
                    // Not reached: `fill_room` never promises too much.
                    for desc in &self.scratch[taken..n] {
                        let chunk = desc.address() / self.sizes.chunk;
                        self.filled.remove(chunk);
                        // SAFETY: the ring did not take it.
                        unsafe { pool.unlend(chunk as u32) };
                    }
                }
                added += taken;
                if taken < BATCH {
                    break;
                }
            }
            if added < wanted {
                self.counters.fill_starved += 1;
            }
            self.counters.fill_frames += added as u64;
        }
        if rings.fill_needs_wakeup()
            && (added > 0 || now.since(self.fill_kicked) >= FILL_KICK_EVERY)
        {
            self.fill_kicked = now;
            self.counters.fill_kicks += 1;
            match rings.kick_fill().map_err(|e| e.raw_os_error()) {
                Ok(()) | Err(Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)) => {}
                Err(number) => self.failed(number),
            }
        }
    }

    /// Puts up to [`BATCH`] packets on the transmit ring, as many as have
    /// room. Answers how many left `queue`.
    fn submit(
        &mut self,
        rings: &mut impl RingSet<Desc = D>,
        pool: &mut Pool,
        queue: &mut VecDeque<TxDesc>,
    ) -> usize {
        let wanted = queue.len().min(BATCH);
        let room = (rings.tx_room(wanted as u32) as usize).min(wanted);
        let mut n = 0;
        for mut packet in queue.drain(..room) {
            let length = packet.len();
            // The kernel takes such a descriptor and never completes it.
            if length < MIN_FRAME || length > self.sizes.frame {
                self.counters.device_errors += 1;
                pool.complete(packet);
                continue;
            }
            // A driver may put what it receives elsewhere, and it goes out
            // again in place.
            pool.move_to_start(&mut packet);
            let chunk = packet.chunk() as usize;
            self.scratch[n] = rings.full(chunk, length);
            n += 1;
            self.sent.insert(chunk);
            self.counters.tx_bytes += length as u64;
        }
        // SAFETY: the ledger says that these chunks are being sent and not yet
        // on a ring; they are of the memory that the ring belongs to.
        let taken = unsafe { rings.put_tx(&self.scratch[..n]) };
        debug_assert_eq!(taken, n, "the transmit ring had room");
        self.counters.tx_frames += taken as u64;
        room
    }
}
