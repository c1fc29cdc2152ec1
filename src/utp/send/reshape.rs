//! Packets that are cut, filled up or moved before they are sent: the payload
//! of the queue takes another shape in its frames.

use super::{Segment, Send};
use crate::frame::{Held, PACKET_START, Pool};
use crate::transport::share::{reserve, reserve_of_parts};
use crate::wire::checksum::Sum;

impl Send {
    /// Splits unsent packet `i` so that its first part has `at` payload bytes;
    /// `false` if there is no frame for the rest.
    pub fn split(&mut self, i: usize, at: u16, pool: &mut Pool) -> bool {
        if i < self.sent_count() {
            return false;
        }
        let least = if self.sent == 0 {
            0
        } else {
            reserve_of_parts(pool)
        };
        let Some(s) = self.segments.get_mut(i) else {
            return false;
        };
        let Some(rest) = s.payload().split_off(at, least, pool) else {
            return false;
        };
        let mut tail = Segment::new();
        (tail.len, tail.sum, tail.held) = (rest.len, rest.sum, Some(rest.held));
        self.segments.insert(i + 1, tail);
        true
    }

    /// Makes unsent packet `i` and those behind it one of `len` payload bytes
    /// at the most, where there is a frame for that: packets queued while they
    /// had to be small are filled up.
    pub fn fill(&mut self, i: usize, len: u16, pool: &mut Pool) {
        let Some(s) = self.segments.get(i).filter(|s| s.held.is_some()) else {
            return;
        };
        let next = self.segments.get(i + 1).filter(|n| n.held.is_some());
        if i < self.sent_count() || s.len >= len || next.is_none() {
            return;
        }
        let headers = s.held.as_ref().map_or(0, Held::len) - usize::from(s.len);
        if headers + usize::from(len) > pool.max_packet() || pool.available() <= reserve(pool) {
            return;
        }
        let Some(held) = self.segments.get_mut(i).and_then(|s| s.held.take()) else {
            return;
        };
        let mut packet = match pool.unhold(held) {
            Ok(packet) => packet,
            Err(held) => {
                if let Some(s) = self.segments.get_mut(i) {
                    s.held = Some(held);
                }
                return;
            }
        };
        loop {
            let room = usize::from(len) - (packet.len() - headers);
            let Some(n) = self.segments.get_mut(i + 1).filter(|n| n.held.is_some()) else {
                break;
            };
            // What fits whole: the rest would have to move.
            if room < usize::from(n.len) {
                break;
            }
            let Some(from) = n.held.take().map(|held| pool.unhold(held)) else {
                break;
            };
            let from = match from {
                Ok(from) => from,
                Err(held) => {
                    n.held = Some(held);
                    break;
                }
            };
            let (old, more) = (packet.len(), usize::from(n.len));
            packet.set_range(PACKET_START, (old + more) as u16);
            let bytes = pool.bytes(&from);
            pool.bytes_mut(&mut packet)[old..].copy_from_slice(&bytes[bytes.len() - more..]);
            pool.count_copy(more);
            pool.free(from);
            self.segments.remove(i + 1);
        }
        if let Some(s) = self.segments.get_mut(i) {
            s.len = (packet.len() - headers) as u16;
            s.sum = Sum::of(&pool.bytes(&packet)[headers..]);
            s.held = Some(pool.hold(packet));
        }
    }

    /// Has packet `i` begin so that `headers` bytes precede its payload, which
    /// moves only where there is no room for them. `false` while the kernel
    /// transmits it, and where the frame is too small.
    pub fn fit_headers(&mut self, i: usize, headers: usize, pool: &mut Pool) -> bool {
        let Some(s) = self.segments.get_mut(i) else {
            return false;
        };
        let Some(held) = s.held.take() else {
            return false;
        };
        let mut packet = match pool.unhold(held) {
            Ok(p) => p,
            Err(held) => {
                s.held = Some(held);
                return false;
            }
        };
        let len = usize::from(s.len);
        let at = packet.start() + packet.len() - len;
        let moves = at < headers;
        let start = if moves {
            usize::from(PACKET_START)
        } else {
            at - headers
        };
        let fits = start + headers + len <= pool.region().chunk_size() as usize;
        if moves && fits {
            packet.set_range(at.min(start) as u16, 0);
            let first = packet.start();
            let whole = (start + headers).max(at) + len - first;
            packet.set_range(first as u16, whole as u16);
            let from = at - first..at - first + len;
            pool.bytes_mut(&mut packet)
                .copy_within(from, start + headers - first);
            pool.count_copy(len);
        }
        if fits {
            packet.set_range(start as u16, (headers + len) as u16);
        }
        s.held = Some(pool.hold(packet));
        fits
    }
}
