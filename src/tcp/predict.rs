//! Header prediction: the next payload of a stream that flows, taken in as few
//! steps as that needs. What is foreseen here comes out as it would by the
//! steps of RFC 9293 section 3.10.7 in `input`; everything else goes there.

use super::State;
use super::connection::Connection;
use super::parts::TimestampState;
use super::timers::Timer;
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, SeqNumber};

impl Connection {
    /// Takes the payload of a segment that is the next of an established
    /// connection and says nothing else that is new, but for the window. Gives
    /// the packet back if the segment is of any other kind.
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
            && h.ack == self.snd.una
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
#[path = "predict_tests.rs"]
mod tests;
