//! Losses: how they are found, what goes again and when, what they cost.

use std::time::Duration;

use super::testing::{Pair, Rng, pattern};
use super::{Config, Reason};
use crate::congestion::Algorithm;
use crate::wire::utp::{Extension, Header, Kind, SELECTIVE_ACK, SeqNr};

fn plain() -> Config {
    Config {
        congestion: Algorithm::Reno,
        mtu_probing: false,
        ..Config::default()
    }
}

/// `a` has `n` packets in flight of which the wire has brought none.
fn in_flight(n: usize) -> (Pair, SeqNr) {
    let mut p = Pair::connected(plain(), plain());
    p.filter = |_, _| false;
    let mss = p.a.c().send_mss();
    p.a.to_send = pattern(n * mss);
    p.settle();
    let first = p.a.c().snd.una;
    assert_eq!(p.a.c().snd.sent_count(), n);
    (p, first)
}

/// Selective acknowledgement of `bits` behind the first packet, and of none.
fn sack(p: &mut Pair, bits: &[u8]) {
    let h = p.as_b(Kind::State);
    let e = Extension {
        id: SELECTIVE_ACK,
        bytes: bits,
    };
    p.inject_a(h, &[e], &[]);
}

/// How often packet `seq` was sent.
fn times(p: &Pair, seq: SeqNr) -> usize {
    let data = p.a.log.iter().filter(|l| l.1.kind == Kind::Data);
    data.filter(|l| l.1.seq == seq).count()
}

#[test]
fn three_packets_past_a_hole_have_it_sent_again_once() {
    for len in 1..=8 {
        let (mut p, first) = in_flight(8);
        let mut bits = vec![0; len];
        for (n, expected) in [
            (0b1, 1),
            (0b11, 1),
            (0b111, 2),
            (0b1111, 2),
            (0b111_1111, 2),
        ] {
            bits[0] = n;
            sack(&mut p, &bits);
            assert_eq!(times(&p, first), expected, "{n:#b} in {len} bytes");
        }
        assert!(
            (1..8).all(|i| times(&p, first.plus(i)) == 1),
            "the others are there"
        );
        assert_eq!(p.a.c().counters().fast_retransmits, 1);
        p.finish();
    }
}

#[test]
fn every_hole_is_found_by_what_is_behind_it() {
    let (mut p, first) = in_flight(10);
    // Of packets 0 to 9: 1, 3, 5, 6, 7 arrive; 2, 4, 8, 9 do not.
    sack(&mut p, &[0b0111_0101, 0]);
    let again: Vec<u16> = (0..10).filter(|&i| times(&p, first.plus(i)) == 2).collect();
    assert_eq!(again, [0, 2, 4], "nothing is known of 8 and 9");
    let c = p.a.c().counters();
    assert_eq!((c.recoveries, c.timeouts), (1, 0));
    p.finish();
}

/// Reports of any packets in any order, beside what follows from them: a packet
/// is lost as soon as three behind it have arrived.
#[test]
fn any_reports_find_what_three_have_overtaken() {
    for seed in 1..200 {
        let mut rng = Rng::new(seed);
        let n = 5 + rng.below(5) as usize;
        let (mut p, first) = in_flight(n);
        let mut arrived = vec![false; n];
        // Those of which it is known that the first transmission arrived.
        let mut telling = vec![false; n];
        for _ in 0..12 {
            for i in 1..n {
                if !arrived[i] && rng.chance(150) {
                    arrived[i] = true;
                    telling[i] = times(&p, first.plus(i as u16)) == 1;
                }
            }
            let mut bits = [0; 4];
            for i in 1..n {
                bits[(i - 1) / 8] |= u8::from(arrived[i]) << ((i - 1) % 8);
            }
            if bits == [0; 4] {
                continue;
            }
            sack(&mut p, &bits[..1 + rng.below(4) as usize]);
            // What is cut off is told later.
            sack(&mut p, &bits);
            for i in 0..n {
                let s = p.a.c().snd.get(i).unwrap();
                let overtaken = telling[i + 1..].iter().filter(|t| **t).count() >= 3;
                let expected = (arrived[i], overtaken && !arrived[i]);
                assert_eq!(
                    (s.sacked, s.lost),
                    expected,
                    "seed {seed}, packet {i} of {n}"
                );
            }
        }
        p.finish();
    }
}

/// What was sent again may be lost again: what is sent after it and arrives
/// shows that.
#[test]
fn a_packet_goes_again_once_a_round() {
    let (mut p, first) = in_flight(6);
    sack(&mut p, &[0b0000_0111]);
    assert_eq!(times(&p, first), 2);
    // Less than a round trip, so that time tells nothing.
    p.now += Duration::from_millis(3);
    let mss = p.a.c().send_mss();
    let more = pattern(6 * mss);
    p.a.to_send.extend(more);
    // The rest of the first round makes room, and shows nothing.
    sack(&mut p, &[0b0001_1111]);
    assert_eq!(times(&p, first), 2);
    assert!(p.a.c().snd.sent_count() > 6, "new data has gone");
    p.now += Duration::from_millis(1);
    sack(&mut p, &[0b0111_1111]);
    assert_eq!(times(&p, first), 2, "two of the new ones");
    sack(&mut p, &[0b1111_1111]);
    assert_eq!(times(&p, first), 3);
    assert_eq!(p.a.c().counters().recoveries, 1, "in one recovery");
    p.finish();
}

#[test]
fn who_acknowledges_nothing_selectively_repeats_itself() {
    let (mut p, first) = in_flight(8);
    for expected in [1, 1, 2, 2, 2, 2] {
        let h = p.as_b(Kind::State);
        p.inject_a(h, &[], &[]);
        assert_eq!(times(&p, first), expected);
    }
    // A keepalive of libutp is none.
    let (mut p, first) = in_flight(8);
    for _ in 0..9 {
        let h = p.as_b(Kind::State);
        p.inject_a(
            Header {
                ack: h.ack.minus(1),
                ..h
            },
            &[],
            &[],
        );
    }
    assert_eq!(times(&p, first), 1);
}

/// A peer repeats its answer for what it had already. Taken for losses, each
/// repair brings on the next, at the least window for ever.
#[test]
fn answers_to_what_went_again_begin_no_repair() {
    let (mut p, first) = in_flight(8);
    let mss = p.a.c().send_mss();
    // Three times that `upto` is the last that has arrived.
    let repeat = |p: &mut Pair, upto: SeqNr| {
        for _ in 0..3 {
            let h = p.as_b(Kind::State);
            p.inject_a(Header { ack: upto, ..h }, &[], &[]);
        }
    };
    repeat(&mut p, first.minus(1));
    assert_eq!(times(&p, first), 2);
    // That ends it, and two more go.
    let last = first.plus(7);
    let h = p.as_b(Kind::State);
    p.a.to_send = pattern(10 * mss);
    p.inject_a(Header { ack: last, ..h }, &[], &[]);
    p.settle();
    assert_eq!(p.a.c().snd.sent_count(), 2);
    repeat(&mut p, last);
    assert_eq!(times(&p, last.plus(1)), 1, "an echo");
    // What is behind that counts again.
    let h = p.as_b(Kind::State);
    p.inject_a(
        Header {
            ack: last.plus(1),
            ..h
        },
        &[],
        &[],
    );
    repeat(&mut p, last.plus(1));
    assert_eq!(times(&p, last.plus(2)), 2);
}

/// Each of the first packets of a stream is lost, alone: the rest repairs it
/// without a time-out.
#[test]
fn one_loss_costs_a_round_trip() {
    for nth in 0..40 {
        let mut p = Pair::connected(plain(), plain());
        let skip = p.sent(true);
        p.swallow = vec![(true, skip + 1 + nth)];
        p.a.to_send = pattern(100_000);
        let begin = p.now;
        assert!(p.run_until(Duration::from_secs(5), |p| p.b.received.len() == 100_000));
        let (took, c) = (p.now.since(begin), p.a.c().counters());
        assert_eq!(
            (c.retransmits, c.timeouts, c.recoveries),
            (1, 0, 1),
            "packet {nth}"
        );
        assert!(took < Duration::from_millis(100), "packet {nth}: {took:?}");
        assert_eq!(p.b.received, p.a.to_send);
        p.finish();
    }
}

/// The last packets of a stream are lost, and nothing follows them.
#[test]
fn losses_at_the_end_need_no_time_out() {
    for lost in 1..4u64 {
        let mut p = Pair::connected(plain(), plain());
        let mss = p.a.c().send_mss();
        p.a.to_send = pattern(8 * mss);
        let skip = p.sent(true);
        p.swallow = (0..lost).map(|n| (true, skip + 8 - n)).collect();
        let begin = p.now;
        assert!(p.run_until(Duration::from_secs(5), |p| p.b.received.len() == 8 * mss));
        let took = p.now.since(begin);
        assert!(took < Duration::from_millis(200), "{lost}: {took:?}");
        let c = p.a.c().counters();
        assert_eq!((c.timeouts, c.tail_probes), (0, 1), "{lost}");
        p.run(Duration::from_secs(1));
        p.finish();
    }
}

/// One packet in twenty is lost, so that the window is small: that costs round
/// trips, not time-outs.
#[test]
fn a_window_of_few_packets_repairs_itself() {
    let mut p = Pair::connected(plain(), plain());
    p.faults.loss = 50;
    p.a.to_send = pattern(2_000_000);
    let begin = p.now;
    assert!(p.run_until(Duration::from_secs(60), |p| p.b.received.len() == 2_000_000));
    let (took, c) = (p.now.since(begin), p.a.c().counters());
    assert!(took < Duration::from_secs(15), "{took:?} {c:?}");
    assert!(c.timeouts * 10 < c.retransmits, "{c:?}");
    assert!(p.b.received == p.a.to_send);
    p.finish();
}

/// Many losses in one round trip lower the window once, and the window is half
/// of what it was.
#[test]
fn the_window_goes_down_once_a_round_trip() {
    let mut p = Pair::connected(plain(), plain());
    p.a.to_send = pattern(2_000_000);
    p.run(Duration::from_millis(60));
    let before = p.a.c().info();
    assert!(before.unacked > 30, "{before:?}");
    let skip = p.sent(true);
    p.swallow = (1..30).step_by(4).map(|n| (true, skip + n)).collect();
    assert!(p.run_until(Duration::from_secs(1), |p| p.a.c().info().recovering));
    let during = p.a.c().info();
    assert!(p.run_until(Duration::from_secs(1), |p| !p.a.c().info().recovering));
    let after = p.a.c().info();
    assert_eq!((after.counters.recoveries, after.counters.timeouts), (1, 0));
    assert_eq!(during.ssthresh, after.ssthresh);
    assert!(
        after.cwnd <= during.ssthresh + 2 * u32::from(after.snd_mss),
        "{after:?}"
    );
    assert!(p.run_until(Duration::from_secs(9), |p| p.b.received.len() == 2_000_000));
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}

#[test]
fn time_outs_double_from_their_floor_and_end_the_connection() {
    let config = Config {
        retries: 4,
        ..plain()
    };
    let mut p = Pair::connected(config, plain());
    // Measures the round trip of 10 ms.
    p.a.to_send = pattern(20_000);
    p.run(Duration::from_secs(1));
    p.filter = |_, _| false;
    let sent = p.a.log.len();
    p.a.to_send.extend(pattern(100));
    let begin = p.now;
    p.run(Duration::from_secs(300));
    let at: Vec<_> = p.a.log[sent..]
        .iter()
        .map(|l| l.0.since(begin).as_millis())
        .collect();
    // Behind a probe of the tail, which is no time-out.
    assert!(at[0] == 0 && at[1] < 200, "{at:?}");
    let apart: Vec<_> = at[1..].windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(apart, [500, 1000, 2000, 4000], "each twice as long");
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    let c = p.a.c().counters();
    assert_eq!((c.timeouts, c.retransmits, c.tail_probes), (5, 5, 1));
    p.finish();
}

#[test]
fn an_acknowledgement_ends_the_back_off() {
    let mut p = Pair::connected(plain(), plain());
    p.a.to_send = pattern(20_000);
    p.run(Duration::from_secs(1));
    for _ in 0..3 {
        p.filter = |_, _| false;
        p.a.to_send.extend(pattern(100));
        p.run(Duration::from_secs(4));
        assert!(p.a.c().info().backoff >= 2);
        p.filter = |_, _| true;
        p.run(Duration::from_secs(10));
        let i = p.a.c().info();
        assert_eq!((i.backoff, i.retransmits, i.unacked), (0, 0, 0));
    }
    assert_eq!(p.b.received, p.a.to_send);
    p.finish();
}

/// A packet that was sent twice is not measured: nobody knows which arrived.
#[test]
fn only_what_was_sent_once_is_measured() {
    let mut p = Pair::connected(plain(), plain());
    p.a.to_send = pattern(1000);
    p.run(Duration::from_secs(1));
    let before = p.a.c().info().srtt.unwrap();
    p.filter = |_, _| false;
    p.a.to_send.extend(pattern(100));
    p.run(Duration::from_millis(700));
    assert_eq!(p.a.c().counters().retransmits, 2);
    let ack = p.a.c().snd.nxt().minus(1);
    let h = p.as_b(Kind::State);
    p.inject_a(Header { ack, ..h }, &[], &[]);
    let after = p.a.c().info();
    assert_eq!((after.unacked, after.srtt), (0, Some(before)));
    p.finish();
}

/// Whatever a receiver reported and takes back goes again in the end.
#[test]
fn a_report_that_is_taken_back_does_not_stall() {
    let (mut p, first) = in_flight(6);
    sack(&mut p, &[0b0001_1111]);
    assert_eq!(times(&p, first), 2);
    // Up to the first that was reported, which it has dropped.
    let h = p.as_b(Kind::State);
    p.inject_a(Header { ack: first, ..h }, &[], &[]);
    assert_eq!(p.a.c().snd.una, first.plus(1));
    p.run(Duration::from_secs(2));
    assert!(times(&p, first.plus(1)) >= 2, "after a time-out");
    p.finish();
}

#[test]
fn the_user_may_set_how_long_is_too_long() {
    let config = Config {
        user_timeout: Some(Duration::from_secs(4)),
        ..plain()
    };
    let mut p = Pair::connected(config, plain());
    p.filter = |_, _| false;
    p.a.to_send = pattern(100);
    p.run(Duration::from_secs(4));
    assert_eq!(p.a.closed, None);
    p.run(Duration::from_secs(4));
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    p.finish();
}

/// libutp keeps 1024 packets out of order.
#[test]
fn no_more_are_sent_behind_a_hole_than_others_keep() {
    let mut p = Pair::connected(plain(), plain());
    assert_eq!(p.a.c().packets_allowed(), 4096);
    p.a.to_send = pattern(20_000);
    p.filter = |_, h| h.kind != Kind::Data || h.seq.0 != FIRST;
    assert!(p.run_until(Duration::from_secs(1), |p| p.a.c().snd.sacked_count() > 0));
    assert_eq!(p.a.c().packets_allowed(), 1024);
    p.filter = |_, _| true;
    p.run(Duration::from_secs(10));
    assert_eq!(p.b.received.len(), 20_000);
    assert_eq!(p.a.c().packets_allowed(), 4096);
    p.finish();
}

/// Number of the first packet of the client.
const FIRST: u16 = u16::MAX - 20;
