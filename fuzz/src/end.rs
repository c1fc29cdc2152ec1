//! One end of a connection, and all that has to hold of it whatever the other
//! end does.
//!
//! Every byte of a stream tells its place: its value follows from its sequence
//! number. So what is sent, sent again and delivered can be checked byte by
//! byte, without keeping any.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use fullbore::frame::{PACKET_START, Packet, Pool, Region, TxDesc};
use fullbore::tcp::{Config, Connection, Event, Ports, Reason, Setup, State};
use fullbore::time::Instant;
use fullbore::wire::checksum::Sum;
use fullbore::wire::eth::Mac;
use fullbore::wire::ip::{Parsed, parse_frame};
use fullbore::wire::tcp::{Flags, Header, SeqNumber};
use fullbore::wire::template::{Path, Template};

/// Largest payload that an end sends.
pub const MSS: u16 = 1460;

/// The byte of a stream at a sequence number.
pub fn content(at: SeqNumber) -> u8 {
    let x = at.0.wrapping_mul(0x9e37_79b1);
    (x >> 24) as u8 ^ (x >> 11) as u8
}

fn fill(bytes: &mut [u8], at: SeqNumber) {
    for (n, b) in (0u32..).zip(bytes) {
        *b = content(at + n);
    }
}

/// Segments that one event may cause at the very most: a whole window of them.
const MOST_AT_ONCE: usize = 20_000;

pub struct End {
    pub conn: Option<Connection>,
    pub pool: Pool,
    pub config: Arc<Config>,
    template: Template,
    ports: Ports,
    /// Our initial sequence number.
    pub iss: SeqNumber,
    /// The peer's, once known.
    pub irs: Option<SeqNumber>,
    /// Behind the last number sent.
    pub nxt: SeqNumber,
    /// The last acknowledgement sent.
    told: Option<SeqNumber>,
    /// The rightmost edge offered.
    pub edge: Option<SeqNumber>,
    /// The shift in our SYN.
    pub shift: u8,
    /// The timestamp sent last.
    pub ts_sent: u32,
    /// Bytes that the application wrote and read.
    pub written: u32,
    pub read: u32,
    /// Packets that the application took and did not release.
    taken: VecDeque<Packet>,
    /// Packets that somebody else has.
    hogged: Vec<Packet>,
    /// Transmissions that have not completed.
    sending: VecDeque<TxDesc>,
    /// Transmissions complete only when asked.
    pub slow: bool,
    fin_sent: bool,
    connected: bool,
    /// Bytes that the peer's stream turned out to have.
    total: Option<u32>,
    pub closed: Option<Reason>,
    chunks: u32,
}

impl End {
    pub fn new(config: Config, me: u8, peer: u8, iss: SeqNumber, chunks: u32) -> Self {
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
            pool: Pool::new(Region::anonymous(chunks, 2048)),
            config: Arc::new(config),
            template: Template::new(&path, 6).expect("one family"),
            ports: Ports {
                local: me.into(),
                remote: peer.into(),
            },
            iss,
            irs: None,
            nxt: iss,
            told: None,
            edge: None,
            shift: 0,
            ts_sent: 0,
            written: 0,
            read: 0,
            taken: VecDeque::new(),
            hogged: Vec::new(),
            sending: VecDeque::new(),
            slow: false,
            fin_sent: false,
            connected: false,
            total: None,
            closed: None,
            chunks,
        }
    }

    pub fn setup(&self, now: Instant) -> Setup<'_> {
        Setup {
            config: &self.config,
            ports: self.ports,
            iss: self.iss,
            ts_offset: u32::MAX - 5000,
            mss: MSS,
            chunk: MSS,
            headroom: self.template.len() as u16,
            now,
        }
    }

    pub fn connect(&mut self, now: Instant) {
        self.conn = Some(Connection::connect(&self.setup(now)));
    }

    pub fn accept(&mut self, now: Instant, syn: &Header) {
        self.conn = Some(Connection::accept(&self.setup(now), syn));
        self.irs = Some(syn.seq);
    }

    pub fn state(&self) -> State {
        self.conn.as_ref().map_or(State::Closed, Connection::state)
    }

    /// SND.UNA, as far as it shows.
    pub fn una(&self) -> SeqNumber {
        let acked = self.conn.as_ref().map_or(0, |c| c.counters().bytes_acked);
        self.iss + u32::from(self.connected) + acked as u32
    }

    /// RCV.NXT, as far as it shows.
    pub fn rcv_nxt(&self) -> SeqNumber {
        let received = self
            .conn
            .as_ref()
            .map_or(0, |c| c.counters().bytes_received);
        let fin = u32::from(self.total.is_some());
        self.irs.unwrap_or_default() + (1 + received as u32 + fin)
    }

    pub fn rcv_wnd(&self) -> u32 {
        self.conn.as_ref().map_or(0, |c| c.info().rcv_wnd)
    }

    // -- what arrives -------------------------------------------------------

    /// A segment arrives, unless there is no frame for it.
    pub fn segment(&mut self, now: Instant, h: &Header, len: usize, ce: bool) {
        let Some(conn) = &mut self.conn else { return };
        let Some(mut packet) = self.pool.alloc() else {
            return;
        };
        packet.set_range(PACKET_START, len as u16);
        let syn = h.flags.contains(Flags::SYN);
        fill(self.pool.bytes_mut(&mut packet), h.seq + u32::from(syn));
        let before = conn.state();
        conn.handle_segment(now, &mut self.pool, h, ce, packet);
        let after = conn.state();
        if before == State::SynSent && after != before && after != State::Closed {
            assert!(syn, "left SYN-SENT without a SYN: {conn:?}");
            self.irs = Some(h.seq);
        }
    }

    /// The deadline, if it has passed.
    pub fn timeout(&mut self, now: Instant) {
        let Some(conn) = &mut self.conn else { return };
        if conn.poll_timeout().is_some_and(|t| t <= now) {
            conn.handle_timeout(now, &mut self.pool);
            let next = conn.poll_timeout();
            assert!(
                next.is_none_or(|t| t > now),
                "a deadline that stays: {conn:?}"
            );
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.conn.as_ref().and_then(Connection::poll_timeout)
    }

    // -- the application ----------------------------------------------------

    /// Writes up to `n` bytes.
    pub fn write(&mut self, n: usize) {
        let at = self.iss + (1 + self.written);
        let Some(conn) = &mut self.conn else { return };
        let mut data = vec![0; n];
        fill(&mut data, at);
        let taken = conn.send(&mut self.pool, &data);
        assert!(taken <= n);
        assert!(taken == 0 || conn.state().can_send() || conn.state() == State::SynReceived);
        self.written += taken as u32;
    }

    /// Writes up to `n` bytes into a frame of its own.
    pub fn write_frame(&mut self, n: usize) {
        let at = self.iss + (1 + self.written);
        let Some(conn) = &mut self.conn else { return };
        let Some(mut packet) = conn.prepare(&mut self.pool) else {
            return;
        };
        packet.truncate(n);
        let bytes = self.pool.bytes_mut(&mut packet);
        fill(bytes, at);
        let (sum, len) = (Sum::of(bytes), bytes.len());
        match conn.send_packet(&mut self.pool, packet, sum) {
            Ok(()) => self.written += len as u32,
            Err(packet) => {
                assert!(len == 0 || !conn.state().can_send(), "{conn:?}");
                self.pool.free(packet);
            }
        }
    }

    /// Reads up to `n` bytes: how many.
    pub fn read(&mut self, n: usize) -> usize {
        let Some(conn) = &mut self.conn else { return 0 };
        let mut left = n;
        while left > 0 {
            let Some(chunk) = conn.recv_chunk(&self.pool) else {
                break;
            };
            assert!(!chunk.is_empty());
            let n = chunk.len().min(left);
            let from = self.irs.expect("a SYN came first") + (1 + self.read);
            check(&chunk[..n], from);
            conn.recv_consume(&mut self.pool, n);
            self.read += n as u32;
            left -= n;
        }
        n - left
    }

    /// Takes a packet out of the connection.
    pub fn take(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        if let Some(packet) = conn.recv_take() {
            let from = self.irs.expect("a SYN came first") + (1 + self.read);
            check(self.pool.bytes(&packet), from);
            self.read += packet.len() as u32;
            self.taken.push_back(packet);
        }
    }

    /// Releases one packet that was taken.
    pub fn give_back(&mut self) {
        if let Some(packet) = self.taken.pop_front() {
            if let Some(conn) = &mut self.conn {
                conn.recv_release(&self.pool, packet.len());
            }
            self.pool.free(packet);
        }
    }

    pub fn shutdown(&mut self) {
        if let Some(conn) = &mut self.conn {
            conn.shutdown();
        }
    }

    pub fn close(&mut self, now: Instant) {
        if let Some(conn) = &mut self.conn {
            conn.close(now, &mut self.pool);
        }
    }

    pub fn abort(&mut self) {
        if let Some(conn) = &mut self.conn {
            conn.abort(&mut self.pool);
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

    /// Takes all output, and checks it and the connection. Answers the
    /// segments: header and length of the payload.
    pub fn settle(&mut self, now: Instant) -> Vec<(Header, usize)> {
        let mut out = Vec::new();
        while let Some(conn) = &mut self.conn {
            let Some(desc) = conn.poll_transmit(now, &mut self.pool, &self.template) else {
                break;
            };
            let parsed = parse_frame(self.pool.tx_bytes(&desc), true);
            let Ok(Parsed::Tcp {
                header, payload, ..
            }) = parsed
            else {
                panic!("not a segment: {parsed:?}");
            };
            let mut bytes = [0; 2048];
            let bytes = &mut bytes[..payload.len()];
            bytes.copy_from_slice(payload.of(self.pool.tx_bytes(&desc)));
            if self.slow {
                self.sending.push_back(desc);
            } else {
                self.pool.complete(desc);
            }
            self.check_output(&header, bytes);
            out.push((header, bytes.len()));
            assert!(
                out.len() < MOST_AT_ONCE,
                "no end of segments: {:?}",
                self.conn
            );
        }
        self.take_events();
        self.check_state();
        out
    }

    fn check_output(&mut self, h: &Header, payload: &[u8]) {
        let conn = self.conn.as_ref().expect("it sent something");
        assert_eq!(
            (h.src_port, h.dst_port),
            (self.ports.local, self.ports.remote)
        );
        if h.flags.contains(Flags::RST) {
            assert!(payload.is_empty());
            return;
        }
        let (syn, fin) = (h.flags.contains(Flags::SYN), h.flags.contains(Flags::FIN));
        assert!(!(syn && fin));
        if syn {
            assert_eq!(h.seq, self.iss, "{h:?}");
            assert!(payload.is_empty());
            self.shift = h.options.window_scale.unwrap_or(0);
        } else {
            assert!(h.flags.contains(Flags::ACK), "{h:?} {conn:?}");
        }
        check(payload, h.seq);
        assert!(payload.len() <= usize::from(MSS));
        let end = h.seq + payload.len() as u32 + u32::from(syn) + u32::from(fin);
        self.fin_sent |= fin;
        let last = self.iss + (1 + self.written) + u32::from(self.fin_sent);
        assert!(end.le(last), "more than was written: {h:?} {conn:?}");
        self.nxt = self.nxt.max(end);
        if let Some(t) = h.options.timestamps {
            self.ts_sent = t.val;
        }
        if !h.flags.contains(Flags::ACK) {
            return;
        }
        let irs = self.irs.expect("there is something to acknowledge");
        assert!(h.ack.gt(irs), "{h:?}");
        if let Some(told) = self.told {
            assert!(h.ack.ge(told), "acknowledges less: {told} {h:?} {conn:?}");
        }
        self.told = Some(h.ack);
        let shift = match (syn, conn.info().scaling) {
            (false, true) => self.shift,
            _ => 0,
        };
        let edge = h.ack + (u32::from(h.window) << shift);
        if syn {
            // Not scaled, so it may say less; who has heard more ignores it.
            self.edge = Some(edge);
        }
        if let Some(before) = self.edge {
            // RFC 7323 section 2.4 allows for one unit of rounding.
            let most_back = (1i32 << shift) - 1;
            assert!(
                edge.distance(before) >= -most_back,
                "the window shrank from {before} to {edge}: {h:?} {conn:?}"
            );
        }
        self.edge = Some(self.edge.unwrap_or(edge).max(edge));
        for (left, right) in h.options.sack.iter() {
            assert!(left.lt(right), "an empty block: {h:?}");
            // The first block may report a duplicate (RFC 2883), of anything.
            let duplicate = right.le(h.ack);
            assert!(duplicate || left.gt(irs), "{h:?}");
            let edge = self.edge.unwrap_or(right);
            assert!(duplicate || right.le(edge), "{h:?} {conn:?}");
        }
    }

    fn take_events(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        while let Some(event) = conn.poll_event() {
            assert_eq!(self.closed, None, "{event:?} after the end");
            match event {
                Event::Connected => {
                    assert!(!self.connected, "connected twice");
                    self.connected = true;
                }
                Event::Readable => assert!(self.connected, "readable before connected"),
                Event::Writable => {}
                Event::PeerClosed => {
                    assert_eq!(self.total, None, "ended twice");
                    self.total = Some(self.read + conn.recv_available() as u32);
                }
                Event::Closed(reason) => self.closed = Some(reason),
            }
        }
        if let Some(total) = self.total {
            assert!(
                self.read + conn.recv_available() as u32 <= total,
                "{conn:?}"
            );
        }
    }

    fn check_state(&self) {
        let Some(conn) = &self.conn else { return };
        let info = conn.info();
        let state = info.state;
        let ledger = self.pool.ledger();
        assert_eq!(ledger.total(), self.chunks, "{ledger}");
        if state == State::Closed {
            // Nothing is kept but what waits to be read.
            assert!(conn.poll_timeout().is_none() || !conn.is_done(), "{conn:?}");
            assert_eq!(ledger.queue + ledger.queue_tx, 0, "{ledger} {conn:?}");
            if conn.recv_available() == 0 {
                let others = self.taken.len() + self.hogged.len();
                assert_eq!(ledger.engine as usize, others, "{ledger} {conn:?}");
            }
            return;
        }
        let owes = info.send_queue > 0
            || matches!(
                state,
                State::SynSent
                    | State::SynReceived
                    | State::FinWait1
                    | State::Closing
                    | State::LastAck
                    | State::TimeWait
            );
        assert!(
            !owes || conn.poll_timeout().is_some(),
            "nothing wakes it: {conn:?}"
        );
        let waits = self
            .written
            .saturating_sub(conn.counters().bytes_acked as u32);
        assert_eq!(info.send_queue, waits, "{conn:?}");
        assert!(info.cwnd > 0 && info.ssthresh > 0, "{conn:?}");
        assert!(
            info.rto <= self.config.max_rto.max(self.config.min_rto),
            "{conn:?}"
        );
        let room = self.config.recv_buffer.clamp(2048, 1 << 30) as usize;
        let held = info.recv_queue + info.early.0;
        // A window that was offered in the SYN, and one unit of rounding.
        assert!(
            held <= room.max(0xffff) + (2 << self.shift),
            "keeps {held} of {room}: {conn:?}"
        );
    }

    /// Everything comes back.
    pub fn finish(mut self) {
        self.unhog();
        while !self.taken.is_empty() {
            self.give_back();
        }
        if let Some(mut conn) = self.conn.take() {
            conn.release(&mut self.pool);
        }
        self.complete(usize::MAX);
        let ledger = self.pool.ledger();
        assert_eq!(ledger.pool, self.chunks, "{ledger}");
    }
}

/// Whether `bytes` are what the stream has from `at` on.
fn check(bytes: &[u8], at: SeqNumber) {
    for (n, b) in (0u32..).zip(bytes) {
        assert_eq!(*b, content(at + n), "byte {n} of {} from {at}", bytes.len());
    }
}
