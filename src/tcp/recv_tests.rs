use super::*;
use crate::frame::{PACKET_START, Region};
use crate::tcp::testing::{Rng, pattern};

fn packet(pool: &mut Pool, bytes: &[u8]) -> Packet {
    let mut p = pool.alloc().unwrap();
    p.set_range(PACKET_START, bytes.len() as u16);
    pool.bytes_mut(&mut p).copy_from_slice(bytes);
    p
}

fn started(buffer: u32, irs: u32) -> Receive {
    let mut r = Receive::new(buffer, true);
    r.start(SeqNumber(irs));
    r.advertise(1000, false);
    r
}

/// Everything that waits, read to the end.
fn read(r: &mut Receive, pool: &mut Pool) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(c) = r.chunk(pool) {
        let n = c.len();
        out.extend_from_slice(c);
        if let Some(p) = r.consume(n, pool) {
            pool.free(p);
        }
    }
    out
}

/// The same by parts of any length.
fn read_each(r: &mut Receive, pool: &mut Pool, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    while r.available() > 0 {
        let (before, waited) = (out.len(), r.available());
        let (n, free) = r.read(pool, &mut |bytes| {
            let n = bytes.len().min(1 + rng.below(2000) as usize);
            out.extend_from_slice(&bytes[..n]);
            n
        });
        assert_eq!((n, waited - n), (out.len() - before, r.available()));
        if let Some(p) = free {
            pool.free(p);
        }
        assert_eq!(r.check(), Ok(()));
    }
    out
}

#[test]
fn segments_in_any_order_and_overlap_make_the_stream() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut pool = Pool::new(Region::anonymous(512, 2048));
        let data = pattern(20_000);
        let irs = u32::MAX - 5_000;
        let mut r = started(1 << 20, irs);
        let mut covered = vec![false; data.len()];
        let mut out = Vec::new();
        for _ in 0..4000 {
            // Aligned now and then, so that the first byte has its turn.
            let mut at = rng.below(data.len() as u64) as usize;
            if rng.chance(300) {
                at -= at % 1000;
            }
            let n = (1 + rng.below(1400) as usize).min(data.len() - at);
            let p = packet(&mut pool, &data[at..at + n]);
            let before = r.nxt;
            let got = r.take_in(SeqNumber(irs) + 1 + at as u32, p, &mut pool);
            assert_eq!(
                matches!(got, Received::InOrder { .. }),
                r.nxt != before,
                "seed {seed}"
            );
            covered[at..at + n].fill(true);
            out.extend(if rng.chance(500) {
                read(&mut r, &mut pool)
            } else {
                read_each(&mut r, &mut pool, &mut rng)
            });
            let edge = covered.iter().position(|c| !c).unwrap_or(data.len());
            assert_eq!(out.len(), edge, "seed {seed}");
            check_ranges(&mut r, &covered, irs, seed);
            r.advertise(1000, false);
            if edge == data.len() {
                break;
            }
        }
        assert!(out == data, "seed {seed}");
        r.clear(&mut pool);
        assert_eq!(pool.ledger().outstanding(), 0, "seed {seed}");
    }
}

/// The ranges are exactly what has arrived beyond the edge.
fn check_ranges(r: &mut Receive, covered: &[bool], irs: u32, seed: u64) {
    let base = SeqNumber(irs) + 1;
    let mut last = r.nxt;
    let ranges = r.early.as_ref().map_or(&[][..], |e| e.ranges());
    for (l, right) in ranges {
        assert!(l.gt(last) && right.gt(*l), "seed {seed}: {ranges:?}");
        let (from, to) = (l.distance(base) as usize, right.distance(base) as usize);
        assert!(covered[from..to].iter().all(|c| *c), "seed {seed}");
        assert!(
            !covered[from - 1] && covered.get(to) != Some(&true),
            "seed {seed}"
        );
        last = *right;
    }
    let held = r.early().0;
    let ranges: i32 = ranges.iter().map(|x| x.1.distance(x.0)).sum();
    assert_eq!(held as i32, ranges, "seed {seed}");
    let blocks = r.sack_blocks(3);
    assert!(blocks.len() <= 3);
}

#[test]
fn nothing_beyond_the_window_is_kept() {
    let mut pool = Pool::new(Region::anonymous(8, 2048));
    let mut r = started(2048, 0);
    assert_eq!(r.window(), 2048);
    let p = packet(&mut pool, &[1; 1500]);
    assert_eq!(
        r.take_in(SeqNumber(1), p, &mut pool),
        Received::InOrder { filled: false }
    );
    let p = packet(&mut pool, &[2; 1500]);
    r.take_in(SeqNumber(1501), p, &mut pool);
    assert_eq!(r.available(), 2048);
    let p = packet(&mut pool, &[3; 10]);
    assert_eq!(r.take_in(r.nxt, p, &mut pool), Received::Nothing);
    assert_eq!(r.advertise(1000, false), 0);
    r.clear(&mut pool);
    assert_eq!(pool.ledger().outstanding(), 0);
}

#[test]
fn small_segments_share_a_frame() {
    let mut pool = Pool::new(Region::anonymous(64, 2048));
    let mut r = started(1 << 20, 0);
    for i in 0..1000u32 {
        let p = packet(&mut pool, &[i as u8]);
        r.take_in(SeqNumber(1 + i), p, &mut pool);
    }
    assert!(pool.ledger().engine <= 2, "{}", pool.ledger());
    let all = read(&mut r, &mut pool);
    assert!(all.iter().enumerate().all(|(i, b)| *b == i as u8) && all.len() == 1000);
}

#[test]
fn single_bytes_out_of_order_are_bounded() {
    let mut pool = Pool::new(Region::anonymous(512, 2048));
    let mut r = started(64 << 10, 0);
    for i in 0..400u32 {
        let p = packet(&mut pool, &[0]);
        r.take_in(SeqNumber(3 + 2 * i), p, &mut pool);
    }
    assert!(pool.ledger().engine <= 80, "{}", pool.ledger());
    r.clear(&mut pool);
}

#[test]
fn the_newest_range_and_the_duplicate_come_first() {
    let mut pool = Pool::new(Region::anonymous(64, 2048));
    let mut r = started(1 << 20, 0);
    for seq in [101, 301, 501, 701, 301] {
        let p = packet(&mut pool, &[0; 100]);
        r.take_in(SeqNumber(seq), p, &mut pool);
    }
    let blocks: Vec<_> = r.sack_blocks(4).iter().map(|b| (b.0.0, b.1.0)).collect();
    assert_eq!(blocks, [(301, 401), (301, 401), (701, 801), (501, 601)]);
    let blocks: Vec<_> = r.sack_blocks(2).iter().map(|b| b.0.0).collect();
    assert_eq!(blocks, [301, 701], "the duplicate is told once");
    r.clear(&mut pool);
}

#[test]
fn taken_packets_use_up_the_window_until_released() {
    let mut pool = Pool::new(Region::anonymous(64, 2048));
    let mut r = started(4096, 0);
    for i in 0..4u32 {
        let p = packet(&mut pool, &[0; 1000]);
        r.take_in(SeqNumber(1 + 1000 * i), p, &mut pool);
    }
    let taken: Vec<_> = std::iter::from_fn(|| r.take()).collect();
    assert_eq!((r.available(), taken.len()), (0, 4));
    r.advertise(1000, false);
    assert_eq!(r.window(), 96);
    for p in taken {
        pool.free(p);
    }
    r.release(4000);
    assert!(r.wants_update(1000));
    r.advertise(1000, false);
    assert!(r.window() >= 4096);
}
