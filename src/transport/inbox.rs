//! What has arrived in order and waits for the application, in the frames that
//! it came in, and the buffer that it uses up.

use std::collections::VecDeque;

use super::share;
use crate::frame::{Packet, Pool};

/// Payloads up to this many bytes are copied behind the last waiting packet
/// if there is room, so that small ones cannot pin a chunk each.
pub const COMPACT: usize = 512;
/// Where the receive buffer begins; it doubles each time the application has
/// drained it once, up to the configured size.
pub const INITIAL_BUFFER: u32 = 128 << 10;

/// A size of buffer that can be had: 2 KiB to 1 GiB.
pub const fn clamp_buffer(buffer: u32) -> u32 {
    if buffer < 2048 {
        2048
    } else if buffer > 1 << 30 {
        1 << 30
    } else {
        buffer
    }
}

/// Whether `len` bytes fit behind those of `packet`.
pub fn fits(packet: &Packet, len: usize, pool: &Pool) -> bool {
    packet.start() + packet.len() + len <= pool.region().chunk_size() as usize
}

/// Copies `packet` behind `last`, and frees it.
pub fn append(last: &mut Packet, packet: Packet, pool: &mut Pool) {
    let (start, old, len) = (last.start() as u16, last.len(), packet.len());
    last.set_range(start, (old + len) as u16);
    pool.bytes_mut(last)[old..].copy_from_slice(pool.bytes(&packet));
    pool.count_copy(len);
    pool.free(packet);
}

/// Payload in order that the application has not read.
#[derive(Debug)]
pub struct Inbox {
    ready: VecDeque<Packet>,
    ready_bytes: u32,
    /// Bytes that the application has taken and not released.
    taken: u32,
    /// The frames that those were in, once some are released about.
    taken_frames: u32,
    /// The most that may wait, in bytes, at present.
    pub buffer: u32,
    /// The most that it may become.
    pub buffer_max: u32,
    drained: u32,
}

impl Inbox {
    /// With a buffer that may become `buffer` bytes.
    pub fn new(buffer: u32) -> Self {
        let buffer_max = clamp_buffer(buffer);
        Self {
            ready: VecDeque::new(),
            ready_bytes: 0,
            taken: 0,
            taken_frames: 0,
            buffer: INITIAL_BUFFER.min(buffer_max),
            buffer_max,
            drained: 0,
        }
    }

    /// Frames that wait for the application, or that it has taken.
    #[inline]
    pub fn frames(&self) -> usize {
        self.ready.len() + self.taken_frames as usize
    }

    /// Packets that wait.
    pub fn packets(&self) -> usize {
        self.ready.len()
    }

    /// Bytes that the application has not given back.
    #[inline]
    pub const fn held(&self) -> u32 {
        self.ready_bytes.saturating_add(self.taken)
    }

    /// Bytes that wait for the application.
    #[inline]
    pub const fn available(&self) -> usize {
        self.ready_bytes as usize
    }

    /// Whether the bytes of the packets that wait add up.
    pub fn adds_up(&self) -> bool {
        self.ready.iter().map(Packet::len).sum::<usize>() == self.available()
    }

    /// Whether `len` bytes can be copied behind the last waiting packet.
    pub fn fits_last(&self, len: usize, pool: &Pool) -> bool {
        self.ready.back().is_some_and(|p| fits(p, len, pool))
    }

    /// Adds a packet, of a connection that keeps `frames` in all.
    #[inline(always)]
    pub fn push(&mut self, packet: Packet, frames: usize, pool: &mut Pool) {
        let len = packet.len();
        self.ready_bytes += len as u32;
        if let Some(last) = self.ready.back_mut()
            && fits(last, len, pool)
            && (len <= COMPACT || share::is_tight(frames, pool))
        {
            append(last, packet, pool);
            return;
        }
        pool.unread_now(&packet);
        self.ready.push_back(packet);
    }

    /// Adds a packet whose payload is longer than [`COMPACT`], where there is
    /// [plenty](share::plenty). [`extended`](Self::extended) has to follow.
    #[inline]
    pub fn push_long(&mut self, packet: Packet, pool: &mut Pool) {
        pool.unread_now(&packet);
        self.ready.push_back(packet);
    }

    /// Packets of so many bytes in all were added.
    #[inline]
    pub const fn extended(&mut self, bytes: u32) {
        self.ready_bytes += bytes;
    }

    /// First waiting bytes.
    pub fn chunk<'a>(&'a self, pool: &'a Pool) -> Option<&'a [u8]> {
        self.ready.front().map(|p| pool.bytes(p))
    }

    /// Drops the first `n` waiting bytes. Answers the last packet that became
    /// free, for the acknowledgement to be written into.
    #[inline]
    pub fn consume(&mut self, n: usize, pool: &mut Pool) -> Option<Packet> {
        if self.ready.front().is_some_and(|first| first.len() == n)
            && let Some(first) = self.ready.pop_front()
        {
            self.ready_bytes -= n as u32;
            self.drain(n);
            pool.read(&first);
            return Some(first);
        }
        self.consume_parts(n, pool)
    }

    /// The same of any number of bytes.
    fn consume_parts(&mut self, n: usize, pool: &mut Pool) -> Option<Packet> {
        let mut left = n.min(self.ready_bytes as usize);
        self.ready_bytes -= left as u32;
        self.drain(left);
        let mut spare: Option<Packet> = None;
        while let Some(first) = self.ready.front_mut() {
            if first.len() > left {
                first.advance(left);
                break;
            }
            left -= first.len();
            if let Some(p) = self.ready.pop_front() {
                pool.read(&p);
                if let Some(old) = spare.replace(p) {
                    pool.free(old);
                }
            }
            if left == 0 {
                break;
            }
        }
        spare
    }

    /// Shows the waiting bytes packet by packet to `take`, which answers how many
    /// it takes, and drops those, until it takes less than a packet. Answers how
    /// many it took in all, and the last packet if it took that.
    #[inline]
    pub fn read(
        &mut self,
        pool: &mut Pool,
        take: &mut impl FnMut(&[u8]) -> usize,
    ) -> (usize, Option<Packet>) {
        let (mut all, mut spare) = (0, None);
        while let Some(first) = self.ready.front_mut() {
            let len = first.len();
            let taken = take(pool.bytes(first)).min(len);
            all += taken;
            if taken < len {
                first.advance(taken);
                break;
            }
            let Some(packet) = self.ready.pop_front() else {
                break;
            };
            if self.ready.is_empty() {
                pool.read(&packet);
                spare = Some(packet);
                break;
            }
            pool.free(packet);
        }
        self.ready_bytes -= all as u32;
        self.drain(all);
        (all, spare)
    }

    /// Moves the first waiting packet to the application; its bytes go on
    /// using up the window until [`release`](Self::release).
    pub fn take(&mut self) -> Option<Packet> {
        let packet = self.ready.pop_front()?;
        self.ready_bytes -= packet.len() as u32;
        self.taken += packet.len() as u32;
        self.taken_frames += 1;
        Some(packet)
    }

    /// The application is done with `n` bytes that it took.
    pub fn release(&mut self, n: usize) {
        let n = n.min(self.taken as usize) as u32;
        if n > 0 {
            let (left, all) = (u64::from(self.taken - n), u64::from(self.taken));
            self.taken_frames = (u64::from(self.taken_frames) * left).div_ceil(all) as u32;
        }
        self.taken -= n;
        self.drain(n as usize);
    }

    #[inline]
    fn drain(&mut self, n: usize) {
        self.drained = self.drained.saturating_add(n as u32);
        if self.drained >= self.buffer && self.buffer < self.buffer_max {
            self.drained = 0;
            self.buffer = self.buffer.saturating_mul(2).min(self.buffer_max);
        }
    }

    /// Frees everything that waits.
    pub fn clear(&mut self, pool: &mut Pool) {
        for p in self.ready.drain(..) {
            pool.free(p);
        }
        self.ready_bytes = 0;
    }

    /// Whether memory is kept for packets of which there are none.
    pub fn has_slack(&self) -> bool {
        self.ready.capacity() > 0 && self.ready.is_empty()
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }
}
