//! RACK loss detection and the arming of tail loss probes (RFC 8985).

use std::time::Duration;

use super::send::{Run, Segment, Send};
use crate::time::{Instant, Nanos};
use crate::wire::tcp::SeqNumber;

/// DupThresh: segments delivered behind a hole that mark it lost while no
/// reordering has been seen.
const DUP_THRESH: u32 = 3;
/// Recoveries for which a widened reordering window stays (RFC 8985 section
/// 6.2 step 4).
const REO_WND_PERSIST: u8 = 16;

/// Segments looked at behind the first that may yet be found lost, for how long
/// to wait for the last of them; beyond these a bound is taken.
const LOOK_AHEAD: usize = 32;

/// What one look at the segments in flight brings.
struct Found {
    now: Instant,
    /// Time from a transmission until its segment is lost.
    allowance: Duration,
    lost: u32,
    wait: Option<Duration>,
}

impl Found {
    fn is_due(&self, sent_at: Instant) -> bool {
        sent_at + self.allowance <= self.now
    }

    fn wait_for(&mut self, sent_at: Instant) {
        let left = (sent_at + self.allowance).since(self.now);
        self.wait = self.wait.max(Some(left));
    }
}

/// RACK's variables (RFC 8985 section 5.3).
#[derive(Clone, Debug)]
pub struct Rack {
    /// Transmission time of the most recently sent segment that was
    /// delivered, with its end to break ties.
    xmit_at: Instant,
    end: SeqNumber,
    /// Round trip of that segment.
    rtt: Nanos,
    /// Highest sequence delivered.
    fack: SeqNumber,
    pub reordering_seen: bool,
    /// Segments delivered after one that was sent later.
    pub reorderings: u32,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// A duplicate was reported in the round that ends here.
    dsack_round: Option<SeqNumber>,
    seen: bool,
    /// A probe is in flight: SND.NXT when it was sent, and whether it was a
    /// retransmission (section 7.1).
    pub tlp: Option<(SeqNumber, bool)>,
}

impl Rack {
    pub const fn new(iss: SeqNumber) -> Self {
        Self {
            xmit_at: Instant::ZERO,
            end: iss,
            rtt: Nanos::ZERO,
            fack: iss,
            reordering_seen: false,
            reorderings: 0,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
            dsack_round: None,
            seen: false,
            tlp: None,
        }
    }

    /// Section 6.2 steps 1 to 3 for one newly delivered segment. `spurious`
    /// says that the acknowledgement cannot be of its last transmission.
    pub fn delivered(&mut self, now: Instant, s: &Segment, min_rtt: Duration, spurious: bool) {
        let end = s.end();
        if end.gt(self.fack) {
            self.fack = end;
        } else if end.lt(self.fack) && s.sent == 1 {
            self.reordering_seen = true;
            self.reorderings = self.reorderings.saturating_add(1);
        }
        let rtt = now.since(s.sent_at);
        if s.sent > 1 && (spurious || rtt < min_rtt) {
            return;
        }
        if !self.seen || sent_after(s.sent_at, end, self.xmit_at, self.end) {
            self.seen = true;
            self.xmit_at = s.sent_at;
            self.end = end;
            self.rtt = rtt.into();
        }
    }

    /// Whether nothing behind the first segment of `snd` has been delivered.
    #[inline]
    pub fn is_ahead_of_all(&self, snd: &Send) -> bool {
        snd.first().is_some_and(|s| s.seq.ge(self.fack))
    }

    /// As [`delivered`](Self::delivered), for several segments that were sent
    /// once, in order, none of which was delivered after one behind it.
    #[inline]
    pub fn delivered_run(&mut self, now: Instant, run: &Run) {
        self.delivered_all(now, run.end, run.sent_at);
    }

    /// The same of all that was in flight, up to `end`, the last of which was sent
    /// at `sent_at`.
    #[inline]
    pub fn delivered_all(&mut self, now: Instant, end: SeqNumber, sent_at: Instant) {
        self.fack = end;
        if !self.seen || sent_after(sent_at, end, self.xmit_at, self.end) {
            self.seen = true;
            self.xmit_at = sent_at;
            self.end = end;
            self.rtt = now.nanos_since(sent_at);
        }
    }

    /// Section 6.2 step 4: a reported duplicate widens the window, once a
    /// round.
    pub fn adapt(&mut self, snd: &Send, dsack: bool) {
        if let Some(round) = self.dsack_round
            && snd.una.ge(round)
        {
            self.dsack_round = None;
        }
        if dsack && self.dsack_round.is_none() {
            self.dsack_round = Some(snd.nxt);
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
            self.reo_wnd_persist = REO_WND_PERSIST;
        }
    }

    /// What was taken for the delivery of a retransmission was that of the
    /// original: nothing is known of what was sent later.
    pub const fn forget_delivery(&mut self) {
        self.seen = false;
    }

    /// A recovery has ended: the widened window wears off.
    pub const fn recovery_ended(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    fn reo_wnd(
        &self,
        snd: &Send,
        in_recovery: bool,
        min_rtt: Duration,
        srtt: Duration,
    ) -> Duration {
        let many = DUP_THRESH * u32::from(snd.mss.max(snd.wire));
        if !self.reordering_seen && (in_recovery || snd.sacked() >= many) {
            return Duration::ZERO;
        }
        if min_rtt == Duration::MAX {
            return Duration::ZERO;
        }
        (min_rtt / 4)
            .saturating_mul(u32::from(self.reo_wnd_mult))
            .min(srtt)
    }

    /// Section 6.2 step 5: marks segments lost that were sent sufficiently
    /// long before the most recently delivered one. Answers the bytes newly
    /// lost and how long to wait for those that may yet be.
    pub fn detect_loss(
        &self,
        now: Instant,
        snd: &mut Send,
        in_recovery: bool,
        min_rtt: Duration,
        srtt: Duration,
    ) -> (u32, Option<Duration>) {
        if !self.seen {
            return (0, None);
        }
        let allowance = Duration::from(self.rtt) + self.reo_wnd(snd, in_recovery, min_rtt, srtt);
        let mut found = Found {
            now,
            allowance,
            lost: 0,
            wait: None,
        };
        self.judge_first_transmissions(snd, &mut found);
        self.judge_further_transmissions(snd, &mut found);
        (found.lost, found.wait)
    }

    /// Segments never sent again lie in the order of sending: what has been
    /// judged is not looked at again.
    fn judge_first_transmissions(&self, snd: &mut Send, found: &mut Found) {
        let mut i = snd.judged();
        let mut waiting = 0;
        while let Some(s) = snd.get(i).filter(|_| i < snd.sent_count()) {
            if s.sent == 1 && !s.sacked && !s.lost {
                if !sent_after(self.xmit_at, self.end, s.sent_at, s.end()) {
                    break;
                }
                let sent_at = s.sent_at;
                if found.is_due(sent_at) {
                    found.lost += snd.mark_lost(i);
                } else {
                    found.wait_for(sent_at);
                    waiting += 1;
                }
            } else if waiting > 0 {
                waiting += 1;
            }
            #[cfg(test)]
            {
                snd.looks += 1;
            }
            i += 1;
            if waiting == 0 {
                snd.set_judged(i);
            } else if waiting == LOOK_AHEAD {
                // None of those behind waits longer than this.
                found.wait_for(self.xmit_at);
                break;
            }
        }
    }

    /// As for first transmissions, in a list that is kept for this.
    fn judge_further_transmissions(&self, snd: &mut Send, found: &mut Found) {
        let mut k = 0;
        while let Some((at, i)) = snd.resent(k) {
            #[cfg(test)]
            {
                snd.looks += 1;
            }
            let waits = i.and_then(|i| Some((i, snd.get(i)?.end())));
            match waits {
                Some((_, end)) if !sent_after(self.xmit_at, self.end, at, end) => break,
                Some((i, _)) if found.is_due(at) => found.lost += snd.mark_lost(i),
                Some(_) => found.wait_for(at),
                None => {}
            }
            let over = waits.is_none() || found.is_due(at);
            if k == 0 && over {
                snd.forget_resent();
                continue;
            }
            k += 1;
            if k == LOOK_AHEAD {
                found.wait_for(self.xmit_at);
                break;
            }
        }
    }

    /// Section 6.3: on a time-out, what is lost beside the first segment.
    pub fn mark_losses_on_rto(&self, now: Instant, snd: &mut Send, reo_wnd: Duration) {
        let allowance = Duration::from(self.rtt) + reo_wnd;
        for i in 0..snd.sent_count() {
            let due = snd
                .get(i)
                .is_some_and(|s| i == 0 || s.sent_at + allowance <= now);
            if due {
                snd.mark_lost(i);
            }
        }
    }
}

/// RACK_sent_after (RFC 8985 section 6.1).
fn sent_after(t1: Instant, seq1: SeqNumber, t2: Instant, seq2: SeqNumber) -> bool {
    t1 > t2 || (t1 == t2 && seq1.gt(seq2))
}

#[cfg(test)]
#[path = "rack_tests.rs"]
mod tests;
