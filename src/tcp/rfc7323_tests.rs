//! Rules of RFC 7323, one test each.

use std::time::Duration;

use super::rfc9293_tests::{config, next_from_b, state};
use super::testing::{Pair, pattern};
use super::*;
use crate::wire::tcp::{Flags, Header, Options, SeqNumber, Timestamps};

const SEC: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `h` with another timestamp, `by` ticks from the latest.
fn stamped(h: Header, by: i32) -> Header {
    let mut h = h;
    if let Some(t) = &mut h.options.timestamps {
        t.val = t.val.wrapping_add_signed(by);
    }
    h
}

#[test]
fn windows_above_64_kib_are_used() {
    let mut p = Pair::connected(config(), config());
    assert_eq!(p.b.log[0].1.options.window_scale, Some(7));
    let handshake = u32::from(p.b.log[0].1.window);
    assert_eq!(p.a.c().snd.wnd, handshake, "not scaled");
    p.faults.delay = Duration::from_millis(50);
    p.a.to_send = pattern(3_000_000);
    let mut most = 0;
    assert!(p.run_until(60 * SEC, |p| {
        most = most.max(p.a.c().snd.outstanding());
        p.b.received.len() == 3_000_000
    }));
    assert!(most > 0x1_0000, "{most} bytes in flight");
    let (_, last, _) = p.b.log.last().unwrap();
    assert_eq!(p.a.c().snd.wnd, u32::from(last.window) << 7);
    p.finish();
}

#[test]
fn what_the_peer_did_not_offer_is_not_used() {
    let plain = Config {
        window_scaling: false,
        timestamps: false,
        sack: false,
        ..config()
    };
    for (a, b) in [(plain.clone(), config()), (config(), plain)] {
        let mut p = Pair::connected(a, b);
        p.a.to_send = pattern(200_000);
        p.b.to_send = pattern(200_000);
        assert!(p.run_until(20 * SEC, |p| p.a.received.len() == 200_000
            && p.b.received.len() == 200_000));
        for e in [&mut p.a, &mut p.b] {
            let i = e.c().info();
            assert!(!i.scaling && !i.timestamps && !i.sack);
            assert_eq!((e.c().snd.scale, e.c().rcv.scale), (0, 0));
        }
        let syn_ack = p.b.log[0].1.options;
        assert_eq!(syn_ack.window_scale, None);
        assert!(syn_ack.timestamps.is_none() && !syn_ack.sack_permitted);
        p.finish();
    }
}

#[test]
fn options_of_the_handshake_are_ignored_later() {
    let mut p = Pair::connected(config(), config());
    let mss = p.a.c().send_mss();
    let mut h = next_from_b(&mut p);
    h.options.window_scale = Some(3);
    h.options.mss = Some(100);
    h.window = 700;
    p.inject_a(h, b"x");
    assert_eq!(p.a.received, b"x");
    assert_eq!((p.a.c().send_mss(), p.a.c().snd.wnd), (mss, 700 << 7));
    p.finish();
}

#[test]
fn a_shift_above_14_counts_as_14() {
    let p = Pair::new(config(), config());
    let setup = p.b.setup(p.now, 80, 4000);
    for (shift, counts) in [(13, 13), (14, 14), (15, 14), (255, 14)] {
        let syn = Header {
            seq: SeqNumber(1),
            flags: Flags::SYN,
            options: Options {
                window_scale: Some(shift),
                ..Options::default()
            },
            ..Header::default()
        };
        assert_eq!(Connection::accept(&setup, &syn).snd.scale, counts);
    }
    assert_eq!(super::recv::window_shift(u32::MAX), 14);
}

#[test]
fn timestamps_are_on_every_segment_resets_included() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(50_000);
    p.b.to_send = pattern(50_000);
    p.b.close_when_sent = true;
    p.run(5 * SEC);
    let a = &mut p.a;
    a.conn.as_mut().unwrap().abort(&mut a.pool);
    p.run(SEC);
    let all = || p.a.log.iter().chain(&p.b.log);
    assert!(all().all(|l| l.1.options.timestamps.is_some()));
    assert!(all().any(|l| l.1.flags.contains(Flags::RST)));
    p.finish();
}

#[test]
fn timestamps_that_were_not_agreed_on_are_ignored() {
    let mut p = Pair::connected(
        Config {
            timestamps: false,
            ..config()
        },
        config(),
    );
    for val in [7, 3] {
        let mut h = next_from_b(&mut p);
        h.options.timestamps = Some(Timestamps { val, ecr: 9 });
        p.inject_a(h, b"x");
    }
    assert_eq!(p.a.received, b"xx");
    p.run(SEC);
    assert!(p.a.log.iter().all(|l| l.1.options.timestamps.is_none()));
    p.finish();
}

#[test]
fn the_first_timestamp_echoes_nothing() {
    let p = Pair::connected(config(), config());
    let syn = p.a.log[0].1.options.timestamps.unwrap();
    let syn_ack = p.b.log[0].1.options.timestamps.unwrap();
    assert_eq!((syn.ecr, syn_ack.ecr), (0, syn.val));
    p.finish();
}

#[test]
fn a_round_trip_is_measured_only_when_something_new_is_acknowledged() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(1000);
    p.run(SEC);
    let before = p.a.c().info();
    p.run(5 * SEC);
    // An acknowledgement of nothing new that echoes what is long past.
    let mut h = next_from_b(&mut p);
    if let Some(t) = &mut h.options.timestamps {
        t.ecr = t.ecr.wrapping_sub(5000);
    }
    p.inject_a(h, b"with payload");
    let after = p.a.c().info();
    assert_eq!((after.srtt, after.rto), (before.srtt, before.rto));
    p.finish();
}

#[test]
fn the_earliest_unacknowledged_timestamp_is_echoed() {
    let mut p = Pair::connected(config(), config());
    p.a.c().ack.quick = 0;
    let recent = |p: &mut Pair| p.a.c().ts.unwrap().recent;
    let base = recent(&mut p);
    let h = stamped(next_from_b(&mut p), 10);
    p.inject_a(h, &pattern(100));
    assert_eq!(recent(&mut p), base + 10);
    // The first is still to be acknowledged: its timestamp stays.
    let h = stamped(next_from_b(&mut p), 10);
    p.inject_a(h, &pattern(100));
    assert_eq!(recent(&mut p), base + 10);
    p.run(SEC);
    let (_, ack, _) = p.a.log.last().unwrap();
    assert_eq!(ack.options.timestamps.unwrap().ecr, base + 10);
    let h = stamped(next_from_b(&mut p), 20);
    p.inject_a(h, &pattern(100));
    assert_eq!(recent(&mut p), base + 30);
    // Nor does one that comes after a hole count.
    let mut h = stamped(next_from_b(&mut p), 10);
    h.seq += 500;
    p.inject_a(h, &pattern(100));
    assert_eq!(recent(&mut p), base + 30);
    p.finish();
}

#[test]
fn an_unbelievable_acknowledgement_does_not_move_the_clock() {
    let mut p = Pair::connected(config(), config());
    let before = p.a.c().ts.unwrap().recent;
    let mut h = stamped(next_from_b(&mut p), 1_000_000);
    h.ack += 1;
    p.inject_a(h, b"x");
    assert_eq!(p.a.c().ts.unwrap().recent, before);
    p.finish();
}

#[test]
fn resets_are_not_judged_by_their_timestamp() {
    let mut p = Pair::connected(config(), config());
    let h = stamped(next_from_b(&mut p), -1000);
    let rst = Header {
        flags: Flags::RST,
        ..h
    };
    p.inject_a(rst, b"");
    assert_eq!(p.a.closed, Some(Reason::Reset));
    p.finish();
}

#[test]
fn the_clock_ticks_every_millisecond() {
    let mut p = Pair::connected(config(), config());
    let now = p.now;
    let c = p.a.c();
    let later = c.ts_val(now + SEC);
    assert_eq!(later.wrapping_sub(c.ts_val(now)), 1000);
    p.finish();
}

#[test]
fn a_timestamp_of_last_month_keeps_nobody_out() {
    let mut p = Pair::connected(config(), config());
    p.run(DAY);
    let old = stamped(next_from_b(&mut p), -10);
    p.inject_a(old, b"x");
    assert!(p.a.received.is_empty(), "a day is not long enough");
    p.run(24 * DAY);
    p.inject_a(old, b"x");
    assert_eq!(p.a.received, b"x");
    assert_eq!(state(&p.a), State::Established);
    p.finish();
}
