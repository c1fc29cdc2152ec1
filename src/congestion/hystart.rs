//! HyStart++ (RFC 9406): leaves the first slow start when the round-trip time
//! rises, through a few rounds of slower growth in case it was jitter.
//!
//! That rise comes too late where the queue holds no more than a round trip: the
//! first acknowledgment that tells of a standing queue tells of its overflow
//! too, by a window twice as large as fits. Hence the older rule of Ha and Rhee
//! ("Taming the elephants", 2011), for CUBIC and windows that are not small, as
//! in Linux but for the constants: acknowledgments that follow each other for
//! half a round trip are what a full path sends back, at the pace of its
//! bottleneck, whose window is not twice that. A window that is spread over half
//! of the round trip anyway has to fill more of it. Slow start ends at once then;
//! until there is a sign of congestion the window goes on by a twentieth in a
//! round trip, should that have been an error.
//!
//! Growth per acknowledgment is not limited to 8 segments as §4.2 has it for
//! senders without pacing: receivers that acknowledge a batch at a time would
//! otherwise hold slow start back.
//!
//! Nor is a rise of less than 4 ms always noise, as §4.2 has it: where the round
//! trip takes less than 8 ms, queues hold less than that too. A window that
//! doubled there until the round trip took 4 ms longer would be many times what
//! fits the rings of the two interfaces. Half of the round trip is enough there.

use std::time::Duration;

use super::AckSample;
use crate::time::Instant;

const MIN_RTT_THRESH: Ticks = ticks(Duration::from_millis(4));
const MAX_RTT_THRESH: Ticks = ticks(Duration::from_millis(16));
const MIN_RTT_DIVISOR: u32 = 8;
/// The part of a short round trip that stands for [`MIN_RTT_THRESH`].
const SHORT_RTT_DIVISOR: u32 = 2;
/// What batches and wake-ups of the two ends may come to.
const LEAST_RTT_THRESH: Ticks = ticks(Duration::from_micros(100));
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
/// Acknowledgments that are no further apart than this part of the round trip
/// belong to one train, nor than what schedulers of radio links make of them.
const TRAIN_GAP_DIVISOR: u32 = 8;
const MAX_TRAIN_GAP: Ticks = ticks(Duration::from_millis(4));
/// On shorter paths trains say more of the hosts than of the path.
const LEAST_TRAIN_RTT: Duration = Duration::from_millis(1);

/// Round-trip times in units of 256 ns, up to 18 minutes: every connection keeps
/// a few. Zero before there is any.
type Ticks = u32;

const fn ticks(rtt: Duration) -> Ticks {
    let ticks = rtt.as_nanos() >> 8;
    if ticks == 0 {
        1
    } else if ticks > Ticks::MAX as u128 {
        Ticks::MAX
    } else {
        ticks as Ticks
    }
}

/// The time, of which only differences mean something.
const fn clock(now: Instant) -> Ticks {
    (now.as_nanos() >> 8) as Ticks
}

/// How slow start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// By all that was acknowledged.
    Full,
    /// By that part of it: conservative slow start.
    Reduced(u32),
    /// Not at all: congestion avoidance begins here.
    Exit,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// With the beginning of the round and the end of the train of
    /// acknowledgments that came since without a pause, by [`clock`].
    SlowStart { round: Ticks, train: Ticks },
    /// Conservative slow start, with the round-trip time that led to it and
    /// the rounds spent in it.
    Css { baseline: Ticks, rounds: u8 },
    /// Slow start was left without a sign of congestion: where the window is
    /// still a guess.
    Left,
    /// Only the first slow start of a connection is watched.
    Done,
}

impl Default for Phase {
    fn default() -> Self {
        Self::SlowStart { round: 0, train: 0 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HyStart {
    phase: Phase,
    /// Smallest round-trip time of the previous round and of this one.
    last_min: Ticks,
    current_min: Ticks,
    samples: u8,
    /// What is sent is spread over the round trip.
    paced: bool,
}

impl HyStart {
    pub(super) const fn set_paced(&mut self, paced: bool) {
        self.paced = paced;
    }

    /// `trains` says that trains of acknowledgments count.
    pub(super) fn on_ack(&mut self, a: &AckSample, trains: bool) -> Pace {
        if matches!(self.phase, Phase::Done | Phase::Left) {
            return Pace::Full;
        }
        if (a.round_start && self.next_round(clock(a.now))) || (self.fills_path(a) && trains) {
            self.phase = Phase::Left;
            return Pace::Exit;
        }
        if let Some(rtt) = a.rtt {
            let rtt = ticks(rtt);
            self.current_min = match self.current_min {
                0 => rtt,
                least => least.min(rtt),
            };
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            self.judge(a.now);
        }
        match self.phase {
            Phase::Css { .. } => Pace::Reduced(CSS_GROWTH_DIVISOR),
            Phase::SlowStart { .. } | Phase::Left | Phase::Done => Pace::Full,
        }
    }

    /// Whether the acknowledgments of this round have come one after the other
    /// for so long that a window has to fill the path.
    fn fills_path(&mut self, a: &AckSample) -> bool {
        let Phase::SlowStart { round, train } = &mut self.phase else {
            return false;
        };
        if !a.cwnd_limited || a.min_rtt < LEAST_TRAIN_RTT {
            return false;
        }
        let (now, least) = (clock(a.now), ticks(a.min_rtt));
        if now.wrapping_sub(*train) <= (least / TRAIN_GAP_DIVISOR).min(MAX_TRAIN_GAP) {
            *train = now;
        }
        let full = if self.paced {
            least - least / 4
        } else {
            least / 2
        };
        train.wrapping_sub(*round) > full
    }

    /// Whether slow start was left without a sign of congestion, and there has
    /// been none since.
    pub(super) const fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// Congestion was signalled: the first slow start is over.
    pub(super) fn finish(&mut self) {
        self.phase = Phase::Done;
    }

    /// Returns whether conservative slow start has lasted long enough.
    fn next_round(&mut self, now: Ticks) -> bool {
        self.last_min = std::mem::take(&mut self.current_min);
        self.samples = 0;
        match &mut self.phase {
            Phase::Css { rounds, .. } => {
                *rounds += 1;
                *rounds >= CSS_ROUNDS
            }
            Phase::SlowStart { round, train } => {
                (*round, *train) = (now, now);
                false
            }
            Phase::Left | Phase::Done => false,
        }
    }

    fn judge(&mut self, now: Instant) {
        if self.current_min == 0 {
            return;
        }
        match self.phase {
            Phase::SlowStart { .. } => {
                let last = self.last_min;
                if last == 0 {
                    return;
                }
                let least = (last / SHORT_RTT_DIVISOR).clamp(LEAST_RTT_THRESH, MIN_RTT_THRESH);
                let rise = (last / MIN_RTT_DIVISOR).clamp(least, MAX_RTT_THRESH);
                if self.current_min >= last.saturating_add(rise) {
                    self.phase = Phase::Css {
                        baseline: self.current_min,
                        rounds: 0,
                    };
                }
            }
            Phase::Css { baseline, .. } if self.current_min < baseline => {
                // The train of this round is not known any more.
                let never = clock(now).wrapping_sub(1 << 31);
                self.phase = Phase::SlowStart {
                    round: never,
                    train: never,
                };
            }
            Phase::Css { .. } | Phase::Left | Phase::Done => {}
        }
    }
}
