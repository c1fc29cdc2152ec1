//! A run of segments is what they are one by one.

use proptest::prelude::*;

use super::super::Config;
use super::super::testing::{End, Pair, pattern};
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
    let state = format!("{c:?} {}", end.pool.ledger());
    // Each pool has a region of its own.
    let state = state
        .split("region: ")
        .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
        .collect();
    pair.finish();
    (state, all)
}

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
}
