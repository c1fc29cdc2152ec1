//! The sending half: a queue of segments, each in the frame that it will be
//! sent from, and the SACK scoreboard on it.

mod reshape;
mod scoreboard;

use std::collections::VecDeque;

use super::check::hold;
use crate::frame::{Held, PACKET_START, Packet, Pool};
use crate::time::Instant;
use crate::transport::outbox::Outbox;
use crate::transport::payload::Payload;
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

    #[inline]
    pub const fn payload(&mut self) -> Payload<'_> {
        Payload {
            len: &mut self.len,
            sum: &mut self.sum,
            held: &mut self.held,
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
    /// Largest payload of one of `segments`, options subtracted.
    pub mss: u16,
    /// Largest payload that the path and the peer take, options subtracted: at
    /// least `mss`. If it is more, several of `segments` go as one.
    pub wire: u16,
    /// Behind the last segment sent that was not full.
    pub small_end: SeqNumber,
    segments: VecDeque<Segment>,
    /// How many of them have been sent; the rest follow.
    sent: u32,
    /// Where the next segment queued begins.
    tail: SeqNumber,
    queued: u32,
    sacked: u32,
    lost: u32,
    retransmitted: u32,
    /// No lost segment that has to be sent again lies before this index.
    hint: u32,
    /// Before this index no segment waits to be judged by its first
    /// transmission: each was delivered, found lost, or sent again.
    judged: u32,
    /// Transmissions other than the first, in their order: when, and of which
    /// segment. Those overtaken by events are dropped when they come up.
    #[allow(
        clippy::box_collection,
        reason = "a quarter of the size, in every connection"
    )]
    resent: Option<Box<VecDeque<(Instant, SeqNumber)>>>,
    /// Segments looked at by loss detection.
    #[cfg(test)]
    pub looks: u64,
}

/// Segments that were acknowledged together.
#[derive(Debug)]
pub struct Run {
    from: SeqNumber,
    /// Behind the last.
    pub end: SeqNumber,
    /// How many they were.
    pub segments: u32,
    /// When the last of them was sent.
    pub sent_at: Instant,
}

impl Run {
    /// Payload of all of them.
    pub fn bytes(&self) -> u32 {
        self.end.distance(self.from).max(0) as u32
    }
}

/// Frames of one segment at most: what one transmission of an AF_XDP socket
/// takes, and a turn's share of a connection.
const MAX_GLUED: usize = 16;

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
            wire: mss,
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
            resent: None,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Payload bytes queued, sent or not.
    pub const fn queued(&self) -> u32 {
        self.queued
    }

    /// Bytes queued that have not been sent once.
    pub fn unsent(&self) -> u32 {
        self.tail.distance(self.nxt).max(0) as u32
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
        self.sent_count() < self.segments.len()
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
            .range(..self.sent_count())
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
        self.segments.get(self.sent_count())
    }

    /// The next segment to be sent for the first time.
    pub fn next_unsent_mut(&mut self) -> Option<&mut Segment> {
        self.segments.get_mut(self.sent_count())
    }

    pub fn get(&self, i: usize) -> Option<&Segment> {
        self.segments.get(i)
    }

    pub fn get_mut(&mut self, i: usize) -> Option<&mut Segment> {
        self.segments.get_mut(i)
    }

    /// How many full segments of the queue go as one.
    pub fn glued(&self) -> usize {
        usize::from(self.wire / self.mss.max(1)).clamp(1, MAX_GLUED)
    }

    /// Index of the first unsent segment: the number of those sent.
    #[inline]
    pub const fn sent_count(&self) -> usize {
        self.sent as usize
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
        if s.syn && self.segments.is_empty() {
            // Many connections never send more than that, or not soon.
            self.segments = VecDeque::new();
        }
        Some(s)
    }

    /// Removes from the front what `ack` covers of segments that were sent once
    /// and to which nothing has happened since, and frees their frames. `None`
    /// if the first is no such one.
    #[inline]
    pub fn pop_plain(&mut self, ack: SeqNumber, pool: &mut Pool) -> Option<Run> {
        let mut run: Option<Run> = None;
        for s in self.segments.iter_mut().take(self.sent as usize) {
            let trouble = s.sacked | s.lost | s.retransmitted | s.syn | s.fin;
            let end = s.seq + u32::from(s.len);
            if trouble || s.sent != 1 || !end.le(ack) {
                break;
            }
            if let Some(held) = s.held.take() {
                pool.release(held);
            }
            let run = run.get_or_insert(Run {
                from: s.seq,
                end,
                segments: 0,
                sent_at: s.sent_at,
            });
            (run.end, run.sent_at) = (end, s.sent_at);
            run.segments += 1;
        }
        let n = run.as_ref()?.segments;
        self.segments.drain(..n as usize);
        self.sent -= n;
        self.hint = self.hint.saturating_sub(n);
        self.judged = self.judged.saturating_sub(n);
        self.queued -= run.as_ref()?.bytes();
        run
    }

    /// Removes all that was sent, of which [`is_plain`](Self::is_plain) holds, and
    /// frees its frames. `None` if nothing was.
    #[inline]
    pub fn pop_sent(&mut self, pool: &mut Pool) -> Option<Run> {
        let from = self.first()?.seq;
        let mut run = Run {
            from,
            end: from,
            segments: 0,
            sent_at: Instant::ZERO,
        };
        while run.segments < self.sent
            && let Some(s) = self.segments.front_mut()
        {
            if let Some(held) = s.held.take() {
                pool.release(held);
            }
            (run.end, run.sent_at) = (s.end(), s.sent_at);
            run.segments += 1;
            self.segments.pop_front();
        }
        self.hint = self.hint.saturating_sub(run.segments);
        self.judged = self.judged.saturating_sub(run.segments);
        self.queued -= run.bytes();
        self.sent = 0;
        Some(run)
    }

    /// Whether what was sent is a few segments that [`pop_plain`](Self::pop_plain)
    /// takes, and nothing was ever sent twice of what is remembered.
    #[inline]
    pub fn is_plain(&self) -> bool {
        const FEW: usize = 4;
        let sent = self.sent_count();
        let plain =
            |s: &Segment| !(s.sacked | s.lost | s.retransmitted | s.syn | s.fin) && s.sent == 1;
        (1..=FEW).contains(&sent)
            && self.resent.as_ref().is_none_or(|r| r.is_empty())
            && (0..sent).all(|i| self.segments.get(i).is_some_and(plain))
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
            hold!(
                (s.sent > 0) == (i < self.sent_count()),
                "what was sent comes first"
            );
            hold!(
                i < self.sent_count() || !(s.sacked || s.lost || s.retransmitted),
                "what was not sent is neither lost nor received"
            );
            hold!(!(s.sacked && s.lost), "what was received is not lost");
            hold!(
                !(i < self.hint as usize && s.lost && !s.retransmitted),
                "no lost segment is passed over"
            );
            at = s.end();
            queued += u32::from(s.len);
            sacked += if s.sacked { s.seq_len() } else { 0 };
            lost += if s.lost { s.seq_len() } else { 0 };
            again += if s.retransmitted { s.seq_len() } else { 0 };
            if i + 1 == self.sent_count() {
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

    /// Whether memory is kept for segments of which there are none.
    pub fn has_slack(&self) -> bool {
        self.segments.is_empty() && (self.segments.capacity() > 0 || self.resent.is_some())
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
            self.resent = None;
        }
    }

    /// Frees everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        for s in self.segments.drain(..) {
            if let Some(h) = s.held {
                pool.release(h);
            }
        }
        (self.sent, self.queued, self.hint, self.judged) = (0, 0, 0, 0);
        self.resent = None;
        (self.sacked, self.lost, self.retransmitted) = (0, 0, 0);
    }
}

impl Outbox for Send {
    #[inline]
    fn open_tail(&mut self) -> Option<(Payload<'_>, u16)> {
        if !self.has_unsent() {
            return None;
        }
        let mss = self.mss;
        let last = self.segments.back_mut()?;
        let is_open = !last.fin && !last.syn && last.len < mss && last.held.is_some();
        is_open.then(|| (last.payload(), mss))
    }

    #[inline]
    fn extended(&mut self, bytes: u16) {
        self.tail += u32::from(bytes);
        self.queued += u32::from(bytes);
    }

    #[inline]
    fn push(&mut self, packet: Packet, sum: Sum, pool: &mut Pool) {
        let mut packet = packet;
        let len = packet.len() as u16;
        let start = packet.start() as u16;
        // From here on that of the whole packet, headers included.
        packet.set_range(PACKET_START, start - PACKET_START + len);
        let mut s = Segment::new(self.tail);
        s.len = len;
        s.sum = sum;
        s.held = Some(pool.hold(packet));
        self.segments.push_back(s);
        self.tail += u32::from(len);
        self.queued += u32::from(len);
    }
}

#[cfg(test)]
mod tests;
