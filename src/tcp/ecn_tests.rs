use std::time::Duration;

use super::testing::{Pair, pattern};
use super::*;
use crate::wire::tcp::{Flags, Header};

const SEC: Duration = Duration::from_secs(1);
const SETUP: Flags = Flags(0xc0);

fn with(ecn: Ecn) -> Config {
    Config {
        ecn,
        ..Config::default()
    }
}

fn marked_pair() -> Pair {
    let p = Pair::connected(with(Ecn::Request), with(Ecn::Accept));
    assert_eq!(p.a.ecn, [0, 0], "neither the SYN nor the pure ack");
    let i = p.a.conn.as_ref().unwrap().info();
    assert_eq!((i.ssthresh, i.ca_state), (u32::MAX, CaState::Open));
    p
}

/// Flags of interest of the segments that `end` has sent, the handshake left
/// out.
fn flags(end: &testing::End, which: Flags) -> Vec<bool> {
    end.log[2..]
        .iter()
        .map(|l| l.1.flags.contains(which))
        .collect()
}

/// Found by the simulation, seed 11748: the end that had not asked marked its
/// data, and the other did not echo.
#[test]
fn those_that_open_to_each_other_do_without() {
    for (a, b) in [(Ecn::Request, Ecn::Accept), (Ecn::Request, Ecn::Request)] {
        let mut p = Pair::new(with(a), with(b));
        let s = p.a.setup(p.now, 4000, 80);
        p.a.conn = Some(Connection::connect(&s));
        let s = p.b.setup(p.now, 80, 4000);
        p.b.conn = Some(Connection::connect(&s));
        p.a.to_send = pattern(5000);
        p.b.to_send = pattern(5000);
        p.run(SEC);
        assert_eq!((p.a.received.len(), p.b.received.len()), (5000, 5000));
        assert!(p.a.ecn.iter().chain(&p.b.ecn).all(|marks| *marks == 0));
    }
}

#[test]
fn it_is_agreed_on_if_one_asks_and_the_other_accepts() {
    for (a, b, on) in [
        (Ecn::Request, Ecn::Accept, true),
        (Ecn::Request, Ecn::Request, true),
        (Ecn::Request, Ecn::Off, false),
        (Ecn::Accept, Ecn::Request, false),
        (Ecn::Off, Ecn::Accept, false),
    ] {
        let mut p = Pair::connected(with(a), with(b));
        let asks = p.a.log[0].1.flags.0 & SETUP.0;
        assert_eq!(asks, if a == Ecn::Request { SETUP.0 } else { 0 });
        let answer = p.b.log[0].1.flags.0 & SETUP.0;
        assert_eq!(answer, if on { Flags::ECE.0 } else { 0 });
        assert_eq!((p.a.c().info().ecn, p.b.c().info().ecn), (on, on));
        p.a.to_send = pattern(30_000);
        p.b.to_send = pattern(30_000);
        p.run(SEC);
        for end in [&p.a, &p.b] {
            for (l, ecn) in end.log.iter().zip(&end.ecn) {
                assert_eq!(*ecn, if on && l.2 > 0 { 2 } else { 0 }, "{a:?} {b:?}");
            }
        }
        p.finish();
    }
}

#[test]
fn both_flags_on_a_syn_ack_are_a_reflection() {
    let mut p = Pair::new(with(Ecn::Request), with(Ecn::Off));
    p.connect();
    p.settle();
    let syn = p.a.log[0].1;
    p.swallow = vec![(false, 1)];
    p.run(Duration::from_millis(20));
    let answer = p.b.log[0].1;
    p.inject_a(
        Header {
            flags: Flags(answer.flags.0 | SETUP.0),
            ..answer
        },
        b"",
    );
    assert!(syn.flags.contains(SETUP) && !p.a.c().info().ecn);
    assert_eq!(p.a.c().state(), State::Established);
    p.finish();
}

#[test]
fn a_syn_that_is_sent_again_asks_no_more() {
    // The first SYN is lost: the peer never hears that we asked.
    let mut p = Pair::new(with(Ecn::Request), with(Ecn::Accept));
    p.swallow = vec![(true, 1)];
    p.connect();
    p.a.to_send = pattern(10_000);
    p.run(5 * SEC);
    assert!(p.a.log[0].1.flags.contains(SETUP));
    assert_eq!(p.a.log[1].1.flags, Flags::SYN);
    assert!(!p.a.c().info().ecn && !p.b.c().info().ecn);
    assert!(p.a.ecn.iter().all(|e| *e == 0));
    p.finish();

    // The answer is lost: the peer heard both.
    let mut p = Pair::new(with(Ecn::Request), with(Ecn::Accept));
    p.swallow = vec![(false, 1), (false, 2)];
    p.connect();
    p.a.to_send = pattern(10_000);
    p.b.to_send = pattern(10_000);
    p.run(9 * SEC);
    assert_eq!(p.a.received.len(), 10_000);
    assert!(p.a.ecn.iter().chain(&p.b.ecn).all(|e| *e == 0));
    p.finish();
}

#[test]
fn a_refused_syn_is_tried_without_asking() {
    let mut p = Pair::new(with(Ecn::Request), with(Ecn::Accept));
    p.connect();
    p.settle();
    let refuse = |p: &mut Pair| {
        let syn = p.a.log.last().unwrap().1;
        p.inject_a(super::reset::reset_for(&syn, 0).unwrap(), b"");
    };
    refuse(&mut p);
    assert_eq!((p.a.closed, p.a.log.len()), (None, 2));
    assert_eq!(p.a.log[1].1.flags, Flags::SYN);
    refuse(&mut p);
    assert_eq!(p.a.closed, Some(Reason::Refused));
    p.finish();
}

#[test]
fn a_mark_is_echoed_until_the_reduction_is_told() {
    let mut p = marked_pair();
    p.a.to_send = pattern(2_000_000);
    // Several marks in one window.
    p.mark = vec![(true, 40), (true, 42), (true, 45)];
    p.run(Duration::from_millis(400));
    let k = p.a.c().counters();
    assert_eq!((k.mark_reductions, k.retransmits), (1, 0), "{k:?}");
    assert!(p.a.c().info().ssthresh < u32::MAX);
    assert_eq!(p.b.c().counters().marks_received, 3);
    assert!(k.delivered_ce > 0 && k.delivered_ce < 80, "{k:?}");
    let cwr = flags(&p.a, Flags::CWR);
    assert_eq!(cwr.iter().filter(|f| **f).count(), 1);
    // The echo goes on without a gap, and ends.
    let ece = flags(&p.b, Flags::ECE);
    let first = ece.iter().position(|f| *f).unwrap();
    let n = ece.iter().filter(|f| **f).count();
    assert!(n > 0 && ece[first..first + n].iter().all(|f| *f), "{ece:?}");
    assert!(first + n < ece.len());
    let i = p.a.c().info();
    assert!(
        i.ssthresh < u32::MAX && i.ca_state == CaState::Open,
        "{i:?}"
    );
    p.finish();
}

#[test]
fn the_window_falls_to_the_threshold_of_rfc_8511() {
    let mut p = marked_pair();
    p.a.to_send = pattern(4_000_000);
    p.run(Duration::from_millis(50));
    let before = p.a.c().info().cwnd;
    let next = p.a.log.len() as u64;
    p.mark = (1..200).map(|i| (true, next + i)).collect();
    assert!(p.run_until(SEC, |p| p.a.c().info().ca_state == CaState::Cwr));
    let i = p.a.c().info();
    // CUBIC: 0.85 of what it was, and that had grown a little.
    assert!(
        i.ssthresh >= before / 20 * 17 && i.ssthresh < before * 2,
        "{before} {i:?}"
    );
    assert!(p.run_until(20 * SEC, |p| p.b.received.len() == 4_000_000));
    assert_eq!(p.a.c().counters().retransmits, 0);
    p.finish();
}

#[test]
fn a_lost_announcement_reduces_again() {
    let mut p = marked_pair();
    p.a.to_send = pattern(2_000_000);
    p.mark = vec![(true, 40)];
    let told = |p: &mut Pair| p.a.log.iter().any(|l| l.1.flags.contains(Flags::CWR));
    assert!(p.run_until(SEC, |p| p.a.c().info().ca_state == CaState::Cwr));
    // Everything that leaves now is lost, the announcement with it.
    let n = p.a.log.len() as u64;
    p.swallow = (1..3).map(|i| (true, n + i)).collect();
    assert!(p.run_until(SEC, told));
    assert!(p.run_until(20 * SEC, |p| p.b.received.len() == 2_000_000));
    let again: Vec<_> =
        p.a.log
            .iter()
            .filter(|l| l.1.flags.contains(Flags::CWR))
            .collect();
    assert!(again.len() >= 2, "{}", again.len());
    p.finish();
}

#[test]
fn a_loss_while_the_window_goes_down_lowers_it_no_further() {
    let start = || {
        let mut p = marked_pair();
        p.a.to_send = pattern(2_000_000);
        p.run(Duration::from_millis(40));
        p
    };
    let mut p = start();
    let n = p.a.log.len() as u64;
    assert!(p.run_until(SEC, |p| p.a.log.len() as u64 > n));
    let last = p.a.log.len() as u64;
    p.finish();
    // The first of what leaves together is marked and the last one lost: the
    // mark is heard of first.
    let mut p = start();
    p.mark = vec![(true, n + 1)];
    p.swallow = vec![(true, last)];
    assert!(p.run_until(SEC, |p| p.a.c().info().ca_state == CaState::Cwr));
    let lowered = p.a.c().info().ssthresh;
    assert!(p.run_until(SEC, |p| p.a.c().info().ca_state == CaState::Recovery));
    assert_eq!(p.a.c().info().ssthresh, lowered);
    assert!(p.run_until(SEC, |p| p.a.c().info().ca_state == CaState::Open));
    assert_eq!(p.a.c().info().ssthresh, lowered);
    let k = p.a.c().counters();
    assert_eq!((k.mark_reductions, k.recoveries, k.retransmits), (1, 1, 1));
    p.finish();
}

#[test]
fn a_mark_while_a_loss_is_repaired_lowers_the_window_no_further() {
    let mut p = marked_pair();
    p.a.to_send = pattern(2_000_000);
    p.run(Duration::from_millis(40));
    let n = p.a.log.len() as u64;
    p.swallow = vec![(true, n + 1)];
    p.mark = vec![(true, n + 20), (true, n + 21)];
    assert!(p.run_until(SEC, |p| p.a.c().info().ca_state == CaState::Recovery));
    let lowered = p.a.c().info().ssthresh;
    assert!(p.run_until(20 * SEC, |p| p.b.received.len() == 2_000_000));
    assert_eq!(p.a.c().info().ssthresh, lowered);
    let k = p.a.c().counters();
    assert_eq!((k.mark_reductions, k.recoveries), (0, 1), "{k:?}");
    // What was sent again was neither marked nor told of anything.
    let first = p.a.log[n as usize].1.seq;
    let again =
        p.a.log
            .iter()
            .zip(&p.a.ecn)
            .rfind(|(l, _)| l.1.seq == first && l.2 > 0);
    let (l, ecn) = again.unwrap();
    assert!(*ecn == 0 && !l.1.flags.contains(Flags::CWR));
    p.finish();
}

#[test]
fn echoes_on_a_connection_without_ecn_mean_nothing() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(100_000);
    p.settle();
    let b = p.b.c();
    let (seq, ack) = (b.snd.nxt, b.rcv.nxt);
    let val = p.a.c().ts.map_or(0, |t| t.recent);
    for _ in 0..5 {
        p.inject_a(
            Header {
                src_port: 80,
                dst_port: 4000,
                seq,
                ack,
                flags: Flags::ACK | Flags::ECE,
                window: 1000,
                options: crate::wire::tcp::Options {
                    timestamps: Some(crate::wire::tcp::Timestamps { val, ecr: 0 }),
                    ..Default::default()
                },
                ..Header::default()
            },
            b"",
        );
    }
    let i = p.a.c().info();
    assert_eq!((i.ssthresh, i.counters.mark_reductions), (u32::MAX, 0));
    p.finish();
}
