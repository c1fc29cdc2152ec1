//! Moving chunks to and from the rings of a socket.

use std::collections::VecDeque;
use std::time::Duration;

use super::rings::RingSet;
use crate::frame::{PACKET_START, Packet, Pool, TxDesc};
use crate::stats::LinkCounters;
use crate::time::Instant;
use crate::xdp::chunks::ChunkSet;
use crate::xdp::ring::{self, Desc};

/// Descriptors moved to or from a ring at once.
pub(super) const BATCH: usize = 256;
/// The fill ring is topped up when so many chunks are missing, or twice as many
/// when a few frames have come.
pub(super) const FILL_BATCH: usize = 32;
/// Transmissions that do not complete for so long have stalled.
pub(super) const STALL: Duration = Duration::from_secs(1);
/// No more frames than this are no stream, but may be waited for.
pub(super) const FEW: usize = 4;
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
/// Longest frame that is received: the largest IP packet, Ethernet and two
/// tags.
pub(super) const MAX_FRAME: usize = 65_535 + 14 + 8;
/// Chunks of a frame to send: the kernel takes 17 at most.
pub(crate) const MAX_PARTS: usize = 17;

/// The sizes that one link works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Chunks of the memory.
    pub chunks: usize,
    /// Bytes of a chunk.
    pub chunk: usize,
    /// Bytes of a frame that one chunk takes.
    pub frame: usize,
    /// Chunks to keep with the kernel for receiving.
    pub fill: usize,
}

impl Sizes {
    /// The chunk that has the byte at `address`. Chunks are a power of two long,
    /// and a division would take as long as the rest of a descriptor.
    #[inline]
    const fn chunk_at(&self, address: u64) -> usize {
        debug_assert!(self.chunk.is_power_of_two());
        (address >> self.chunk.trailing_zeros()) as usize
    }

    /// The address of the byte at `start` of a chunk.
    #[inline]
    const fn address(&self, chunk: u32, start: usize) -> u64 {
        ((chunk as usize) << self.chunk.trailing_zeros()) as u64 + start as u64
    }
}

/// Which chunks the kernel has through the rings of one socket, and what moves
/// them there and back.
#[derive(Debug)]
pub(super) struct Traffic {
    sizes: Sizes,
    /// Chunks that the kernel may write.
    pub filled: ChunkSet,
    /// Chunks that the kernel may read.
    pub sent: ChunkSet,
    /// The parts so far of a frame of which more is to come.
    parts: Vec<Packet>,
    /// Their bytes.
    length: usize,
    /// The last descriptor received was not the last of its frame.
    in_chain: bool,
    /// That frame is to be dropped.
    broken: bool,
    /// When a transmission last completed, or nothing was under way.
    progress: Instant,
    fill_kicked: Instant,
    /// The device was down when it was last asked to send.
    down: bool,
    /// Why the device takes no more, by the number of the error.
    pub gone: Option<i32>,
    pub counters: LinkCounters,
}

impl Traffic {
    /// Of rings that are empty.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            filled: ChunkSet::new(sizes.chunks),
            sent: ChunkSet::new(sizes.chunks),
            parts: Vec::with_capacity(MAX_FRAME / sizes.frame.max(1) + 2),
            length: 0,
            in_chain: false,
            broken: false,
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
        rings: &mut impl RingSet,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = out.len();
        let mut taken = 0;
        while taken < max {
            let batch = (max - taken).min(BATCH);
            let n = rings.take_received(batch, |desc| self.received(&desc, pool, out));
            taken += n;
            if n < batch {
                break;
            }
        }
        let received = out.len() - before;
        if received <= FEW {
            for packet in &out[before..] {
                pool.foresee(packet);
            }
        }
        self.counters.rx_bursts += u64::from(received > 0);
        // Somebody may wait for what comes of a few: who finds nothing next has
        // time for this.
        let few = (1..=FEW).contains(&received);
        let from = if few { 2 * FILL_BATCH } else { FILL_BATCH };
        self.refill(rings, now, pool, from);
        received
    }

    /// Takes one descriptor of the receive ring.
    #[inline]
    fn received(&mut self, desc: &Desc, pool: &mut Pool, out: &mut Vec<Packet>) {
        let chunk = self.sizes.chunk_at(desc.addr);
        let start = desc.addr as usize & (self.sizes.chunk - 1);
        let mut packet = None;
        if self.filled.remove(chunk) {
            let length = u16::try_from(desc.len).unwrap_or(u16::MAX);
            // SAFETY: the kernel has just returned the chunk, which was lent
            // to it through this socket.
            packet = unsafe { pool.received(chunk as u32, start as u16, length) };
            if packet.is_none() {
                // SAFETY: as above.
                unsafe { pool.unlend(chunk as u32) };
            }
        }
        if ring::continues(desc) || self.in_chain {
            self.counters.device_errors += u64::from(packet.is_none());
            return self.received_part(packet, ring::continues(desc), pool, out);
        }
        match packet {
            Some(packet) => {
                self.counters.rx_frames += 1;
                self.counters.rx_bytes += packet.len() as u64;
                out.push(packet);
            }
            None => self.counters.device_errors += 1,
        }
    }

    /// Takes a part of a frame of several chunks. A frame of which a part is
    /// missing, or that no protocol sends, is dropped as a whole.
    #[inline(never)]
    fn received_part(
        &mut self,
        packet: Option<Packet>,
        continues: bool,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
    ) {
        self.in_chain = continues;
        self.broken |= packet.is_none();
        if let Some(mut packet) = packet {
            packet.set_continues(continues);
            self.length += packet.len();
            // Empty parts would make it endless.
            self.broken |= self.length > MAX_FRAME || packet.is_empty();
            self.parts.push(packet);
        }
        if self.broken {
            self.drop_parts(pool);
        }
        if continues {
            return;
        }
        if self.broken {
            self.counters.rx_oversize += 1;
        } else {
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += self.length as u64;
            out.append(&mut self.parts);
        }
        (self.length, self.broken) = (0, false);
    }

    /// Frees the parts of a frame that is not complete.
    pub(super) fn drop_parts(&mut self, pool: &mut Pool) {
        for packet in self.parts.drain(..) {
            pool.free(packet);
        }
    }

    /// Chunks of a frame that is not complete.
    #[cfg(test)]
    pub(super) const fn waiting_parts(&self) -> usize {
        self.parts.len()
    }

    /// As [`Link::transmit`](crate::link::Link::transmit).
    pub(super) fn transmit(
        &mut self,
        rings: &mut impl RingSet,
        now: Instant,
        pool: &mut Pool,
        queue: &mut VecDeque<TxDesc>,
    ) {
        let completed = self.counters.tx_completed;
        let few = (1..=FEW).contains(&queue.len());
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
        if few && rings.tx_pending() == 0 {
            // What a copying driver sends is complete: next time somebody may
            // wait for the frames.
            self.reap(rings, pool);
            if self.counters.tx_completed != completed {
                self.progress = now;
            }
        }
    }

    /// Takes completions.
    pub(super) fn reap(&mut self, rings: &mut impl RingSet, pool: &mut Pool) {
        while !self.sent.is_empty() {
            let mut completed = 0;
            let n = rings.take_completed(BATCH, |address| {
                let chunk = self.sizes.chunk_at(address);
                // SAFETY: the kernel has just returned it, and it was sent
                // through this socket.
                let known = self.sent.remove(chunk) && unsafe { pool.complete_chunk(chunk as u32) };
                completed += u64::from(known);
            });
            self.counters.tx_completed += completed;
            self.counters.device_errors += n as u64 - completed;
            if n < BATCH {
                break;
            }
        }
    }

    /// Makes the kernel send, again while it takes only a part of the ring.
    pub(super) fn kick(&mut self, rings: &mut impl RingSet, pool: &mut Pool) {
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
    pub(super) fn longest_sleep(&mut self, rings: &mut impl RingSet) -> Duration {
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

    /// Tops the fill ring up, if `from` chunks are missing.
    pub(super) fn refill(
        &mut self,
        rings: &mut impl RingSet,
        now: Instant,
        pool: &mut Pool,
        from: usize,
    ) {
        let missing = self.sizes.fill.saturating_sub(self.filled.len());
        let mut added = 0;
        if missing >= from.min(self.sizes.fill) {
            let room = rings.fill_room(missing as u32) as usize;
            let wanted = missing.min(room);
            let chunks = std::iter::from_fn(|| {
                let chunk = pool.lend()?;
                self.filled.insert(chunk as usize);
                Some(self.sizes.address(chunk, usize::from(PACKET_START)))
            });
            // SAFETY: the ledger has just lent these chunks to the fill ring; they
            // are of the memory that the ring belongs to.
            added = unsafe { rings.put_fill(chunks.take(wanted)) };
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
        rings: &mut impl RingSet,
        pool: &mut Pool,
        queue: &mut VecDeque<TxDesc>,
    ) -> usize {
        let wanted = queue.len().min(BATCH);
        let mut room = (rings.tx_room(wanted as u32) as usize).min(wanted);
        // A frame goes as a whole, or not yet.
        while room > 0 && queue[room - 1].continues() {
            room -= 1;
        }
        let mut left = room;
        while left > 0 {
            let fit = self.fit(queue, left);
            let descs = queue.iter().take(fit).map(|packet| {
                self.sent.insert(packet.chunk() as usize);
                self.counters.tx_bytes += packet.len() as u64;
                Desc {
                    addr: self.sizes.address(packet.chunk(), packet.start()),
                    len: packet.len() as u32,
                    options: if packet.continues() {
                        libc::XDP_PKT_CONTD
                    } else {
                        0
                    },
                }
            });
            // SAFETY: the ledger says that these chunks are being sent and not
            // yet on a ring; they are of the memory that the ring belongs to.
            let taken = unsafe { rings.put_tx(descs) };
            debug_assert_eq!(taken, fit, "the transmit ring had room");
            self.counters.tx_frames += taken as u64;
            // What became of them the completion ring tells.
            drop(queue.drain(..taken));
            left -= taken;
            if taken < fit {
                return room - left;
            }
            if left > 0 {
                left -= self.drop_unfit(pool, queue);
            }
        }
        room
    }

    /// How many of the first `most` descriptors are of frames that can be sent,
    /// none of which is behind one that cannot.
    #[inline]
    fn fit(&self, queue: &VecDeque<TxDesc>, most: usize) -> usize {
        let single = |packet: &&TxDesc| {
            let (end, length) = (packet.start() + packet.len(), packet.len());
            !packet.continues() && length >= MIN_FRAME && end <= self.sizes.chunk
        };
        let n = queue.iter().take(most).take_while(single).count();
        if n == most {
            n
        } else {
            self.fit_chains(queue, n, most)
        }
    }

    /// The same, from the frame behind `n` descriptors on, which may be of several
    /// parts.
    #[cold]
    #[inline(never)]
    fn fit_chains(&self, queue: &VecDeque<TxDesc>, mut n: usize, most: usize) -> usize {
        while n < most {
            let (parts, fits) = self.frame(queue, n);
            if !fits {
                break;
            }
            n += parts;
        }
        n
    }

    /// How many descriptors the frame has that begins at `begin`, which is in the
    /// queue as a whole, and whether the kernel completes what it is given of it.
    fn frame(&self, queue: &VecDeque<TxDesc>, begin: usize) -> (usize, bool) {
        let (mut parts, mut fits) = (0, true);
        for packet in queue.range(begin..) {
            let least = if parts == 0 { MIN_FRAME } else { 1 };
            fits &= packet.len() >= least && packet.start() + packet.len() <= self.sizes.chunk;
            parts += 1;
            if !packet.continues() {
                break;
            }
        }
        (parts, fits && parts <= MAX_PARTS)
    }

    /// Drops the first frame of `queue`, which cannot be sent. Answers of how many
    /// descriptors it was.
    #[cold]
    #[inline(never)]
    fn drop_unfit(&mut self, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) -> usize {
        let (parts, _) = self.frame(queue, 0);
        for packet in queue.drain(..parts) {
            pool.complete(packet);
        }
        self.counters.device_errors += 1;
        parts
    }
}
