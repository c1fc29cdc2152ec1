//! A segment arrives: the steps of RFC 9293 section 3.10.7, in its order.

mod ack;
mod handshake;
mod payload;

use std::time::Duration;

use super::connection::Connection;
use super::parts::TimestampState;
use super::{Reason, State};
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, SeqNumber};

/// TS.Recent is void after this long (RFC 7323 section 5.5).
const TS_LIFETIME: u32 = 24 * 24 * 3600; // s

/// Whether to go on with the next step.
type Step = std::ops::ControlFlow<()>;
const GO_ON: Step = Step::Continue(());
const DONE: Step = Step::Break(());

impl Connection {
    /// Takes a segment of this connection. `packet`'s range is the payload,
    /// possibly empty; it is kept or given back. `ce` says that the IP header
    /// carried the congestion mark.
    ///
    /// Answers whether it was the next payload of a stream that flows: until
    /// anything else happens to the connection, segments with the same header
    /// but for sequence number and PSH may be taken by
    /// [`take_run`](Self::take_run).
    pub fn handle_segment(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        ce: bool,
        packet: Packet,
    ) -> bool {
        self.settle_answer();
        self.ecn.marked = ce;
        self.counters.segments_received += 1;
        self.counters.data_segments_received += u64::from(!packet.is_empty());
        let mut packet = match self.take_expected(now, pool, h, packet) {
            None => return true,
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
        false
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
