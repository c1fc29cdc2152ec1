//! The wire between all hosts: a switch, with a line to and from each host,
//! and a router in each line that may have a smaller MTU.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Packet, Pool};
use fullbore::time::Instant;

use crate::datagram::{self, Datagram};
use crate::handshake::{Handshakes, Note};
use crate::line::{Fate, Line};
use crate::numbers::Numbers;
use crate::observer::Observer;
use crate::packet::{self, ETHERNET, Segment};
use crate::rng::Rng;
use crate::trace::{Trace, utp_line};

/// A host as the wire sees it.
#[derive(Debug)]
pub struct Attached {
    pub mac: [u8; 6],
    pub mtu: u16,
    /// Its engines, by number.
    pub stations: Vec<usize>,
    pub up: Line,
    pub down: Line,
}

/// What waits for an engine: due first, then in the order of arrival.
type Arrival = Reverse<(Instant, u64, usize)>;

/// A defect built in on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The wire changes a byte of payload and mends the checksum.
    ForgedByte,
    /// The window that a host says it has gets smaller.
    ShrunkWindow,
    /// What is said to be acknowledged was never sent.
    AckTooFar,
    /// From some time on the wire drops payload, and says that it is up.
    SilentHole,
    /// An application loses a byte.
    LostByte,
    /// An application hears bytes twice.
    TwiceHeard,
    /// An application never gives a frame back.
    LeakedFrame,
    /// An application aborts although it was not to.
    WrongAbort,
    /// An engine's timers are not waited for.
    DeadTimers,
    /// An engine does not see the SYNs that it receives.
    DeafToSyns,
    /// Nor what answers its own.
    DeafToAnswers,
}

pub struct Network {
    pub hosts: Vec<Attached>,
    arrivals: Vec<BinaryHeap<Arrival>>,
    buffers: Vec<Vec<u8>>,
    /// What each buffer is to the handshakes.
    notes: Vec<Option<Note>>,
    unused: Vec<usize>,
    order: u64,
    rng: Rng,
    pub observer: Observer,
    pub numbers: Numbers,
    pub handshakes: Handshakes,
    /// SYNs that each engine has received in this turn.
    pub syns: Vec<Vec<usize>>,
    pub trace: Trace,
    /// The first thing that broke a rule.
    pub failure: Option<String>,
    pub packets: u64,
    pub sabotage: Option<Sabotage>,
}

impl Network {
    pub fn new(hosts: Vec<Attached>, stations: usize, rng: Rng, trace: Trace) -> Self {
        Self {
            hosts,
            arrivals: (0..stations).map(|_| BinaryHeap::new()).collect(),
            buffers: Vec::new(),
            notes: Vec::new(),
            unused: Vec::new(),
            order: 0,
            rng,
            observer: Observer::default(),
            numbers: Numbers::default(),
            handshakes: Handshakes::default(),
            syns: vec![Vec::new(); stations],
            trace,
            failure: None,
            packets: 0,
            sabotage: None,
        }
    }

    /// When something arrives at an engine.
    pub fn next_arrival(&self, station: usize) -> Option<Instant> {
        self.arrivals[station].peek().map(|Reverse((due, ..))| *due)
    }

    pub fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// The last time up to `now` at which the way between two hosts was not
    /// as it is, in either direction.
    pub fn disturbed(&mut self, now: Instant, a: usize, b: usize) -> Instant {
        let mut last = Instant::ZERO;
        for host in [a, b] {
            let host = &mut self.hosts[host];
            last = last.max(host.up.disturbed(now));
            last = last.max(host.down.disturbed(now));
        }
        last
    }

    /// A host transmits a frame.
    pub fn send(&mut self, now: Instant, host: usize, frame: &[u8]) {
        self.packets += 1;
        let segment = match packet::parse(frame) {
            Ok(segment) => segment,
            Err(what) => {
                self.fail(format!("host {host} sends {what}: {frame:02x?}"));
                return;
            }
        };
        let clamp = self.hosts[host].up.condition(now).clamp;
        let mut copy = self.buffer(frame);
        if let Some(mut s) = segment {
            self.spoil(&mut copy, &mut s);
            if let Some(most) = clamp.filter(|most| s.window > *most) {
                packet::rewrite(&mut self.buffers[copy], s.at, 14, most);
                s.window = most;
            }
            if packet::ip_len(frame).is_some_and(|n| n > usize::from(self.hosts[host].mtu)) {
                self.fail(format!("host {host} sends more than its MTU"));
            }
            if let Err(what) = self.observer.sent(&s) {
                self.fail(format!("{what}: {}", self.trace.line(now, &s)));
            }
            self.notes[copy] = self.handshakes.sent(now, &s);
            self.carry(now, host, copy, Some(&s));
        } else {
            if let Err(what) = self.over_utp(host, copy) {
                let line = datagram::parse(frame).ok().flatten();
                let line = line.map_or_else(|| format!("{frame:02x?}"), |d| utp_line(now, &d));
                self.fail(format!("host {host}: {what}: {line}"));
                return;
            }
            self.carry(now, host, copy, None);
        }
        self.unused.push(copy);
    }

    /// Holds what may be a packet of uTP against the rules.
    fn over_utp(&mut self, host: usize, copy: usize) -> Result<(), &'static str> {
        let Some(mut d) = datagram::parse(&self.buffers[copy])? else {
            return Ok(());
        };
        let frame = &mut self.buffers[copy];
        if packet::ip_len(frame).is_some_and(|n| n > usize::from(self.hosts[host].mtu)) {
            return Err("more than its MTU");
        }
        spoil_utp(self.sabotage, frame, &mut d);
        self.numbers.sent(&d)
    }

    fn spoil(&mut self, copy: &mut usize, s: &mut Segment) {
        let frame = &mut self.buffers[*copy];
        match self.sabotage {
            Some(Sabotage::ForgedByte) if s.len > 40 => {
                let at = s.header + s.len as usize / 4 * 2;
                packet::rewrite(frame, s.at, at, 0x5a5a);
            }
            Some(Sabotage::ShrunkWindow) if s.flags == packet::ACK && s.len == 0 => {
                s.window /= 3;
                packet::rewrite(frame, s.at, 14, s.window);
            }
            Some(Sabotage::AckTooFar) if s.flags == packet::ACK && s.len == 0 => {
                s.ack = s.ack.wrapping_add(70_000);
                packet::rewrite(frame, s.at, 8, (s.ack >> 16) as u16);
                packet::rewrite(frame, s.at, 10, s.ack as u16);
            }
            _ => {}
        }
    }

    /// Takes a frame from its host's line to those of its receivers.
    fn carry(&mut self, now: Instant, from: usize, copy: usize, s: Option<&Segment>) {
        let (len, ip) = self.size(copy);
        let hole = self.sabotage == Some(Sabotage::SilentHole);
        if hole && s.is_some_and(|s| s.len > 0) && self.packets > 12 {
            return;
        }
        let fate = self.hosts[from].up.judge(now, len, ip);
        let Some((due, again, corrupt)) = self.passes(now, from, copy, fate, s) else {
            return;
        };
        let mac = *self.buffers[copy].first_chunk::<6>().unwrap_or(&[0; 6]);
        for to in 0..self.hosts.len() {
            if to == from || (mac[0] & 1 == 0 && mac != self.hosts[to].mac) {
                continue;
            }
            for (due, corrupt) in [(Some(due), corrupt), (again, false)] {
                let Some(due) = due else { continue };
                let fate = self.hosts[to].down.judge(due, len, ip);
                let Some((due, again, worse)) = self.passes(now, from, copy, fate, s) else {
                    continue;
                };
                self.deliver(due, to, copy, corrupt || worse);
                if let Some(again) = again {
                    self.deliver(again, to, copy, false);
                }
            }
        }
    }

    fn size(&self, copy: usize) -> (usize, usize) {
        let frame = &self.buffers[copy];
        (frame.len(), packet::ip_len(frame).unwrap_or(0))
    }

    fn passes(
        &mut self,
        now: Instant,
        from: usize,
        copy: usize,
        fate: Fate,
        s: Option<&Segment>,
    ) -> Option<(Instant, Option<Instant>, bool)> {
        self.trace.note(now, from, &self.buffers[copy], s, &fate);
        match fate {
            Fate::Lost(_) => None,
            Fate::TooBig { mtu, told } => {
                if told && let Some(answer) = packet::too_big(&self.buffers[copy], mtu) {
                    let answer = self.buffer(&answer);
                    self.deliver(now + Duration::from_micros(200), from, answer, false);
                    self.unused.push(answer);
                }
                None
            }
            Fate::Passes {
                due,
                again,
                corrupt,
                mark,
            } => {
                if mark {
                    packet::mark(&mut self.buffers[copy]);
                }
                Some((due, again, corrupt))
            }
        }
    }

    /// Lets a copy arrive at the engine that a hash chooses.
    fn deliver(&mut self, due: Instant, to: usize, copy: usize, corrupt: bool) {
        let stations = &self.hosts[to].stations;
        let ports = datagram::ports(&self.buffers[copy]);
        let queue = ports.map_or(0, |(from, to)| {
            usize::from(from ^ to.rotate_left(3)) * 7 / 3 % stations.len()
        });
        let station = stations[queue];
        let bytes = std::mem::take(&mut self.buffers[copy]);
        let mine = self.buffer(&bytes);
        self.buffers[copy] = bytes;
        if corrupt {
            self.corrupt(mine);
        } else {
            self.notes[mine] = self.notes[copy];
        }
        self.order += 1;
        self.arrivals[station].push(Reverse((due, self.order, mine)));
    }

    /// Changes one bit of an IP packet: what the checksums are for. Ethernet
    /// has its own, and ARP none at all.
    fn corrupt(&mut self, at: usize) {
        let frame = &mut self.buffers[at];
        if packet::ip_len(frame).is_some() && frame.len() > ETHERNET {
            let bits = (frame.len() - ETHERNET) as u64 * 8;
            let bit = self.rng.below(bits) as usize;
            frame[ETHERNET + bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn buffer(&mut self, bytes: &[u8]) -> usize {
        let at = self.unused.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::with_capacity(2048));
            self.notes.push(None);
            self.buffers.len() - 1
        });
        self.buffers[at].clear();
        self.buffers[at].extend_from_slice(bytes);
        self.notes[at] = None;
        at
    }

    /// An engine takes what has arrived, up to `max` packets. Of those that
    /// wait, only `ring` have room: the rest are lost, and so is what finds no
    /// frame.
    pub fn receive(
        &mut self,
        now: Instant,
        station: usize,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        (max, ring): (usize, usize),
    ) -> usize {
        let mut taken = 0;
        while let Some(Reverse((due, _, at))) = self.arrivals[station].peek().copied() {
            if due > now || taken == max {
                break;
            }
            self.arrivals[station].pop();
            self.unused.push(at);
            let bytes = &self.buffers[at];
            let room = pool.max_packet();
            if bytes.len().div_ceil(room) <= pool.available() {
                let begin = out.len();
                for part in bytes.chunks(room) {
                    if let Some(mut packet) = pool.alloc() {
                        packet.set_range(PACKET_START, part.len() as u16);
                        packet.set_continues(true);
                        pool.bytes_mut(&mut packet).copy_from_slice(part);
                        out.push(packet);
                    }
                }
                if let Some(last) = out.last_mut() {
                    last.set_continues(false);
                }
                taken += 1;
                if self.overheard(now, station, at) {
                    for packet in out.drain(begin..) {
                        pool.free(packet);
                    }
                }
            }
        }
        let arrivals = &mut self.arrivals[station];
        if arrivals.len() > ring {
            let wait = arrivals.iter().filter(|a| a.0.0 <= now).count();
            for _ in ring..wait {
                if let Some(Reverse((.., at))) = arrivals.pop() {
                    self.unused.push(at);
                }
            }
        }
        taken
    }

    /// Notes what an engine receives; whether a defect keeps it from hearing.
    fn overheard(&mut self, now: Instant, station: usize, at: usize) -> bool {
        let Some(note) = self.notes[at] else {
            return false;
        };
        self.handshakes.received(now, note);
        match note {
            Note::Syn(attempt) => {
                self.syns[station].push(attempt);
                self.sabotage == Some(Sabotage::DeafToSyns)
            }
            Note::Answer(_) | Note::Reset(_) => self.sabotage == Some(Sabotage::DeafToAnswers),
        }
    }
}

fn spoil_utp(sabotage: Option<Sabotage>, frame: &mut [u8], d: &mut Datagram) {
    let dropped = match sabotage {
        Some(Sabotage::ForgedByte) if d.len > 40 => {
            let at = d.payload + d.len as usize / 4 * 2;
            (at - d.at).is_multiple_of(2).then_some((at, 0x5a5a))
        }
        Some(Sabotage::AckTooFar) if d.kind == datagram::STATE => {
            d.ack = d.ack.wrapping_add(20_000);
            Some((d.at + 18, d.ack))
        }
        _ => None,
    };
    if let Some((at, word)) = dropped {
        datagram::rewrite(frame, d.at, at, word);
    }
}
