//! The pool of one engine and its ledger.

use std::fmt;
use std::sync::Arc;

use super::hints::{LINE, prefetch};
use super::{Held, PACKET_START, Packet, Region, TxDesc};

/// Who has a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Owner {
    /// The free list.
    Pool,
    /// The fill ring: the kernel may write it.
    Fill,
    /// A [`Packet`] somewhere in the process.
    Engine,
    /// A [`Packet`] with payload that the application has not read, or has
    /// taken and not given back.
    Unread,
    /// The transmit ring, and nobody waits for it.
    Tx,
    /// A [`Held`] packet.
    Queue,
    /// A [`Held`] packet that the kernel is transmitting.
    QueueTx,
}

/// How many chunks each owner has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Free.
    pub pool: u32,
    /// In the fill ring.
    pub fill: u32,
    /// Held as packets by the engine, its applications or their threads.
    pub engine: u32,
    /// Of those: with payload that waits to be read, or that the application
    /// has taken and not given back.
    pub unread: u32,
    /// In the transmit ring, to be freed on completion.
    pub tx: u32,
    /// In send queues.
    pub queue: u32,
    /// In send queues and in the transmit ring at once.
    pub queue_tx: u32,
}

impl Ledger {
    /// All chunks.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.pool + self.fill + self.engine + self.tx + self.queue + self.queue_tx
    }

    /// Chunks that neither the free list nor the kernel's fill ring has: zero
    /// once everything in flight has been completed and given back.
    #[must_use]
    pub const fn outstanding(&self) -> u32 {
        self.engine + self.tx + self.queue + self.queue_tx
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} frames: {} free, {} in the fill ring, {} in use ({} unread), {} being sent, \
             {} waiting for acknowledgement, {} both",
            self.total(),
            self.pool,
            self.fill,
            self.engine,
            self.unread,
            self.tx,
            self.queue,
            self.queue_tx
        )
    }
}

/// The chunks of one engine: last-in-first-out free lists, so that the
/// chunk used next is the one still in cache, and the ledger.
///
/// What was received goes back to the fill ring before other chunks do, and what
/// is written is written where this process has written before: a chunk that
/// changes sides has its lines of memory in another processor's cache.
pub struct Pool {
    region: Arc<Region>,
    free: Vec<u32>,
    /// Free as well, last written by the kernel.
    read: Vec<u32>,
    owner: Box<[Owner]>,
    /// Chunks that are [`Owner::Fill`].
    lent: u32,
    /// Chunks that are [`Owner::Unread`].
    unread: u32,
    copied: u64,
}

impl Pool {
    /// A pool of all chunks of `region`.
    ///
    /// # Panics
    /// If the region has or had another pool: two would hand out the same
    /// chunks, and packets may outlive their pool.
    #[must_use]
    pub fn new(region: Arc<Region>) -> Self {
        assert!(region.claim(), "a region belongs to one pool");
        let n = region.chunks();
        Self {
            free: (0..n).rev().collect(),
            read: Vec::with_capacity(n as usize),
            owner: vec![Owner::Pool; n as usize].into_boxed_slice(),
            region,
            lent: 0,
            unread: 0,
            copied: 0,
        }
    }

    /// The memory, for threads that fill or read packets.
    #[must_use]
    pub const fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Free chunks.
    #[must_use]
    #[inline]
    pub fn available(&self) -> usize {
        self.free.len() + self.read.len()
    }

    /// Chunks that are not in the fill ring.
    #[inline]
    #[must_use]
    pub fn unlent(&self) -> usize {
        self.owner.len() - self.lent as usize
    }

    /// Chunks with payload that waits to be read, or that the application has
    /// taken and not given back.
    #[inline]
    #[must_use]
    pub const fn unread(&self) -> usize {
        self.unread as usize
    }

    /// Notes that `packet`'s payload waits to be read, until it is given back,
    /// sent, or [`read`](Self::read). Does nothing if that is known.
    #[inline]
    pub fn unread_now(&mut self, packet: &Packet) {
        self.check(packet.region);
        let owner = &mut self.owner[packet.chunk as usize];
        if *owner != Owner::Unread {
            debug_assert_eq!(*owner, Owner::Engine, "chunk {}", packet.chunk);
            *owner = Owner::Unread;
            self.unread += 1;
        }
    }

    /// Notes that nobody waits to read `packet`'s payload any more.
    #[inline]
    pub fn read(&mut self, packet: &Packet) {
        self.check(packet.region);
        self.leave(packet.chunk, Owner::Engine);
    }

    /// Largest packet a chunk can hold, in bytes.
    #[must_use]
    pub fn max_packet(&self) -> usize {
        self.region.chunk_size() as usize - PACKET_START as usize
    }

    /// Payload bytes that the engine has copied so far.
    #[must_use]
    pub const fn copied(&self) -> u64 {
        self.copied
    }

    /// Counts `bytes` of payload copied.
    pub const fn count_copy(&mut self, bytes: usize) {
        self.copied += bytes as u64;
    }

    /// Takes a free chunk: an empty packet at [`PACKET_START`].
    #[inline]
    pub fn alloc(&mut self) -> Option<Packet> {
        let chunk = self.free.pop().or_else(|| self.read.pop())?;
        self.shift(chunk, Owner::Pool, Owner::Engine);
        Some(Packet {
            chunk,
            region: self.region.id(),
            start: PACKET_START,
            len: 0,
            continues: false,
            received: false,
        })
    }

    /// Takes a free chunk unless that would leave fewer than `reserve`.
    #[inline]
    pub fn alloc_above(&mut self, reserve: usize) -> Option<Packet> {
        if self.available() > reserve {
            self.alloc()
        } else {
            None
        }
    }

    /// Gives a packet's chunk back.
    #[inline]
    pub fn free(&mut self, packet: Packet) {
        self.check(packet.region);
        self.leave(packet.chunk, Owner::Pool);
        if packet.received {
            self.read.push(packet.chunk);
        } else {
            self.free.push(packet.chunk);
        }
    }

    /// The bytes of a packet.
    #[inline]
    #[must_use]
    pub fn bytes<'a>(&'a self, packet: &'a Packet) -> &'a [u8] {
        self.region.bytes(packet)
    }

    /// Has the processor load the beginning of a packet that is going to be
    /// read: all headers, and the payload if that is short.
    #[inline]
    pub fn foresee(&self, packet: &Packet) {
        const LINES: usize = 3;
        for line in self.bytes(packet).chunks(LINE).take(LINES) {
            prefetch(&line[0]);
        }
    }

    /// The bytes of a packet, to write.
    #[inline]
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, packet: &'a mut Packet) -> &'a mut [u8] {
        self.region.bytes_mut(packet)
    }

    /// Sends a packet that need not be kept.
    #[inline]
    pub fn transmit(&mut self, packet: Packet) -> TxDesc {
        let Packet {
            chunk,
            region,
            start,
            len,
            continues,
            received: _,
        } = packet;
        self.check(region);
        self.leave(chunk, Owner::Tx);
        TxDesc {
            chunk,
            region,
            start,
            len,
            continues,
        }
    }

    /// Puts a packet into a send queue.
    #[inline]
    pub fn hold(&mut self, packet: Packet) -> Held {
        let Packet {
            chunk,
            region,
            start,
            len,
            continues: _,
            received: _,
        } = packet;
        self.check(region);
        self.leave(chunk, Owner::Queue);
        Held {
            chunk,
            region,
            start,
            len,
        }
    }

    /// Whether the kernel still transmits a held packet.
    #[inline]
    #[must_use]
    pub fn in_transmission(&self, held: &Held) -> bool {
        self.check(held.region);
        self.owner[held.chunk as usize] == Owner::QueueTx
    }

    /// The bytes of a held packet, to write; `None` while the kernel
    /// transmits it.
    #[inline]
    #[must_use]
    pub fn held_mut<'a>(&'a mut self, held: &'a mut Held) -> Option<&'a mut [u8]> {
        if self.in_transmission(held) {
            return None;
        }
        let at = self
            .region
            .offset(held.region, held.chunk, held.start, held.len);
        // SAFETY: the range lies in the chunk (`offset`); the chunk's only
        // handle is `held`, borrowed exclusively; the ledger says that the
        // kernel does not have it, and only `transmit_held`, which takes the
        // same handle, can change that.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.region.base().as_ptr().add(at), held.len as usize)
        };
        Some(bytes)
    }

    /// Sends a held packet (again), and keeps it; `None` while an earlier
    /// transmission is not complete.
    pub fn transmit_held(&mut self, held: &mut Held) -> Option<TxDesc> {
        if self.in_transmission(held) {
            return None;
        }
        self.shift(held.chunk, Owner::Queue, Owner::QueueTx);
        Some(TxDesc {
            chunk: held.chunk,
            region: held.region,
            start: held.start,
            len: held.len,
            continues: false,
        })
    }

    /// As [`transmit_held`](Self::transmit_held), of bytes that `write` changes
    /// before.
    #[inline]
    pub fn transmit_written(
        &mut self,
        held: &mut Held,
        write: impl FnOnce(&mut [u8]),
    ) -> Option<TxDesc> {
        write(self.held_mut(held)?);
        self.shift(held.chunk, Owner::Queue, Owner::QueueTx);
        Some(TxDesc {
            chunk: held.chunk,
            region: held.region,
            start: held.start,
            len: held.len,
            continues: false,
        })
    }

    /// Takes a held packet out of its queue to change it: `Err` gives it back
    /// while the kernel transmits it.
    ///
    /// # Errors
    /// The held packet itself, if it is in transmission.
    pub fn unhold(&mut self, held: Held) -> Result<Packet, Held> {
        if self.in_transmission(&held) {
            return Err(held);
        }
        let Held {
            chunk,
            region,
            start,
            len,
        } = held;
        self.shift(chunk, Owner::Queue, Owner::Engine);
        Ok(Packet {
            chunk,
            region,
            start,
            len,
            continues: false,
            received: false,
        })
    }

    /// Drops a held packet: free at once, or when its transmission completes.
    #[inline]
    pub fn release(&mut self, held: Held) {
        if self.in_transmission(&held) {
            self.shift(held.chunk, Owner::QueueTx, Owner::Tx);
        } else {
            self.shift(held.chunk, Owner::Queue, Owner::Pool);
            self.free.push(held.chunk);
        }
    }

    /// The bytes of a packet about to be transmitted, for links that copy and
    /// for captures.
    #[inline]
    #[must_use]
    pub fn tx_bytes<'a>(&'a self, desc: &'a TxDesc) -> &'a [u8] {
        let at = self
            .region
            .offset(desc.region, desc.chunk, desc.start, desc.len);
        // SAFETY: the range lies in the chunk; while a descriptor of it
        // exists the chunk is in state Tx or QueueTx, in which nothing in
        // this process can write it.
        unsafe {
            std::slice::from_raw_parts(self.region.base().as_ptr().add(at), desc.len as usize)
        }
    }

    /// Completes a transmission that never left the process.
    #[inline]
    pub fn complete(&mut self, desc: TxDesc) {
        self.check(desc.region);
        self.finish(desc.chunk);
    }

    /// Takes the completion of chunk `chunk` from the kernel. Answers whether
    /// the chunk was indeed being transmitted.
    ///
    /// # Safety
    /// The kernel has returned exactly this chunk through the completion ring
    /// of the pool's region, or its socket has been closed.
    #[inline]
    pub unsafe fn complete_chunk(&mut self, chunk: u32) -> bool {
        match self.owner.get(chunk as usize) {
            Some(Owner::Tx | Owner::QueueTx) => {
                self.finish(chunk);
                true
            }
            _ => false,
        }
    }

    /// Takes a free chunk for the fill ring: its number.
    pub fn lend(&mut self) -> Option<u32> {
        self.lend_some(1).next()
    }

    /// Takes up to `most` free chunks for the fill ring, all from one list: their
    /// numbers, none if nothing is free. They have to be gone through to the end,
    /// or those that are left are lost to the pool.
    #[inline]
    pub fn lend_some(&mut self, most: usize) -> impl Iterator<Item = u32> {
        let list = if self.read.is_empty() {
            &mut self.free
        } else {
            &mut self.read
        };
        let rest = list.len().saturating_sub(most);
        self.lent += (list.len() - rest) as u32;
        let owner = &mut self.owner;
        list.drain(rest..).rev().inspect(|&chunk| {
            let owner = &mut owner[chunk as usize];
            debug_assert_eq!(*owner, Owner::Pool, "chunk {chunk} is lent");
            *owner = Owner::Fill;
        })
    }

    /// Takes chunk `chunk` back that was lent and not given to the kernel, or
    /// whose socket has been closed.
    ///
    /// # Safety
    /// The kernel does not have the chunk.
    #[inline]
    pub unsafe fn unlend(&mut self, chunk: u32) {
        if self.owner.get(chunk as usize) == Some(&Owner::Fill) {
            self.shift(chunk, Owner::Fill, Owner::Pool);
            self.lent -= 1;
            self.free.push(chunk);
        }
    }

    /// Takes a received packet from the kernel: `len` bytes at `start` of
    /// chunk `chunk`. `None` if the chunk was not in the fill ring or the
    /// range leaves it.
    ///
    /// # Safety
    /// The kernel has returned exactly this chunk through the receive ring of
    /// the pool's region.
    #[inline]
    pub unsafe fn received(&mut self, chunk: u32, start: u16, len: u16) -> Option<Packet> {
        if self.owner.get(chunk as usize) != Some(&Owner::Fill)
            || u32::from(start) + u32::from(len) > self.region.chunk_size()
        {
            return None;
        }
        self.shift(chunk, Owner::Fill, Owner::Engine);
        self.lent -= 1;
        Some(Packet {
            chunk,
            region: self.region.id(),
            start,
            len,
            continues: false,
            received: true,
        })
    }

    /// Counts who has what. Reads the whole ledger: not for every packet.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        // One at a time, by wide registers: an engine reports while it works.
        let of = |owner| self.owner.iter().filter(|&&o| o == owner).count() as u32;
        let unread = of(Owner::Unread);
        let l = Ledger {
            pool: of(Owner::Pool),
            fill: of(Owner::Fill),
            engine: of(Owner::Engine) + unread,
            unread,
            tx: of(Owner::Tx),
            queue: of(Owner::Queue),
            queue_tx: of(Owner::QueueTx),
        };
        debug_assert_eq!(l.pool as usize, self.available());
        debug_assert_eq!((l.fill, l.unread), (self.lent, self.unread));
        l
    }

    #[inline]
    fn finish(&mut self, chunk: u32) {
        if self.owner[chunk as usize] == Owner::QueueTx {
            self.shift(chunk, Owner::QueueTx, Owner::Queue);
        } else {
            self.shift(chunk, Owner::Tx, Owner::Pool);
            self.free.push(chunk);
        }
    }

    /// A packet is one no longer: whoever had it gives it up.
    #[inline]
    fn leave(&mut self, chunk: u32, to: Owner) {
        let owner = &mut self.owner[chunk as usize];
        if *owner == Owner::Unread {
            self.unread -= 1;
        } else {
            debug_assert_eq!(*owner, Owner::Engine, "chunk {chunk} on its way to {to:?}");
        }
        *owner = to;
    }

    #[inline]
    fn shift(&mut self, chunk: u32, from: Owner, to: Owner) {
        let owner = &mut self.owner[chunk as usize];
        debug_assert_eq!(*owner, from, "chunk {chunk} on its way to {to:?}");
        *owner = to;
    }

    #[inline]
    fn check(&self, region: u32) {
        if region != self.region.id() {
            foreign();
        }
    }
}

/// Apart, so that who checks has nothing to prepare for it.
#[cold]
#[inline(never)]
fn foreign() -> ! {
    panic!("packet of another region");
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.ledger())
    }
}
