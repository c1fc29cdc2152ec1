//! What is forgiven, and what is not.

use super::tests::full;
use super::*;

const SMSS: u32 = 1000;
const RTT: Duration = Duration::from_millis(100);

/// In congestion avoidance, `delivered` segments after the last loss, with
/// that much above the smallest round trip, and a window of 160 segments.
fn sender(delivered: u32, above: Duration) -> Controller {
    let mut c = Controller::new(Algorithm::Tolerant, SMSS, 10);
    c.set_cwnd(40 * SMSS);
    c.on_rto(Instant::ZERO, 40 * SMSS, true);
    c.on_recovery_exit(Instant::ZERO);
    assert!(!c.in_slow_start());
    deliver(&mut c, delivered, above);
    c.set_cwnd(160 * SMSS);
    c
}

fn deliver(c: &mut Controller, segments: u32, above: Duration) {
    for _ in 0..segments {
        let a = AckSample {
            rtt: Some(RTT + above),
            srtt: RTT + above,
            ..full(c, Instant::ZERO, SMSS)
        };
        c.on_ack_in_recovery(&a);
    }
}

/// What a loss leaves of the window, in segments.
fn after_a_loss(c: &mut Controller) -> u32 {
    let cwnd = c.cwnd();
    let ssthresh = c.on_congestion(Instant::ZERO, cwnd);
    c.on_recovery_exit(Instant::ZERO);
    ssthresh / SMSS
}

/// 160 segments less a twenty-fourth of them.
const FORGIVEN: u32 = 153;
/// Seven tenths.
const PLAIN: u32 = 112;

#[test]
fn a_loss_without_a_queue_costs_little() {
    assert_eq!(after_a_loss(&mut sender(32, Duration::ZERO)), FORGIVEN);
    let mut cubic = sender(32, Duration::ZERO);
    cubic.switch(Algorithm::Cubic);
    deliver(&mut cubic, 32, Duration::ZERO);
    assert_eq!(after_a_loss(&mut cubic), PLAIN);
}

#[test]
fn a_queue_makes_it_a_loss_as_any() {
    let us = Duration::from_micros;
    // A thirty-second of 100 ms, while the round trip varies little.
    assert_eq!(after_a_loss(&mut sender(500, us(3_100))), FORGIVEN);
    assert_eq!(after_a_loss(&mut sender(500, us(3_200))), PLAIN);
    // The smallest round trip is not known.
    let mut c = sender(500, Duration::ZERO);
    c.on_ack_in_recovery(&AckSample {
        srtt: Duration::ZERO,
        min_rtt: Duration::ZERO,
        ..full(&c, Instant::ZERO, SMSS)
    });
    assert_eq!(after_a_loss(&mut c), PLAIN);
}

#[test]
fn jitter_is_not_taken_for_a_queue() {
    let ms = Duration::from_millis;
    let with = |least, above, rttvar, rounds_ago: u32| {
        let mut c = sender(500, Duration::ZERO);
        c.set_cwnd(160 * SMSS);
        for n in 0..=rounds_ago {
            c.on_ack_in_recovery(&AckSample {
                rtt: Some(RTT + if n == 0 { least } else { above }),
                srtt: RTT + above,
                rttvar,
                round_start: true,
                ..full(&c, Instant::ZERO, SMSS)
            });
        }
        after_a_loss(&mut c)
    };
    // Long on the average, but short at least once in this round or the last.
    assert_eq!(with(ms(1), ms(20), ms(4), 0), FORGIVEN);
    assert_eq!(with(ms(1), ms(20), ms(4), 1), FORGIVEN);
    assert_eq!(with(ms(1), ms(20), ms(4), 2), PLAIN);
    // It varies too little for its length.
    assert_eq!(with(ms(1), ms(20), ms(3), 1), PLAIN);
    // Never short: a queue that stands, however much it varies. Four
    // milliseconds are less than an eighth.
    assert_eq!(with(ms(5), ms(5), ms(50), 0), FORGIVEN, "the round before");
    assert_eq!(with(ms(5), ms(5), ms(50), 1), PLAIN);
    assert_eq!(with(ms(4), ms(4), ms(50), 1), FORGIVEN);
}

#[test]
fn no_more_than_one_loss_in_32_segments_is_forgiven() {
    let mut c = sender(31, Duration::ZERO);
    assert_eq!(after_a_loss(&mut c), PLAIN);
    // Eight can be saved for, and no more.
    let mut c = sender(10_000, Duration::ZERO);
    for n in 0..10 {
        c.set_cwnd(160 * SMSS);
        let expected = if n < 8 { FORGIVEN } else { PLAIN };
        assert_eq!(after_a_loss(&mut c), expected, "loss {n}");
    }
    // One that is not forgiven is not free either.
    for n in 0..10 {
        deliver(&mut c, 31, Duration::ZERO);
        c.set_cwnd(160 * SMSS);
        assert_eq!(after_a_loss(&mut c), PLAIN, "loss {n}");
    }
}

#[test]
fn many_losses_of_one_window_are_congestion() {
    let mut c = sender(3 * 32, Duration::ZERO);
    let cwnd = c.cwnd();
    assert_eq!(c.on_congestion(Instant::ZERO, cwnd) / SMSS, FORGIVEN);
    assert_eq!(c.on_further_loss(2 * SMSS), None);
    let lower = c.on_further_loss(SMSS).expect("the fourth is one too many");
    assert!(
        lower.abs_diff(PLAIN * SMSS) < 10,
        "{lower}: but for rounding"
    );
    assert_eq!(c.on_further_loss(SMSS), None, "once");
    // As if it had been so from the start.
    c.undo();
    assert_eq!(c.cwnd(), 160 * SMSS);
    // A loss that was none of those begins anew.
    deliver(&mut c, 32, Duration::ZERO);
    assert_eq!(after_a_loss(&mut c), FORGIVEN);
}

#[test]
fn neither_slow_start_nor_a_time_out_nor_a_mark_is_forgiven() {
    let mut c = Controller::new(Algorithm::Tolerant, SMSS, 10);
    deliver(&mut c, 1000, Duration::ZERO);
    c.set_cwnd(160 * SMSS);
    assert!(c.in_slow_start());
    assert_eq!(after_a_loss(&mut c), PLAIN);

    let mut c = sender(1000, Duration::ZERO);
    c.on_rto(Instant::ZERO, 160 * SMSS, true);
    assert_eq!((c.cwnd(), c.ssthresh()), (SMSS, PLAIN * SMSS));

    let mut c = sender(1000, Duration::ZERO);
    assert_eq!(c.on_ecn(Instant::ZERO, 160 * SMSS), 136 * SMSS);
    assert_eq!(c.on_further_loss(100 * SMSS), None);
}

#[test]
fn what_was_forgiven_is_regained_as_fast_as_by_reno() {
    let mut c = sender(32, Duration::ZERO);
    c.set_cwnd(48 * SMSS);
    assert_eq!(after_a_loss(&mut c), 46);
    for n in 1..=10 {
        let window = c.cwnd();
        let mut acked = 0;
        while acked < window {
            c.on_ack(&full(&c, Instant::from_millis(n), SMSS));
            acked += SMSS;
        }
    }
    let grown = c.cwnd() / SMSS - 46;
    assert!((9..=11).contains(&grown), "{grown} segments in ten rounds");
}
