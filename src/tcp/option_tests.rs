//! What the application may change at run time, and what it may look at.

use std::time::Duration;

use super::testing::{Pair, pattern};
use super::*;
use crate::time::Instant;

const SEC: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Sizes of the data segments that `a` has sent since `from`, with their times.
fn data(p: &Pair, from: usize) -> Vec<(Instant, usize)> {
    p.a.log[from..]
        .iter()
        .filter(|l| l.2 > 0)
        .map(|l| (l.0, l.2))
        .collect()
}

fn write(p: &mut Pair, n: usize) {
    p.a.to_send.extend(pattern(n));
    p.settle();
}

#[test]
fn a_cork_holds_partial_segments_for_200_ms() {
    let nodelay = Config {
        nodelay: true,
        ..Config::default()
    };
    let mut p = Pair::connected(nodelay, Config::default());
    p.a.c().set_cork(true);
    let (t, n) = (p.now, p.a.log.len());
    write(&mut p, 500);
    assert!(data(&p, n).is_empty());
    write(&mut p, 1000);
    let full: Vec<_> = data(&p, n).iter().map(|d| d.1).collect();
    assert_eq!(full, [1448], "a full segment goes at once");
    p.run(SEC);
    assert_eq!(data(&p, n)[1..], [(t + 200 * MS, 52)]);
    // Taken out, what is held leaves, and a FIN takes it along.
    let n = p.a.log.len();
    write(&mut p, 10);
    p.a.c().set_cork(false);
    p.settle();
    assert_eq!(data(&p, n), [(p.now, 10)]);
    p.a.c().set_cork(true);
    write(&mut p, 20);
    p.a.c().shutdown();
    p.settle();
    assert_eq!(data(&p, n)[1..], [(p.now, 20)]);
    assert!(
        p.a.log
            .last()
            .is_some_and(|l| l.1.flags.contains(crate::wire::tcp::Flags::FIN))
    );
    p.finish();
}

#[test]
fn the_limit_of_a_cork_counts_from_the_partial_segment_in_hand() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.c().set_cork(true);
    write(&mut p, 100);
    p.run(150 * MS);
    let n = p.a.log.len();
    write(&mut p, 1448);
    p.run(100 * MS);
    assert_eq!(data(&p, n).len(), 1, "the rest is 100 ms old");
    p.run(SEC);
    assert_eq!(p.b.received.len(), 1548);
    p.finish();
}

#[test]
fn nodelay_pushes_even_under_a_cork() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.c().set_cork(true);
    let n = p.a.log.len();
    write(&mut p, 10);
    p.a.c().set_nodelay(true);
    p.settle();
    assert_eq!(data(&p, n), [(p.now, 10)]);
    write(&mut p, 10);
    assert_eq!(
        data(&p, n).len(),
        1,
        "the cork still holds what comes later"
    );
    p.finish();
}

#[test]
fn nagle_waits_for_partial_segments_only() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let n = p.a.log.len();
    write(&mut p, 2 * 1448 + 10);
    assert_eq!(data(&p, n).len(), 3, "only full segments are in flight");
    write(&mut p, 10);
    assert_eq!(data(&p, n).len(), 3, "a partial one is");
    p.a.c().set_nodelay(true);
    p.settle();
    assert_eq!(data(&p, n).len(), 4);
    p.finish();
}

#[test]
fn segments_are_capped_both_ways() {
    let capped = Config {
        max_segment: Some(1000),
        ..Config::default()
    };
    let mut p = Pair::connected(capped, Config::default());
    assert_eq!(p.a.log[0].1.options.mss, Some(1000));
    p.a.to_send = pattern(20_000);
    p.b.to_send = pattern(20_000);
    p.run(SEC);
    let most = |log: &[(Instant, crate::wire::tcp::Header, usize)]| {
        log.iter().map(|l| l.2).max().unwrap_or(0)
    };
    assert_eq!((most(&p.a.log), most(&p.b.log)), (988, 988));
    // Lowered later it holds for what has been queued as well.
    p.a.to_send.extend(pattern(20_000));
    p.a.c().set_max_segment(500);
    let n = p.a.log.len();
    p.run(SEC);
    assert_eq!(most(&p.a.log[n..]), 488);
    assert_eq!(p.b.received, p.a.to_send);
    let i = p.a.c().info();
    assert_eq!((i.advmss, i.snd_mss, i.pmtu), (1000, 488, 1500));
    p.finish();
}

#[test]
fn a_cap_set_before_the_syn_is_offered() {
    let mut p = Pair::new(Config::default(), Config::default());
    p.connect();
    p.a.c().set_max_segment(700);
    p.run(SEC);
    assert_eq!(p.a.log[0].1.options.mss, Some(700));
    p.finish();
}

#[test]
fn keepalive_can_be_set_at_run_time() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.run(30 * SEC);
    assert_eq!(p.a.c().counters().keepalives, 0);
    let now = p.now;
    let c = p.a.c();
    c.set_keepalive_interval(2 * SEC);
    c.set_keepalive_probes(3);
    // The 30 s already idle count.
    c.set_keepalive(now, Some(20 * SEC));
    p.run(SEC);
    assert_eq!(p.a.c().counters().keepalives, 1);
    p.faults.loss = 1000;
    p.run(20 * SEC);
    assert_eq!(p.a.c().info().probes, 1);
    p.run(10 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    p.finish();
}

#[test]
fn the_user_timeout_takes_the_place_of_keepalive_probes() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let now = p.now;
    let c = p.a.c();
    c.set_keepalive_interval(SEC);
    c.set_keepalive_probes(2);
    c.set_keepalive(now, Some(5 * SEC));
    c.set_user_timeout(Some(12 * SEC));
    p.faults.loss = 1000;
    let t = p.now;
    assert!(p.run_until(60 * SEC, |p| p.a.closed.is_some()));
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    // It ends with a reset.
    let after = p.a.log.last().unwrap().0.since(t);
    assert!(after >= 11 * SEC && after <= 14 * SEC, "{after:?}");
    p.finish();
}

#[test]
fn no_keepalive_while_data_is_in_flight() {
    let c = Config {
        keepalive: Some(2 * SEC),
        ..Config::default()
    };
    let mut p = Pair::connected(c, Config::default());
    p.faults.loss = 1000;
    p.a.to_send = pattern(10);
    p.run(20 * SEC);
    let k = p.a.c().counters();
    assert!(k.keepalives == 0 && k.timeouts > 3, "{k:?}");
    p.finish();
}

#[test]
fn an_accept_can_wait_for_data() {
    let deferring = || Config {
        defer_accept: Some(5 * SEC),
        ..Config::default()
    };
    let mut p = Pair::new(Config::default(), deferring());
    p.connect();
    p.run(SEC);
    assert!(p.b.events.is_empty(), "{:?}", p.b.events);
    p.a.to_send = pattern(10);
    p.run(SEC);
    assert_eq!(p.b.events, [Event::Connected, Event::Readable]);
    p.run(60 * SEC);
    assert_eq!(p.b.c().state(), State::Established);
    p.finish();

    // Nothing comes: told after all when the time is over.
    let mut p = Pair::new(Config::default(), deferring());
    p.connect();
    p.run(4 * SEC);
    assert!(p.b.events.is_empty());
    p.run(2 * SEC);
    assert_eq!(p.b.events, [Event::Connected]);
    p.finish();

    // The peer is gone again: not told at all.
    let mut p = Pair::new(Config::default(), deferring());
    p.connect();
    p.run(SEC);
    let a = &mut p.a;
    a.conn.as_mut().unwrap().abort(&mut a.pool);
    p.run(SEC);
    assert_eq!(p.b.events, [Event::Closed(Reason::Reset)]);
    p.finish();
}

#[test]
fn info_tells_of_segments_as_linux_does() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let i = p.a.c().info();
    assert_eq!(
        (i.ca_state, i.unacked, i.counters.delivered),
        (CaState::Open, 0, 1)
    );
    p.swallow = vec![(true, p.a.log.len() as u64 + 1)];
    p.a.to_send = pattern(10 * 1448);
    p.run(Duration::from_millis(6));
    let i = p.a.c().info();
    assert_eq!(i.unacked, 10, "{i:?}");
    p.run(Duration::from_millis(5));
    let i = p.a.c().info();
    assert_eq!(i.ca_state, CaState::Recovery, "{i:?}");
    assert_eq!((i.unacked, i.sacked, i.lost, i.retrans_out), (10, 9, 1, 1));
    p.run(SEC);
    let i = p.a.c().info();
    let k = i.counters;
    assert_eq!((i.ca_state, i.unacked), (CaState::Open, 0));
    assert_eq!((k.delivered, k.data_segments_sent), (11, 11));
    assert_eq!(
        (k.retransmits, k.fast_retransmits, k.bytes_retransmitted),
        (1, 1, 1448)
    );
    assert_eq!(p.b.c().counters().data_segments_received, 10);
    p.faults.loss = 1000;
    p.a.to_send.extend(pattern(10));
    p.run(3 * SEC);
    let i = p.a.c().info();
    assert_eq!(i.ca_state, CaState::Loss);
    assert!(i.retransmits >= 2 && i.backoff == i.retransmits, "{i:?}");
    p.finish();
}
