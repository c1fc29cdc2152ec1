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
    /// Bytes of a chunk: a power of two.
    pub chunk: usize,
    /// Bytes of a frame that one chunk takes.
    pub frame: usize,
    /// Chunks to keep with the kernel for receiving.
    pub fill: usize,
}

impl Sizes {
    /// How to tell a chunk from a byte of it. Chunks are a power of two long, and a
    /// division would take as long as the rest of a descriptor.
    #[inline]
    const fn shift(&self) -> u32 {
        debug_assert!(self.chunk.is_power_of_two());
        // In a way that tells the compiler that it is less than 64.
        self.chunk.trailing_zeros() & 63
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
    chain: Chain,
    /// When a transmission last completed, or nothing was under way.
    progress: Instant,
    fill_kicked: Instant,
    /// The device was down when it was last asked to send.
    down: bool,
    /// Why the device takes no more, by the number of the error.
    pub gone: Option<i32>,
    pub counters: LinkCounters,
}

/// A frame of several chunks that is being received.
#[derive(Debug)]
struct Chain {
    /// The parts so far of a frame of which more is to come.
    parts: Vec<Packet>,
    /// Their bytes.
    length: usize,
    /// The last descriptor received was not the last of its frame.
    begun: bool,
    /// That frame is to be dropped.
    broken: bool,
}

impl Chain {
    /// Whether neither the last descriptor nor this one is followed by more of its
    /// frame.
    #[inline]
    const fn is_over(&self, desc: &Desc) -> bool {
        !self.begun && !ring::continues(desc)
    }

    /// Takes a part, or nothing where a descriptor is wrong. A frame of which a part
    /// is missing, or that no protocol sends, is dropped as a whole.
    #[inline(never)]
    fn received(
        &mut self,
        packet: Option<Packet>,
        continues: bool,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        counters: &mut LinkCounters,
    ) {
        counters.device_errors += u64::from(packet.is_none());
        if packet.is_none() && !continues && !self.begun {
            return;
        }
        self.begun = continues;
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
            counters.rx_oversize += 1;
        } else {
            counters.rx_frames += 1;
            counters.rx_bytes += self.length as u64;
            out.append(&mut self.parts);
        }
        (self.length, self.broken) = (0, false);
    }

    fn drop_parts(&mut self, pool: &mut Pool) {
        for packet in self.parts.drain(..) {
            pool.free(packet);
        }
    }
}

/// Takes a frame from the kernel, `length` bytes at `start` of a chunk; gives the
/// chunk back if they cannot be there.
///
/// # Safety
/// The kernel has just returned the chunk, which was lent to it.
#[inline]
unsafe fn receive(pool: &mut Pool, chunk: u32, start: u64, length: u32) -> Option<Packet> {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    // SAFETY: by this function's contract.
    let packet = unsafe { pool.received(chunk, start as u16, length) };
    if packet.is_none() {
        // SAFETY: as above.
        unsafe { pool.unlend(chunk) };
    }
    packet
}

impl Traffic {
    /// Of rings that are empty.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            filled: ChunkSet::new(sizes.chunks),
            sent: ChunkSet::new(sizes.chunks),
            chain: Chain {
                parts: Vec::with_capacity(MAX_FRAME / sizes.frame.max(1) + 2),
                length: 0,
                begun: false,
                broken: false,
            },
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
            let n = self.take(rings, pool, out, batch);
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

    /// Takes up to `most` descriptors of the receive ring. Answers how many.
    #[inline]
    fn take(
        &mut self,
        rings: &mut impl RingSet,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        most: usize,
    ) -> usize {
        let (shift, inside) = (self.sizes.shift(), self.sizes.chunk as u64 - 1);
        let (mut others, mut bytes) = (0, 0);
        let Self {
            filled,
            chain,
            counters,
            ..
        } = self;
        let mut filled = filled.changes();
        let taken = rings.take_received(most, |desc| {
            let chunk = desc.addr >> shift;
            let lent = filled.remove(chunk as usize);
            let mut packet = None;
            if lent {
                // SAFETY: the kernel has just returned the chunk, which was lent to
                // it through this socket.
                packet = unsafe { receive(pool, chunk as u32, desc.addr & inside, desc.len) };
                if let Some(packet) = packet.take_if(|_| chain.is_over(&desc)) {
                    bytes += packet.len() as u64;
                    return out.push(packet);
                }
            }
            others += 1;
            chain.received(packet, ring::continues(&desc), pool, out, counters);
        });
        drop(filled);
        self.counters.rx_frames += (taken - others) as u64;
        self.counters.rx_bytes += bytes;
        taken
    }

    /// Frees the parts of a frame that is not complete.
    pub(super) fn drop_parts(&mut self, pool: &mut Pool) {
        self.chain.drop_parts(pool);
    }

    /// Chunks of a frame that is not complete.
    #[cfg(test)]
    pub(super) const fn waiting_parts(&self) -> usize {
        self.chain.parts.len()
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
            let (shift, mut completed) = (self.sizes.shift(), 0);
            let mut sent = self.sent.changes();
            let n = rings.take_completed(BATCH, |address| {
                let chunk = address >> shift;
                // SAFETY: the kernel has just returned it, and it was sent
                // through this socket.
                let known =
                    sent.remove(chunk as usize) && unsafe { pool.complete_chunk(chunk as u32) };
                completed += u64::from(known);
            });
            drop(sent);
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
            let shift = self.sizes.shift();
            let mut filled = self.filled.changes();
            while added < wanted {
                let addresses = pool.lend_some(wanted - added).map(|chunk| {
                    filled.insert(chunk as usize);
                    (u64::from(chunk) << shift) + u64::from(PACKET_START)
                });
                // SAFETY: the ledger lends these chunks to the fill ring; they are
                // of the memory that the ring belongs to. All are taken, since there
                // is room.
                let put = unsafe { rings.put_fill(addresses) };
                if put == 0 {
                    break;
                }
                added += put;
            }
            drop(filled);
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
        let (sizes, mut left) = (self.sizes, room);
        while left > 0 {
            let (front, _) = queue.as_slices();
            let most = front.len().min(left);
            let singles = front[..most].iter();
            let singles = singles.map_while(|packet| single(packet, &sizes));
            let mut gone = self.put(rings, singles);
            queue.drain(..gone);
            if gone < most {
                let others = self.submit_others(rings, pool, queue, left - gone);
                if others == 0 {
                    // Not reached: there is never less room than was promised.
                    debug_assert!(false, "the transmit ring had room");
                    return room - left + gone;
                }
                gone += others;
            }
            left -= gone;
        }
        room
    }

    /// Puts `descs` on the transmit ring, which has room for them. Answers how
    /// many.
    #[inline]
    fn put(&mut self, rings: &mut impl RingSet, descs: impl Iterator<Item = Desc>) -> usize {
        let (shift, mut bytes) = (self.sizes.shift(), 0);
        let mut sent = self.sent.changes();
        let descs = descs.inspect(|desc| {
            sent.insert((desc.addr >> shift) as usize);
            bytes += u64::from(desc.len);
        });
        // SAFETY: the ledger says that these chunks are being sent and not yet on
        // a ring; they are of the memory that the ring belongs to.
        let taken = unsafe { rings.put_tx(descs) };
        drop(sent);
        self.counters.tx_bytes += bytes;
        self.counters.tx_frames += taken as u64;
        taken
    }

    /// Puts frames on the transmit ring that may be of several parts, and drops
    /// what cannot be sent: one of both, of the first `most` descriptors, which the
    /// ring has room for and which are whole frames. Answers how many left `queue`.
    #[inline(never)]
    fn submit_others(
        &mut self,
        rings: &mut impl RingSet,
        pool: &mut Pool,
        queue: &mut VecDeque<TxDesc>,
        most: usize,
    ) -> usize {
        let mut fit = 0;
        while fit < most {
            let (parts, fits) = self.frame(queue, fit);
            if !fits {
                break;
            }
            fit += parts;
        }
        if fit == 0 {
            return self.drop_unfit(pool, queue);
        }
        let shift = self.sizes.shift();
        let descs = queue.range(..fit).map(|packet| {
            let continues = u32::from(packet.continues()) * libc::XDP_PKT_CONTD;
            descriptor(packet, shift, continues)
        });
        let taken = self.put(rings, descs);
        queue.drain(..taken);
        taken
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

/// The descriptor of a frame of one chunk, if the kernel completes such a one.
#[inline]
fn single(packet: &TxDesc, sizes: &Sizes) -> Option<Desc> {
    let (end, length) = (packet.start() + packet.len(), packet.len());
    let fits = !packet.continues() && length >= MIN_FRAME && end <= sizes.chunk;
    fits.then(|| descriptor(packet, sizes.shift(), 0))
}

#[inline]
fn descriptor(packet: &TxDesc, shift: u32, options: u32) -> Desc {
    Desc {
        addr: (u64::from(packet.chunk()) << shift) + packet.start() as u64,
        len: packet.len() as u32,
        options,
    }
}
