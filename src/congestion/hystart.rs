//! HyStart++ (RFC 9406): leaves the first slow start when the round-trip time
//! rises, through a few rounds of slower growth in case it was jitter.
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

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    SlowStart,
    /// Conservative slow start, with the round-trip time that led to it and
    /// the rounds spent in it.
    Css { baseline: Ticks, rounds: u8 },
    /// Only the first slow start of a connection is watched.
    Done,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HyStart {
    phase: Phase,
    /// Smallest round-trip time of the previous round and of this one.
    last_min: Ticks,
    current_min: Ticks,
    samples: u8,
}

impl HyStart {
    pub(super) fn on_ack(&mut self, a: &AckSample) -> Pace {
        if matches!(self.phase, Phase::Done) {
            return Pace::Full;
        }
        if a.round_start && self.next_round() {
            self.phase = Phase::Done;
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
            self.judge();
        }
        match self.phase {
            Phase::Css { .. } => Pace::Reduced(CSS_GROWTH_DIVISOR),
            Phase::SlowStart | Phase::Done => Pace::Full,
        }
    }

    /// Congestion was signalled: the first slow start is over.
    pub(super) fn finish(&mut self) {
        self.phase = Phase::Done;
    }

    /// Returns whether conservative slow start has lasted long enough.
    fn next_round(&mut self) -> bool {
        self.last_min = std::mem::take(&mut self.current_min);
        self.samples = 0;
        match &mut self.phase {
            Phase::Css { rounds, .. } => {
                *rounds += 1;
                *rounds >= CSS_ROUNDS
            }
            Phase::SlowStart | Phase::Done => false,
        }
    }

    fn judge(&mut self) {
        if self.current_min == 0 {
            return;
        }
        match self.phase {
            Phase::SlowStart => {
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
                self.phase = Phase::SlowStart
            }
            Phase::Css { .. } | Phase::Done => {}
        }
    }
}
