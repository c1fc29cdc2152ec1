//! Packets in every order, twice, and around the end of the numbers.

use std::time::Duration;

use super::testing::{Pair, Rng, pattern};
use super::{Config, State};
use crate::congestion::Algorithm;
use crate::wire::utp::{Extension, Header, Kind, SELECTIVE_ACK, sack_bit};

fn connected() -> Pair {
    Pair::connected(Config::default(), Config::default())
}

/// All orders of five packets, one of which comes twice: what is delivered,
/// acknowledged and reported follows from what is there.
#[test]
fn five_packets_in_every_order() {
    let orders = permutations(5);
    assert_eq!(orders.len(), 120);
    for order in orders {
        for twice in 0..5 {
            let mut p = connected();
            let h = p.as_b(Kind::Data);
            let mut there = [false; 5];
            for &i in order.iter().chain([&twice]) {
                let first = p.a.log.len();
                p.inject_a(
                    Header {
                        seq: h.seq.plus(i),
                        ..h
                    },
                    &[],
                    &[b'0' + i as u8],
                );
                there[usize::from(i)] = true;
                let next = there.iter().position(|t| !t).unwrap_or(5);
                assert_eq!(p.a.received.len(), next, "{order:?}");
                let answer = p.a.log[first..]
                    .last()
                    .unwrap_or_else(|| panic!("{order:?}"));
                assert_eq!(answer.1.ack, h.seq.plus(next as u16).minus(1), "{order:?}");
                // What waits is reported, from the second that is missing on.
                let early: Vec<_> = (next + 1..5).filter(|&i| there[i]).collect();
                assert_eq!(answer.1.sack.len(), if early.is_empty() { 0 } else { 4 });
            }
            assert_eq!(p.a.received, b"01234", "{order:?} and {twice}");
            assert_eq!(p.a.c().counters().duplicates, 1);
            p.finish();
        }
    }
}

fn permutations(n: u16) -> Vec<Vec<u16>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

/// The bits that leave are those of what is there, whatever came in what
/// order, and their length is a multiple of four that reaches the last.
#[test]
fn what_is_reported_is_what_is_there() {
    for seed in 1..60 {
        let mut rng = Rng::new(seed);
        let mut p = connected();
        let h = p.as_b(Kind::Data);
        let mut there = vec![false; 700];
        for _ in 0..120 {
            let i = 1 + rng.below(699) as u16;
            p.inject_a(
                Header {
                    seq: h.seq.plus(i),
                    ..h
                },
                &[],
                b"x",
            );
            there[usize::from(i)] = true;
        }
        let mut bits = [0; super::early::MAX_SACK];
        let len = p.a.c().rcv.sack(&mut bits);
        let last = there.iter().rposition(|t| *t).unwrap();
        assert_eq!(len, (last - 1) / 32 * 4 + 4, "seed {seed}");
        for (i, there) in there.iter().enumerate().skip(1) {
            assert_eq!(sack_bit(&bits[..len], i - 1), *there, "seed {seed}, {i}");
        }
        p.finish();
    }
}

/// A stream whose numbers wrap twice.
#[test]
fn numbers_wrap() {
    let config = Config {
        congestion: Algorithm::Reno,
        mtu_probing: false,
        max_payload: Some(200),
        ..Config::default()
    };
    let mut p = Pair::connected(config.clone(), config);
    p.faults.loss = 2;
    p.faults.duplicate = 50;
    p.faults.delay = Duration::from_micros(300);
    let n = 200 * 140_000;
    p.a.to_send = pattern(n);
    p.a.close_when_sent = true;
    assert!(p.run_until(Duration::from_secs(600), |p| p.b.received.len() == n));
    assert!(p.b.received == p.a.to_send);
    let sent = p.a.c().counters().data_packets_sent;
    assert!(sent > 2 * 65_536, "{sent}");
    p.finish();
}

/// Reports ride on data that has room for them; full packets leave them none.
#[test]
fn reports_ride_on_data() {
    let mut p = connected();
    let h = p.as_b(Kind::Data);
    p.inject_a(
        Header {
            seq: h.seq.plus(1),
            ..h
        },
        &[],
        b"early",
    );
    let before = p.a.log.len();
    p.a.to_send = b"short".to_vec();
    p.settle();
    let sent = &p.a.log[before..];
    assert_eq!((sent.len(), sent[0].1.kind, sent[0].2), (1, Kind::Data, 5));
    assert_eq!(sent[0].1.sack.len(), 4);
    // It has to go again, with another report, and then with none.
    p.inject_a(
        Header {
            seq: h.seq.plus(40),
            ..h
        },
        &[],
        b"far",
    );
    p.filter = |_, _| false;
    p.run(Duration::from_secs(2));
    let again = p.a.log.iter().rfind(|l| l.2 > 0).unwrap().1;
    assert_eq!((again.seq, again.sack.len()), (sent_seq(&p, before), 8));
    for i in 0..41 {
        p.inject_a(
            Header {
                seq: h.seq.plus(i),
                ..h
            },
            &[],
            b"x",
        );
    }
    p.filter = |from_a, _| from_a;
    p.run(Duration::from_secs(5));
    let again = p.a.log.iter().rfind(|l| l.2 > 0).unwrap().1;
    assert_eq!((again.seq, again.sack.len()), (sent_seq(&p, before), 0));
    assert_eq!(p.b.received, b"short");
    p.finish();
}

fn sent_seq(p: &Pair, i: usize) -> crate::wire::utp::SeqNr {
    p.a.log[i].1.seq
}

/// Data carries reports as well.
#[test]
fn data_that_carries_a_report_is_believed() {
    let config = Config {
        mtu_probing: false,
        ..Config::default()
    };
    let mut p = Pair::connected(config.clone(), config);
    p.filter = |_, _| false;
    let mss = p.a.c().send_mss();
    p.a.to_send = pattern(5 * mss);
    p.settle();
    let first = p.a.c().snd.una;
    let h = p.as_b(Kind::Data);
    let report = Extension {
        id: SELECTIVE_ACK,
        bytes: &[0b1111],
    };
    p.inject_a(h, &[report], b"payload");
    assert_eq!(p.a.received, b"payload");
    let again =
        p.a.log
            .iter()
            .filter(|l| l.1.seq == first && l.2 > 0)
            .count();
    assert_eq!(again, 2);
    p.finish();
}

/// Trains come out as packets do one by one.
#[test]
fn trains_are_what_single_packets_are() {
    let sent = |no_trains: bool| {
        let config = Config {
            mtu_probing: false,
            ..Config::default()
        };
        let mut p = Pair::connected(config.clone(), config);
        p.a.no_trains = no_trains;
        p.a.to_send = pattern(600_000);
        p.a.close_when_sent = true;
        p.run(Duration::from_secs(5));
        assert!(p.b.received == p.a.to_send);
        let c = p.a.c().counters();
        let headers: Vec<Header> = p.a.log.iter().map(|l| l.1).collect();
        p.finish();
        (headers, c)
    };
    assert_eq!(sent(true), sent(false));
}

/// The short way of a packet that is expected is the long one.
#[test]
fn the_short_way_is_the_long_one() {
    let run = |short: bool| {
        let mut p = connected();
        let mut h = p.as_b(Kind::Data);
        for i in 0..200u16 {
            // An extension that says nothing takes the long way.
            let nothing = [Extension { id: 99, bytes: &[] }];
            let extensions = if short { &[][..] } else { &nothing[..] };
            h.timestamp = h.timestamp.wrapping_add(u32::from(i));
            p.inject_a(h, extensions, &pattern(1 + usize::from(i) * 7));
            h.seq = h.seq.plus(1);
            p.now += Duration::from_micros(u64::from(i) * 300);
        }
        assert_eq!(p.a.c().state(), State::Connected);
        let answers: Vec<_> = p.a.log.iter().map(|l| (l.0, l.1)).collect();
        let i = p.a.c().info();
        let received = std::mem::take(&mut p.a.received);
        p.finish();
        (answers, i, received)
    };
    assert_eq!(run(true), run(false));
}
