//! LEDBAT and LEDBAT++ against figures worked out by hand.

use super::tests::full;
use super::*;
use proptest::prelude::*;

const SMSS: u32 = 1000;
const BASE: u32 = 50_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An acknowledgement of a segment that waited for `queue` ms.
fn ack(c: &Controller, now: Instant, queue: u64) -> AckSample {
    let rtt = Duration::from_micros(u64::from(BASE)) + ms(queue);
    AckSample {
        rtt: Some(rtt),
        srtt: rtt,
        ..full(c, now, SMSS)
    }
}

/// A window acknowledged by segments that waited for `queue` ms.
fn round(c: &mut Controller, now: Instant, queue: u64) {
    let mut left = c.cwnd();
    while left > 0 {
        let a = ack(c, now, queue);
        c.on_ack(&AckSample {
            acked: left.min(SMSS),
            ..a
        });
        left = left.saturating_sub(SMSS);
    }
}

/// Out of slow start at so many segments, with the least delay known.
fn steady(algorithm: Algorithm, segments: u32) -> Controller {
    let mut c = Controller::new(algorithm, SMSS, 10);
    for _ in 0..4 {
        c.on_ack_in_recovery(&ack(&c, Instant::ZERO, 0));
    }
    c.set_cwnd(segments * SMSS * 2);
    let cwnd = c.cwnd();
    c.on_congestion(Instant::ZERO, cwnd);
    c.on_recovery_exit(Instant::ZERO);
    assert_eq!(c.cwnd(), segments * SMSS);
    assert!(!c.in_slow_start());
    c
}

fn after_rounds(mut c: Controller, rounds: u32, queue: u64) -> u32 {
    after_rounds_of(&mut c, rounds, queue);
    c.cwnd()
}

fn after_rounds_of(c: &mut Controller, rounds: u32, queue: u64) {
    // Known before, so that each round is as the others.
    for _ in 0..4 {
        c.on_ack_in_recovery(&ack(c, Instant::ZERO, queue));
    }
    for _ in 0..rounds {
        round(c, Instant::ZERO, queue);
    }
}

fn assert_near(value: u32, expected: u32) {
    assert!(value.abs_diff(expected) <= SMSS, "{value}, not {expected}");
}

#[test]
fn ledbat_grows_a_segment_a_round_without_a_queue() {
    let c = steady(Algorithm::Ledbat, 40);
    assert_near(after_rounds(c.clone(), 10, 0), 50_000);
    // Half as much at half the target, nothing at the target.
    assert_near(after_rounds(c.clone(), 10, 50), 45_000);
    assert_eq!(after_rounds(c.clone(), 10, 100), 40_000);
    // A tenth above the target takes a tenth, twice the target and more a half.
    assert_near(after_rounds(c.clone(), 1, 110), 36_000);
    assert_near(after_rounds(c.clone(), 1, 200), 20_000);
    assert_near(after_rounds(c.clone(), 1, 1000), 20_000);
    assert_eq!(after_rounds(c, 10, 300), 2 * SMSS, "no less than two");
}

#[test]
fn the_target_can_be_told_within_what_the_rfc_allows() {
    let mut c = steady(Algorithm::Ledbat, 40);
    c.set_delay_target(ms(25));
    assert_eq!(after_rounds(c.clone(), 10, 25), 40_000);
    assert_near(after_rounds(c.clone(), 1, 30), 32_000);
    c.set_delay_target(ms(1000));
    assert_eq!(
        after_rounds(c.clone(), 10, 100),
        40_000,
        "no more than 100 ms"
    );
    c.set_delay_target(Duration::ZERO);
    assert_eq!(after_rounds(c, 10, 1), 40_000, "no less than 1 ms");
}

#[test]
fn neither_grows_unless_the_window_is_the_limit() {
    for algorithm in [Algorithm::Ledbat, Algorithm::LedbatPlusPlus] {
        let mut c = steady(algorithm, 40);
        let before = c.cwnd();
        for queue in [0, 10, 30] {
            for _ in 0..400 {
                let a = ack(&c, Instant::ZERO, queue);
                c.on_ack(&AckSample {
                    cwnd_limited: false,
                    ..a
                });
            }
        }
        assert_eq!(c.cwnd(), before, "{algorithm}");
        // It falls all the same.
        for _ in 0..400 {
            let a = ack(&c, Instant::ZERO, 200);
            c.on_ack(&AckSample {
                cwnd_limited: false,
                ..a
            });
        }
        assert!(c.cwnd() < before, "{algorithm}");
    }
}

#[test]
fn ledbats_slow_start_ends_at_a_quarter_of_the_target() {
    let mut c = Controller::new(Algorithm::Ledbat, SMSS, 10);
    round(&mut c, Instant::ZERO, 0);
    assert_eq!(c.cwnd(), 20_000);
    round(&mut c, Instant::ZERO, 25);
    assert_eq!(c.cwnd(), 40_000);
    assert!(c.in_slow_start());
    round(&mut c, Instant::ZERO, 26);
    // Back to what the segments left with, and on from there.
    assert!(!c.in_slow_start());
    assert!((20_000..24_000).contains(&c.cwnd()), "{}", c.cwnd());
    // Three segments were acknowledged before the least of four had risen.
    assert_eq!(c.ssthresh(), 43_000 / 2);
}

/// Beside others that fill the queue, and then without them.
#[test]
fn ledbat_returns_at_once_to_what_it_had() {
    let beside = |losses: u32| {
        let mut c = steady(Algorithm::Ledbat, 40);
        after_rounds_of(&mut c, 2, 0);
        assert_near(c.cwnd(), 42_000);
        after_rounds_of(&mut c, 20, 300);
        assert_eq!(c.cwnd(), 2 * SMSS);
        for _ in 0..losses {
            let cwnd = c.cwnd();
            c.on_congestion(Instant::ZERO, cwnd);
            c.on_recovery_exit(Instant::ZERO);
            after_rounds_of(&mut c, 1, 300);
        }
        // Half the target is no reason to hurry.
        after_rounds_of(&mut c, 4, 50);
        assert_near(c.cwnd(), 4_000);
        after_rounds_of(&mut c, 5, 0);
        c.cwnd()
    };
    let near = |segments: u32| (segments - 2) * SMSS..=(segments + 3) * SMSS;
    assert!(near(42).contains(&beside(0)), "{}", beside(0));
    // Losses count whatever the window was.
    assert!(near(22).contains(&beside(1)), "{}", beside(1));
    assert!(near(12).contains(&beside(2)), "{}", beside(2));
}

#[test]
fn losses_halve_and_a_time_out_leaves_one_segment() {
    for algorithm in [Algorithm::Ledbat, Algorithm::LedbatPlusPlus] {
        for mark in [false, true] {
            let mut c = steady(algorithm, 40);
            c.on_ack(&ack(&c, Instant::ZERO, 100));
            let cwnd = c.cwnd();
            let ssthresh = if mark {
                c.on_ecn(Instant::ZERO, cwnd)
            } else {
                c.on_congestion(Instant::ZERO, cwnd)
            };
            assert_eq!(ssthresh, cwnd / 2);
        }
        let mut c = steady(algorithm, 40);
        c.on_ack(&ack(&c, Instant::ZERO, 60));
        c.on_rto(Instant::ZERO, 40_000, true);
        assert_eq!(c.cwnd(), SMSS);
        assert_near(c.ssthresh(), 20_000);
        assert!(c.in_slow_start());
    }
}

#[test]
fn an_idle_window_decays_by_thirds() {
    let idle = |idle| {
        let mut c = steady(Algorithm::Ledbat, 90);
        c.on_idle(ms(idle), ms(200));
        c.cwnd()
    };
    assert_eq!(idle(200), 90_000);
    assert_eq!(idle(300), 60_000);
    assert_eq!(idle(500), 40_000);
    assert_eq!(idle(10_000), 10_000, "the initial window");
    let mut c = steady(Algorithm::LedbatPlusPlus, 90);
    c.on_idle(ms(300), ms(200));
    assert_eq!(c.cwnd(), 60_000);
    // Without a time-out, in finite time.
    c.on_idle(Duration::MAX, Duration::ZERO);
    assert_eq!(c.cwnd(), 10_000);
}

/// On a path of 50 ms growth is by ceil(2 * 60 / 50) = 3 slower.
#[test]
fn ledbat_plus_plus_grows_by_the_length_of_the_path() {
    let mut c = Controller::new(Algorithm::LedbatPlusPlus, SMSS, 10);
    for _ in 0..30 {
        c.on_ack(&ack(&c, Instant::ZERO, 0));
    }
    assert_eq!(c.cwnd(), 20_000, "a third of what was acknowledged");
    let c = steady(Algorithm::LedbatPlusPlus, 40);
    assert_near(after_rounds(c.clone(), 30, 0), 50_000);
    // Not in proportion to the delay, up to the target.
    assert_near(after_rounds(c.clone(), 30, 60), 50_000);
    // Above it by a tenth of the window for a tenth of the target.
    assert_near(after_rounds(c.clone(), 1, 66), 36_300);
    // At most half of it.
    assert_near(after_rounds(c.clone(), 1, 1000), 20_300);
    assert_eq!(after_rounds(c, 30, 1000), 2 * SMSS);
}

#[test]
fn ledbat_plus_plus_slows_down_a_tenth_of_the_time() {
    let mut c = Controller::new(Algorithm::LedbatPlusPlus, SMSS, 10);
    let rtt = Duration::from_micros(u64::from(BASE));
    let mut now = Instant::ZERO;
    // Slow start to 40 segments, which a queue of 46 ms ends.
    while c.cwnd() < 40_000 {
        round(&mut c, now, 0);
        now += rtt;
    }
    for _ in 0..4 {
        c.on_ack(&ack(&c, now, 46));
    }
    assert!(!c.in_slow_start());
    let left = now;
    // When the window was at two segments, and when back.
    let (mut frozen, mut back, mut last) = (Vec::new(), Vec::new(), c.cwnd());
    for _ in 0..600 {
        now += rtt;
        round(&mut c, now, 0);
        match (last, c.cwnd()) {
            (before, 2_000) if before > 2_000 => frozen.push(now),
            (2_000, after) if after > 2_000 => back.push(now),
            _ => {}
        }
        last = c.cwnd();
    }
    assert!(frozen.len() >= 3, "{frozen:?}");
    // Two round trips after slow start, for two round trips.
    let first = frozen[0].since(left);
    assert!(first >= 2 * rtt && first <= 4 * rtt, "{first:?}");
    for (down, up) in frozen.iter().zip(&back) {
        let took = up.since(*down);
        assert!(took >= 2 * rtt && took <= 4 * rtt, "{took:?}");
    }
    // From two to 40 segments by a third a round takes about eleven.
    for pair in frozen.windows(2) {
        let between = pair[1].since(pair[0]);
        assert!(between >= 100 * rtt && between <= 200 * rtt, "{between:?}");
    }
}

#[test]
fn a_slowdown_returns_to_where_it_began() {
    let mut c = steady(Algorithm::LedbatPlusPlus, 40);
    let rtt = Duration::from_micros(u64::from(BASE));
    let mut now = Instant::ZERO;
    let mut seen = Vec::new();
    for _ in 0..40 {
        now += rtt;
        round(&mut c, now, 0);
        seen.push(c.cwnd() / SMSS);
    }
    let least = seen.iter().position(|w| *w == 2).expect("a slowdown");
    assert!(least < 5, "{seen:?}");
    let back = seen[least..].iter().position(|w| *w >= 40);
    assert!(back.is_some_and(|n| (8..20).contains(&n)), "{seen:?}");
}

#[test]
fn ledbat_plus_plus_does_not_believe_one_way_delays() {
    let told = |ours| {
        let mut c = steady(Algorithm::LedbatPlusPlus, 40);
        for n in 0..1000u32 {
            let a = ack(&c, Instant::ZERO, 200);
            let delay = DelaySample {
                ours: ours + n % 2,
                theirs: 5,
            };
            c.on_ack(&AckSample {
                delay: Some(delay),
                ..a
            });
        }
        c.cwnd()
    };
    assert_eq!(told(1_000), 2 * SMSS);
    assert_eq!(told(900_000), 2 * SMSS);
}

/// One acknowledgement, or one event, as both controllers see it.
#[derive(Clone, Debug)]
enum Step {
    Ack { ours: u32, theirs: u32, rtt: u64 },
    Loss,
    Rto,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (any::<u32>(), any::<u32>(), 1u64..500).prop_map(
            |(ours, theirs, rtt)| Step::Ack { ours, theirs, rtt }
        ),
        40 => (1u32..200_000, 1u32..200_000, 1u64..500).prop_map(
            |(ours, theirs, rtt)| Step::Ack { ours, theirs, rtt }
        ),
        1 => Just(Step::Loss),
        1 => Just(Step::Rto),
    ]
}

proptest! {
    /// Whatever a peer says of delays, by the same acknowledgements and losses
    /// the window is never above what Reno's would be.
    #[test]
    fn false_delays_leave_what_losses_allow(
        plus in any::<bool>(),
        steps in prop::collection::vec(step(), 1..600),
    ) {
        let algorithm = if plus { Algorithm::LedbatPlusPlus } else { Algorithm::Ledbat };
        let mut c = Controller::new(algorithm, SMSS, 10);
        let mut reno = Controller::new(Algorithm::Reno, SMSS, 10);
        // Slow start by the same rule.
        reno.hystart.finish();
        let mut now = Instant::ZERO;
        for step in steps {
            now += ms(10);
            match step {
                Step::Ack { ours, theirs, rtt } => {
                    let a = AckSample {
                        rtt: Some(ms(rtt)),
                        srtt: ms(rtt),
                        delay: Some(DelaySample { ours, theirs }),
                        ..full(&c, now, SMSS)
                    };
                    c.on_ack(&a);
                    reno.on_ack(&AckSample { in_flight: reno.cwnd(), ..a });
                }
                Step::Loss => for c in [&mut c, &mut reno] {
                    let cwnd = c.cwnd();
                    c.on_congestion(now, cwnd);
                    c.on_recovery_exit(now);
                },
                Step::Rto => for c in [&mut c, &mut reno] {
                    let cwnd = c.cwnd();
                    c.on_rto(now, cwnd, true);
                },
            }
            // Reno grows by whole segments, and only once each is paid for.
            prop_assert!(c.cwnd() <= reno.cwnd() + 2 * SMSS, "{} {}", c.cwnd(), reno.cwnd());
        }
    }
}
