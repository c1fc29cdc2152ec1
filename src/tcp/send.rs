//! The sending half: a queue of segments, each in the frame that it will be
//! sent from, and the SACK scoreboard on it.

use std::collections::VecDeque;

use super::check::hold;
use crate::frame::{Held, PACKET_START, Packet, Pool};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::tcp::SeqNumber;

/// A run of sequence numbers that is sent as one segment.
#[derive(Debug)]
pub struct Segment {
    pub seq: SeqNumber,
    /// Payload in bytes.
    pub len: u16,
    pub syn: bool,
    pub fin: bool,
    pub sacked: bool,
    pub lost: bool,
    /// Sent again since it was last found lost.
    pub retransmitted: bool,
    /// Transmissions so far.
    pub sent: u8,
    /// Time of the last transmission.
    pub sent_at: Instant,
    /// The payload behind room for the headers; none for a bare SYN or FIN.
    pub held: Option<Held>,
    /// Sum over the payload.
    pub sum: Sum,
}

impl Segment {
    fn new(seq: SeqNumber) -> Self {
        Self {
            seq,
            len: 0,
            syn: false,
            fin: false,
            sacked: false,
            lost: false,
            retransmitted: false,
            sent: 0,
            sent_at: Instant::ZERO,
            held: None,
            sum: Sum::default(),
        }
    }

    /// Sequence numbers that it takes up (RFC 9293 section 3.4: SEG.LEN).
    pub fn seq_len(&self) -> u32 {
        u32::from(self.len) + u32::from(self.syn) + u32::from(self.fin)
    }

    pub fn end(&self) -> SeqNumber {
        self.seq + self.seq_len()
    }
}

/// Send sequence space (RFC 9293 section 3.3.1) and its segments.
#[derive(Debug)]
pub struct Send {
    /// ISS.
    pub iss: SeqNumber,
    /// SND.UNA.
    pub una: SeqNumber,
    /// SND.NXT: behind the last segment sent.
    pub nxt: SeqNumber,
    /// SND.WND in bytes.
    pub wnd: u32,
    /// SND.WL1 and SND.WL2: the segment that last updated the window.
    pub wl1: SeqNumber,
    pub wl2: SeqNumber,
    /// Largest window that the peer has offered.
    pub max_wnd: u32,
    /// Shift of the window fields that we receive.
    pub scale: u8,
    /// Largest payload that we send, options subtracted.
    pub mss: u16,
    /// Behind the last segment sent that was not full.
    pub small_end: SeqNumber,
    segments: VecDeque<Segment>,
    /// How many of them have been sent; the rest follow.
    sent: usize,
    /// Where the next segment queued begins.
    tail: SeqNumber,
    queued: u32,
    sacked: u32,
    lost: u32,
    retransmitted: u32,
    /// No lost segment that has to be sent again lies before this index.
    hint: usize,
    /// Before this index no segment waits to be judged by its first
    /// transmission: each was delivered, found lost, or sent again.
    judged: usize,
    /// Transmissions other than the first, in their order: when, and of which
    /// segment. Those overtaken by events are dropped when they come up.
    resent: VecDeque<(Instant, SeqNumber)>,
    /// Segments looked at by loss detection.
    #[cfg(test)]
    pub looks: u64,
}

/// Frames that sending leaves to receiving: without them no acknowledgement
/// could come in, and nothing sent would ever be freed.
pub fn reserve(pool: &Pool) -> usize {
    pool.region().chunks() as usize / 8
}

impl Send {
    pub fn new(iss: SeqNumber, mss: u16) -> Self {
        Self {
            iss,
            una: iss,
            nxt: iss,
            wnd: 0,
            wl1: SeqNumber(0),
            wl2: iss,
            max_wnd: 0,
            scale: 0,
            mss,
            small_end: iss,
            segments: VecDeque::new(),
            sent: 0,
            tail: iss,
            queued: 0,
            sacked: 0,
            lost: 0,
            retransmitted: 0,
            hint: 0,
            judged: 0,
            resent: VecDeque::new(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Payload bytes queued, sent or not.
    pub const fn queued(&self) -> u32 {
        self.queued
    }

    /// Behind the last segment queued.
    pub const fn tail(&self) -> SeqNumber {
        self.tail
    }

    /// SND.NXT - SND.UNA.
    pub fn outstanding(&self) -> u32 {
        self.nxt.distance(self.una).max(0) as u32
    }

    /// Whether anything sent is unacknowledged.
    pub const fn has_sent(&self) -> bool {
        self.sent > 0
    }

    pub fn has_unsent(&self) -> bool {
        self.sent < self.segments.len()
    }

    /// Bytes selectively acknowledged.
    pub const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes marked lost.
    pub const fn lost(&self) -> u32 {
        self.lost
    }

    /// How many of the segments sent `which` holds for. Looks at each.
    pub fn count_sent(&self, which: impl Fn(&Segment) -> bool) -> u32 {
        self.segments
            .range(..self.sent)
            .filter(|s| which(s))
            .count() as u32
    }

    /// The estimate of what is in the network, as RFC 6675 pipe: sent, not
    /// acknowledged, not lost unless sent again.
    pub fn in_flight(&self) -> u32 {
        let mut pipe = self.outstanding();
        pipe = pipe.saturating_sub(self.sacked);
        pipe = pipe.saturating_sub(self.lost);
        pipe.saturating_add(self.retransmitted)
    }

    pub fn first(&self) -> Option<&Segment> {
        self.segments.front()
    }

    pub fn next_unsent(&self) -> Option<&Segment> {
        self.segments.get(self.sent)
    }

    pub fn get(&self, i: usize) -> Option<&Segment> {
        self.segments.get(i)
    }

    pub fn get_mut(&mut self, i: usize) -> Option<&mut Segment> {
        self.segments.get_mut(i)
    }

    /// Index of the first unsent segment: the number of those sent.
    pub const fn sent_count(&self) -> usize {
        self.sent
    }

    /// Index of the segment that holds `seq`, or of the first behind it.
    pub fn index_of(&self, seq: SeqNumber) -> usize {
        self.segments.partition_point(|s| s.end().le(seq))
    }

    /// Queues a SYN or a FIN. A FIN rides on the last unsent segment.
    pub fn push_flag(&mut self, syn: bool, fin: bool) {
        // A SYN that has not been sent yet is not to carry it.
        if fin
            && self.has_unsent()
            && let Some(last) = self.segments.back_mut()
            && !last.syn
        {
            last.fin = true;
        } else {
            let mut s = Segment::new(self.tail);
            s.syn = syn;
            s.fin = fin;
            self.segments.push_back(s);
        }
        self.tail += 1;
    }

    /// Queues a payload packet. Its range becomes that of the whole packet,
    /// headers included.
    pub fn push(&mut self, packet: Packet, sum: Sum, pool: &mut Pool) {
        let mut packet = packet;
        let len = packet.len() as u16;
        let start = packet.start() as u16;
        packet.set_range(PACKET_START, start - PACKET_START + len);
        let mut s = Segment::new(self.tail);
        s.len = len;
        s.sum = sum;
        s.held = Some(pool.hold(packet));
        self.segments.push_back(s);
        self.tail += u32::from(len);
        self.queued += u32::from(len);
    }

    /// The last segment, if it is unsent, carries payload and no FIN, and has
    /// room for more.
    pub fn open_tail(&mut self) -> Option<&mut Segment> {
        if !self.has_unsent() {
            return None;
        }
        let mss = self.mss;
        self.segments
            .back_mut()
            .filter(|s| !s.fin && !s.syn && s.len < mss && s.held.is_some())
    }

    /// `n` more bytes were written into the segment of [`open_tail`](Self::open_tail).
    pub fn extended(&mut self, n: u16) {
        self.tail += u32::from(n);
        self.queued += u32::from(n);
    }

    /// Segment `i` is on its way.
    pub fn mark_sent(&mut self, i: usize, now: Instant) {
        let first_time = i >= self.sent;
        let Some(s) = self.segments.get_mut(i) else {
            return;
        };
        let (seq, len) = (s.seq, s.seq_len());
        s.sent = s.sent.saturating_add(1);
        s.sent_at = now;
        if first_time {
            self.sent = i + 1;
            self.nxt = s.end();
            return;
        }
        if s.lost && !s.retransmitted {
            s.retransmitted = true;
            self.retransmitted += len;
        }
        self.resent.push_back((now, seq));
        if self.resent.len() > 2 * self.sent + 16 {
            self.list_resent();
        }
    }

    /// Marks segment `i` lost. Answers the bytes newly lost.
    pub fn mark_lost(&mut self, i: usize) -> u32 {
        let Some(s) = self.segments.get_mut(i) else {
            return 0;
        };
        if s.sacked {
            return 0;
        }
        let len = s.seq_len();
        self.hint = self.hint.min(i);
        if s.retransmitted {
            // The retransmission was lost too.
            s.retransmitted = false;
            self.retransmitted = self.retransmitted.saturating_sub(len);
            return len;
        }
        if s.lost {
            return 0;
        }
        s.lost = true;
        self.lost += len;
        len
    }

    /// Marks segment `i` selectively acknowledged. Answers whether it was not.
    pub fn mark_sacked(&mut self, i: usize) -> bool {
        let Some(s) = self.segments.get_mut(i) else {
            return false;
        };
        if s.sacked {
            return false;
        }
        s.sacked = true;
        let len = s.seq_len();
        let (lost, again) = (s.lost, s.retransmitted);
        s.lost = false;
        s.retransmitted = false;
        self.sacked += len;
        self.unmark(lost, again, len);
        true
    }

    fn unmark(&mut self, lost: bool, retransmitted: bool, len: u32) {
        if lost {
            self.lost = self.lost.saturating_sub(len);
        }
        if retransmitted {
            self.retransmitted = self.retransmitted.saturating_sub(len);
        }
    }

    /// Nothing is lost after all: the time-out or the recovery was spurious.
    pub fn unmark_losses(&mut self) {
        for s in self.segments.range_mut(..self.sent) {
            s.lost = false;
            s.retransmitted = false;
        }
        self.lost = 0;
        self.retransmitted = 0;
        self.judge_again();
    }

    /// The receiver may have dropped what it selectively acknowledged
    /// (RFC 2018 section 8).
    pub fn forget_sacks(&mut self) {
        for s in self.segments.range_mut(..self.sent) {
            s.sacked = false;
        }
        self.sacked = 0;
        self.judge_again();
    }

    /// What had been judged has to be judged anew.
    fn judge_again(&mut self) {
        self.judged = 0;
        self.list_resent();
    }

    fn list_resent(&mut self) {
        self.resent.clear();
        for s in self.segments.range(..self.sent) {
            if s.sent > 1 && !s.sacked && (!s.lost || s.retransmitted) {
                self.resent.push_back((s.sent_at, s.seq));
            }
        }
        self.resent.make_contiguous().sort_by_key(|r| r.0);
    }

    /// The first segment that may wait to be judged by its first transmission,
    /// and behind it all that do.
    pub const fn judged(&self) -> usize {
        self.judged
    }

    /// All segments before index `i` have been judged by their first
    /// transmission.
    pub const fn set_judged(&mut self, i: usize) {
        self.judged = i;
    }

    /// The `k`-th transmission that was not a first one: when it was, and the
    /// index of the segment if it still waits for the outcome.
    pub fn resent(&self, k: usize) -> Option<(Instant, Option<usize>)> {
        let &(at, seq) = self.resent.get(k)?;
        let i = self.index_of(seq);
        let waits = i < self.sent
            && self.segments.get(i).is_some_and(|s| {
                s.seq == seq && s.sent_at == at && !s.sacked && (!s.lost || s.retransmitted)
            });
        Some((at, waits.then_some(i)))
    }

    /// Drops the first of them.
    pub fn forget_resent(&mut self) {
        self.resent.pop_front();
    }

    /// The first lost segment that has not been sent again.
    pub fn next_lost(&mut self) -> Option<usize> {
        if self.lost <= self.retransmitted {
            return None;
        }
        while self.hint < self.sent {
            if self
                .segments
                .get(self.hint)
                .is_some_and(|s| s.lost && !s.retransmitted)
            {
                return Some(self.hint);
            }
            self.hint += 1;
        }
        None
    }

    /// Removes the first segment if `ack` covers all of it. The caller frees
    /// its frame.
    pub fn pop_acked(&mut self, ack: SeqNumber) -> Option<Segment> {
        if self.sent == 0 || !self.segments.front()?.end().le(ack) {
            return None;
        }
        let s = self.segments.pop_front()?;
        self.sent -= 1;
        self.hint = self.hint.saturating_sub(1);
        self.judged = self.judged.saturating_sub(1);
        self.queued -= u32::from(s.len);
        let len = s.seq_len();
        if s.sacked {
            self.sacked = self.sacked.saturating_sub(len);
        }
        self.unmark(s.lost, s.retransmitted, len);
        Some(s)
    }

    /// Splits unsent or idle segment `i` so that its first part has `at`
    /// payload bytes. `false` if there is no frame, or the kernel still
    /// transmits the segment.
    ///
    /// Both parts' payloads must follow their headers, so the rest moves to a
    /// new frame: the one copy that a shrinking path or window costs.
    pub fn split(&mut self, i: usize, at: u16, pool: &mut Pool) -> bool {
        let Some(s) = self.segments.get_mut(i) else {
            return false;
        };
        if at == 0 || at >= s.len {
            return false;
        }
        let Some(held) = s.held.take() else {
            return false;
        };
        let headers = (held.len() as u16).saturating_sub(s.len);
        let mut first = match pool.unhold(held) {
            Ok(p) => p,
            Err(held) => {
                s.held = Some(held);
                return false;
            }
        };
        // The parts of the first segment are what frees frames in the end.
        let reserve = if i == 0 { 0 } else { reserve(pool) };
        let Some(mut second) = pool.alloc_above(reserve) else {
            s.held = Some(pool.hold(first));
            return false;
        };
        let rest = s.len - at;
        second.set_range(PACKET_START, headers + rest);
        let (h, a) = (headers as usize, at as usize);
        let sums = {
            let from = &pool.bytes(&first)[h..];
            let to = &mut pool.bytes_mut(&mut second)[h..];
            to.copy_from_slice(&from[a..]);
            (Sum::of(&from[..a]), Sum::of(to))
        };
        pool.count_copy(rest as usize);
        first.set_range(PACKET_START, headers + at);
        let mut tail = Segment::new(s.seq + u32::from(at));
        tail.len = rest;
        tail.sum = sums.1;
        tail.held = Some(pool.hold(second));
        tail.fin = std::mem::take(&mut s.fin);
        (tail.sacked, tail.lost, tail.retransmitted) = (s.sacked, s.lost, s.retransmitted);
        (tail.sent, tail.sent_at) = (s.sent, s.sent_at);
        s.len = at;
        s.sum = sums.0;
        s.held = Some(pool.hold(first));
        let again = s.sent > 1;
        self.segments.insert(i + 1, tail);
        if i < self.sent {
            self.sent += 1;
        }
        if i < self.judged {
            self.judged += 1;
        }
        if again {
            self.list_resent();
        }
        true
    }

    /// Makes unsent segment `i` and those behind it one of `len` payload bytes
    /// behind `headers` bytes of headers, in a frame of its own. `false` if
    /// there is no frame for that, or not so much payload before a FIN.
    pub fn merge(&mut self, i: usize, len: u16, headers: u16, pool: &mut Pool) -> bool {
        if i < self.sent || usize::from(headers) + usize::from(len) > pool.max_packet() {
            return false;
        }
        let (mut count, mut sum) = (0, 0);
        for s in self.segments.range(i..) {
            if s.fin || s.syn || s.held.is_none() {
                return false;
            }
            count += 1;
            sum += u32::from(s.len);
            if sum >= u32::from(len) {
                break;
            }
        }
        let Some(beyond) = sum.checked_sub(u32::from(len)) else {
            return false;
        };
        let last = i + count - 1;
        if beyond > 0 {
            let keep = self.segments.get(last).map_or(0, |s| s.len) - beyond as u16;
            if !self.split(last, keep, pool) {
                return false;
            }
        }
        let Some(mut packet) = pool.alloc_above(reserve(pool)) else {
            return false;
        };
        packet.set_range(PACKET_START, headers + len);
        let mut at = usize::from(headers);
        for s in self.segments.range_mut(i..=last) {
            if let Some(held) = s.held.take() {
                let n = usize::from(s.len);
                match pool.unhold(held) {
                    Ok(from) => {
                        let bytes = pool.bytes(&from);
                        pool.bytes_mut(&mut packet)[at..at + n]
                            .copy_from_slice(&bytes[bytes.len() - n..]);
                        pool.free(from);
                    }
                    // Never sent, so never with the kernel.
                    Err(held) => pool.release(held),
                }
                at += n;
            }
        }
        pool.count_copy(usize::from(len));
        let sum = Sum::of(&pool.bytes(&packet)[usize::from(headers)..]);
        self.segments.drain(i + 1..=last);
        if let Some(s) = self.segments.get_mut(i) {
            s.len = len;
            s.sum = sum;
            s.held = Some(pool.hold(packet));
        }
        true
    }

    /// Moves the payload of segment `i` to where `headers` bytes precede it.
    /// `false` while the kernel transmits it.
    pub fn move_payload(&mut self, i: usize, headers: u16, pool: &mut Pool) -> bool {
        let Some(s) = self.segments.get_mut(i) else {
            return false;
        };
        let Some(held) = s.held.take() else {
            return false;
        };
        let before = (held.len() as u16).saturating_sub(s.len);
        let mut packet = match pool.unhold(held) {
            Ok(p) => p,
            Err(held) => {
                s.held = Some(held);
                return false;
            }
        };
        packet.set_range(PACKET_START, headers.max(before) + s.len);
        let from = usize::from(before)..usize::from(before + s.len);
        pool.bytes_mut(&mut packet)
            .copy_within(from, usize::from(headers));
        pool.count_copy(usize::from(s.len));
        packet.set_range(PACKET_START, headers + s.len);
        s.held = Some(pool.hold(packet));
        true
    }

    /// Moves the FIN of unsent segment `i` into a segment of its own: the
    /// peer's window has room for the payload only.
    pub fn split_fin(&mut self, i: usize) {
        if i < self.sent {
            return;
        }
        let Some(s) = self.segments.get_mut(i) else {
            return;
        };
        if !std::mem::take(&mut s.fin) {
            return;
        }
        let mut fin = Segment::new(s.end());
        fin.fin = true;
        self.segments.insert(i + 1, fin);
    }

    /// The first rule that does not hold of the queue and its sums.
    pub fn check(&self) -> Result<(), &'static str> {
        let (mut at, mut queued) = (self.first().map_or(self.nxt, |s| s.seq), 0);
        let (mut sacked, mut lost, mut again) = (0, 0, 0);
        hold!(self.una.le(self.nxt), "SND.UNA <= SND.NXT (RFC 9293 3.4)");
        hold!(self.nxt.le(self.tail), "nothing is sent that is not queued");
        hold!(
            at.le(self.una) || !self.has_sent(),
            "what is outstanding is kept"
        );
        for (i, s) in self.segments.iter().enumerate() {
            hold!(s.seq == at, "segments join without a gap");
            hold!(s.held.is_some() == (s.len > 0), "payload has its frame");
            hold!((s.sent > 0) == (i < self.sent), "what was sent comes first");
            hold!(
                i < self.sent || !(s.sacked || s.lost || s.retransmitted),
                "what was not sent is neither lost nor received"
            );
            hold!(!(s.sacked && s.lost), "what was received is not lost");
            hold!(
                !(i < self.hint && s.lost && !s.retransmitted),
                "no lost segment is passed over"
            );
            at = s.end();
            queued += u32::from(s.len);
            sacked += if s.sacked { s.seq_len() } else { 0 };
            lost += if s.lost { s.seq_len() } else { 0 };
            again += if s.retransmitted { s.seq_len() } else { 0 };
            if i + 1 == self.sent {
                hold!(at == self.nxt, "SND.NXT follows the last segment sent");
            }
        }
        hold!(
            self.segments.is_empty() || at == self.tail,
            "the queue has an end"
        );
        hold!(queued == self.queued, "bytes queued add up");
        hold!(
            sacked == self.sacked,
            "bytes selectively acknowledged add up"
        );
        hold!(lost == self.lost, "bytes lost add up");
        hold!(again == self.retransmitted, "bytes sent again add up");
        Ok(())
    }

    /// Frees everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        for s in self.segments.drain(..) {
            if let Some(h) = s.held {
                pool.release(h);
            }
        }
        (self.sent, self.queued, self.hint, self.judged) = (0, 0, 0, 0);
        self.resent.clear();
        (self.sacked, self.lost, self.retransmitted) = (0, 0, 0);
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
