//! Flows that give way: LEDBAT and LEDBAT++ beside CUBIC, alone, and beside
//! their like, with round trips in place of one-way delays.

use std::time::Duration;

use super::bottleneck::{Bottleneck, Path, jain};
use crate::congestion::Algorithm;

const SEC: Duration = Duration::from_secs(1);
const NONE: Duration = Duration::ZERO;

/// The part of a frame that is payload.
const PAYLOAD: f64 = 1448.0 / 1514.0;

/// A path of `mbps` Mbit/s and `rtt` ms, with a queue of `queue` ms.
fn path(mbps: u64, rtt: u64, queue: u32) -> Path {
    Path::new(mbps, rtt, f64::from(queue) / rtt as f64)
}

/// What a background flow takes of the path: parts of what it can carry.
#[derive(Debug)]
struct Story {
    alone: f64,
    /// The longest that a packet waited meanwhile.
    wait: Duration,
    /// Beside CUBIC.
    beside: f64,
    /// Of both.
    together: f64,
    /// From 5 s after CUBIC's end.
    after: f64,
}

fn story(path: Path, algorithm: Algorithm) -> Story {
    let flows = [(algorithm, NONE), (Algorithm::Cubic, 10 * SEC)];
    let mut b = Bottleneck::new(7, path, &flows);
    b.run(3 * SEC);
    let alone = b.goodput(7 * SEC)[0];
    let wait = b.longest_wait();
    let beside = b.goodput(20 * SEC);
    b.end(1);
    b.run(5 * SEC);
    let after = b.goodput(3 * SEC)[0];
    b.finish();
    let all = path.rate as f64 * 1e-6 * PAYLOAD;
    Story {
        alone: alone / all,
        wait,
        beside: beside[0] / all,
        together: (beside[0] + beside[1]) / all,
        after: after / all,
    }
}

#[test]
fn ledbat_gives_way_to_cubic_and_takes_what_it_leaves() {
    for (mbps, rtt, queue) in [(10, 40, 200), (20, 20, 300), (10, 100, 400)] {
        let s = story(path(mbps, rtt, queue), Algorithm::Ledbat);
        let place = format!("{mbps} Mbit/s, {rtt} ms, queue {queue} ms: {s:.3?}");
        println!("{place}");
        assert!(s.alone > 0.95, "{place}");
        assert!(s.beside < 0.1 && s.together > 0.95, "{place}");
        assert!(s.after > 0.9, "{place}");
        // Slow start included, which on long paths outruns any measurement.
        if rtt < 100 {
            assert!(s.wait < Duration::from_millis(100), "{place}");
        }
    }
}

#[test]
fn ledbat_plus_plus_gives_way_too() {
    for (mbps, rtt, queue) in [(10, 40, 200), (20, 20, 300)] {
        let s = story(path(mbps, rtt, queue), Algorithm::LedbatPlusPlus);
        let place = format!("{mbps} Mbit/s, {rtt} ms, queue {queue} ms: {s:.3?}");
        println!("{place}");
        // A tenth of the time goes to slowdowns.
        assert!(s.alone > 0.85, "{place}");
        assert!(s.beside < 0.1 && s.together > 0.95, "{place}");
        assert!(s.wait < Duration::from_millis(100), "{place}");
    }
}

/// Two flows, of which the second finds the first's queue.
fn late_comer(algorithm: Algorithm) -> Vec<f64> {
    let flows = [(algorithm, NONE), (algorithm, 10 * SEC)];
    let mut b = Bottleneck::new(3, path(10, 40, 400), &flows);
    b.run(30 * SEC);
    let shares = b.goodput(30 * SEC);
    b.finish();
    shares
}

#[test]
fn who_comes_late_starves_the_other_by_ledbat_but_not_by_ledbat_plus_plus() {
    let ledbat = late_comer(Algorithm::Ledbat);
    let plus = late_comer(Algorithm::LedbatPlusPlus);
    println!("{ledbat:.2?} {plus:.2?}");
    assert!(ledbat[1] > 5.0 * ledbat[0], "{ledbat:.2?}");
    assert!(jain(&plus) > 0.9, "{plus:.2?}");
}
