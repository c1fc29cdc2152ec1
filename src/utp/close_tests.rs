//! How connections end.

use std::time::Duration;

use super::testing::{Pair, pattern};
use super::{Config, Event, Reason, State};
use crate::wire::utp::{Header, Kind};

const FINISHED: Option<Reason> = Some(Reason::Finished);

fn connected() -> Pair {
    Pair::connected(Config::default(), Config::default())
}

fn both_closed(p: &mut Pair) -> bool {
    p.a.closed.is_some() && p.b.closed.is_some()
}

/// The other direction goes on for as long as it takes.
#[test]
fn half_a_connection_may_be_closed() {
    let mut p = connected();
    p.a.to_send = b"request".to_vec();
    p.a.close_when_sent = true;
    p.run(Duration::from_secs(5));
    assert!(p.b.events.contains(&Event::PeerClosed));
    assert!(p.a.c().fin_acked && !p.a.c().state().can_send());
    p.b.to_send = pattern(200_000);
    p.run(Duration::from_secs(30));
    assert_eq!(p.a.received.len(), 200_000);
    assert_eq!((p.a.closed, p.b.closed), (None, None));
    p.b.close_when_sent = true;
    assert!(p.run_until(Duration::from_secs(5), both_closed));
    assert_eq!((p.a.closed, p.b.closed), (FINISHED, FINISHED));
    assert_eq!(p.a.received, p.b.to_send);
    p.finish();
}

/// Each of the first packets of the end is lost, at either end, alone and with
/// its neighbours.
#[test]
fn the_end_survives_losses() {
    for both in [true, false] {
        for pattern in 0u64..256 {
            let mut p = connected();
            let (a, b) = (p.sent(true), p.sent(false));
            for n in 0..4 {
                if pattern >> n & 1 != 0 {
                    p.swallow.push((true, a + 1 + n));
                }
                if pattern >> (4 + n) & 1 != 0 {
                    p.swallow.push((false, b + 1 + n));
                }
            }
            p.a.close_when_sent = true;
            if both {
                p.b.close_when_sent = true;
            }
            // The longest is a FIN that is sent until it is given up.
            let done = p.run_until(Duration::from_secs(200), |p| {
                p.b.close_when_sent |= p.b.events.contains(&Event::PeerClosed);
                both_closed(p)
            });
            assert!(done, "pattern {pattern:#x}");
            assert_eq!(
                (p.a.closed, p.b.closed),
                (FINISHED, FINISHED),
                "{pattern:#x}"
            );
            p.run(Duration::from_secs(60));
            assert!(p.a.c().is_done() && p.b.c().is_done(), "{pattern:#x}");
            p.finish();
        }
    }
}

#[test]
fn a_fin_takes_a_number_behind_what_is_queued() {
    let mut p = connected();
    p.a.to_send = pattern(10_000);
    p.a.close_when_sent = true;
    p.run(Duration::from_secs(2));
    let data =
        p.a.log
            .iter()
            .filter(|l| l.2 > 0)
            .map(|l| l.1.seq)
            .next_back()
            .unwrap();
    let fin = p.a.log.iter().find(|l| l.1.kind == Kind::Fin).unwrap();
    assert_eq!((fin.1.seq, fin.2), (data.plus(1), 0));
    assert_eq!(p.b.received, p.a.to_send);
    assert_eq!(p.b.c().rcv.ack(), fin.1.seq);
    p.finish();
}

#[test]
fn a_fin_that_comes_early_is_kept() {
    let mut p = connected();
    let h = p.as_b(Kind::Data);
    let fin = Header {
        kind: Kind::Fin,
        seq: h.seq.plus(2),
        ..h
    };
    p.inject_a(fin, &[], &[]);
    p.inject_a(
        Header {
            seq: h.seq.plus(1),
            ..h
        },
        &[],
        b"second",
    );
    assert!(p.a.received.is_empty() && !p.a.events.contains(&Event::PeerClosed));
    p.inject_a(h, &[], b"first, ");
    assert_eq!(p.a.received, b"first, second");
    assert!(p.a.events.contains(&Event::PeerClosed));
    assert_eq!(p.a.c().rcv.ack(), fin.seq);
    p.finish();
}

#[test]
fn what_is_behind_the_end_is_ignored() {
    let mut p = connected();
    let h = p.as_b(Kind::Data);
    // Before the end is known, and after.
    p.inject_a(
        Header {
            seq: h.seq.plus(3),
            ..h
        },
        &[],
        b"never",
    );
    assert_eq!(p.a.c().rcv.early(), (5, 1));
    let fin = Header {
        kind: Kind::Fin,
        seq: h.seq.plus(1),
        ..h
    };
    p.inject_a(fin, &[], &[]);
    assert_eq!(p.a.c().rcv.early(), (0, 1), "the end itself waits");
    p.inject_a(
        Header {
            seq: h.seq.plus(2),
            ..h
        },
        &[],
        b"nor this",
    );
    // Nor another end.
    p.inject_a(
        Header {
            seq: h.seq.plus(5),
            ..fin
        },
        &[],
        &[],
    );
    p.inject_a(h, &[], b"all");
    p.inject_a(
        Header {
            seq: h.seq.plus(2),
            ..h
        },
        &[],
        b"nor this",
    );
    assert_eq!(p.a.received, b"all");
    assert_eq!(p.a.c().rcv.ack(), fin.seq);
    assert_eq!(
        p.a.events
            .iter()
            .filter(|e| **e == Event::PeerClosed)
            .count(),
        1
    );
    p.finish();
}

/// libtorrent never sends its FIN again.
#[test]
fn a_fin_that_never_comes_is_not_waited_for_for_ever() {
    let mut p = connected();
    p.filter = |from_a, h| from_a || h.kind != Kind::Fin;
    let now = p.now;
    let (a, pool) = (p.a.conn.as_mut().unwrap(), &mut p.a.pool);
    a.close(now, pool);
    p.b.close_when_sent = true;
    p.run(Duration::from_secs(30));
    assert_eq!((p.a.closed, p.a.c().state()), (None, State::Closing));
    p.run(Duration::from_secs(40));
    assert_eq!(p.a.closed, FINISHED);
    assert!(p.a.c().is_done());
    p.finish();
}

/// libtorrent forgets the connection with its FIN, and answers ours with a
/// RESET or not at all.
#[test]
fn a_peer_that_is_gone_after_both_ends_has_finished() {
    for reset in [true, false] {
        let mut p = connected();
        p.a.to_send = pattern(3000);
        p.run(Duration::from_secs(1));
        let h = p.as_b(Kind::Fin);
        p.inject_a(h, &[], &[]);
        assert!(p.a.events.contains(&Event::PeerClosed));
        p.filter = |_, _| false;
        p.a.close_when_sent = true;
        p.settle();
        let fin = p.a.log.last().unwrap().1;
        assert_eq!(fin.kind, Kind::Fin);
        if reset {
            let answer = super::reset::reset_for(&fin).unwrap();
            p.inject_a(answer, &[], &[]);
        } else {
            p.run(Duration::from_secs(200));
        }
        assert_eq!(p.a.closed, FINISHED, "reset {reset}");
        p.finish();
    }
}

/// How often our FIN got lost counts from the peer's on: until then it would have
/// been an end that the peer never hears of.
#[test]
fn a_fin_is_tried_again_once_the_peer_has_ended() {
    let mut p = connected();
    p.filter = |from_a, _| !from_a;
    p.a.close_when_sent = true;
    assert!(p.run_until(Duration::from_secs(60), |p| p.a.c().info().retransmits == 5));
    p.filter = |from_a, h| !from_a || h.kind != Kind::Fin;
    p.b.to_send = pattern(3000);
    p.b.close_when_sent = true;
    assert!(p.run_until(Duration::from_secs(20), |p| {
        p.a.events.contains(&Event::PeerClosed)
    }));
    p.filter = |_, _| true;
    p.run(Duration::from_secs(60));
    assert_eq!((p.a.closed, p.b.closed), (FINISHED, FINISHED));
    p.finish();
}

#[test]
fn payload_nobody_got_is_no_orderly_end() {
    let mut p = connected();
    p.filter = |_, _| false;
    p.a.to_send = pattern(3000);
    p.a.close_when_sent = true;
    p.run(Duration::from_secs(300));
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    p.finish();
}

#[test]
fn an_abort_resets_the_peer() {
    let mut p = connected();
    p.b.to_send = pattern(100);
    p.run(Duration::from_secs(1));
    let (a, pool) = (p.a.conn.as_mut().unwrap(), &mut p.a.pool);
    a.abort(pool);
    p.run(Duration::from_secs(1));
    assert_eq!(
        (p.a.closed, p.b.closed),
        (Some(Reason::Aborted), Some(Reason::Reset))
    );
    assert!(p.a.c().is_done() && p.b.c().is_done());
    assert_eq!(p.a.log.last().unwrap().1.kind, Kind::Reset);
    assert_ne!(p.b.log.last().unwrap().1.kind, Kind::Reset, "no answer");
    p.finish();
}

#[test]
fn closing_with_payload_unread_or_to_come_resets() {
    for unread in [true, false] {
        let mut p = connected();
        p.a.read = 0;
        if unread {
            p.b.to_send = pattern(100);
            p.run(Duration::from_secs(1));
        }
        let now = p.now;
        let (a, pool) = (p.a.conn.as_mut().unwrap(), &mut p.a.pool);
        a.close(now, pool);
        p.run(Duration::from_secs(1));
        if !unread {
            assert_eq!(p.b.closed, None, "nothing is lost yet");
            p.b.to_send = pattern(100);
            p.run(Duration::from_secs(1));
        }
        assert_eq!(p.b.closed, Some(Reason::Reset), "unread {unread}");
        p.finish();
    }
}

#[test]
fn finished_is_told_after_all_was_read() {
    let mut p = connected();
    p.a.read = 0;
    p.b.to_send = pattern(5000);
    (p.a.close_when_sent, p.b.close_when_sent) = (true, true);
    p.run(Duration::from_secs(60));
    assert_eq!((p.a.closed, p.b.closed), (None, FINISHED));
    p.a.read = usize::MAX;
    p.settle();
    assert_eq!((p.a.closed, p.a.received.len()), (FINISHED, 5000));
    p.finish();
}

#[test]
fn who_closes_first_acknowledges_again_for_a_while() {
    let mut p = connected();
    p.a.close_when_sent = true;
    p.run(Duration::from_millis(100));
    p.b.close_when_sent = true;
    p.run(Duration::from_millis(100));
    assert_eq!(
        (p.a.c().state(), p.b.c().state()),
        (State::Lingering, State::Closed)
    );
    assert!(p.a.c().is_lingering());
    let before = p.a.log.len();
    let fin = p.b.log.iter().rfind(|l| l.1.kind == Kind::Fin).unwrap().1;
    p.inject_a(fin, &[], &[]);
    let last = p.a.log.last().unwrap().1;
    assert_eq!(
        (p.a.log.len(), last.kind, last.ack),
        (before + 1, Kind::State, fin.seq)
    );
    p.run(Duration::from_secs(11));
    assert!(p.a.c().is_done());
    p.finish();
}
