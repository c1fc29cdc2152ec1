//! Queueing delay against histories worked out by hand.

use super::delay::Delays;
use super::*;
use proptest::prelude::*;

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn sec(n: u64) -> Instant {
    Instant::from_millis(n * 1000)
}

fn sample(now: Instant, rtt: Option<Duration>, delay: Option<DelaySample>) -> AckSample {
    AckSample {
        now,
        acked: 1000,
        rtt,
        srtt: rtt.unwrap_or_default(),
        rttvar: Duration::ZERO,
        min_rtt: Duration::ZERO,
        in_flight: 1000,
        cwnd_limited: true,
        round_start: false,
        delay,
    }
}

/// A connection whose round trip is a second, so that it clamps nothing.
fn one_way(d: &mut Delays, now: Instant, ours: u32, theirs: u32) -> Option<u32> {
    let delay = Some(DelaySample { ours, theirs });
    d.take(&sample(now, Some(us(1_000_000)), delay));
    d.queueing()
}

/// As many times as it takes to be the least of the current ones.
fn settled(d: &mut Delays, now: Instant, ours: u32) -> Option<u32> {
    for _ in 0..3 {
        one_way(d, now, ours, 0);
    }
    one_way(d, now, ours, 0)
}

#[test]
fn it_is_what_is_above_the_least() {
    let mut d = Delays::default();
    assert_eq!(d.queueing(), None);
    assert_eq!(settled(&mut d, sec(0), 5_000), Some(0));
    assert_eq!(settled(&mut d, sec(1), 47_000), Some(42_000));
    assert_eq!(settled(&mut d, sec(2), 4_000), Some(0), "the least so far");
    assert_eq!(settled(&mut d, sec(3), 47_000), Some(43_000));
}

#[test]
fn the_least_of_four_counts_as_the_current_one() {
    let mut d = Delays::default();
    settled(&mut d, sec(0), 1_000);
    for _ in 0..3 {
        assert_eq!(one_way(&mut d, sec(1), 90_000, 0), Some(0));
    }
    assert_eq!(one_way(&mut d, sec(1), 80_000, 0), Some(79_000));
}

#[test]
fn the_least_delay_is_forgotten_after_ten_minutes() {
    let mut d = Delays::default();
    settled(&mut d, sec(0), 1_000);
    // Another path, longer by 20 ms.
    for minute in 1..10 {
        assert_eq!(settled(&mut d, sec(60 * minute), 21_000), Some(20_000));
    }
    assert_eq!(settled(&mut d, sec(600), 21_000), Some(0));
    // At once when nothing was heard for so long.
    assert_eq!(settled(&mut d, sec(10_000), 31_000), Some(0));
    assert_eq!(settled(&mut d, sec(10_000 + 299), 41_000), Some(10_000));
}

#[test]
fn clocks_that_wrap_or_differ_do_not_matter() {
    for base in [1, 5_000, 0x7fff_0000, 0x8000_0000, u32::MAX - 3_000] {
        let mut d = Delays::default();
        settled(&mut d, sec(0), base);
        let later = base.wrapping_add(60_000);
        assert_eq!(settled(&mut d, sec(1), later), Some(60_000), "{base}");
        let sooner = base.wrapping_sub(2_000);
        assert_eq!(settled(&mut d, sec(2), sooner), Some(0), "{base}");
        assert_eq!(settled(&mut d, sec(3), base), Some(2_000), "{base}");
    }
}

#[test]
fn what_means_unknown_is_no_delay() {
    let mut d = Delays::default();
    for ours in [0, 0x7fff_ffff] {
        assert_eq!(one_way(&mut d, sec(0), ours, 77), None);
    }
    settled(&mut d, sec(0), 10_000);
    assert_eq!(one_way(&mut d, sec(0), 0, 0), Some(0));
    assert_eq!(settled(&mut d, sec(1), 20_000), Some(10_000));
}

#[test]
fn it_is_never_more_than_the_round_trip() {
    let mut d = Delays::default();
    settled(&mut d, sec(0), 1_000);
    let delay = Some(DelaySample {
        ours: 500_000,
        theirs: 0,
    });
    for _ in 0..4 {
        d.take(&sample(sec(1), Some(us(30_000)), delay));
    }
    assert_eq!(d.queueing(), Some(30_000));
    // The least was wrong by as much.
    assert_eq!(settled(&mut d, sec(2), 480_000), Some(10_000));
}

#[test]
fn a_clock_of_the_peer_that_runs_fast_is_no_queue() {
    let skewed = |told: bool| {
        let mut d = Delays::default();
        let mut most = 0;
        // 100 parts in a million, for five minutes.
        for n in 0..300 {
            let gained = 100 * n;
            let theirs = if told { 500_000 - gained } else { 0 };
            let queueing = one_way(&mut d, sec(u64::from(n)), 20_000 + gained, theirs);
            most = most.max(queueing.unwrap_or(0));
        }
        most
    };
    assert!(skewed(false) > 25_000, "{}", skewed(false));
    assert!(skewed(true) < 1_000, "{}", skewed(true));
}

#[test]
fn a_clock_that_loses_a_twentieth_is_penalised() {
    let after = |lost: u32| {
        let mut d = Delays::default();
        let mut raw = 3_000_000_000u32;
        for n in 0..2000 {
            raw -= lost;
            one_way(&mut d, Instant::from_millis(100 * n), raw, 0);
        }
        d.queueing().unwrap_or(0)
    };
    // Microseconds in a tenth of a second: 3 and 5 of a hundred.
    assert_eq!(after(3_000), 0);
    let penalty = after(5_000);
    assert!((1_000..10_000).contains(&penalty), "{penalty}");
    assert!(after(20_000) > 50_000, "{}", after(20_000));
}

#[test]
fn a_pause_is_no_drift() {
    let mut d = Delays::default();
    for n in 0..200 {
        one_way(&mut d, Instant::from_millis(100 * n), 2_000_000_000, 0);
    }
    for n in 0..200 {
        let now = sec(3600) + us(100_000 * n);
        assert_eq!(
            one_way(&mut d, now, 1_000_000_000, 0).map(|q| q > 0),
            Some(false)
        );
    }
}

#[test]
fn round_trips_stand_for_delays_until_there_are_any() {
    let mut d = Delays::default();
    let rtt = |d: &mut Delays, n| {
        for _ in 0..4 {
            d.take(&sample(sec(0), Some(us(n)), None));
        }
        d.queueing()
    };
    assert_eq!(rtt(&mut d, 20_000), Some(0));
    assert_eq!(rtt(&mut d, 50_000), Some(30_000));
    assert_eq!(d.base(), Some(20_000));
    assert_eq!(settled(&mut d, sec(0), 3_000_000), Some(0), "begins anew");
    assert_eq!(rtt(&mut d, 900_000), Some(0), "no more of those");
}

proptest! {
    /// Whatever is reported: no overflow, and never more than the round trip
    /// and the penalty for the worst of clocks.
    #[test]
    fn any_reports_are_bounded(
        reports in prop::collection::vec(
            (any::<u32>(), any::<u32>(), prop::option::of(0u64..10_000_000), 0u64..100_000_000),
            1..200,
        )
    ) {
        let mut d = Delays::default();
        let mut now = Instant::ZERO;
        for (ours, theirs, rtt, step) in reports {
            now += us(step);
            d.take(&sample(now, rtt.map(us), Some(DelaySample { ours, theirs })));
            if let (Some(rtt), Some(queueing)) = (rtt, d.queueing()) {
                let penalty = i32::MAX as u64 / 7;
                prop_assert!(ours == 0 || u64::from(queueing) <= rtt + penalty);
            }
        }
    }
}
