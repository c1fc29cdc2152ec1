//! Rules of RFC 5681 that concern a connection; those of the window alone
//! are tested in `congestion`.

use super::rfc9293_tests::{config, next_from_b};
use super::testing::{Pair, pattern};
use crate::wire::tcp::Header;

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
