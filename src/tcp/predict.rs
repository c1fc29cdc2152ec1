//! Header prediction: the next payload of a stream that flows, and the answer to
//! all that was sent, taken in as few steps as that needs. What is foreseen here
//! comes out as it would by the steps of RFC 9293 section 3.10.7 in `input`;
//! everything else goes there.

use super::State;
use super::connection::Connection;
use super::parts::TimestampState;
use super::timers::Timer;
use crate::congestion::AckSample;
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, SeqNumber};

/// An acknowledgement of all that was sent, of which nobody has asked yet what it
/// tells of the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered {
    /// When it came.
    at: Instant,
    /// When the last segment of what it acknowledges was sent.
    sent_at: Instant,
    /// Bytes that it acknowledges; 0 if there is none.
    bytes: u32,
    /// Bytes that were in flight.
    in_flight: u32,
}

impl Connection {
    /// Takes the payload of a segment that is the next of an established
    /// connection and says nothing else that is new, but for the window, or that
    /// all that was sent has arrived. Gives the packet back if the segment is of
    /// any other kind.
    #[inline]
    pub(super) fn take_expected(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        packet: Packet,
    ) -> Option<Packet> {
        let len = packet.len() as u32;
        let expected = self.state == State::Established
            && len > 0
            && h.flags | Flags::PSH == Flags::ACK | Flags::PSH
            && h.seq == self.rcv.nxt
            && (h.ack == self.snd.una || self.expects_answer(h.ack))
            && h.window != 0
            && self.is_calm()
            && h.options.sack.is_empty()
            && !self.ecn.marked
            && self.rcv.takes_next(len, pool);
        if !expected {
            return Some(packet);
        }
        match (&mut self.ts, h.options.timestamps) {
            (None, _) => {}
            (Some(ours), Some(theirs)) if theirs.val.wrapping_sub(ours.recent) as i32 >= 0 => {
                // RFC 7323 section 4.3.
                if h.seq.le(self.ack.last_sent) {
                    *ours = TimestampState::new(theirs.val, now);
                }
            }
            _ => return Some(packet),
        }
        self.note_pause(now);
        self.note_flow(len);
        self.last_received_at = now;
        self.rearm_keepalive(now);
        self.update_window(h, false);
        if h.ack != self.snd.una {
            self.take_answer(now, h.ack, pool);
        }
        self.ack.rcv_mss = self.ack.rcv_mss.max((len as u16).min(self.mss));
        self.rcv.take_next(packet, pool);
        self.counters.bytes_received += u64::from(len);
        self.events.readable = true;
        self.ack.unacked += len;
        if !self.ack.now && !self.timers.is_set(Timer::Ack) {
            self.timers.set(Timer::Ack, now + self.config.delayed_ack);
        }
        None
    }

    /// Whether `ack` acknowledges all that was sent, which was a few segments to
    /// which nothing else has happened.
    #[inline]
    fn expects_answer(&self, ack: SeqNumber) -> bool {
        #[cfg(test)]
        if in_full() {
            return false;
        }
        ack == self.snd.nxt
            && self.sack
            && self.recovery.is_calm()
            && self.rack.is_ahead_of_all(&self.snd)
            && self.snd.is_plain()
            && !self.mtu.is_probing()
            && !self.wants_room
    }

    /// Takes an acknowledgement of which [`expects_answer`](Self::expects_answer)
    /// holds, and that is no duplicate: what `loss` would do where nothing is in
    /// flight any more. What it tells of the path is left for
    /// [`settle_answer`](Self::settle_answer), since nothing that is sent now
    /// depends on it.
    fn take_answer(&mut self, now: Instant, ack: SeqNumber, pool: &mut Pool) {
        #[cfg(test)]
        count_short(0);
        let in_flight = self.snd.outstanding();
        let Some(run) = self.snd.pop_sent(pool) else {
            return; // there is one
        };
        self.answered = Answered {
            at: now,
            sent_at: run.sent_at,
            bytes: run.bytes(),
            in_flight,
        };
        self.snd.una = ack;
        self.counters.bytes_acked += u64::from(run.bytes());
        self.counters.delivered += u64::from(run.segments);
        self.timeouts = 0;
        self.probes = 0;
        self.progress_at = now;
        self.pending.tail_probe = false;
        self.timers.stop_sending();
    }

    /// Whether nothing has to be known of the path for what is sent at `now`: the
    /// last answer has just come, and no pause was long before.
    #[inline]
    pub(super) fn can_settle_later(&self, now: Instant) -> bool {
        let least = self.config.min_rto.min(self.config.max_rto);
        self.answered.at == now && now.nanos_since(self.last_sent_at) < least.into()
    }

    /// Draws the conclusions from the last answer, if that has not been done.
    #[inline]
    pub(super) fn settle_answer(&mut self) {
        if self.answered.bytes != 0 {
            self.settle();
        }
    }

    #[inline(never)]
    fn settle(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        // Nothing was acknowledged since.
        let (now, una) = (answered.at, self.snd.una);
        let rtt = now.since(answered.sent_at);
        self.rack.delivered_all(now, una, answered.sent_at);
        self.rack.adapt(&self.snd, false);
        self.rtt.sample(now, rtt, &self.config);
        let round_start = una.gt(self.round_end);
        if round_start {
            self.round_end = una;
            self.ecn.acked(una);
        }
        self.cc.on_ack(&AckSample {
            now,
            acked: answered.bytes,
            rtt: Some(rtt),
            srtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            in_flight: answered.in_flight,
            cwnd_limited: self.cwnd_limited.is_some(),
            round_start,
            delay: None,
        });
        if self.cwnd_limited.is_some_and(|at| una.ge(at)) {
            self.cwnd_limited = None;
        }
        if self.timers.is_set(Timer::Rto) {
            // What was sent since counted on the time-out of before.
            let at = self.last_sent_at + self.rtt.time_out(&self.config);
            self.timers.set(Timer::Rto, at);
        }
    }

    /// RCV.NXT.
    #[inline]
    #[must_use]
    pub const fn rcv_nxt(&self) -> SeqNumber {
        self.rcv.nxt
    }

    /// How many more segments of a run can be taken at least: behind one that
    /// was foreseen ([`handle_segment`](Self::handle_segment) says so), of the same
    /// length `len` and with the same header but for sequence number and PSH.
    #[inline]
    #[must_use]
    pub fn takes_run(&self, len: u32, pool: &Pool) -> u32 {
        self.rcv.takes_run(len, pool)
    }

    /// Takes the payload of the next of those. [`took_run`](Self::took_run) has
    /// to follow.
    #[inline]
    pub fn take_run(&mut self, packet: Packet, pool: &mut Pool) {
        self.rcv.take_run(packet, pool);
    }

    /// `segments` more of `len` bytes each were taken in a run. What one of them
    /// would change beside this the first has changed.
    #[inline]
    pub fn took_run(&mut self, segments: u32, len: u32) {
        if segments == 0 {
            return;
        }
        let bytes = segments * len;
        self.rcv.took_run(bytes);
        self.note_flow(bytes);
        self.ack.unacked += bytes;
        self.snd.wl1 = self.rcv.nxt - len;
        self.counters.segments_received += u64::from(segments);
        self.counters.data_segments_received += u64::from(segments);
        self.counters.bytes_received += u64::from(bytes);
    }

    /// Whether an acknowledgement that repeats the last tells nothing: nothing
    /// is being repaired, no probe is out, the peer's window is open, and the
    /// stream has no end in sight.
    fn is_calm(&self) -> bool {
        self.recovery.is_open()
            && self.rack.tlp.is_none()
            && self.snd.wnd != 0
            && self.fin_seq.is_none()
            && !self.recv_closed
            && !self.timers.is_set(Timer::Persist)
    }
}

#[cfg(test)]
thread_local! {
    static IN_FULL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static IN_SHORT: std::cell::Cell<[u32; 2]> = const { std::cell::Cell::new([0; 2]) };
}

/// Counts what went a short way: answers taken, and single segments sent.
#[cfg(test)]
pub(super) fn count_short(which: usize) {
    let mut counts = IN_SHORT.get();
    counts[which] += 1;
    IN_SHORT.set(counts);
}

/// Whether a test has answers go the long way.
#[cfg(test)]
pub(super) fn in_full() -> bool {
    IN_FULL.get()
}

#[cfg(test)]
#[path = "predict_tests.rs"]
mod tests;
