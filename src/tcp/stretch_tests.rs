use std::time::Duration;

use super::super::rfc9293_tests::next_from_b;
use super::super::testing::{Pair, pattern};
use super::super::{Config, Connection};
use super::*;

const MSS: u32 = 1448;

/// A pair whose `a` has received so many full segments in order, and answered
/// them all.
fn streaming(config: Config, segments: u32) -> Pair {
    let mut p = Pair::connected(config, Config::default());
    for _ in 0..segments {
        bring(&mut p, 1);
        acks(&mut p);
    }
    p.a.c().ack.now = true;
    acks(&mut p);
    assert_eq!((p.a.c().ack.unacked, p.a.c().ack.quick), (0, 0));
    p
}

/// The next `n` full segments arrive at `a`, together.
fn bring(p: &mut Pair, n: u32) {
    for _ in 0..n {
        let h = next_from_b(p);
        let mut bytes = vec![0; h.emit_len()];
        h.emit(&mut bytes);
        bytes.extend_from_slice(&pattern(MSS as usize));
        p.a.deliver(p.now, &bytes);
    }
    let unread = p.a.c().recv_available();
    let end = &mut p.a;
    let c = end.conn.as_mut().expect("a connection");
    let mut left = unread;
    while left > 0 {
        let n = c.recv_chunk(&end.pool).map_or(0, <[u8]>::len);
        c.recv_consume(&mut end.pool, n);
        left -= n;
    }
}

/// How many segments `a` sends now, without an engine's looking after those
/// that it holds.
fn acks(p: &mut Pair) -> usize {
    let end = &mut p.a;
    let c = end.conn.as_mut().expect("a connection");
    let mut sent = 0;
    while let Some(desc) = c.poll_transmit(p.now, &mut end.pool, &end.template) {
        end.pool.complete(desc);
        sent += 1;
    }
    sent
}

#[test]
fn the_beginning_of_a_stream_is_acknowledged_batch_by_batch() {
    let mut p = streaming(Config::default(), 40);
    for _ in 0..10 {
        bring(&mut p, 4);
        assert_eq!(acks(&mut p), 1);
    }
    p.finish();
}

#[test]
fn one_acknowledgement_answers_many_batches_of_a_stream_that_flows() {
    let mut p = streaming(Config::default(), 100);
    for _ in 0..5 {
        // 32 in steps of four.
        for step in 1..8 {
            bring(&mut p, 4);
            assert_eq!(acks(&mut p), 0);
            assert_eq!(p.a.c().waiting_ack(), Some(step * 4 * MSS));
        }
        bring(&mut p, 4);
        assert_eq!(acks(&mut p), 1);
        assert_eq!(p.a.c().waiting_ack(), None);
    }
    p.finish();
}

#[test]
fn it_goes_when_nothing_more_has_come() {
    let mut p = streaming(Config::default(), 100);
    bring(&mut p, 4);
    assert_eq!(acks(&mut p), 0);
    // More has come since that was looked at.
    assert!(!p.a.c().hurry_ack(3 * MSS));
    assert_eq!(acks(&mut p), 0);
    assert!(p.a.c().hurry_ack(4 * MSS));
    assert_eq!(acks(&mut p), 1);
    assert!(!p.a.c().hurry_ack(4 * MSS));
    assert_eq!(acks(&mut p), 0);
    p.finish();
}

#[test]
fn it_goes_with_the_timer_when_nobody_hurries_it() {
    let mut p = streaming(Config::default(), 100);
    bring(&mut p, 4);
    assert_eq!(acks(&mut p), 0);
    let at = p.a.c().poll_timeout().expect("a deadline");
    assert!(at.since(p.now) <= Duration::from_millis(40));
    p.now = at;
    p.a.conn
        .as_mut()
        .expect("a connection")
        .handle_timeout(at, &mut p.a.pool);
    assert_eq!(acks(&mut p), 1);
    p.finish();
}

#[test]
fn a_gap_or_a_pause_ends_it() {
    let ends: [fn(&mut Pair); 2] = [
        |p| {
            let mut h = next_from_b(p);
            h.seq += MSS;
            p.inject_a(h, &pattern(MSS as usize));
            h.seq = h.seq - MSS;
            p.inject_a(h, &pattern(MSS as usize));
        },
        |p| p.now += PAUSE,
    ];
    for end in ends {
        let mut p = streaming(Config::default(), 100);
        bring(&mut p, 4);
        assert_eq!(acks(&mut p), 0);
        end(&mut p);
        acks(&mut p);
        for _ in 0..10 {
            bring(&mut p, 4);
            assert_eq!(acks(&mut p), 1);
        }
        p.finish();
    }
}

#[test]
fn it_takes_no_more_than_a_quarter_of_the_window() {
    let config = Config {
        recv_buffer: 60_000,
        ..Config::default()
    };
    let mut p = streaming(config, 100);
    let mut held = 0;
    for _ in 0..20 {
        bring(&mut p, 2);
        if acks(&mut p) == 0 {
            held = held.max(p.a.c().ack.unacked);
        }
    }
    assert!((5_000..=15_000).contains(&held), "{held}");
    p.finish();
}

#[test]
fn two_segments_and_no_delay_do_without() {
    for config in [
        Config {
            ack_segments: 2,
            ..Config::default()
        },
        Config {
            delayed_ack: Duration::ZERO,
            ..Config::default()
        },
    ] {
        let mut p = streaming(config, 100);
        for _ in 0..10 {
            bring(&mut p, 2);
            assert_eq!(acks(&mut p), 1);
        }
        p.finish();
    }
}

#[test]
fn reading_that_opens_the_window_sends_it() {
    let mut p = streaming(Config::default(), 100);
    bring(&mut p, 4);
    assert!(p.a.c().waiting_ack().is_some());
    p.a.c().ack.now = true;
    assert_eq!(p.a.c().waiting_ack(), None);
    assert_eq!(acks(&mut p), 1);
    p.finish();
}

#[test]
fn data_takes_it_along() {
    let mut p = streaming(Config::default(), 100);
    bring(&mut p, 4);
    assert_eq!(acks(&mut p), 0);
    let end = &mut p.a;
    let c: &mut Connection = end.conn.as_mut().expect("a connection");
    assert_eq!(c.send(&mut end.pool, b"answer"), 6);
    assert_eq!(acks(&mut p), 1);
    assert_eq!(p.a.c().ack.unacked, 0);
    p.finish();
}
