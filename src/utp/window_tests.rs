//! Windows, buffers, and what waits for company.

use std::time::Duration;

use super::testing::{Pair, pattern};
use super::{Config, Event};
use crate::wire::utp::{Header, Kind};

fn plain() -> Config {
    Config {
        mtu_probing: false,
        ..Config::default()
    }
}

#[test]
fn a_window_that_is_shut_is_probed_and_announced_when_it_opens() {
    let small = Config {
        recv_buffer: 20_000,
        ..plain()
    };
    let mut p = Pair::connected(plain(), small);
    p.b.read = 0;
    p.a.to_send = pattern(100_000);
    p.run(Duration::from_secs(5));
    let mss = p.a.c().send_mss();
    let full = p.b.c().recv_available();
    assert!((20_000 - mss..=20_000).contains(&full), "{full}");
    assert_eq!(p.a.c().info().snd_wnd, 0);
    let sent = p.a.log.len();
    p.run(Duration::from_secs(9));
    assert_eq!(p.a.log.len(), sent, "nothing before 15 s");
    p.run(Duration::from_secs(6));
    let probe = p.a.log[sent..].iter().filter(|l| l.2 > 0).count();
    assert_eq!((probe, p.a.c().counters().window_probes), (1, 1));
    // Reading opens it, and says so.
    p.b.read = usize::MAX;
    let told = p.now;
    assert!(p.run_until(Duration::from_secs(2), |p| p.b.received.len() == 100_000));
    assert!(p.now.since(told) < Duration::from_millis(300));
    assert_eq!(p.b.received, p.a.to_send);
    assert_eq!(p.a.c().counters().timeouts, 0);
    p.finish();
}

/// As long as the peer answers, and for hours.
#[test]
fn a_window_may_stay_shut() {
    let small = Config {
        recv_buffer: 3000,
        ..plain()
    };
    let mut p = Pair::connected(plain(), small);
    p.b.read = 0;
    p.a.to_send = pattern(200_000);
    p.run(Duration::from_secs(4 * 3600));
    assert_eq!(p.a.closed, None);
    let waits = p.b.c().recv_available();
    assert!(waits <= 3000 + (64 << 10) + 1500, "{waits}");
    p.b.read = usize::MAX;
    assert!(p.run_until(Duration::from_secs(200), |p| p.b.received.len() == 200_000));
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}

#[test]
fn a_window_smaller_than_a_packet_is_used_in_parts() {
    let mut p = Pair::connected(plain(), plain());
    p.filter = |_, _| false;
    let mss = p.a.c().send_mss();
    let window = mss as u32 * 2 / 3;
    let h = Header {
        window,
        ..p.as_b(Kind::State)
    };
    p.inject_a(h, &[], &[]);
    p.a.to_send = pattern(3 * mss);
    p.settle();
    let sent: Vec<_> = p.a.log.iter().filter(|l| l.2 > 0).map(|l| l.2).collect();
    assert_eq!(sent, [window as usize]);
    // Much less is not worth it.
    let ack = p.a.c().snd.una;
    p.inject_a(
        Header {
            window: 90,
            ack,
            ..h
        },
        &[],
        &[],
    );
    assert_eq!(p.a.log.iter().filter(|l| l.2 > 0).count(), 1);
    p.finish();
}

#[test]
fn no_more_is_sent_than_the_window_takes() {
    for buffer in [2048, 5000, 30_000, 200_000] {
        let small = Config {
            recv_buffer: buffer,
            ..plain()
        };
        let mut p = Pair::connected(plain(), small);
        p.b.read = 700;
        p.a.to_send = pattern(150_000);
        for _ in 0..20_000 {
            p.run(Duration::from_millis(5));
            let (waits, early) = (p.b.c().recv_available(), p.b.c().rcv.early().0);
            assert!(waits + early <= buffer as usize + 2000, "{waits} + {early}");
            if p.b.received.len() == 150_000 {
                break;
            }
        }
        assert_eq!(
            p.b.received.len(),
            150_000,
            "{buffer}: {:?}",
            p.a.c().info()
        );
        p.finish();
    }
}

#[test]
fn packets_in_flight_are_bounded() {
    let few = Config {
        max_packets: 7,
        ..plain()
    };
    let mut p = Pair::connected(few, plain());
    p.a.to_send = pattern(300_000);
    let done = p.run_until(Duration::from_secs(60), |p| {
        assert!(p.a.c().snd.sent_count() <= 7);
        p.b.received.len() == 300_000
    });
    assert!(done);
    assert_eq!(p.a.c().snd.peak(), 7);
    p.finish();
}

#[test]
fn what_is_too_far_ahead_is_not_kept() {
    let near = Config {
        reorder_packets: 50,
        ..plain()
    };
    let mut p = Pair::connected(near, plain());
    let h = p.as_b(Kind::Data);
    for i in (1..2000).rev() {
        p.inject_a(
            Header {
                seq: h.seq.plus(i),
                ..h
            },
            &[],
            b"x",
        );
    }
    assert_eq!(p.a.c().rcv.early(), (50, 50));
    assert_eq!(p.a.c().counters().out_of_window, 1999 - 50);
    p.inject_a(h, &[], b"x");
    assert_eq!(p.a.received.len(), 51);
    p.finish();
}

#[test]
fn small_packets_wait_for_company_unless_told_otherwise() {
    for nodelay in [false, true] {
        let config = Config { nodelay, ..plain() };
        let mut p = Pair::connected(config, plain());
        for _ in 0..10 {
            p.a.to_send.extend(pattern(10));
            p.settle();
        }
        let sent = p.a.log.iter().filter(|l| l.2 > 0).count();
        assert_eq!(sent, if nodelay { 10 } else { 1 });
        p.run(Duration::from_secs(1));
        assert_eq!(p.b.received, p.a.to_send);
        let sent = p.a.log.iter().filter(|l| l.2 > 0).count();
        assert_eq!(sent, if nodelay { 10 } else { 2 });
        p.finish();
    }
}

#[test]
fn a_cork_holds_for_a_while() {
    let mut p = Pair::connected(plain(), plain());
    p.a.c().set_cork(true);
    p.a.to_send = pattern(10);
    p.run(Duration::from_millis(150));
    assert!(p.b.received.is_empty());
    p.run(Duration::from_millis(100));
    assert_eq!(p.b.received.len(), 10);
    p.a.to_send.extend(pattern(10));
    p.settle();
    p.a.c().set_nodelay(true);
    p.run(Duration::from_millis(20));
    assert_eq!(p.b.received.len(), 20);
    p.finish();
}

#[test]
fn acknowledgements_wait_for_more() {
    let mut p = Pair::connected(plain(), plain());
    // The first ones do not.
    let mut h = p.as_b(Kind::Data);
    for _ in 0..40 {
        p.inject_a(h, &[], b"x");
        h.seq = h.seq.plus(1);
        p.now += Duration::from_millis(50);
        p.run(Duration::from_millis(1));
    }
    let before = p.a.log.len();
    p.inject_a(h, &[], b"x");
    assert_eq!(p.a.log.len(), before);
    p.run(Duration::from_millis(39));
    assert_eq!(p.a.log.len(), before);
    p.run(Duration::from_millis(2));
    assert_eq!((p.a.log.len(), p.a.log[before].1.ack), (before + 1, h.seq));
    // Two full packets are answered at once.
    let full = pattern(1452);
    for expected in [0, 1] {
        h.seq = h.seq.plus(1);
        p.inject_a(h, &[], &full);
        assert_eq!(p.a.log.len(), before + 1 + expected);
    }
    p.finish();
}

/// A stream that flows is not answered packet by packet.
#[test]
fn acknowledgements_of_a_stream_are_few() {
    let mut p = Pair::connected(plain(), plain());
    p.a.to_send = pattern(3_000_000);
    assert!(p.run_until(Duration::from_secs(20), |p| p.b.received.len() == 3_000_000));
    let (data, acks) = (p.a.log.len(), p.b.log.len());
    assert!(acks * 4 < data, "{acks} for {data}");
    p.finish();
}

#[test]
fn keepalives_go_out_in_the_form_of_libutp() {
    let config = Config {
        keepalive: Some(Duration::from_secs(29)),
        ..plain()
    };
    let mut p = Pair::connected(config, plain());
    p.a.to_send = pattern(100);
    p.run(Duration::from_secs(1));
    let sent = p.a.log.len();
    p.run(Duration::from_secs(100));
    let beats: Vec<_> = p.a.log[sent..].iter().map(|l| l.1).collect();
    assert_eq!(beats.len(), 3, "{beats:?}");
    let nxt = p.a.c().snd.nxt();
    let ack = p.a.c().rcv.ack().minus(1);
    assert!(
        beats
            .iter()
            .all(|h| (h.kind, h.seq, h.ack) == (Kind::State, nxt, ack))
    );
    assert_eq!(p.a.closed, None);
    p.finish();
}

#[test]
fn keepalives_have_a_pause_of_their_own() {
    let config = Config {
        keepalive: Some(Duration::from_secs(20)),
        keepalive_interval: Some(Duration::from_secs(3)),
        ..Config::default()
    };
    let mut p = Pair::connected(config, Config::default());
    p.filter = |_, _| false;
    let (begin, before) = (p.now, p.a.log.len());
    p.run(Duration::from_secs(27));
    p.a.c().set_keepalive_interval(Duration::from_secs(10));
    p.run(Duration::from_secs(20));
    let sent = p.a.log[before..].iter().filter(|l| l.1.kind == Kind::State);
    let at: Vec<_> = sent.map(|l| l.0.since(begin).as_secs()).collect();
    let keepalives = at.iter().rev().take(5).rev().copied().collect::<Vec<_>>();
    assert_eq!(keepalives, [19, 22, 25, 28, 38]);
    p.finish();
}

/// A keepalive acknowledges a packet less than has come: a report beside it
/// would call the missing one received.
#[test]
fn keepalives_report_nothing() {
    let config = Config {
        keepalive: Some(Duration::from_secs(20)),
        ..Config::default()
    };
    let mut p = Pair::connected(config, Config::default());
    let h = p.as_b(Kind::Data);
    let seq = h.seq.plus(1);
    p.inject_a(Header { seq, ..h }, &[], b"early");
    p.run(Duration::from_secs(1));
    let before = p.a.log.len();
    p.filter = |_, _| false;
    p.run(Duration::from_secs(20));
    let sent: Vec<_> = p.a.log[before..].iter().map(|l| l.1).collect();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].ack, sent[0].sack.len()), (h.seq.minus(2), 0));
    assert_eq!(p.a.c().counters().keepalives, 1);
    p.finish();
}

/// Where the peer answers them, as this one does, they may find it gone.
#[test]
fn keepalives_may_fail_a_connection() {
    let config = Config {
        keepalive: Some(Duration::from_secs(10)),
        keepalive_probes: 3,
        ..plain()
    };
    let mut p = Pair::connected(config, plain());
    p.run(Duration::from_secs(300));
    assert_eq!(p.a.closed, None);
    p.filter = |_, _| false;
    p.run(Duration::from_secs(60));
    assert!(p.a.events.contains(&Event::Closed(super::Reason::TimedOut)));
    p.finish();
}

#[test]
fn new_data_is_spread_over_the_round_trip() {
    for pacing in [false, true] {
        let config = Config { pacing, ..plain() };
        let mut p = Pair::connected(config, plain());
        p.faults.delay = Duration::from_millis(50);
        p.a.to_send = pattern(600_000);
        p.run(Duration::from_millis(450));
        // What left in the same millisecond as what is before it.
        let sent: Vec<_> = p.a.log.iter().filter(|l| l.2 > 0).map(|l| l.0).collect();
        let at_once = sent.windows(2).filter(|w| w[1].since(w[0]).is_zero());
        let share = at_once.count() * 100 / sent.len();
        assert_eq!(share < 60, pacing, "{share} % of {}", sent.len());
        assert!(p.run_until(Duration::from_secs(30), |p| p.b.received.len() == 600_000));
        assert_eq!(p.b.received, p.a.to_send);
        p.finish();
    }
}

#[test]
fn room_is_told_when_there_is_some_again() {
    let config = Config {
        send_buffer: 20_000,
        ..plain()
    };
    let mut p = Pair::connected(config, plain());
    p.a.to_send = pattern(200_000);
    p.settle();
    assert_eq!(p.a.c().send_room(), 0);
    assert!(p.a.c().wants_room());
    assert!(p.run_until(Duration::from_secs(60), |p| p.b.received.len() == 200_000));
    let told = p.a.events.iter().filter(|e| **e == Event::Writable).count();
    assert!(told > 3, "{told}");
    p.finish();
}
