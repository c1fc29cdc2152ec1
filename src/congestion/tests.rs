//! The controllers against figures worked out by hand from the RFCs.

use super::*;

const SMSS: u32 = 1000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An acknowledgment of `acked` bytes by a sender that fills its window.
pub(super) fn full(c: &Controller, now: Instant, acked: u32) -> AckSample {
    AckSample {
        now,
        acked,
        rtt: None,
        srtt: ms(100),
        rttvar: Duration::ZERO,
        min_rtt: ms(100),
        in_flight: c.cwnd(),
        cwnd_limited: true,
        round_start: false,
        delay: None,
    }
}

/// One window acknowledged segment by segment, the last at `now`.
fn round(c: &mut Controller, now: Instant) {
    let window = c.cwnd();
    let mut left = window;
    while left > 0 {
        let acked = left.min(SMSS);
        let mut a = full(c, now, acked);
        a.round_start = left == window;
        c.on_ack(&a);
        left -= acked;
    }
}

/// In congestion avoidance with `segments` in the window, after one loss at
/// `at`.
fn after_loss(algorithm: Algorithm, segments: u32, at: Instant) -> Controller {
    let mut c = Controller::new(algorithm, SMSS, 10);
    c.set_cwnd(segments * SMSS);
    let cwnd = c.cwnd();
    c.on_ack_in_recovery(&full(&c, at, SMSS));
    c.on_congestion(at, cwnd);
    c.on_recovery_exit(at);
    c
}

#[test]
fn names_round_trip() {
    for a in Algorithm::ALL {
        assert_eq!(a.to_string().parse(), Ok(a));
    }
    assert_eq!(Algorithm::default(), Algorithm::Tolerant);
    let error = "vegas".parse::<Algorithm>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown congestion control `vegas`; use reno, cubic, tolerant, westwood, ledbat or ledbat++"
    );
}

#[test]
fn initial_window_follows_rfc_6928() {
    let initial = |smss| Controller::new(Algorithm::Reno, smss, 10).cwnd();
    assert_eq!(initial(1460), 14_600);
    assert_eq!(initial(536), 5_360);
    assert_eq!(initial(8_960), 17_920);
    assert_eq!(initial(2_000), 14_600);
    let mut c = Controller::new(Algorithm::Reno, 536, 10);
    c.set_smss(1460);
    assert_eq!(c.cwnd(), 14_600, "learnt in the handshake");
    c.on_ack(&full(&c, Instant::ZERO, 1460));
    c.set_smss(1000);
    assert_eq!(c.cwnd(), 16_060, "later the bytes stay");
}

#[test]
fn slow_start_doubles_a_round() {
    for algorithm in Algorithm::ALL {
        let mut c = Controller::new(algorithm, SMSS, 10);
        for (n, expected) in [(1, 20_000), (2, 40_000), (3, 80_000)] {
            round(&mut c, Instant::from_millis(n * 100));
            assert_eq!(c.cwnd(), expected, "{algorithm}");
        }
        // A stretched acknowledgment counts in full.
        c.on_ack(&full(&c, Instant::from_millis(400), 80_000));
        assert_eq!(c.cwnd(), 160_000);
    }
}

#[test]
fn reno_grows_a_segment_a_round_and_halves() {
    let mut c = after_loss(Algorithm::Reno, 40, Instant::ZERO);
    assert_eq!((c.cwnd(), c.ssthresh()), (20_000, 20_000));
    for n in 1..=10 {
        round(&mut c, Instant::from_millis(n * 100));
        assert_eq!(u64::from(c.cwnd()), 20_000 + n * 1000);
    }
}

#[test]
fn reno_counts_bytes_not_acknowledgments() {
    let mut c = after_loss(Algorithm::Reno, 40, Instant::ZERO);
    c.on_ack(&full(&c, Instant::ZERO, 19_999));
    assert_eq!(c.cwnd(), 20_000);
    c.on_ack(&full(&c, Instant::ZERO, 1));
    assert_eq!(c.cwnd(), 21_000);
}

/// Rounds of 100 ms from the start of the epoch until `until`.
fn rounds(c: &mut Controller, start: Instant, until: Duration) {
    let mut t = Duration::ZERO;
    while t <= until {
        round(c, start + t);
        t += ms(100);
    }
}

fn assert_close(value: u32, expected: u32, permille: u32) {
    let off = u64::from(value.abs_diff(expected));
    assert!(
        off * 1000 <= u64::from(expected) * u64::from(permille),
        "{value} is not within {permille} permille of {expected}"
    );
}

#[test]
fn cubic_follows_its_curve() {
    // W_max = 1000, window 700: K = cbrt(300 / 0.4) = 9.086 s.
    // W(5) = 1000 - 0.4 * 4.086^3 = 972.7; W(12) = 1000 + 0.4 * 2.914^3 = 1009.9;
    // W(15) = 1000 + 0.4 * 5.914^3 = 1082.7.
    for (seconds, expected) in [
        (2u64, 857_700),
        (5, 972_700),
        (9, 1_000_000),
        (12, 1_009_900),
        (15, 1_082_700),
    ] {
        let mut c = after_loss(Algorithm::Cubic, 1000, Instant::ZERO);
        assert_eq!((c.cwnd(), c.ssthresh()), (700_000, 700_000));
        rounds(
            &mut c,
            Instant::from_millis(5),
            Duration::from_secs(seconds),
        );
        assert_close(c.cwnd(), expected, 5);
    }
}

#[test]
fn cubic_gives_way_after_a_second_loss_below_the_first() {
    let mut c = after_loss(Algorithm::Cubic, 1000, Instant::ZERO);
    c.set_cwnd(800_000);
    assert_eq!(c.on_congestion(Instant::ZERO, 800_000), 560_000);
    c.on_recovery_exit(Instant::ZERO);
    // W_max = 800 * 0.85 = 680, K = cbrt(120 / 0.4) = 6.69 s.
    rounds(&mut c, Instant::ZERO, Duration::from_millis(6_700));
    assert_close(c.cwnd(), 680_000, 2);
    // Above the last maximum there is nothing to give way from.
    let mut c = after_loss(Algorithm::Cubic, 1000, Instant::ZERO);
    c.set_cwnd(1_200_000);
    c.on_congestion(Instant::ZERO, 1_200_000);
    c.on_recovery_exit(Instant::ZERO);
    // K = cbrt(360 / 0.4) = 9.65 s.
    rounds(&mut c, Instant::ZERO, Duration::from_millis(9_700));
    assert_close(c.cwnd(), 1_200_000, 2);
}

#[test]
fn cubic_is_never_slower_than_reno() {
    // 20 segments, 10 ms: W_cubic barely moves, W_est gains 9/17 a round.
    let mut c = after_loss(Algorithm::Cubic, 20, Instant::ZERO);
    assert_eq!(c.cwnd(), 14_000);
    for n in 0..10 {
        round(&mut c, Instant::from_millis(n * 10));
    }
    assert_close(c.cwnd(), 19_300, 15);
    // Past the window of the loss it gains one segment a round, as Reno does.
    for n in 10..14 {
        round(&mut c, Instant::from_millis(n * 10));
    }
    let before = c.cwnd();
    assert!(before > 20_000);
    for n in 14..24 {
        round(&mut c, Instant::from_millis(n * 10));
    }
    assert_close(c.cwnd() - before, 10_000, 60);
}

#[test]
fn cubic_starts_at_its_plateau_after_a_time_out() {
    let mut c = Controller::new(Algorithm::Cubic, SMSS, 10);
    c.set_cwnd(1_000_000);
    c.on_ack_in_recovery(&full(&c, Instant::ZERO, SMSS));
    c.on_rto(Instant::ZERO, 1_000_000, true);
    assert_eq!((c.cwnd(), c.ssthresh()), (1_000, 700_000));
    c.on_rto(Instant::ZERO, 1_000, false);
    assert_eq!((c.cwnd(), c.ssthresh()), (1_000, 700_000));
    assert!(c.in_slow_start());
    let mut rounds_taken = 0;
    while c.in_slow_start() {
        round(&mut c, Instant::ZERO);
        rounds_taken += 1;
    }
    assert_eq!(rounds_taken, 10, "2^10 segments are more than 700");
    let start = c.cwnd();
    // 0.4 * 5^3 = 50 segments in 5 s; with K of the old maximum it were 270.
    rounds(&mut c, Instant::ZERO, Duration::from_secs(5));
    assert_close(c.cwnd() - start, 50_000, 100);
}

#[test]
fn time_without_use_does_not_count_for_cubic() {
    let mut busy = after_loss(Algorithm::Cubic, 1000, Instant::ZERO);
    let mut paused = after_loss(Algorithm::Cubic, 1000, Instant::ZERO);
    rounds(&mut busy, Instant::ZERO, Duration::from_secs(2));
    rounds(&mut paused, Instant::ZERO, Duration::from_secs(2));
    for n in 0..60 {
        let mut a = full(&paused, Instant::from_millis(2_000 + n * 1_000), SMSS);
        a.cwnd_limited = false;
        a.in_flight = 2 * SMSS;
        paused.on_ack(&a);
    }
    assert_eq!(
        busy.cwnd(),
        paused.cwnd(),
        "no growth by use that the window did not limit"
    );
    rounds(
        &mut busy,
        Instant::from_millis(2_100),
        Duration::from_secs(2),
    );
    rounds(
        &mut paused,
        Instant::from_millis(61_100),
        Duration::from_secs(2),
    );
    assert_close(paused.cwnd(), busy.cwnd(), 2);
}

#[test]
fn an_unused_window_does_not_grow() {
    for algorithm in Algorithm::ALL {
        let mut c = Controller::new(algorithm, SMSS, 10);
        let mut idle = full(&c, Instant::ZERO, 2_000);
        idle.cwnd_limited = false;
        idle.in_flight = 5_000;
        for _ in 0..50 {
            c.on_ack(&idle);
        }
        assert_eq!(c.cwnd(), 10_000, "{algorithm}: slow start");
        // More than half in flight: slow start may run ahead (as in Linux).
        idle.in_flight = 5_001;
        c.on_ack(&idle);
        assert_eq!(c.cwnd(), 12_000, "{algorithm}");

        let mut c = after_loss(algorithm, 100, Instant::ZERO);
        let before = c.cwnd();
        idle.in_flight = before;
        for n in 0..500 {
            idle.now = Instant::from_millis(n * 100);
            c.on_ack(&idle);
        }
        assert_eq!(c.cwnd(), before, "{algorithm}: congestion avoidance");
    }
}

#[test]
fn an_unused_window_is_not_what_a_loss_is_measured_by() {
    let mut c = Controller::new(Algorithm::Reno, SMSS, 10);
    c.set_cwnd(100_000);
    let mut a = full(&c, Instant::ZERO, SMSS);
    a.cwnd_limited = false;
    a.in_flight = 8_000;
    c.on_ack_in_recovery(&a);
    assert_eq!(c.on_congestion(Instant::ZERO, 7_000), 4_000);
}

/// `samples` acknowledgments of one segment with that round-trip time, the
/// first of which begins a round.
fn rtt_round(c: &mut Controller, rtt: Duration, samples: u32) {
    for n in 0..samples {
        let mut a = full(c, Instant::ZERO, SMSS);
        a.rtt = Some(rtt);
        a.round_start = n == 0;
        c.on_ack(&a);
    }
}

#[test]
fn slow_start_ends_when_the_round_trip_rises() {
    for algorithm in Algorithm::ALL.into_iter().filter(|a| !a.follows_delay()) {
        let mut c = Controller::new(algorithm, SMSS, 10);
        rtt_round(&mut c, ms(100), 8);
        assert_eq!(c.cwnd(), 18_000);
        // An eighth of 100 ms is 12.5 ms; the eighth sample decides.
        rtt_round(&mut c, ms(112), 8);
        assert_eq!(c.cwnd(), 26_000, "a rise of 12 ms is none");
        rtt_round(&mut c, ms(126), 7);
        assert_eq!(c.cwnd(), 33_000);
        for n in 1..=5 {
            assert!(c.in_slow_start(), "{algorithm}: conservative round {n}");
            let before = c.cwnd();
            if n == 1 {
                let mut a = full(&c, Instant::ZERO, SMSS);
                a.rtt = Some(ms(126));
                c.on_ack(&a);
                assert_eq!(c.cwnd() - before, 250);
            } else {
                rtt_round(&mut c, ms(126), 8);
                assert_eq!(c.cwnd() - before, 8 * 250);
            }
        }
        rtt_round(&mut c, ms(126), 1);
        assert!(!c.in_slow_start(), "{algorithm}");
        assert_eq!(c.ssthresh(), 33_250 + 4 * 2_000);
    }
}

#[test]
fn jitter_does_not_end_slow_start() {
    let mut c = Controller::new(Algorithm::Cubic, SMSS, 10);
    rtt_round(&mut c, ms(20), 8);
    rtt_round(&mut c, ms(25), 8);
    let before = c.cwnd();
    rtt_round(&mut c, ms(20), 8);
    // Seven more at the slower pace, then the eighth sample clears it.
    assert_eq!(c.cwnd() - before, 7 * 250 + 1_000);
    let before = c.cwnd();
    rtt_round(&mut c, ms(20), 8);
    assert_eq!(c.cwnd() - before, 8_000);
    assert!(c.in_slow_start());
}

/// The window after a round of one round-trip time and eight samples of another,
/// in microseconds.
fn after_rise(from: u64, to: u64) -> u32 {
    let mut c = Controller::new(Algorithm::Cubic, SMSS, 10);
    rtt_round(&mut c, Duration::from_micros(from), 8);
    rtt_round(&mut c, Duration::from_micros(to), 8);
    c.cwnd()
}

#[test]
fn a_local_network_tolerates_half_a_round_trip() {
    // No more than 4 ms, no less than 100 us.
    for (from, rise) in [
        (20, 100),
        (50, 100),
        (2_000, 1_000),
        (8_000, 4_000),
        (30_000, 4_000),
    ] {
        assert_eq!(after_rise(from, from + rise - 1), 26_000, "{from} us");
        assert_eq!(after_rise(from, from + rise), 25_250, "{from} us");
    }
}

/// The window doubles as long as it fits the path; what it grows to once there is
/// a queue is a small multiple of that, for slow start is over within five rounds.
#[test]
fn slow_start_on_a_short_path_ends_near_what_fits() {
    // 100 us and 100 segments in them, a microsecond each.
    let mut c = Controller::new(Algorithm::Cubic, SMSS, 10);
    for _ in 0..40 {
        let window = c.cwnd() / SMSS;
        rtt_round(
            &mut c,
            Duration::from_micros(window.max(100).into()),
            window,
        );
        if !c.in_slow_start() {
            break;
        }
    }
    assert!(!c.in_slow_start());
    let ended = c.ssthresh() / SMSS;
    assert!(ended < 1_000, "{ended} segments");
}

/// Acknowledgments of a window of `segments`, that far apart in microseconds, on
/// a path of 20 ms. Answers whether slow start has ended within them.
fn train(c: &mut Controller, start: Instant, segments: u32, apart: u64) -> bool {
    let mut now = start;
    for n in 0..segments {
        let mut a = full(c, now, SMSS);
        (a.rtt, a.srtt, a.min_rtt) = (Some(ms(20)), ms(20), ms(20));
        a.round_start = n == 0;
        c.on_ack(&a);
        now += Duration::from_micros(apart);
    }
    !c.in_slow_start()
}

#[test]
fn slow_start_ends_where_acknowledgments_fill_half_a_round_trip() {
    // A segment takes 100 us: 200 of them fill the path.
    let mut c = Controller::new(Algorithm::Cubic, SMSS, 10);
    let mut at = 1_000;
    while c.in_slow_start() {
        let window = c.cwnd() / SMSS;
        train(&mut c, Instant::from_millis(at), window, 100);
        at += 20;
    }
    assert!(
        (200..=300).contains(&(c.ssthresh() / SMSS)),
        "{}",
        c.ssthresh()
    );
    // From there by a twentieth in a round trip, until there is congestion.
    let before = c.cwnd();
    train(&mut c, Instant::from_millis(at), before / SMSS, 100);
    assert_close(c.cwnd(), before + before / 20, 5);
    c.on_congestion(Instant::from_millis(2_020), before);
    c.on_recovery_exit(Instant::from_millis(2_020));
    let before = c.cwnd();
    train(&mut c, Instant::from_millis(2_040), before / SMSS, 100);
    assert!(c.cwnd() < before + before / 40, "as CUBIC grows");
}

#[test]
fn other_trains_do_not_end_slow_start() {
    let new = || Controller::new(Algorithm::Cubic, SMSS, 10);
    let start = Instant::from_millis(1_000);
    // Less than half of the round trip; and longer, but with pauses.
    assert!(!train(&mut new(), start, 100, 100));
    assert!(train(&mut new(), start, 102, 100));
    assert!(!train(&mut new(), start, 10, 2_600));
    // What is paced fills half of the round trip at any rate.
    let mut paced = new();
    paced.set_paced(true);
    assert!(!train(&mut paced, start, 150, 100));
    assert!(train(&mut paced, Instant::from_millis(1_020), 152, 100));
    // The application was the limit.
    let mut c = new();
    for n in 0..200 {
        let mut a = full(&c, start + Duration::from_micros(n * 100), SMSS);
        (a.rtt, a.min_rtt, a.cwnd_limited) = (Some(ms(20)), ms(20), false);
        a.round_start = n == 0;
        c.on_ack(&a);
    }
    assert!(c.in_slow_start());
    // The clock that trains are measured by comes round after 18 minutes.
    let wraps = Instant::from_nanos((1 << 40) - 5_000_000);
    assert!(!train(&mut new(), wraps, 100, 100));
    assert!(train(&mut new(), wraps, 102, 100));
}

#[test]
fn westwood_backs_off_to_what_was_measured() {
    let mut c = Controller::new(Algorithm::Westwood, SMSS, 10);
    c.set_cwnd(300_000);
    // 10 segments each 10 ms are 1 MB/s; 100 ms of that are 100 kB.
    for n in 0..200 {
        c.on_ack_in_recovery(&full(&c, Instant::from_millis(n * 10), 10_000));
    }
    assert_close(
        c.on_congestion(Instant::from_millis(2_000), 300_000),
        100_000,
        5,
    );
    // Unmeasured it halves as Reno does; and it never rises.
    let c = after_loss(Algorithm::Westwood, 100, Instant::ZERO);
    assert_eq!(c.ssthresh(), 50_000);
    let mut c = Controller::new(Algorithm::Westwood, SMSS, 10);
    for n in 0..200 {
        c.on_ack_in_recovery(&full(&c, Instant::from_millis(n * 10), 10_000));
    }
    assert_eq!(c.on_congestion(Instant::from_millis(2_000), 10_000), 10_000);
    // A slow application does not lower what is believed of the path.
    c.set_cwnd(300_000);
    for n in 0..1000 {
        let mut a = full(&c, Instant::from_millis(2_000 + n * 10), 10);
        a.cwnd_limited = false;
        c.on_ack_in_recovery(&a);
    }
    assert_close(
        c.on_congestion(Instant::from_millis(13_000), 300_000),
        100_000,
        5,
    );
}

#[test]
fn a_mark_costs_less_than_a_loss() {
    for (algorithm, expected) in [(Algorithm::Reno, 80_000), (Algorithm::Cubic, 85_000)] {
        let mut c = Controller::new(algorithm, SMSS, 10);
        c.set_cwnd(100_000);
        c.on_ack_in_recovery(&full(&c, Instant::ZERO, SMSS));
        assert_eq!(c.on_ecn(Instant::ZERO, 100_000), expected, "{algorithm}");
    }
}

#[test]
fn a_mistaken_back_off_is_undone_once() {
    for algorithm in Algorithm::ALL {
        let mut c = after_loss(algorithm, 100, Instant::ZERO);
        let (cwnd, ssthresh) = (c.cwnd(), c.ssthresh());
        c.on_congestion(Instant::ZERO, cwnd);
        c.set_cwnd(5_000);
        c.undo();
        assert_eq!((c.cwnd(), c.ssthresh()), (cwnd, ssthresh), "{algorithm}");

        c.on_rto(Instant::ZERO, cwnd, true);
        c.on_rto(Instant::ZERO, cwnd, false);
        c.undo();
        assert_eq!((c.cwnd(), c.ssthresh()), (cwnd, ssthresh), "{algorithm}");
        c.set_cwnd(3_000);
        c.undo();
        assert_eq!(c.cwnd(), 3_000, "{algorithm}");
    }
    // The first slow start goes on as if nothing had been.
    let mut c = Controller::new(Algorithm::Cubic, SMSS, 10);
    c.on_congestion(Instant::ZERO, 10_000);
    c.undo();
    assert_eq!((c.cwnd(), c.ssthresh()), (10_000, u32::MAX));
    rtt_round(&mut c, ms(20), 8);
    rtt_round(&mut c, ms(25), 8);
    assert_eq!(c.cwnd(), 10_000 + 15_000 + 250, "HyStart++ still watches");
}

#[test]
fn idleness_restarts_slow_start() {
    for algorithm in Algorithm::ALL.into_iter().filter(|a| !a.follows_delay()) {
        let mut c = after_loss(algorithm, 200, Instant::ZERO);
        let before = c.cwnd();
        c.on_idle(ms(200), ms(200));
        assert_eq!(
            c.cwnd(),
            before,
            "{algorithm}: not longer than the time-out"
        );
        c.on_idle(ms(201), ms(200));
        assert_eq!(c.cwnd(), 10_000, "{algorithm}");
        assert!(c.in_slow_start());
        assert!(c.ssthresh() >= before / 4 * 3);
        // A window below the restart window stays.
        c.set_cwnd(4_000);
        c.on_idle(ms(500), ms(200));
        assert_eq!(c.cwnd(), 4_000);
    }
}

#[test]
fn thresholds_keep_two_segments() {
    for algorithm in Algorithm::ALL {
        let mut c = Controller::new(algorithm, SMSS, 1);
        assert_eq!(c.on_congestion(Instant::ZERO, 0), 2_000, "{algorithm}");
        c.on_rto(Instant::ZERO, 0, true);
        assert_eq!((c.cwnd(), c.ssthresh()), (1_000, 2_000), "{algorithm}");
    }
}
