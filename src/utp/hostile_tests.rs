//! Peers that lie, and others that guess: what they can get.

use std::time::Duration;

use super::testing::{Pair, Rng, pattern};
use super::{Config, Reason, State};
use crate::wire::utp::{Extension, Header, Kind, SELECTIVE_ACK, SeqNr};

fn plain() -> Config {
    Config {
        mtu_probing: false,
        ..Config::default()
    }
}

/// `a` with all that its window lets it send in flight, none of which arrives.
fn sending() -> Pair {
    let mut p = Pair::connected(plain(), plain());
    p.filter = |_, _| false;
    p.a.to_send = pattern(4_000_000);
    p.settle();
    assert!(p.a.c().snd.sent_count() > 3);
    p
}

/// Acknowledgements of what was never sent: none is believed, and the window
/// stays.
#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut p = sending();
    let before = p.a.c().info();
    let sent = p.a.log.len();
    let h = p.as_b(Kind::State);
    let nxt = p.a.c().snd.nxt();
    for ahead in 0..0x7fff {
        p.inject_a(
            Header {
                ack: nxt.plus(ahead),
                ..h
            },
            &[],
            &[],
        );
    }
    let all = [0xff; 255];
    let report = Extension {
        id: SELECTIVE_ACK,
        bytes: &all,
    };
    p.inject_a(Header { ack: nxt, ..h }, &[report], &[]);
    let after = p.a.c().info();
    assert_eq!(
        (after.cwnd, after.unacked, after.sacked),
        (before.cwnd, before.unacked, 0)
    );
    let sent = p.a.log.len() - sent;
    assert!(sent <= 10, "{sent} answers to {}", 0x8000);
    assert_eq!(p.a.c().counters().bad_acks, 0x8000);
    p.finish();
}

/// Who acknowledges what is on its way, before it can have arrived, gets no
/// more than the bytes that it names: the window at most doubles each time, and
/// never beyond what the peer's own window allows.
#[test]
fn optimism_is_bounded_by_windows() {
    let mut p = sending();
    let mut h = p.as_b(Kind::State);
    h.window = 200_000;
    for _ in 0..200 {
        let before = p.a.c().info();
        h.ack = p.a.c().snd.nxt().minus(1);
        p.now += Duration::from_micros(10);
        p.inject_a(h, &[], &[]);
        let after = p.a.c().info();
        assert!(
            after.cwnd <= before.cwnd + before.in_flight.max(1),
            "{after:?}"
        );
        assert!(after.in_flight <= 200_000, "{after:?}");
        assert!(after.send_queue <= Config::default().send_buffer);
    }
    p.finish();
}

/// One acknowledgement for a whole window: what leaves at once is a window, and
/// no more frames are held than the send buffer has.
#[test]
fn laziness_is_bounded_by_the_window() {
    let mut p = sending();
    for _ in 0..30 {
        p.now += Duration::from_millis(400);
        let mut h = p.as_b(Kind::State);
        h.window = u32::MAX;
        h.ack = p.a.c().snd.nxt().minus(1);
        let before = p.a.log.len();
        p.inject_a(h, &[], &[]);
        let i = p.a.c().info();
        let burst = (p.a.log.len() - before) * usize::from(i.snd_mss);
        assert!(
            burst <= i.cwnd as usize + usize::from(i.snd_mss),
            "{burst}: {i:?}"
        );
        assert!(i.unacked <= u32::from(Config::default().max_packets));
    }
    p.finish();
}

/// Whatever delays a peer tells, the window keeps its bounds: one packet at the
/// least, and no more growth than was acknowledged.
#[test]
fn delays_may_be_false() {
    for seed in 1..40 {
        let mut rng = Rng::new(seed);
        let mut p = sending();
        for _ in 0..100 {
            p.now += Duration::from_micros(rng.below(50_000));
            let before = p.a.c().info();
            let mut h = p.as_b(Kind::State);
            h.timestamp = rng.next() as u32;
            h.timestamp_diff = match rng.below(4) {
                0 => 0,
                1 => 0x7fff_ffff,
                2 => rng.below(1000) as u32,
                _ => rng.next() as u32,
            };
            let flight = p.a.c().snd.sent_count() as u64;
            h.ack = h.ack.plus(rng.below(flight + 1) as u16);
            p.inject_a(h, &[], &[]);
            let i = p.a.c().info();
            assert!(i.cwnd >= u32::from(i.snd_mss), "seed {seed}: {i:?}");
            let acked = before.in_flight + 2 * u32::from(i.snd_mss);
            assert!(i.cwnd <= before.cwnd + acked, "seed {seed}: {i:?}");
        }
        p.finish();
    }
}

/// Of all numbers that a forged RESET may name, those are believed that are in
/// flight, and two more: the last acknowledged and the next.
#[test]
fn a_blind_reset_has_to_guess_both_numbers() {
    let mut p = sending();
    let (una, nxt) = (p.a.c().snd.una, p.a.c().snd.nxt());
    let (recv, send) = (p.a.c().recv_id(), p.a.c().send_id());
    let sent = p.a.log.len();
    let believable = |ack: SeqNr| una.minus(1).le(ack) && ack.le(nxt);
    let mut refused = 0;
    for ack in (0..=u16::MAX).map(SeqNr) {
        for conn_id in [recv, send] {
            if !believable(ack) {
                let h = Header {
                    kind: Kind::Reset,
                    conn_id,
                    ack,
                    seq: SeqNr(ack.0.wrapping_mul(3)),
                    ..Header::default()
                };
                p.inject_a(h, &[], &[]);
                refused += 1;
            }
        }
    }
    let guesses = 65_536 - refused / 2;
    assert_eq!(guesses, p.a.c().snd.sent_count() + 2);
    assert_eq!(p.a.c().state(), State::Connected);
    assert_eq!(p.a.c().counters().bad_resets, refused as u64);
    assert_eq!(
        p.a.log.len(),
        sent,
        "a storm of resets is answered by nothing"
    );
    // By another id none is believed.
    let (a, pool) = (p.a.conn.as_mut().unwrap(), &mut p.a.pool);
    let h = Header {
        kind: Kind::Reset,
        conn_id: recv.wrapping_add(7),
        ack: una,
        len: 20,
        ..Header::default()
    };
    let mut packet = pool.alloc().unwrap();
    packet.set_range(crate::frame::PACKET_START, 20);
    a.handle_packet(p.now, pool, &h, packet);
    assert_eq!(a.state(), State::Connected);
    // Both forms that implementations send are.
    for conn_id in [recv, send] {
        let mut p = sending();
        let ack = p.a.c().snd.una;
        let h = Header { conn_id, ack, ..h };
        p.inject_a(h, &[], &[]);
        assert_eq!(p.a.closed, Some(Reason::Reset));
        p.finish();
    }
    p.finish();
}

/// A peer that sends everything but what is next: the frames that wait are
/// bounded by a share of the pool, the packets by `reorder_packets`, and
/// everybody else has frames.
#[test]
fn memory_for_what_is_out_of_order_is_bounded() {
    for size in [1, 500, 1452] {
        let mut p = Pair::connected(plain(), plain());
        let total = p.a.pool.available();
        let h = p.as_b(Kind::Data);
        let payload = pattern(size);
        for i in 1..30_000u16 {
            p.inject_a(
                Header {
                    seq: h.seq.plus(i),
                    ..h
                },
                &[],
                &payload,
            );
        }
        let (bytes, packets) = p.a.c().rcv.early();
        let config = Config::default();
        assert!(packets <= usize::from(config.reorder_packets), "{packets}");
        assert!(bytes <= config.recv_buffer as usize + (64 << 10), "{bytes}");
        let left = p.a.pool.available();
        assert!(left > total / 2 - 64, "{left} of {total}");
        p.finish();
    }
}

/// Packets that repeat, or that are nowhere near: what they cost.
#[test]
fn noise_is_answered_within_limits() {
    let mut p = Pair::connected(plain(), plain());
    let sent = p.a.log.len();
    let h = p.as_b(Kind::Data);
    for i in 0..2000u16 {
        let (seq, ack) = (h.seq.plus(0x4000 + i), h.ack);
        p.inject_a(Header { seq, ack, ..h }, &[], b"noise");
        p.inject_a(
            Header {
                ack: h.ack.plus(0x4000 + i),
                ..h
            },
            &[],
            b"noise",
        );
        // A keepalive for each.
        p.inject_a(
            Header {
                kind: Kind::State,
                ack: h.ack.minus(1),
                ..h
            },
            &[],
            &[],
        );
    }
    let answers = p.a.log.len() - sent;
    assert!(answers <= 10, "{answers}");
    assert_eq!(p.a.c().recv_available(), 0);
    p.finish();
}

/// Any packets at all, in every state, beside an honest peer: no rule breaks,
/// no frame is lost.
#[test]
fn arbitrary_packets_break_nothing() {
    for seed in 1..400 {
        let mut rng = Rng::new(seed);
        let mut p = Pair::new(Config::default(), Config::default());
        p.faults.loss = rng.below(100);
        p.faults.delay = Duration::from_micros(rng.below(20_000));
        p.a.to_send = pattern(rng.below(50_000) as usize);
        p.b.to_send = pattern(rng.below(50_000) as usize);
        p.a.close_when_sent = rng.chance(500);
        p.b.close_when_sent = rng.chance(500);
        p.a.read = if rng.chance(500) { 1000 } else { usize::MAX };
        p.connect();
        for _ in 0..60 {
            let pause = Duration::from_micros(rng.below(30_000));
            p.run(pause);
            let Some(a) = &p.a.conn else { break };
            let near = |rng: &mut Rng, n: SeqNr| match rng.below(3) {
                0 => SeqNr(rng.next() as u16),
                1 => n,
                _ => n.plus(rng.below(40) as u16).minus(20),
            };
            let kinds = [Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn];
            let most = if rng.chance(900) { 3 } else { 5 };
            let kind = kinds[rng.below(most) as usize];
            let h = Header {
                kind,
                conn_id: if rng.chance(50) {
                    a.send_id()
                } else {
                    a.recv_id()
                },
                timestamp: rng.next() as u32,
                timestamp_diff: rng.next() as u32,
                window: rng.next() as u32 >> rng.below(32),
                seq: near(&mut rng, a.rcv.nxt),
                ack: near(&mut rng, a.snd.nxt()),
                ..Header::default()
            };
            let bits: Vec<u8> = (0..rng.below(20)).map(|_| rng.next() as u8).collect();
            let report = [Extension {
                id: SELECTIVE_ACK,
                bytes: &bits,
            }];
            let extensions = if rng.chance(500) { &report[..] } else { &[] };
            let payload = pattern(rng.below(200) as usize);
            p.inject_a(h, extensions, &payload);
            if rng.chance(20) {
                let now = p.now;
                let (a, pool) = (p.a.conn.as_mut().unwrap(), &mut p.a.pool);
                if rng.chance(500) {
                    a.close(now, pool);
                } else {
                    a.abort(pool);
                }
            }
        }
        p.run(Duration::from_secs(3));
        assert_eq!(p.a.c().check(), Ok(()), "seed {seed}");
        p.finish();
    }
}
