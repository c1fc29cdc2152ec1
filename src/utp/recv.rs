//! The receiving half: what has arrived in order and waits for the
//! application, what waits out of order, and the window that bounds both.

use super::check::hold;
use super::early::{Early, MAX_SACK};
use crate::frame::{Packet, Pool};
use crate::transport::inbox::{COMPACT, Inbox, clamp_buffer};
use crate::transport::share;
use crate::wire::utp::SeqNr;

/// Bytes beyond the buffer that are taken in order: numbers count packets, so
/// a peer cannot tell the edge of the window to the byte, and what probes a
/// shut window is not to be lost (libutp gives up after a few losses).
const SLACK: u32 = 64 << 10;

/// What became of a packet's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// `nxt` advanced. `filled` if that closed or narrowed a hole.
    InOrder { filled: bool },
    /// Kept until what is before it arrives.
    Early,
    /// It had arrived before.
    Duplicate,
    /// It is too far ahead, or behind the end of the stream.
    Outside,
    /// There is no frame for it until somebody reads.
    NoRoom,
}

/// Receive sequence space and its packets.
#[derive(Debug)]
pub struct Receive {
    /// The next packet in order.
    pub nxt: SeqNr,
    /// The number of the FIN, once it is known.
    pub fin: Option<SeqNr>,
    inbox: Inbox,
    early: Early,
    /// What is left of the window that the peer was told last, in bytes.
    told: u32,
    /// Bytes that the engine's frames allow to promise.
    room: u32,
    /// How far ahead packets are kept.
    reach: u16,
}

impl Receive {
    pub fn new(buffer: u32, reach: u16) -> Self {
        Self {
            nxt: SeqNr(0),
            fin: None,
            inbox: Inbox::new(buffer),
            early: Early::default(),
            told: 0,
            room: u32::MAX,
            reach: reach.min(0x4000),
        }
    }

    /// Another size of buffer, at once.
    pub fn set_buffer(&mut self, buffer: u32) {
        self.inbox.buffer_max = clamp_buffer(buffer);
        self.inbox.buffer = self.inbox.buffer_max;
    }

    /// The last packet received in order.
    #[inline]
    pub const fn ack(&self) -> SeqNr {
        self.nxt.minus(1)
    }

    /// Frames that wait for the application, in order or not, or that it has
    /// taken.
    #[inline]
    fn frames(&self) -> usize {
        self.inbox.frames() + self.early.len()
    }

    /// Whether the peer's stream is here to its end.
    pub fn is_over(&self) -> bool {
        self.fin.is_some_and(|fin| fin.lt(self.nxt))
    }

    /// Looks at how many frames are left, for windows to be offered until the
    /// next look. `each` is the payload that a frame is expected to bring.
    #[inline]
    pub fn note_room(&mut self, each: u32, pool: &Pool) {
        let frames = share::promise(self.frames(), pool) + self.early.len();
        let each = (each as usize).max(COMPACT);
        self.room = u32::try_from(frames * each).unwrap_or(u32::MAX);
    }

    /// The window that could be told now. Less than a packet is none: nobody
    /// sends into that.
    fn offer(&self, mss: u32) -> u32 {
        let free = self.inbox.buffer.saturating_sub(self.inbox.held());
        let offer = free.min(self.room);
        if offer < mss.min(self.inbox.buffer / 2) {
            0
        } else {
            offer
        }
    }

    /// The window field of the next packet.
    #[inline]
    pub fn advertise(&mut self, mss: u32) -> u32 {
        self.told = self.offer(mss);
        self.told
    }

    /// What is left of the window that the peer was told last.
    pub const fn window(&self) -> u32 {
        self.told
    }

    /// Whether the window has opened enough to tell the peer unasked: it at
    /// least doubles.
    pub fn wants_update(&self, mss: u32) -> bool {
        let offer = self.offer(mss);
        let step = mss.min(self.inbox.buffer / 2);
        offer >= self.told.saturating_add(step) && offer >= self.told.saturating_mul(2)
    }

    /// Takes the payload of packet `seq`; keeps or frees it.
    pub fn take_in(&mut self, seq: SeqNr, packet: Packet, fin: bool, pool: &mut Pool) -> Received {
        let ahead = seq.distance(self.nxt);
        if ahead < 0 {
            pool.free(packet);
            return Received::Duplicate;
        }
        if self.is_over() || self.fin.is_some_and(|end| end.lt(seq)) {
            pool.free(packet);
            return Received::Outside;
        }
        if ahead == 0 {
            if !self.takes(packet.len(), pool) {
                pool.free(packet);
                return Received::NoRoom;
            }
            let filled = !self.early.is_empty();
            self.note_fin(seq, fin, pool);
            self.deliver(packet, pool);
            self.join(pool);
            return Received::InOrder { filled };
        }
        if ahead as usize > self.early_limit() {
            pool.free(packet);
            return Received::Outside;
        }
        let place = ahead as usize - 1;
        if self.early.has(place) {
            pool.free(packet);
            return Received::Duplicate;
        }
        let held = self.inbox.held() as usize + self.early.bytes() + packet.len();
        let fits = held <= (self.inbox.buffer.saturating_add(SLACK)) as usize;
        if !fits || !share::may_keep_early(self.frames(), pool) {
            pool.free(packet);
            return Received::NoRoom;
        }
        self.note_fin(seq, fin, pool);
        pool.unread_now(&packet);
        self.early.put(place, packet);
        Received::Early
    }

    /// Packet `seq` may be the end of the stream: what waits from behind it is
    /// no part of it. The first one that says so counts.
    fn note_fin(&mut self, seq: SeqNr, fin: bool, pool: &mut Pool) {
        if fin && self.fin.is_none() {
            self.fin = Some(seq);
            let behind = seq.distance(self.nxt).max(0) as usize;
            self.early.cut(behind, pool);
        }
    }

    /// Whether a packet of `len` bytes that is next in order may be kept.
    fn takes(&self, len: usize, pool: &Pool) -> bool {
        if self.inbox.held() >= self.inbox.buffer.saturating_add(SLACK) {
            return false;
        }
        // What fills a hole lets those behind it be read: they cannot be given
        // back, so it must not wait for their frames.
        share::may_keep(self.frames(), pool)
            || self.inbox.fits_last(len, pool)
            || (!self.early.is_empty() && share::may_exceed(pool))
    }

    /// Whether `len` bytes that are next in order may be kept, and nothing
    /// waits behind them, nor an end.
    #[inline]
    pub fn takes_next(&self, len: u32, pool: &Pool) -> bool {
        self.early.is_empty()
            && self.fin.is_none()
            && len <= self.told
            && share::may_keep(self.frames(), pool)
    }

    /// Takes payload at `nxt`, of which [`takes_next`](Self::takes_next) holds.
    #[inline]
    pub fn take_next(&mut self, packet: Packet, pool: &mut Pool) {
        let len = packet.len() as u32;
        self.nxt = self.nxt.plus(1);
        self.told = self.told.saturating_sub(len);
        let frames = self.frames();
        self.inbox.push(packet, frames, pool);
    }

    fn deliver(&mut self, packet: Packet, pool: &mut Pool) {
        if packet.is_empty() {
            self.nxt = self.nxt.plus(1);
            pool.free(packet);
        } else {
            self.take_next(packet, pool);
        }
    }

    /// Moves what `nxt` has reached from the packets out of order.
    fn join(&mut self, pool: &mut Pool) {
        while let Some(packet) = self.early.advance() {
            self.deliver(packet, pool);
        }
    }

    /// How far ahead packets are kept: so many packets fit the buffer if they
    /// are not small.
    fn early_limit(&self) -> usize {
        let fit = 64 + self.inbox.buffer_max as usize / 512;
        fit.min(usize::from(self.reach))
    }

    /// Whether the next acknowledgement has something selective to report.
    #[inline]
    pub const fn has_sack(&self) -> bool {
        !self.early.is_empty()
    }

    /// The bits of the next selective acknowledgement, and their length.
    pub fn sack(&self, bits: &mut [u8; MAX_SACK]) -> usize {
        self.early.report(bits)
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
    /// free.
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

    /// Moves the first waiting packet to the application.
    pub fn take(&mut self) -> Option<Packet> {
        self.inbox.take()
    }

    /// The application is done with `n` bytes that it took.
    pub fn release(&mut self, n: usize) {
        self.inbox.release(n);
    }

    /// Bytes and packets that wait out of order.
    pub const fn early(&self) -> (usize, usize) {
        (self.early.bytes(), self.early.len())
    }

    /// The first rule that does not hold of the queues and the window.
    pub fn check(&self) -> Result<(), &'static str> {
        let ready = self.available();
        hold!(self.inbox.adds_up(), "bytes that wait add up");
        let held = self.inbox.held() as usize + self.early.bytes();
        hold!(
            held <= self.inbox.buffer_max as usize + SLACK as usize + (64 << 10),
            "what waits fits the buffer"
        );
        hold!(
            self.inbox.packets() <= 4 + ready / (COMPACT / 2),
            "small payloads do not pin a frame each"
        );
        hold!(
            self.early.len() <= self.early_limit(),
            "what is out of order is bounded"
        );
        self.early.check()
    }

    /// Frees everything out of order: it will not be delivered.
    pub fn forget_early(&mut self, pool: &mut Pool) {
        self.early.clear(pool);
    }

    /// Frees everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.forget_early(pool);
        self.inbox.clear(pool);
    }

    /// Whether memory is kept for packets of which there are none.
    pub fn has_slack(&self) -> bool {
        self.inbox.has_slack() || self.early.has_slack()
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        self.inbox.trim();
        self.early.trim();
    }
}
