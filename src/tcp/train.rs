//! Trains of new data: full segments behind each other, whose headers differ
//! in sequence number and checksum only. What is sent here comes out as it
//! would by `output` segment by segment; everything else is sent there.

use std::collections::VecDeque;

use super::connection::{Connection, TIMESTAMPS_LEN};
use super::timers::Timer;
use crate::frame::{Held, Pool, TxDesc};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::tcp::{Flags, HEADER_LEN, Header, SeqNumber};
use crate::wire::template::{self, Template};
use crate::wire::{eth, ipv4};

/// Longest header of a data segment: with timestamps.
const MAX_TCP: usize = HEADER_LEN + TIMESTAMPS_LEN as usize;
/// All headers of one.
const MAX_HEADERS: usize = template::MAX_LEN + MAX_TCP;
/// Where TCP begins over untagged IPv4.
const TCP_AT: usize = eth::HEADER_LEN + ipv4::HEADER_LEN;
/// All headers there, without and with timestamps.
const PLAIN: usize = TCP_AT + HEADER_LEN;
const STAMPED: usize = TCP_AT + MAX_TCP;

/// Headers of a train.
struct Pattern {
    /// All headers, with neither identification, sequence number, PSH nor
    /// checksums.
    bytes: [u8; MAX_HEADERS],
    len: usize,
    /// Where TCP's begins.
    tcp: usize,
    /// The sum over the IPv4 header without identification; none with IPv6.
    ip: Option<Sum>,
    /// The sum over TCP's header and the pseudo-header.
    sum: Sum,
}

impl Pattern {
    /// For segments of `payload` bytes.
    fn new(header: &Header, t: &Template, payload: usize, ecn: u8) -> Self {
        let mut bytes = [0; MAX_HEADERS];
        let tcp = t.len();
        let len = header.emit(&mut bytes[tcp..]);
        let sum = Sum::of(&bytes[tcp..tcp + len]).add(t.pseudo_sum(len + payload));
        t.write_marked(&mut bytes, len + payload, 0, ecn);
        let ip = (!t.is_ipv6()).then(|| {
            let ip = &mut bytes[tcp - ipv4::HEADER_LEN..tcp];
            ip[10..12].fill(0);
            Sum::of(ip)
        });
        Self {
            bytes,
            len: tcp + len,
            tcp,
            ip,
            sum,
        }
    }

    /// Writes the headers of the segment at `seq`, with the sum of its payload.
    #[inline(always)] // the call costs as much as the work
    fn write(&self, out: &mut [u8], ident: u16, seq: SeqNumber, payload: Sum, push: bool) {
        // Copies of a constant length become a few moves.
        match (self.tcp, self.len) {
            (TCP_AT, PLAIN) => self.write_at::<PLAIN>(out, ident, seq, payload, push),
            (TCP_AT, STAMPED) => self.write_at::<STAMPED>(out, ident, seq, payload, push),
            _ => self.write_any(out, ident, seq, payload, push),
        }
    }

    #[inline(always)]
    fn write_at<const LEN: usize>(
        &self,
        out: &mut [u8],
        ident: u16,
        seq: SeqNumber,
        payload: Sum,
        push: bool,
    ) {
        if let Some(out) = out.first_chunk_mut::<LEN>() {
            out.copy_from_slice(&self.bytes[..LEN]);
            let (ip, tcp) = out[eth::HEADER_LEN..].split_at_mut(ipv4::HEADER_LEN);
            self.fill(ip, tcp, ident, seq, payload, push);
        }
    }

    #[inline(never)]
    fn write_any(&self, out: &mut [u8], ident: u16, seq: SeqNumber, payload: Sum, push: bool) {
        out[..self.len].copy_from_slice(&self.bytes[..self.len]);
        let (below, tcp) = out.split_at_mut(self.tcp);
        let ip = &mut below[self.tcp - ipv4::HEADER_LEN..];
        self.fill(ip, tcp, ident, seq, payload, push);
    }

    /// What differs from one segment to the next. `ip` are the last 20 bytes
    /// before TCP.
    #[inline(always)]
    fn fill(
        &self,
        ip: &mut [u8],
        tcp: &mut [u8],
        ident: u16,
        seq: SeqNumber,
        payload: Sum,
        push: bool,
    ) {
        if let Some(sum) = self.ip {
            ip[4..6].copy_from_slice(&ident.to_be_bytes());
            let sum = sum.add(Sum::word(ident));
            ip[10..12].copy_from_slice(&sum.finish().to_be_bytes());
        }
        let flags = if push { Flags::PSH } else { Flags::NONE };
        tcp[4..8].copy_from_slice(&seq.0.to_be_bytes());
        tcp[13] |= flags.0;
        let sum = Sum::all([
            self.sum,
            payload,
            Sum::word((seq.0 >> 16) as u16),
            Sum::word(seq.0 as u16),
            Sum::word(u16::from(flags.0)),
        ]);
        tcp[16..18].copy_from_slice(&sum.finish().to_be_bytes());
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
        self.settle_answer();
        let mss = self.snd.mss;
        let edge = self.snd.una + self.snd.wnd;
        let in_flight = self.in_flight();
        let room = self.cc.cwnd().saturating_sub(in_flight);
        let pace = self.pace_room(now).div_ceil(u32::from(mss)) as usize;
        let budget = budget.min(pace);
        if room < u32::from(mss) || budget == 0 || self.gathers(now, in_flight) {
            return 0;
        }
        let header = self.data_header(now, SeqNumber(0), Flags::ACK, pool);
        if self.snd.wire / 2 >= mss {
            return self.long_train(now, pool, t, &header, ecn, budget, tx);
        }
        let pattern = Pattern::new(&header, t, usize::from(mss), ecn);
        let tail = self.snd.tail();
        let whole = pattern.len + usize::from(mss);
        let mut ident = self.ident;
        let most = budget.min((room / u32::from(mss)) as usize);
        let sent = self.snd.send_unsent(now, most, |s| {
            let (seq, end) = (s.seq, s.end());
            let plain = s.len == mss && !s.fin && !s.syn && end.le(edge);
            let held = s.held.as_mut().filter(|h| plain && h.len() == whole)?;
            let desc = pool.transmit_written(held, |bytes| {
                ident = ident.wrapping_add(1);
                pattern.write(bytes, ident, seq, s.sum, end == tail);
            })?;
            tx.push_back(desc);
            Some(())
        });
        self.ident = ident;
        self.sent_train(now, sent, sent);
        sent
    }

    /// What follows from a train of so many segments, of so many frames.
    fn sent_train(&mut self, now: Instant, segments: usize, frames: usize) {
        if segments > 0 {
            self.last_sent_at = now;
            let bytes = frames as u32 * u32::from(self.snd.mss);
            self.keep_pace(now, bytes);
            self.counters.segments_sent += segments as u64;
            self.counters.data_segments_sent += segments as u64;
            self.counters.bytes_sent += u64::from(bytes);
            self.pending.arm_probe = true;
            self.ack.quick = self.ack.quick.saturating_sub((segments - 1) as u8);
            self.acknowledged();
        }
    }

    /// A train of segments that are longer than a frame: each is the headers
    /// and payload of one frame of the queue, and the payload of those behind
    /// it. Answers the frames that it took from `budget`.
    #[allow(clippy::too_many_arguments)]
    fn long_train(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
        header: &Header,
        ecn: u8,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
    ) -> usize {
        let (mss, parts) = (self.snd.mss, self.snd.glued());
        let edge = self.snd.una + self.snd.wnd;
        let tail = self.snd.tail();
        let mut pattern = Pattern::new(header, t, parts * usize::from(mss), ecn);
        let mut length = parts;
        let headers = pattern.len;
        let (mut segments, mut frames, mut sent) = (0, 0, 0);
        loop {
            let left = budget - sent;
            if left < parts && sent > 0 {
                // The next turn goes on with a whole one.
                sent = budget;
                break;
            }
            let in_flight = self.in_flight();
            let room = self.cc.cwnd().saturating_sub(in_flight) / u32::from(mss);
            let most = parts.min(left).min(room as usize);
            let (n, sum) = self.glue(most, headers, edge, pool);
            // What is in flight brings room for the rest of it.
            let whole = parts as u32 * u32::from(mss);
            let limited = (room as usize) < parts || (self.snd.nxt + whole).gt(edge);
            let waits = n < parts
                && limited
                && in_flight >= 2 * whole
                && self.snd.get(self.snd.sent_count() + parts - 1).is_some();
            if n == 0 || waits {
                break;
            }
            if n != length {
                pattern = Pattern::new(header, t, n * usize::from(mss), ecn);
                length = n;
            }
            let behind = self.snd.nxt + n as u32 * u32::from(mss);
            self.ident = self.ident.wrapping_add(1);
            if let Some(s) = self.snd.next_unsent_mut()
                && let Some(bytes) = s.held.as_mut().and_then(|h| pool.held_mut(h))
            {
                pattern.write(bytes, self.ident, s.seq, sum, behind == tail);
            }
            for part in 0..n {
                let Some(s) = self.snd.next_unsent_mut() else {
                    break;
                };
                let Some(mut desc) = s.held.as_mut().and_then(|h| pool.transmit_held(h)) else {
                    break;
                };
                if part > 0 {
                    desc.advance(headers);
                }
                desc.set_continues(part + 1 < n);
                tx.push_back(desc);
                self.snd.sent_next(now);
            }
            segments += 1;
            frames += n;
            sent += n;
        }
        self.sent_train(now, segments, frames);
        sent
    }

    /// How many of the next unsent frames, up to `most`, can go as one segment,
    /// and the sum of their payload.
    fn glue(&self, most: usize, headers: usize, edge: SeqNumber, pool: &Pool) -> (usize, Sum) {
        let (mss, first) = (self.snd.mss, self.snd.sent_count());
        let (mut n, mut sum) = (0, Sum::ZERO);
        while n < most
            && let Some(s) = self.snd.get(first + n)
        {
            let plain = s.len == mss && !s.fin && !s.syn && s.end().le(edge);
            let ready =
                |h: &Held| h.len() == headers + usize::from(mss) && !pool.in_transmission(h);
            if !plain || !s.held.as_ref().is_some_and(ready) {
                break;
            }
            sum = if (n * usize::from(mss)).is_multiple_of(2) {
                sum.add(s.sum)
            } else {
                sum.add_odd(s.sum)
            };
            n += 1;
        }
        (n, sum)
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
