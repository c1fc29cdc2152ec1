//! What examples/background.rs draws: uTP with LEDBAT, by the one-way delays that
//! its packets measure, beside TCP with CUBIC, and beside its like; engines under a
//! virtual clock on one link.

#[path = "../examples/background.rs"]
#[allow(dead_code)]
mod background;

use background::{Plan, simulate, summary};
use fullbore::congestion::Algorithm;
use fullbore::engine::Transport;

/// Payload that 20 Mbit/s can carry in full frames of TCP, and a little less.
const PATH: f64 = 18.5;

fn beside_cubic(over: Transport, algorithm: Algorithm) -> background::Summary {
    let flows = [
        Plan(over, algorithm, 0, 40),
        Plan(Transport::Tcp, Algorithm::Cubic, 10, 30),
    ];
    let points = simulate(flows, 40).expect("two engines");
    let s = summary(&points).expect("another flow");
    println!("{over:?} {algorithm}: {s:.3?}");
    s
}

#[test]
fn ledbat_gives_way_to_cubic_and_is_back_within_five_seconds() {
    for over in [Transport::Utp, Transport::Tcp] {
        let s = beside_cubic(over, Algorithm::Ledbat);
        assert!(s.alone > 0.95 * PATH && s.delay < 100.0, "{over:?} {s:?}");
        assert!(s.part < 0.1, "{over:?} {s:?}");
        assert!(s.after > 0.9 * PATH, "{over:?} {s:?}");
    }
}

#[test]
fn ledbat_plus_plus_gives_way_too() {
    let s = beside_cubic(Transport::Utp, Algorithm::LedbatPlusPlus);
    assert!(s.alone > 0.85 * PATH && s.delay < 100.0, "{s:?}");
    assert!(s.part < 0.1, "{s:?}");
}

#[test]
fn who_comes_late_starves_the_other_by_ledbat_but_not_by_ledbat_plus_plus() {
    let shares = |algorithm| {
        let plan = |begin| Plan(Transport::Utp, algorithm, begin, 80);
        let points = simulate([plan(0), plan(15)], 80).expect("two engines");
        let late = points.iter().filter(|p| p.at > 40.0);
        late.fold([0.0; 2], |sum, p| {
            [sum[0] + p.rates[0], sum[1] + p.rates[1]]
        })
    };
    let (ledbat, plus) = (shares(Algorithm::Ledbat), shares(Algorithm::LedbatPlusPlus));
    println!("{ledbat:.0?} {plus:.0?}");
    assert!(ledbat[1] > 5.0 * ledbat[0], "{ledbat:?}");
    assert!(
        plus[1] < 2.5 * plus[0] && plus[0] < 2.5 * plus[1],
        "{plus:?}"
    );
}
