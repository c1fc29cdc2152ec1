use super::*;
use crate::frame::{PACKET_START, Pool, Region};
use crate::tcp::testing::Rng;
use crate::transport::outbox::Outbox;
use crate::wire::checksum::Sum;

const LEN: u16 = 100;

fn queue(pool: &mut Pool, n: usize) -> Send {
    let mut s = Send::new(SeqNumber(u32::MAX - 5_000), LEN);
    for _ in 0..n {
        let mut p = pool.alloc().unwrap();
        p.set_range(PACKET_START + 66, LEN);
        s.push(p, Sum::default(), pool);
    }
    s
}

fn us(n: u64) -> Instant {
    Instant::ZERO + Duration::from_micros(n)
}

/// What a walk over all segments finds: indices that are due, and for how long
/// to wait for the rest.
fn walk(r: &Rack, now: Instant, snd: &Send, allowance: Duration) -> (Vec<usize>, Option<Duration>) {
    let (mut due, mut wait) = (Vec::new(), None);
    for i in 0..snd.sent_count() {
        let s = snd.get(i).unwrap();
        let open = !s.sacked && (!s.lost || s.retransmitted);
        if !r.seen || !open || !sent_after(r.xmit_at, r.end, s.sent_at, s.end()) {
            continue;
        }
        if s.sent_at + allowance <= now {
            due.push(i);
        } else {
            wait = wait.max(Some((s.sent_at + allowance).since(now)));
        }
    }
    (due, wait)
}

#[test]
fn the_lists_find_what_a_walk_finds() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut pool = Pool::new(Region::anonymous(256, 2048));
        let mut snd = queue(&mut pool, 100);
        let mut rack = Rack::new(snd.una);
        rack.reordering_seen = rng.chance(500);
        let mut now = us(1_000);
        for _ in 0..600 {
            now += Duration::from_micros(1 + rng.below(40));
            let i = rng.below(snd.sent_count().max(1) as u64) as usize;
            match rng.below(12) {
                0..4 if snd.has_unsent() => snd.mark_sent(snd.sent_count(), now),
                4 | 5 if i < snd.sent_count() => {
                    if let Some(s) = snd.get(i).filter(|s| !s.sacked) {
                        rack.delivered(now, s, Duration::ZERO, false);
                        snd.mark_sacked(i);
                    }
                }
                6 | 7 => {
                    if let Some(i) = snd.next_lost() {
                        snd.mark_sent(i, now);
                    }
                }
                8 if i < snd.sent_count() && rng.chance(300) => snd.mark_sent(i, now),
                9 if rng.chance(200) => {
                    let ack = snd.una + rng.below(u64::from(snd.outstanding()) + 1) as u32;
                    while let Some(s) = snd.pop_acked(ack) {
                        if !s.sacked {
                            rack.delivered(now, &s, Duration::ZERO, false);
                        }
                        pool.release(s.held.unwrap());
                    }
                    snd.una = ack;
                }
                10 if rng.chance(100) => match rng.below(3) {
                    0 => snd.unmark_losses(),
                    1 => snd.forget_sacks(),
                    _ => rack.mark_losses_on_rto(now, &mut snd, Duration::ZERO),
                },
                11 if rng.chance(100) => {
                    snd.split(i, 1 + rng.below(99) as u16, &mut pool);
                }
                _ => {}
            }
            let (min_rtt, srtt) = (Duration::from_micros(80), Duration::from_millis(1));
            let recovering = rng.chance(500);
            let allowance =
                Duration::from(rack.rtt) + rack.reo_wnd(&snd, recovering, min_rtt, srtt);
            let (due, wait) = walk(&rack, now, &snd, allowance);
            let bytes: u32 = due.iter().map(|i| snd.get(*i).unwrap().seq_len()).sum();
            let (lost, waits) = rack.detect_loss(now, &mut snd, recovering, min_rtt, srtt);
            assert_eq!(lost, bytes, "seed {seed}: {due:?}");
            for i in due {
                let s = snd.get(i).unwrap();
                assert!(s.lost && !s.retransmitted, "seed {seed}");
            }
            assert_eq!(wait.is_some(), waits.is_some(), "seed {seed}");
            assert!(waits >= wait, "seed {seed}: {waits:?} {wait:?}");
        }
        snd.clear(&mut pool);
        assert_eq!(pool.ledger().outstanding(), 0, "seed {seed}");
    }
}

/// Every second segment of a long flight is lost, and so are the first
/// retransmissions: each acknowledgement costs a few looks, not a walk.
#[test]
fn a_long_recovery_looks_at_each_segment_a_few_times() {
    for reordering_seen in [false, true] {
        const N: usize = 2000;
        let mut pool = Pool::new(Region::anonymous(2048, 2048));
        let mut snd = queue(&mut pool, N);
        let mut rack = Rack::new(snd.una);
        for i in 0..N {
            snd.mark_sent(i, us(i as u64));
        }
        rack.reordering_seen = reordering_seen;
        let rtt = Duration::from_millis(4);
        let mut acks = 0;
        for i in (1..N).step_by(2) {
            let now = us(i as u64) + rtt;
            rack.delivered(now, snd.get(i).unwrap(), rtt, false);
            snd.mark_sacked(i);
            rack.detect_loss(now, &mut snd, true, rtt, rtt);
            acks += 1;
            while let Some(i) = snd.next_lost() {
                snd.mark_sent(i, now);
            }
        }
        assert!(snd.lost() > 90_000 || reordering_seen, "{}", snd.lost());
        let most = if reordering_seen { 80 } else { 8 };
        assert!(snd.looks <= most * acks, "{} looks for {acks}", snd.looks);
        snd.clear(&mut pool);
    }
}

/// What is acknowledged in runs comes out as it would segment by segment.
#[test]
fn runs_are_segments() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut pool = Pool::new(Region::anonymous(80, 2048));
        let (mut short, mut long) = (queue(&mut pool, 40), queue(&mut pool, 40));
        let (mut by_run, mut by_one) = (Rack::new(short.iss), Rack::new(short.iss));
        let mut runs = 0;
        for step in 0..60 {
            let now = us(10 * step);
            let count = short.sent_count();
            let i = rng.below(count.max(1) as u64) as usize;
            match rng.below(8) {
                0..4 if short.has_unsent() => {
                    let one = |_: &mut Segment| Some(());
                    assert_eq!(short.send_unsent(now, 1, one), 1);
                    long.mark_sent(count, now);
                }
                4 if step > 20 && i < count => {
                    assert_eq!(short.mark_lost(i), long.mark_lost(i));
                }
                5 if step > 20 && i < count => {
                    short.mark_sent(i, now);
                    long.mark_sent(i, now);
                }
                6 if count > 0 => {
                    let ack = short.get(i).unwrap().end();
                    loop {
                        if by_run.is_ahead_of_all(&short)
                            && let Some(run) = short.pop_plain(ack, &mut pool)
                        {
                            by_run.delivered_run(now, &run);
                            runs += run.segments;
                        }
                        let Some(mut s) = short.pop_acked(ack) else {
                            break;
                        };
                        by_run.delivered(now, &s, Duration::ZERO, false);
                        pool.release(s.held.take().unwrap());
                    }
                    while let Some(mut s) = long.pop_acked(ack) {
                        by_one.delivered(now, &s, Duration::ZERO, false);
                        pool.release(s.held.take().unwrap());
                    }
                }
                _ => {}
            }
            assert_eq!(format!("{by_run:?}"), format!("{by_one:?}"), "seed {seed}");
            assert_eq!(
                format!(
                    "{:?}",
                    (
                        short.sent_count(),
                        short.queued(),
                        short.in_flight(),
                        short.next_lost()
                    )
                ),
                format!(
                    "{:?}",
                    (
                        long.sent_count(),
                        long.queued(),
                        long.in_flight(),
                        long.next_lost()
                    )
                ),
                "seed {seed}"
            );
        }
        assert!(runs > 0 || seed > 0, "seed {seed}");
        short.clear(&mut pool);
        long.clear(&mut pool);
        assert_eq!(pool.ledger().pool, 80, "seed {seed}");
    }
}
