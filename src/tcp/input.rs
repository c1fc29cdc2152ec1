//! A segment arrives: the steps of RFC 9293 section 3.10.7, in its order.

use std::time::Duration;

use super::connection::Connection;
use super::parts::TimestampState;
use super::recv::Received;
use super::timers::Timer;
use super::{Reason, State};
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, SeqNumber};

/// TS.Recent is void after this long (RFC 7323 section 5.5).
const TS_LIFETIME: u32 = 24 * 24 * 3600; // s

/// When a SYN goes again behind the reset of what was in its way.
const SYN_AGAIN: Duration = Duration::from_millis(10);

/// Whether to go on with the next step.
type Step = std::ops::ControlFlow<()>;
const GO_ON: Step = Step::Continue(());
const DONE: Step = Step::Break(());

impl Connection {
    /// Takes a segment of this connection. `packet`'s range is the payload,
    /// possibly empty; it is kept or given back. `ce` says that the IP header
    /// carried the congestion mark.
    pub fn handle_segment(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        ce: bool,
        packet: Packet,
    ) {
        self.ecn.marked = ce;
        self.counters.segments_received += 1;
        self.counters.data_segments_received += u64::from(!packet.is_empty());
        let mut packet = match self.take_expected(now, pool, h, packet) {
            None => return,
            unexpected => unexpected,
        };
        let _ = match self.state {
            State::Closed => DONE,
            State::SynSent => self.in_syn_sent(now, pool, h, &mut packet),
            _ => self.in_order(now, pool, h, &mut packet),
        };
        if let Some(p) = packet {
            self.keep_spare(p, pool);
        }
        self.tell_room();
    }

    /// As [`handle_segment`](Self::handle_segment), of a segment whose payload
    /// lies in several packets: each is taken as a segment of its own, which
    /// together say what the one does. They are taken out of `parts`.
    pub fn handle_parts(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        ce: bool,
        parts: &mut Vec<Packet>,
    ) {
        let before = self.rcv.nxt;
        let len = parts.iter().map(Packet::len).sum::<usize>();
        let counted = (
            self.counters.segments_received + 1,
            self.counters.data_segments_received + u64::from(len > 0),
        );
        // What a SYN or a reset says, it says without its payload.
        let alone = h.flags.intersects(Flags::SYN | Flags::RST);
        let filled = parts.iter().rposition(|p| !p.is_empty());
        let last = filled.filter(|_| !alone).unwrap_or(0);
        let mut header = Header {
            flags: h.flags.without(Flags::FIN),
            ..*h
        };
        for (i, mut packet) in parts.drain(..).enumerate() {
            // One that is empty would pass for a bare acknowledgement.
            if i > last || (packet.is_empty() && i != last) {
                pool.free(packet);
                continue;
            }
            if alone {
                packet.truncate(0);
            }
            if i == last {
                header.flags = h.flags;
            }
            let taken = packet.len() as u32;
            self.handle_segment(now, pool, &header, ce, packet);
            header.seq += taken;
        }
        (
            self.counters.segments_received,
            self.counters.data_segments_received,
        ) = counted;
        if len > 0 && self.rcv.nxt.distance(before).max(0) as usize >= len {
            let len = u16::try_from(len).unwrap_or(u16::MAX);
            self.ack.rcv_mss = self.ack.rcv_mss.max(len.min(self.mss));
        }
    }

    fn in_order(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        packet: &mut Option<Packet>,
    ) -> Step {
        let len = packet.as_ref().map_or(0, Packet::len) as u32;
        self.check_timestamp(now, h, len)?;
        self.check_sequence(now, h, len, packet)?;
        self.note_pause(now);
        self.last_received_at = now;
        self.rearm_keepalive(now);
        self.check_reset(now, h, pool)?;
        self.check_syn(now, h)?;
        self.check_ack(now, h, len, pool)?;
        self.note_timestamp(now, h);
        if h.flags.contains(Flags::SYN) {
            // The answer of a simultaneous open: what follows its SYN is not
            // taken, and comes again.
            self.ack.now = true;
            return DONE;
        }
        self.note_fin(h, len, pool);
        self.take_payload(now, h, packet, pool)?;
        self.check_fin(now, h, pool)
    }

    /// Section 3.10.7.3.
    fn in_syn_sent(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        packet: &mut Option<Packet>,
    ) -> Step {
        let has_ack = h.flags.contains(Flags::ACK);
        if has_ack && (h.ack.le(self.snd.una) || h.ack.gt(self.snd.nxt)) {
            if !h.flags.contains(Flags::RST) {
                self.disown(now, h.ack);
                self.hurry_syn(now);
            }
            return DONE;
        }
        if h.flags.contains(Flags::RST) {
            if has_ack && self.ecn.retry_plain() {
                // RFC 3168 section 6.1.1.1: what asks for ECN may be refused
                // by those who do not know it.
                self.snd.mark_lost(0);
            } else if has_ack {
                self.end(Reason::Refused, pool);
            }
            return DONE;
        }
        if !h.flags.contains(Flags::SYN) {
            return DONE;
        }
        self.last_received_at = now;
        self.take_syn(now, h);
        if !has_ack {
            // Simultaneous open: our SYN goes again, as a SYN-ACK. Each end
            // may have heard of the other's wish or not, so none marks.
            self.ecn.forgo();
            self.state = State::SynReceived;
            self.snd.mark_lost(0);
            return DONE;
        }
        self.finish_handshake(now, h, pool);
        self.ack.now = true;
        // A fast opener may have put payload on its SYN-ACK.
        let shifted = Header {
            seq: h.seq + 1,
            ..*h
        };
        let len = packet.as_ref().map_or(0, Packet::len) as u32;
        self.rcv.advertise(u32::from(self.mss), true);
        self.note_fin(&shifted, len, pool);
        self.take_payload(now, &shifted, packet, pool)?;
        self.check_fin(now, &shifted, pool)
    }

    /// Our SYN is acknowledged: the connection is established.
    fn finish_handshake(&mut self, now: Instant, h: &Header, pool: &mut Pool) {
        let syns = self.snd.first().map_or(0, |s| s.sent);
        // A refusal is no loss, and haste no sign of one.
        let needless = self.ecn.needless_syns() + u8::from(self.syn_hurried);
        let syns = syns.saturating_sub(needless);
        if self.state != State::FinWait1 {
            self.state = State::Established;
        }
        self.update_window(h, h.flags.contains(Flags::SYN));
        self.take_ack(now, h, false, pool);
        if syns > 1 {
            self.rtt.syn_was_lost();
        }
        if syns > 2 {
            // RFC 5681 section 3.1: then the initial window is one segment;
            // but not for one retransmission, which with a time-out of 1 s may
            // have been early (RFC 6928 section 2).
            self.cc.set_cwnd(u32::from(self.snd.mss));
        }
        self.events.connected = true;
        if let Some(longest) = self.config.defer_accept.filter(|_| self.passive) {
            self.events.deferred = true;
            self.timers.set(Timer::Close, now + longest);
        }
        self.rearm_keepalive(now);
    }

    /// PAWS (RFC 7323 section 5.3).
    fn check_timestamp(&mut self, now: Instant, h: &Header, len: u32) -> Step {
        let Some(ts) = self.ts else { return GO_ON };
        if h.flags.contains(Flags::RST) {
            return GO_ON;
        }
        // Section 3.2: once agreed on, they are on every segment. The SYN of a
        // peer that has forgotten the connection may be without, and needs an
        // answer to go on (RFC 5961 section 4).
        let Some(theirs) = h.options.timestamps else {
            return if h.flags.contains(Flags::SYN) {
                GO_ON
            } else {
                DONE
            };
        };
        let old = (theirs.val.wrapping_sub(ts.recent) as i32) < 0;
        // An acknowledgement that was overtaken on the way tells nothing new,
        // but answering it would only make more of them.
        let bare = len == 0 && !h.flags.intersects(Flags::SYN | Flags::FIN);
        if old && ts.age(now) < TS_LIFETIME {
            self.counters.rare().paws += 1;
            if bare && h.seq == self.rcv.nxt {
                return DONE;
            }
            self.challenge(now);
            return DONE;
        }
        GO_ON
    }

    /// First: is it in the window?
    fn check_sequence(
        &mut self,
        now: Instant,
        h: &Header,
        len: u32,
        packet: &mut Option<Packet>,
    ) -> Step {
        if h.flags.contains(Flags::RST) {
            // It counts by its number alone, also at a shut window (RFC 9293
            // section 3.8.6, MUST-66), whatever payload explains it.
            return if self.rcv.acceptable(h.seq, 0) || self.is_of_their_fin(h.seq) {
                GO_ON
            } else {
                DONE
            };
        }
        let syn = h.flags.contains(Flags::SYN);
        if syn && self.state == State::SynReceived && h.seq + 1 == self.rcv.nxt {
            match (self.passive, h.flags.contains(Flags::ACK)) {
                // Simultaneous open: the peer's answer to our SYN.
                (false, true) => return GO_ON,
                (passive, false) => {
                    if passive {
                        self.ecn.negotiate(self.config.ecn, h.flags);
                    }
                    self.snd.mark_lost(0);
                    return DONE;
                }
                (true, true) => {}
            }
        }
        let seq_len = len + u32::from(syn) + u32::from(h.flags.contains(Flags::FIN));
        if self.rcv.acceptable(h.seq, seq_len) {
            return GO_ON;
        }
        if h.seq == self.rcv.nxt && self.rcv.window() == 0 {
            // The window is shut: payload waits, the rest is valid.
            self.ack.now = true;
            if let Some(p) = packet {
                p.truncate(0);
            }
            return GO_ON;
        }
        // What comes with a SYN is not of this stream.
        if len > 0 && !syn {
            self.counters.rare().duplicates += 1;
            self.rcv.note_duplicate(h.seq, h.seq + len);
        }
        if self.state == State::TimeWait && h.flags.contains(Flags::FIN) {
            self.enter_time_wait(now);
        }
        if len > 0 {
            self.ack.now = true;
        } else {
            self.challenge(now);
        }
        DONE
    }

    /// RFC 7323 section 4.3: which timestamp to echo. Not before the
    /// acknowledgement was found acceptable: a forged one that is ahead of
    /// the peer's clock would shut the peer out.
    fn note_timestamp(&mut self, now: Instant, h: &Header) {
        if let (Some(ts), Some(theirs)) = (&mut self.ts, h.options.timestamps)
            && h.seq.le(self.ack.last_sent)
            && !h.flags.contains(Flags::RST)
        {
            *ts = TimestampState::new(theirs.val, now);
        }
    }

    /// Whether this is the number of the peer's FIN, and the connection is not
    /// over: some (macOS among them) give it to the reset behind that, too, and
    /// may leave a challenge without an answer.
    fn is_of_their_fin(&self, seq: SeqNumber) -> bool {
        let behind_fin = matches!(
            self.state,
            State::CloseWait | State::Closing | State::LastAck
        );
        behind_fin && seq + 1 == self.rcv.nxt
    }

    /// Second: a reset must hit RCV.NXT exactly (RFC 5961 section 3).
    fn check_reset(&mut self, now: Instant, h: &Header, pool: &mut Pool) -> Step {
        if !h.flags.contains(Flags::RST) {
            return GO_ON;
        }
        if h.seq != self.rcv.nxt && !self.is_of_their_fin(h.seq) {
            self.challenge(now);
            return DONE;
        }
        let reason = match self.state {
            State::SynReceived if !self.passive => Reason::Refused,
            State::TimeWait => Reason::Finished,
            _ => Reason::Reset,
        };
        self.end(reason, pool);
        DONE
    }

    /// Fourth: a SYN on a connection is not believed (RFC 5961 section 4).
    fn check_syn(&mut self, now: Instant, h: &Header) -> Step {
        if !h.flags.contains(Flags::SYN) {
            return GO_ON;
        }
        let simultaneous = self.state == State::SynReceived && !self.passive;
        // The peer's answer to our SYN repeats its own.
        if simultaneous && h.flags.contains(Flags::ACK) && h.seq + 1 == self.rcv.nxt {
            return GO_ON;
        }
        self.challenge(now);
        DONE
    }

    /// Fifth: the acknowledgement.
    fn check_ack(&mut self, now: Instant, h: &Header, len: u32, pool: &mut Pool) -> Step {
        if !h.flags.contains(Flags::ACK) {
            return DONE;
        }
        let handshaking = self.snd.first().is_some_and(|s| s.syn);
        if handshaking {
            if h.ack.le(self.snd.una) || h.ack.gt(self.snd.nxt) {
                self.disown(now, h.ack);
                return DONE;
            }
            self.finish_handshake(now, h, pool);
            return self.after_ack(now, pool);
        }
        if h.ack.lt(self.oldest_ack()) || h.ack.gt(self.snd.nxt) {
            self.challenge(now);
            return DONE;
        }
        if h.ack.lt(self.snd.una) {
            return GO_ON;
        }
        let wnd = self.snd.wnd;
        let changed = self.update_window(h, false) && self.snd.wnd != wnd;
        let bare = len == 0 && !changed && !h.flags.contains(Flags::FIN);
        self.take_ack(now, h, bare, pool);
        if self.snd.wnd == 0 && !self.recv_closed {
            // The peer lives, and has shut its window with data in flight or
            // not: as long as it answers, the connection stays open (RFC 9293
            // section 3.8.6.1).
            self.timeouts = 0;
        }
        if self.timers.is_set(Timer::Persist) {
            // Whether the window opened shows when sending.
            if !self.recv_closed {
                self.timeouts = 0;
            }
            if self.snd.wnd > wnd {
                self.probes = 0;
                self.rtt.reset_backoff();
                self.timers.stop(Timer::Persist);
            }
        }
        self.after_ack(now, pool)
    }

    /// The oldest acknowledgement that is believed: RFC 5961 section 5.2, and
    /// not one of what was never sent, which whoever guesses could use while a
    /// connection is young.
    fn oldest_ack(&self) -> SeqNumber {
        let (una, reach) = (self.snd.una, self.snd.max_wnd);
        if self.counters.bytes_acked < u64::from(reach) {
            let sent = una.distance(self.snd.iss + 1).max(0) as u32;
            una - reach.min(sent)
        } else {
            una - reach
        }
    }

    /// Takes the window field unless an older segment brings it. One that
    /// acknowledges more is never older, although it may repeat older payload:
    /// with the window of before it would let us go beyond the peer's edge.
    pub(super) fn update_window(&mut self, h: &Header, unscaled: bool) -> bool {
        let snd = &mut self.snd;
        let newer =
            snd.wl1.lt(h.seq) || (snd.wl1 == h.seq && snd.wl2.le(h.ack)) || h.ack.gt(snd.una);
        if !newer && !unscaled {
            return false;
        }
        snd.wnd = u32::from(h.window) << if unscaled { 0 } else { snd.scale };
        snd.max_wnd = snd.max_wnd.max(snd.wnd);
        snd.wl1 = h.seq;
        snd.wl2 = h.ack;
        true
    }

    /// What the acknowledgement of our FIN changes.
    fn after_ack(&mut self, now: Instant, pool: &mut Pool) -> Step {
        let fin_acked = self.fin_end.is_some_and(|end| self.snd.una.ge(end));
        if !fin_acked {
            return GO_ON;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.recv_closed {
                    self.timers.set(Timer::Close, now + self.config.fin_wait_2);
                }
            }
            State::Closing => self.enter_time_wait(now),
            State::LastAck => {
                self.end(Reason::Finished, pool);
                return DONE;
            }
            _ => {}
        }
        GO_ON
    }

    /// Seventh: the payload.
    fn take_payload(
        &mut self,
        now: Instant,
        h: &Header,
        packet: &mut Option<Packet>,
        pool: &mut Pool,
    ) -> Step {
        let len = packet.as_ref().map_or(0, Packet::len);
        if len == 0 {
            return GO_ON;
        }
        if !self.state.can_receive() {
            // Behind the peer's FIN there is nothing.
            return GO_ON;
        }
        let Some(mut p) = packet.take() else {
            return GO_ON;
        };
        if self.recv_closed {
            *packet = Some(p);
            self.abort(pool);
            return DONE;
        }
        if let Some(fin) = self.fin_seq {
            p.truncate(fin.distance(h.seq).max(0) as usize);
        }
        self.note_marks(h);
        self.ack.rcv_mss = self.ack.rcv_mss.max((len as u16).min(self.mss));
        let before = self.rcv.nxt;
        if h.seq.lt(before) {
            self.counters.rare().duplicates += 1;
        }
        let received = self.rcv.take_in(h.seq, p, pool);
        let delivered = self.rcv.nxt.distance(before).max(0) as u32;
        self.counters.bytes_received += u64::from(delivered);
        match received {
            Received::InOrder { filled: false } if h.seq == before && !self.ecn.marked => {
                self.note_flow(delivered);
            }
            _ => self.ack.run = 0,
        }
        match received {
            Received::InOrder { filled } => {
                self.events.readable = true;
                self.ack.unacked += delivered;
                self.ack.now |= filled || h.seq.lt(before);
            }
            Received::Early => {
                self.counters.rare().out_of_order += 1;
                self.ack.now = true;
            }
            Received::Nothing => self.ack.now = true,
            Received::NoRoom => {
                // No acknowledgement: it would ask for the same again at once.
                self.counters.rare().no_room += 1;
                return GO_ON;
            }
        }
        if !self.ack.now && !self.timers.is_set(Timer::Ack) {
            self.timers.set(Timer::Ack, now + self.config.delayed_ack);
        }
        GO_ON
    }

    /// Where the peer's stream ends. What it sent from behind that is not part
    /// of it (RFC 9293 section 3.10.7.4, seventh), and if it has come early,
    /// must not carry RCV.NXT past the end.
    fn note_fin(&mut self, h: &Header, len: u32, pool: &mut Pool) {
        if !h.flags.contains(Flags::FIN) || self.fin_seq.is_some() {
            return;
        }
        let at = h.seq + len;
        if at.ge(self.rcv.nxt) && at.le(self.rcv.nxt + self.rcv.window()) {
            self.fin_seq = Some(at);
            self.rcv.cut(at, pool);
        }
    }

    /// Eighth: the peer's FIN, once everything before it is here.
    fn check_fin(&mut self, now: Instant, h: &Header, pool: &mut Pool) -> Step {
        self.ack.now |= h.flags.contains(Flags::FIN);
        if self.fin_seq != Some(self.rcv.nxt) {
            return GO_ON;
        }
        let fin_acked = self.fin_end.is_some_and(|end| self.snd.una.ge(end));
        match self.state {
            State::SynReceived | State::Established => self.state = State::CloseWait,
            State::FinWait1 if fin_acked => self.enter_time_wait(now),
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(now),
            _ => return GO_ON,
        }
        self.rcv.nxt += 1;
        self.rcv.forget_early(pool);
        self.ack.now = true;
        self.events.peer_closed = true;
        GO_ON
    }

    fn enter_time_wait(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.timers.stop_all();
        self.timers.set(Timer::Close, now + self.config.time_wait);
        self.events.closed = self.events.closed.or(Some(Reason::Finished));
    }

    /// Acknowledges what is not believed, within limits (RFC 5961 section 7).
    fn challenge(&mut self, now: Instant) {
        if self.may_answer(now) {
            self.counters.rare().challenges += 1;
            self.ack.now = true;
        }
    }

    /// Answers a segment of another connection with a reset, within the same
    /// limits.
    fn disown(&mut self, now: Instant, ack: SeqNumber) {
        if self.may_answer(now) {
            self.pending.refusal = Some(ack);
        }
    }

    /// The peer knows an older connection of these ports, which our reset
    /// ends (RFC 9293 section 3.5.1): the SYN that it did not take need not
    /// wait for its whole time-out. Once: whoever sends such segments must not
    /// have us send one SYN for each.
    fn hurry_syn(&mut self, now: Instant) {
        if self.timeouts == 0 && !self.syn_hurried && self.pending.refusal.is_some() {
            self.syn_hurried = true;
            self.pending.syn = true;
            let at = self.timers.get(Timer::Rto).min(now + SYN_AGAIN);
            self.timers.set(Timer::Rto, at);
        }
    }

    fn may_answer(&mut self, now: Instant) -> bool {
        if now.since(self.ack.challenge_since) >= Duration::from_secs(1) {
            self.ack.challenge_since = now;
            self.ack.challenges = 0;
        }
        let may = self.ack.challenges < self.config.challenge_acks;
        self.ack.challenges += u8::from(may);
        may
    }
}
