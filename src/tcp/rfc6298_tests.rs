//! Rules of RFC 6298 that concern a connection; the arithmetic is tested in
//! `rtt`.

use std::time::Duration;

use super::rfc9293_tests::{config, cut_off, next_from_b};
use super::testing::{Pair, pattern};
use super::timers::Timer;
use super::*;
use crate::wire::tcp::Header;

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

#[test]
fn the_timer_restarts_with_what_is_new_and_stops_with_the_last() {
    let mut p = cut_off(config());
    p.a.to_send = pattern(3 * 1448);
    p.settle();
    let sent_at = p.now;
    let rto = p.a.c().info().rto;
    let timer = |p: &mut Pair| p.a.c().timers.get(Timer::Rto);
    assert_eq!(timer(&mut p), sent_at + rto);
    let una = p.a.c().snd.una;
    let h = next_from_b(&mut p);
    p.run(20 * MS);
    // What acknowledges nothing new leaves it alone.
    p.inject_a(Header { ack: una, ..h }, b"");
    assert_eq!(timer(&mut p), sent_at + rto);
    let first = Header {
        ack: una + 1448,
        ..h
    };
    p.inject_a(first, b"");
    let (now, rto) = (p.now, p.a.c().info().rto);
    assert_eq!(timer(&mut p), now + rto);
    p.inject_a(h, b"");
    assert_eq!(timer(&mut p), crate::time::Instant::FAR);
    p.finish();
}

#[test]
fn after_a_lost_syn_the_time_out_begins_at_three_seconds() {
    for timestamps in [false, true] {
        let c = Config {
            timestamps,
            ..config()
        };
        let mut p = Pair::new(c.clone(), c);
        p.swallow = vec![(true, 1), (true, 2)];
        p.connect();
        p.run(Duration::from_secs(4));
        let i = p.a.c().info();
        assert_eq!(i.state, State::Established);
        // With timestamps the handshake has been measured all the same.
        assert_eq!(i.srtt.is_some(), timestamps);
        if !timestamps {
            assert_eq!(i.rto, Duration::from_secs(3));
        }
        assert_eq!(i.cwnd, u32::from(i.snd_mss), "RFC 5681 section 3.1");
        p.finish();
    }
}
