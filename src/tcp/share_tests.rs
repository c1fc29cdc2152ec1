use std::time::Duration;

use crate::frame::{PACKET_START, Packet, Pool, Region};
use crate::tcp::recv::{Receive, Received};
use crate::tcp::testing::{Pair, pattern};
use crate::tcp::{Config, Event};
use crate::transport::share::*;
use crate::wire::tcp::SeqNumber;

const FULL: u32 = 1448;

fn packet(pool: &mut Pool, len: u32) -> Packet {
    let mut p = pool.alloc().expect("a frame for what arrives");
    p.set_range(PACKET_START, len as u16);
    p
}

/// A connection that has told the peer of its whole buffer.
fn receive() -> Receive {
    let mut r = Receive::new(1 << 20, true);
    r.set_buffer(1 << 20);
    r.start(SeqNumber(0));
    r.advertise(FULL, false);
    r
}

/// The next full segment, or the one after that.
fn arrive(r: &mut Receive, ahead: u32, pool: &mut Pool) -> Received {
    let p = packet(pool, FULL);
    let got = r.take_in(r.nxt + ahead * FULL, p, pool);
    r.check().unwrap();
    got
}

fn taken_in(got: Received) -> bool {
    matches!(got, Received::InOrder { .. } | Received::Early)
}

#[test]
fn equal_parts_for_many_and_some_left_for_the_next() {
    for (chunks, many) in [(4096, 90), (512, 12), (24, 2)] {
        let mut pool = Pool::new(Region::anonymous(chunks, 2048));
        let mut all: Vec<_> = (0..many).map(|_| receive()).collect();
        let mut going = true;
        while going {
            going = false;
            for r in &mut all {
                going |= taken_in(arrive(r, 0, &mut pool));
            }
        }
        let kept: Vec<_> = all.iter().map(|r| r.available() as u32 / FULL).collect();
        let (least, most) = (kept.iter().min().unwrap(), kept.iter().max().unwrap());
        assert!(most - least <= 1, "{kept:?}");
        let sum: u32 = kept.iter().sum();
        assert!(
            sum <= chunks / 2 && sum >= chunks * 3 / 8,
            "{sum} of {chunks}"
        );
        // Who comes last finds a part, and who reads goes on.
        let mut last = receive();
        assert!(taken_in(arrive(&mut last, 0, &mut pool)));
        for r in all.iter_mut().chain([&mut last]) {
            r.clear(&mut pool);
        }
        assert_eq!((pool.unread(), pool.ledger().outstanding()), (0, 0));
    }
}

#[test]
fn however_many_do_not_read_some_frames_are_never_kept() {
    let mut pool = Pool::new(Region::anonymous(256, 2048));
    let mut all: Vec<_> = (0..1000).map(|_| receive()).collect();
    for r in &mut all {
        while taken_in(arrive(r, 0, &mut pool)) {}
        // Nor does what is out of order take what is left.
        arrive(r, 1, &mut pool);
    }
    assert!(pool.available() >= 256 * 3 / 8, "{}", pool.ledger());
    for r in &mut all {
        r.clear(&mut pool);
    }
}

#[test]
fn who_sends_much_leaves_receiving_its_part() {
    let mut pool = Pool::new(Region::anonymous(256, 2048));
    let queue: Vec<_> = std::iter::from_fn(|| {
        let packet = pool.alloc_above(crate::tcp::reserve(&pool))?;
        Some(pool.hold(packet))
    })
    .collect();
    assert_eq!(pool.available(), 32);
    let mut r = receive();
    while taken_in(arrive(&mut r, 0, &mut pool)) {}
    assert!((16..=24).contains(&pool.unread()), "{}", pool.ledger());
    r.clear(&mut pool);
    for held in queue {
        pool.release(held);
    }
}

/// However few frames sending leaves, a segment that comes alone is kept, or
/// two ends that both send wait for each other (seed 1000412 of the simulation).
#[test]
fn a_pool_full_of_what_is_sent_still_takes_a_segment() {
    for chunks in [16, 17, 24, 31, 33, 63, 64, 100, 256] {
        for reserve in [reserve, reserve_of_parts] {
            let mut pool = Pool::new(Region::anonymous(chunks, 2048));
            let queue: Vec<_> = std::iter::from_fn(|| {
                let packet = pool.alloc_above(reserve(&pool))?;
                Some(pool.hold(packet))
            })
            .collect();
            let mut r = receive();
            assert!(taken_in(arrive(&mut r, 0, &mut pool)), "{chunks} chunks");
            assert!(pool.available() > 0, "{chunks} chunks: none for the answer");
            r.clear(&mut pool);
            for held in queue {
                pool.release(held);
            }
        }
    }
}

#[test]
fn what_is_out_of_order_goes_first() {
    let mut pool = Pool::new(Region::anonymous(256, 2048));
    let mut r = receive();
    let mut ahead = 1;
    while arrive(&mut r, ahead, &mut pool) == Received::Early {
        ahead += 1;
    }
    // Somebody else takes the rest.
    let mut other = receive();
    while taken_in(arrive(&mut other, 0, &mut pool)) {}
    let early = r.early().1;
    assert!(early > 90 && !may_keep(early, &pool), "{early}");
    assert_eq!(
        arrive(&mut r, 0, &mut pool),
        Received::InOrder { filled: true }
    );
    assert_eq!(
        r.available() as u32,
        FULL * early as u32,
        "all but the last"
    );
    assert_eq!((r.early().1, r.has_sack()), (0, false));
    // Nothing out of order is left to give up.
    assert_eq!(arrive(&mut r, 0, &mut pool), Received::NoRoom);
    assert_eq!(arrive(&mut r, 1, &mut pool), Received::NoRoom);
    r.clear(&mut pool);
    other.clear(&mut pool);
}

#[test]
fn a_promise_is_kept_if_nobody_else_receives() {
    for chunks in [24, 128, 4096] {
        let mut pool = Pool::new(Region::anonymous(chunks, 2048));
        let mut r = Receive::new(64 << 20, true);
        r.set_buffer(64 << 20);
        r.start(SeqNumber(0));
        loop {
            r.note_room(FULL, &pool);
            r.advertise(FULL, false);
            let whole = r.window() / FULL;
            if whole == 0 {
                break;
            }
            for _ in 0..whole {
                assert!(taken_in(arrive(&mut r, 0, &mut pool)), "{}", pool.ledger());
            }
        }
        let kept = pool.unread() as u32;
        assert!(kept >= chunks * 3 / 8, "{kept} of {chunks}");
        // Windows open again as it is read, one frame after the other.
        while r.available() > 0 {
            if let Some(p) = r.consume(FULL as usize, &mut pool) {
                pool.free(p);
            }
        }
        r.note_room(FULL, &pool);
        assert!(r.wants_update(FULL));
        r.clear(&mut pool);
    }
}

#[test]
fn small_payloads_out_of_order_share_a_frame() {
    let mut pool = Pool::new(Region::anonymous(64, 2048));
    let mut r = receive();
    for i in 0..1000 {
        let p = packet(&mut pool, 1);
        let got = r.take_in(SeqNumber(10 + i), p, &mut pool);
        assert_eq!(got, Received::Early, "{i}");
        r.check().unwrap();
    }
    assert!(pool.unread() <= 2, "{}", pool.ledger());
    let p = packet(&mut pool, 9);
    r.take_in(SeqNumber(1), p, &mut pool);
    assert_eq!(r.available(), 1009);
    r.clear(&mut pool);
}

#[test]
fn frames_that_were_taken_count_until_they_are_back() {
    let mut pool = Pool::new(Region::anonymous(64, 2048));
    let mut r = receive();
    while taken_in(arrive(&mut r, 0, &mut pool)) {}
    let kept = pool.unread();
    let taken: Vec<_> = std::iter::from_fn(|| r.take()).collect();
    assert_eq!((pool.unread(), taken.len()), (kept, kept));
    assert_eq!(arrive(&mut r, 0, &mut pool), Received::NoRoom);
    for packet in taken {
        r.release(packet.len());
        pool.free(packet);
    }
    assert_eq!(pool.unread(), 0);
    assert!(taken_in(arrive(&mut r, 0, &mut pool)));
    r.clear(&mut pool);
}

/// The peer has been told of it, and has to send it again although (RFC 2018
/// section 8).
#[test]
fn a_stream_survives_that_what_was_out_of_order_is_given_back() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(300_000);
    // The third segment with payload, after two of the handshake.
    p.swallow.push((true, 5));
    let dropped = p.run_until(Duration::from_secs(1), |p| {
        let early = p.b.c().info().early.1;
        let pool = &mut p.b.pool;
        if early > 3 {
            p.b.conn.as_mut().unwrap().drop_early(pool);
        }
        early > 3
    });
    assert!(dropped);
    let done = p.run_until(Duration::from_secs(20), |p| {
        p.b.received.len() == p.a.to_send.len()
    });
    assert!(done, "{} bytes", p.b.received.len());
    assert!(p.b.received == p.a.to_send && !p.a.events.contains(&Event::PeerClosed));
    p.finish();
}
