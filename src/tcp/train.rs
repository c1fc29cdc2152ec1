//! Trains of new data: full segments behind each other, whose headers differ
//! in sequence number and checksum only. What is sent here comes out as it
//! would by `output` segment by segment; everything else is sent there.

use std::collections::VecDeque;

use super::connection::{Connection, TIMESTAMPS_LEN};
use super::timers::Timer;
use crate::frame::{Pool, TxDesc};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::tcp::{Flags, HEADER_LEN, Header, SeqNumber};
use crate::wire::template::Template;

/// Longest header of a data segment: with timestamps.
const MAX_HEADER: usize = HEADER_LEN + TIMESTAMPS_LEN as usize;

/// Headers of a train.
struct Pattern {
    /// The TCP header with neither sequence number, PSH nor checksum.
    bytes: [u8; MAX_HEADER],
    len: usize,
    /// The sum over those bytes and the pseudo-header.
    sum: Sum,
    ecn: u8,
}

impl Pattern {
    fn new(header: &Header, t: &Template, mss: u16, ecn: u8) -> Self {
        let mut bytes = [0; MAX_HEADER];
        let len = header.emit(&mut bytes);
        let sum = Sum::of(&bytes[..len]).add(t.pseudo_sum(len + usize::from(mss)));
        Self {
            bytes,
            len,
            sum,
            ecn,
        }
    }

    /// Writes the header of the segment at `seq`, with the sum of its payload.
    #[inline]
    fn write(&self, out: &mut [u8], seq: SeqNumber, payload: Sum, push: bool) {
        let out = &mut out[..self.len];
        out.copy_from_slice(&self.bytes[..self.len]);
        let flags = if push { Flags::PSH } else { Flags::NONE };
        out[4..8].copy_from_slice(&seq.0.to_be_bytes());
        out[13] |= flags.0;
        let sum = self
            .sum
            .add(payload)
            .add(Sum::word((seq.0 >> 16) as u16))
            .add(Sum::word(seq.0 as u16))
            .add(Sum::word(u16::from(flags.0)));
        out[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

impl Connection {
    /// Appends up to `budget` segments of new data to `tx`, if nothing else is
    /// to be sent before; answers how many. Go on with
    /// [`poll_transmit`](Self::poll_transmit).
    pub fn poll_train(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
    ) -> usize {
        if budget == 0 || !self.sends_trains() {
            return 0;
        }
        let Some(ecn) = self.ecn.train_mark() else {
            return 0;
        };
        let mss = self.snd.mss;
        let edge = self.snd.una + self.snd.wnd;
        let mut room = self.cc.cwnd().saturating_sub(self.in_flight());
        if room < u32::from(mss) {
            return 0;
        }
        let header = self.data_header(now, SeqNumber(0), Flags::ACK);
        let pattern = Pattern::new(&header, t, mss, ecn);
        let (below, tail) = (t.len(), self.snd.tail());
        let whole = below + pattern.len + usize::from(mss);
        let mut sent = 0;
        while sent < budget && room >= u32::from(mss) {
            let ident = self.ident.wrapping_add(1);
            let Some(s) = self.snd.next_unsent_mut() else {
                break;
            };
            let (seq, end) = (s.seq, s.end());
            let plain = s.len == mss && !s.fin && !s.syn && end.le(edge);
            let Some(held) = s.held.as_mut().filter(|h| plain && h.len() == whole) else {
                break;
            };
            let Some(bytes) = pool.held_mut(held) else {
                break;
            };
            let (low, segment) = bytes.split_at_mut(below);
            t.write_marked(low, segment.len(), ident, pattern.ecn);
            pattern.write(segment, seq, s.sum, end == tail);
            let Some(desc) = pool.transmit_held(held) else {
                break;
            };
            tx.push_back(desc);
            self.snd.sent_next(now);
            self.ident = ident;
            room -= u32::from(mss);
            sent += 1;
        }
        if sent > 0 {
            self.last_sent_at = now;
            self.counters.segments_sent += sent as u64;
            self.counters.data_segments_sent += sent as u64;
            self.counters.bytes_sent += sent as u64 * u64::from(mss);
            self.pending.arm_probe = true;
            self.ack.quick = self.ack.quick.saturating_sub((sent - 1) as u8);
            self.acknowledged();
        }
        sent
    }

    /// Whether new data is all that there is to send, and more of it is in
    /// flight already, so that no timer has to be begun.
    fn sends_trains(&self) -> bool {
        let p = &self.pending;
        self.state.is_synchronized()
            && self.snd.has_sent()
            && self.snd.has_unsent()
            && self.timers.is_set(Timer::Rto)
            && self.recovery.is_open()
            && self.snd.lost() == 0
            && !(p.reset || p.tail_probe || p.probe || p.force || p.first_again)
            && p.refusal.is_none()
            && !self.timers.is_set(Timer::Persist)
            && !self.mtu.wanted
            && !self.cork
            && !self.rcv.has_sack()
    }
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;
