//! What a connection sends next.

use super::State;
use super::connection::{Connection, TIMESTAMPS_LEN};
use super::timers::Timer;
use crate::frame::{PACKET_START, Pool, TxDesc};
use crate::time::Instant;
use crate::wire::checksum::{Sum, fill_tcp_checksum};
use crate::wire::tcp::{self, Flags, Header, Options, SeqNumber};
use crate::wire::template::Template;
use std::time::Duration;

/// How soon to try again when a frame is missing or with the kernel.
const RETRY: Duration = Duration::from_micros(500);

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
        if let Some(desc) = self.send_single(now, pool, template) {
            self.counters.segments_sent += 1;
            return Some(desc);
        }
        self.settle_answer();
        let sent = self.next_packet(now, pool, template);
        if sent.is_some() {
            self.counters.segments_sent += 1;
        } else {
            self.free_spare(pool);
            let sent_new = self.pending.arm_probe;
            self.arm_pending_probe(now);
            if sent_new {
                // What is sent makes room among what is not.
                self.tell_room();
            }
        }
        sent
    }

    fn next_packet(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        // What finds no frame stays pending, and is tried again.
        if let Some(seq) = self.pending.refusal
            && let Some(desc) = self.emit_bare(now, pool, t, seq, Flags::RST)
        {
            self.pending.refusal = None;
            return Some(desc);
        }
        if self.pending.reset {
            let desc = self.emit_bare(now, pool, t, self.snd.nxt, Flags::RST | Flags::ACK)?;
            self.pending.reset = false;
            return Some(desc);
        }
        if self.state == State::Closed {
            self.timers.stop_all(); // one may be left from a missing frame
            return None;
        }
        if self.snd.first().is_some_and(|s| s.syn) {
            let again = self.send_syn(now, pool, t);
            // RFC 9293 section 3.10.7.4: what is not acceptable is answered
            // in SYN-RECEIVED too.
            let answer = again.is_none() && self.state != State::SynSent && self.ack.now;
            return if answer {
                self.emit_bare(now, pool, t, self.snd.nxt, Flags::ACK)
            } else {
                again
            };
        }
        if let Some(desc) = self.send_data(now, pool, t) {
            return Some(desc);
        }
        if self.pending.probe {
            let desc = self.emit_bare(now, pool, t, self.snd.una - 1, Flags::ACK)?;
            self.pending.probe = false;
            return Some(desc);
        }
        if self.ack_due() && !self.ack_may_wait() {
            return self.emit_bare(now, pool, t, self.snd.nxt, Flags::ACK);
        }
        None
    }

    fn send_syn(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        let first = self.snd.first()?;
        if first.sent > 0 && (first.retransmitted || !first.lost) {
            return None;
        }
        let again = first.sent > 0;
        let flags = if self.state == State::SynSent {
            Flags::SYN | self.ecn.syn_flags(self.config.ecn, again)
        } else {
            Flags::SYN | Flags::ACK | self.ecn.syn_ack_flags()
        };
        let seq = first.seq;
        self.rcv.note_room(self.payload_of_chunk(), pool);
        let header = Header {
            seq,
            ack: if flags.contains(Flags::ACK) {
                self.rcv.nxt
            } else {
                SeqNumber(0)
            },
            flags,
            window: self.rcv.advertise(u32::from(self.mss), true),
            options: self.syn_options(now),
            ..self.ports_header()
        };
        let desc = self.emit(now, pool, t, &header)?;
        if flags.contains(Flags::ACK) {
            self.ack.now = false;
        }
        self.sent_segment(now, 0, again);
        Some(desc)
    }

    fn send_data(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        if self.pending.tail_probe {
            if let Some(desc) = self.send_tail_probe(now, pool, t) {
                self.pending.tail_probe = false;
                return Some(desc);
            }
            // For want of a frame, or because the kernel has it: once more.
            self.pending.tail_probe = self.snd.has_sent() && self.timers.is_set(Timer::Retry);
        }
        if self.recovery.prefers_new()
            && let Some(desc) = self.send_new(now, pool, t)
        {
            return Some(desc);
        }
        if self.recovery.waits(self.snd.nxt) {
            return None;
        }
        if let Some(i) = self.snd.next_lost() {
            let len = self.snd.get(i).map_or(0, super::send::Segment::seq_len);
            let in_flight = self.in_flight();
            // A FIN takes a sequence number and no room; a segment from before
            // the path shrank goes in parts.
            let len = len.min(u32::from(self.snd.mss));
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

    /// New data by the rules of RFC 9293 section 3.8.6.2.1 and the Nagle
    /// algorithm.
    fn send_new(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        if self.mtu.wanted && self.mtu_probe_is_due() {
            if self.mtu_probe_has_to_wait() {
                return None;
            }
            if let Some(desc) = self.send_mtu_probe(now, pool, t) {
                return Some(desc);
            }
        }
        let i = self.snd.sent_count();
        let s = self.snd.next_unsent()?;
        let (len, seq_len, fin, end) = (s.len, s.seq_len(), s.fin, s.end());
        let mss = self.snd.mss;
        let edge = self.snd.una + self.snd.wnd;
        let outstanding = self.snd.outstanding();
        if end.gt(edge) {
            return self.send_into_small_window(now, i, edge, pool, t);
        }
        let partial = len < mss && end == self.snd.tail() && !fin;
        if partial && self.holds_back(now) {
            return None;
        }
        let in_flight = self.in_flight();
        let long = self.long_segment(in_flight);
        if long > 0 && (self.snd.nxt + long).gt(edge) {
            return None;
        }
        let needed = long.max(seq_len.min(u32::from(mss)));
        if in_flight.saturating_add(needed) > self.cc.cwnd() && in_flight > 0 {
            self.cwnd_limited = Some(self.snd.nxt);
            return None;
        }
        if self.gathers(now, in_flight) {
            self.cwnd_limited = Some(self.snd.nxt);
            return None;
        }
        if self.pace_room(now) == 0 {
            self.wait_for_pace();
            return None;
        }
        self.timers.stop(Timer::Persist);
        self.pending.force = false;
        if outstanding == 0 && self.config.slow_start_after_idle {
            self.cc.on_idle(now.since(self.last_sent_at), self.rto());
        }
        self.send_segment(now, i, pool, t)
    }

    /// Bytes of the next segment, if it takes several frames and room for all
    /// of it is worth waiting for, since what is in flight will bring it; 0
    /// otherwise.
    #[inline]
    fn long_segment(&self, in_flight: u32) -> u32 {
        if self.snd.wire / 2 < self.snd.mss {
            return 0;
        }
        let len = self.snd.glued() as u32 * u32::from(self.snd.mss);
        let unsent = self.snd.tail().distance(self.snd.nxt).max(0) as u32;
        if unsent >= len && in_flight >= 2 * len {
            len
        } else {
            0
        }
    }

    /// The next segment does not fit the peer's window: part of it goes if
    /// that is worth a segment, or if nothing else will open the window.
    fn send_into_small_window(
        &mut self,
        now: Instant,
        i: usize,
        edge: SeqNumber,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        let usable = edge.distance(self.snd.nxt).max(0) as u32;
        let worth = usable >= u32::from(self.snd.mss)
            || (self.snd.max_wnd > 0 && usable >= self.snd.max_wnd.div_ceil(2));
        let idle = self.snd.outstanding() == 0;
        let forced = idle && self.pending.force;
        if usable > 0 && (worth || forced) {
            let at = usable.min(u32::from(self.snd.mss)) as u16;
            let len = self.snd.get(i).map_or(0, |s| s.len);
            let room = self.in_flight().saturating_add(usable) <= self.cc.cwnd() || idle;
            if !room {
                self.cwnd_limited = Some(self.snd.nxt);
                return None;
            }
            if at >= len || self.snd.split(i, at, pool) {
                if at >= len {
                    // Its FIN alone does not fit; it follows.
                    self.snd.split_fin(i);
                }
                let desc = self.send_segment(now, i, pool, t);
                self.pending.force &= desc.is_none();
                return desc;
            }
            // Otherwise what is in flight brings a frame when acknowledged.
            if idle {
                self.timers.set(Timer::Retry, now + RETRY);
            }
        }
        if idle && !self.timers.is_set(Timer::Persist) {
            self.timers.set(Timer::Persist, now + self.rto());
        }
        None
    }

    /// RFC 8985 section 7.3: new data if there is any and the peer has room,
    /// else the last segment again.
    fn send_tail_probe(&mut self, now: Instant, pool: &mut Pool, t: &Template) -> Option<TxDesc> {
        let edge = self.snd.una + self.snd.wnd;
        let fresh = self.snd.next_unsent().is_some_and(|s| s.end().le(edge));
        let count = self.snd.sent_count();
        let i = if fresh { count } else { count.checked_sub(1)? };
        let desc = self.send_segment(now, i, pool, t)?;
        self.rack.tlp = Some((self.snd.nxt, !fresh));
        // One at a time: sending new data has armed another (section 7.2).
        self.timers.stop(Timer::Probe);
        self.counters.rare().probes += 1;
        self.rearm_rto(now);
        Some(desc)
    }

    /// Sends segment `i` of the queue, for the first time or again: its
    /// payload stands where it is.
    pub(super) fn send_segment(
        &mut self,
        now: Instant,
        i: usize,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        let mss = self.snd.mss.max(self.mtu.sending);
        if self.snd.get(i)?.len > mss && !self.snd.split(i, mss, pool) {
            // What is before it and in flight has the frames, and gives them
            // back when it is acknowledged: nothing is gained by asking often.
            if i == 0 || self.in_flight() == 0 {
                self.timers.set(Timer::Retry, now + RETRY);
            }
            return None;
        }
        let last = self.snd.tail();
        let s = self.snd.get(i)?;
        let (seq, len, end, sum) = (s.seq, s.len as usize, s.end(), s.sum);
        let (again, bare) = (s.sent > 0, s.held.is_none());
        let (ecn, mut flags) = self.ecn.data_marks(s);
        flags |= Flags::ACK;
        if s.fin {
            flags |= Flags::FIN;
        }
        // A FIN alone pushes nothing.
        if s.len > 0 && (end == last || s.fin) {
            flags |= Flags::PSH;
        }
        let header = self.data_header(now, seq, flags, pool);
        let desc = if bare {
            self.emit(now, pool, t, &header)?
        } else {
            let headroom = t.len();
            let headers = headroom + header.emit_len();
            let ident = self.next_ident();
            let mut held = self.snd.get_mut(i)?.held.as_mut()?;
            if held.len() != headers + len {
                if !self.make_room(i, headers, t, pool) {
                    self.timers.set(Timer::Retry, now + RETRY);
                    return None;
                }
                held = self.snd.get_mut(i)?.held.as_mut()?;
            }
            let Some(bytes) = pool.held_mut(held) else {
                self.timers.set(Timer::Retry, now + RETRY);
                return None;
            };
            let (below, segment) = bytes.split_at_mut(headroom);
            t.write_marked(below, segment.len(), ident, ecn);
            let header_len = header.emit(segment);
            fill_tcp_checksum(
                &mut segment[..header_len],
                t.pseudo_sum(header_len + len),
                sum,
            );
            pool.transmit_held(held)?
        };
        self.ecn.sent(end, flags);
        self.sent_segment(now, i, again);
        // Selective acknowledgements have no room on data: they go alone.
        if !self.rcv.has_sack() || !self.sack {
            self.acknowledged();
        }
        Some(desc)
    }

    /// The path's headers are no longer as long as they were when segment `i`
    /// was written: moves its payload. `false` while the kernel has it, and
    /// where the frame is too small: the segment goes in parts then.
    #[cold]
    fn make_room(&mut self, i: usize, headers: usize, t: &Template, pool: &mut Pool) -> bool {
        self.headroom = t.len() as u16;
        let most = pool.max_packet().saturating_sub(headers);
        if self.snd.get(i).is_some_and(|s| usize::from(s.len) > most) {
            self.snd.mss = self.snd.mss.min(most as u16);
            return false;
        }
        self.snd.move_payload(i, headers as u16, pool)
    }

    /// Bookkeeping after segment `i` was sent.
    fn sent_segment(&mut self, now: Instant, i: usize, again: bool) {
        let Some(s) = self.snd.get(i) else {
            return;
        };
        let (seq, seq_len, len, end) = (s.seq, s.seq_len(), s.len, s.end());
        let nothing_in_flight = !self.snd.has_sent();
        self.snd.mark_sent(i, now);
        self.last_sent_at = now;
        let payload = u64::from(len);
        self.counters.data_segments_sent += u64::from(payload > 0);
        self.counters.bytes_sent += payload;
        if again {
            self.counters.rare().retransmits += 1;
            self.counters.rare().bytes_retransmitted += payload;
            self.counters.rare().fast_retransmits += u64::from(self.recovery.is_fast());
            self.recovery.retransmitted(seq_len);
            self.forget_mtu_probe(seq);
        } else {
            self.recovery.sent(seq_len);
            self.keep_pace(now, seq_len);
            if self.cork {
                // The time of a partial segment begins when it is held.
                self.timers.stop(Timer::Cork);
            }
            if len < self.snd.mss {
                self.partial_sent(end);
            }
        }
        if nothing_in_flight {
            self.progress_at = now;
        }
        // The first segment sent again has a round trip to be acknowledged
        // (RFC 6675 section 6).
        let first_again = again && i == 0;
        if nothing_in_flight || first_again || !self.timers.is_set(Timer::Rto) {
            self.rearm_rto(now);
        }
        self.pending.arm_probe |= !again;
    }

    /// An acknowledgement of everything received has gone out.
    pub(super) fn acknowledged(&mut self) {
        self.ack.now = false;
        self.ack.unacked = 0;
        self.ack.quick = self.ack.quick.saturating_sub(1);
        self.ack.last_sent = self.rcv.nxt;
        self.timers.stop(Timer::Ack);
    }

    fn ports_header(&self) -> Header {
        Header {
            src_port: self.ports.local,
            dst_port: self.ports.remote,
            ..Header::default()
        }
    }

    pub(super) fn data_header(
        &mut self,
        now: Instant,
        seq: SeqNumber,
        flags: Flags,
        pool: &Pool,
    ) -> Header {
        self.rcv.note_room(self.payload_of_chunk(), pool);
        let timestamps = self.ts.map(|_| self.timestamps(now));
        Header {
            seq,
            ack: self.rcv.nxt,
            flags: flags | self.ecn.echo_flag(),
            window: self.rcv.advertise(u32::from(self.mss), false),
            options: Options {
                timestamps,
                ..Options::default()
            },
            ..self.ports_header()
        }
    }

    /// A segment without payload: acknowledgement, probe or reset.
    fn emit_bare(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
        seq: SeqNumber,
        flags: Flags,
    ) -> Option<TxDesc> {
        let header = if flags.contains(Flags::RST) {
            let ack = if flags.contains(Flags::ACK) {
                self.rcv.nxt
            } else {
                SeqNumber(0)
            };
            // RFC 7323 section 3.2: it may need them to be believed.
            let timestamps = self.ts.map(|_| self.timestamps(now));
            Header {
                seq,
                ack,
                flags,
                options: Options {
                    timestamps,
                    ..Options::default()
                },
                ..self.ports_header()
            }
        } else {
            let mut h = self.data_header(now, seq, flags, pool);
            if self.sack && self.rcv.has_sack() {
                let max = if self.ts.is_some() { 3 } else { 4 };
                h.options.sack = self.rcv.sack_blocks(max);
            }
            h
        };
        let desc = self.emit(now, pool, t, &header);
        if desc.is_some() && !flags.contains(Flags::RST) {
            self.acknowledged();
        }
        desc
    }

    /// Writes a segment without payload into the spare frame or a fresh one.
    fn emit(&mut self, now: Instant, pool: &mut Pool, t: &Template, h: &Header) -> Option<TxDesc> {
        let Some(mut packet) = self.spare.take().or_else(|| pool.alloc()) else {
            self.timers.set(Timer::Retry, now + RETRY);
            return None;
        };
        let ident = self.next_ident();
        write_bare(&mut packet, pool, t, h, ident);
        Some(pool.transmit(packet))
    }

    fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }

    /// Offset of payload in a frame that this connection sends, in bytes.
    pub(super) fn payload_start(&self) -> u16 {
        let options = if self.ts.is_some() { TIMESTAMPS_LEN } else { 0 };
        PACKET_START + self.headroom + tcp::HEADER_LEN as u16 + options
    }
}

/// Writes a whole packet without payload: for connections, and for those who
/// answer without one (resets, cookies).
pub fn write_bare(
    packet: &mut crate::frame::Packet,
    pool: &Pool,
    t: &Template,
    h: &Header,
    ident: u16,
) {
    let (below, segment) = (t.len(), h.emit_len());
    packet.set_range(PACKET_START, (below + segment) as u16);
    let (low, high) = pool.bytes_mut(packet).split_at_mut(below);
    t.write(low, segment, ident);
    h.emit(high);
    fill_tcp_checksum(high, t.pseudo_sum(segment), Sum::default());
}
