//! What other implementations were seen to do.

use std::time::Duration;

use super::testing::{Pair, pattern};
use super::{Config, Reason};
use crate::wire::utp::Kind;

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
