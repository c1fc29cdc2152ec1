//! What other implementations were seen to do.

use std::time::Duration;

use super::testing::{Pair, pattern};
use super::{Config, Reason};
use crate::wire::utp::{Header, Kind};

/// librqbit-utp forgets a connection with its last acknowledgement, and does not
/// answer what comes again.
#[test]
fn a_peer_that_forgets_at_once_does_not_hold_the_end_up() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(10_000);
    p.b.close_when_sent = true;
    p.run(Duration::from_secs(2));
    assert_eq!(p.b.received.len(), 10_000);
    p.filter = |from_a, _| from_a;
    p.a.close_when_sent = true;
    assert!(p.run_until(Duration::from_secs(17), |p| p.a.closed.is_some()));
    assert_eq!(p.a.closed, Some(Reason::Finished));
    let fins = p.a.c().counters().timeouts;
    assert_eq!(fins, 5, "sent four times more, then given up");
    p.finish();
}

/// What waits for a packet comes in order with it, and is no larger packet:
/// acknowledgements would wait for many of those.
#[test]
fn a_filled_hole_is_no_large_packet() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.b.to_send = pattern(500_000);
    let next = p.sent(false);
    p.swallow.extend([30, 90].map(|n| (false, next + n)));
    p.run(Duration::from_secs(5));
    assert_eq!(p.a.received.len(), 500_000);
    assert!(p.a.c().counters().out_of_order > 0);
    let (largest, most) = (p.a.c().info().rcv_mss, p.b.c().info().snd_mss);
    assert_eq!(largest, most);
    p.finish();
}

/// librqbit-utp stops to search a byte below the largest packet that got
/// through: the second of two packets is answered all the same.
#[test]
fn the_second_packet_is_answered_though_a_larger_one_has_come() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.filter = |_, _| false;
    let first = p.as_b(Kind::Data);
    let send = |p: &mut Pair, n: u16| {
        let mut h = first;
        h.seq = first.seq.plus(n);
        let size = if n == 0 { 1001 } else { 1000 };
        p.inject_a(h, &[], &pattern(size));
    };
    // Each of the first few is answered.
    (0..20).for_each(|n| send(&mut p, n));
    let answered = p.a.log.len();
    (20..60).for_each(|n| send(&mut p, n));
    assert_eq!(p.a.received.len(), 60_001);
    let answers = p.a.log.len() - answered;
    assert!((19..=21).contains(&answers), "{answers}");
    p.finish();
}

/// Hands `a` packets of ten bytes, all before it answers any.
fn burst(p: &mut Pair, first: Header, numbers: std::ops::Range<u16>) -> usize {
    let answered = p.a.log.len();
    for n in numbers {
        let h = Header {
            seq: first.seq.plus(n),
            ..first
        };
        let mut bytes = vec![0; Header::emit_len(&[])];
        h.emit(&mut bytes, &[]);
        bytes.extend_from_slice(&pattern(10));
        p.a.deliver(p.now, &bytes);
    }
    p.a.app();
    p.a.collect(p.now);
    p.a.log.len() - answered
}

/// librqbit-utp counts the reports that come, not what they report, and has
/// often two packets in flight: one report that is lost costs it a time-out.
#[test]
fn packets_out_of_order_are_answered_one_by_one() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.filter = |_, _| false;
    let first = p.as_b(Kind::Data);
    // So that those of the beginning are over.
    let at_first = (0..20)
        .map(|n| burst(&mut p, first, n..n + 1))
        .sum::<usize>();
    assert!((10..20).contains(&at_first), "{at_first}");
    assert_eq!(burst(&mut p, first, 21..23), 2);
    assert_eq!(burst(&mut p, first, 23..33), 3, "as many as others count");
    let last = p.a.log.last().unwrap().1;
    assert_eq!((last.ack, last.sack.len()), (first.seq.plus(19), 4));
    // Nor does what follows wait.
    assert_eq!(burst(&mut p, first, 20..21), 1);
    let singly = (33..45)
        .map(|n| burst(&mut p, first, n..n + 1))
        .sum::<usize>();
    assert_eq!(singly, 12);
    p.run(Duration::from_secs(2));
    let later = (45..65)
        .map(|n| burst(&mut p, first, n..n + 1))
        .sum::<usize>();
    assert!(later < 10, "as before, when nothing is lost: {later}");
    p.finish();
}

/// The time-out of librqbit-utp, 200 ms at first, grows by each acknowledgement
/// that it misses.
#[test]
fn the_last_acknowledgement_is_repeated_where_packets_get_lost() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.filter = |_, _| false;
    p.run(Duration::from_secs(1));
    let first = p.as_b(Kind::Data);
    burst(&mut p, first, 0..1);
    let before = p.a.log.len();
    p.run(Duration::from_secs(5));
    assert_eq!(p.a.log.len(), before, "a pause is no loss");
    let (begin, before) = (p.now, p.a.log.len());
    burst(&mut p, first, 2..3);
    p.run(Duration::from_secs(5));
    let sent = p.a.log[before..].iter();
    let at: Vec<_> = sent.map(|(at, ..)| at.since(begin).as_millis()).collect();
    assert_eq!(at, [0, 10, 30, 70, 150]);
    assert!(p.a.log[before..].iter().all(|(_, h, _)| h.sack.len() == 4));
    assert_eq!(p.a.c().counters().repeated_acks, 4);
    // What fills the hole is answered, and that is repeated as well.
    let (begin, before) = (p.now, p.a.log.len());
    burst(&mut p, first, 1..2);
    p.run(Duration::from_secs(5));
    let sent = p.a.log[before..].iter();
    let at: Vec<_> = sent.map(|(at, ..)| at.since(begin).as_millis()).collect();
    assert_eq!(at, [0, 10, 30, 70, 150]);
    assert_eq!(p.a.received.len(), 30);
    p.finish();
}
