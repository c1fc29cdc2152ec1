//! Segments made smaller, larger, or fit for longer headers: when the path or
//! the peer's window changes.

use super::{Segment, Send};
use crate::frame::{PACKET_START, Pool};
use crate::transport::share::{reserve, reserve_of_parts};
use crate::wire::checksum::Sum;

impl Send {
    /// Splits unsent or idle segment `i` so that its first part has `at`
    /// payload bytes. `false` if there is no frame, or the kernel still
    /// transmits the segment.
    pub fn split(&mut self, i: usize, at: u16, pool: &mut Pool) -> bool {
        // The parts of the first segment are what frees frames in the end.
        let reserve = if i == 0 { 0 } else { reserve_of_parts(pool) };
        let Some(s) = self.segments.get_mut(i) else {
            return false;
        };
        let Some(rest) = s.payload().split_off(at, reserve, pool) else {
            return false;
        };
        let mut tail = Segment::new(s.seq + u32::from(at));
        (tail.len, tail.sum, tail.held) = (rest.len, rest.sum, Some(rest.held));
        tail.fin = std::mem::take(&mut s.fin);
        (tail.sacked, tail.lost, tail.retransmitted) = (s.sacked, s.lost, s.retransmitted);
        (tail.sent, tail.sent_at) = (s.sent, s.sent_at);
        let again = s.sent > 1;
        self.segments.insert(i + 1, tail);
        if i < self.sent_count() {
            self.sent += 1;
        }
        if i < self.judged() {
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
        if i < self.sent_count() || usize::from(headers) + usize::from(len) > pool.max_packet() {
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
            // Never sent, so never with the kernel.
            s.payload().copy_to(&mut packet, at, pool);
            at += usize::from(s.len);
            if let Some(held) = s.held.take() {
                pool.release(held);
            }
        }
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
        if i < self.sent_count() {
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
}
