//! Engines in a ring: what is passed on arrives or is refused.

use loom::thread;
use models::engine::{Ring, Waker, sleep};

#[test]
fn a_full_queue_gives_back_what_it_does_not_take() {
    models::check(3, || {
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

/// One engine of two: begins with a thing of its own, passes on what it is
/// given, and sleeps until its own has come back.
fn engine(place: &Ring<usize>, waker: &Waker) {
    place.pass(place.place()).unwrap();
    let (mut home, mut passed) = (false, false);
    while !(home && passed) {
        match place.pop() {
            Some(thing) if thing == place.place() => {
                assert!(!home, "it came twice");
                home = true;
            }
            Some(thing) => {
                place.pass(thing).unwrap();
                passed = true;
            }
            None => sleep(waker, false, || !place.is_empty()),
        }
    }
}

#[test]
fn what_goes_round_comes_back() {
    models::check(2, || {
        let wakers: Vec<_> = (0..2).map(|_| Waker::new().unwrap()).collect();
        let mut places = Ring::new(&wakers, 2);
        let (second, waker) = (places.pop().unwrap(), wakers[1].clone());
        let thread = thread::spawn(move || {
            engine(&second, &waker);
            second
        });
        engine(&places[0], &wakers[0]);
        let second = thread.join().unwrap();
        assert!(places[0].is_empty() && second.is_empty());
    });
}
