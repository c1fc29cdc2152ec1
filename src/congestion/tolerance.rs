//! Which losses say nothing of congestion.
//!
//! A queue that overflows was there before: the round trips just before the
//! loss were long. A loss at round trips as short as any has come from
//! something else, such as a radio link, and backing off as for congestion
//! would leave the path idle. Such a loss is forgiven, which is to say that it
//! lowers the window a little, as long as losses are rare.
//!
//! Two figures tell of a queue. The least round trip of the last rounds is free
//! of jitter, and shows a queue that stands. The smoothed one shows a short queue
//! that comes and goes, if it varies by no more than queues do.
//!
//! What is measured can mislead: a very short queue cannot be told from none, a
//! smallest round trip that was never seen makes a standing queue invisible,
//! and a peer may lie. Hence what may be forgiven is bounded by what has been
//! delivered, and a loss that is forgiven lowers the window still, so that
//! among flows which lose alike none gets away from the others.

use std::time::Duration;

use super::AckSample;

/// Segments delivered that one lost segment takes: of 32, one may be lost.
const PRICE: u32 = 32;
/// Lost segments that can be paid for at most at once.
const SAVINGS: u32 = 8;
/// The part of the window that a loss takes that is forgiven.
const PART: u32 = 24;
/// A least round trip that is longer than the smallest by that part of it
/// means a queue.
const RISE: u64 = 8;
/// So does one that is longer by this, in nanoseconds. An active queue management lets none
/// grow far beyond five milliseconds (RFC 8289 section 4.2).
const MAX_RISE: u64 = 4_000_000;
/// A smoothed round trip may always be longer by that part ...
const MEAN_RISE: u64 = 32;
/// ... and by so many times its mean deviation, which is jitter.
const DEVIATIONS: u64 = 6;

#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    /// Bytes delivered that no loss has used up.
    credit: u32,
    /// Least round trip of this round and of the one before, in units of
    /// [`units`]; the largest value while there is none.
    least: [u32; 2],
    /// The round trips are as short as any, when last looked at.
    no_queue: bool,
    /// The last back-off was a forgiven loss.
    forgiven: bool,
}

impl Tolerance {
    pub(super) const fn new() -> Self {
        Self {
            credit: 0,
            least: [u32::MAX; 2],
            no_queue: false,
            forgiven: false,
        }
    }

    pub(super) fn observe(&mut self, a: &AckSample, smss: u32) {
        self.credit = self
            .credit
            .saturating_add(a.acked)
            .min(price(SAVINGS, smss));
        if a.round_start {
            self.least = [u32::MAX, self.least[0]];
        }
        if let Some(rtt) = a.rtt {
            self.least[0] = self.least[0].min(units(nanos(rtt)));
        }
        let (least, mean) = (nanos(a.min_rtt), nanos(a.srtt));
        let rise = (least / RISE).min(MAX_RISE);
        let stands = self.least[0].min(self.least[1]) > units(least.saturating_add(rise));
        let allowed = (least / MEAN_RISE).max(nanos(a.rttvar).saturating_mul(DEVIATIONS));
        let comes = mean > least.saturating_add(allowed);
        self.no_queue = least > 0 && !stands && !comes;
    }

    /// Whether the loss of a segment is forgiven; it is paid for then.
    pub(super) fn forgives(&mut self, smss: u32) -> bool {
        let paid = self.pay(smss, smss);
        self.forgiven = paid && self.no_queue;
        self.forgiven
    }

    /// Further `bytes` turned out to be lost. Whether what was forgiven should
    /// not have been.
    pub(super) fn revokes(&mut self, bytes: u32, smss: u32) -> bool {
        let revoked = !self.pay(bytes, smss) && self.forgiven;
        self.forgiven &= !revoked;
        revoked
    }

    /// What comes now is not of a forgiven loss.
    pub(super) const fn forget(&mut self) {
        self.forgiven = false;
    }

    fn pay(&mut self, bytes: u32, smss: u32) -> bool {
        let owed = bytes.saturating_mul(PRICE).min(price(SAVINGS, smss));
        let paid = self.credit >= owed;
        self.credit = self.credit.saturating_sub(owed);
        paid
    }
}

/// What the window falls to, from the `used` bytes of it, by a loss that is
/// forgiven.
pub(super) const fn lowered(used: u32) -> u32 {
    used - used / PART
}

/// What it was before.
pub(super) const fn before(lowered: u32) -> u32 {
    lowered.saturating_add(lowered / (PART - 1))
}

const fn price(segments: u32, smss: u32) -> u32 {
    PRICE.saturating_mul(segments).saturating_mul(smss)
}

/// Nanoseconds, or the most that there are: integers are compared and divided at
/// a fraction of what durations take.
fn nanos(d: Duration) -> u64 {
    crate::time::Nanos::from(d).get()
}

/// A round trip in units of 256 ns, so that 18 minutes fit.
fn units(nanos: u64) -> u32 {
    u32::try_from(nanos >> 8).unwrap_or(u32::MAX - 1)
}
