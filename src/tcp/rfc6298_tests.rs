//! Rules of RFC 6298 that concern a connection; the arithmetic is tested in
//! `rtt`.

use std::time::Duration;

use super::rfc9293_tests::config;
use super::testing::{Pair, pattern};
use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_retransmission_is_not_measured_without_timestamps() {
    for timestamps in [false, true] {
        let c = Config {
            timestamps,
            ..config()
        };
        let mut p = Pair::connected(c.clone(), c);
        let before = p.a.c().info().srtt.unwrap();
        // Everything takes longer than the time-out: the acknowledgement of
        // the first transmission follows the second.
        p.faults.delay = 180 * MS;
        p.a.to_send = pattern(1000);
        p.settle();
        assert!(p.run_until(Duration::from_secs(5), |p| p.a.c().snd.queued() == 0));
        let i = p.a.c().info();
        assert!(i.counters.retransmits > 0);
        if timestamps {
            assert!(i.srtt.unwrap() >= before, "{i:?}");
        } else {
            assert_eq!(i.srtt, Some(before));
        }
        p.finish();
    }
}
