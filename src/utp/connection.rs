//! One connection: its parts and how it begins.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::mtu::Mtu;
use super::output::HEADERS;
use super::parts::{AckState, Events, Pending, Recovery};
use super::recv::Receive;
use super::rtt::Rtt;
use super::send::Send;
use super::timers::{Timer, Timers};
use super::{Config, Event, Ports, Reason, State};
use crate::congestion::Controller;
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::utp::{Header, SeqNr};
use crate::wire::{eth, ipv4, ipv6};

/// Smallest payload of a full packet that is ever used.
pub(super) const MIN_PAYLOAD: u16 = 150;
/// Payload assumed of a peer's packets before any has come.
const DEFAULT_PAYLOAD: u16 = 528;
/// Largest packets that every path takes, in bytes: RFC 1122 section 3.3.2 of
/// hosts, which libutp takes of paths; RFC 8200 section 5.
const BASE_V4: u16 = 576;
const BASE_V6: u16 = 1280;
/// Acknowledgements sent at once at the start, while the peer is in slow
/// start.
const QUICK_ACKS: u8 = 16;
/// The most sequence numbers that may be in flight: a quarter of all.
const MOST_PACKETS: u16 = 0x4000;
/// Packets out of order that others keep (libutp, nim-eth): what is further
/// ahead of a hole would be dropped.
pub(super) const REACH: u16 = 1024;

/// What a connection has to be told when it begins.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Settings, shared by many connections.
    pub config: &'a Arc<Config>,
    /// UDP ports of the two ends.
    pub ports: Ports,
    /// Connection id on which who connects receives, and which its SYN
    /// carries: it sends with the next one. Random, and such that no other
    /// connection with the same ends has it or the next. Who accepts takes
    /// both from the SYN.
    pub id: u16,
    /// Number of the first packet: the SYN's, or the SYN's answer's and of the
    /// first payload behind that. Random, for whoever cannot see it must not
    /// guess it.
    pub isn: SeqNr,
    /// What is added to the clock of timestamps, in microseconds.
    pub clock: u32,
    /// Largest payload of a packet that the path's first link takes, in
    /// bytes: its MTU less the headers of IP and [`HEADERS`].
    pub mss: u16,
    /// Largest one that fits a chunk behind its headers.
    pub chunk: u16,
    /// Bytes of headers before UDP in a frame.
    pub headroom: u16,
    /// The present.
    pub now: Instant,
}

/// A uTP connection (BEP 29).
///
/// Four kinds of method: getters; `handle_*`, when something arrives or a
/// deadline passes; mutators, when the user asks (`send`, `recv_*`,
/// `shutdown`, `close`, `abort`); and `poll_*`, which take output. After any
/// call of the second and third kind, poll until there is nothing left.
#[derive(Debug)]
pub struct Connection {
    pub(super) config: Arc<Config>,
    pub(super) ports: Ports,
    pub(super) state: State,
    /// The id that packets to us carry, and that ours carry.
    pub(super) recv_id: u16,
    pub(super) send_id: u16,
    /// Number of our SYN, or of the answer to the peer's.
    pub(super) isn: SeqNr,
    /// Number of the peer's SYN.
    pub(super) irs: SeqNr,
    pub(super) snd: Send,
    pub(super) rcv: Receive,
    pub(super) rtt: Rtt,
    pub(super) cc: Controller,
    pub(super) recovery: Recovery,
    pub(super) timers: Timers,
    pub(super) ack: AckState,
    pub(super) pending: Pending,
    pub(super) events: Events,
    pub(super) mtu: Mtu,
    /// Offset of our clock.
    pub(super) clock: u32,
    /// What we measured of the peer's last packet, for the next of ours.
    pub(super) reply_diff: u32,
    /// The latest timestamp of the peer.
    pub(super) peer_clock: u32,
    /// Largest payload that a chunk takes.
    pub(super) chunk: u16,
    pub(super) headroom: u16,
    pub(super) nodelay: bool,
    pub(super) cork: bool,
    /// Whether the SYN came from the peer.
    pub(super) passive: bool,
    /// Our FIN is behind what is queued.
    pub(super) fin_queued: bool,
    /// Our FIN was acknowledged.
    pub(super) fin_acked: bool,
    /// When our FIN was first sent, the peer's had arrived.
    pub(super) fin_answers: bool,
    /// The peer's FIN has been told of.
    pub(super) fin_told: bool,
    /// The application wants no more payload.
    pub(super) recv_closed: bool,
    /// The application was refused room.
    pub(super) wants_room: bool,
    /// The congestion window stopped us; holds until the packet before this
    /// is acknowledged.
    pub(super) cwnd_limited: Option<SeqNr>,
    /// End of the present round trip.
    pub(super) round_end: SeqNr,
    /// A packet was sent to find out what is missing at the end.
    pub(super) probed: bool,
    /// The last partial packet that was sent.
    pub(super) small: Option<SeqNr>,
    /// Consecutive time-outs.
    pub(super) timeouts: u8,
    pub(super) syns: u8,
    pub(super) hellos: u8,
    pub(super) keepalives: u8,
    /// When the first packet in flight was last acknowledged, or something was
    /// sent after nothing was in flight.
    pub(super) progress_at: Instant,
    pub(super) last_sent_at: Instant,
    pub(super) last_received_at: Instant,
    /// When all new data that has left would have, at the pace of the window.
    pub(super) pace_at: Instant,
    /// The frame that the next acknowledgement is written into.
    pub(super) spare: Option<Packet>,
    /// IPv4 identification of the next packet.
    pub(super) ident: u16,
    pub(super) counters: Counters,
}

impl Connection {
    fn new(s: &Setup<'_>, state: State, passive: bool, una: SeqNr) -> Self {
        let config = Arc::clone(s.config);
        let v6 = usize::from(s.headroom) >= eth::HEADER_LEN + ipv6::HEADER_LEN;
        let headers = if v6 {
            ipv6::HEADER_LEN
        } else {
            ipv4::HEADER_LEN
        } + HEADERS;
        let base = if v6 { BASE_V6 } else { BASE_V4 } - headers as u16;
        let most = s
            .mss
            .min(s.chunk)
            .min(config.max_payload.unwrap_or(u16::MAX));
        let mtu = Mtu::new(base, most.max(MIN_PAYLOAD), config.mtu_probing);
        Self {
            ports: s.ports,
            state,
            recv_id: 0,
            send_id: 0,
            isn: s.isn,
            irs: SeqNr(0),
            snd: Send::new(una, mtu.size()),
            rcv: Receive::new(config.recv_buffer, config.reorder_packets),
            rtt: Rtt::new(),
            cc: config.controller(mtu.size()),
            recovery: Recovery::default(),
            timers: Timers::new(),
            ack: AckState {
                quick: QUICK_ACKS,
                rcv_mss: DEFAULT_PAYLOAD,
                ..AckState::default()
            },
            pending: Pending::default(),
            events: Events::default(),
            mtu,
            clock: s.clock,
            reply_diff: 0,
            peer_clock: 0,
            chunk: s.chunk,
            headroom: s.headroom,
            nodelay: config.nodelay,
            cork: false,
            passive,
            fin_queued: false,
            fin_acked: false,
            fin_answers: false,
            fin_told: false,
            recv_closed: false,
            wants_room: false,
            cwnd_limited: None,
            round_end: una,
            probed: false,
            small: None,
            timeouts: 0,
            syns: 0,
            hellos: 0,
            keepalives: 0,
            progress_at: s.now,
            last_sent_at: s.now,
            last_received_at: s.now,
            pace_at: Instant::ZERO,
            spare: None,
            ident: s.isn.0,
            counters: Counters::default(),
            config,
        }
    }

    /// Begins to connect: SYN-SENT, with the SYN to be polled.
    #[must_use]
    pub fn connect(s: &Setup<'_>) -> Self {
        let mut c = Self::new(s, State::SynSent, false, s.isn.plus(1));
        (c.recv_id, c.send_id) = (s.id, s.id.wrapping_add(1));
        c.pending.syn = true;
        c
    }

    /// Answers a SYN: SYN-RECEIVED, with the answer to be polled. Every further
    /// SYN of the same number gets the same answer; nothing else is sent until
    /// the peer has shown that it got one.
    #[must_use]
    pub fn accept(s: &Setup<'_>, syn: &Header) -> Self {
        let mut c = Self::new(s, State::SynReceived, true, s.isn);
        (c.recv_id, c.send_id) = (syn.conn_id.wrapping_add(1), syn.conn_id);
        c.irs = syn.seq;
        c.rcv.nxt = syn.seq.plus(1);
        c.note_clock(s.now, syn);
        c.ack.now = true;
        c.timers.set(Timer::Close, s.now + c.config.accept_timeout);
        c
    }

    /// State of the connection.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// UDP ports of the two ends.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The connection id that packets to us carry.
    #[must_use]
    pub const fn recv_id(&self) -> u16 {
        self.recv_id
    }

    /// The connection id that our packets carry; a RESET to us may, too.
    #[must_use]
    pub const fn send_id(&self) -> u16 {
        self.send_id
    }

    /// Whether this is the connection that `syn` has begun: it came again.
    #[must_use]
    pub const fn is_of_syn(&self, syn: &Header) -> bool {
        self.passive && self.send_id == syn.conn_id && self.irs.0 == syn.seq.0
    }

    /// The nearest deadline, at which [`handle_timeout`](Self::handle_timeout)
    /// wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next thing that the application wants to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        let e = &mut self.events;
        if std::mem::take(&mut e.connected) {
            return Some(Event::Connected);
        }
        if std::mem::take(&mut e.readable) {
            return Some(Event::Readable);
        }
        if std::mem::take(&mut e.writable) {
            return Some(Event::Writable);
        }
        if std::mem::take(&mut e.peer_closed) {
            return Some(Event::PeerClosed);
        }
        let reason = e.closed.filter(|_| !e.closed_told)?;
        if reason == Reason::Finished && self.rcv.available() > 0 && !self.recv_closed {
            return None;
        }
        e.closed_told = true;
        Some(Event::Closed(reason))
    }

    /// Whether nothing is left to do: closed, and the application told so.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Closed) && self.events.closed_told && !self.pending.reset
    }

    /// Whether the connection is over, and only acknowledges what arrives
    /// again.
    #[must_use]
    pub const fn is_lingering(&self) -> bool {
        matches!(self.state, State::Lingering)
    }

    /// Ends the connection at once; frames are given back, and the
    /// application hears `reason`.
    pub(super) fn end(&mut self, reason: Reason, pool: &mut Pool) {
        self.state = State::Closed;
        self.timers.stop_all();
        self.snd.clear(pool);
        // What arrived in order before a reset is as good as it was.
        let kept = matches!(reason, Reason::Finished | Reason::Reset) && !self.recv_closed;
        if kept {
            self.rcv.forget_early(pool);
        } else {
            self.rcv.clear(pool);
        }
        self.free_spare(pool);
        if reason != Reason::Finished {
            self.events.readable = kept && self.rcv.available() > 0;
            self.events.writable = false;
            self.events.peer_closed &= kept;
        }
        // Who aborts before hearing of an orderly end has not had it.
        if reason == Reason::Aborted && !self.events.closed_told {
            self.events.closed = Some(reason);
        }
        self.events.closed = self.events.closed.or(Some(reason));
    }

    /// Gives every frame back: the connection is being forgotten.
    pub fn release(&mut self, pool: &mut Pool) {
        self.snd.clear(pool);
        self.rcv.clear(pool);
        self.free_spare(pool);
        self.timers.stop_all();
        self.state = State::Closed;
    }

    /// Whether memory is kept that [`trim`](Self::trim) would give back.
    #[must_use]
    pub fn has_slack(&self) -> bool {
        self.snd.has_slack() || self.rcv.has_slack()
    }

    /// Gives back memory that a connection at rest has no use for: of queues
    /// that are empty.
    pub fn trim(&mut self) {
        self.snd.trim();
        self.rcv.trim();
    }

    /// When something was last sent or received.
    #[must_use]
    pub fn last_active(&self) -> Instant {
        self.last_sent_at.max(self.last_received_at)
    }

    pub(super) fn free_spare(&mut self, pool: &mut Pool) {
        if let Some(p) = self.spare.take() {
            pool.free(p);
        }
    }

    /// Keeps a free frame for the acknowledgement of this batch.
    pub(super) fn keep_spare(&mut self, packet: Packet, pool: &mut Pool) {
        if let Some(old) = self.spare.replace(packet) {
            pool.free(old);
        }
    }

    /// Our clock in wrapping microseconds. 0 says that there is none.
    #[inline]
    pub(super) const fn micros(&self, at: Instant) -> u32 {
        match (at.as_micros() as u32).wrapping_add(self.clock) {
            0 => 1,
            us => us,
        }
    }

    /// Remembers when the packet of `h` was sent, and how long it took.
    #[inline]
    pub(super) const fn note_clock(&mut self, now: Instant, h: &Header) {
        if h.timestamp != 0 {
            self.reply_diff = self.micros(now).wrapping_sub(h.timestamp);
            self.peer_clock = h.timestamp;
        }
    }

    /// Most packets in flight.
    pub(super) fn max_packets(&self) -> u16 {
        self.config.max_packets.clamp(1, MOST_PACKETS)
    }

    /// The same now: behind a packet that is missing as many as others keep, and
    /// as a selective acknowledgement can report.
    #[inline]
    pub(super) fn packets_allowed(&self) -> u16 {
        if self.snd.is_plain() {
            self.max_packets()
        } else {
            self.max_packets().min(REACH)
        }
    }

    /// The time-out in force.
    pub(super) fn rto(&self) -> Duration {
        self.rtt.rto(&self.config)
    }

    /// Arms the retransmission timer from now, or stops it.
    pub(super) fn rearm_rto(&mut self, now: Instant) {
        if self.snd.has_sent() {
            self.timers.set(Timer::Rto, now + self.rto());
        } else {
            self.timers.stop(Timer::Rto);
        }
    }

    pub(super) fn rearm_keepalive(&mut self, from: Instant) {
        self.keepalives = 0;
        match self.config.keepalive {
            Some(idle) if self.state.can_receive() => {
                self.timers.set(Timer::Keepalive, from + idle);
            }
            _ => self.timers.stop(Timer::Keepalive),
        }
    }
}
