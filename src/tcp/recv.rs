//! The receiving half: what has arrived in order and waits for the
//! application, and the window that bounds it and what waits out of order
//! ([`Early`]).

use super::check::hold;
use super::early::{Early, Range};
use crate::frame::{Packet, Pool};
use crate::transport::inbox::{COMPACT, INITIAL_BUFFER, Inbox, clamp_buffer};
use crate::transport::share;
use crate::wire::tcp::{SackBlocks, SeqNumber};

/// What became of a segment's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// `nxt` advanced. `filled` if that closed or narrowed a hole.
    InOrder { filled: bool },
    /// Kept until the hole before it is filled.
    Early,
    /// All of it had arrived before, or nothing of it fits the window.
    Nothing,
    /// It fits the window, and there is no frame for it until somebody reads.
    NoRoom,
}

/// Receive sequence space (RFC 9293 section 3.3.1) and its packets.
#[derive(Debug)]
pub struct Receive {
    /// RCV.NXT.
    pub nxt: SeqNumber,
    /// Right edge of the window that the peer has been told; it never moves
    /// left.
    adv: SeqNumber,
    /// Shift of the window field that we send (RFC 7323 section 2.2).
    pub scale: u8,
    inbox: Inbox,
    /// Bytes from `nxt` that the engine's frames allow to promise.
    room: u32,
    /// There once something has arrived out of order, until [`trim`](Self::trim).
    early: Option<Box<Early>>,
    /// The duplicate to report first (RFC 2883).
    duplicate: Option<Range>,
}

/// The window shift that `buffer` bytes need: at most 14 (RFC 7323 section
/// 2.3).
pub fn window_shift(buffer: u32) -> u8 {
    let buffer = clamp_buffer(buffer);
    (0..14).find(|s| buffer >> s <= 0xffff).unwrap_or(14)
}

/// The window field of the first SYN or SYN-ACK with `buffer` bytes.
pub fn syn_window(buffer: u32) -> u16 {
    let first = INITIAL_BUFFER.min(clamp_buffer(buffer));
    u16::try_from(first).unwrap_or(u16::MAX)
}

impl Receive {
    pub fn new(buffer: u32, scaling: bool) -> Self {
        let scale = if scaling { window_shift(buffer) } else { 0 };
        Self {
            nxt: SeqNumber(0),
            adv: SeqNumber(0),
            scale,
            inbox: Inbox::new(buffer),
            room: u32::MAX,
            early: None,
            duplicate: None,
        }
    }

    /// The peer's initial sequence number is known.
    pub fn start(&mut self, irs: SeqNumber) {
        self.nxt = irs + 1;
        self.adv = self.nxt;
    }

    /// The peer does not scale windows.
    pub fn without_scaling(&mut self) {
        self.scale = 0;
        let inbox = &mut self.inbox;
        inbox.buffer_max = inbox.buffer_max.min(0xffff);
        inbox.buffer = inbox.buffer.min(inbox.buffer_max);
    }

    /// Another size of buffer, at once. The shift of the window field stays,
    /// so it may be more than can be told.
    pub fn set_buffer(&mut self, buffer: u32) {
        let most = u32::from(u16::MAX) << self.scale;
        self.inbox.buffer_max = clamp_buffer(buffer).min(most);
        self.inbox.buffer = self.inbox.buffer_max;
    }

    /// RCV.WND: bytes from `nxt` to the advertised edge.
    pub fn window(&self) -> u32 {
        self.adv.distance(self.nxt).max(0) as u32
    }

    /// Frames that wait for the application, in order or not, or that it has
    /// taken.
    fn frames(&self) -> usize {
        self.inbox.frames() + self.early_len()
    }

    /// Packets that wait out of order.
    #[inline]
    fn early_len(&self) -> usize {
        self.early.as_ref().map_or(0, |e| e.len())
    }

    /// Looks at how many frames are left, for windows to be offered until the
    /// next look. `mss` is the payload that a frame is expected to bring.
    #[inline]
    pub fn note_room(&mut self, mss: u32, pool: &Pool) {
        let frames = share::promise(self.frames(), pool) + self.early_len();
        let each = (mss as usize).max(COMPACT);
        self.room = u32::try_from(frames * each).unwrap_or(u32::MAX);
    }

    /// The edge that the free buffer and the engine's frames would allow, if
    /// that is further right.
    fn offer(&self, mss: u32) -> SeqNumber {
        let free = self.inbox.buffer.saturating_sub(self.inbox.held());
        let edge = self.nxt + free.min(self.room);
        // Receiver's silly-window avoidance, RFC 9293 section 3.8.6.2.2.
        let step = mss.min(self.inbox.buffer / 2);
        if edge.distance(self.adv) >= step as i32 {
            edge
        } else {
            self.adv
        }
    }

    /// The window field of the next segment; moves the advertised edge.
    /// `unscaled` for a segment with SYN.
    pub fn advertise(&mut self, mss: u32, unscaled: bool) -> u16 {
        let scale = if unscaled { 0 } else { self.scale };
        self.adv = self.offer(mss);
        // Rounded up, so that the edge does not shrink by the rounding; but
        // down where each rounding would let a peer in further although
        // nothing is read (RFC 7323 section 2.4 allows for that). What was
        // promised stays acceptable.
        let held = u64::from(self.inbox.held());
        let unit = (1u64 << scale) - 1;
        let window = u64::from(self.window());
        let overdrawn =
            held + window > u64::from(self.inbox.buffer) + unit || window > u64::from(self.room);
        let up = if overdrawn { 0 } else { unit };
        let field = (window + up) >> scale;
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        let edge = self.nxt + (u32::from(field) << scale);
        if edge.gt(self.adv) || unscaled {
            self.adv = edge;
        }
        field
    }

    /// Whether the free buffer would let [`wants_update`](Self::wants_update)
    /// answer yes, whatever the frames do.
    #[inline]
    pub fn may_want_update(&self) -> bool {
        self.inbox.buffer.saturating_sub(self.inbox.held()) >= self.window().saturating_mul(2)
    }

    /// Whether the window has opened enough to tell the peer unasked: it at
    /// least doubles.
    pub fn wants_update(&self, mss: u32) -> bool {
        let edge = self.offer(mss);
        edge != self.adv && edge.distance(self.nxt).max(0) as u32 >= self.window().saturating_mul(2)
    }

    /// Whether the segment `seq..end` touches the window (RFC 9293 section
    /// 3.10.7.4, first check).
    pub fn acceptable(&self, seq: SeqNumber, seq_len: u32) -> bool {
        let wnd = self.window();
        let inside = |s: SeqNumber| self.nxt.le(s) && s.lt(self.nxt + wnd);
        match (seq_len, wnd) {
            (0, 0) => seq == self.nxt,
            // One behind the window's last byte is where a peer that has filled
            // it acknowledges from.
            (0, _) => inside(seq) || seq == self.nxt + wnd,
            (_, 0) => false,
            (n, _) => inside(seq) || inside(seq + (n - 1)),
        }
    }

    /// Takes payload at `seq`; keeps or frees the packet. Payload beyond the
    /// window is cut off, and what the engine has no frames for is dropped.
    pub fn take_in(&mut self, mut seq: SeqNumber, mut packet: Packet, pool: &mut Pool) -> Received {
        let end = seq + packet.len() as u32;
        if seq.lt(self.nxt) {
            self.duplicate = Some((seq, end.min(self.nxt)));
            packet.advance(self.nxt.distance(seq) as usize);
            seq = self.nxt;
        }
        packet.truncate(self.adv.distance(seq).max(0) as usize);
        if packet.is_empty() {
            pool.free(packet);
            return Received::Nothing;
        }
        if seq == self.nxt {
            if !self.make_room(packet.len(), pool) {
                pool.free(packet);
                return Received::NoRoom;
            }
            self.note_overlap(seq, seq + packet.len() as u32);
            self.deliver(packet, pool);
            let filled = self.has_early();
            self.join(pool);
            return Received::InOrder { filled };
        }
        if self.early_len() >= self.early_limit() {
            pool.free(packet);
            return Received::Nothing;
        }
        if !share::may_keep_early(self.frames(), pool) {
            pool.free(packet);
            return Received::NoRoom;
        }
        self.note_overlap(seq, seq + packet.len() as u32);
        let early = self.early.get_or_insert_default();
        if early.keep(seq, packet, pool) {
            Received::Early
        } else {
            Received::Nothing
        }
    }

    /// Whether `len` bytes at `nxt` fit the window and may be kept, and nothing
    /// waits behind them.
    #[inline]
    pub fn takes_next(&self, len: u32, pool: &Pool) -> bool {
        self.early.as_ref().is_none_or(|e| e.is_empty())
            && len <= self.window()
            && share::may_keep(self.frames(), pool)
    }

    /// How many segments of `len` bytes at `nxt`, one behind the other, can be
    /// taken by [`take_run`](Self::take_run).
    #[inline]
    pub fn takes_run(&self, len: u32, pool: &Pool) -> u32 {
        let plain = len > COMPACT as u32 && self.early.as_ref().is_none_or(|e| e.is_empty());
        if !plain {
            return 0;
        }
        let frames = share::plenty(self.frames(), pool);
        (self.window() / len).min(u32::try_from(frames).unwrap_or(u32::MAX))
    }

    /// Takes one of those. [`took_run`](Self::took_run) has to follow.
    #[inline]
    pub fn take_run(&mut self, packet: Packet, pool: &mut Pool) {
        self.inbox.push_long(packet, pool);
    }

    /// So many bytes were taken that way.
    #[inline]
    pub fn took_run(&mut self, bytes: u32) {
        self.nxt += bytes;
        self.inbox.extended(bytes);
    }

    /// Takes payload at `nxt`, of which [`takes_next`](Self::takes_next) holds.
    pub fn take_next(&mut self, packet: Packet, pool: &mut Pool) {
        self.deliver(packet, pool);
    }

    /// Whether a packet of `len` bytes that is next in order may be kept; the
    /// last one out of order goes for it if need be.
    #[inline]
    fn make_room(&mut self, len: usize, pool: &mut Pool) -> bool {
        share::may_keep(self.frames(), pool)
            || self.inbox.fits_last(len, pool)
            || self.early.as_mut().is_some_and(|e| e.drop_last(pool))
    }

    /// Bound of the out-of-order queue in packets: attackers may send one
    /// byte in each.
    const fn early_limit(&self) -> usize {
        // A window of 536-byte segments has to fit at the start; later the
        // configured buffer bounds it.
        let (now, most) = (self.inbox.buffer / 512, self.inbox.buffer_max / 1024);
        16 + if now < most {
            now as usize
        } else {
            most as usize
        }
    }

    /// Part of `left..right` may wait out of order already: the first such part
    /// came twice (RFC 2883 section 4.2).
    fn note_overlap(&mut self, left: SeqNumber, right: SeqNumber) {
        let again = self.early.as_ref().and_then(|e| e.overlap(left, right));
        self.duplicate = self.duplicate.or(again);
    }

    /// A segment of which nothing is taken, for its beginning or all of it
    /// arrived again: the next acknowledgement says so.
    pub fn note_duplicate(&mut self, left: SeqNumber, right: SeqNumber) {
        if left.lt(self.nxt) {
            self.duplicate = Some((left, right.min(self.nxt)));
        }
    }

    fn deliver(&mut self, packet: Packet, pool: &mut Pool) {
        self.nxt += packet.len() as u32;
        let frames = self.frames();
        self.inbox.push(packet, frames, pool);
    }

    /// Moves what `nxt` has reached from the out-of-order queue.
    fn join(&mut self, pool: &mut Pool) {
        let Some(mut early) = self.early.take() else {
            return;
        };
        while let Some(packet) = early.pop_reached(self.nxt) {
            if packet.is_empty() {
                pool.free(packet);
            } else {
                self.deliver(packet, pool);
            }
        }
        early.reached(self.nxt);
        self.early = Some(early);
    }

    /// Whether the next acknowledgement has something selective to report.
    pub fn has_sack(&self) -> bool {
        self.duplicate.is_some() || self.early.as_ref().is_some_and(|e| e.has_ranges())
    }

    /// Blocks for the next acknowledgement: a duplicate first (RFC 2883),
    /// then the ranges by recency (RFC 2018 section 4).
    pub fn sack_blocks(&mut self, max: usize) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        if let Some((l, r)) = self.duplicate.take() {
            blocks.push(l, r);
        }
        if let Some(early) = &self.early {
            early.report(&mut blocks, max);
        }
        blocks
    }

    /// First waiting bytes.
    pub fn chunk<'a>(&'a self, pool: &'a Pool) -> Option<&'a [u8]> {
        self.inbox.chunk(pool)
    }

    /// Bytes that wait for the application.
    pub const fn available(&self) -> usize {
        self.inbox.available()
    }

    /// Drops the first `n` waiting bytes. Answers the last packet that became
    /// free, for the acknowledgement to be written into.
    #[inline]
    pub fn consume(&mut self, n: usize, pool: &mut Pool) -> Option<Packet> {
        self.inbox.consume(n, pool)
    }

    /// Drops the waiting bytes that `take` takes, as [`Inbox::read`].
    #[inline]
    pub fn read(
        &mut self,
        pool: &mut Pool,
        take: &mut impl FnMut(&[u8]) -> usize,
    ) -> (usize, Option<Packet>) {
        self.inbox.read(pool, take)
    }

    /// Moves the first waiting packet to the application; its bytes go on
    /// using up the window until [`release`](Self::release).
    pub fn take(&mut self) -> Option<Packet> {
        self.inbox.take()
    }

    /// The application is done with `n` bytes that it took.
    pub fn release(&mut self, n: usize) {
        self.inbox.release(n);
    }

    /// Whether packets wait out of order.
    pub fn has_early(&self) -> bool {
        self.early_len() > 0
    }

    /// Bytes and packets that wait out of order.
    pub fn early(&self) -> (usize, usize) {
        self.early.as_ref().map_or((0, 0), |e| (e.bytes(), e.len()))
    }

    /// The first rule that does not hold of the queues and the window.
    pub fn check(&self) -> Result<(), &'static str> {
        let ready = self.available();
        hold!(self.inbox.adds_up(), "bytes that wait add up");
        // What was promised with a larger unit may still come.
        let room = u64::from(self.inbox.buffer_max) + (2 << self.scale) + u64::from(u16::MAX);
        let held = u64::from(self.inbox.held()) + u64::from(self.window());
        hold!(held <= room, "what waits and may come fits the buffer");
        hold!(
            self.inbox.packets() <= 4 + ready / (COMPACT / 2),
            "small payloads do not pin a frame each"
        );
        hold!(
            self.early_len() <= self.early_limit(),
            "the out-of-order queue is bounded"
        );
        match &self.early {
            Some(early) => early.check(self.nxt, self.adv),
            None => Ok(()),
        }
    }

    /// The stream ends at `end`: what waits out of order from behind it is
    /// freed.
    pub fn cut(&mut self, end: SeqNumber, pool: &mut Pool) {
        if let Some(early) = &mut self.early {
            early.cut(end, pool);
        }
    }

    /// Frees everything out of order: it will not be delivered.
    pub fn forget_early(&mut self, pool: &mut Pool) {
        if let Some(early) = &mut self.early {
            early.clear(pool);
        }
    }

    /// Frees everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.forget_early(pool);
        self.inbox.clear(pool);
    }

    /// Whether memory is kept for packets of which there are none.
    pub fn has_slack(&self) -> bool {
        self.inbox.has_slack() || self.early.as_ref().is_some_and(|e| e.is_empty())
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        self.inbox.trim();
        self.early.take_if(|e| e.is_empty());
    }
}

#[cfg(test)]
#[path = "recv_tests.rs"]
mod tests;
