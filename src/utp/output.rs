//! What a connection sends next.

use std::time::Duration;

use super::State;
use super::connection::Connection;
use super::early::MAX_SACK;
use super::emit::write;
use super::timers::Timer;
use crate::frame::{PACKET_START, Pool, TxDesc};
use crate::time::Instant;
use crate::wire::template::Template;
use crate::wire::udp;
use crate::wire::utp::{Extension, HEADER_LEN, Header, Kind, SELECTIVE_ACK};

/// Bytes of UDP and uTP headers before the payload, without extensions.
pub const HEADERS: usize = udp::HEADER_LEN + HEADER_LEN;

/// How soon to try again when a frame is missing or with the kernel.
pub(super) const RETRY: Duration = Duration::from_micros(500);

impl Connection {
    /// The next packet to send, if there is one: call until `None`.
    ///
    /// Acknowledgements come last, so that one answers everything handled
    /// since the last call, and ride on data where they can.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        template: &Template,
    ) -> Option<TxDesc> {
        let sent = self.next_packet(now, pool, template);
        if sent.is_some() {
            self.counters.packets_sent += 1;
        } else {
            self.free_spare(pool);
            self.arm_repeat(now);
            if std::mem::take(&mut self.pending.sent_new) {
                self.arm_probe(now);
                // What is sent makes room among what is not.
                self.tell_room();
            }
        }
        sent
    }

    fn next_packet(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        // What finds no frame stays pending, and is tried again.
        if self.pending.reset {
            let desc = self.emit_bare(now, pool, t, Kind::Reset, self.snd.nxt())?;
            self.pending.reset = false;
            return Some(desc);
        }
        match self.state {
            State::Closed => {
                self.timers.stop_all(); // one may be left from a missing frame
                return None;
            }
            State::SynSent => return self.send_syn(now, pool, t),
            State::SynReceived => {
                if !self.ack.now {
                    return None;
                }
                return self.emit_bare(now, pool, t, Kind::State, self.isn);
            }
            _ => {}
        }
        if let Some(desc) = self.send_data(now, pool, t) {
            return Some(desc);
        }
        if self.pending.keepalive {
            // As libutp: an acknowledgement of what was acknowledged before. A
            // report would be of other packets, beside that number.
            self.rcv.nxt = self.rcv.nxt.minus(1);
            let desc = self.emit(now, pool, t, Kind::State, self.snd.nxt(), false);
            self.rcv.nxt = self.rcv.nxt.plus(1);
            self.pending.keepalive = desc.is_none();
            self.counters.keepalives += u64::from(desc.is_some());
            return desc;
        }
        if self.ack_due() && !self.ack_may_wait() {
            return self.emit_bare(now, pool, t, Kind::State, self.snd.nxt());
        }
        None
    }

    fn send_syn(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        if !self.pending.syn {
            return None;
        }
        self.rcv.note_room(self.payload_of_chunk(), pool);
        let desc = self.emit_bare(now, pool, t, Kind::Syn, self.isn)?;
        self.pending.syn = false;
        let times = 1 << self.syns.min(16);
        let wait = self.config.syn_timeout.saturating_mul(times);
        self.timers.set(Timer::Rto, now + wait);
        self.syns = self.syns.saturating_add(1);
        self.last_sent_at = now;
        Some(desc)
    }

    fn send_data(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        if self.pending.tail_probe {
            if let Some(desc) = self.send_tail_probe(now, pool, t) {
                return Some(desc);
            }
            // For want of a frame, or because the kernel has it: once more.
            self.pending.tail_probe = self.snd.has_sent() && self.timers.is_set(Timer::Retry);
        }
        if let Some(i) = self.snd.next_lost() {
            let len = self.snd.get(i).map_or(0, |s| u32::from(s.len));
            let in_flight = self.snd.in_flight();
            let fits = in_flight.saturating_add(len) <= self.cc.cwnd() || in_flight == 0;
            if fits || (i == 0 && self.pending.first_again) {
                let desc = self.send_segment(now, i, pool, t)?;
                self.pending.first_again = false;
                return Some(desc);
            }
            return None;
        }
        self.send_new(now, pool, t)
    }

    /// New data, as far as the peer's window, the congestion window and the
    /// sequence numbers allow.
    fn send_new(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        let i = self.snd.sent_count();
        if i >= usize::from(self.packets_allowed()) {
            return None;
        }
        let mss = self.snd.mss;
        let s = self.snd.next_unsent()?;
        if s.len > mss {
            // The path has become narrower since it was queued.
            if !self.snd.split(i, mss, pool) {
                self.timers.set(Timer::Retry, now + RETRY);
                return None;
            }
        } else if s.len > 0 && s.len <= mss / 2 {
            self.snd.fill(i, mss, pool);
        }
        let s = self.snd.next_unsent()?;
        let len = u32::from(s.len);
        let outstanding = self.snd.outstanding();
        let edge = self.snd.wnd;
        if outstanding.saturating_add(len) > edge && len > 0 {
            return self.send_into_small_window(now, i, pool, t);
        }
        if len < u32::from(mss) && len > 0 && self.snd.is_last(i) && self.holds_back(now) {
            return None;
        }
        let in_flight = self.snd.in_flight();
        if in_flight.saturating_add(len) > self.cc.cwnd() && in_flight > 0 {
            self.cwnd_limited = Some(self.snd.nxt());
            return None;
        }
        if len > 0 && self.pace_room(now) == 0 {
            self.wait_for_pace();
            return None;
        }
        self.timers.stop(Timer::Persist);
        self.pending.force = false;
        if outstanding == 0 {
            self.cc.on_idle(now.since(self.last_sent_at), self.rto());
        }
        if let Some(desc) = self.send_probe(now, i, pool, t) {
            return Some(desc);
        }
        self.send_segment(now, i, pool, t)
    }

    /// The next packet does not fit the peer's window: part of it goes if
    /// nothing else will open that, and one goes after a while however small
    /// it is.
    fn send_into_small_window(
        &mut self,
        now: Instant,
        i: usize,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        if self.snd.outstanding() > 0 {
            return None;
        }
        let wnd = self.snd.wnd;
        let forced = self.pending.force;
        if wnd >= u32::from(self.snd.mss).div_ceil(2) || forced {
            if wnd > 0 && !forced && !self.snd.split(i, wnd.min(0xffff) as u16, pool) {
                self.timers.set(Timer::Retry, now + RETRY);
                return None;
            }
            let desc = self.send_segment(now, i, pool, t);
            if desc.is_some() {
                self.counters.window_probes += u64::from(forced);
                self.pending.force = false;
                self.timers.stop(Timer::Persist);
            }
            return desc;
        }
        if !self.timers.is_set(Timer::Persist) {
            self.timers
                .set(Timer::Persist, now + self.config.window_probe);
        }
        None
    }

    /// Sends packet `i` of the queue, for the first time or again: its payload
    /// stands where it is.
    pub(super) fn send_segment(
        &mut self,
        now: Instant,
        i: usize,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        let s = self.snd.get(i)?;
        let (len, fin, sum, again) = (usize::from(s.len), s.fin, s.sum, s.sent > 0);
        let seq = self.snd.una.plus(i as u16);
        if fin || len == 0 {
            let kind = if fin { Kind::Fin } else { Kind::Data };
            let desc = self.emit_bare(now, pool, t, kind, seq)?;
            if fin && !again {
                self.fin_answers = self.rcv.is_over();
            }
            self.sent_segment(now, i, again);
            return Some(desc);
        }
        // What does not fit beside the payload goes in a packet of its own.
        let mut bits = [0; MAX_SACK];
        let most = usize::from(self.snd.mss).saturating_sub(len);
        let reports = self.rcv.has_sack();
        let n = if reports { self.rcv.sack(&mut bits) } else { 0 };
        let sack = [Extension {
            id: SELECTIVE_ACK,
            bytes: &bits[..n],
        }];
        let extensions = if n > 0 && n + 2 <= most {
            &sack[..]
        } else {
            &[]
        };
        let below = t.len();
        let headers = below + udp::HEADER_LEN + Header::emit_len(extensions);
        let ident = self.next_ident();
        let header = self.header(now, Kind::Data, seq);
        let held = self.snd.get(i)?.held.as_ref()?;
        if held.len() != headers + len && !self.snd.fit_headers(i, headers, pool) {
            self.timers.set(Timer::Retry, now + RETRY);
            return None;
        }
        let ports = self.ports;
        // Too long for the path as it is now: better in parts than never.
        let cut = again && len > usize::from(self.mtu.size());
        let held = self.snd.get_mut(i)?.held.as_mut()?;
        let Some(bytes) = pool.held_mut(held) else {
            self.timers.set(Timer::Retry, now + RETRY);
            return None;
        };
        write(bytes, t, ports, &header, extensions, ident, len, sum);
        if cut {
            t.allow_fragments(bytes);
        }
        let desc = pool.transmit_held(held)?;
        self.sent_segment(now, i, again);
        if !reports || !extensions.is_empty() {
            self.acknowledged();
        }
        Some(desc)
    }

    /// Bookkeeping after packet `i` was sent.
    pub(super) fn sent_segment(&mut self, now: Instant, i: usize, again: bool) {
        let Some(len) = self.snd.get(i).map(|s| s.len) else {
            return;
        };
        let nothing_in_flight = !self.snd.has_sent();
        let seq = self.snd.una.plus(i as u16);
        self.snd.mark_sent(i, now);
        self.last_sent_at = now;
        let payload = u64::from(len);
        self.counters.data_packets_sent += u64::from(payload > 0);
        self.counters.bytes_sent += payload;
        if again {
            self.counters.retransmits += 1;
            self.counters.bytes_retransmitted += payload;
            self.counters.fast_retransmits += u64::from(!self.recovery.by_timeout);
        } else {
            self.pending.sent_new = true;
            self.keep_pace(now, u32::from(len));
            if self.cork {
                self.timers.stop(Timer::Cork);
            }
            if len < self.snd.mss {
                self.small = Some(seq);
                self.pending.push &= self.snd.has_unsent();
            }
        }
        if nothing_in_flight {
            self.progress_at = now;
        }
        // The first packet sent again has a round trip to be acknowledged.
        if nothing_in_flight || (again && i == 0) || !self.timers.is_set(Timer::Rto) {
            self.rearm_rto(now);
        }
        if !again && self.mtu.may_rise() && !self.timers.is_set(Timer::Raise) {
            self.timers.set(Timer::Raise, now + self.config.mtu_raise);
        }
    }

    /// An acknowledgement of everything received has gone out.
    pub(super) fn acknowledged(&mut self) {
        self.ack.now = self.ack.more > 0;
        self.ack.more = self.ack.more.saturating_sub(1);
        self.ack.unacked = 0;
        self.ack.quick = self.ack.quick.saturating_sub(1);
        self.ack.lossy &= self.ack.quick > 0;
        self.timers.stop(Timer::Ack);
    }

    pub(super) fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }

    /// Offset of payload in a frame that this connection sends, in bytes.
    pub(super) const fn payload_start(&self) -> u16 {
        PACKET_START + self.headroom + HEADERS as u16
    }

    /// Payload that a frame may be expected to bring: the packets of a peer
    /// may be smaller than those that its path takes.
    pub(super) fn payload_of_chunk(&self) -> u32 {
        u32::from(self.ack.rcv_mss.min(self.chunk))
    }
}
