//! What moves chunks through the rings, against a model of the kernel: whatever
//! parts of what it is given the kernel takes and returns, and wherever the
//! cursors are, each frame goes out and comes in once, in order and unchanged,
//! chunks balance after every step, and nobody sleeps on what the other waits
//! for.

mod kernel;
mod ring;
mod world;

use std::time::Duration;

use self::kernel::{Driver, Random, Sizes};
use self::world::{Step, World};

/// Rings of a few entries, so that they are full and empty all the time.
const SMALL: Sizes = Sizes {
    chunks: 7,
    chunk: 2048,
    rx: 2,
    tx: 4,
    fill: 2,
    completion: 2,
};

/// Every history of `depth` steps with rings of a few entries, whose cursors
/// wrap on the way.
fn every_history(depth: u32, driver: Driver) {
    let letters = [
        Step::Receive(8),
        Step::Transmit(1),
        Step::Transmit(3),
        Step::TransmitLong(3),
        Step::TurnAround(1),
        Step::Hold,
        Step::Again,
        Step::TakeFill(2),
        Step::Arrive(1),
        Step::ArriveLong(2),
        Step::Send(1),
        Step::Send(9),
        Step::Complete(1, false),
        Step::Complete(9, true),
        Step::Rest,
    ];
    let copying = driver.copies.is_some();
    let letters: Vec<_> = letters
        .into_iter()
        .filter(|l| !copying || !matches!(l, Step::Send(_) | Step::Rest))
        .collect();
    let total = letters.len().pow(depth);
    for number in 0..total {
        // Just before the cursors wrap, and some further on.
        let start = u32::MAX.wrapping_add(number as u32 % 5).wrapping_sub(2);
        let mut world = World::new(SMALL, 2, driver, [start; 4], 1);
        let mut rest = number;
        let mut history = Vec::new();
        for _ in 0..depth {
            history.push(letters[rest % letters.len()]);
            rest /= letters.len();
        }
        let told = Told(|| format!("cursors at {start}: {history:?}"));
        for step in &history {
            world.step(*step);
        }
        world.settle();
        drop(told);
    }
}

/// Says what it is told if there is a panic.
struct Told<F: Fn() -> String>(F);

impl<F: Fn() -> String> Drop for Told<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", (self.0)());
        }
    }
}

fn depth() -> u32 {
    number("FULLBORE_RING_DEPTH").unwrap_or(4) as u32
}

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

#[test]
fn every_short_history_with_a_copying_driver() {
    for copies in [1, 8] {
        every_history(
            depth(),
            Driver {
                copies: Some(copies),
                lively: false,
            },
        );
    }
}

#[test]
fn every_short_history_with_a_driver_that_sends_by_itself() {
    every_history(
        depth(),
        Driver {
            copies: None,
            lively: false,
        },
    );
}

/// One random world: sizes, driver, cursors and history follow from the seed.
fn random_history(seed: u64) {
    let told = Told(|| format!("FULLBORE_RING_SEED={seed} replays this"));
    let mut random = Random(seed);
    let power = |random: &mut Random, from: u32, to: u32| {
        1u32 << (from + random.below((to - from + 1) as usize) as u32)
    };
    let fill_ring = power(&mut random, 1, 9);
    let sizes = Sizes {
        chunks: 1 + random.below(1200) as u32,
        chunk: 2048,
        rx: power(&mut random, 1, 9),
        tx: power(&mut random, 1, 9),
        fill: fill_ring,
        completion: power(&mut random, 1, 9),
    };
    let fill = 1 + random.below(fill_ring as usize);
    let driver = Driver {
        copies: random.one_in(2).then(|| 1 + random.below(40)),
        lively: !random.one_in(4),
    };
    let starts = std::array::from_fn(|_| match random.below(3) {
        0 => (random.below(600) as u32).wrapping_sub(300),
        1 => u32::MAX - random.below(8) as u32,
        _ => random.next() as u32,
    });
    let mut world = World::new(sizes, fill, driver, starts, random.next());
    for _ in 0..200 {
        let few = random.below(8);
        let many = random.below(700);
        let n = if random.one_in(4) { many } else { few };
        world.step(match random.below(34) {
            0..5 => Step::Receive(n + 1),
            5..9 => Step::Transmit(n),
            9..11 => Step::TurnAround(n),
            11 => Step::Free(n),
            12..14 => Step::Hold,
            14 => Step::Again,
            15 => Step::Release,
            16 => Step::Unfit,
            17 => Step::Wait(Duration::from_micros(1 << random.below(22))),
            18 => Step::TakeFill(n),
            19..23 => Step::Arrive(n),
            23 => Step::ArriveLong(2 + random.below(3)),
            30 => Step::ArriveLong(2 + random.below(60)),
            31 | 32 => Step::TransmitLong(2 + random.below(20)),
            33 => Step::UnfitLong(2 + random.below(20), random.below(20)),
            24..26 => Step::Send(n),
            26 => Step::Complete(n, random.one_in(2)),
            27 => Step::Rest,
            28 if random.one_in(3) => Step::Stick,
            28 => Step::Down(random.one_in(3)),
            _ => Step::Lie(random.one_in(2)),
        });
    }
    world.settle();
    drop(told);
}

#[test]
fn random_histories_from_any_cursors() {
    if let Some(seed) = number("FULLBORE_RING_SEED") {
        return random_history(seed);
    }
    for seed in 0..number("FULLBORE_RING_RUNS").unwrap_or(400) {
        random_history(seed);
    }
}
