//! Flows that share a bottleneck, and flows on a path that loses by chance.
//! CUBIC as RFC 9438 has it stands for other people's TCP.

use std::time::Duration;

use super::Config;
use super::bottleneck::{Bottleneck, Path, jain};
use crate::congestion::Algorithm;

const SEC: Duration = Duration::from_secs(1);

/// Goodput of one flow alone in Mbit/s, after slow start.
fn alone(seed: u64, path: Path, congestion: Algorithm) -> f64 {
    let mut b = Bottleneck::new(seed, path, &[(congestion, Duration::ZERO)]);
    b.run(2 * SEC);
    let goodput = b.goodput(10 * SEC)[0];
    b.finish();
    goodput
}

/// Goodput of CUBIC and another, with what waited and how many overflowed.
/// The second may come later.
fn shared(path: Path, other: Algorithm, late: [u32; 2]) -> (Vec<f64>, u64) {
    let flows = [(Algorithm::Cubic, SEC * late[0]), (other, SEC * late[1])];
    let mut b = Bottleneck::new(7, path, &flows);
    b.run(SEC * late[0].max(late[1]));
    let goodput = b.goodput(20 * SEC);
    let overflowed = b.overflowed;
    b.finish();
    (goodput, overflowed)
}

#[test]
fn loss_by_chance_costs_less_than_half_of_what_it_costs_cubic() {
    for jitter in [0, 1000] {
        let mut path = Path::new(500, 20, 1.0);
        path.loss = 10;
        path.jitter = Duration::from_micros(jitter);
        let sum = |congestion| {
            (1..=3)
                .map(|seed| alone(seed, path, congestion))
                .sum::<f64>()
        };
        let (cubic, tolerant) = (sum(Algorithm::Cubic), sum(Algorithm::Tolerant));
        assert!(
            cubic > 15.0 && tolerant > 2.0 * cubic,
            "seeds 1 to 3, jitter {jitter} us: cubic {cubic:.1}, tolerant {tolerant:.1} Mbit/s in all"
        );
    }
}

/// Flows that begin together: packet by packet the same. When the second comes
/// later, its slow start can make the queue appear and overflow within a round
/// trip, which may be forgiven once.
#[test]
fn beside_cubic_at_a_queue_it_is_cubic() {
    for (mbps, queue) in [(20, 0.5), (20, 1.0), (20, 4.0), (50, 0.5), (50, 1.0)] {
        for late in [[0, 0], [5, 0], [0, 5]] {
            let path = Path::new(mbps, 20, queue);
            let cubic = shared(path, Algorithm::Cubic, late);
            let tolerant = shared(path, Algorithm::Tolerant, late);
            let place = format!("{mbps} Mbit/s, queue {queue}, late {late:?}");
            assert!(cubic.1 > 20, "{place}: the queue is never full: {cubic:?}");
            if late == [0, 0] {
                assert_eq!(cubic, tolerant, "{place}");
            }
            let indices = (jain(&cubic.0), jain(&tolerant.0));
            assert!(indices.1 > indices.0 - 0.05, "{place}: {indices:.3?}");
        }
    }
}

/// A queue of six hundredths of a round trip.
#[test]
fn beside_cubic_at_a_very_short_queue_it_is_not_far_from_fair() {
    for jitter in [0, 500] {
        let mut path = Path::new(100, 20, 0.06);
        path.jitter = Duration::from_micros(jitter);
        for late in [[0, 0], [5, 0], [0, 5]] {
            let (shares, _) = shared(path, Algorithm::Tolerant, late);
            let index = jain(&shares);
            let bound = if jitter == 0 { 0.95 } else { 0.8 };
            assert!(
                index > bound,
                "jitter {jitter} us, late {late:?}: {shares:.1?}, index {index:.3}"
            );
        }
    }
}

/// Flows that begin within a round trip, or five seconds apart: none stays ahead
/// for having come first.
#[test]
fn who_comes_first_does_not_stay_ahead() {
    for algorithm in [Algorithm::Cubic, Algorithm::Tolerant] {
        for (late, bound) in [([0, 0], 0.95), ([0, 5], 0.9), ([5, 0], 0.9)] {
            let mut path = Path::new(100, 20, 1.0);
            path.acks = 2;
            path.jitter = Duration::from_micros(50);
            let flows = [
                (Algorithm::Cubic, SEC * late[0]),
                (algorithm, SEC * late[1]),
            ];
            let indices = (1..=4).map(|seed| {
                let mut b = Bottleneck::new(seed, path, &flows);
                b.run(SEC * late[0].max(late[1]));
                let shares = b.goodput(30 * SEC);
                b.finish();
                jain(&shares)
            });
            let indices: Vec<_> = indices.collect();
            let mean = indices.iter().sum::<f64>() / 4.0;
            assert!(
                mean > bound,
                "seeds 1 to 4, {algorithm}, late {late:?}: {indices:.3?}"
            );
        }
    }
}

/// Where acknowledgements come faster than that, a millisecond's worth leaves at
/// once; otherwise what each acknowledges.
#[test]
fn new_data_leaves_in_short_bursts() {
    // A segment takes 121 us of the one path and 1.2 ms of the other.
    for (mbps, least, most) in [(100, 6.0, 11.0), (10, 1.9, 2.5)] {
        let mut path = Path::new(mbps, 20, 1.0);
        path.acks = 2;
        let mut b = Bottleneck::new(1, path, &[(Algorithm::Cubic, Duration::ZERO)]);
        let goodput = b.goodput(10 * SEC)[0];
        let burst = b.burst(0);
        b.finish();
        assert!(
            (least..most).contains(&burst) && goodput > 0.9 * mbps as f64,
            "{mbps} Mbit/s: {burst:.2} at once, {goodput:.1} Mbit/s"
        );
    }
}

/// A window of twice what the path and its queue hold would lose half.
#[test]
fn slow_start_ends_where_the_path_is_full() {
    for (mbps, millis, queue) in [
        (100, 20, 1.0),
        (100, 20, 0.5),
        (20, 100, 1.0),
        (50, 100, 0.5),
    ] {
        for acks in [2, 32] {
            let mut path = Path::new(mbps, millis, queue);
            path.acks = acks;
            let mut b = Bottleneck::new(5, path, &[(Algorithm::Cubic, Duration::ZERO)]);
            b.run(2 * SEC);
            let goodput = b.goodput(2 * SEC)[0];
            let lost = b.overflowed as usize;
            b.finish();
            let place = format!("{mbps} Mbit/s, {millis} ms, queue {queue}, {acks} a time");
            assert!(goodput > 0.85 * mbps as f64, "{place}: {goodput:.1} Mbit/s");
            assert!(lost < path.queue / 2, "{place}: {lost} of {}", path.queue);
        }
    }
}

/// What short queues let through in the first seconds, in Mbit/s: slow start
/// in bursts ends by what they cannot hold.
#[test]
fn pacing_lets_slow_start_through_short_queues() {
    for (mbps, millis) in [(100, 20), (50, 50)] {
        let begin = |pacing| {
            let mut path = Path::new(mbps, millis, 0.1);
            path.pacing = pacing;
            let mut b = Bottleneck::new(3, path, &[(Algorithm::Tolerant, Duration::ZERO)]);
            let goodput = b.goodput(2 * SEC)[0];
            b.finish();
            goodput
        };
        let (burst, paced) = (begin(false), begin(true));
        assert!(
            paced > 1.3 * burst,
            "{mbps} Mbit/s, {millis} ms: {burst:.1} in bursts, {paced:.1} paced"
        );
    }
}

/// At most a millisecond's worth or two segments leave at once, and the window
/// is used all the same.
#[test]
fn a_paced_flow_sends_no_bursts_and_fills_its_window() {
    let config = Config {
        pacing: true,
        ..Config::default()
    };
    let mut p = super::testing::Pair::connected(config.clone(), config);
    p.a.to_send = vec![0; 2_000_000];
    let begin = p.now;
    let first = p.a.log.len();
    assert!(p.run_until(10 * SEC, |p| p.b.received.len() == 2_000_000));
    // 10 ms, from ten segments on: nine doublings.
    let took = p.now.since(begin);
    assert!(took < Duration::from_millis(250), "{took:?}");
    let (mut at, mut burst, mut most_early) = (begin, 0, 0);
    for (when, _, len) in &p.a.log[first..] {
        if *when != at {
            (at, burst) = (*when, 0);
        }
        burst += usize::from(*len > 0);
        if at.since(begin) < Duration::from_millis(25) {
            most_early = most_early.max(burst);
        }
    }
    // Windows of up to 40 segments in 10 ms, at twice their pace: eight in a
    // millisecond, and one begun.
    assert!((2..=9).contains(&most_early), "{most_early} at once");
    p.finish();
}
