//! Loss, reordering, time-outs: nothing is lost, and little is sent twice.

use std::time::Duration;

use super::{SEC, config};
use crate::congestion::Algorithm;
use crate::tcp::testing::{Faults, Pair, Rng, pattern};
use crate::tcp::*;

/// Transfers through seeded faults; the data must be whole and the ledger
/// balanced, whatever the seed.
fn lossy(seed: u64, faults: Faults, a: Config, b: Config, bytes: usize) {
    let mut p = Pair::new(a, b);
    p.faults = faults;
    p.rng = Rng::new(seed);
    p.connect();
    p.a.to_send = pattern(bytes);
    p.b.to_send = pattern(bytes / 3);
    p.a.close_when_sent = true;
    p.b.close_when_sent = true;
    let done = p.run_until(9000 * SEC, |p| p.a.closed.is_some() && p.b.closed.is_some());
    assert!(
        done && p.b.received == p.a.to_send && p.a.received == p.b.to_send,
        "seed {seed}: {:?} {:?} received {} and {}\n{:?}\n{:?}",
        p.a.closed,
        p.b.closed,
        p.b.received.len(),
        p.a.received.len(),
        p.a.conn,
        p.b.conn
    );
    p.finish();
}

#[test]
fn loss_reordering_and_duplication_change_nothing() {
    for seed in 0..60 {
        let mut r = Rng::new(seed + 1000);
        let faults = Faults {
            loss: r.below(150),
            duplicate: r.below(100),
            reorder: r.below(300),
            delay: Duration::from_micros(100 + r.below(40_000)),
        };
        let mut c = || Config {
            sack: r.chance(800),
            timestamps: r.chance(800),
            window_scaling: r.chance(800),
            nodelay: r.chance(500),
            recv_buffer: 3000 + r.below(1 << 20) as u32,
            congestion: Algorithm::ALL[r.below(Algorithm::ALL.len() as u64) as usize],
            ..config()
        };
        let (a, b) = (c(), c());
        lossy(seed, faults, a, b, 300_000);
    }
}

#[test]
fn heavy_loss_is_survived() {
    for seed in 0..6 {
        let faults = Faults {
            loss: 300,
            duplicate: 20,
            reorder: 100,
            ..Faults::NONE
        };
        let c = Config {
            syn_retries: 60,
            synack_retries: 60,
            retries: 60,
            ..config()
        };
        lossy(seed, faults, c.clone(), c, 60_000);
    }
}

#[test]
fn one_loss_is_repaired_by_fast_retransmission() {
    let mut p = Pair::connected(config(), config());
    p.swallow = vec![(true, 20)];
    p.a.to_send = pattern(200_000);
    assert!(p.run_until(5 * SEC, |p| p.b.received.len() == 200_000));
    let k = p.a.c().counters();
    assert_eq!(
        (k.retransmits, k.recoveries, k.timeouts),
        (1, 1, 0),
        "{k:?}"
    );
    p.finish();
}

#[test]
fn a_lost_tail_is_repaired_by_a_probe() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(20 * 1448);
    p.run(SEC);
    let n = p.a.log.len() as u64;
    p.swallow = vec![(true, n + 3)];
    p.a.to_send.extend(pattern(3 * 1448));
    p.run(SEC);
    assert_eq!(p.b.received.len(), 23 * 1448);
    let k = p.a.c().counters();
    assert_eq!((k.probes, k.timeouts), (1, 0), "{k:?}");
    p.finish();
}

#[test]
fn reordering_within_a_quarter_round_trip_causes_no_retransmission_once_seen() {
    let mut p = Pair::connected(config(), config());
    p.faults = Faults {
        reorder: 200,
        delay: Duration::from_millis(20),
        ..Faults::NONE
    };
    p.a.to_send = pattern(4_000_000);
    assert!(p.run_until(60 * SEC, |p| p.b.received.len() == p.a.to_send.len()));
    let k = p.a.c().counters();
    assert!(k.retransmits < 30, "{k:?}");
    p.finish();
}

#[test]
fn a_blackout_of_a_minute_is_survived_and_counted_once() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(2_000_000);
    p.run(Duration::from_millis(30));
    p.faults.loss = 1000;
    p.run(60 * SEC);
    p.faults.loss = 0;
    assert!(p.run_until(130 * SEC, |p| p.b.received.len() == 2_000_000));
    p.finish();
}

#[test]
fn a_spurious_timeout_is_undone() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(4_000_000);
    p.run(Duration::from_millis(60));
    let before = p.a.c().info().cwnd;
    // Everything in flight is held up for longer than the time-out.
    p.faults.delay = Duration::from_millis(900);
    p.run(Duration::from_millis(700));
    assert!(p.a.c().counters().timeouts >= 1);
    assert!(p.run_until(60 * SEC, |p| p.b.received.len() == 4_000_000));
    let i = p.a.c().info();
    assert!(i.counters.undone >= 1, "{:?}", i.counters);
    assert!(i.cwnd >= before, "{} after {before}", i.cwnd);
    p.finish();
}

/// Goodput in Mbit/s over a path of 20 ms that loses 1.1 %, repeats 1 % and
/// reorders 5 %.
fn impaired_goodput(congestion: Algorithm, seed: u64) -> f64 {
    let c = Config {
        congestion,
        ..config()
    };
    let mut p = Pair::new(c.clone(), c);
    p.rng = Rng::new(seed);
    let delay = Duration::from_millis(10);
    p.faults = Faults {
        loss: 11,
        duplicate: 10,
        reorder: 50,
        delay,
    };
    p.connect();
    p.a.to_send = pattern(5_000_000);
    let t = p.now;
    assert!(
        p.run_until(200 * SEC, |p| p.b.received.len() == 5_000_000),
        "seed {seed}"
    );
    let goodput = 40.0 / p.now.since(t).as_secs_f64();
    p.finish();
    goodput
}

#[test]
fn westwood_outruns_cubic_where_loss_is_not_congestion() {
    for seed in 0..3 {
        let cubic = impaired_goodput(Algorithm::Cubic, seed);
        let westwood = impaired_goodput(Algorithm::Westwood, seed);
        assert!(
            cubic > 5.0 && westwood > 1.5 * cubic,
            "seed {seed}: cubic {cubic:.1} Mbit/s, westwood {westwood:.1} Mbit/s"
        );
    }
}
