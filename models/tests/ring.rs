//! Engines in a ring: what is passed on arrives or is refused.

use loom::thread;
use models::engine::{Ring, Waker};

#[test]
fn a_full_queue_gives_back_what_it_does_not_take() {
    models::check(|| {
        let wakers: Vec<_> = (0..2).map(|_| Waker::new().unwrap()).collect();
        let mut places = Ring::new(&wakers, 2);
        let second = places.pop().unwrap();
        assert_eq!((second.place(), second.others()), (1, 1));
        let thread = thread::spawn(move || second.pop().is_some());
        let first = &places[0];
        assert!(first.pop().is_none() && first.is_empty() && first.has_room());
        let mut refused = 0;
        for thing in 0..3 {
            if let Err(back) = first.pass(thing) {
                assert_eq!((back, thing), (thing, 2), "there was room");
                refused += 1;
            }
        }
        // The third is taken only if one was taken out.
        assert!(thread.join().unwrap() || refused == 1);
    });
}
