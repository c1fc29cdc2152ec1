//! The kernel's side of a socket's rings: memory, four rings with cursors that
//! begin anywhere, and a driver that takes and returns arbitrary parts of what
//! it is given. The process's side is the code that a socket's rings have.

use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use super::super::rings::RingSet;
use super::super::traffic::MAX_FRAME;
use super::ring::{Memory, Ring};
use crate::frame::{PACKET_START, Region};
use crate::xdp::ring::{Consumer, Desc, Producer};

const CONTINUES: u32 = 1;

/// A small generator of random numbers (splitmix64): what a seed gives stays
/// the same for ever.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Who has a chunk, as the kernel sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Has {
    Process,
    ToReceive,
    ToSend,
}

/// How the driver works.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// It sends only within the system call, so many frames a call, and always
    /// asks for that; otherwise it sends by itself until it finds nothing.
    pub copies: Option<usize>,
    /// Things happen while the process works at its rings, and system calls
    /// may fail.
    pub lively: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub chunks: u32,
    pub chunk: u32,
    pub rx: u32,
    pub tx: u32,
    pub fill: u32,
    pub completion: u32,
}

pub struct Kernel {
    fill: Ring<u64>,
    completion: Ring<u64>,
    rx: Ring<Desc>,
    tx: Ring<Desc>,
    /// The process's ends of them.
    fill_end: Producer<u64>,
    completion_end: Consumer<u64>,
    rx_end: Consumer<Desc>,
    tx_end: Producer<Desc>,

    memory: *mut u8,
    sizes: Sizes,
    pub driver: Driver,
    pub random: Random,
    has: Vec<Has>,
    /// Addresses of chunks taken from the fill ring.
    to_receive: VecDeque<u64>,
    /// Taken from the transmit ring, with what the bytes were.
    to_send: VecDeque<(u64, Vec<u8>)>,
    /// The driver takes what is on the ring without being asked.
    sends: bool,
    receives: bool,
    /// It has missed that there is something to send.
    pub stuck: bool,
    pub down: bool,

    /// Chunks of frames on the receive ring, in order, as they arrived, and
    /// whether the frame goes on in the next.
    pub arrived: VecDeque<(Vec<u8>, bool)>,
    /// Chunks of frames that the process has given to be sent and the driver
    /// has not taken, as they are to be.
    pub expected: VecDeque<(Vec<u8>, bool)>,
    /// The last chunk taken to be sent was not the last of its frame.
    in_chain: bool,
    pub oversize: u64,
    pub completed: u64,
    pub tx_kicks: u64,
    pub fill_kicks: u64,
    /// Whether there was a kick since something was put on the ring.
    pub tx_kicked: bool,
    /// Completions that the process has taken.
    pub taken: u64,
    /// How many when it last looked for room to send, or before it kicked if
    /// it had nothing to send: what came later, came of the last kick.
    pub taken_before_kick: Option<u64>,
    frames: u64,
}

impl Kernel {
    /// Its cursors begin at `starts`: those of the fill, completion, receive
    /// and transmit rings.
    pub fn new(sizes: Sizes, driver: Driver, starts: [u32; 4], seed: u64) -> (Self, Arc<Region>) {
        let bytes = vec![0u8; (sizes.chunks * sizes.chunk) as usize];
        let memory = Box::into_raw(bytes.into_boxed_slice());
        let base = NonNull::new(memory.cast::<u8>()).unwrap();
        // SAFETY: the memory is of that size and lives in the backing. Only
        // this kernel touches it besides, and only chunks that it was given.
        let region =
            unsafe { Region::from_raw(base, sizes.chunks, sizes.chunk, Box::new(Memory(memory))) };
        let zero = Desc {
            addr: 0,
            len: 0,
            options: 0,
        };
        let fill = Ring::new(sizes.fill, starts[0], 0);
        let completion = Ring::new(sizes.completion, starts[1], 0);
        let rx = Ring::new(sizes.rx, starts[2], zero);
        let tx = Ring::new(sizes.tx, starts[3], zero);
        tx.ask(true);
        let kernel = Self {
            fill_end: fill.produced(),
            completion_end: completion.consumed(),
            rx_end: rx.consumed(),
            tx_end: tx.produced(),
            fill,
            completion,
            rx,
            tx,
            memory: base.as_ptr(),
            sizes,
            driver,
            random: Random(seed),
            has: vec![Has::Process; sizes.chunks as usize],
            to_receive: VecDeque::new(),
            to_send: VecDeque::new(),
            sends: false,
            receives: true,
            stuck: false,
            down: false,
            arrived: VecDeque::new(),
            expected: VecDeque::new(),
            in_chain: false,
            oversize: 0,
            completed: 0,
            tx_kicks: 0,
            fill_kicks: 0,
            tx_kicked: false,
            taken: 0,
            taken_before_kick: None,
            frames: 0,
        };
        (kernel, region)
    }

    fn pass(&mut self, address: u64, from: Has, to: Has) -> usize {
        let chunk = (address / u64::from(self.sizes.chunk)) as usize;
        assert_eq!(self.has[chunk], from, "chunk {chunk}");
        self.has[chunk] = to;
        chunk
    }

    fn bytes(&self, address: u64, length: usize) -> &[u8] {
        let chunk = u64::from(self.sizes.chunk);
        assert!(address % chunk + length as u64 <= chunk, "beyond its chunk");
        // SAFETY: in bounds, and the process does not write what it has given
        // away, which is what is tested.
        unsafe { std::slice::from_raw_parts(self.memory.add(address as usize), length) }
    }

    /// Takes up to `n` chunks from the fill ring.
    pub fn take_fill(&mut self, n: usize) {
        for _ in 0..n {
            let Some(address) = self.fill.take() else {
                break;
            };
            let start = address % u64::from(self.sizes.chunk);
            assert_eq!(start, u64::from(PACKET_START), "not a chunk: {address}");
            self.pass(address, Has::Process, Has::ToReceive);
            self.to_receive.push_back(address);
        }
    }

    /// A frame arrives that takes `chunks` chunks; dropped if there are not so
    /// many, or the ring is full.
    pub fn arrive(&mut self, chunks: usize) {
        if self.driver.copies.is_some() || self.receives {
            let more = chunks.saturating_sub(self.to_receive.len());
            self.take_fill(more);
        }
        if self.to_receive.len() < chunks || (self.rx.room() as usize) < chunks {
            return;
        }
        let (mut parts, mut total) = (Vec::new(), 0);
        for last in (0..chunks).rev() {
            let address = self.to_receive.pop_front().unwrap();
            let chunk = self.pass(address, Has::ToReceive, Has::Process);
            // Drivers and programs move the start a little.
            let start = [256, 256, 258, 192, 300][self.random.below(5)];
            let most = (self.sizes.chunk - start).min(1500) as usize;
            let length = if last > 0 {
                most
            } else {
                let least = if chunks == 1 { 14 } else { 1 };
                least + self.random.below(most - least + 1)
            };
            let address = chunk as u64 * u64::from(self.sizes.chunk) + u64::from(start);
            let frame = self.frame(length);
            // SAFETY: in bounds; the process has given the chunk away.
            unsafe {
                let to = self.memory.add(address as usize);
                std::ptr::copy_nonoverlapping(frame.as_ptr(), to, length);
            }
            self.rx.put(Desc {
                addr: address,
                len: length as u32,
                options: u32::from(last > 0) * CONTINUES,
            });
            total += length;
            parts.push((frame, last > 0));
        }
        if total > MAX_FRAME {
            self.oversize += 1;
        } else {
            self.arrived.extend(parts);
        }
    }

    /// Bytes that no other frame has.
    pub fn frame(&mut self, length: usize) -> Vec<u8> {
        self.frames += 1;
        let mut bytes = vec![self.frames as u8; length];
        let id = self.frames.to_le_bytes();
        let n = length.min(8);
        bytes[..n].copy_from_slice(&id[..n]);
        bytes
    }

    /// Takes up to `n` frames from the transmit ring. Answers how many.
    fn take_tx(&mut self, n: usize) -> usize {
        for taken in 0..n {
            // Room for the completion is set aside first.
            let due = self.completion.len() as usize + self.to_send.len();
            if due >= self.sizes.completion as usize {
                return taken;
            }
            let Some(desc) = self.tx.take() else {
                return taken;
            };
            let least = if self.in_chain { 1 } else { 14 };
            assert!(desc.len >= least && desc.options <= CONTINUES, "bad");
            self.in_chain = desc.options == CONTINUES;
            self.pass(desc.addr, Has::Process, Has::ToSend);
            let bytes = self.bytes(desc.addr, desc.len as usize).to_vec();
            let expected = self.expected.pop_front();
            let sent = (bytes, self.in_chain);
            assert_eq!(Some(&sent), expected.as_ref(), "another frame");
            self.to_send.push_back((desc.addr, sent.0));
        }
        n
    }

    /// The driver, by itself, takes up to `n` frames to send.
    pub fn send(&mut self, n: usize) {
        if self.sends && !self.stuck && !self.down {
            self.take_tx(n);
        }
    }

    /// Completes up to `n` transmissions, the oldest or the newest first.
    pub fn complete(&mut self, n: usize, oldest: bool) {
        for _ in 0..n {
            let next = if oldest {
                self.to_send.pop_front()
            } else {
                self.to_send.pop_back()
            };
            let Some((address, bytes)) = next else { break };
            let now = self.bytes(address, bytes.len());
            assert_eq!(now, bytes, "changed while it was being sent");
            self.pass(address, Has::ToSend, Has::Process);
            self.completion.put(address);
            self.completed += 1;
        }
    }

    /// The driver goes to sleep if there is nothing to do, and says so.
    pub fn rest(&mut self) {
        if self.driver.copies.is_some() {
            return;
        }
        self.tx.ask(true);
        if self.tx.len() == 0 {
            self.sends = false;
        } else if self.sends {
            self.tx.ask(false);
        }
        self.fill.ask(true);
        if self.fill.len() == 0 {
            self.receives = false;
        } else if self.receives {
            self.fill.ask(false);
        }
    }

    /// Says that it received into a chunk that it was given to send, or that it
    /// sent one that it was given to receive into. Answers whether it could.
    pub fn lie(&mut self, received: bool) -> bool {
        let due = self.completion.len() as usize + self.to_send.len();
        let named = if received {
            self.to_send.front().map(|(address, _)| *address)
        } else {
            self.to_receive.front().copied()
        };
        match named {
            // With nothing being sent, no completion is looked for.
            _ if self.to_send.is_empty() => false,
            Some(addr) if received && self.rx.room() > 0 => {
                let (len, options) = (60, 0);
                self.rx.put(Desc { addr, len, options });
                true
            }
            Some(address) if !received && due < self.sizes.completion as usize => {
                self.completion.put(address);
                true
            }
            _ => false,
        }
    }

    /// What may happen at any moment.
    fn meanwhile(&mut self) {
        if !self.driver.lively || self.random.one_in(2) {
            return;
        }
        let n = self.random.below(9);
        match self.random.below(7) {
            0 => self.take_fill(n),
            1 | 2 => self.send(n),
            3 => self.complete(n, true),
            4 => self.arrive(1),
            5 => self.rest(),
            _ => {}
        }
    }

    /// Does all that it can.
    pub fn work(&mut self) {
        self.take_fill(usize::MAX);
        self.send(usize::MAX);
        self.complete(usize::MAX, true);
        self.rest();
    }

    /// Frames to send that the driver will not look at by itself.
    pub fn waits_for_kick(&self) -> bool {
        self.tx.len() > 0 && !self.sends && self.tx.asks()
    }

    pub fn fill_waits_for_kick(&self) -> bool {
        self.fill.len() > 0 && !self.receives && self.fill.asks()
    }

    /// Frames on the transmit ring.
    pub fn on_tx(&self) -> u32 {
        self.tx.len()
    }

    /// Frames wait although a copying driver could send them.
    pub fn idles(&self) -> bool {
        let due = self.completion.len() as usize + self.to_send.len();
        let room = due < self.sizes.completion as usize;
        self.driver.copies.is_some() && self.tx.len() > 0 && room && !self.down
    }

    /// Chunks that were given to receive into and have not come back.
    pub fn receiving(&self) -> usize {
        self.to_receive.len() + (self.fill.len() + self.rx.len()) as usize
    }

    /// Chunks that were given to be sent and have not come back.
    pub fn sending(&self) -> usize {
        self.to_send.len() + (self.tx.len() + self.completion.len()) as usize
    }
}

impl RingSet for Kernel {
    fn take_received(&mut self, most: usize, each: impl FnMut(Desc)) -> usize {
        self.meanwhile();
        self.rx_end.take(most, each)
    }

    fn take_completed(&mut self, most: usize, each: impl FnMut(u64)) -> usize {
        self.meanwhile();
        let n = self.completion_end.take(most, each);
        self.taken += n as u64;
        n
    }

    unsafe fn put_fill(&mut self, addresses: impl Iterator<Item = u64>) -> usize {
        self.meanwhile();
        // SAFETY: this kernel checks what it takes.
        unsafe { self.fill_end.put(addresses) }
    }

    unsafe fn put_tx(&mut self, descs: impl Iterator<Item = Desc>) -> usize {
        self.meanwhile();
        let mut continues = false;
        let descs = descs.inspect(|desc| continues = desc.options & CONTINUES != 0);
        // SAFETY: as in `put_fill`.
        let n = unsafe { self.tx_end.put(descs) };
        assert!(!continues, "a frame without an end");
        self.tx_kicked &= n == 0;
        n
    }

    fn fill_room(&mut self, wanted: u32) -> u32 {
        self.meanwhile();
        self.fill_end.room(wanted)
    }

    fn tx_room(&mut self, wanted: u32) -> u32 {
        self.taken_before_kick = Some(self.taken);
        self.meanwhile();
        self.tx_end.room(wanted)
    }

    fn tx_pending(&mut self) -> u32 {
        self.taken_before_kick.get_or_insert(self.taken);
        self.meanwhile();
        self.tx_end.pending()
    }

    fn fill_needs_wakeup(&self) -> bool {
        self.fill_end.needs_wakeup()
    }

    fn tx_needs_wakeup(&self) -> bool {
        self.tx_end.needs_wakeup()
    }

    fn kick_fill(&mut self) -> io::Result<()> {
        self.fill_kicks += 1;
        if self.driver.lively && self.random.one_in(4) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        self.receives = true;
        self.fill.ask(false);
        self.meanwhile();
        Ok(())
    }

    fn kick_tx(&mut self) -> io::Result<()> {
        self.tx_kicks += 1;
        self.tx_kicked = true;
        let fails = |number| Err(io::Error::from_raw_os_error(number));
        if self.down {
            return fails(libc::ENETDOWN);
        }
        if self.driver.lively && self.random.one_in(8) {
            return fails([libc::EINTR, libc::ENOBUFS, libc::EBUSY][self.random.below(3)]);
        }
        let Some(budget) = self.driver.copies else {
            self.stuck = false;
            self.sends = true;
            self.tx.ask(false);
            self.meanwhile();
            return Ok(());
        };
        if self.take_tx(budget) == budget && self.tx.len() > 0 {
            return fails(libc::EAGAIN);
        }
        Ok(())
    }
}
