//! A run of segments is what they are one by one, and the short ways lead where
//! the long ones do.

use proptest::prelude::*;

use super::super::Config;
use super::super::Ecn;
use super::super::testing::{End, Faults, Pair, Rng, pattern};
use super::*;
use crate::frame::{PACKET_START, Region};
use std::time::Duration;

fn packet(end: &mut End, bytes: &[u8]) -> Packet {
    let mut p = end.pool.alloc().unwrap();
    p.set_range(PACKET_START, bytes.len() as u16);
    end.pool.bytes_mut(&mut p).copy_from_slice(bytes);
    p
}

/// What becomes of `b` when so many segments of `len` bytes arrive at once, of
/// which others may have come before; and how many were taken in a run.
fn receive(
    config: &Config,
    before: usize,
    len: usize,
    segments: usize,
    frames: u32,
    run: bool,
) -> (String, usize) {
    let mut pair = Pair::new(config.clone(), config.clone());
    pair.b.pool = Pool::new(Region::anonymous(frames, 2048));
    pair.connect();
    pair.run(Duration::from_millis(100));
    pair.b.read = 0;
    pair.a.to_send = pattern(before);
    pair.run(Duration::from_millis(500));
    let (now, end) = (pair.now, &mut pair.b);
    let c = end.c();
    let first = Header {
        src_port: 4000,
        dst_port: 80,
        seq: c.rcv_nxt(),
        ack: c.snd.una,
        flags: Flags::ACK,
        window: 500,
        options: crate::wire::tcp::Options {
            timestamps: c.ts.map(|ts| crate::wire::tcp::Timestamps {
                val: ts.recent,
                ecr: 0,
            }),
            ..Default::default()
        },
        ..Header::default()
    };
    let data = pattern(len * segments);
    let (mut in_run, mut most, mut all) = (0, 0, 0);
    let mut foreseen = false;
    for (n, payload) in data.chunks(len).enumerate() {
        let p = packet(end, payload);
        let c = end.conn.as_mut().unwrap();
        if foreseen && in_run < most {
            c.take_run(p, &mut end.pool);
            in_run += 1;
            all += 1;
            continue;
        }
        c.took_run(std::mem::take(&mut in_run), len as u32);
        let h = Header {
            seq: first.seq + (n * len) as u32,
            ..first
        };
        foreseen = c.handle_segment(now, &mut end.pool, &h, false, p);
        most = if run {
            c.takes_run(len as u32, &end.pool)
        } else {
            0
        };
    }
    let c = end.conn.as_mut().unwrap();
    c.took_run(in_run, len as u32);
    assert_eq!(c.check(), Ok(()));
    let state = state_of(end);
    pair.finish();
    (state, all)
}

/// All that there is to know of an end.
fn state_of(end: &End) -> String {
    let state = format!("{:?} {}", end.conn, end.pool.ledger());
    // Each pool has a region of its own.
    let parts = state.split("region: ");
    parts
        .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
        .collect()
}

/// One step of a conversation.
#[derive(Clone, Debug)]
struct Said {
    by_a: bool,
    bytes: usize,
    /// Time until the next, in microseconds.
    pause: u64,
    /// What else happens before it.
    event: u8,
}

/// What two ends come to step by step, and how often a short way was taken.
fn converse(
    config: &Config,
    faults: Faults,
    seed: u64,
    said: &[Said],
    full: bool,
) -> (Vec<String>, [u32; 2]) {
    IN_FULL.set(full);
    IN_SHORT.set([0; 2]);
    let mut pair = Pair::connected(config.clone(), config.clone());
    pair.rng = Rng::new(seed);
    pair.faults = faults;
    let mut steps = Vec::new();
    for said in said {
        let nth = steps.len() as u64;
        let end = if said.by_a { &mut pair.a } else { &mut pair.b };
        match (said.event, end.conn.as_mut()) {
            (0, Some(c)) => c.set_cork(true),
            (1, Some(c)) => c.set_cork(false),
            (2, Some(c)) => c.set_nodelay(nth.is_multiple_of(2)),
            (3, _) => end.read = 0,
            (4, _) => end.read = usize::MAX,
            (5, _) => pair.mark.push((said.by_a, nth + 3)),
            (6, _) => pair.swallow.push((said.by_a, nth + 4)),
            _ => {}
        }
        let end = if said.by_a { &mut pair.a } else { &mut pair.b };
        end.to_send.extend(pattern(said.bytes));
        pair.run(Duration::from_micros(said.pause));
        for end in [&pair.a, &pair.b] {
            if let Some(c) = &end.conn {
                assert_eq!(c.check(), Ok(()));
            }
            let (log, sent) = (end.log.last(), end.log.len());
            steps.push(format!("{} {log:?} {sent}", state_of(end)));
        }
    }
    pair.finish();
    IN_FULL.set(false);
    (steps, IN_SHORT.get())
}

fn said() -> impl Strategy<Value = Said> {
    let bytes = prop_oneof![4 => 1usize..200, 1 => 1000usize..6000, 1 => Just(40_000)];
    let pause = prop_oneof![4 => 0u64..15_000, 1 => 50_000u64..400_000, 1 => Just(3_000_000)];
    (any::<bool>(), bytes, pause, 0u8..40).prop_map(|(by_a, bytes, pause, event)| Said {
        by_a,
        bytes,
        pause,
        event,
    })
}

#[test]
fn requests_and_answers_go_the_short_way() {
    const MESSAGES: usize = 40;
    let turn = |n: usize| Said {
        by_a: n.is_multiple_of(2),
        bytes: 64,
        // The answer comes before an acknowledgement alone would.
        pause: 5_500,
        event: u8::MAX,
    };
    let said: Vec<_> = (0..MESSAGES).map(turn).collect();
    let (_, [taken, sent]) = converse(&Config::default(), Faults::NONE, 1, &said, false);
    assert!(taken as usize + 2 >= MESSAGES - QUICK, "{taken} answers");
    assert!(sent as usize >= MESSAGES, "{sent} single segments");
}

/// Segments that are acknowledged at once in the beginning, both ways.
const QUICK: usize = 32;

#[test]
fn a_run_is_taken() {
    let (_, taken) = receive(&Config::default(), 0, 1400, 20, 8192, true);
    assert_eq!(taken, 19);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_run_is_the_same_segments(
        timestamps: bool,
        buffer in 1u32..200_000,
        before in 0usize..3000,
        len in 1usize..1400,
        segments in 1usize..100,
        frames in prop::sample::select(vec![200, 400, 8192]),
    ) {
        let config = Config {
            timestamps,
            recv_buffer: buffer,
            ..Config::default()
        };
        let (by_run, _) = receive(&config, before, len, segments, frames, true);
        let (one_by_one, _) = receive(&config, before, len, segments, frames, false);
        prop_assert_eq!(by_run, one_by_one);
    }

    #[test]
    fn the_short_ways_are_the_long_ones(
        timestamps: bool,
        sack in prop::sample::select(vec![true, true, true, false]),
        pacing in prop::sample::select(vec![false, false, true]),
        nodelay: bool,
        after_idle: bool,
        ecn in prop::sample::select(vec![Ecn::Accept, Ecn::Request]),
        keepalive in prop::option::of(100u64..2000),
        faults in prop_oneof![Just((0, 0, 0)), (0u64..80, 0u64..80, 0u64..200)],
        delay in prop_oneof![Just(5_000u64), 1u64..40_000],
        seed: u64,
        said in prop::collection::vec(said(), 1..60),
    ) {
        let config = Config {
            timestamps,
            sack,
            pacing,
            nodelay,
            slow_start_after_idle: after_idle,
            ecn,
            keepalive: keepalive.map(Duration::from_millis),
            ..Config::default()
        };
        let (loss, duplicate, reorder) = faults;
        let delay = Duration::from_micros(delay);
        let faults = Faults { loss, duplicate, reorder, delay };
        let (short, _) = converse(&config, faults, seed, &said, false);
        let (full, [taken, sent]) = converse(&config, faults, seed, &said, true);
        prop_assert_eq!([taken, sent], [0, 0]);
        for (n, (short, full)) in short.iter().zip(&full).enumerate() {
            prop_assert_eq!(short, full, "step {}", n);
        }
    }
}
