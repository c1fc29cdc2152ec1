//! What arrives while a connection is being opened, and the end of that.

use std::time::Duration;

use super::{DONE, Step};
use crate::frame::{Packet, Pool};
use crate::tcp::connection::Connection;
use crate::tcp::timers::Timer;
use crate::tcp::{Reason, State};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header};

/// When a SYN goes again behind the reset of what was in its way.
const SYN_AGAIN: Duration = Duration::from_millis(10);

impl Connection {
    /// Section 3.10.7.3.
    pub(super) fn in_syn_sent(
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
    pub(super) fn finish_handshake(&mut self, now: Instant, h: &Header, pool: &mut Pool) {
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
}
