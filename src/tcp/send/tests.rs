use super::*;
use crate::frame::Region;
use crate::tcp::testing::Rng;

const HEADERS: u16 = 66;

fn queue(pool: &mut Pool, s: &mut Send, n: usize, len: u16) {
    for i in 0..n {
        let mut p = pool.alloc().unwrap();
        p.set_range(PACKET_START + HEADERS, len);
        pool.bytes_mut(&mut p).fill(i as u8);
        let sum = Sum::of(pool.bytes(&p));
        s.push(p, sum, pool);
    }
}

/// The counters say what the flags say.
fn check(s: &Send, seed: u64) {
    let sum = |f: &dyn Fn(&Segment) -> bool| -> u32 {
        s.segments
            .iter()
            .take(s.sent_count())
            .filter(|x| f(x))
            .map(Segment::seq_len)
            .sum()
    };
    assert_eq!(s.sacked, sum(&|x| x.sacked), "seed {seed}");
    assert_eq!(s.lost, sum(&|x| x.lost), "seed {seed}");
    assert_eq!(s.retransmitted, sum(&|x| x.retransmitted), "seed {seed}");
    let total: u32 = s.segments.iter().map(|x| u32::from(x.len)).sum();
    assert_eq!(s.queued, total, "seed {seed}");
    let mut at = None;
    for x in &s.segments {
        assert!(at.is_none_or(|a| a == x.seq), "seed {seed}");
        assert!(!x.retransmitted || x.lost, "seed {seed}");
        at = Some(x.end());
    }
    assert_eq!(at.unwrap_or(s.tail), s.tail, "seed {seed}");
}

#[test]
fn the_scoreboard_adds_up_whatever_happens() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let mut pool = Pool::new(Region::anonymous(256, 2048));
        let mut s = Send::new(SeqNumber(u32::MAX - 3000), 1000);
        queue(&mut pool, &mut s, 40, 1000);
        s.push_flag(false, true);
        for step in 0..400 {
            let i = rng.below(s.segments.len().max(1) as u64) as usize;
            let now = Instant::from_millis(step);
            match rng.below(9) {
                0 | 1 if s.has_unsent() => s.mark_sent(s.sent_count(), now),
                2 if i < s.sent_count() => {
                    s.mark_lost(i);
                }
                3 if i < s.sent_count() => {
                    s.mark_sacked(i);
                }
                4 => {
                    if let Some(i) = s.next_lost() {
                        s.mark_sent(i, now);
                    }
                }
                5 if rng.chance(300) => {
                    let ack = s.una + rng.below(u64::from(s.outstanding()) + 1) as u32;
                    while let Some(x) = s.pop_acked(ack) {
                        if let Some(h) = x.held {
                            pool.release(h);
                        }
                    }
                    s.una = ack;
                }
                6 if rng.chance(100) => {
                    let at = 1 + rng.below(999) as u16;
                    s.split(i, at, &mut pool);
                }
                7 if rng.chance(30) => s.unmark_losses(),
                8 if rng.chance(30) => s.forget_sacks(),
                _ => {}
            }
            check(&s, seed);
            let first_lost = s
                .segments
                .iter()
                .take(s.sent_count())
                .position(|x| x.lost && !x.retransmitted);
            assert_eq!(s.next_lost(), first_lost, "seed {seed}");
        }
        s.clear(&mut pool);
        assert_eq!(pool.ledger().outstanding(), 0, "seed {seed}");
    }
}

#[test]
fn a_split_keeps_the_bytes_and_their_sums() {
    let mut pool = Pool::new(Region::anonymous(8, 2048));
    let mut s = Send::new(SeqNumber(0), 1000);
    queue(&mut pool, &mut s, 1, 1000);
    assert!(!s.split(0, 0, &mut pool) && !s.split(0, 1000, &mut pool));
    assert!(s.split(0, 333, &mut pool));
    for (i, len) in [(0, 333), (1, 667)] {
        let x = s.get_mut(i).unwrap();
        assert_eq!(x.len, len);
        let sum = x.sum;
        let bytes = pool.held_mut(x.held.as_mut().unwrap()).unwrap();
        assert_eq!(bytes.len(), usize::from(HEADERS + len));
        assert_eq!(Sum::of(&bytes[usize::from(HEADERS)..]), sum);
    }
    s.clear(&mut pool);
}

#[test]
fn a_segment_that_the_kernel_has_is_not_split() {
    let mut pool = Pool::new(Region::anonymous(8, 2048));
    let mut s = Send::new(SeqNumber(0), 1000);
    queue(&mut pool, &mut s, 1, 1000);
    let desc = pool
        .transmit_held(s.get_mut(0).unwrap().held.as_mut().unwrap())
        .unwrap();
    assert!(!s.split(0, 500, &mut pool));
    pool.complete(desc);
    assert!(s.split(0, 500, &mut pool));
    s.clear(&mut pool);
}

/// A SYN that has waited for a frame when the peer's comes.
#[test]
fn what_was_not_sent_cannot_be_lost() {
    let mut snd = Send::new(SeqNumber(7), 1460);
    snd.push_flag(true, false);
    assert_eq!(snd.mark_lost(0), 0);
    assert_eq!((snd.lost(), snd.check()), (0, Ok(())));
    snd.mark_sent(0, Instant::from_millis(1));
    assert_eq!(snd.mark_lost(0), 1);
    assert_eq!((snd.lost(), snd.check()), (1, Ok(())));
}
