//! Two connections on a wire that loses, repeats, delays and reorders as a
//! seed says, under virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Setup;
use super::{Config, Connection, Event, Ports, Reason};
use crate::frame::{PACKET_START, Pool, Region};
use crate::time::Instant;
use crate::wire::eth::Mac;
use crate::wire::tcp::{Flags, Header, SeqNumber};
use crate::wire::template::{Path, Template};

/// A small generator: quality matters less than replay.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What the wire does to packets, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: u64,
    pub duplicate: u64,
    pub reorder: u64,
    pub delay: Duration,
}

impl Faults {
    pub const NONE: Self = Self {
        loss: 0,
        duplicate: 0,
        reorder: 0,
        delay: Duration::from_millis(5),
    };
}

/// One end.
pub struct End {
    pub conn: Option<Connection>,
    pub pool: Pool,
    pub template: Template,
    pub config: Arc<Config>,
    pub to_send: Vec<u8>,
    pub sent: usize,
    pub close_when_sent: bool,
    pub received: Vec<u8>,
    /// Bytes read at a time; 0: does not read.
    pub read: usize,
    pub events: Vec<Event>,
    pub closed: Option<Reason>,
    /// All new data that can goes in trains.
    pub trains: bool,
    /// Payload that a chunk has room for.
    pub chunk: u16,
    /// Every segment sent: header and payload length.
    pub log: Vec<(Instant, Header, usize)>,
    /// The ECN bits of each of them.
    pub ecn: Vec<u8>,
    /// How often output was asked for.
    collected: u64,
}

const MSS: u16 = 1460;

impl End {
    pub fn new(config: Config, me: u8, peer: u8, frames: u32) -> Self {
        let ip = |n| IpAddr::from([10, 0, 0, n]);
        let path = Path {
            src_mac: Mac([2, 0, 0, 0, 0, me]),
            dst_mac: Mac([2, 0, 0, 0, 0, peer]),
            vlan: None,
            src: ip(me),
            dst: ip(peer),
            ttl: 64,
            tos: 0,
        };
        Self {
            conn: None,
            pool: Pool::new(Region::anonymous(frames, 2048)),
            template: Template::new(&path, 6).unwrap(),
            config: Arc::new(config),
            to_send: Vec::new(),
            sent: 0,
            close_when_sent: false,
            received: Vec::new(),
            read: usize::MAX,
            events: Vec::new(),
            closed: None,
            trains: false,
            chunk: u16::MAX,
            log: Vec::new(),
            ecn: Vec::new(),
            collected: 0,
        }
    }

    pub fn setup(&self, now: Instant, local: u16, remote: u16) -> Setup<'_> {
        Setup {
            config: &self.config,
            ports: Ports { local, remote },
            iss: SeqNumber(u32::MAX - 20_000 + u32::from(local)),
            ts_offset: u32::MAX - 50,
            mss: MSS,
            chunk: self.chunk,
            headroom: self.template.len() as u16,
            now,
        }
    }

    pub fn c(&mut self) -> &mut Connection {
        self.conn.as_mut().expect("a connection")
    }

    /// The application: reads, writes, closes.
    pub fn app(&mut self, now: Instant) {
        let Some(c) = &mut self.conn else { return };
        while let Some(e) = c.poll_event() {
            self.events.push(e);
            if let Event::Closed(r) = e {
                assert_eq!(self.closed.replace(r), None, "closed twice");
            }
        }
        let mut budget = self.read;
        while budget > 0 {
            let Some(chunk) = c.recv_chunk(&self.pool) else {
                break;
            };
            let n = chunk.len().min(budget);
            self.received.extend_from_slice(&chunk[..n]);
            c.recv_consume(&mut self.pool, n);
            budget -= n;
        }
        if c.state().can_send() && self.sent < self.to_send.len() {
            self.sent += c.send(&mut self.pool, &self.to_send[self.sent..]);
        }
        if self.close_when_sent && self.sent == self.to_send.len() && c.state().can_send() {
            c.shutdown();
        }
        let _ = now;
    }

    pub fn collect(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let Some(c) = &mut self.conn else { return out };
        // Half of the time as an engine does, half of it one by one.
        self.collected += 1;
        let mut queue = VecDeque::new();
        if self.collected.is_multiple_of(2) {
            c.poll_train(now, &mut self.pool, &self.template, 8, &mut queue);
        }
        loop {
            if self.trains && queue.is_empty() {
                c.poll_train(now, &mut self.pool, &self.template, 8, &mut queue);
            }
            let next = queue
                .pop_front()
                .or_else(|| c.poll_transmit(now, &mut self.pool, &self.template));
            let Some(desc) = next else {
                // Nothing more comes at this instant, as an engine finds with
                // its next turn.
                if c.waiting_ack().is_some_and(|unacked| c.hurry_ack(unacked)) {
                    continue;
                }
                break;
            };
            let frame = self.pool.tx_bytes(&desc);
            self.ecn.push(frame[self.template.eth_len() + 1] & 3);
            let mut bytes = frame[self.template.len()..].to_vec();
            let mut continues = desc.continues();
            self.pool.complete(desc);
            while continues && let Some(desc) = queue.pop_front() {
                continues = desc.continues();
                bytes.extend_from_slice(self.pool.tx_bytes(&desc));
                self.pool.complete(desc);
            }
            let (h, n) = Header::parse(&bytes).expect("what we send is valid");
            self.log.push((now, h, bytes.len() - n));
            out.push(bytes);
            assert!(out.len() < 100_000, "an endless stream of packets");
        }
        out
    }

    pub fn deliver(&mut self, now: Instant, segment: &[u8]) {
        self.deliver_marked(now, segment, false);
    }

    pub fn deliver_marked(&mut self, now: Instant, segment: &[u8], ce: bool) {
        let (h, n) = Header::parse(segment).expect("valid");
        let Some(mut p) = self.pool.alloc() else {
            return;
        };
        p.set_range(PACKET_START, (segment.len() - n) as u16);
        self.pool.bytes_mut(&mut p).copy_from_slice(&segment[n..]);
        match &mut self.conn {
            Some(c) => {
                c.handle_segment(now, &mut self.pool, &h, ce, p);
            }
            None => {
                self.pool.free(p);
                if h.flags.contains(Flags::SYN) && !h.flags.contains(Flags::ACK) {
                    let setup = self.setup(now, h.dst_port, h.src_port);
                    self.conn = Some(Connection::accept(&setup, &h));
                }
            }
        }
    }

    /// Frees everything and checks that no frame is missing.
    pub fn finish(mut self) {
        if let Some(mut c) = self.conn.take() {
            c.release(&mut self.pool);
        }
        assert_eq!(
            self.pool.ledger().outstanding(),
            0,
            "{}",
            self.pool.ledger()
        );
    }
}

/// A client `a`, a server `b` and the wire.
pub struct Pair {
    pub now: Instant,
    pub a: End,
    pub b: End,
    pub faults: Faults,
    pub rng: Rng,
    wire: BTreeMap<(Instant, u64), (bool, bool, Vec<u8>)>,
    count: u64,
    /// Packets to swallow before anything else: `(from a, nth)`.
    pub swallow: Vec<(bool, u64)>,
    /// Packets to mark, if they can be: likewise.
    pub mark: Vec<(bool, u64)>,
    nth: [u64; 2],
    /// Segments of `a` longer than this, TCP header included, vanish.
    pub black_hole: usize,
}

impl Pair {
    pub fn new(a: Config, b: Config) -> Self {
        Self {
            now: Instant::from_millis(10_000),
            a: End::new(a, 1, 2, 8192),
            b: End::new(b, 2, 1, 8192),
            faults: Faults::NONE,
            rng: Rng::new(1),
            wire: BTreeMap::new(),
            count: 0,
            swallow: Vec::new(),
            mark: Vec::new(),
            nth: [0; 2],
            black_hole: usize::MAX,
        }
    }

    pub fn connect(&mut self) {
        let setup = self.a.setup(self.now, 4000, 80);
        self.a.conn = Some(Connection::connect(&setup));
    }

    /// A pair whose handshake is done.
    pub fn connected(a: Config, b: Config) -> Self {
        let mut p = Self::new(a, b);
        p.connect();
        p.run(Duration::from_millis(100));
        assert!(p.a.events.contains(&Event::Connected) && p.b.events.contains(&Event::Connected));
        p
    }

    fn put(&mut self, from_a: bool, ecn: u8, bytes: Vec<u8>) {
        let nth = &mut self.nth[usize::from(from_a)];
        *nth += 1;
        if from_a && bytes.len() > self.black_hole {
            return;
        }
        if self.swallow.contains(&(from_a, *nth)) || self.rng.chance(self.faults.loss) {
            return;
        }
        let ce = ecn != 0 && self.mark.contains(&(from_a, *nth));
        let copies = 1 + u64::from(self.rng.chance(self.faults.duplicate));
        for _ in 0..copies {
            let mut at = self.now + self.faults.delay;
            if self.rng.chance(self.faults.reorder) {
                at += Duration::from_micros(self.rng.below(4_000));
            }
            self.count += 1;
            self.wire
                .insert((at, self.count), (from_a, ce, bytes.clone()));
        }
    }

    /// Exchanges until neither end has anything more to say at this instant.
    pub fn settle(&mut self) {
        for _ in 0..4 {
            for from_a in [true, false] {
                let end = if from_a { &mut self.a } else { &mut self.b };
                end.app(self.now);
                let first = end.ecn.len();
                let packets = end.collect(self.now);
                let ecn = end.ecn[first..].to_vec();
                for (bytes, ecn) in packets.into_iter().zip(ecn) {
                    self.put(from_a, ecn, bytes);
                }
            }
        }
    }

    /// Moves to the next thing that happens, unless that is after `limit`.
    fn step(&mut self, limit: Instant) -> bool {
        self.settle();
        let deadline = |e: &End| {
            e.conn
                .as_ref()
                .and_then(Connection::poll_timeout)
                .unwrap_or(Instant::FAR)
        };
        let arrival = self.wire.keys().next().map_or(Instant::FAR, |k| k.0);
        let next = arrival.min(deadline(&self.a)).min(deadline(&self.b));
        if next > limit {
            self.now = limit;
            return false;
        }
        self.now = self.now.max(next);
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (from_a, ce, bytes) = entry.remove();
            if from_a {
                self.b.deliver_marked(self.now, &bytes, ce)
            } else {
                self.a.deliver_marked(self.now, &bytes, ce)
            }
        }
        for end in [&mut self.a, &mut self.b] {
            if let Some(c) = &mut end.conn
                && c.poll_timeout().is_some_and(|t| t <= self.now)
            {
                c.handle_timeout(self.now, &mut end.pool);
                assert!(
                    c.poll_timeout().is_none_or(|t| t > self.now),
                    "a deadline that stays"
                );
            }
        }
        true
    }

    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Runs until `done`, at most for `time`.
    pub fn run_until(&mut self, time: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let limit = self.now + time;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(limit) {
                return done(self);
            }
        }
    }

    /// Hands `a` a crafted segment as if from `b`.
    pub fn inject_a(&mut self, h: Header, payload: &[u8]) {
        let mut bytes = vec![0; h.emit_len()];
        h.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        self.a.deliver(self.now, &bytes);
        self.settle();
    }

    pub fn finish(self) {
        self.a.finish();
        self.b.finish();
    }
}

/// Bytes that tell where they are.
pub fn pattern(n: usize) -> Vec<u8> {
    (0..n)
        .map(|i| (i as u64).wrapping_mul(0x9e37_79b9) as u8 ^ (i >> 8) as u8)
        .collect()
}
