//! The payload of a segment and the end of the peer's stream: the seventh and
//! eighth steps of RFC 9293 section 3.10.7.4.

use super::{DONE, GO_ON, Step};
use crate::frame::{Packet, Pool};
use crate::tcp::connection::Connection;
use crate::tcp::recv::Received;
use crate::tcp::timers::Timer;
use crate::tcp::{Reason, State};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header};

impl Connection {
    /// Seventh: the payload.
    pub(super) fn take_payload(
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
    pub(super) fn note_fin(&mut self, h: &Header, len: u32, pool: &mut Pool) {
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
    pub(super) fn check_fin(&mut self, now: Instant, h: &Header, pool: &mut Pool) -> Step {
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

    pub(super) fn enter_time_wait(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.timers.stop_all();
        self.timers.set(Timer::Close, now + self.config.time_wait);
        self.events.closed = self.events.closed.or(Some(Reason::Finished));
    }
}
