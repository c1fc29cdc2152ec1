//! Defects that were found by review, each with the rule that it broke.

use std::net::IpAddr;
use std::time::Duration;

use super::testing::{Faults, Pair, pattern};
use super::*;
use crate::frame::{Packet, Pool};
use crate::wire::eth::Mac;
use crate::wire::tcp::{Flags, Header, Options, Timestamps};
use crate::wire::template::{Path, Template};

const SEC: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A segment that `a` takes for the next of `b`.
fn from_b(p: &mut Pair) -> Header {
    let a = p.a.c();
    Header {
        src_port: 80,
        dst_port: 4000,
        seq: a.rcv.nxt,
        ack: a.snd.una,
        flags: Flags::ACK,
        window: 500,
        options: Options {
            timestamps: a.ts.map(|t| Timestamps {
                val: t.recent,
                ecr: 0,
            }),
            ..Options::default()
        },
        ..Header::default()
    }
}

fn plain() -> Config {
    Config {
        timestamps: false,
        sack: false,
        ..Config::default()
    }
}

fn take_all(pool: &mut Pool) -> Vec<Packet> {
    std::iter::from_fn(|| pool.alloc()).collect()
}

fn give_back(pool: &mut Pool, packets: Vec<Packet>) {
    for p in packets {
        pool.free(p);
    }
}

#[test]
fn a_closed_connection_does_not_wait_for_a_shut_window_for_ever() {
    let mut p = Pair::connected(
        Config::default(),
        Config {
            recv_buffer: 8000,
            ..Config::default()
        },
    );
    p.b.read = 0;
    p.a.to_send = pattern(50_000);
    p.run(SEC);
    let (now, a) = (p.now, &mut p.a);
    a.conn.as_mut().unwrap().close(now, &mut a.pool);
    p.run(400 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    assert_eq!(p.b.closed, Some(Reason::Reset));
    p.finish();
}

#[test]
fn an_open_connection_waits_for_a_shut_window_as_long_as_it_is_answered() {
    let mut p = Pair::connected(
        Config {
            retries: 4,
            max_rto: 2 * SEC,
            ..Config::default()
        },
        Config::default(),
    );
    p.a.to_send = pattern(5_000);
    p.faults.loss = 1000;
    p.settle();
    // RFC 9293 section 3.8.6.1: the window shuts over data in flight.
    for _ in 0..60 {
        let h = Header {
            window: 0,
            ..from_b(&mut p)
        };
        p.inject_a(h, b"");
        p.run(SEC);
    }
    assert_eq!(p.a.closed, None);
    assert!(p.a.c().counters().timeouts > 20);
    // The answers end.
    p.run(60 * SEC);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    p.finish();
}

#[test]
fn a_reset_waits_for_a_frame() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let all = take_all(&mut p.a.pool);
    let a = &mut p.a;
    a.conn.as_mut().unwrap().abort(&mut a.pool);
    p.run(10 * MS);
    assert!(!p.a.c().is_done());
    give_back(&mut p.a.pool, all);
    p.run(SEC);
    assert_eq!(p.b.closed, Some(Reason::Reset));
    assert!(p.a.c().is_done());
    p.finish();
}

#[test]
fn probes_and_refusals_wait_for_a_frame() {
    // A keepalive probe.
    let c = Config {
        keepalive: Some(SEC),
        ..Config::default()
    };
    let mut p = Pair::connected(c, Config::default());
    p.run(Duration::from_millis(800));
    let n = p.a.log.len();
    let all = take_all(&mut p.a.pool);
    p.run(Duration::from_millis(300));
    assert_eq!(p.a.log.len(), n);
    give_back(&mut p.a.pool, all);
    p.run(10 * MS);
    assert_eq!(p.a.log.len(), n + 1);
    p.finish();

    // The reset for an acknowledgement of another SYN.
    let mut p = Pair::new(Config::default(), Config::default());
    p.connect();
    p.settle();
    let all = take_all(&mut p.a.pool);
    let wrong = p.a.log[0].1.seq + 1000;
    let h = Header {
        src_port: 80,
        dst_port: 4000,
        ack: wrong,
        flags: Flags::SYN | Flags::ACK,
        ..Header::default()
    };
    let bytes = {
        let mut bytes = vec![0; h.emit_len()];
        h.emit(&mut bytes);
        bytes
    };
    // The frame that it comes in is taken away before it can be turned round.
    let mut all = all;
    let one = all.pop().unwrap();
    p.a.pool.free(one);
    p.a.deliver(p.now, &bytes);
    let a = &mut p.a;
    a.conn.as_mut().unwrap().free_spare(&mut a.pool);
    all.extend(take_all(&mut a.pool));
    p.settle();
    assert_eq!(p.a.log.len(), 1);
    give_back(&mut p.a.pool, all);
    p.run(2 * MS);
    let last = p.a.log.last().unwrap().1;
    assert_eq!((last.flags, last.seq), (Flags::RST, wrong));
    p.finish();
}

#[test]
fn duplicates_without_sack_do_not_open_the_window() {
    let mut p = Pair::connected(plain(), plain());
    p.a.to_send = pattern(200_000);
    p.settle();
    p.faults.loss = 1000;
    let before = p.a.c().info().cwnd;
    for _ in 0..2 {
        let h = from_b(&mut p);
        p.inject_a(h, b"");
    }
    assert_eq!(p.a.c().info().cwnd, before, "RFC 5681 section 3.2 step 1");
    for _ in 0..200 {
        let h = from_b(&mut p);
        p.inject_a(h, b"");
    }
    let i = p.a.c().info();
    assert!(i.cwnd <= before && i.ca_state == CaState::Recovery, "{i:?}");
    // Nor after a time-out.
    p.run(2 * SEC);
    let i = p.a.c().info();
    assert_eq!((i.ca_state, i.cwnd), (CaState::Loss, u32::from(i.snd_mss)));
    for _ in 0..50 {
        let h = from_b(&mut p);
        p.inject_a(h, b"");
    }
    assert_eq!(p.a.c().info().cwnd, i.cwnd);
    p.finish();
}

#[test]
fn data_from_behind_the_fin_is_no_part_of_the_stream() {
    // Early data first; then the end before it, alone and with payload.
    for payload in [0usize, 10] {
        let mut p = Pair::connected(Config::default(), Config::default());
        let h = from_b(&mut p);
        let early = Header {
            seq: h.seq + 15,
            ..h
        };
        p.inject_a(early, &[7; 100]);
        let fin = Header {
            seq: h.seq + 20 - payload as u32,
            flags: Flags::ACK | Flags::FIN,
            ..h
        };
        p.inject_a(fin, &vec![3; payload]);
        p.inject_a(h, &[3; 20]);
        assert_eq!(p.a.received.len(), 20, "{payload}");
        assert!(p.a.events.contains(&Event::PeerClosed), "{payload}");
        assert_eq!(p.a.c().state(), State::CloseWait);
        assert_eq!(p.a.c().rcv.nxt, h.seq + 21);
        p.finish();
    }
    // The segment with the end is the one that reaches the early data.
    let mut p = Pair::connected(Config::default(), Config::default());
    let h = from_b(&mut p);
    let early = Header {
        seq: h.seq + 10,
        ..h
    };
    p.inject_a(early, &[7; 100]);
    let last = Header {
        flags: Flags::ACK | Flags::FIN,
        ..h
    };
    p.inject_a(last, &[3; 10]);
    assert_eq!(p.a.received, [3; 10]);
    assert_eq!(p.a.c().state(), State::CloseWait);
    p.finish();
}

#[test]
fn headers_of_another_length_move_the_payload() {
    let path = |vlan| Path {
        src_mac: Mac([2, 0, 0, 0, 0, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0, 2]),
        vlan,
        src: IpAddr::from([10, 0, 0, 1]),
        dst: IpAddr::from([10, 0, 0, 2]),
        ttl: 64,
        tos: 0,
    };
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(300_000);
    for vlan in [Some(5), None, Some(6)] {
        p.run(15 * MS);
        p.a.template = Template::new(&path(vlan), 6).unwrap();
    }
    assert!(p.run_until(10 * SEC, |p| p.b.received.len() == 300_000));
    assert!(p.b.received == p.a.to_send);
    p.finish();
}

#[test]
fn an_idle_connection_begins_again_or_not() {
    for (restart, expected) in [(true, 10), (false, 60)] {
        let mut p = Pair::connected(
            Config {
                slow_start_after_idle: restart,
                ..Config::default()
            },
            Config::default(),
        );
        p.a.to_send = pattern(400_000);
        p.run(10 * SEC);
        let n = p.a.log.len();
        p.a.to_send.extend(pattern(60 * 1448));
        p.settle();
        assert_eq!(p.a.log.len() - n, expected, "RFC 5681 section 4.1");
        p.finish();
    }
}

#[test]
fn answers_to_what_is_not_believed_are_limited_as_configured() {
    let c = Config {
        challenge_acks: 3,
        ..Config::default()
    };
    let mut p = Pair::connected(c.clone(), Config::default());
    let n = p.a.log.len();
    for i in 0..50 {
        // Bare, with a FIN, with a SYN: outside of the window each.
        let h = Header {
            seq: from_b(&mut p).seq - 5000,
            flags: [Flags::ACK, Flags::ACK | Flags::FIN, Flags::SYN][i % 3],
            ..from_b(&mut p)
        };
        p.inject_a(h, b"");
    }
    assert_eq!(p.a.log.len() - n, 3);
    // Data is acknowledged, for it may be that an acknowledgement was lost.
    let h = Header {
        seq: from_b(&mut p).seq - 10,
        ..from_b(&mut p)
    };
    p.inject_a(h, &[0; 10]);
    assert_eq!(p.a.log.len() - n, 4);
    p.finish();

    let mut p = Pair::new(c, Config::default());
    p.connect();
    p.settle();
    for i in 0..50 {
        let h = Header {
            src_port: 80,
            dst_port: 4000,
            ack: p.a.log[0].1.seq + 100 + i,
            flags: Flags::ACK,
            ..Header::default()
        };
        p.inject_a(h, b"");
    }
    assert_eq!(p.a.log.len(), 1 + 3);
    p.finish();
}

/// A time-out because everything was held up: found out with and without
/// timestamps, with and without SACK.
#[test]
fn a_mistaken_timeout_is_found_out() {
    for (timestamps, sack) in [(true, true), (true, false), (false, true), (false, false)] {
        let c = Config {
            timestamps,
            sack,
            ..Config::default()
        };
        let mut p = Pair::connected(c.clone(), c);
        p.a.to_send = pattern(2_000_000);
        p.run(25 * MS);
        let before = p.a.c().info();
        let (una, mss) = (p.a.c().snd.una, u32::from(before.snd_mss));
        // What is on its way is lost as far as the wire goes; its
        // acknowledgements are made up below.
        p.faults = Faults {
            loss: 1000,
            ..Faults::NONE
        };
        p.run(300 * MS);
        let i = p.a.c().info();
        assert_eq!((i.ca_state, i.retransmits), (CaState::Loss, 1), "{i:?}");
        let una = una.max(p.a.c().snd.una);
        let sent = p.a.c().info().counters;
        for k in 1..4 {
            let mut h = from_b(&mut p);
            h.ack = una + k * mss;
            h.window = u16::MAX;
            if let Some(t) = &mut h.options.timestamps {
                // The echo of the first transmission.
                t.ecr = p.a.log[p.a.log.len() / 2].1.options.timestamps.unwrap().val;
            }
            p.inject_a(h, b"");
        }
        let i = p.a.c().info();
        let what = format!("timestamps {timestamps}, SACK {sack}: {i:?}");
        assert_eq!(i.counters.undone, 1, "{what}");
        assert_eq!(i.counters.retransmits, sent.retransmits, "{what}");
        assert!(
            i.cwnd >= before.cwnd && i.ca_state == CaState::Open,
            "{what}"
        );
        p.finish();
    }
}

/// One that was right is not undone: what arrives is only what went again.
#[test]
fn a_rightful_timeout_stands() {
    for sack in [true, false] {
        let c = Config {
            timestamps: false,
            sack,
            ..Config::default()
        };
        let mut p = Pair::connected(c.clone(), c);
        p.a.to_send = pattern(400_000);
        p.run(25 * MS);
        p.faults.loss = 1000;
        p.run(300 * MS);
        assert_eq!(p.a.c().info().ca_state, CaState::Loss);
        p.faults.loss = 0;
        assert!(p.run_until(60 * SEC, |p| p.b.received.len() == 400_000));
        let k = p.a.c().counters();
        assert!(k.undone == 0 && k.timeouts >= 1, "SACK {sack}: {k:?}");
        p.finish();
    }
}
