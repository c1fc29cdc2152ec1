//! One connection: its parts and how it begins.

use std::sync::Arc;
use std::time::Duration;

use super::cookie::Decoded;
use super::counters::Tally;
use super::ecn::{self, EcnState};
use super::loss::Recovery;
use super::parts::{AckState, Events, Pending, TimestampState};
use super::pmtu::PathMtu;
use super::predict::Answered;
use super::rack::Rack;
use super::recv::Receive;
use super::rtt::Rtt;
use super::send::Send;
use super::timers::{Timer, Timers};
use super::{Config, Event, Ports, Reason, State};
use crate::congestion::Controller;
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, Options, SeqNumber};
use crate::wire::{eth, ipv6};

/// Largest payload assumed of a peer that does not say, over IPv4.
const DEFAULT_MSS: u16 = 536;
/// Smallest payload that we let a peer force on us; smaller ones multiply
/// the cost of every byte.
pub(super) const MIN_MSS: u16 = 88;
/// Options on every segment once timestamps are agreed on, padding included.
pub const TIMESTAMPS_LEN: u16 = 12;
/// Acknowledgements sent at once at the start, while the peer is in slow
/// start.
const QUICK_ACKS: u8 = 16;

/// Largest payload assumed of a peer that does not say (RFC 9293 section
/// 3.7.1, MUST-15).
pub(super) const fn default_mss(ipv6: bool) -> u16 {
    if ipv6 { 1220 } else { DEFAULT_MSS }
}

/// What a connection has to be told when it begins.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Settings, shared by many connections.
    pub config: &'a Arc<Config>,
    /// Ports of the two ends.
    pub ports: Ports,
    /// Initial send sequence number (RFC 6528); ignored for a cookie.
    pub iss: SeqNumber,
    /// Offset of the timestamp clock in milliseconds (RFC 7323 section 5.4).
    pub ts_offset: u32,
    /// Largest TCP payload, without options, that fits the path.
    pub mss: u16,
    /// Largest one that fits a chunk behind its headers: segments that are
    /// longer take several.
    pub chunk: u16,
    /// Bytes of headers before TCP in a frame.
    pub headroom: u16,
    /// The present.
    pub now: Instant,
}

/// A TCP connection (RFC 9293).
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
    pub(super) snd: Send,
    pub(super) rcv: Receive,
    pub(super) rtt: Rtt,
    pub(super) cc: Controller,
    pub(super) rack: Rack,
    pub(super) recovery: Recovery,
    pub(super) timers: Timers,
    pub(super) ack: AckState,
    pub(super) pending: Pending,
    pub(super) events: Events,
    pub(super) ts: Option<TimestampState>,
    pub(super) ts_offset: u32,
    pub(super) sack: bool,
    pub(super) ecn: EcnState,
    /// Both ends scale their windows.
    pub(super) scaling: bool,
    pub(super) nodelay: bool,
    pub(super) cork: bool,
    /// Largest payload, without options, that the link takes.
    pub(super) path_mss: u16,
    pub(super) mtu: PathMtu,
    /// Our own largest payload for the MSS option.
    pub(super) mss: u16,
    /// Largest payload, without options, that a chunk takes.
    pub(super) chunk: u16,
    pub(super) headroom: u16,
    /// Whether the SYN came from the peer first: which way a reset in
    /// SYN-RECEIVED leads, and who says Connected.
    pub(super) passive: bool,
    /// The sequence number of the peer's FIN, once it is known.
    pub(super) fin_seq: Option<SeqNumber>,
    /// Behind our own FIN, once it is queued.
    pub(super) fin_end: Option<SeqNumber>,
    /// The application wants no more payload.
    pub(super) recv_closed: bool,
    /// The application was refused room.
    pub(super) wants_room: bool,
    /// The congestion window stopped us; holds until this is acknowledged.
    pub(super) cwnd_limited: Option<SeqNumber>,
    /// End of the present round trip.
    pub(super) round_end: SeqNumber,
    /// Consecutive time-outs, or probes without answer.
    pub(super) timeouts: u8,
    /// The SYN has gone again before its time-out.
    pub(super) syn_hurried: bool,
    /// Zero-window probes since the window shut, answered or not.
    pub(super) probes: u8,
    pub(super) keepalives: u8,
    /// When SND.UNA last advanced, or something was sent after nothing was in
    /// flight.
    pub(super) progress_at: Instant,
    pub(super) last_sent_at: Instant,
    pub(super) last_received_at: Instant,
    /// When all new data that has left would have, at the pace of the window.
    pub(super) pace_at: Instant,
    pub(super) answered: Answered,
    /// The frame that the next acknowledgement is written into.
    pub(super) spare: Option<Packet>,
    /// IPv4 identification of the next packet.
    pub(super) ident: u16,
    pub(super) counters: Tally,
}

impl Connection {
    fn new(s: &Setup<'_>, state: State, passive: bool) -> Self {
        let config = Arc::clone(s.config);
        let path_mss = s.mss.max(MIN_MSS);
        let chunk = s.chunk.max(MIN_MSS);
        let mss = config
            .max_segment
            .map_or(path_mss, |most| path_mss.min(most.max(MIN_MSS)));
        Self {
            ports: s.ports,
            state,
            snd: Send::new(s.iss, mss.min(chunk)),
            rcv: Receive::new(config.recv_buffer, config.window_scaling),
            rtt: Rtt::new(),
            cc: config.controller(mss.min(chunk)),
            rack: Rack::new(s.iss),
            recovery: Recovery::default(),
            timers: Timers::new(),
            ack: AckState {
                quick: QUICK_ACKS,
                rcv_mss: DEFAULT_MSS,
                ..AckState::default()
            },
            pending: Pending::default(),
            events: Events::default(),
            ts: None,
            ts_offset: s.ts_offset,
            sack: false,
            ecn: EcnState::default(),
            scaling: false,
            nodelay: config.nodelay,
            cork: false,
            path_mss,
            mtu: PathMtu::default(),
            mss,
            chunk,
            headroom: s.headroom,
            passive,
            fin_seq: None,
            fin_end: None,
            recv_closed: false,
            wants_room: false,
            cwnd_limited: None,
            round_end: s.iss,
            timeouts: 0,
            syn_hurried: false,
            probes: 0,
            keepalives: 0,
            progress_at: s.now,
            last_sent_at: s.now,
            last_received_at: s.now,
            pace_at: Instant::ZERO,
            answered: Answered::default(),
            spare: None,
            ident: (s.iss.0 >> 16) as u16,
            counters: Tally::default(),
            config,
        }
    }

    /// Begins to connect: SYN-SENT, with the SYN to be polled.
    #[must_use]
    pub fn connect(s: &Setup<'_>) -> Self {
        let mut c = Self::new(s, State::SynSent, false);
        c.snd.push_flag(true, false);
        c
    }

    /// Answers a SYN: SYN-RECEIVED, with the SYN-ACK to be polled.
    #[must_use]
    pub fn accept(s: &Setup<'_>, syn: &Header) -> Self {
        let mut c = Self::new(s, State::SynReceived, true);
        c.take_syn(s.now, syn);
        c.snd.push_flag(true, false);
        c
    }

    /// Continues a handshake whose state was in a cookie. `ack` is the
    /// segment that brought it; hand it to
    /// [`handle_segment`](Self::handle_segment) next.
    #[must_use]
    pub fn accept_cookie(s: &Setup<'_>, ack: &Header, cookie: &Decoded) -> Self {
        let mut c = Self::new(
            &Setup {
                iss: ack.ack - 1,
                ..s.clone()
            },
            State::SynReceived,
            true,
        );
        let syn = Header {
            seq: ack.seq - 1,
            flags: if cookie.ecn {
                Flags::SYN | ecn::SETUP
            } else {
                Flags::SYN
            },
            options: cookie.options(ack),
            ..*ack
        };
        c.ts_offset = cookie.ts_offset.unwrap_or(c.ts_offset);
        c.take_syn(s.now, &syn);
        // The SYN-ACK went out, statelessly.
        c.rcv.advertise(u32::from(c.mss), true);
        c.snd.push_flag(true, false);
        c.snd.mark_sent(0, s.now);
        c.rearm_rto(s.now);
        c
    }

    /// What the peer's SYN says: sequence numbers and options.
    pub(super) fn take_syn(&mut self, now: Instant, syn: &Header) {
        let o = &syn.options;
        self.rcv.start(syn.seq);
        self.ack.last_sent = self.rcv.nxt;
        match o.window_scale.filter(|_| self.config.window_scaling) {
            // RFC 7323 section 2.3: a larger shift counts as 14.
            Some(shift) => {
                self.snd.scale = shift.min(14);
                self.scaling = true;
            }
            None => self.rcv.without_scaling(),
        }
        self.sack = o.sack_permitted && self.config.sack;
        self.ecn.negotiate(self.config.ecn, syn.flags);
        self.ts = o
            .timestamps
            .filter(|_| self.config.timestamps)
            .map(|t| TimestampState::new(t.val, now));
        let theirs = o.mss.unwrap_or(default_mss(self.is_ipv6())).max(MIN_MSS);
        self.begin_search(self.mss.min(theirs));
        let mss = self.snd.mss;
        self.cc = self.config.controller(mss);
        // The window field of a SYN is never scaled.
        self.snd.wnd = u32::from(syn.window);
        self.snd.max_wnd = self.snd.wnd;
        self.snd.wl1 = syn.seq;
    }

    /// Options of our SYN or SYN-ACK: an answer mirrors what was offered.
    pub(super) fn syn_options(&self, now: Instant) -> Options {
        let offer = self.state == State::SynSent;
        let config = &self.config;
        Options {
            mss: Some(self.mss),
            window_scale: if offer {
                config.window_scaling
            } else {
                self.scaling
            }
            .then_some(self.rcv.scale),
            sack_permitted: if offer { config.sack } else { self.sack },
            timestamps: if offer {
                config.timestamps
            } else {
                self.ts.is_some()
            }
            .then(|| self.timestamps(now)),
            ..Options::default()
        }
    }

    /// State of the connection.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Ports of the two ends.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The nearest deadline, at which [`handle_timeout`](Self::handle_timeout)
    /// wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether [`poll_event`](Self::poll_event) may answer anything.
    #[inline]
    #[must_use]
    pub const fn has_events(&self) -> bool {
        self.events.any()
    }

    /// [`Event::Readable`], if that is all that [`poll_event`](Self::poll_event)
    /// would answer.
    #[inline]
    pub const fn poll_readable(&mut self) -> bool {
        self.events.take_readable()
    }

    /// The next thing that the application wants to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        let e = &mut self.events;
        if e.deferred {
            // Who is gone before sending anything is never told of.
            e.connected &= e.closed.is_none();
            if !(e.readable || e.peer_closed || e.closed.is_some()) {
                return None;
            }
            e.deferred = false;
            if self.state.can_send() {
                self.timers.stop(Timer::Close);
            }
        }
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

    /// Whether a SYN for the same ports may begin a new connection although
    /// this one is in TIME-WAIT (RFC 9293 section 3.10.7.4, RFC 6191).
    #[must_use]
    pub fn time_wait_accepts(&self, syn: &Header) -> bool {
        if self.state != State::TimeWait {
            return false;
        }
        match (self.ts, syn.options.timestamps) {
            (Some(ours), Some(theirs)) if theirs.val != ours.recent => {
                (theirs.val.wrapping_sub(ours.recent) as i32) > 0
            }
            _ => syn.seq.gt(self.rcv.nxt),
        }
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
            // The last call before the end. What is gone must not look
            // complete.
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
        self.snd.has_slack()
            || self.rcv.has_slack()
            || self.recovery.has_slack()
            || self.timers.has_slack()
    }

    /// Gives back memory that a connection at rest has no use for: of queues
    /// that are empty, and of a recovery that is over. It is kept until then,
    /// so that a connection in use does not allocate for each packet.
    pub fn trim(&mut self) {
        self.snd.trim();
        self.rcv.trim();
        self.recovery.trim();
        self.timers.trim();
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

    /// Whether the path is IPv6: no IPv4 path has headers as long as its.
    pub(super) const fn is_ipv6(&self) -> bool {
        self.headroom >= (eth::HEADER_LEN + ipv6::HEADER_LEN) as u16
    }

    /// Value of the timestamp clock: milliseconds (RFC 7323 section 5.4).
    pub(super) const fn ts_val(&self, at: Instant) -> u32 {
        (at.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    pub(super) fn timestamps(&self, now: Instant) -> crate::wire::tcp::Timestamps {
        crate::wire::tcp::Timestamps {
            val: self.ts_val(now),
            ecr: self.ts.map_or(0, |t| t.recent),
        }
    }

    /// Smoothed round-trip time, or a guess before the first measurement.
    pub(super) fn srtt(&self) -> Duration {
        self.rtt.srtt().unwrap_or(Duration::from_millis(100))
    }

    pub(super) fn rto(&self) -> Duration {
        self.rtt.rto(&self.config)
    }

    /// Arms the retransmission timer from now, or stops it.
    pub(super) fn rearm_rto(&mut self, now: Instant) {
        if self.snd.has_sent() {
            self.timers.set(Timer::Rto, now + self.rto());
        } else {
            self.timers.stop(Timer::Rto);
            self.timers.stop(Timer::Probe);
            self.timers.stop(Timer::Reorder);
        }
    }

    pub(super) fn rearm_keepalive(&mut self, now: Instant) {
        self.keepalives = 0;
        match self.config.keepalive {
            Some(idle) if self.state.is_synchronized() && self.state != State::TimeWait => {
                self.timers.set(Timer::Keepalive, now + idle);
            }
            _ => self.timers.stop(Timer::Keepalive),
        }
    }
}
