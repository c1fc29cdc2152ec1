//! What an acknowledgement says has arrived: cumulatively, selectively, or by
//! being a duplicate.

use std::time::Duration;

use super::connection::Connection;
use super::send::Segment;
use crate::frame::Pool;
use crate::time::Instant;
use crate::wire::tcp::{Header, SeqNumber};

/// What one acknowledgement did.
#[derive(Default)]
pub struct Progress {
    pub acked: u32,
    pub delivered: u32,
    /// Segments delivered.
    pub segments: u32,
    pub rtt: Option<Duration>,
    pub dsack: bool,
    /// It echoes a congestion mark.
    pub ece: bool,
    /// After a time-out: it covers data that was taken for lost then and was
    /// sent only once.
    pub original: bool,
    /// Likewise: it covers data that was sent again.
    pub again: bool,
}

impl Connection {
    pub(super) fn take_cumulative(
        &mut self,
        now: Instant,
        h: &Header,
        p: &mut Progress,
        pool: &mut Pool,
    ) {
        let min_rtt = self.rtt.min();
        let watched = self.recovery.watched();
        loop {
            // Of what was sent once, in order and without trouble, the last
            // tells everything.
            if watched.is_none()
                && self.rack.is_ahead_of_all(&self.snd)
                && let Some(run) = self.snd.pop_plain(h.ack, pool)
            {
                let bytes = run.bytes();
                p.acked += bytes;
                p.delivered += bytes;
                p.segments += run.segments;
                p.rtt = Some(now.since(run.sent_at));
                self.rack.delivered_run(now, &run);
                self.counters.bytes_acked += u64::from(bytes);
            }
            let Some(mut s) = self.snd.pop_acked(h.ack) else {
                break;
            };
            p.acked += s.seq_len();
            if !s.sacked {
                p.delivered += s.seq_len();
                p.segments += 1;
                if let Some(point) = watched {
                    p.original |= s.sent == 1 && s.lost && s.end().le(point);
                    p.again |= s.sent > 1;
                }
                let spurious = self.is_spurious(&s, h);
                self.rack.delivered(now, &s, min_rtt, spurious);
                // Karn's rule; an echo of the last transmission or a later one
                // says which was acknowledged (RFC 7323 section 4.1). One of
                // an earlier transmission measures lost acknowledgements.
                // The SYN-ACK of a cookie left at an unknown time: its segment
                // is made with the acknowledgement and measures nothing.
                let unknown = s.syn && s.sent_at == now;
                if !unknown && (s.sent == 1 || (self.ts.is_some() && !spurious)) {
                    p.rtt = Some(now.since(s.sent_at));
                }
            }
            self.counters.bytes_acked += u64::from(s.len);
            if let Some(held) = s.held.take() {
                pool.release(held);
            }
        }
        self.snd.una = h.ack;
    }

    /// Whether an acknowledgement of `s` cannot be of its last transmission
    /// (RFC 8985 section 6.2 step 2).
    fn is_spurious(&self, s: &Segment, h: &Header) -> bool {
        match (self.ts, h.options.timestamps) {
            (Some(_), Some(t)) => (t.ecr.wrapping_sub(self.ts_val(s.sent_at)) as i32) < 0,
            _ => false,
        }
    }

    pub(super) fn take_blocks(&mut self, now: Instant, h: &Header, p: &mut Progress) {
        let sack = &h.options.sack;
        let second = sack.iter().nth(1);
        let watched = self.recovery.watched();
        let mut seen = [(SeqNumber(0), SeqNumber(0)); 4];
        for (i, (left, right)) in sack.iter().enumerate().take(4) {
            if right.le(left) {
                continue;
            }
            let inside = second.is_some_and(|s| s.0.le(left) && right.le(s.1));
            if i == 0 && (right.le(h.ack) || inside) {
                p.dsack = true;
                self.counters.rare().dsacks += 1;
                self.take_dsack(left, right);
                continue;
            }
            if left.lt(self.snd.una) || right.gt(self.snd.nxt) {
                continue;
            }
            seen[i] = (left, right);
            let past = self.recovery.past();
            let known = past.and_then(|p| {
                let known = p.blocks.iter().find(|b| b.0 == left && b.1.le(right));
                known.copied()
            });
            let from = known.map_or(left, |b| b.1);
            let mut at = self.snd.index_of(from);
            while at < self.snd.sent_count() {
                let Some(s) = self.snd.get(at) else { break };
                if s.end().gt(right) {
                    break;
                }
                if s.seq.ge(left) && !s.sacked {
                    let spurious = self.is_spurious(s, h);
                    self.rack.delivered(now, s, self.rtt.min(), spurious);
                    p.delivered += s.seq_len();
                    p.segments += 1;
                    p.original |=
                        s.sent == 1 && s.lost && watched.is_some_and(|point| s.end().le(point));
                    if s.sent == 1 {
                        let rtt = now.since(s.sent_at);
                        p.rtt = Some(p.rtt.map_or(rtt, |r| r.min(rtt)));
                    }
                    self.snd.mark_sacked(at);
                }
                at += 1;
            }
        }
        match self.recovery.past() {
            Some(past) => past.blocks = seen,
            None if sack.is_empty() => {}
            None => self.recovery.repair().blocks = seen,
        }
    }

    pub(super) fn take_duplicate(&mut self, advanced: bool, bare: bool, p: &mut Progress) {
        let mss = u32::from(self.snd.mss);
        let r = &mut self.recovery;
        if advanced {
            r.dup_bytes = r.dup_bytes.saturating_sub(p.acked.saturating_sub(mss));
            r.dup_acks = 0;
            if !r.is_repairing() {
                r.dup_bytes = 0;
            }
        } else if bare && self.snd.has_sent() {
            r.dup_acks += 1;
            // What is lost was not delivered, and one segment is missing.
            let missing = self.snd.lost().max(mss);
            if r.dup_bytes + mss + missing <= self.snd.outstanding() {
                r.dup_bytes += mss;
                p.delivered += mss;
            }
        }
    }
}
