//! That the models are looked at in all orders, where loom by itself leaves
//! some out or makes some up.

use std::collections::HashSet;
use std::sync::{Arc as StdArc, Mutex as StdMutex};

use loom::sync::Arc;
use loom::thread;
use models::sync::{AtomicUsize, Ordering};

/// What `mine` can answer while another thread does `theirs`.
fn outcomes(
    theirs: impl Fn(&AtomicUsize) + Send + Sync + Copy + 'static,
    mine: impl Fn(&AtomicUsize) -> usize + Send + Sync + Copy + 'static,
) -> Vec<usize> {
    let seen = StdArc::new(StdMutex::new(HashSet::new()));
    let seen_too = StdArc::clone(&seen);
    models::check(2, move || {
        let number = Arc::new(AtomicUsize::new(0));
        let thread = {
            let number = Arc::clone(&number);
            thread::spawn(move || theirs(&number))
        };
        let outcome = mine(&number);
        thread.join().unwrap();
        let last = number.load(Ordering::Relaxed);
        seen_too.lock().unwrap().insert(outcome * 10 + last);
    });
    let mut seen: Vec<_> = seen.lock().unwrap().iter().copied().collect();
    seen.sort_unstable();
    seen
}

/// tokio-rs/loom#392: a load before the store hid the store.
#[test]
fn a_load_hides_no_store() {
    let seen = outcomes(
        |n| {
            n.load(Ordering::Relaxed);
            n.store(1, Ordering::Relaxed);
        },
        |n| n.load(Ordering::Relaxed),
    );
    assert_eq!(seen, [1, 11]);
}

/// tokio-rs/loom#389: the value that a swap replaced came back.
#[test]
fn a_swap_is_one_step() {
    let seen = outcomes(
        |n| n.store(1, Ordering::Relaxed),
        |n| n.swap(2, Ordering::Relaxed),
    );
    // Either the store came first and was replaced, or it is what remains.
    assert_eq!(seen, [1, 12]);
}

/// Memory is still weak: without an acquiring load the other's work need not
/// show.
#[test]
fn a_value_may_be_old() {
    let seen = StdArc::new(StdMutex::new(HashSet::new()));
    let seen_too = StdArc::clone(&seen);
    models::check(2, move || {
        let both = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let thread = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                both.0.store(1, Ordering::Relaxed);
                both.1.store(1, Ordering::Relaxed);
            })
        };
        let second = both.1.load(Ordering::Relaxed);
        let first = both.0.load(Ordering::Relaxed);
        thread.join().unwrap();
        seen_too.lock().unwrap().insert((first, second));
    });
    assert!(seen.lock().unwrap().contains(&(0, 1)));
}
