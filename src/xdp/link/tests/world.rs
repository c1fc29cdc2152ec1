//! A link without a socket, joined to the model of the kernel: what can happen to
//! it, and what is checked behind every step.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::traffic::{
    self, FEW, FILL_BATCH, MAX_PARTS, SLEEP_PENDING, SLEEP_SENDING, STALL, Traffic,
};
use super::kernel::{Driver, Kernel, Sizes};
use crate::frame::{Held, PACKET_START, Packet, Pool, TxDesc};
use crate::time::Instant;

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The link receives, at most so many.
    Receive(usize),
    /// The link transmits, so many new frames among others.
    Transmit(usize),
    /// A frame of so many chunks is sent, if there are as many.
    TransmitLong(usize),
    /// Received frames are sent back in place, to be transmitted.
    TurnAround(usize),
    /// Received frames are freed.
    Free(usize),
    /// A new frame is sent and kept.
    Hold,
    /// A kept frame is sent again, if its last transmission has completed.
    Again,
    /// A kept frame is let go of, wherever it is.
    Release,
    /// Frames that no device takes are to be sent.
    Unfit,
    /// One of several chunks, of which that with this number is unfit.
    UnfitLong(usize, usize),
    Wait(Duration),
    // What the kernel does.
    TakeFill(usize),
    /// So many frames arrive, one after the other.
    Arrive(usize),
    /// A frame of so many chunks arrives.
    ArriveLong(usize),
    Send(usize),
    Complete(usize, bool),
    /// The driver says that it wants to be asked, if it has nothing to do.
    Rest,
    /// It misses what is on the ring until it is asked.
    Stick,
    Down(bool),
    Lie(bool),
}

/// A link without a socket, and what is to come of it.
pub struct World {
    pool: Pool,
    kernel: Kernel,
    traffic: Traffic,
    fill: usize,
    /// Chunks that the transmit ring has room for.
    ring: usize,
    /// Chunks of the longest frame that can be sent.
    longest: usize,
    now: Instant,
    queue: VecDeque<TxDesc>,
    packets: Vec<Packet>,
    held: VecDeque<(Held, Vec<u8>)>,
    /// When a completion was last taken, or nothing was under way.
    progress: Instant,
    last_fill_kick: Instant,
    handed_over: u64,
    errors: u64,
    was_down: bool,
}

impl World {
    pub fn new(sizes: Sizes, fill: usize, driver: Driver, starts: [u32; 4], seed: u64) -> Self {
        let (mut kernel, region) = Kernel::new(sizes, driver, starts, seed);
        let mut pool = Pool::new(region);
        let mut traffic = Traffic::new(traffic::Sizes {
            chunks: sizes.chunks as usize,
            chunk: sizes.chunk as usize,
            frame: pool.max_packet(),
            fill,
        });
        let now = Instant::ZERO + Duration::from_secs(5);
        traffic.refill(&mut kernel, now, &mut pool, FILL_BATCH);
        let mut world = Self {
            pool,
            kernel,
            traffic,
            fill,
            ring: sizes.tx as usize,
            longest: MAX_PARTS.min(sizes.tx as usize),
            now,
            queue: VecDeque::new(),
            packets: Vec::new(),
            held: VecDeque::new(),
            progress: now,
            last_fill_kick: now,
            handed_over: 0,
            errors: 0,
            was_down: false,
        };
        world.check();
        world
    }

    /// A packet with bytes of its own.
    fn packet(&mut self) -> Option<(Packet, Vec<u8>)> {
        let mut packet = self.pool.alloc()?;
        let length = 14 + self.kernel.random.below(1500);
        let bytes = self.kernel.frame(length);
        packet.set_range(PACKET_START, length as u16);
        self.pool.bytes_mut(&mut packet).copy_from_slice(&bytes);
        Some((packet, bytes))
    }

    fn enqueue(&mut self, desc: TxDesc, bytes: Vec<u8>) {
        self.kernel.expected.push_back((bytes, desc.continues()));
        self.queue.push_back(desc);
        self.handed_over += 1;
    }

    /// A frame of `n` chunks, each of which begins elsewhere.
    fn chain(&mut self, n: usize) -> Vec<(Packet, Vec<u8>)> {
        let mut parts = Vec::new();
        for left in (0..n).rev() {
            let Some((mut packet, mut bytes)) = self.packet() else {
                break;
            };
            if !parts.is_empty() {
                let cut = self.kernel.random.below(bytes.len().min(80));
                packet.advance(cut);
                bytes.drain(..cut);
            }
            packet.set_continues(left > 0);
            parts.push((packet, bytes));
        }
        if parts.len() < n {
            for (packet, _) in parts.drain(..) {
                self.pool.free(packet);
            }
        }
        parts
    }

    /// Descriptors that wait to be sent, of frames that can be.
    fn queued(&self) -> u64 {
        let (mut all, mut parts, mut good) = (0, 0, true);
        for desc in &self.queue {
            let least = if parts == 0 { 14 } else { 1 };
            good &= desc.len() >= least && desc.start() + desc.len() <= 2048;
            parts += 1;
            if !desc.continues() {
                all += if good && parts <= MAX_PARTS as u64 {
                    parts
                } else {
                    0
                };
                (parts, good) = (0, true);
            }
        }
        all
    }

    /// How many received packets are the first `n`, or more, and whole frames.
    fn whole(&self, n: usize) -> usize {
        let mut n = n.min(self.packets.len());
        while n > 0 && n < self.packets.len() && self.packets[n - 1].continues() {
            n += 1;
        }
        n
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Receive(max) => self.receive(max),
            Step::Transmit(n) => {
                for _ in 0..n {
                    let Some((packet, bytes)) = self.packet() else {
                        break;
                    };
                    let desc = self.pool.transmit(packet);
                    self.enqueue(desc, bytes);
                }
                self.transmit();
            }
            Step::TransmitLong(n) => {
                for (packet, bytes) in self.chain(n.min(self.longest)) {
                    let desc = self.pool.transmit(packet);
                    self.enqueue(desc, bytes);
                }
                self.transmit();
            }
            Step::TurnAround(n) => {
                let n = self.whole(n);
                let mut packets: VecDeque<_> = self.packets.drain(..n).collect();
                while !packets.is_empty() {
                    let parts = 1 + packets.iter().take_while(|p| p.continues()).count();
                    for packet in packets.drain(..parts) {
                        if parts > self.longest {
                            self.pool.free(packet);
                        } else {
                            let bytes = self.pool.bytes(&packet).to_vec();
                            let desc = self.pool.transmit(packet);
                            self.kernel.expected.push_back((bytes, desc.continues()));
                            self.queue.push_back(desc);
                            self.handed_over += 1;
                        }
                    }
                }
                self.transmit();
            }
            Step::Free(n) => {
                let n = self.whole(n);
                for packet in self.packets.drain(..n) {
                    self.pool.free(packet);
                }
            }
            Step::Hold => {
                if let Some((packet, bytes)) = self.packet() {
                    let mut held = self.pool.hold(packet);
                    let desc = self.pool.transmit_held(&mut held).unwrap();
                    self.held.push_back((held, bytes.clone()));
                    self.enqueue(desc, bytes);
                    self.transmit();
                }
            }
            Step::Again => {
                if let Some((mut held, bytes)) = self.held.pop_front() {
                    if let Some(desc) = self.pool.transmit_held(&mut held) {
                        self.enqueue(desc, bytes.clone());
                        self.transmit();
                    }
                    self.held.push_back((held, bytes));
                }
            }
            Step::Release => {
                if let Some((held, _)) = self.held.pop_front() {
                    self.pool.release(held);
                }
            }
            Step::Unfit => {
                for (start, length) in [(PACKET_START, 13), (0, PACKET_START + 1793), (40, 0)] {
                    if let Some(mut packet) = self.pool.alloc() {
                        packet.set_range(start, length);
                        self.queue.push_back(self.pool.transmit(packet));
                        self.errors += 1;
                    }
                }
                self.transmit();
            }
            Step::UnfitLong(n, which) => {
                let n = n.min(self.ring);
                let parts = self.chain(n);
                // One too many, or one of them empty.
                let empty = n <= MAX_PARTS;
                self.errors += u64::from(!parts.is_empty());
                for (i, (mut packet, _)) in parts.into_iter().enumerate() {
                    if empty && i == which % n {
                        packet.truncate(0);
                    }
                    self.queue.push_back(self.pool.transmit(packet));
                }
                self.transmit();
            }
            Step::Wait(time) => self.now += time,
            Step::TakeFill(n) => self.kernel.take_fill(n),
            Step::Arrive(n) => (0..n).for_each(|_| self.kernel.arrive(1)),
            Step::ArriveLong(n) => self.kernel.arrive(n),
            Step::Send(n) => self.kernel.send(n),
            Step::Complete(n, oldest) => self.kernel.complete(n, oldest),
            Step::Rest => self.kernel.rest(),
            Step::Stick => self.kernel.stuck = true,
            Step::Down(down) => {
                self.kernel.down = down;
                self.was_down |= down;
            }
            Step::Lie(received) => self.lie(received),
        }
        self.check();
    }

    fn receive(&mut self, max: usize) {
        let (kicks, filled) = (self.kernel.fill_kicks, self.traffic.counters.fill_frames);
        let before = self.packets.len();
        let begun = self.traffic.waiting_parts();
        let n = self.traffic.receive(
            &mut self.kernel,
            self.now,
            &mut self.pool,
            &mut self.packets,
            max,
        );
        assert!(n <= max.saturating_add(begun) && n == self.packets.len() - before);
        assert!(self.packets.last().is_none_or(|p| !p.continues()));
        for packet in &self.packets[before..] {
            let arrived = self.kernel.arrived.pop_front();
            let (bytes, continues) = arrived.expect("a frame that never arrived");
            assert_eq!(self.pool.bytes(packet), bytes);
            assert_eq!(packet.continues(), continues);
        }
        // Topped up, as far as there are chunks: behind a few frames a batch
        // later.
        let missing = self.fill - self.traffic.filled.len();
        let few = (1..=FEW).contains(&n);
        let most = if few { 2 * FILL_BATCH } else { FILL_BATCH };
        assert!(missing < most.min(self.fill) || self.pool.available() == 0);
        // And the driver has been told, now or a moment ago.
        if self.kernel.fill_kicks > kicks {
            self.last_fill_kick = self.now;
        } else if self.kernel.fill_waits_for_kick() {
            assert_eq!(self.traffic.counters.fill_frames, filled);
            let since = self.now.since(self.last_fill_kick);
            assert!(since < traffic::FILL_KICK_EVERY, "{since:?} without a kick");
        }
    }

    fn transmit(&mut self) {
        let (kicks, counters) = (self.kernel.tx_kicks, self.traffic.counters);
        if self.traffic.sent.is_empty() {
            self.progress = self.now;
        }
        let taken = self.kernel.taken;
        self.kernel.taken_before_kick = None;
        self.traffic
            .transmit(&mut self.kernel, self.now, &mut self.pool, &mut self.queue);
        if self.kernel.taken_before_kick.unwrap_or(taken) > taken {
            self.progress = self.now;
        }
        if self.traffic.counters.tx_stalled > counters.tx_stalled {
            let still = self.now.since(self.progress);
            assert!(still >= STALL, "stalled after {still:?}");
            self.progress = self.now;
        }
        // A budget that is used up is no reason to wait for the next turn.
        if !self.kernel.driver.lively && self.kernel.idles() {
            assert!(self.kernel.tx_kicks - kicks >= 16, "it could send more");
        }
        if self.kernel.waits_for_kick() {
            assert!(self.kernel.tx_kicks > kicks, "frames wait for a kick");
            assert!(self.kernel.tx_kicked, "frames were added after the kick");
        }
    }

    fn lie(&mut self, received: bool) {
        let lively = std::mem::take(&mut self.kernel.driver.lively);
        if self.kernel.lie(received) {
            self.errors += 1;
            if received {
                // The ring is looked at anew only when nothing more is known of.
                self.receive(usize::MAX);
                self.receive(usize::MAX);
            } else {
                self.traffic.reap(&mut self.kernel, &mut self.pool);
            }
        }
        self.kernel.driver.lively = lively;
    }

    /// What is so at all times.
    fn check(&mut self) {
        let (traffic, kernel) = (&self.traffic, &self.kernel);
        assert_eq!(traffic.filled.len(), kernel.receiving());
        assert!(traffic.filled.len() <= self.fill);
        assert_eq!(traffic.sent.len(), kernel.sending());
        let ledger = self.pool.ledger();
        assert_eq!(ledger.fill as usize, traffic.filled.len());
        let leaving = traffic.sent.len() + self.queue.len();
        assert_eq!((ledger.tx + ledger.queue_tx) as usize, leaving);
        assert_eq!((ledger.queue + ledger.queue_tx) as usize, self.held.len());
        let incomplete = traffic.waiting_parts();
        assert_eq!(ledger.engine as usize, self.packets.len() + incomplete);

        let counters = &traffic.counters;
        let queued = self.queued();
        let under_way = traffic.sent.len() as u64;
        assert_eq!(counters.tx_frames + queued, self.handed_over);
        assert_eq!(counters.tx_completed + under_way, counters.tx_frames);
        assert!(traffic.gone.is_none());

        let sleep = self.traffic.longest_sleep(&mut self.kernel);
        if self.kernel.on_tx() > 0 && !self.kernel.down {
            assert!(sleep <= SLEEP_SENDING);
            let lively = self.kernel.driver.lively;
            assert!(
                lively || sleep <= SLEEP_PENDING || self.was_down,
                "{sleep:?}"
            );
        } else if !self.traffic.sent.is_empty() {
            assert!(sleep <= SLEEP_SENDING);
        }
    }

    /// Turns until all is done: it has to come to an end, with each chunk where
    /// it belongs.
    pub fn settle(mut self) {
        self.kernel.down = false;
        let mut turns = 0;
        loop {
            self.kernel.work();
            self.step(Step::Receive(64));
            self.step(Step::Transmit(0));
            if self.queue.is_empty() && self.traffic.sent.is_empty() {
                break;
            }
            turns += 1;
            assert!(turns < 2_000, "no end: {} left", self.queue.len());
            self.now += SLEEP_SENDING;
        }
        self.kernel.driver.lively = false;
        self.step(Step::Receive(usize::MAX));
        self.step(Step::Receive(usize::MAX));
        assert!(self.kernel.arrived.is_empty());
        assert!(self.kernel.expected.is_empty());
        assert_eq!(self.traffic.counters.tx_completed, self.kernel.completed);
        assert_eq!(self.traffic.counters.rx_oversize, self.kernel.oversize);
        assert!(self.traffic.counters.device_errors >= self.errors);
        while !self.held.is_empty() {
            self.step(Step::Release);
        }
        self.step(Step::Free(usize::MAX));
        assert_eq!(self.pool.ledger().outstanding(), 0);
        for chunk in self.traffic.filled.drain() {
            // SAFETY: this kernel is at its end.
            unsafe { self.pool.unlend(chunk) };
        }
        assert_eq!(self.pool.ledger().pool, self.pool.ledger().total());
    }
}
