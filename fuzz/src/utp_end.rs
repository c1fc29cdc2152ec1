//! One end of a uTP connection, and all that has to hold of it whatever the other
//! end does.
//!
//! What it writes follows from its place in the stream, and what each number
//! carried first is remembered: so what is sent and sent again can be checked byte
//! by byte.

use std::collections::{BTreeMap, VecDeque};
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
use fullbore::wire::utp::{Header, Kind, SeqNr};

use super::input::Input;

/// Packets that one event may cause at the very most.
const MOST_AT_ONCE: usize = 20_000;
/// Bytes that are taken beyond the window: a peer cannot tell it to the byte.
const SLACK: usize = 64 << 10;
/// Largest payload: the MTU of Ethernet.
pub const MOST: u16 = 1500 - 20 - HEADERS as u16;

/// A byte of a stream at a place.
pub fn content(at: u32) -> u8 {
    let x = at.wrapping_mul(0x9e37_79b1);
    (x >> 24) as u8 ^ (x >> 11) as u8
}

pub fn config(i: &mut Input<'_>) -> Config {
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

/// How an end begins.
pub struct Start {
    pub config: Config,
    /// Of its pool.
    pub chunks: u32,
    pub isn: SeqNr,
    /// Which end it is, and which its peer: 1 to 255.
    pub me: u8,
    pub peer: u8,
    pub now: Instant,
}

pub struct End {
    pub conn: Connection,
    pub pool: Pool,
    chunks: u32,
    template: Template,
    config: Arc<Config>,
    /// Number of our first packet with payload, and what each carried.
    pub first: SeqNr,
    sent: BTreeMap<u32, (u32, usize)>,
    /// Packets and bytes that were sent for the first time.
    pub packets: u32,
    bytes: u32,
    fin: bool,
    /// The last acknowledgement sent.
    pub told: Option<SeqNr>,
    /// Bytes that the application wrote.
    pub written: u32,
    /// Packets that the application took and did not release.
    taken: VecDeque<Packet>,
    /// Packets that somebody else has.
    hogged: Vec<Packet>,
    /// Transmissions that have not completed.
    sending: VecDeque<TxDesc>,
    /// They complete only when asked.
    pub slow: bool,
    connected: bool,
    /// The peer's stream has ended.
    pub ended: bool,
    pub closed: Option<Reason>,
}

impl End {
    /// Connects with a number for both connection identifiers.
    pub fn connect(start: Start, id: u16) -> Self {
        let first = start.isn.plus(1);
        Self::new(start, id, first, Connection::connect)
    }

    /// Accepts.
    pub fn accept(start: Start, syn: &Header) -> Self {
        // The answer to a SYN does not count as a packet.
        let first = start.isn;
        Self::new(start, syn.conn_id, first, |setup| {
            Connection::accept(setup, syn)
        })
    }

    fn new(
        start: Start,
        id: u16,
        first: SeqNr,
        begin: impl FnOnce(&Setup<'_>) -> Connection,
    ) -> Self {
        let Start { me, peer, .. } = start;
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
        let template = Template::new(&path, 17).expect("one family");
        let config = Arc::new(start.config);
        let conn = begin(&Setup {
            config: &config,
            ports: Ports {
                local: me.into(),
                remote: peer.into(),
            },
            id,
            isn: start.isn,
            clock: u32::MAX - 5_000_000,
            mss: MOST,
            chunk: 1700,
            headroom: template.len() as u16,
            now: start.now,
        });
        Self {
            conn,
            pool: Pool::new(Region::anonymous(start.chunks, 2048)),
            chunks: start.chunks,
            template,
            config,
            first,
            sent: BTreeMap::new(),
            packets: 0,
            bytes: 0,
            fin: false,
            told: None,
            written: 0,
            taken: VecDeque::new(),
            hogged: Vec::new(),
            sending: VecDeque::new(),
            slow: false,
            connected: false,
            ended: false,
            closed: None,
        }
    }

    // -- what arrives -------------------------------------------------------

    /// A valid datagram arrives, unless there is no frame for it. Answers whether
    /// there was.
    pub fn datagram(&mut self, now: Instant, bytes: &[u8]) -> bool {
        let Some(mut packet) = self.pool.alloc() else {
            return false;
        };
        let header = Header::parse(bytes).expect("it is valid");
        packet.set_range(PACKET_START, bytes.len() as u16);
        self.pool.bytes_mut(&mut packet).copy_from_slice(bytes);
        self.conn
            .handle_packet(now, &mut self.pool, &header, packet);
        true
    }

    /// The deadline, if it has passed.
    pub fn timeout(&mut self, now: Instant) {
        if self.conn.poll_timeout().is_some_and(|t| t <= now) {
            self.conn.handle_timeout(now, &mut self.pool);
            let next = self.conn.poll_timeout();
            assert!(
                next.is_none_or(|t| t > now),
                "a deadline that stays: {:?}",
                self.conn
            );
        }
    }

    // -- the application ----------------------------------------------------

    /// Writes up to `n` bytes.
    pub fn write(&mut self, n: usize) {
        let data: Vec<u8> = (0..n as u32).map(|k| content(self.written + k)).collect();
        let taken = self.conn.send(&mut self.pool, &data);
        assert!(taken <= n);
        self.written += taken as u32;
    }

    /// Writes up to `n` bytes into a frame of its own.
    pub fn write_frame(&mut self, n: usize) {
        let Some(mut packet) = self.conn.prepare(&mut self.pool) else {
            return;
        };
        packet.truncate(n);
        let bytes = self.pool.bytes_mut(&mut packet);
        for (k, b) in (self.written..).zip(bytes.iter_mut()) {
            *b = content(k);
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

    /// Reads up to `n` bytes.
    pub fn read(&mut self, n: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < n {
            let Some(chunk) = self.conn.recv_chunk(&self.pool) else {
                break;
            };
            assert!(!chunk.is_empty());
            let some = &chunk[..chunk.len().min(n - read.len())];
            read.extend_from_slice(some);
            let len = some.len();
            self.conn.recv_consume(&mut self.pool, len);
        }
        read
    }

    /// Takes a packet out of the connection: what it says.
    pub fn take(&mut self) -> Vec<u8> {
        let Some(packet) = self.conn.recv_take() else {
            return Vec::new();
        };
        let bytes = self.pool.bytes(&packet).to_vec();
        self.taken.push_back(packet);
        bytes
    }

    /// Releases one packet that was taken.
    pub fn give_back(&mut self) {
        if let Some(packet) = self.taken.pop_front() {
            self.conn.recv_release(&self.pool, packet.len());
            self.pool.free(packet);
        }
    }

    // -- the pool -----------------------------------------------------------

    /// Somebody else takes packets until `left` are free.
    pub fn hog(&mut self, left: usize) {
        while self.pool.available() > left {
            self.hogged.extend(self.pool.alloc());
        }
    }

    pub fn unhog(&mut self) {
        for packet in self.hogged.drain(..) {
            self.pool.free(packet);
        }
    }

    /// Up to `n` transmissions complete.
    pub fn complete(&mut self, n: usize) {
        for desc in self.sending.drain(..n.min(self.sending.len())) {
            self.pool.complete(desc);
        }
    }

    // -- what comes of it ---------------------------------------------------

    /// Takes all output, and checks it and the connection. Answers the datagrams.
    pub fn settle(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut count = 0;
        loop {
            let next = self.conn.poll_transmit(now, &mut self.pool, &self.template);
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
            out.push(bytes);
            count += 1;
            assert!(count < MOST_AT_ONCE, "no end of packets: {:?}", self.conn);
        }
        self.take_events();
        self.check_state(now);
        out
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
            assert_eq!(*b, content(k), "byte {k} of {h:?}");
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

    fn check_state(&self, now: Instant) {
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
        assert_eq!(conn.check_timers(now), Ok(()), "{conn:?}");
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

    /// Everything comes back.
    pub fn finish(mut self) {
        self.unhog();
        while !self.taken.is_empty() {
            self.give_back();
        }
        self.conn.release(&mut self.pool);
        self.complete(usize::MAX);
        let ledger = self.pool.ledger();
        assert_eq!(ledger.pool, self.chunks, "{ledger}");
    }
}
