//! The sending half: a queue of packets, each in the frame that it will be
//! sent from, and what is known of those that were sent.
//!
//! The number of a packet follows from its place, so that an acknowledgement
//! is found without a search.

mod arrivals;
mod reshape;

use std::collections::VecDeque;

use super::check::hold;
use crate::frame::{Held, PACKET_START, Packet, Pool};
use crate::time::Instant;
use crate::transport::outbox::Outbox;
use crate::transport::payload::Payload;
use crate::wire::checksum::Sum;
use crate::wire::utp::SeqNr;

/// A packet of the queue: one sequence number.
#[derive(Debug)]
pub struct Segment {
    /// Payload in bytes.
    pub len: u16,
    pub fin: bool,
    pub sacked: bool,
    pub lost: bool,
    /// Sent again since it was last found lost.
    pub again: bool,
    /// Transmissions so far.
    pub sent: u8,
    /// Time of the last transmission.
    pub sent_at: Instant,
    /// Its place in the order of all transmissions.
    pub order: u32,
    /// The payload behind room for the headers; none for a FIN.
    pub held: Option<Held>,
    /// Sum over the payload.
    pub sum: Sum,
}

impl Segment {
    const fn new() -> Self {
        Self {
            len: 0,
            fin: false,
            sacked: false,
            lost: false,
            again: false,
            sent: 0,
            sent_at: Instant::ZERO,
            order: 0,
            held: None,
            sum: Sum::ZERO,
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
}

/// Send sequence space and its packets. Sums are of payload bytes.
#[derive(Debug)]
pub struct Send {
    /// The oldest packet that is not acknowledged: the first of `segments`.
    pub una: SeqNr,
    /// The peer's window in bytes, from `una` on.
    pub wnd: u32,
    /// Payload of a full packet.
    pub mss: u16,
    segments: VecDeque<Segment>,
    /// How many of them have been sent; the rest follow.
    sent: u32,
    queued: u32,
    outstanding: u32,
    sacked: u32,
    lost: u32,
    again: u32,
    /// How many packets are sacked, or lost and not sent again.
    sacked_count: u32,
    lost_count: u32,
    /// No lost packet that has to be sent again lies before this index.
    hint: u32,
    /// Before this index no packet waits to be judged by its first
    /// transmission.
    judged: u32,
    /// Transmissions so far.
    order: u32,
    /// Later transmissions than the first, in their order.
    resent: VecDeque<(u32, SeqNr)>,
    /// The last three transmissions that arrived, latest first.
    arrived: [Option<u32>; 3],
    /// Most packets ever in flight.
    peak: u16,
}

impl Send {
    /// `una` is the number of the first packet of payload.
    pub const fn new(una: SeqNr, mss: u16) -> Self {
        Self {
            una,
            wnd: 0,
            mss,
            segments: VecDeque::new(),
            sent: 0,
            queued: 0,
            outstanding: 0,
            sacked: 0,
            lost: 0,
            again: 0,
            sacked_count: 0,
            lost_count: 0,
            hint: 0,
            judged: 0,
            order: 0,
            resent: VecDeque::new(),
            arrived: [None; 3],
            peak: 0,
        }
    }

    /// The number of the next packet to be sent for the first time.
    #[inline]
    pub const fn nxt(&self) -> SeqNr {
        self.una.plus(self.sent as u16)
    }

    /// Payload bytes queued, sent or not.
    #[inline]
    pub const fn queued(&self) -> u32 {
        self.queued
    }

    /// Bytes queued that have not been sent once.
    #[inline]
    pub const fn unsent(&self) -> u32 {
        self.queued - self.outstanding
    }

    /// Bytes sent and not acknowledged cumulatively.
    #[inline]
    pub const fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Packets sent and not acknowledged cumulatively.
    #[inline]
    pub const fn sent_count(&self) -> usize {
        self.sent as usize
    }

    pub const fn has_sent(&self) -> bool {
        self.sent > 0
    }

    pub fn has_unsent(&self) -> bool {
        self.sent_count() < self.segments.len()
    }

    /// Packets that have not been sent once.
    pub fn unsent_count(&self) -> usize {
        self.segments.len() - self.sent_count()
    }

    pub const fn sacked_count(&self) -> u32 {
        self.sacked_count
    }

    pub const fn lost_count(&self) -> u32 {
        self.lost_count
    }

    /// Packets that were sent again and are not found lost since.
    pub fn again_count(&self) -> u32 {
        let sent = self.segments.range(..self.sent_count());
        sent.filter(|s| s.again).count() as u32
    }

    /// Most packets that were ever in flight.
    pub const fn peak(&self) -> u16 {
        self.peak
    }

    /// Whether nothing that was sent is known to be missing, or to have
    /// arrived before what precedes it.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.sacked_count == 0 && self.lost_count == 0 && self.resent.is_empty()
    }

    /// The estimate of what is in the network: sent, not acknowledged, not
    /// lost unless sent again.
    #[inline]
    pub const fn in_flight(&self) -> u32 {
        self.outstanding
            .saturating_sub(self.sacked)
            .saturating_sub(self.lost)
            .saturating_add(self.again)
    }

    pub fn get(&self, i: usize) -> Option<&Segment> {
        self.segments.get(i)
    }

    pub fn get_mut(&mut self, i: usize) -> Option<&mut Segment> {
        self.segments.get_mut(i)
    }

    pub fn next_unsent(&self) -> Option<&Segment> {
        self.segments.get(self.sent_count())
    }

    /// The next packet to be sent for the first time.
    #[inline]
    pub fn next_unsent_mut(&mut self) -> Option<&mut Segment> {
        self.segments.get_mut(self.sent as usize)
    }

    /// Whether the last packet is all that is queued to be sent.
    pub fn is_last(&self, i: usize) -> bool {
        i + 1 == self.segments.len()
    }

    /// Index of packet `seq`, if it was sent and is not acknowledged.
    pub fn index_of(&self, seq: SeqNr) -> Option<usize> {
        let i = usize::try_from(seq.distance(self.una)).ok()?;
        (i < self.sent_count()).then_some(i)
    }

    /// Queues a FIN.
    pub fn push_fin(&mut self) {
        let mut s = Segment::new();
        s.fin = true;
        self.segments.push_back(s);
    }

    /// Packet `i` is being sent, for the first time if it is the next.
    pub fn mark_sent(&mut self, i: usize, now: Instant) {
        let order = self.order;
        let seq = self.una.plus(i as u16);
        let Some(s) = self.segments.get_mut(i) else {
            return;
        };
        self.order = order.wrapping_add(1);
        s.sent = s.sent.saturating_add(1);
        s.sent_at = now;
        s.order = order;
        if i == self.sent as usize {
            self.outstanding += u32::from(s.len);
            self.sent += 1;
            self.peak = self.peak.max(self.sent as u16);
            return;
        }
        if s.lost && !s.again {
            s.again = true;
            self.again += u32::from(s.len);
            self.lost_count -= 1;
        }
        self.resent.push_back((order, seq));
        if self.hint as usize == i {
            self.hint += 1;
        }
    }

    /// The next packet, plain and for the first time, as
    /// [`mark_sent`](Self::mark_sent).
    #[inline]
    pub fn sent_next(&mut self, now: Instant) {
        let order = self.order;
        if let Some(s) = self.segments.get_mut(self.sent as usize) {
            s.sent = 1;
            s.sent_at = now;
            s.order = order;
            self.order = order.wrapping_add(1);
            self.outstanding += u32::from(s.len);
            self.sent += 1;
            self.peak = self.peak.max(self.sent as u16);
        }
    }

    /// Packet `i` has arrived out of order; whether that is news.
    pub fn mark_sacked(&mut self, i: usize) -> bool {
        let Some(s) = self.segments.get_mut(i).filter(|s| !s.sacked) else {
            return false;
        };
        let len = u32::from(s.len);
        s.sacked = true;
        let (lost, again) = (s.lost, s.again);
        (s.lost, s.again) = (false, false);
        self.sacked += len;
        self.sacked_count += 1;
        self.unmark(lost, again, len);
        true
    }

    fn unmark(&mut self, lost: bool, again: bool, len: u32) {
        if lost {
            self.lost -= len;
            if !again {
                self.lost_count -= 1;
            }
        }
        if again {
            self.again -= len;
        }
    }

    /// Takes out the first packet, which has been acknowledged with all before
    /// it. The caller frees its frame.
    #[inline]
    pub fn pop_acked(&mut self) -> Option<Segment> {
        if self.sent == 0 {
            return None;
        }
        let s = self.segments.pop_front()?;
        let len = u32::from(s.len);
        self.una = self.una.plus(1);
        self.sent -= 1;
        self.hint = self.hint.saturating_sub(1);
        self.judged = self.judged.saturating_sub(1);
        self.queued -= len;
        self.outstanding -= len;
        if s.sacked {
            self.sacked -= len;
            self.sacked_count -= 1;
        }
        if s.lost {
            self.unmark(true, s.again, len);
        }
        Some(s)
    }

    /// The first rule that does not hold of the queue and its sums.
    pub fn check(&self) -> Result<(), &'static str> {
        let (mut queued, mut outstanding) = (0, 0);
        let (mut sacked, mut lost, mut again) = (0, 0, 0);
        let (mut sacked_count, mut lost_count) = (0, 0);
        for (i, s) in self.segments.iter().enumerate() {
            let was_sent = i < self.sent_count();
            hold!(s.held.is_some() == (s.len > 0), "payload has its frame");
            hold!((s.sent > 0) == was_sent, "what was sent comes first");
            hold!(
                was_sent || !(s.sacked || s.lost || s.again),
                "what was not sent is neither lost nor received"
            );
            hold!(!(s.sacked && s.lost), "what was received is not lost");
            hold!(s.lost || !s.again, "what went again was lost");
            hold!(
                !(i < self.hint as usize && s.lost && !s.again),
                "no lost packet is passed over"
            );
            let len = u32::from(s.len);
            queued += len;
            outstanding += if was_sent { len } else { 0 };
            sacked += if s.sacked { len } else { 0 };
            lost += if s.lost { len } else { 0 };
            again += if s.again { len } else { 0 };
            sacked_count += u32::from(s.sacked);
            lost_count += u32::from(s.lost && !s.again);
        }
        hold!(
            self.sent_count() <= self.segments.len() && self.sent < 0x8000,
            "what was sent fits the sequence space"
        );
        hold!(queued == self.queued, "bytes queued add up");
        hold!(outstanding == self.outstanding, "bytes sent add up");
        hold!(
            (sacked, sacked_count) == (self.sacked, self.sacked_count),
            "bytes selectively acknowledged add up"
        );
        hold!(
            (lost, lost_count) == (self.lost, self.lost_count),
            "bytes lost add up"
        );
        hold!(again == self.again, "bytes sent again add up");
        hold!(
            self.resent.len() <= 4 * (self.sent_count() + 64),
            "transmissions that were repeated are not remembered for ever"
        );
        Ok(())
    }

    /// Whether memory is kept for packets of which there are none.
    pub fn has_slack(&self) -> bool {
        self.segments.is_empty() && (self.segments.capacity() > 0 || self.resent.capacity() > 0)
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
            self.resent = VecDeque::new();
        }
    }

    /// Frees everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        for s in self.segments.drain(..) {
            if let Some(h) = s.held {
                pool.release(h);
            }
        }
        (self.sent, self.queued, self.outstanding) = (0, 0, 0);
        (self.sacked, self.lost, self.again) = (0, 0, 0);
        (self.sacked_count, self.lost_count) = (0, 0);
        (self.hint, self.judged) = (0, 0);
        self.resent.clear();
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
        let is_open = !last.fin && last.len < mss && last.held.is_some();
        is_open.then(|| (last.payload(), mss))
    }

    #[inline]
    fn extended(&mut self, bytes: u16) {
        self.queued += u32::from(bytes);
    }

    #[inline]
    fn push(&mut self, packet: Packet, sum: Sum, pool: &mut Pool) {
        let mut packet = packet;
        let len = packet.len() as u16;
        let start = packet.start() as u16;
        // From here on that of the whole packet, headers included.
        packet.set_range(PACKET_START, start - PACKET_START + len);
        let mut s = Segment::new();
        s.len = len;
        s.sum = sum;
        s.held = Some(pool.hold(packet));
        self.segments.push_back(s);
        self.queued += u32::from(len);
    }
}
