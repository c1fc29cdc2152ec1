//! A uTP connection in any state, in either role, against whatever may arrive,
//! whatever the application does, however the time goes and with as few frames
//! as there may be.
//!
//! The peer's stream follows from its sequence numbers: the packet of a number
//! has always the same length and bytes. Ours follows from its places, and what
//! each number carried first is remembered. So what is delivered, sent and sent
//! again can be checked byte by byte.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::frame::{PACKET_START, Packet, Pool, Region, TxDesc};
use fullbore::time::Instant;
use fullbore::utp::{Config, Connection, Event, HEADERS, Ports, Reason, Setup, State};
use fullbore::wire::checksum::Sum;
use fullbore::wire::eth::Mac;
use fullbore::wire::ip::{Parsed, parse_frame};
use fullbore::wire::template::{Path, Template};
use fullbore::wire::utp::{CLOSE_REASON, Extension, Header, Kind, SELECTIVE_ACK, SeqNr};

use super::input::Input;

/// Actions taken from one input.
const STEPS: usize = 300;
/// Time and deadlines after which a connection without a peer has to have given
/// up. While frames are short it looks for some every few milliseconds.
const PATIENCE: Duration = Duration::from_secs(1800);
const DEADLINES: usize = 1_000_000;
/// Packets that one event may cause at the very most.
const MOST_AT_ONCE: usize = 20_000;
/// Bytes that are taken beyond the window: a peer cannot tell it to the byte.
const SLACK: usize = 64 << 10;
/// Largest payload: the MTU of Ethernet.
const MOST: u16 = 1500 - 20 - HEADERS as u16;

pub fn run(data: &[u8]) {
    let mut i = Input::new(data);
    let mut world = World::new(&mut i);
    for _ in 0..STEPS {
        if i.is_empty() {
            break;
        }
        world.step(&mut i);
        world.settle();
    }
    world.wind_down();
}

/// A byte of our stream.
fn ours(at: u32) -> u8 {
    let x = at.wrapping_mul(0x9e37_79b1);
    (x >> 24) as u8 ^ (x >> 11) as u8
}

/// Payload of the peer's packet of a number, which is never empty.
fn theirs(seq: SeqNr) -> impl Iterator<Item = u8> {
    let x = u32::from(seq.0).wrapping_mul(0x85eb_ca6b);
    let len = [1, 7, 536, 1024, 1400][(x >> 13) as usize % 5];
    (0..len).map(move |n: u32| ours(x ^ n))
}

fn config(i: &mut Input<'_>) -> Config {
    let with = i.u8();
    let sizes = i.u8();
    Config {
        congestion: Algorithm::ALL[usize::from(with & 7) % Algorithm::ALL.len()],
        nodelay: with & 8 != 0,
        keepalive: (with & 16 != 0).then_some(Duration::from_secs(10)),
        keepalive_probes: if with & 16 != 0 { 3 } else { 0 },
        user_timeout: (with & 32 != 0).then_some(Duration::from_secs(40)),
        mtu_probing: with & 64 != 0,
        pacing: with & 128 != 0,
        recv_buffer: 2048 << (sizes & 15).min(12),
        send_buffer: 2048 << (sizes >> 4).min(12),
        reorder_packets: [16, 100, 1024, 4096][usize::from(sizes & 3)],
        ..Config::default()
    }
}

struct World {
    conn: Connection,
    pool: Pool,
    chunks: u32,
    template: Template,
    config: Arc<Config>,
    now: Instant,
    /// Number of our first packet with payload, and what each carried.
    first: SeqNr,
    sent: BTreeMap<u32, (u32, usize)>,
    /// Packets and bytes that were sent for the first time.
    packets: u32,
    bytes: u32,
    fin: bool,
    /// The peer's next number to be delivered, and what was of its packet.
    next: SeqNr,
    begun: Vec<u8>,
    /// Numbers that carried payload, and that of the FIN.
    carried: HashSet<u16>,
    peer_fin: Option<SeqNr>,
    /// The last acknowledgement sent.
    told: Option<SeqNr>,
    written: u32,
    taken: VecDeque<Packet>,
    hogged: Vec<Packet>,
    sending: VecDeque<TxDesc>,
    /// Transmissions complete only when asked.
    slow: bool,
    connected: bool,
    ended: bool,
    closed: Option<Reason>,
}

impl World {
    fn new(i: &mut Input<'_>) -> Self {
        let config = Arc::new(config(i));
        let how = i.u8();
        let isn = SeqNr(if how & 0x80 != 0 {
            u16::MAX - 3
        } else {
            i.u16()
        });
        let chunks = if how & 0x40 != 0 { 24 } else { 128 };
        let ip = |n| IpAddr::from([10, 0, 0, n]);
        let path = Path {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: Mac([2, 0, 0, 0, 0, 2]),
            vlan: None,
            src: ip(1),
            dst: ip(2),
            ttl: 64,
            tos: 0,
        };
        let template = Template::new(&path, 17).expect("one family");
        let now = Instant::from_millis(10_000);
        let ports = Ports {
            local: 6881,
            remote: 4000,
        };
        let setup = Setup {
            config: &config,
            ports,
            id: i.u16(),
            isn,
            clock: u32::MAX - 5_000_000,
            mss: MOST,
            chunk: 1700,
            headroom: template.len() as u16,
            now,
        };
        let (conn, next) = if how & 1 == 0 {
            (Connection::connect(&setup), SeqNr(0))
        } else {
            let syn = Header {
                kind: Kind::Syn,
                conn_id: setup.id,
                timestamp: i.u32(),
                window: i.u32(),
                seq: SeqNr(i.u16()),
                ..Header::default()
            };
            (Connection::accept(&setup, &syn), syn.seq.plus(1))
        };
        let mut world = Self {
            conn,
            pool: Pool::new(Region::anonymous(chunks, 2048)),
            chunks,
            template,
            config: config.clone(),
            now,
            // The answer to a SYN does not count as a packet.
            first: if how & 1 == 0 { isn.plus(1) } else { isn },
            sent: BTreeMap::new(),
            packets: 0,
            bytes: 0,
            fin: false,
            next,
            begun: Vec::new(),
            carried: HashSet::new(),
            peer_fin: None,
            told: None,
            written: 0,
            taken: VecDeque::new(),
            hogged: Vec::new(),
            sending: VecDeque::new(),
            slow: false,
            connected: false,
            ended: false,
            closed: None,
        };
        world.settle();
        if how & 4 != 0 {
            world.shake_hands(i);
            world.settle();
        }
        world
    }

    /// The peer does its part of the handshake.
    fn shake_hands(&mut self, i: &mut Input<'_>) {
        let seq = match self.conn.state() {
            State::SynSent => SeqNr(i.u16()),
            _ => self.next,
        };
        let h = Header {
            kind: if self.conn.state() == State::SynSent {
                Kind::State
            } else {
                Kind::Data
            },
            conn_id: self.conn.recv_id(),
            timestamp: 7_000_000,
            window: 1 << 20,
            seq,
            ack: self.first.minus(1),
            ..Header::default()
        };
        self.packet(&h, &[]);
    }

    fn step(&mut self, i: &mut Input<'_>) {
        let op = i.u8();
        match op % 32 {
            0..=9 => self.any_packet(i),
            10..=13 => self.next_packet(i),
            14 | 15 => self.write(usize::from(i.u16())),
            16 => self.write_frame(usize::from(i.u16() % (MOST + 1))),
            17 => self.read(usize::from(i.u16())),
            18 => self.take(),
            19 => self.give_back(),
            20 if op >= 128 => self.conn.shutdown(),
            21 if op >= 128 => self.conn.close(self.now, &mut self.pool),
            22 if op >= 192 => self.conn.abort(&mut self.pool),
            20..=23 => self.complete(i.below(8)),
            24 => {
                self.slow = i.bool();
                if !self.slow {
                    self.complete(usize::MAX);
                }
            }
            25 => {
                let left = i.below(16);
                while self.pool.available() > left {
                    self.hogged.extend(self.pool.alloc());
                }
            }
            26 => self.unhog(),
            27 if op & 32 != 0 => self.conn.limit_payload(i.u16(), &mut self.pool),
            27 => self.conn.handle_unreachable(&mut self.pool),
            28 if op & 32 != 0 => self.conn.set_nodelay(op & 64 != 0),
            28 => {
                self.conn.set_cork(op & 64 != 0);
                self.conn.trim();
            }
            29 => {
                self.now += Duration::from_micros(u64::from(i.u16()) << (op >> 5));
                self.timeout();
            }
            _ => {
                let next = self.conn.poll_timeout().unwrap_or(self.now);
                self.now = self.now.max(next);
                self.timeout();
            }
        }
    }

    // -- what arrives -------------------------------------------------------

    /// A packet that may be anything, mostly near what counts.
    fn any_packet(&mut self, i: &mut Input<'_>) {
        let kind = match i.below(12) {
            0 => Kind::Fin,
            1 => Kind::Reset,
            2 => Kind::Syn,
            3..=5 => Kind::State,
            _ => Kind::Data,
        };
        let last = self.first.plus(self.packets as u16);
        let una = self.conn.info().unacked as u16;
        let h = Header {
            kind,
            conn_id: match i.u8() {
                0 => i.u16(),
                1 | 2 => self.conn.send_id(),
                3 | 4 => self.conn.recv_id().wrapping_sub(1),
                _ => self.conn.recv_id(),
            },
            timestamp: self.timestamp(i),
            timestamp_diff: self.difference(i),
            window: self.window(i),
            seq: near(i, &[self.next, self.next, self.next.plus(64)]),
            ack: near(
                i,
                &[last.minus(1), last.minus(1), last.minus(una), self.first],
            ),
            ..Header::default()
        };
        let with = i.u8();
        let bits = i.bytes(usize::from(with >> 4) * 2);
        let content = [Extension {
            id: match with & 3 {
                0 => CLOSE_REASON,
                1 => 77,
                _ => SELECTIVE_ACK,
            },
            bytes: bits,
        }];
        let extensions = if bits.is_empty() {
            &[][..]
        } else {
            &content[..]
        };
        self.packet(&h, extensions);
    }

    /// The next payload, acknowledging everything.
    fn next_packet(&mut self, i: &mut Input<'_>) {
        let with = i.u8();
        let arrived = self.conn.info().recv_queue > 0 && with & 8 != 0;
        let h = Header {
            kind: if with & 7 == 7 { Kind::Fin } else { Kind::Data },
            conn_id: self.conn.recv_id(),
            timestamp: self.timestamp(i),
            timestamp_diff: self.difference(i),
            window: self.window(i),
            seq: self
                .told
                .map_or(self.next, |t| t.plus(1 + u16::from(arrived))),
            ack: self.first.plus(self.packets as u16).minus(1),
            ..Header::default()
        };
        self.packet(&h, &[]);
    }

    fn timestamp(&self, i: &mut Input<'_>) -> u32 {
        match i.u8() {
            0 => 0,
            1 => i.u32(),
            n => (self.now.as_micros() as u32).wrapping_sub(u32::from(n) << 8),
        }
    }

    fn difference(&self, i: &mut Input<'_>) -> u32 {
        match i.u8() {
            0 => 0,
            1 => 0x7fff_ffff,
            2 => i.u32(),
            n => u32::from(n) << 10,
        }
    }

    fn window(&self, i: &mut Input<'_>) -> u32 {
        match i.u8() {
            0 => 0,
            1 => 1,
            2 => i.u32(),
            n => u32::from(n) << 12,
        }
    }

    /// A packet arrives, unless there is no frame for it.
    fn packet(&mut self, h: &Header, extensions: &[Extension<'_>]) {
        let Some(mut packet) = self.pool.alloc() else {
            return;
        };
        let h = &self.consistent(*h);
        let mut bytes = vec![0; Header::emit_len(extensions)];
        h.emit(&mut bytes, extensions);
        if h.kind == Kind::Data {
            bytes.extend(theirs(h.seq));
        }
        let read = Header::parse(&bytes).expect("what was written");
        packet.set_range(PACKET_START, bytes.len() as u16);
        self.pool.bytes_mut(&mut packet).copy_from_slice(&bytes);
        let before = self.conn.state();
        self.conn
            .handle_packet(self.now, &mut self.pool, &read, packet);
        let after = self.conn.state();
        if before == State::SynSent && after == State::Connected {
            assert_eq!(h.kind, Kind::State, "{:?}", self.conn);
            self.next = h.seq;
        }
    }

    /// What has a number is always the same: payload, or the end.
    fn consistent(&mut self, h: Header) -> Header {
        let kind = match h.kind {
            Kind::Fin if self.peer_fin.is_none_or(|fin| fin == h.seq) => {
                if self.carried.contains(&h.seq.0) {
                    Kind::State
                } else {
                    self.peer_fin = Some(h.seq);
                    Kind::Fin
                }
            }
            Kind::Fin => Kind::State,
            Kind::Data if self.peer_fin == Some(h.seq) => Kind::Fin,
            Kind::Data => {
                self.carried.insert(h.seq.0);
                Kind::Data
            }
            other => other,
        };
        Header { kind, ..h }
    }

    /// The deadline, if it has passed.
    fn timeout(&mut self) {
        if self.conn.poll_timeout().is_some_and(|t| t <= self.now) {
            self.conn.handle_timeout(self.now, &mut self.pool);
            let next = self.conn.poll_timeout();
            assert!(
                next.is_none_or(|t| t > self.now),
                "a deadline that stays: {:?}",
                self.conn
            );
        }
    }

    // -- the application ----------------------------------------------------

    fn write(&mut self, n: usize) {
        let data: Vec<u8> = (0..n as u32).map(|k| ours(self.written + k)).collect();
        let taken = self.conn.send(&mut self.pool, &data);
        assert!(taken <= n);
        self.written += taken as u32;
    }

    fn write_frame(&mut self, n: usize) {
        let Some(mut packet) = self.conn.prepare(&mut self.pool) else {
            return;
        };
        packet.truncate(n);
        let bytes = self.pool.bytes_mut(&mut packet);
        for (k, b) in (self.written..).zip(bytes.iter_mut()) {
            *b = ours(k);
        }
        let (sum, len) = (Sum::of(bytes), bytes.len());
        match self.conn.send_packet(&mut self.pool, packet, sum) {
            Ok(()) => self.written += len as u32,
            Err(packet) => {
                let can = self.conn.state().can_send();
                assert!(len == 0 || !can, "{:?}", self.conn);
                self.pool.free(packet);
            }
        }
    }

    fn read(&mut self, n: usize) {
        let mut left = n;
        while left > 0 {
            let Some(chunk) = self.conn.recv_chunk(&self.pool) else {
                break;
            };
            assert!(!chunk.is_empty());
            let n = chunk.len().min(left);
            let bytes = chunk[..n].to_vec();
            self.conn.recv_consume(&mut self.pool, n);
            self.check_delivered(&bytes);
            left -= n;
        }
    }

    fn take(&mut self) {
        if let Some(packet) = self.conn.recv_take() {
            let bytes = self.pool.bytes(&packet).to_vec();
            self.check_delivered(&bytes);
            self.taken.push_back(packet);
        }
    }

    fn give_back(&mut self) {
        if let Some(packet) = self.taken.pop_front() {
            self.conn.recv_release(&self.pool, packet.len());
            self.pool.free(packet);
        }
    }

    /// Bytes come in the order of the peer's numbers.
    fn check_delivered(&mut self, bytes: &[u8]) {
        for b in bytes {
            if self.begun.is_empty() {
                self.begun = theirs(self.next).collect();
                self.begun.reverse();
                self.next = self.next.plus(1);
            }
            assert_eq!(self.begun.pop(), Some(*b), "before {:?}", self.next);
        }
    }

    fn unhog(&mut self) {
        for packet in self.hogged.drain(..) {
            self.pool.free(packet);
        }
    }

    fn complete(&mut self, n: usize) {
        for desc in self.sending.drain(..n.min(self.sending.len())) {
            self.pool.complete(desc);
        }
    }

    // -- what comes of it ---------------------------------------------------

    /// Takes all output, and checks it and the connection.
    fn settle(&mut self) {
        let mut count = 0;
        loop {
            let next = self
                .conn
                .poll_transmit(self.now, &mut self.pool, &self.template);
            let Some(desc) = next else {
                let waits = self.conn.waiting_ack();
                if waits.is_some_and(|unacked| self.conn.hurry_ack(unacked)) {
                    count += 1;
                    assert!(count < MOST_AT_ONCE, "no end of acknowledgements");
                    continue;
                }
                break;
            };
            let parsed = parse_frame(self.pool.tx_bytes(&desc), true);
            let Ok(Parsed::Udp { payload, .. }) = parsed else {
                panic!("not a datagram: {parsed:?}");
            };
            let bytes = payload.of(self.pool.tx_bytes(&desc)).to_vec();
            if self.slow {
                self.sending.push_back(desc);
            } else {
                self.pool.complete(desc);
            }
            self.check_output(&bytes);
            count += 1;
            assert!(count < MOST_AT_ONCE, "no end of packets: {:?}", self.conn);
        }
        self.take_events();
        self.check_state();
    }

    fn check_output(&mut self, bytes: &[u8]) {
        let h = Header::parse(bytes).expect("what we send is valid");
        let payload = &bytes[usize::from(h.len)..];
        match h.kind {
            Kind::Syn => {
                assert_eq!(h.seq, self.first.minus(1));
                assert_eq!(h.conn_id, self.conn.recv_id());
                assert!(payload.is_empty());
                return;
            }
            Kind::Reset => {
                assert!(payload.is_empty());
                return;
            }
            Kind::Data | Kind::Fin | Kind::State => {}
        }
        assert_eq!(h.conn_id, self.conn.send_id(), "{h:?}");
        if let Some(told) = self.told {
            // A keepalive repeats the one before.
            let back = h.ack.distance(told);
            assert!(
                back >= -1,
                "acknowledges less: {told:?} {h:?} {:?}",
                self.conn
            );
            if back > 0 {
                self.told = Some(h.ack);
            }
        } else {
            self.told = Some(h.ack);
        }
        if h.kind == Kind::State {
            assert!(payload.is_empty());
            return;
        }
        // How far behind the first: numbers wrap, in flight are few.
        let latest = self.first.plus(self.packets as u16);
        let ahead = h.seq.distance(latest);
        assert!(ahead <= 0, "a gap: {h:?}, expected {latest:?}");
        let index = self.packets.wrapping_add_signed(ahead);
        if ahead == 0 {
            assert!(!self.fin, "behind a FIN: {h:?}");
            self.sent.insert(index, (self.bytes, payload.len()));
            self.packets += 1;
            self.bytes += payload.len() as u32;
            self.fin = h.kind == Kind::Fin;
            // No more than may be in flight.
            if let Some(old) = index.checked_sub(20_000) {
                self.sent.remove(&old);
            }
        }
        let Some((at, len)) = self.sent.get(&index) else {
            panic!("never sent: {h:?}");
        };
        assert_eq!(*len, payload.len(), "other than at first: {h:?}");
        assert!(self.bytes <= self.written, "more than was written: {h:?}");
        for (k, b) in (*at..).zip(payload) {
            assert_eq!(*b, ours(k), "byte {k} of {h:?}");
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            assert_eq!(self.closed, None, "{event:?} after the end");
            match event {
                Event::Connected => {
                    assert!(!self.connected, "connected twice");
                    self.connected = true;
                }
                Event::Readable => assert!(self.connected, "readable before connected"),
                Event::Writable => {}
                Event::PeerClosed => {
                    assert!(!self.ended, "ended twice");
                    self.ended = true;
                }
                Event::Closed(reason) => self.closed = Some(reason),
            }
        }
    }

    fn check_state(&self) {
        let conn = &self.conn;
        assert_eq!(conn.check(), Ok(()), "{conn:?}");
        let ledger = self.pool.ledger();
        assert_eq!(ledger.total(), self.chunks, "{ledger}");
        if conn.state() == State::Closed {
            assert_eq!(ledger.queue + ledger.queue_tx, 0, "{ledger} {conn:?}");
            if conn.recv_available() == 0 {
                let others = self.taken.len() + self.hogged.len();
                assert_eq!(ledger.engine as usize, others, "{ledger} {conn:?}");
            }
            return;
        }
        assert_eq!(conn.check_timers(self.now), Ok(()), "{conn:?}");
        let info = conn.info();
        assert!(info.cwnd > 0, "{conn:?}");
        let room = self.config.recv_buffer.clamp(2048, 1 << 30) as usize;
        // What was offered, what is taken beyond it, and one packet.
        let held = info.recv_queue;
        assert!(
            held <= room + SLACK + usize::from(MOST),
            "keeps {held} of {room}: {conn:?}"
        );
    }

    /// The peer is gone, and the application waits: what is owed is given up
    /// in the end, and every frame comes back.
    fn wind_down(mut self) {
        self.slow = false;
        self.complete(usize::MAX);
        self.unhog();
        self.settle();
        // Who is connected and owes nothing waits for ever.
        self.conn.close(self.now, &mut self.pool);
        self.settle();
        let begin = self.now;
        for n in 0.. {
            let Some(next) = self.conn.poll_timeout() else {
                break;
            };
            let patient = self.now.since(begin) < PATIENCE && n < DEADLINES;
            assert!(patient, "it never gives up: {:?}", self.conn);
            self.now = self.now.max(next);
            self.timeout();
            self.settle();
        }
        assert_eq!(self.conn.state(), State::Closed, "{:?}", self.conn);
        while !self.taken.is_empty() {
            self.give_back();
        }
        self.conn.release(&mut self.pool);
        self.complete(usize::MAX);
        let ledger = self.pool.ledger();
        assert_eq!(ledger.pool, self.chunks, "{ledger}");
    }
}

/// A number near one of `edges`.
fn near(i: &mut Input<'_>, edges: &[SeqNr]) -> SeqNr {
    let choice = usize::from(i.u8());
    let edge = edges[choice % edges.len()];
    match choice / edges.len() % 16 {
        0..=4 => edge,
        5 => edge.plus(1),
        6 => edge.minus(1),
        7 | 8 => edge.plus(2),
        9 => edge.plus(u16::from(i.u8())),
        10 | 11 => edge.minus(u16::from(i.u8())),
        12 => edge.plus(1 << 10),
        13 => edge.plus(1 << 15),
        14 => edge.minus(1 << 14),
        _ => SeqNr(i.u16()),
    }
}
