//! What has become of the segments sent: received out of order, lost, sent
//! again (RFC 6675, RFC 8985).

use super::{Segment, Send};
use crate::time::Instant;

impl Send {
    /// Segment `i` is on its way.
    pub fn mark_sent(&mut self, i: usize, now: Instant) {
        let first_time = i >= self.sent_count();
        let Some(s) = self.segments.get_mut(i) else {
            return;
        };
        let (seq, len) = (s.seq, s.seq_len());
        s.sent = s.sent.saturating_add(1);
        s.sent_at = now;
        if first_time {
            self.sent = i as u32 + 1;
            self.nxt = s.end();
            return;
        }
        if s.lost && !s.retransmitted {
            s.retransmitted = true;
            self.retransmitted += len;
        }
        let resent = self.resent.get_or_insert_default();
        resent.push_back((now, seq));
        if resent.len() > 2 * self.sent as usize + 16 {
            self.list_resent();
        }
    }

    /// The next segment is on its way for the first time.
    #[inline]
    pub fn sent_next(&mut self, now: Instant) {
        if let Some(s) = self.segments.get_mut(self.sent as usize) {
            s.sent = 1;
            s.sent_at = now;
            self.nxt = s.end();
            self.sent += 1;
        }
    }

    /// Has `send` take up to `most` of the segments that wait to be sent for the
    /// first time, in order, until it takes none: how many.
    #[inline]
    pub fn send_unsent(
        &mut self,
        now: Instant,
        most: usize,
        mut send: impl FnMut(&mut Segment) -> Option<()>,
    ) -> usize {
        let mut sent = 0;
        for s in self.segments.range_mut(self.sent as usize..).take(most) {
            if send(s).is_none() {
                break;
            }
            s.sent = 1;
            s.sent_at = now;
            self.nxt = s.end();
            sent += 1;
        }
        self.sent += sent;
        sent as usize
    }

    /// Marks segment `i` lost. Answers the bytes newly lost: none of what has
    /// not been sent.
    pub fn mark_lost(&mut self, i: usize) -> u32 {
        if i >= self.sent_count() {
            return 0;
        }
        let Some(s) = self.segments.get_mut(i) else {
            return 0;
        };
        if s.sacked {
            return 0;
        }
        let len = s.seq_len();
        self.hint = self.hint.min(i as u32);
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

    pub(super) fn unmark(&mut self, lost: bool, retransmitted: bool, len: u32) {
        if lost {
            self.lost = self.lost.saturating_sub(len);
        }
        if retransmitted {
            self.retransmitted = self.retransmitted.saturating_sub(len);
        }
    }

    /// Nothing is lost after all: the time-out or the recovery was spurious.
    pub fn unmark_losses(&mut self) {
        for s in self.segments.range_mut(..self.sent as usize) {
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
        for s in self.segments.range_mut(..self.sent as usize) {
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

    pub(super) fn list_resent(&mut self) {
        let Some(resent) = &mut self.resent else {
            return; // nothing was
        };
        resent.clear();
        for s in self.segments.range(..self.sent as usize) {
            if s.sent > 1 && !s.sacked && (!s.lost || s.retransmitted) {
                resent.push_back((s.sent_at, s.seq));
            }
        }
        resent.make_contiguous().sort_by_key(|r| r.0);
    }

    /// The first segment that may wait to be judged by its first transmission,
    /// and behind it all that do.
    pub const fn judged(&self) -> usize {
        self.judged as usize
    }

    /// All segments before index `i` have been judged by their first
    /// transmission.
    pub const fn set_judged(&mut self, i: usize) {
        self.judged = i as u32;
    }

    /// The `k`-th transmission that was not a first one: when it was, and the
    /// index of the segment if it still waits for the outcome.
    pub fn resent(&self, k: usize) -> Option<(Instant, Option<usize>)> {
        let &(at, seq) = self.resent.as_ref()?.get(k)?;
        let i = self.index_of(seq);
        let waits = i < self.sent_count()
            && self.segments.get(i).is_some_and(|s| {
                s.seq == seq && s.sent_at == at && !s.sacked && (!s.lost || s.retransmitted)
            });
        Some((at, waits.then_some(i)))
    }

    /// Drops the first of them.
    pub fn forget_resent(&mut self) {
        if let Some(resent) = &mut self.resent {
            resent.pop_front();
        }
    }

    /// The first lost segment that has not been sent again.
    pub fn next_lost(&mut self) -> Option<usize> {
        if self.lost <= self.retransmitted {
            return None;
        }
        while self.hint < self.sent {
            if self
                .segments
                .get(self.hint as usize)
                .is_some_and(|s| s.lost && !s.retransmitted)
            {
                return Some(self.hint as usize);
            }
            self.hint += 1;
        }
        None
    }
}
