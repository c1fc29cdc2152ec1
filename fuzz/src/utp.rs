//! A uTP connection in any state, in either role, against whatever may arrive,
//! whatever the application does, however the time goes and with as few frames
//! as there may be.
//!
//! The peer's stream follows from its sequence numbers: the packet of a number
//! has always the same length and bytes. Ours follows from its places, and what
//! each number carried first is remembered. So what is delivered, sent and sent
//! again can be checked byte by byte.

use std::collections::HashSet;
use std::time::Duration;

use fullbore::time::Instant;
use fullbore::utp::State;
use fullbore::wire::utp::{CLOSE_REASON, Extension, Header, Kind, SELECTIVE_ACK, SeqNr};

use super::input::Input;
use super::utp_end::{End, MOST, Start, config, content};

/// Actions taken from one input.
const STEPS: usize = 300;
/// Time and deadlines after which a connection without a peer has to have given
/// up. While frames are short it looks for some every few milliseconds.
const PATIENCE: Duration = Duration::from_secs(1800);
const DEADLINES: usize = 1_000_000;

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

/// Payload of the peer's packet of a number, which is never empty.
fn theirs(seq: SeqNr) -> impl Iterator<Item = u8> {
    let x = u32::from(seq.0).wrapping_mul(0x85eb_ca6b);
    let len = [1, 7, 536, 1024, 1400][(x >> 13) as usize % 5];
    (0..len).map(move |n: u32| content(x ^ n))
}

struct World {
    end: End,
    now: Instant,
    /// The peer's next number to be delivered, and what was of its packet.
    next: SeqNr,
    begun: Vec<u8>,
    /// Numbers that carried payload, and that of the FIN.
    carried: HashSet<u16>,
    peer_fin: Option<SeqNr>,
}

impl World {
    fn new(i: &mut Input<'_>) -> Self {
        let config = config(i);
        let how = i.u8();
        let isn = SeqNr(if how & 0x80 != 0 {
            u16::MAX - 3
        } else {
            i.u16()
        });
        let now = Instant::from_millis(10_000);
        let start = Start {
            config,
            chunks: if how & 0x40 != 0 { 24 } else { 128 },
            isn,
            me: 1,
            peer: 2,
            now,
        };
        let id = i.u16();
        let (end, next) = if how & 1 == 0 {
            (End::connect(start, id), SeqNr(0))
        } else {
            let syn = Header {
                kind: Kind::Syn,
                conn_id: id,
                timestamp: i.u32(),
                window: i.u32(),
                seq: SeqNr(i.u16()),
                ..Header::default()
            };
            (End::accept(start, &syn), syn.seq.plus(1))
        };
        let mut world = Self {
            end,
            now,
            next,
            begun: Vec::new(),
            carried: HashSet::new(),
            peer_fin: None,
        };
        world.settle();
        if how & 4 != 0 {
            world.shake_hands(i);
            world.settle();
        }
        world
    }

    fn settle(&mut self) {
        self.end.settle(self.now);
    }

    /// The peer does its part of the handshake.
    fn shake_hands(&mut self, i: &mut Input<'_>) {
        let seq = match self.end.conn.state() {
            State::SynSent => SeqNr(i.u16()),
            _ => self.next,
        };
        let h = Header {
            kind: if self.end.conn.state() == State::SynSent {
                Kind::State
            } else {
                Kind::Data
            },
            conn_id: self.end.conn.recv_id(),
            timestamp: 7_000_000,
            window: 1 << 20,
            seq,
            ack: self.end.first.minus(1),
            ..Header::default()
        };
        self.packet(&h, &[]);
    }

    fn step(&mut self, i: &mut Input<'_>) {
        let op = i.u8();
        match op % 32 {
            0..=9 => self.any_packet(i),
            10..=13 => self.next_packet(i),
            14 | 15 => self.end.write(usize::from(i.u16())),
            16 => self.end.write_frame(usize::from(i.u16() % (MOST + 1))),
            17 => {
                let read = self.end.read(usize::from(i.u16()));
                self.check_delivered(&read);
            }
            18 => {
                let taken = self.end.take();
                self.check_delivered(&taken);
            }
            19 => self.end.give_back(),
            20 if op >= 128 => self.end.conn.shutdown(),
            21 if op >= 128 => self.end.conn.close(self.now, &mut self.end.pool),
            22 if op >= 192 => self.end.conn.abort(&mut self.end.pool),
            20..=23 => self.end.complete(i.below(8)),
            24 => {
                self.end.slow = i.bool();
                if !self.end.slow {
                    self.end.complete(usize::MAX);
                }
            }
            25 => self.end.hog(i.below(16)),
            26 => self.end.unhog(),
            27 if op & 32 != 0 => self.end.conn.limit_payload(i.u16(), &mut self.end.pool),
            27 => self.end.conn.handle_unreachable(&mut self.end.pool),
            28 if op & 32 != 0 => self.end.conn.set_nodelay(op & 64 != 0),
            28 => {
                self.end.conn.set_cork(op & 64 != 0);
                self.end.conn.trim();
            }
            29 => {
                self.now += Duration::from_micros(u64::from(i.u16()) << (op >> 5));
                self.end.timeout(self.now);
            }
            _ => {
                let next = self.end.conn.poll_timeout().unwrap_or(self.now);
                self.now = self.now.max(next);
                self.end.timeout(self.now);
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
        let last = self.end.first.plus(self.end.packets as u16);
        let una = self.end.conn.info().unacked as u16;
        let h = Header {
            kind,
            conn_id: match i.u8() {
                0 => i.u16(),
                1 | 2 => self.end.conn.send_id(),
                3 | 4 => self.end.conn.recv_id().wrapping_sub(1),
                _ => self.end.conn.recv_id(),
            },
            timestamp: self.timestamp(i),
            timestamp_diff: self.difference(i),
            window: self.window(i),
            seq: near(i, &[self.next, self.next, self.next.plus(64)]),
            ack: near(
                i,
                &[
                    last.minus(1),
                    last.minus(1),
                    last.minus(una),
                    self.end.first,
                ],
            ),
            ..Header::default()
        };
        let with = i.u8();
        let bits = i.bytes(usize::from(with >> 4) * 2);
        let extension = [Extension {
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
            &extension[..]
        };
        self.packet(&h, extensions);
    }

    /// The next payload, acknowledging everything.
    fn next_packet(&mut self, i: &mut Input<'_>) {
        let with = i.u8();
        let arrived = self.end.conn.info().recv_queue > 0 && with & 8 != 0;
        let h = Header {
            kind: if with & 7 == 7 { Kind::Fin } else { Kind::Data },
            conn_id: self.end.conn.recv_id(),
            timestamp: self.timestamp(i),
            timestamp_diff: self.difference(i),
            window: self.window(i),
            seq: self
                .end
                .told
                .map_or(self.next, |t| t.plus(1 + u16::from(arrived))),
            ack: self.end.first.plus(self.end.packets as u16).minus(1),
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
        if self.end.pool.available() == 0 {
            return;
        }
        let h = self.consistent(*h);
        let mut bytes = vec![0; Header::emit_len(extensions)];
        h.emit(&mut bytes, extensions);
        if h.kind == Kind::Data {
            bytes.extend(theirs(h.seq));
        }
        let before = self.end.conn.state();
        self.end.datagram(self.now, &bytes);
        let after = self.end.conn.state();
        if before == State::SynSent && after == State::Connected {
            assert_eq!(h.kind, Kind::State, "{:?}", self.end.conn);
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

    /// The peer is gone, and the application waits: what is owed is given up
    /// in the end, and every frame comes back.
    fn wind_down(mut self) {
        self.end.slow = false;
        self.end.complete(usize::MAX);
        self.end.unhog();
        self.settle();
        // Who is connected and owes nothing waits for ever.
        self.end.conn.close(self.now, &mut self.end.pool);
        self.settle();
        let begin = self.now;
        for n in 0.. {
            let Some(next) = self.end.conn.poll_timeout() else {
                break;
            };
            let patient = self.now.since(begin) < PATIENCE && n < DEADLINES;
            assert!(patient, "it never gives up: {:?}", self.end.conn);
            self.now = self.now.max(next);
            self.end.timeout(self.now);
            self.settle();
        }
        assert_eq!(self.end.conn.state(), State::Closed, "{:?}", self.end.conn);
        self.end.finish();
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
