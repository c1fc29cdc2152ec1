//! The pool and its ledger against a model that is too simple to be wrong: a
//! stack of free chunks, and for each chunk a word for who has it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

use super::*;

const CHUNK: u16 = 2048;

/// What happens next. Numbers choose among the handles that there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc,
    AllocAbove(u8),
    Free(u8),
    /// Its payload waits to be read, or has been.
    Unread(u8),
    Read(u8),
    /// Writes a packet: from where, how many bytes.
    Write(u8, u16, u16),
    Transmit(u8),
    Hold(u8),
    TransmitHeld(u8),
    /// Writes to a held packet.
    Patch(u8),
    Unhold(u8),
    Release(u8),
    /// A link without a kernel has sent it.
    Complete(u8),
    /// It is put on the transmit ring.
    Submit(u8),
    /// The kernel completes one of those there.
    Completed(u8),
    Lend,
    /// The kernel says that it received into a chunk: any of those lent, and
    /// where.
    Received(u8, u16, u16),
    Unlend(u8),
    /// The kernel returns a chunk that it does not have, by each way.
    Bogus(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    prop_oneof![
        6 => Just(Step::Alloc),
        2 => (0u8..10).prop_map(Step::AllocAbove),
        2 => n().prop_map(Step::Free),
        3 => n().prop_map(Step::Unread),
        1 => n().prop_map(Step::Read),
        3 => (n(), 0..CHUNK, 0..CHUNK).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        3 => n().prop_map(Step::Transmit),
        4 => n().prop_map(Step::Hold),
        5 => n().prop_map(Step::TransmitHeld),
        2 => n().prop_map(Step::Patch),
        1 => n().prop_map(Step::Unhold),
        2 => n().prop_map(Step::Release),
        2 => n().prop_map(Step::Complete),
        4 => n().prop_map(Step::Submit),
        4 => n().prop_map(Step::Completed),
        4 => Just(Step::Lend),
        3 => (n(), any::<u16>(), any::<u16>()).prop_map(|(a, b, c)| Step::Received(a, b, c)),
        1 => n().prop_map(Step::Unlend),
        1 => n().prop_map(Step::Bogus),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Has {
    Pool,
    Fill,
    Packet,
    Tx,
    Queue,
    QueueTx,
}

/// The pool, everything that was taken from it, and what should be so.
struct World {
    pool: Pool,
    packets: Vec<Packet>,
    held: Vec<Held>,
    /// Descriptors on their way to a link.
    descs: Vec<TxDesc>,
    /// Chunks on the transmit ring.
    sent: Vec<u32>,
    /// Free chunks, that to be used next at the end.
    free: Vec<u32>,
    /// Likewise, those that the kernel has written last: used for the fill ring
    /// first, and for packets last.
    read: Vec<u32>,
    /// Which of the packets are as they were received.
    received: Vec<bool>,
    has: Vec<Has>,
    /// Which of the packets wait to be read.
    unread: Vec<bool>,
    /// What was last written to each chunk: where, and which byte.
    written: Vec<Option<(u16, u16, u8)>>,
    writes: u8,
}

fn take<T>(from: &mut Vec<T>, which: u8) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(which as usize % from.len()))
}

impl World {
    fn new(chunks: u32) -> Self {
        Self {
            pool: Pool::new(Region::anonymous(chunks, CHUNK.into())),
            packets: Vec::new(),
            held: Vec::new(),
            descs: Vec::new(),
            sent: Vec::new(),
            free: (0..chunks).rev().collect(),
            read: Vec::new(),
            received: vec![false; chunks as usize],
            has: vec![Has::Pool; chunks as usize],
            unread: vec![false; chunks as usize],
            written: vec![None; chunks as usize],
            writes: 0,
        }
    }

    fn moved(&mut self, chunk: u32, from: Has, to: Has) {
        let has = &mut self.has[chunk as usize];
        assert_eq!(*has, from, "chunk {chunk}");
        *has = to;
        self.unread[chunk as usize] = false;
        let received = &mut self.received[chunk as usize];
        if to == Has::Pool && *received {
            self.read.push(chunk);
        } else if to == Has::Pool {
            self.free.push(chunk);
        }
        *received = from == Has::Fill && to == Has::Packet;
    }

    fn available(&self) -> usize {
        self.free.len() + self.read.len()
    }

    /// A byte that was not written lately.
    fn next_byte(&mut self) -> u8 {
        self.writes = self.writes.wrapping_add(1);
        self.writes
    }

    fn took(&mut self, packet: Option<Packet>, possible: bool) {
        assert_eq!(packet.is_some(), possible);
        let Some(packet) = packet else { return };
        let chunk = self.free.pop().or_else(|| self.read.pop()).unwrap();
        assert_eq!(packet.chunk, chunk, "the chunk freed last is used first");
        assert_eq!((packet.start, packet.len), (PACKET_START, 0));
        self.moved(chunk, Has::Pool, Has::Packet);
        self.written[chunk as usize] = None;
        self.packets.push(packet);
    }

    /// What the transmission of `chunk` completes.
    fn completed(&mut self, chunk: u32) {
        if self.has[chunk as usize] == Has::QueueTx {
            self.moved(chunk, Has::QueueTx, Has::Queue);
        } else {
            self.moved(chunk, Has::Tx, Has::Pool);
        }
    }

    fn of(&self, has: Has) -> Vec<u32> {
        let chunks = 0..self.has.len() as u32;
        chunks.filter(|c| self.has[*c as usize] == has).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Alloc => {
                let packet = self.pool.alloc();
                self.took(packet, self.available() > 0);
            }
            Step::AllocAbove(reserve) => {
                let packet = self.pool.alloc_above(reserve.into());
                self.took(packet, self.available() > reserve.into());
            }
            Step::Free(n) => {
                if let Some(packet) = take(&mut self.packets, n) {
                    self.moved(packet.chunk, Has::Packet, Has::Pool);
                    self.pool.free(packet);
                }
            }
            Step::Unread(n) => {
                if let Some(packet) = take(&mut self.packets, n) {
                    self.pool.unread_now(&packet);
                    self.unread[packet.chunk as usize] = true;
                    self.packets.push(packet);
                }
            }
            Step::Read(n) => {
                if let Some(packet) = take(&mut self.packets, n) {
                    self.pool.read(&packet);
                    self.unread[packet.chunk as usize] = false;
                    self.packets.push(packet);
                }
            }
            Step::Write(n, start, len) => {
                let byte = self.next_byte();
                let Some(mut packet) = take(&mut self.packets, n) else {
                    return;
                };
                let len = len.min(CHUNK - start);
                packet.set_range(start, len);
                self.pool.bytes_mut(&mut packet).fill(byte);
                self.written[packet.chunk as usize] = Some((start, len, byte));
                self.packets.push(packet);
            }
            Step::Transmit(n) => {
                if let Some(packet) = take(&mut self.packets, n) {
                    self.moved(packet.chunk, Has::Packet, Has::Tx);
                    self.descs.push(self.pool.transmit(packet));
                }
            }
            Step::Hold(n) => {
                if let Some(packet) = take(&mut self.packets, n) {
                    self.moved(packet.chunk, Has::Packet, Has::Queue);
                    self.held.push(self.pool.hold(packet));
                }
            }
            Step::TransmitHeld(n) => {
                let Some(mut held) = take(&mut self.held, n) else {
                    return;
                };
                let free = self.has[held.chunk as usize] == Has::Queue;
                let desc = self.pool.transmit_held(&mut held);
                assert_eq!(desc.is_some(), free, "sent again only when completed");
                if let Some(desc) = desc {
                    assert_eq!((desc.chunk, desc.start), (held.chunk, held.start));
                    self.moved(held.chunk, Has::Queue, Has::QueueTx);
                    self.descs.push(desc);
                }
                self.held.push(held);
            }
            Step::Patch(n) => {
                let byte = self.next_byte();
                let Some(mut held) = take(&mut self.held, n) else {
                    return;
                };
                let free = self.has[held.chunk as usize] == Has::Queue;
                let bytes = self.pool.held_mut(&mut held);
                assert_eq!(bytes.is_some(), free, "written only when completed");
                if let Some(bytes) = bytes {
                    bytes.fill(byte);
                    self.written[held.chunk as usize] = Some((held.start, held.len, byte));
                }
                self.held.push(held);
            }
            Step::Unhold(n) => {
                let Some(held) = take(&mut self.held, n) else {
                    return;
                };
                let free = self.has[held.chunk as usize] == Has::Queue;
                match self.pool.unhold(held) {
                    Ok(packet) => {
                        assert!(free, "taken out only when completed");
                        self.moved(packet.chunk, Has::Queue, Has::Packet);
                        self.packets.push(packet);
                    }
                    Err(held) => {
                        assert!(!free);
                        self.held.push(held);
                    }
                }
            }
            Step::Release(n) => {
                if let Some(held) = take(&mut self.held, n) {
                    if self.has[held.chunk as usize] == Has::QueueTx {
                        self.moved(held.chunk, Has::QueueTx, Has::Tx);
                    } else {
                        self.moved(held.chunk, Has::Queue, Has::Pool);
                    }
                    self.pool.release(held);
                }
            }
            Step::Complete(n) => {
                if let Some(desc) = take(&mut self.descs, n) {
                    self.completed(desc.chunk);
                    self.pool.complete(desc);
                }
            }
            Step::Submit(n) => {
                if let Some(desc) = take(&mut self.descs, n) {
                    self.sent.push(desc.chunk);
                }
            }
            Step::Completed(n) => {
                if let Some(chunk) = take(&mut self.sent, n) {
                    self.completed(chunk);
                    // SAFETY: no kernel has it, and its descriptor is gone.
                    assert!(unsafe { self.pool.complete_chunk(chunk) });
                }
            }
            Step::Lend => {
                let chunk = self.pool.lend();
                assert_eq!(chunk, self.read.pop().or_else(|| self.free.pop()));
                if let Some(chunk) = chunk {
                    self.moved(chunk, Has::Pool, Has::Fill);
                    self.written[chunk as usize] = None;
                }
            }
            Step::Received(n, start, len) => {
                let Some(chunk) = take(&mut self.of(Has::Fill), n) else {
                    return;
                };
                // SAFETY: no kernel has it.
                let packet = unsafe { self.pool.received(chunk, start, len) };
                let inside = u32::from(start) + u32::from(len) <= u32::from(CHUNK);
                assert_eq!(packet.is_some(), inside);
                if let Some(packet) = packet {
                    let place = (packet.chunk, packet.start, packet.len);
                    assert_eq!(place, (chunk, start, len));
                    self.moved(chunk, Has::Fill, Has::Packet);
                    self.packets.push(packet);
                }
            }
            Step::Unlend(n) => {
                if let Some(chunk) = take(&mut self.of(Has::Fill), n) {
                    self.moved(chunk, Has::Fill, Has::Pool);
                    // SAFETY: no kernel has it.
                    unsafe { self.pool.unlend(chunk) };
                }
            }
            Step::Bogus(n) => {
                // One number too many as well.
                let chunk = u32::from(n) % (self.has.len() as u32 + 1);
                let has = self.has.get(chunk as usize);
                // SAFETY: only what the kernel cannot have is returned, which
                // has to change nothing.
                unsafe {
                    if has != Some(&Has::Fill) {
                        assert_eq!(self.pool.received(chunk, 256, 60), None);
                        self.pool.unlend(chunk);
                    }
                    if !matches!(has, Some(Has::Tx | Has::QueueTx)) {
                        assert!(!self.pool.complete_chunk(chunk));
                    }
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.pool.available(), self.available());
        let count = |has| self.has.iter().filter(|h| **h == has).count() as u32;
        let ledger = Ledger {
            pool: count(Has::Pool),
            fill: count(Has::Fill),
            engine: count(Has::Packet),
            unread: self.unread.iter().filter(|u| **u).count() as u32,
            tx: count(Has::Tx),
            queue: count(Has::Queue),
            queue_tx: count(Has::QueueTx),
        };
        assert_eq!(self.pool.ledger(), ledger);
        assert_eq!(self.pool.unread(), ledger.unread as usize);
        assert_eq!(self.pool.unlent(), self.has.len() - ledger.fill as usize);
        assert_eq!(ledger.total() as usize, self.has.len());
        assert_eq!(ledger.engine as usize, self.packets.len());
        assert_eq!((ledger.queue + ledger.queue_tx) as usize, self.held.len());
        assert_eq!(
            (ledger.tx + ledger.queue_tx) as usize,
            self.descs.len() + self.sent.len()
        );
        let same = |chunk: u32, start: u16, bytes: &[u8]| {
            if let Some((from, len, byte)) = self.written[chunk as usize] {
                assert_eq!((start, bytes.len()), (from, len.into()));
                assert!(bytes.iter().all(|b| *b == byte), "chunk {chunk}");
            }
        };
        for packet in &self.packets {
            same(packet.chunk, packet.start, self.pool.bytes(packet));
        }
        for desc in &self.descs {
            same(desc.chunk, desc.start, self.pool.tx_bytes(desc));
        }
    }

    /// Gives everything back.
    fn end(mut self) {
        while !self.packets.is_empty() {
            self.step(Step::Free(0));
        }
        while !self.held.is_empty() {
            self.step(Step::Release(0));
        }
        while !self.descs.is_empty() {
            self.step(Step::Complete(0));
        }
        while !self.sent.is_empty() {
            self.step(Step::Completed(0));
        }
        while !self.of(Has::Fill).is_empty() {
            self.step(Step::Unlend(0));
        }
        self.check();
        assert_eq!(self.pool.ledger().pool as usize, self.has.len());
        // No chunk is among the free ones twice.
        for _ in 0..=self.has.len() {
            self.step(Step::Alloc);
        }
    }
}

fn run(chunks: u32, steps: &[Step]) -> TestCaseResult {
    let mut world = World::new(chunks);
    for step in steps {
        world.step(*step);
        world.check();
    }
    world.end();
    Ok(())
}

/// Every frame is accounted for after every step, the one freed last is used
/// first, what the kernel has can be neither written nor sent again nor freed,
/// and a pool that is empty says so.
#[test]
fn the_pool_is_its_model() {
    let mut config = Config {
        cases: 600,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => fresh_seed(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    config.failure_persistence = None;
    println!("PROPTEST_RNG_SEED={seed} replays this run");
    TestRunner::new(config)
        .run(&(1u32..=9, vec(step(), 0..200)), |(chunks, steps)| {
            run(chunks, &steps)
        })
        .unwrap();
}

fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
