use std::time::Duration;

use super::testing::{Pair, pattern};
use super::*;
use crate::time::Instant;
use crate::wire::tcp::Header;

const SEC: Duration = Duration::from_secs(1);

fn probing(mtu_probing: MtuProbing) -> Config {
    Config {
        mtu_probing,
        ..Config::default()
    }
}

/// A connection over a path on which segments of `a` longer than `most` bytes,
/// header included, vanish.
fn narrow(mtu_probing: MtuProbing, most: usize) -> Pair {
    let mut p = Pair::connected(probing(mtu_probing), Config::default());
    p.black_hole = most;
    p
}

fn received(p: &mut Pair, time: Duration, n: usize) {
    p.a.to_send = pattern(n);
    assert!(
        p.run_until(time, |p| p.b.received.len() == n),
        "{:?}",
        p.a.c().info()
    );
    assert!(p.b.received == p.a.to_send);
}

#[test]
fn a_black_hole_is_got_around_and_measured() {
    // 32 bytes of header and timestamps.
    let mut p = narrow(MtuProbing::BlackHole, 1232);
    received(&mut p, 20 * SEC, 3_000_000);
    let i = p.a.c().info();
    assert_eq!(i.counters.black_holes, 1);
    assert!((1184..=1200).contains(&i.snd_mss), "{i:?}");
    assert_eq!(i.pmtu, i.snd_mss + 12 + 40);
    assert!(i.counters.mtu_probes < 12, "{i:?}");
    assert_eq!(i.counters.timeouts, 3, "{i:?}");
    // Ten minutes later the path may be a wider one.
    p.black_hole = usize::MAX;
    p.run(590 * SEC);
    let n = i.counters.mtu_probes;
    received(&mut p, 20 * SEC, 3_500_000);
    assert_eq!(p.a.c().counters().mtu_probes, n);
    p.run(11 * SEC);
    received(&mut p, 20 * SEC, 5_000_000);
    assert_eq!(p.a.c().info().snd_mss, 1448);
    p.finish();
}

#[test]
fn the_smallest_size_gets_through_where_the_first_does_not() {
    let mut p = narrow(MtuProbing::BlackHole, 600);
    received(&mut p, 60 * SEC, 300_000);
    let i = p.a.c().info();
    assert_eq!(i.counters.black_holes, 2);
    assert!((524..=568).contains(&i.snd_mss), "{i:?}");
    p.finish();
}

#[test]
fn an_outage_is_not_taken_for_a_narrow_path_for_long() {
    let mut p = narrow(MtuProbing::BlackHole, usize::MAX);
    p.a.to_send = pattern(5_000_000);
    p.run(Duration::from_millis(50));
    p.faults.loss = 1000;
    p.run(5 * SEC);
    p.faults.loss = 0;
    received(&mut p, 30 * SEC, 5_000_000);
    let i = p.a.c().info();
    assert!(i.counters.black_holes >= 1, "{i:?}");
    assert_eq!(i.snd_mss, 1448, "{i:?}");
    p.finish();
}

#[test]
fn a_search_from_the_start_costs_no_window() {
    let mut p = narrow(MtuProbing::On, 1332);
    assert_eq!(p.a.c().info().snd_mss, 1024 - 12);
    received(&mut p, 20 * SEC, 3_000_000);
    let i = p.a.c().info();
    assert!((1284..=1300).contains(&i.snd_mss), "{i:?}");
    let k = i.counters;
    assert!(k.mtu_probes >= 3 && k.retransmits > 0, "{k:?}");
    assert_eq!((k.timeouts, k.recoveries, i.ssthresh), (0, 0, u32::MAX));
    p.finish();

    let mut p = narrow(MtuProbing::On, usize::MAX);
    received(&mut p, 20 * SEC, 1_000_000);
    let i = p.a.c().info();
    assert_eq!((i.snd_mss, i.counters.mtu_probes), (1448, 1));
    p.finish();
}

#[test]
fn without_probing_a_black_hole_swallows_the_connection() {
    let mut p = Pair::connected(
        Config {
            retries: 5,
            ..probing(MtuProbing::Off)
        },
        Config::default(),
    );
    p.black_hole = 1232;
    p.a.to_send = pattern(100_000);
    p.run(60 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    assert_eq!(p.a.c().counters().mtu_probes, 0);
    p.finish();
}

#[test]
fn loss_and_narrowness_together_are_survived() {
    for seed in 0..12 {
        let how = [MtuProbing::BlackHole, MtuProbing::On][seed as usize % 2];
        let mut p = Pair::connected(
            Config {
                sack: seed % 3 != 0,
                timestamps: seed % 4 != 0,
                ..probing(how)
            },
            Config::default(),
        );
        p.rng = testing::Rng::new(seed);
        p.faults.loss = 30;
        p.faults.reorder = 50;
        p.black_hole = 700 + 60 * seed as usize;
        p.a.close_when_sent = true;
        p.a.to_send = pattern(400_000);
        let done = p.run_until(600 * SEC, |p| p.b.received.len() == 400_000);
        assert!(
            done && p.b.received == p.a.to_send,
            "seed {seed}: {:?}",
            p.a.c().info()
        );
        p.finish();
    }
}

#[test]
fn a_reported_path_is_taken_at_once_and_is_no_congestion() {
    let mut p = narrow(MtuProbing::Off, usize::MAX);
    p.a.to_send = pattern(400_000);
    p.run(Duration::from_millis(25));
    p.black_hole = 1000;
    // Two bursts leave, too large for the path.
    p.run(Duration::from_millis(9));
    let (una, nxt) = (p.a.c().snd.una, p.a.c().snd.nxt);
    assert!(una.lt(nxt));
    let before = p.a.c().info();
    let now = p.now;
    // RFC 5927 section 4: what is not in flight is not believed.
    p.a.c().handle_path_mtu(now, 980, nxt);
    p.a.c().handle_path_mtu(now, 980, una - 1);
    assert_eq!(p.a.c().info().snd_mss, 1448);
    let n = p.a.log.len();
    p.a.c().handle_path_mtu(now, 980, una);
    p.settle();
    let i = p.a.c().info();
    assert_eq!((i.snd_mss, i.pmtu), (968, 1020));
    let again = &p.a.log[n..];
    assert!(!again.is_empty() && again[0].1.seq == una);
    assert!(again.iter().all(|l| l.2 <= 968));
    received(&mut p, 20 * SEC, 400_000);
    let i = p.a.c().info();
    let k = i.counters;
    assert_eq!(
        (k.timeouts, k.recoveries, i.ssthresh),
        (0, 0, u32::MAX),
        "{k:?}"
    );
    assert!(i.cwnd >= before.cwnd, "{i:?}");
    p.finish();
}

/// A connection whose sender glues segments from chunks of 400 bytes.
fn glueing(mtu_probing: MtuProbing) -> Pair {
    let mut p = Pair::new(probing(mtu_probing), Config::default());
    p.a.chunk = 400;
    p.a.trains = true;
    p.connect();
    p.run(Duration::from_millis(100));
    p
}

fn longest(log: &[(Instant, Header, usize)]) -> usize {
    log.iter().map(|l| l.2).max().unwrap_or(0)
}

#[test]
fn segments_are_glued_up_to_what_path_and_peer_take() {
    let mut p = glueing(MtuProbing::Off);
    received(&mut p, 20 * SEC, 400_000);
    // Of 1448 bytes, three chunks with 388 of payload each.
    assert_eq!(longest(&p.a.log), 3 * 388);
    let bytes: usize = p.a.log.iter().map(|l| l.2).sum();
    assert_eq!(bytes, 400_000, "nothing comes twice");
    let few = p.a.log.iter().filter(|l| l.2 == 3 * 388).count();
    assert!(few * 3 * 388 > 100_000, "{few}");
    p.finish();
}

#[test]
fn a_report_about_a_probe_ends_that_probe() {
    let mut p = narrow(MtuProbing::On, 1332);
    p.a.to_send = pattern(2_000_000);
    assert!(p.run_until(SEC, |p| p.a.c().counters().mtu_probes == 1));
    p.settle();
    let at = p.a.log.iter().position(|l| l.2 == 1448).unwrap();
    let (now, seq) = (p.now, p.a.log[at].1.seq);
    p.a.c().handle_path_mtu(now, 1300, seq);
    received(&mut p, 20 * SEC, 2_000_000);
    let i = p.a.c().info();
    assert!(i.snd_mss >= 1272 && i.counters.timeouts == 0, "{i:?}");
    assert!(p.a.log.iter().filter(|l| l.2 > 1300).count() == 1);
    p.finish();
}
