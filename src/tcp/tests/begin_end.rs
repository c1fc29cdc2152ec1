//! How connections begin and end.

use std::time::Duration;

use super::{SEC, config, state};
use crate::tcp::testing::{Pair, pattern};
use crate::tcp::*;
use crate::wire::tcp::{Flags, Header};

#[test]
fn the_handshake_offers_and_mirrors_options_in_the_usual_order() {
    let mut p = Pair::connected(
        config(),
        Config {
            timestamps: false,
            ..config()
        },
    );
    let syn = p.a.log[0].1;
    assert_eq!(syn.flags, Flags::SYN);
    assert_eq!(syn.options.mss, Some(1460));
    assert_eq!(syn.options.window_scale, Some(7));
    assert!(syn.options.sack_permitted && syn.options.timestamps.is_some());
    let syn_ack = p.b.log[0].1;
    assert_eq!(syn_ack.flags, Flags::SYN | Flags::ACK);
    assert!(syn_ack.options.timestamps.is_none() && syn_ack.options.sack_permitted);
    let i = p.a.c().info();
    assert!(i.scaling && i.sack && !i.timestamps);
    assert_eq!(i.snd_mss, 1460);
    p.finish();
}

#[test]
fn data_crosses_both_ways_and_the_close_is_orderly() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(3_000_000);
    p.b.to_send = pattern(1_234_567);
    p.a.close_when_sent = true;
    p.b.close_when_sent = true;
    assert!(p.run_until(60 * SEC, |p| p.a.closed.is_some() && p.b.closed.is_some()));
    assert!(p.b.received == p.a.to_send && p.a.received == p.b.to_send);
    assert_eq!(
        (p.a.closed, p.b.closed),
        (Some(Reason::Finished), Some(Reason::Finished))
    );
    let states = [state(&p.a), state(&p.b)];
    assert!(states.contains(&State::TimeWait), "{states:?}");
    p.run(61 * SEC);
    assert_eq!([state(&p.a), state(&p.b)], [State::Closed; 2]);
    p.finish();
}

#[test]
fn simultaneous_open_and_close() {
    let mut p = Pair::new(config(), config());
    let s = p.a.setup(p.now, 4000, 80);
    p.a.conn = Some(Connection::connect(&s));
    let s = p.b.setup(p.now, 80, 4000);
    p.b.conn = Some(Connection::connect(&s));
    p.run(SEC);
    assert_eq!([state(&p.a), state(&p.b)], [State::Established; 2]);
    p.a.to_send = pattern(1000);
    p.run(SEC);
    assert_eq!(p.b.received, pattern(1000));
    p.a.c().shutdown();
    p.b.c().shutdown();
    p.run(SEC);
    assert_eq!([state(&p.a), state(&p.b)], [State::TimeWait; 2]);
    p.finish();
}

#[test]
fn half_close_lets_the_other_side_go_on() {
    let mut p = Pair::connected(config(), config());
    p.a.c().shutdown();
    p.run(SEC);
    assert_eq!(
        (state(&p.a), state(&p.b)),
        (State::FinWait2, State::CloseWait)
    );
    assert!(p.b.events.contains(&Event::PeerClosed));
    p.b.to_send = pattern(100_000);
    p.b.close_when_sent = true;
    p.run(10 * SEC);
    assert_eq!(p.a.received, pattern(100_000));
    assert_eq!((state(&p.a), state(&p.b)), (State::TimeWait, State::Closed));
    assert_eq!(p.b.closed, Some(Reason::Finished));
    p.finish();
}

#[test]
fn a_syn_without_answer_backs_off_and_fails() {
    let mut p = Pair::new(
        Config {
            syn_retries: 3,
            ..config()
        },
        config(),
    );
    p.faults.loss = 1000;
    p.connect();
    p.run(100 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    let at: Vec<u64> = p.a.log.iter().map(|l| l.0.as_millis() - 10_000).collect();
    assert_eq!(at, [0, 1000, 3000, 7000]);
    p.finish();
}

#[test]
fn a_refused_connection_says_so() {
    let mut p = Pair::new(config(), config());
    p.connect();
    p.settle();
    let syn = p.a.log[0].1;
    let rst = super::reset::reset_for(&syn, 0).unwrap();
    p.inject_a(
        Header {
            ack: rst.ack + 1,
            ..rst
        },
        b"",
    );
    assert_eq!(p.a.closed, None, "a reset for another SYN is not believed");
    p.inject_a(rst, b"");
    assert_eq!(p.a.closed, Some(Reason::Refused));
    p.finish();
}

#[test]
fn keepalive_finds_a_dead_peer() {
    let c = Config {
        keepalive: Some(10 * SEC),
        keepalive_interval: 2 * SEC,
        keepalive_probes: 3,
        ..config()
    };
    let mut p = Pair::connected(c, config());
    p.run(100 * SEC);
    assert_eq!(state(&p.a), State::Established, "the peer answers");
    p.faults.loss = 1000;
    p.run(30 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    p.finish();
}

#[test]
fn the_user_timeout_ends_a_silent_connection() {
    let mut p = Pair::connected(
        Config {
            user_timeout: Some(5 * SEC),
            ..config()
        },
        config(),
    );
    p.faults.loss = 1000;
    p.a.to_send = pattern(10);
    p.run(20 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    p.finish();
}

#[test]
fn data_after_close_resets() {
    let mut p = Pair::connected(config(), config());
    let (now, e) = (p.now, &mut p.a);
    e.conn.as_mut().unwrap().close(now, &mut e.pool);
    p.run(Duration::from_millis(50));
    p.b.to_send = pattern(100);
    p.run(SEC);
    assert_eq!(p.b.closed, Some(Reason::Reset));
    p.finish();
}

#[test]
fn abort_resets_the_peer() {
    let mut p = Pair::connected(config(), config());
    let e = &mut p.a;
    e.conn.as_mut().unwrap().abort(&mut e.pool);
    p.run(SEC);
    assert_eq!(
        (p.a.closed, p.b.closed),
        (Some(Reason::Aborted), Some(Reason::Reset))
    );
    assert!(p.a.c().is_done());
    p.finish();
}
