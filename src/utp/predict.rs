//! The next payload of a stream that flows, by the short way: it comes out as
//! it would by `input`, where everything else is handled.

use super::State;
use super::connection::Connection;
use super::timers::Timer;
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::utp::{HEADER_LEN, Header, Kind};

impl Connection {
    /// Takes what is expected, and answers `None`; everything else comes back.
    #[inline]
    pub(super) fn take_expected(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        mut packet: Packet,
    ) -> Option<Packet> {
        let len = packet.len().saturating_sub(HEADER_LEN) as u32;
        let expected = h.kind == Kind::Data
            && h.seq == self.rcv.nxt
            && h.ack.plus(1) == self.snd.una
            && h.conn_id == self.recv_id
            && usize::from(h.len) == HEADER_LEN
            && len > 0
            && h.window != 0
            && h.timestamp.wrapping_sub(self.peer_clock) < u32::MAX / 2
            && self.is_calm()
            && self.rcv.takes_next(len, pool);
        if !expected {
            return Some(packet);
        }
        packet.advance(HEADER_LEN);
        self.note_pause(now);
        self.counters.data_packets_received += 1;
        self.last_received_at = now;
        self.note_clock(now, h);
        self.snd.wnd = h.window;
        self.rearm_keepalive(now);
        self.rcv.take_next(packet, pool);
        self.rcv.note_room(self.payload_of_chunk(), pool);
        self.ack.run = self.ack.run.saturating_add(len);
        self.note_size(len);
        self.note_received(now, len);
        None
    }

    /// Whether an acknowledgement that repeats the last tells nothing, and the
    /// stream has no end in sight.
    #[inline]
    fn is_calm(&self) -> bool {
        matches!(self.state, State::Connected | State::Closing)
            && self.snd.is_plain()
            && !self.recv_closed
            && !self.timers.is_set(Timer::Persist)
            && !self.timers.is_set(Timer::Hello)
    }
}
