//! Rules of RFC 5681 that concern a connection; those of the window alone
//! are tested in `congestion`.

use std::time::Duration;

use super::Config;
use super::rfc9293_tests::{config, cut_off, next_from_b};
use super::testing::{Pair, pattern};
use crate::congestion::Algorithm;
use crate::wire::tcp::Header;

const SEC: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn payload_out_of_order_is_acknowledged_at_once() {
    let mut p = Pair::connected(config(), config());
    p.a.c().ack.quick = 0;
    let h = next_from_b(&mut p);
    for at in [1000, 3000] {
        let n = p.a.log.len();
        let early = Header {
            seq: h.seq + at,
            ..h
        };
        p.inject_a(early, &pattern(1000));
        assert_eq!(p.a.log.len(), n + 1);
        let (_, ack, _) = p.a.log[n];
        assert_eq!(ack.ack, h.seq);
        let first = ack.options.sack.iter().next();
        assert_eq!(first, Some((h.seq + at, h.seq + at + 1000)));
    }
    // So is what fills a part of the gap.
    let n = p.a.log.len();
    p.inject_a(h, &pattern(1000));
    assert_eq!(p.a.log.len(), n + 1);
    assert_eq!(p.a.log[n].1.ack, h.seq + 2000);
    p.finish();
}

#[test]
fn a_time_out_leaves_a_window_of_one_segment() {
    let mut p = cut_off(Config {
        congestion: Algorithm::Reno,
        ..config()
    });
    p.a.to_send = pattern(100_000);
    p.settle();
    let flight = p.a.c().snd.outstanding();
    assert_eq!(flight, 10 * 1448);
    assert!(p.run_until(SEC, |p| p.a.c().counters().timeouts == 1));
    let i = p.a.c().info();
    assert_eq!((i.cwnd, i.ssthresh), (1448, flight / 2));
    p.finish();
}

/// The window field that says what `a` believes already, so that only the
/// acknowledgement counts.
fn same_window(p: &mut Pair, h: Header) -> Header {
    let h = Header { window: 1000, ..h };
    p.inject_a(h, b"");
    h
}

#[test]
fn the_first_two_duplicates_send_something_new_and_the_third_repairs() {
    for sack in [false, true] {
        let mut p = cut_off(Config { sack, ..config() });
        let h = next_from_b(&mut p);
        let h = same_window(&mut p, h);
        p.a.to_send = pattern(100_000);
        p.settle();
        let (una, nxt, cwnd) = {
            let c = p.a.c();
            (c.snd.una, c.snd.nxt, c.info().cwnd)
        };
        let mut sent = Vec::new();
        p.run(10 * MS);
        for n in 1..4 {
            let at = p.a.log.len();
            let mut dup = h;
            if sack {
                dup.options.sack.push(una + 1448, una + 1448 * (n + 1));
            }
            p.inject_a(dup, b"");
            sent.push(p.a.log[at..].iter().map(|l| l.1.seq).collect::<Vec<_>>());
            if n < 3 {
                assert_eq!(p.a.c().info().cwnd, cwnd, "duplicate {n}");
            }
        }
        assert_eq!(sent[..2], [vec![nxt], vec![nxt + 1448]], "sack {sack}");
        assert_eq!(sent[2][0], una, "sack {sack}");
        p.finish();
    }
}

#[test]
fn without_sack_a_partial_acknowledgement_repairs_the_next_hole() {
    let plain = Config {
        sack: false,
        timestamps: false,
        ..config()
    };
    let mut p = Pair::connected(plain.clone(), plain);
    p.swallow = vec![(true, 20), (true, 23), (true, 24)];
    p.a.to_send = pattern(300_000);
    assert!(p.run_until(5 * SEC, |p| p.b.received.len() == 300_000));
    let k = p.a.c().counters();
    assert_eq!(
        (k.retransmits, k.recoveries, k.timeouts),
        (3, 1, 0),
        "{k:?}"
    );
    p.finish();
}
