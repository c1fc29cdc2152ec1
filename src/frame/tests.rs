use super::*;

fn pool(chunks: u32) -> Pool {
    Pool::new(Region::anonymous(chunks, 2048))
}

#[test]
fn a_packet_is_written_sent_and_freed() {
    let mut pool = pool(2);
    let mut p = pool.alloc().unwrap();
    p.set_range(PACKET_START, 5);
    pool.bytes_mut(&mut p).copy_from_slice(b"hello");
    assert_eq!(
        pool.ledger(),
        Ledger {
            pool: 1,
            engine: 1,
            ..Ledger::default()
        }
    );
    let desc = pool.transmit(p);
    assert_eq!(pool.tx_bytes(&desc), b"hello");
    assert_eq!(pool.ledger().tx, 1);
    pool.complete(desc);
    assert_eq!(pool.ledger().outstanding(), 0);
}

#[test]
fn a_held_packet_is_out_of_reach_until_completed() {
    let mut pool = pool(1);
    let mut p = pool.alloc().unwrap();
    p.set_range(PACKET_START, 3);
    let mut held = pool.hold(p);
    let desc = pool.transmit_held(&mut held).unwrap();
    assert!(pool.held_mut(&mut held).is_none());
    assert!(pool.transmit_held(&mut held).is_none());
    let mut held = pool.unhold(held).unwrap_err();
    assert_eq!(pool.ledger().queue_tx, 1);
    pool.complete(desc);
    assert!(pool.held_mut(&mut held).is_some());
    pool.release(held);
    assert_eq!(pool.ledger().pool, 1);
}

#[test]
fn a_released_packet_stays_the_kernels_until_completed() {
    let mut pool = pool(1);
    let p = pool.alloc().unwrap();
    let mut held = pool.hold(p);
    let desc = pool.transmit_held(&mut held).unwrap();
    pool.release(held);
    assert!(pool.alloc().is_none());
    assert_eq!(pool.ledger().tx, 1);
    pool.complete(desc);
    let p = pool.alloc().unwrap();
    pool.free(p);
}

#[test]
fn what_the_kernel_returns_is_checked() {
    let mut pool = pool(2);
    let chunk = pool.lend().unwrap();
    // SAFETY: no kernel is involved; the ledger is what is tested.
    unsafe {
        assert!(pool.received(7, 256, 60).is_none());
        assert!(pool.received(chunk, 2000, 60).is_none());
        assert!(!pool.complete_chunk(chunk));
        assert!(!pool.complete_chunk(99));
        let p = pool.received(chunk, 256, 60).unwrap();
        assert!(pool.received(chunk, 256, 60).is_none());
        pool.free(p);
    }
    assert_eq!(pool.ledger().pool, 2);
}

#[test]
fn ranges_narrow_and_clamp() {
    let mut pool = pool(1);
    let mut p = pool.alloc().unwrap();
    p.set_range(300, 100);
    p.slice(10..50);
    assert_eq!((p.start(), p.len()), (310, 40));
    p.slice(30..500);
    assert_eq!((p.start(), p.len()), (340, 10));
    p.advance(99);
    assert!(p.is_empty());
    pool.free(p);
}

#[test]
#[should_panic(expected = "packet outside its region")]
fn a_packet_of_another_region_is_refused() {
    let mut a = pool(1);
    let b = pool(1);
    let p = a.alloc().unwrap();
    let _ = b.bytes(&p);
}

#[test]
#[should_panic(expected = "packet outside its region")]
fn a_range_beyond_the_chunk_is_refused() {
    let mut pool = pool(1);
    let mut p = pool.alloc().unwrap();
    p.set_range(2000, 100);
    let _ = pool.bytes(&p);
}

#[test]
fn the_reserve_is_kept() {
    let mut pool = pool(3);
    let p = pool.alloc_above(2).unwrap();
    assert!(pool.alloc_above(2).is_none());
    pool.free(p);
}

#[test]
fn a_packet_can_be_filled_on_another_thread() {
    let mut pool = pool(1);
    let region = pool.region().clone();
    let mut p = pool.alloc().unwrap();
    p.set_range(PACKET_START, 4);
    let p = std::thread::spawn(move || {
        region.bytes_mut(&mut p).copy_from_slice(b"disk");
        p
    })
    .join()
    .unwrap();
    assert_eq!(pool.bytes(&p), b"disk");
    pool.free(p);
}

#[test]
#[should_panic(expected = "a region belongs to one pool")]
fn a_region_never_has_a_second_pool() {
    let mut pool = pool(1);
    let region = pool.region().clone();
    let _outlives = pool.alloc().unwrap();
    drop(pool);
    let _ = Pool::new(region);
}

#[test]
#[should_panic(expected = "chunk size 0")]
fn no_memory_is_taken_for_chunks_of_no_size() {
    let _ = Region::anonymous(1, 0);
}

#[test]
fn unread_packets_are_counted_until_they_are_read_or_gone() {
    let mut pool = pool(4);
    let packets: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    for p in &packets {
        pool.unread_now(p);
        pool.unread_now(p);
    }
    assert_eq!((pool.unread(), pool.ledger().engine), (4, 4));
    let [a, b, c, d] = packets.try_into().unwrap();
    pool.read(&a);
    assert_eq!((pool.unread(), pool.ledger().engine), (3, 4));
    pool.free(a);
    let held = pool.hold(b);
    let desc = pool.transmit(c);
    assert_eq!((pool.unread(), pool.ledger().unread), (1, 1));
    pool.free(d);
    pool.release(held);
    pool.complete(desc);
    assert_eq!((pool.unread(), pool.available()), (0, 4));
}

#[test]
fn what_the_kernel_has_is_told_apart() {
    let mut pool = pool(4);
    let chunks = [pool.lend().unwrap(), pool.lend().unwrap()];
    assert_eq!((pool.unlent(), pool.ledger().fill), (2, 2));
    // SAFETY: no kernel has ever heard of these chunks.
    let p = unsafe { pool.received(chunks[0], 256, 60) }.unwrap();
    assert_eq!((pool.unlent(), pool.ledger().fill), (3, 1));
    // SAFETY: as above.
    unsafe { pool.unlend(chunks[1]) };
    pool.free(p);
    assert_eq!((pool.unlent(), pool.available()), (4, 4));
}
