//! Sleeping and waking, by themselves.

use loom::sync::Arc;
use loom::thread;
use models::engine::{Gate, Waker, sleep};
use models::link::sleep::Sleeper;
use models::sync::{AtomicUsize, Ordering};

/// Two threads have work, one thread does it and sleeps in between. The work
/// itself is told of by the weakest of atomics.
#[test]
fn no_wake_up_is_lost() {
    models::check(2, || {
        let sleeper = Arc::new(Sleeper::new().unwrap());
        let work = Arc::new(AtomicUsize::new(0));
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let (sleeper, work) = (Arc::clone(&sleeper), Arc::clone(&work));
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    sleeper.wake();
                })
            })
            .collect();
        let mut done = 0;
        while done < 2 {
            done += work.swap(0, Ordering::Relaxed);
            if done < 2 && sleeper.prepare(|| work.load(Ordering::Relaxed) > 0) {
                sleeper.event().wait();
                sleeper.awake();
            }
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

/// Who wakes a thread that has just found its work signals too late. That may
/// end one sleep too many, and must not end all that follow.
#[test]
fn a_late_signal_hides_nothing() {
    models::check(3, || {
        let sleeper = Arc::new(Sleeper::new().unwrap());
        let work = Arc::new(AtomicUsize::new(0));
        let waker = {
            let (sleeper, work) = (Arc::clone(&sleeper), Arc::clone(&work));
            thread::spawn(move || {
                for _ in 0..2 {
                    work.fetch_add(1, Ordering::Relaxed);
                    sleeper.wake();
                }
            })
        };
        let (mut done, mut needless) = (0, 0);
        while done < 2 {
            let some = work.swap(0, Ordering::Relaxed);
            done += some;
            if done < 2 && sleeper.prepare(|| work.load(Ordering::Relaxed) > 0) {
                sleeper.event().wait();
                sleeper.awake();
                needless += usize::from(work.load(Ordering::Relaxed) == 0);
            }
        }
        waker.join().unwrap();
        // Each was signalled at most once.
        assert!(needless <= 2, "{needless} sleeps ended without work");
        // The last signal may still be there, for one sleep.
        assert!(sleeper.prepare(|| false));
        if sleeper.event().is_signalled() {
            sleeper.event().wait();
            sleeper.awake();
            assert!(!sleeper.event().is_signalled(), "it stays");
            assert!(sleeper.prepare(|| false));
        }
        sleeper.wake();
        assert!(sleeper.event().is_signalled(), "a wake-up is lost");
    });
}

#[test]
fn a_stop_is_seen_awake_or_asleep() {
    models::check(2, || {
        let waker = Waker::new().unwrap();
        let stopper = {
            let waker = waker.clone();
            thread::spawn(move || waker.stop())
        };
        let nudger = {
            let waker = waker.clone();
            thread::spawn(move || waker.wake())
        };
        while !waker.stop_requested() {
            sleep(&waker, false, || false);
        }
        stopper.join().unwrap();
        nudger.join().unwrap();
    });
}

/// Nobody is inside when it has been closed, and what was done there shows.
#[test]
fn a_gate_is_closed_behind_the_last_one() {
    models::check(3, || {
        let gate = Arc::new(Gate::default());
        let done = Arc::new(AtomicUsize::new(0));
        let guests: Vec<_> = (0..2)
            .map(|_| {
                let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
                thread::spawn(move || {
                    let Some(_inside) = gate.enter() else {
                        return 0;
                    };
                    // Not one step, so that half of it could be seen.
                    let before = done.load(Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                    assert!(before <= 1);
                    1
                })
            })
            .collect();
        gate.close();
        assert!(gate.is_closed() && gate.enter().is_none());
        let seen = done.load(Ordering::Relaxed);
        let went_in: usize = guests.into_iter().map(|g| g.join().unwrap()).sum();
        assert_eq!(seen, went_in);
    });
}
