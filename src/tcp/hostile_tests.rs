//! Whatever arrives, in whatever state: nothing panics, no frame is lost, no
//! window moves left, a timer is armed while something is owed, and the
//! connection works on when the noise stops.

use std::time::Duration;

use super::testing::{Pair, Rng, pattern};
use super::*;
use crate::wire::tcp::{Flags, Header, Options, SackBlocks, SeqNumber, Timestamps};

/// A number near one of `edges`, or anything.
fn near(r: &mut Rng, edges: &[SeqNumber]) -> SeqNumber {
    if r.chance(100) {
        return SeqNumber(r.next() as u32);
    }
    let at = edges[r.below(edges.len() as u64) as usize];
    let by = [0, 1, 2, 100, 1448, 70_000, 1 << 20, 1 << 31][r.below(8) as usize];
    if r.chance(500) { at + by } else { at - by }
}

fn segment(r: &mut Rng, c: &Connection, p: u16) -> (Header, Vec<u8>) {
    let wnd = c.rcv.window();
    let rcv = [c.rcv.nxt, c.rcv.nxt, c.rcv.nxt + wnd, c.rcv.nxt + wnd / 2];
    let snd = [c.snd.una, c.snd.nxt, c.snd.nxt, c.snd.tail()];
    let flags = match r.below(10) {
        0 => Flags(r.next() as u8),
        1 => Flags::ACK | Flags::FIN,
        2 => Flags::RST | Flags::ACK,
        3 => Flags::SYN | Flags(r.next() as u8 & 0x10),
        _ => Flags::ACK,
    };
    let mut sack = SackBlocks::default();
    for _ in 0..r.below(5) {
        sack.push(near(r, &snd), near(r, &snd));
    }
    let ours = c.ts.map_or(0, |t| t.recent);
    let val = match r.below(4) {
        0 => r.next() as u32,
        1 => ours.wrapping_add(1 << 31),
        _ => ours,
    };
    let h = Header {
        src_port: 80,
        dst_port: p,
        seq: near(r, &rcv),
        ack: near(r, &snd),
        flags,
        window: [0, 1, 7, 500, 65_535, r.next() as u16][r.below(6) as usize],
        urgent: r.next() as u16,
        options: Options {
            mss: r.chance(100).then_some(r.next() as u16),
            window_scale: r.chance(100).then_some(r.next() as u8),
            sack_permitted: r.chance(100),
            timestamps: r.chance(900).then_some(Timestamps {
                val,
                ecr: r.next() as u32,
            }),
            sack,
        },
    };
    let len = [0, 0, 1, 10, 536, 1448][r.below(6) as usize];
    (h, vec![0; len])
}

/// What has to hold whenever all output has been polled.
fn check(c: &Connection, seed: u64) {
    let owed = c.snd.has_sent() || c.snd.has_unsent();
    assert!(
        !owed || c.state() == State::Closed || c.poll_timeout().is_some(),
        "seed {seed}: nothing will wake it: {c:?}"
    );
    assert!(
        c.snd.in_flight() <= c.snd.outstanding() + 3000,
        "seed {seed}: {c:?}"
    );
}

#[test]
fn arbitrary_segments_break_nothing() {
    for seed in 0..300 {
        let mut r = Rng::new(seed);
        let config = |r: &mut Rng| Config {
            sack: r.chance(700),
            timestamps: r.chance(500),
            window_scaling: r.chance(700),
            nodelay: r.chance(500),
            recv_buffer: 2048 << r.below(12),
            send_buffer: 2048 << r.below(12),
            keepalive: r.chance(300).then_some(Duration::from_secs(10)),
            ..Config::default()
        };
        let mut p = Pair::new(config(&mut r), config(&mut r));
        p.connect();
        p.a.to_send = pattern(r.below(300_000) as usize);
        p.b.to_send = pattern(r.below(300_000) as usize);
        p.run(Duration::from_millis(r.below(40)));
        p.a.read = [0, 1, usize::MAX][r.below(3) as usize];
        for _ in 0..r.below(120) {
            let c = p.a.c();
            let edge = c.rcv.nxt + c.rcv.window();
            let (h, payload) = segment(&mut r, p.a.c(), 4000);
            p.inject_a(h, &payload);
            let c = p.a.c();
            let synchronized = c.state().is_synchronized() && c.snd.first().is_none_or(|s| !s.syn);
            if synchronized && c.rcv.nxt != SeqNumber(0) && c.rcv.nxt.distance(edge).abs() < 1 << 24
            {
                let now_edge = c.rcv.nxt + c.rcv.window();
                assert!(
                    now_edge + 1 == edge || now_edge.ge(edge) || c.fin_seq.is_some(),
                    "seed {seed}: {c:?}"
                );
            }
            check(p.a.c(), seed);
            match r.below(60) {
                0 => p.a.c().shutdown(),
                1 => {
                    let now = p.now;
                    let a = &mut p.a;
                    a.conn.as_mut().unwrap().close(now, &mut a.pool);
                }
                2 if r.chance(200) => {
                    let a = &mut p.a;
                    a.conn.as_mut().unwrap().abort(&mut a.pool);
                }
                3 => {
                    let quoted = near(&mut r, &[p.a.c().snd.una]);
                    let now = p.now;
                    p.a.c().handle_path_mtu(now, r.below(1500) as u16, quoted);
                }
                4..20 => {
                    p.run(Duration::from_micros(r.below(3_000_000)));
                }
                _ => {}
            }
            p.settle();
            check(p.a.c(), seed);
        }
        p.a.read = usize::MAX;
        p.run(Duration::from_secs(200));
        p.finish();
    }
}

/// Noise that a blind attacker can make: no acceptable sequence number in the
/// window, or an unacceptable acknowledgement. The transfer goes on.
#[test]
fn blind_noise_stops_nothing() {
    for seed in 0..40 {
        let mut r = Rng::new(seed);
        let mut p = Pair::connected(Config::default(), Config::default());
        p.a.to_send = pattern(200_000);
        p.b.to_send = pattern(200_000);
        p.a.close_when_sent = true;
        p.b.close_when_sent = true;
        for _ in 0..60 {
            let (mut h, payload) = segment(&mut r, p.a.c(), 4000);
            let c = p.a.c();
            if r.chance(500) {
                // In the window, but the acknowledgement gives it away.
                h.ack = c.snd.nxt + 1 + r.below(1 << 30) as u32;
                h.flags = Flags::ACK | Flags(h.flags.0 & 1);
            } else {
                h.seq = c.rcv.nxt + c.rcv.window() + 1 + r.below(1 << 30) as u32;
            }
            if h.seq == c.rcv.nxt {
                h.flags = Flags(h.flags.0 & !4);
            }
            p.inject_a(h, &payload);
            p.run(Duration::from_millis(r.below(12)));
        }
        let done = p.run_until(Duration::from_secs(300), |p| {
            p.a.closed.is_some() && p.b.closed.is_some()
        });
        assert!(
            done && p.b.received == p.a.to_send && p.a.received == p.b.to_send,
            "seed {seed}: {:?}",
            p.a.conn
        );
        p.finish();
    }
}

/// One-byte segments to an application that does not read: the window shuts.
#[test]
fn a_window_that_nobody_empties_shuts() {
    let config = Config {
        recv_buffer: 1 << 20,
        timestamps: false,
        ..Config::default()
    };
    let mut p = Pair::connected(config.clone(), config);
    p.a.read = 0;
    let mut sent = 0;
    for _ in 0..3_000 {
        // What the peer was told, less one byte, so that it is never used up.
        let told = p.a.log.last().map_or(0, |l| u32::from(l.1.window)) << p.a.c().rcv.scale;
        let len = told.saturating_sub(1).clamp(0, 1400);
        if len == 0 {
            break;
        }
        let c = p.a.c();
        let h = Header {
            src_port: 80,
            dst_port: 4000,
            seq: c.rcv.nxt,
            ack: c.snd.nxt,
            flags: Flags::ACK,
            window: 1000,
            ..Header::default()
        };
        p.inject_a(h, &vec![0; len as usize]);
        p.run(Duration::from_millis(50));
        sent += len;
    }
    assert!(sent <= (128 << 10) + 1024, "{sent}");
    p.finish();
}

#[test]
fn a_fin_that_does_not_fit_the_window_follows_its_payload() {
    let mut p = Pair::connected(
        Config::default(),
        Config {
            window_scaling: false,
            recv_buffer: 2048,
            ..Config::default()
        },
    );
    p.run(Duration::from_secs(1));
    p.b.read = 0;
    // The window is 2048 bytes; what is left after one segment is exactly the
    // second, and its FIN is one too many.
    let room = p.a.c().snd.wnd as usize;
    p.a.to_send = pattern(room);
    p.a.close_when_sent = true;
    p.run(Duration::from_secs(5));
    assert_eq!(p.b.c().recv_available(), room);
    p.b.read = usize::MAX;
    assert!(p.run_until(Duration::from_secs(20), |p| {
        p.b.events.contains(&Event::PeerClosed)
    }));
    p.finish();
}

/// A hole is filled by a segment with a lower sequence number than the one
/// that brought the window, and a newer acknowledgement.
#[test]
fn a_retransmission_that_acknowledges_more_brings_its_window() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.faults.loss = 1000;
    p.a.to_send = pattern(20_000);
    p.settle();
    let (una, nxt, ts) = {
        let c = p.a.c();
        (c.snd.una, c.rcv.nxt, c.ts.map_or(0, |t| t.recent))
    };
    let segment = |seq, ack, window| Header {
        src_port: 80,
        dst_port: 4000,
        seq,
        ack,
        flags: Flags::ACK,
        window,
        options: Options {
            timestamps: Some(Timestamps { val: ts, ecr: 0 }),
            ..Options::default()
        },
        ..Header::default()
    };
    p.inject_a(segment(nxt + 100, una, 200), &[0; 100]);
    let c = p.a.c();
    let scale = c.snd.scale;
    assert_eq!((c.snd.una, c.snd.wnd), (una, 200 << scale));
    p.inject_a(segment(nxt, una + 1448, 100), &[0; 100]);
    let c = p.a.c();
    assert_eq!((c.snd.una, c.snd.wnd), (una + 1448, 100 << scale));
    p.finish();
}

#[test]
fn a_reset_that_finds_no_frame_is_sent_when_there_is_one() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let mut others: Vec<_> = std::iter::from_fn(|| p.a.pool.alloc()).collect();
    let a = &mut p.a;
    a.conn.as_mut().unwrap().abort(&mut a.pool);
    p.settle();
    assert!(!p.a.c().is_done(), "the peer has not been told");
    p.a.pool.free(others.pop().unwrap());
    assert!(p.run_until(Duration::from_secs(1), |p| p.b.closed.is_some()));
    assert_eq!(p.b.closed, Some(Reason::Reset));
    assert!(p.a.c().is_done());
    for packet in others {
        p.a.pool.free(packet);
    }
    p.finish();
}

/// Each segment in flight has to go again in parts, and each part takes a
/// frame: those that receiving needs stay.
#[test]
fn a_path_that_shrinks_leaves_frames_to_receive_with() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(3_000_000);
    p.run_until(Duration::from_secs(20), |p| p.b.received.len() > 2_000_000);
    let reserve = crate::transport::share::reserve_of_parts(&p.a.pool);
    let mut others = Vec::new();
    while p.a.pool.available() > reserve + 20 {
        others.extend(p.a.pool.alloc());
    }
    p.faults.loss = 1000;
    p.settle();
    let una = p.a.c().snd.una;
    let now = p.now;
    p.a.c().handle_path_mtu(now, 300, una);
    for _ in 0..20 {
        p.run(Duration::from_millis(500));
        let left = p.a.pool.available();
        assert!(
            left + 1 >= reserve,
            "{left} of {reserve} left to receive with"
        );
    }
    for packet in others {
        p.a.pool.free(packet);
    }
    p.faults.loss = 0;
    assert!(p.run_until(Duration::from_secs(200), |p| p.b.received.len()
        == 3_000_000));
    p.finish();
}

/// An application takes frames as long as it may; parts of what it has queued
/// find some nevertheless, and leave as fast as the windows let them.
#[test]
fn segments_that_go_in_parts_do_not_go_one_at_a_time() {
    let config = Config {
        timestamps: false,
        ..Config::default()
    };
    let mut p = Pair::connected(config.clone(), config);
    let mut others = Vec::new();
    while p.a.pool.available() > 1100 {
        others.extend(p.a.pool.alloc());
    }
    p.a.to_send = pattern(300_000);
    p.swallow = (0..400).map(|n| (true, n)).collect();
    p.settle();
    let now = p.now;
    let una = p.a.c().snd.una;
    assert_eq!(
        p.a.pool.available(),
        crate::transport::share::reserve(&p.a.pool)
    );
    p.a.c().handle_path_mtu(now, 300, una);
    p.swallow.clear();
    // A part for each round trip would take 12 s.
    let all = |p: &mut Pair| p.b.received.len() == 300_000;
    assert!(p.run_until(Duration::from_secs(3), all));
    for packet in others {
        p.a.pool.free(packet);
    }
    p.finish();
}

/// Found by fuzzing: a frame was asked for every half millisecond, although all
/// were those of segments in flight, which only an acknowledgement frees.
#[test]
fn frames_of_ones_own_are_waited_for_without_asking() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(100_000);
    let reserve = crate::transport::share::reserve_of_parts(&p.a.pool);
    p.settle();
    let mut others = Vec::new();
    while p.a.pool.available() > reserve {
        others.extend(p.a.pool.alloc());
    }
    let (now, una) = (p.now, p.a.c().snd.una);
    p.a.c().handle_path_mtu(now, 300, una);
    p.settle();
    assert!(p.a.c().snd.in_flight() > 0, "the first goes in parts");
    let mut deadlines = 0;
    while let Some(at) =
        p.a.c()
            .poll_timeout()
            .filter(|t| *t < now + Duration::from_secs(60))
    {
        deadlines += 1;
        p.a.conn.as_mut().unwrap().handle_timeout(at, &mut p.a.pool);
        p.now = at;
        p.a.collect(at);
        assert!(deadlines < 30);
    }
    for packet in others {
        p.a.pool.free(packet);
    }
    p.finish();
}

/// The same with what is sent for the first time, into a small window.
#[test]
fn frames_for_a_small_window_are_waited_for_without_asking() {
    for extra in 0..24 {
        let small = Config {
            recv_buffer: 4000,
            ..Config::default()
        };
        let mut p = Pair::connected(Config::default(), small);
        p.swallow = (0..10_000).map(|n| (true, n)).collect();
        p.a.to_send = pattern(20_000);
        p.settle();
        let reserve = crate::transport::share::reserve_of_parts(&p.a.pool);
        let mut others = Vec::new();
        while p.a.pool.available() > reserve + extra {
            others.extend(p.a.pool.alloc());
        }
        let (now, una) = (p.now, p.a.c().snd.una);
        p.a.c().handle_path_mtu(now, 300, una);
        p.settle();
        let mut deadlines = 0;
        while let Some(at) =
            p.a.c()
                .poll_timeout()
                .filter(|t| *t < now + Duration::from_secs(60))
        {
            deadlines += 1;
            p.a.conn.as_mut().unwrap().handle_timeout(at, &mut p.a.pool);
            p.now = at;
            p.a.collect(at);
            assert!(deadlines < 40, "with {extra} frames");
        }
        for packet in others {
            p.a.pool.free(packet);
        }
        p.finish();
    }
}

#[test]
fn a_small_send_buffer_is_told_of_room() {
    let mut p = Pair::connected(
        Config {
            send_buffer: 8192,
            ..Config::default()
        },
        Config::default(),
    );
    p.a.to_send = pattern(100_000);
    assert!(p.run_until(Duration::from_secs(20), |p| p.b.received.len() == 100_000));
    assert!(p.a.events.contains(&Event::Writable));
    p.finish();
}

#[test]
fn a_shutdown_before_the_syn_ack_is_sent_ends_in_order() {
    let mut p = Pair::new(Config::default(), Config::default());
    p.connect();
    p.settle();
    let syn = p.a.log[0].1;
    let setup = p.b.setup(p.now, 80, 4000);
    let mut c = Connection::accept(&setup, &syn);
    c.shutdown();
    p.b.conn = Some(c);
    p.a.close_when_sent = true;
    assert!(
        p.run_until(Duration::from_secs(20), |p| p.a.closed.is_some()
            && p.b.closed.is_some())
    );
    assert_eq!(p.a.closed, Some(Reason::Finished));
    p.finish();
}
