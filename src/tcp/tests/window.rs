//! Windows, small segments, and when to acknowledge.

use std::time::Duration;

use super::{SEC, config};
use crate::tcp::testing::{Faults, Pair, Rng, pattern};
use crate::tcp::*;
use crate::wire::tcp::{Flags, Header, SeqNumber, Timestamps};

#[test]
fn a_zero_window_is_probed_and_reopened() {
    let mut p = Pair::connected(
        config(),
        Config {
            recv_buffer: 8000,
            ..config()
        },
    );
    p.b.read = 0;
    p.a.to_send = pattern(50_000);
    p.run(20 * SEC);
    assert!(p.b.received.is_empty());
    assert_eq!(p.a.c().info().snd_wnd, 0);
    let probes =
        p.a.log
            .iter()
            .filter(|l| l.2 == 0 && l.0 > p.a.log[10].0)
            .count();
    assert!((3..12).contains(&probes), "{probes} probes with back-off");
    p.b.read = usize::MAX;
    assert!(p.run_until(10 * SEC, |p| p.b.received.len() == 50_000));
    p.finish();
}

#[test]
fn a_reader_of_single_bytes_is_served_without_silly_segments() {
    let mut p = Pair::connected(
        config(),
        Config {
            recv_buffer: 4000,
            ..config()
        },
    );
    p.b.read = 100;
    p.a.to_send = pattern(40_000);
    p.a.close_when_sent = true;
    for _ in 0..1000 {
        p.run(Duration::from_millis(10));
    }
    assert_eq!(p.b.received.len(), 40_000);
    let data = p.a.log.iter().filter(|l| l.2 > 0).count();
    assert!(data < 60, "{data} segments for 40000 bytes");
    p.finish();
}

#[test]
fn nagle_holds_small_segments_and_nodelay_does_not() {
    for (nodelay, at_most) in [(false, 3), (true, 40)] {
        let mut p = Pair::connected(
            Config {
                nodelay,
                ..config()
            },
            config(),
        );
        p.faults.delay = Duration::from_millis(50);
        for i in 0..10 {
            p.a.to_send.extend_from_slice(&[i; 10]);
            p.run(Duration::from_millis(2));
        }
        p.run(SEC);
        let data = p.a.log.iter().filter(|l| l.2 > 0).count();
        assert_eq!(p.b.received.len(), 100);
        assert!(
            data <= at_most && (nodelay == (data >= 10)),
            "{nodelay}: {data}"
        );
        p.finish();
    }
}

#[test]
fn one_acknowledgement_answers_a_batch() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(1_000_000);
    p.run(10 * SEC);
    let data = p.a.log.iter().filter(|l| l.2 > 0).count();
    let acks = p.b.log.iter().filter(|l| l.2 == 0).count();
    assert!(
        acks * 4 < data,
        "{acks} acknowledgements for {data} segments"
    );
    p.finish();
}

#[test]
fn a_single_segment_is_acknowledged_late_but_in_time() {
    let mut p = Pair::connected(config(), config());
    // Past the acknowledgements that are sent at once.
    for _ in 0..30 {
        p.a.to_send.push(1);
        p.run(SEC);
    }
    let n = p.b.log.len();
    p.a.to_send.push(1);
    p.settle();
    let t = p.now;
    p.run(SEC);
    assert_eq!(p.b.log.len(), n + 1);
    assert_eq!(p.b.log[n].0.since(t), Duration::from_millis(45));
    p.finish();
}

#[test]
fn the_window_never_shrinks() {
    for seed in 0..10 {
        let mut p = Pair::connected(
            config(),
            Config {
                recv_buffer: 100_000,
                ..config()
            },
        );
        p.rng = Rng::new(seed);
        p.faults = Faults {
            loss: 20,
            reorder: 100,
            ..Faults::NONE
        };
        p.a.to_send = pattern(500_000);
        p.b.read = 700;
        p.run(100 * SEC);
        let mut edge: Option<SeqNumber> = None;
        for (_, h, _) in p.b.log.iter().skip(1) {
            let right = h.ack + (u32::from(h.window) << p.b.conn.as_ref().unwrap().rcv.scale);
            if let Some(e) = edge {
                assert!(right.ge(e), "seed {seed}: {right} after {e}");
            }
            edge = Some(right);
        }
        p.finish();
    }
}

/// Found by the simulation, seed 1805: a segment sent again, so with an old
/// sequence number, that acknowledges more than any before. RFC 9293 section
/// 3.10.7.4 would not take its window, and SND.UNA with the window of before
/// leads beyond what the peer allows (section 3.8.6).
#[test]
fn a_window_comes_with_the_acknowledgement_that_it_is_of() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(20_000);
    p.settle();
    let (a, b) = (p.a.c().snd.nxt, p.b.c().snd.nxt);
    let edge = |c: &Connection| c.snd.una + c.snd.wnd;
    let mut h = Header {
        src_port: 80,
        dst_port: 4000,
        seq: b + 100,
        ack: a - 10_000,
        flags: Flags::ACK,
        window: 80,
        ..p.b.log.last().unwrap().1
    };
    h.options.timestamps = p.a.c().ts.map(|t| Timestamps {
        val: t.recent + 1,
        ecr: 0,
    });
    h.options.sack = Default::default();
    p.inject_a(h, &pattern(100));
    let before = edge(p.a.c());
    assert_eq!(before, a - 10_000 + (80 << 7));
    // The peer has read nothing: its edge stands.
    h.seq = b;
    h.ack = a - 10_000 + (20 << 7);
    h.window = 60;
    p.inject_a(h, &pattern(100));
    assert_eq!(edge(p.a.c()), before);
}

/// A long fat path: the window has to become thirty times what it is at the
/// start, and that in the time in which slow start gets there.
#[test]
fn the_window_grows_with_a_long_fat_path() {
    let mut p = Pair::new(
        Config {
            send_buffer: 8 << 20,
            ..Config::default()
        },
        Config {
            recv_buffer: 4 << 20,
            ..Config::default()
        },
    );
    p.faults.delay = Duration::from_millis(50);
    p.connect();
    p.a.to_send = pattern(12 << 20);
    let all = p.a.to_send.len();
    assert!(p.run_until(Duration::from_millis(1800), |p| p.b.received.len() == all));
    let most = p.b.log.iter().map(|(_, h, _)| u32::from(h.window)).max();
    let scale = p.b.c().info().window_shifts.1;
    assert!(most.unwrap() << scale > 3 << 20, "{most:?}");
    p.finish();
}
