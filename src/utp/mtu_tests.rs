//! Packet sizes on paths of every width.

use std::time::Duration;

use super::testing::{MOST, Pair, pattern};
use super::{Config, HEADERS};

const BASE: u16 = 576 - 20 - HEADERS as u16;
/// uTP headers.
const UTP: usize = 20;

fn connected() -> Pair {
    Pair::connected(Config::default(), Config::default())
}

/// With so much in flight that a stream takes many round trips.
fn slow() -> Config {
    Config {
        send_buffer: 40_000,
        ..Config::default()
    }
}

#[test]
fn the_first_probe_finds_a_path_without_bottleneck() {
    let mut p = connected();
    assert_eq!(p.a.c().send_mss(), usize::from(BASE));
    p.a.to_send = pattern(500_000);
    p.run(Duration::from_millis(25));
    assert_eq!(p.a.c().send_mss(), usize::from(MOST));
    assert!(p.run_until(Duration::from_secs(10), |p| p.b.received.len() == 500_000));
    assert_eq!(p.b.received, p.a.to_send);
    let c = p.a.c().counters();
    assert_eq!((c.mtu_probes, c.retransmits), (1, 0));
    // The probe is as long as what it is for, and padded.
    let probe =
        p.a.log
            .iter()
            .find(|l| usize::from(l.1.len) > UTP && l.2 > 0)
            .unwrap();
    assert_eq!(usize::from(probe.1.len) + probe.2, UTP + usize::from(MOST));
    assert!(p.a.log.iter().any(|l| l.2 == usize::from(MOST)));
    p.finish();
}

/// Paths of every width, and one round trip at a time.
#[test]
fn a_narrow_path_is_found_and_costs_no_window() {
    for path in (usize::from(BASE)..usize::from(MOST)).step_by(61) {
        let mut p = Pair::connected(slow(), slow());
        p.black_hole = UTP + path;
        p.a.to_send = pattern(1_000_000);
        let done = p.run_until(Duration::from_secs(30), |p| p.b.received.len() == 1_000_000);
        let i = p.a.c().info();
        assert!(done, "{path}: {i:?}");
        assert!(p.b.received == p.a.to_send);
        let found = usize::from(i.snd_mss);
        assert!(found <= path && path - found < 32, "{path}: {found}");
        let c = i.counters;
        assert_eq!(
            (c.recoveries, c.timeouts, c.black_holes),
            (0, 0, 0),
            "{path}"
        );
        assert!(c.retransmits <= c.mtu_probes + c.tail_probes, "{path}");
        p.finish();
    }
}

#[test]
fn a_path_that_becomes_narrow_is_noticed() {
    let mut p = Pair::connected(slow(), slow());
    p.a.to_send = pattern(2_000_000);
    p.run(Duration::from_millis(100));
    assert_eq!(p.a.c().send_mss(), usize::from(MOST));
    p.black_hole = UTP + 1000;
    let done = p.run_until(Duration::from_secs(120), |p| {
        p.b.received.len() == 2_000_000
    });
    assert!(done, "{:?}", p.a.c().info());
    assert_eq!(p.b.received, p.a.to_send);
    assert!(p.a.c().counters().black_holes >= 1);
    // What had been sent cannot be cut by us; routers may.
    assert!(p.a.may_cut.iter().any(|cut| *cut));
    let found = p.a.c().send_mss();
    assert!((969..=1000).contains(&found), "{found}");
    p.finish();
}

#[test]
fn a_path_that_becomes_wide_is_noticed_after_a_while() {
    let config = Config {
        mtu_raise: Duration::from_secs(60),
        ..slow()
    };
    let mut p = Pair::connected(config.clone(), config);
    p.black_hole = UTP + 1000;
    p.a.to_send = pattern(1_000_000);
    p.run(Duration::from_secs(20));
    let narrow = p.a.c().send_mss();
    assert!((969..=1000).contains(&narrow), "{narrow}");
    p.black_hole = usize::MAX;
    p.a.to_send.extend(pattern(100_000));
    p.run(Duration::from_secs(20));
    assert_eq!(p.a.c().send_mss(), narrow, "too soon");
    p.run(Duration::from_secs(30));
    p.a.to_send.extend(pattern(100_000));
    p.run(Duration::from_secs(20));
    assert_eq!(p.a.c().send_mss(), usize::from(MOST));
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}

#[test]
fn a_router_may_say_so() {
    let mut p = connected();
    p.a.to_send = pattern(300_000);
    p.run(Duration::from_millis(60));
    assert_eq!(p.a.c().longest_payload(), MOST);
    p.black_hole = UTP + 900;
    let (a, pool) = (p.a.conn.as_mut().unwrap(), &mut p.a.pool);
    a.limit_payload(900, pool);
    assert_eq!(a.send_mss(), 900);
    assert!(p.run_until(Duration::from_secs(60), |p| p.b.received.len() == 300_000));
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}

/// A probe that is lost goes again as what it is, and nobody is misled by who
/// acknowledges that.
#[test]
fn what_was_sent_again_proves_no_size() {
    let mut p = connected();
    p.filter = |from_a, h| !from_a || usize::from(h.len) == 20;
    p.a.to_send = pattern(400_000);
    assert!(p.run_until(Duration::from_secs(60), |p| p.b.received.len() == 400_000));
    assert_eq!(p.a.c().send_mss(), usize::from(BASE));
    assert!(p.a.c().counters().mtu_probes >= 3);
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}

#[test]
fn payload_may_be_limited() {
    let config = Config {
        max_payload: Some(700),
        ..Config::default()
    };
    let mut p = Pair::connected(config, Config::default());
    p.a.to_send = pattern(100_000);
    p.run(Duration::from_secs(5));
    assert_eq!(p.a.log.iter().map(|l| l.2).max(), Some(700));
    p.a.c().set_max_segment(300);
    p.a.to_send.extend(pattern(10_000));
    let before = p.a.log.len();
    p.run(Duration::from_secs(5));
    assert_eq!(p.a.log[before..].iter().map(|l| l.2).max(), Some(300));
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}
