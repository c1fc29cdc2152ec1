//! Rules of RFC 9293, one test each; `docs/conformance` says which.

use std::time::Duration;

use super::connection::Setup;
use super::testing::{End, Pair, pattern};
use super::*;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, Options, SeqNumber, Timestamps};

const SEC: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

pub(super) fn config() -> Config {
    Config::default()
}

/// A segment without payload that `a` takes for the next one from `b`.
pub(super) fn next_from_b(p: &mut Pair) -> Header {
    let now = p.now;
    let c = p.a.c();
    Header {
        src_port: 80,
        dst_port: 4000,
        seq: c.rcv.nxt,
        ack: c.snd.nxt,
        flags: Flags::ACK,
        window: 1000,
        options: Options {
            timestamps: c.ts.map(|t| Timestamps {
                val: t.recent,
                ecr: c.ts_val(now),
            }),
            ..Options::default()
        },
        ..Header::default()
    }
}

pub(super) fn state(e: &End) -> State {
    e.conn.as_ref().map_or(State::Closed, Connection::state)
}

pub(super) fn bytes_of(h: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; h.emit_len()];
    h.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// A pair of which `b` hears nothing and is not heard.
pub(super) fn cut_off(a: Config) -> Pair {
    let mut p = Pair::connected(a, config());
    p.faults.loss = 1000;
    p
}

fn accepted(setup: &Setup<'_>, options: Options) -> Connection {
    let syn = Header {
        src_port: 4000,
        dst_port: 80,
        seq: SeqNumber(7),
        flags: Flags::SYN,
        window: 5000,
        options,
        ..Header::default()
    };
    Connection::accept(setup, &syn)
}

#[test]
fn a_reset_in_syn_received_ends_what_began_it() {
    // From LISTEN: nobody has heard of it.
    let mut p = Pair::new(config(), config());
    p.connect();
    p.settle();
    let syn = p.a.log[0].1;
    p.faults.loss = 1000;
    p.b.deliver(p.now, &bytes_of(&syn, b""));
    p.settle();
    assert_eq!(state(&p.b), State::SynReceived);
    let rst = Header {
        seq: syn.seq + 1,
        flags: Flags::RST,
        options: Options::default(),
        ..syn
    };
    p.b.deliver(p.now, &bytes_of(&rst, b""));
    p.settle();
    assert_eq!(p.b.closed, Some(Reason::Reset));
    assert!(!p.b.events.contains(&Event::Connected));
    p.finish();
    // From SYN-SENT: whoever wanted to connect hears that it was refused.
    let mut p = Pair::new(config(), config());
    p.connect();
    p.settle();
    let syn = Header {
        src_port: 80,
        dst_port: 4000,
        seq: SeqNumber(99),
        flags: Flags::SYN,
        ..Header::default()
    };
    p.inject_a(syn, b"");
    assert_eq!(state(&p.a), State::SynReceived);
    let rst = Header {
        seq: SeqNumber(100),
        flags: Flags::RST,
        ..syn
    };
    p.inject_a(rst, b"");
    assert_eq!(p.a.closed, Some(Reason::Refused));
    p.finish();
}

#[test]
fn a_repeated_syn_gets_the_syn_ack_again() {
    let mut p = Pair::new(config(), config());
    p.connect();
    p.settle();
    let syn = bytes_of(&p.a.log[0].1, b"");
    p.faults.loss = 1000;
    for n in 1..4 {
        p.b.deliver(p.now, &syn);
        p.settle();
        assert_eq!(p.b.log.len(), n);
        let (first, last) = (p.b.log[0].1, p.b.log[n - 1].1);
        assert_eq!(last.flags, Flags::SYN | Flags::ACK);
        assert_eq!((last.seq, last.ack), (first.seq, first.ack));
    }
    p.finish();
}

#[test]
fn resets_count_with_payload_and_at_a_shut_window() {
    let mut p = Pair::connected(
        Config {
            recv_buffer: 8000,
            ..config()
        },
        config(),
    );
    p.a.read = 0;
    p.b.to_send = pattern(50_000);
    p.run(5 * SEC);
    assert_eq!(p.a.c().rcv.window(), 0);
    let next = next_from_b(&mut p);
    let rst = Header {
        flags: Flags::RST,
        ..next
    };
    let elsewhere = Header {
        seq: rst.seq + 1,
        ..rst
    };
    p.inject_a(elsewhere, b"");
    assert_eq!(p.a.closed, None);
    p.inject_a(rst, b"because");
    assert_eq!(p.a.closed, Some(Reason::Reset));
    p.finish();
}

#[test]
fn closing_with_unread_payload_resets() {
    let mut p = Pair::connected(config(), config());
    p.a.read = 0;
    p.b.to_send = pattern(100);
    p.run(SEC);
    assert_eq!(p.a.c().recv_available(), 100);
    let (now, a) = (p.now, &mut p.a);
    a.conn.as_mut().unwrap().close(now, &mut a.pool);
    p.run(SEC);
    assert_eq!(p.b.closed, Some(Reason::Reset));
    p.finish();
}

#[test]
fn time_wait_takes_a_syn_that_is_ahead() {
    for timestamps in [true, false] {
        let mut p = Pair::connected(
            Config {
                timestamps,
                ..config()
            },
            config(),
        );
        let ack = next_from_b(&mut p);
        assert!(!p.a.c().time_wait_accepts(&ack), "not in TIME-WAIT");
        p.a.close_when_sent = true;
        p.b.close_when_sent = true;
        p.run(SEC);
        let end = if state(&p.a) == State::TimeWait {
            &mut p.a
        } else {
            &mut p.b
        };
        let c = end.c();
        assert_eq!(c.state(), State::TimeWait);
        let syn = |by: i32, clock: i32| Header {
            seq: SeqNumber(c.rcv.nxt.0.wrapping_add_signed(by)),
            flags: Flags::SYN,
            options: Options {
                timestamps: c.ts.map(|t| Timestamps {
                    val: t.recent.wrapping_add_signed(clock),
                    ecr: 0,
                }),
                ..Options::default()
            },
            ..Header::default()
        };
        assert!(c.time_wait_accepts(&syn(1, 0)));
        assert!(!c.time_wait_accepts(&syn(0, 0)));
        assert!(!c.time_wait_accepts(&syn(-1, 0)));
        // A newer clock stands above the number, an older one too.
        assert_eq!(c.time_wait_accepts(&syn(-1, 1)), timestamps);
        assert_eq!(c.time_wait_accepts(&syn(1, -1)), !timestamps);
        p.finish();
    }
}

#[test]
fn without_an_mss_option_the_default_of_the_family_counts() {
    let p = Pair::new(config(), config());
    for (headroom, mss) in [(34, 536), (38, 536), (54, 1220), (58, 1220)] {
        let setup = Setup {
            headroom,
            ..p.b.setup(p.now, 80, 4000)
        };
        let c = accepted(&setup, Options::default());
        assert_eq!(c.send_mss(), mss, "{headroom} bytes of headers");
    }
}

#[test]
fn segments_are_as_long_as_peer_path_and_options_allow() {
    let p = Pair::new(config(), config());
    let setup = p.b.setup(p.now, 80, 4000);
    assert_eq!(setup.mss, 1460);
    let stamps = Some(Timestamps { val: 1, ecr: 0 });
    for (mss, timestamps, expected) in [
        (1000, None, 1000),
        (1000, stamps, 988),
        (1460, None, 1460),
        (9000, None, 1460),
        (9000, stamps, 1448),
        (10, None, 88),
        (0, None, 88),
    ] {
        let options = Options {
            mss: Some(mss),
            timestamps,
            ..Options::default()
        };
        assert_eq!(accepted(&setup, options).send_mss(), expected);
    }
    // Small writes make full segments.
    let mut p = Pair::connected(config(), config());
    let a = &mut p.a;
    let c = a.conn.as_mut().unwrap();
    for _ in 0..58 {
        assert_eq!(c.send(&mut a.pool, &[1; 50]), 50);
    }
    let n = p.a.log.len();
    p.settle();
    let lens: Vec<usize> = p.a.log[n..].iter().map(|l| l.2).collect();
    assert_eq!(lens, [1448, 1448, 4]);
    p.finish();
}

#[test]
fn options_of_the_handshake_are_on_syn_segments_only() {
    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(100_000);
    p.b.to_send = pattern(100_000);
    p.a.close_when_sent = true;
    p.b.close_when_sent = true;
    p.run(10 * SEC);
    for (_, h, _) in p.a.log.iter().chain(&p.b.log) {
        let o = &h.options;
        let syn = h.flags.contains(Flags::SYN);
        assert_eq!(o.mss.is_some(), syn, "{h:?}");
        assert_eq!(o.window_scale.is_some(), syn, "{h:?}");
        assert_eq!(o.sack_permitted, syn, "{h:?}");
    }
    p.finish();
}

#[test]
fn nagle_can_be_turned_off_for_one_connection() {
    for nodelay in [false, true] {
        let mut p = Pair::connected(config(), config());
        p.a.c().set_nodelay(nodelay);
        p.faults.delay = 50 * MS;
        let n = p.a.log.len();
        for i in 0..10 {
            p.a.to_send.extend_from_slice(&[i; 10]);
            p.run(2 * MS);
        }
        let data = p.a.log[n..].iter().filter(|l| l.2 > 0).count();
        assert_eq!(data, if nodelay { 10 } else { 1 });
        p.finish();
    }
}

#[test]
fn data_is_sent_for_more_than_100_seconds_before_giving_up() {
    let mut p = cut_off(config());
    p.a.to_send = pattern(10);
    let begun = p.now;
    assert!(p.run_until(4000 * SEC, |p| p.a.closed.is_some()));
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    assert!(p.now.since(begun) > 100 * SEC, "{:?}", p.now.since(begun));
    p.settle();
    let last = p.a.log.last().unwrap();
    assert!(last.1.flags.contains(Flags::RST), "the peer is told");
    p.finish();
}

#[test]
fn the_application_can_see_that_nothing_gets_through() {
    let mut p = cut_off(config());
    p.a.to_send = pattern(10);
    p.run(10 * SEC);
    let i = p.a.c().info();
    assert_eq!(i.state, State::Established);
    assert!(i.counters.timeouts >= 3, "{:?}", i.counters);
    assert!(i.send_queue == 10 && i.rto > SEC, "{i:?}");
    p.finish();
}

#[test]
fn a_syn_is_sent_for_at_least_three_minutes() {
    let mut p = Pair::new(config(), config());
    p.faults.loss = 1000;
    p.connect();
    let begun = p.now;
    assert!(p.run_until(1000 * SEC, |p| p.a.closed.is_some()));
    assert!(p.now.since(begun) >= 180 * SEC, "{:?}", p.now.since(begun));
    assert!(p.a.log.len() == 8 && p.a.log.iter().all(|l| l.1.flags == Flags::SYN));
    p.finish();
}

#[test]
fn an_idle_connection_is_silent_by_default() {
    assert_eq!(config().keepalive, None);
    let mut p = Pair::connected(config(), config());
    let n = (p.a.log.len(), p.b.log.len());
    p.run(24 * 3600 * SEC);
    assert_eq!((p.a.log.len(), p.b.log.len()), n);
    assert_eq!(state(&p.a), State::Established);
    p.finish();
}

#[test]
fn keepalives_wait_for_silence_and_carry_nothing() {
    let c = Config {
        keepalive: Some(10 * SEC),
        keepalive_interval: 2 * SEC,
        keepalive_probes: 3,
        ..config()
    };
    let mut p = Pair::connected(c, config());
    p.run(6 * SEC);
    p.b.to_send.push(1);
    p.run(SEC);
    let n = p.a.log.len();
    p.run(8500 * MS);
    assert_eq!(p.a.log.len(), n, "9.5 s after the last segment");
    // The first probe is lost, and its answer with it.
    p.faults.loss = 1000;
    p.run(SEC);
    p.faults.loss = 0;
    assert_eq!(p.a.log.len(), n + 1);
    let (_, probe, len) = p.a.log[n];
    let una = p.a.c().snd.una;
    assert_eq!((probe.seq, probe.flags, len), (una - 1, Flags::ACK, 0));
    p.run(3 * SEC);
    assert_eq!(p.a.log.len(), n + 2, "answered, and the count begins anew");
    assert_eq!(state(&p.a), State::Established);
    p.finish();
}

#[test]
fn urgent_payload_is_delivered_in_line() {
    let mut p = Pair::connected(config(), config());
    let h = Header {
        flags: Flags::ACK | Flags::URG,
        urgent: 3,
        ..next_from_b(&mut p)
    };
    p.inject_a(h, b"urgent");
    assert_eq!(p.a.received, b"urgent");
    let sent = p.a.log.iter().chain(&p.b.log);
    assert!(
        sent.clone()
            .all(|l| l.1.urgent == 0 && !l.1.flags.contains(Flags::URG))
    );
    p.finish();
}

#[test]
fn a_peer_that_takes_its_window_back_gets_old_payload_only() {
    let mut p = cut_off(config());
    p.a.to_send = pattern(100_000);
    p.settle();
    let (una, nxt) = (p.a.c().snd.una, p.a.c().snd.nxt);
    assert_eq!(nxt.distance(una), 10 * 1448);
    let shrunk = Header {
        ack: una,
        window: (2 * 1448) >> 7,
        ..next_from_b(&mut p)
    };
    p.inject_a(shrunk, b"");
    assert!(p.a.c().snd.wnd < 2 * 1448);
    let n = p.a.log.len();
    p.run(10 * SEC);
    let again = &p.a.log[n..];
    assert!(again.iter().any(|l| l.1.seq == una && l.2 == 1448));
    assert!(again.iter().all(|l| l.1.seq.lt(nxt)), "nothing new");
    p.faults.loss = 0;
    assert!(p.run_until(60 * SEC, |p| p.b.received.len() == 100_000));
    assert!(p.b.received == p.a.to_send);
    p.finish();
}

#[test]
fn a_window_may_stay_shut_for_hours() {
    let mut p = Pair::connected(
        config(),
        Config {
            recv_buffer: 8000,
            ..config()
        },
    );
    p.b.read = 0;
    p.a.to_send = pattern(50_000);
    p.run(SEC);
    let shut = p.b.log.iter().rev().find(|l| l.1.window > 0).unwrap().0;
    p.run(6 * 3600 * SEC);
    assert_eq!(state(&p.a), State::Established);
    let probes: Vec<Instant> =
        p.a.log
            .iter()
            .filter(|l| l.2 == 0 && l.0 > shut)
            .map(|l| l.0)
            .collect();
    let gaps: Vec<Duration> = probes.windows(2).map(|w| w[1].since(w[0])).collect();
    assert!(probes[0].since(shut) >= config().min_rto);
    let limit = config().max_rto;
    for g in gaps.windows(2) {
        assert!(g[1] == g[0] * 2 || g[1] == limit, "{gaps:?}");
    }
    assert_eq!(gaps.last(), Some(&limit));
    p.b.read = usize::MAX;
    assert!(p.run_until(200 * SEC, |p| p.b.received.len() == 50_000));
    p.finish();
}

#[test]
fn a_shut_window_still_takes_acknowledgements() {
    let mut p = Pair::connected(
        Config {
            recv_buffer: 8000,
            ..config()
        },
        config(),
    );
    p.a.read = 0;
    p.b.to_send = pattern(50_000);
    p.run(SEC);
    assert_eq!(p.a.c().rcv.window(), 0);
    p.a.to_send = pattern(200_000);
    assert!(p.run_until(10 * SEC, |p| p.b.received.len() == 200_000));
    assert_eq!(p.a.c().counters().timeouts, 0);
    p.finish();
}

#[test]
fn a_small_window_is_used_when_it_is_half_of_the_largest_or_after_a_while() {
    let mut p = cut_off(Config {
        window_scaling: false,
        ..config()
    });
    let h = next_from_b(&mut p);
    // Too small to be worth a segment: the override timer sends it.
    p.inject_a(Header { window: 500, ..h }, b"");
    let n = p.a.log.len();
    p.a.to_send = pattern(10_000);
    p.settle();
    assert_eq!(p.a.log.len(), n);
    let begun = p.now;
    p.run(config().min_rto / 2);
    assert_eq!(p.a.log.len(), n);
    assert!(p.run_until(SEC, |p| p.a.log.len() > n));
    assert_eq!(p.a.log[n].2, 500);
    assert!(p.now.since(begun) >= config().min_rto);
    p.finish();
    // Half of the largest window that the peer ever had.
    let mut p = cut_off(config());
    p.a.c().snd.max_wnd = 900;
    let h = next_from_b(&mut p);
    p.inject_a(Header { window: 4, ..h }, b"");
    assert_eq!(p.a.c().snd.wnd, 512);
    let n = p.a.log.len();
    p.a.to_send = pattern(10_000);
    p.settle();
    assert_eq!(p.a.log[n].2, 512);
    p.finish();
}

#[test]
fn every_second_segment_is_acknowledged_when_they_come_one_by_one() {
    let mut p = Pair::connected(config(), config());
    let mut acks = 0;
    for i in 0..60 {
        let h = next_from_b(&mut p);
        let n = p.a.log.len();
        p.inject_a(h, &pattern(1448));
        p.run(MS / 10);
        if i >= 20 {
            acks += p.a.log.len() - n;
        }
    }
    assert_eq!(acks, 20);
    p.finish();
}

#[test]
fn the_last_segment_of_what_was_queued_is_pushed() {
    let mut p = Pair::connected(config(), config());
    let n = p.a.log.len();
    p.a.to_send = pattern(5 * 1448);
    p.settle();
    let pushed: Vec<bool> = p.a.log[n..]
        .iter()
        .map(|l| l.1.flags.contains(Flags::PSH))
        .collect();
    assert_eq!(pushed, [false, false, false, false, true]);
    p.finish();
}

#[test]
fn a_wrong_acknowledgement_of_a_syn_is_reset() {
    let mut p = Pair::new(config(), config());
    p.connect();
    p.settle();
    let syn_ack = Header {
        seq: SeqNumber(5),
        flags: Flags::SYN | Flags::ACK,
        ..next_from_b(&mut p)
    };
    for wrong in [syn_ack.ack + 1, syn_ack.ack - 1] {
        let h = Header {
            ack: wrong,
            ..syn_ack
        };
        p.inject_a(h, b"");
        let (_, rst, _) = p.a.log.last().unwrap();
        assert_eq!((rst.flags, rst.seq), (Flags::RST, wrong));
        assert_eq!(state(&p.a), State::SynSent);
    }
    p.inject_a(syn_ack, b"");
    assert_eq!(state(&p.a), State::Established);
    p.finish();
}

#[test]
fn a_fin_waits_for_the_payload_before_it() {
    let mut p = Pair::connected(config(), config());
    let h = next_from_b(&mut p);
    let fin = Header {
        seq: h.seq + 3,
        flags: Flags::ACK | Flags::FIN,
        ..h
    };
    p.inject_a(fin, b"def");
    assert_eq!(state(&p.a), State::Established);
    assert!(!p.a.events.contains(&Event::PeerClosed));
    p.inject_a(h, b"abc");
    assert_eq!(state(&p.a), State::CloseWait);
    assert_eq!(p.a.received, b"abcdef");
    p.settle();
    assert!(p.a.events.contains(&Event::PeerClosed));
    assert_eq!(p.a.log.last().unwrap().1.ack, h.seq + 7);
    p.finish();
}
