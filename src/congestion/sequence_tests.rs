//! Arbitrary sequences of calls.

use super::tests::full;
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Ack {
        acked: u32,
        in_flight: u32,
        flags: u8,
        rtt: u64,
        srtt: u64,
        min_rtt: u64,
        delay: Option<(u32, u32)>,
    },
    Recovery {
        acked: u32,
    },
    Congestion {
        in_flight: u32,
        ecn: bool,
    },
    FurtherLoss(u32),
    SetCwnd(u32),
    Exit,
    Rto {
        in_flight: u32,
        first: bool,
    },
    Undo,
    Idle {
        idle: u64,
        rto: u64,
    },
    Smss(u32),
}

/// Anything, with ordinary sizes and the extremes both likely.
fn bytes() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..100_000, any::<u32>(), Just(u32::MAX), Just(0)]
}

fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..1_000_000_000, any::<u64>(), Just(u64::MAX), Just(0)]
}

/// One-way delays, of which most connections have none.
fn delay() -> impl Strategy<Value = Option<(u32, u32)>> {
    prop_oneof![Just(None), any::<Option<(u32, u32)>>()]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => (bytes(), bytes(), any::<u8>(), nanos(), nanos(), nanos(), delay()).prop_map(
            |(acked, in_flight, flags, rtt, srtt, min_rtt, delay)| Call::Ack {
                acked, in_flight, flags, rtt, srtt, min_rtt, delay
            }
        ),
        1 => bytes().prop_map(|acked| Call::Recovery { acked }),
        1 => (bytes(), any::<bool>()).prop_map(|(in_flight, ecn)| Call::Congestion { in_flight, ecn }),
        1 => bytes().prop_map(Call::FurtherLoss),
        1 => bytes().prop_map(Call::SetCwnd),
        1 => Just(Call::Exit),
        1 => (bytes(), any::<bool>()).prop_map(|(in_flight, first)| Call::Rto { in_flight, first }),
        1 => Just(Call::Undo),
        1 => (nanos(), nanos()).prop_map(|(idle, rto)| Call::Idle { idle, rto }),
        1 => bytes().prop_map(Call::Smss),
    ]
}

proptest! {
    /// Whatever order and size of calls: no overflow, bounds kept, and an
    /// acknowledgment neither shrinks the window (unless the delay does) nor
    /// grows it by more than it acknowledged and one segment.
    #[test]
    fn any_calls_keep_the_bounds(
        which in 0usize..Algorithm::ALL.len(),
        smss in bytes(),
        initial in bytes(),
        calls in prop::collection::vec((call(), nanos()), 0..200),
    ) {
        let mut c = Controller::new(Algorithm::ALL[which], smss, initial);
        let mut now = Instant::ZERO;
        for (call, step) in calls {
            // The clock may also run backwards.
            now = if step == 0 { Instant::ZERO } else { now + Duration::from_nanos(step) };
            let before = c.cwnd();
            let smss = c.window.smss;
            match call {
                Call::Ack { acked, in_flight, flags, rtt, srtt, min_rtt, delay } => {
                    c.on_ack(&AckSample {
                        now,
                        acked,
                        rtt: (flags & 1 != 0).then_some(Duration::from_nanos(rtt)),
                        srtt: Duration::from_nanos(srtt),
                        rttvar: Duration::from_nanos(rtt),
                        min_rtt: Duration::from_nanos(min_rtt),
                        in_flight,
                        cwnd_limited: flags & 2 != 0,
                        round_start: flags & 4 != 0,
                        delay: delay.map(|(ours, theirs)| DelaySample { ours, theirs }),
                    });
                    if c.algorithm.follows_delay() {
                        prop_assert!(c.cwnd() >= before.min(2 * smss));
                    } else {
                        prop_assert!(c.cwnd() >= before);
                    }
                    prop_assert!(c.cwnd().saturating_sub(before) <= acked.saturating_add(smss).saturating_add(1));
                }
                Call::Recovery { acked } => c.on_ack_in_recovery(&full(&c, now, acked)),
                Call::Congestion { in_flight, ecn: false } => {
                    prop_assert_eq!(c.on_congestion(now, in_flight), c.ssthresh());
                }
                Call::Congestion { in_flight, ecn: true } => {
                    prop_assert_eq!(c.on_ecn(now, in_flight), c.ssthresh());
                }
                Call::FurtherLoss(bytes) => {
                    let before = c.ssthresh();
                    if let Some(lower) = c.on_further_loss(bytes) {
                        prop_assert!(lower == c.ssthresh() && lower <= before);
                    }
                }
                Call::SetCwnd(cwnd) => c.set_cwnd(cwnd),
                Call::Exit => c.on_recovery_exit(now),
                Call::Rto { in_flight, first } => {
                    c.on_rto(now, in_flight, first);
                    prop_assert_eq!(c.cwnd(), smss);
                }
                Call::Undo => {
                    c.undo();
                    prop_assert!(c.cwnd() >= before);
                }
                Call::Idle { idle, rto } => {
                    c.on_idle(Duration::from_nanos(idle), Duration::from_nanos(rto));
                }
                Call::Smss(smss) => c.set_smss(smss),
            }
            prop_assert!(c.cwnd() >= c.window.smss && c.cwnd() <= MAX_CWND);
            prop_assert!(c.ssthresh() >= 2 * c.window.smss);
        }
    }
}

/// What growth has left over from when it was slower, on what was taken for a
/// short path, is no more than a byte once it is not.
#[test]
fn what_growth_left_over_is_no_burst() {
    let mut c = Controller::new(Algorithm::LedbatPlusPlus, 1, 1);
    let rtt = |c: &Controller, secs, acked, rtt| AckSample {
        rtt,
        ..full(c, Instant::ZERO + Duration::from_secs(secs), acked)
    };
    let none = Some(Duration::ZERO);
    c.on_ack(&rtt(&c, 0, 0, none));
    c.on_ack(&rtt(&c, 600, 163, None));
    let before = c.cwnd();
    c.on_ack(&rtt(&c, 790, 1, Some(Duration::from_millis(120))));
    assert!(c.cwnd() - before <= 1, "{} from {before}", c.cwnd());
}
