//! Payload stays in its frames.

use super::{SEC, config};
use crate::tcp::testing::{Faults, Pair, pattern};

#[test]
fn retransmissions_and_acks_copy_no_payload() {
    let mut p = Pair::connected(config(), config());
    p.faults = Faults {
        loss: 30,
        ..Faults::NONE
    };
    p.a.to_send = pattern(500_000);
    assert!(p.run_until(100 * SEC, |p| p.b.received.len() == 500_000));
    assert!(p.a.c().counters().retransmits > 5);
    // One copy from the application's buffer; none for what went again, and
    // none at all at the receiver.
    assert_eq!(p.a.pool.copied(), 500_000);
    let small: usize =
        p.a.log
            .iter()
            .filter(|l| l.2 > 0 && l.2 <= 512)
            .map(|l| l.2)
            .sum();
    assert!(p.b.pool.copied() <= small as u64, "{}", p.b.pool.copied());
    p.finish();
}

#[test]
fn a_prepared_frame_is_sent_without_a_copy() {
    let mut p = Pair::connected(config(), config());
    let data = pattern(1448);
    let e = &mut p.a;
    let c = e.conn.as_mut().unwrap();
    let mut packet = c.prepare(&mut e.pool).unwrap();
    assert_eq!(packet.len(), 1448);
    e.pool.bytes_mut(&mut packet).copy_from_slice(&data);
    let sum = crate::wire::checksum::Sum::of(&data);
    c.send_packet(&mut e.pool, packet, sum).unwrap();
    assert_eq!(e.pool.copied(), 0);
    p.run(SEC);
    assert_eq!(p.b.received, data);
    // A packet that prepare did not make is refused.
    let e = &mut p.a;
    let c = e.conn.as_mut().unwrap();
    let mut wrong = e.pool.alloc().unwrap();
    wrong.set_range(300, 20);
    let wrong = c.send_packet(&mut e.pool, wrong, sum).unwrap_err();
    e.pool.free(wrong);
    p.finish();
}

#[test]
fn a_smaller_path_is_taken_and_nothing_is_lost() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(100_000);
    p.settle();
    let una = p.a.c().snd.una;
    let now = p.now;
    p.a.c().handle_path_mtu(now, 1160, una + 9_999_999);
    assert_eq!(p.a.c().info().snd_mss, 1448, "not in flight: not believed");
    let now = p.now;
    p.a.c().handle_path_mtu(now, 1160, una);
    assert_eq!(p.a.c().info().snd_mss, 1148);
    let n = p.a.log.len();
    assert!(p.run_until(20 * SEC, |p| p.b.received.len() == 100_000));
    assert!(p.b.received == p.a.to_send);
    assert!(p.a.log[n..].iter().all(|l| l.2 <= 1148));
    p.finish();
}
