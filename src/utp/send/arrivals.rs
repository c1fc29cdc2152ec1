//! Which transmissions have arrived, and which are lost since later ones have.

use super::Send;
use crate::time::Instant;
use crate::wire::utp::SeqNr;

/// Whether transmission `a` was before `b`.
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Send {
    /// The first packet that was lost and has not been sent again.
    pub fn next_lost(&mut self) -> Option<usize> {
        if self.lost_count == 0 {
            return None;
        }
        while (self.hint as usize) < self.sent_count() {
            let i = self.hint as usize;
            if self.segments[i].lost && !self.segments[i].again {
                return Some(i);
            }
            self.hint += 1;
        }
        None
    }

    /// Finds packet `i` lost.
    pub fn mark_lost(&mut self, i: usize) {
        let Some(s) = self.segments.get_mut(i) else {
            return;
        };
        if s.sacked || s.sent == 0 || (s.lost && !s.again) {
            return;
        }
        let len = u32::from(s.len);
        if s.again {
            s.again = false;
            self.again -= len;
        } else {
            self.lost += len;
        }
        s.lost = true;
        self.lost_count += 1;
        self.hint = self.hint.min(i as u32);
    }

    /// After a time-out: all that has not arrived is lost.
    pub fn lose_all(&mut self) {
        // The peer takes back what it reported: it would have to acknowledge
        // the first packet with all before it.
        if self.segments.front().is_some_and(|s| s.sacked) {
            for s in self.segments.range_mut(..self.sent as usize) {
                s.sacked = false;
            }
            (self.sacked, self.sacked_count) = (0, 0);
        }
        for i in 0..self.sent_count() {
            self.mark_lost(i);
        }
        self.judged = self.sent;
        self.resent.clear();
    }

    /// Transmission `order` has arrived.
    #[inline]
    pub fn note_arrival(&mut self, order: u32) {
        let mut new = Some(order);
        for place in &mut self.arrived {
            match (*place, new) {
                (Some(old), Some(n)) if !before(old, n) => {}
                (_, None) => break,
                _ => std::mem::swap(place, &mut new),
            }
        }
    }

    /// Whether transmission `order`, which left at `sent_at`, should have
    /// arrived: three that came after it have, or one has and it left no later
    /// than `since`. `None` if nothing has overtaken it.
    fn overtaken(&self, order: u32, sent_at: Instant, since: Instant) -> Option<bool> {
        let by = |place: usize| self.arrived[place].is_some_and(|a| before(order, a));
        by(0).then(|| by(2) || sent_at <= since)
    }

    /// Finds lost what three transmissions have overtaken, and what one has
    /// and left no later than `since`; `found` is told of each. Answers when
    /// the first left of what was overtaken and may still arrive.
    pub fn judge(&mut self, since: Instant, mut found: impl FnMut(SeqNr)) -> Option<Instant> {
        let mut waits: Option<Instant> = None;
        while (self.judged as usize) < self.sent_count() {
            let i = self.judged as usize;
            let s = &self.segments[i];
            let (fresh, sent_at) = (s.sent == 1 && !s.sacked && !s.lost, s.sent_at);
            if fresh {
                match self.overtaken(s.order, sent_at, since) {
                    Some(true) => {
                        self.mark_lost(i);
                        found(self.una.plus(i as u16));
                    }
                    later => {
                        waits = later.map(|_| sent_at);
                        break;
                    }
                }
            }
            self.judged += 1;
        }
        while let Some(&(order, seq)) = self.resent.front() {
            let of = self.index_of(seq).and_then(|i| Some((i, self.get(i)?)));
            let current = of.filter(|(_, s)| s.order == order && !s.sacked && (s.again || !s.lost));
            if let Some((i, s)) = current {
                let sent_at = s.sent_at;
                match self.overtaken(order, sent_at, since) {
                    Some(true) => {
                        self.mark_lost(i);
                        found(seq);
                    }
                    later => {
                        let again = later.map(|_| sent_at);
                        waits = waits.min(again).or(waits).or(again);
                        break;
                    }
                }
            }
            self.resent.pop_front();
        }
        waits
    }

    /// Forgets transmissions of what has been acknowledged.
    pub fn tidy(&mut self) {
        while let Some(&(order, seq)) = self.resent.front() {
            let current = self.index_of(seq).map(|i| self.segments[i].order);
            if current == Some(order) {
                break;
            }
            self.resent.pop_front();
        }
    }
}
