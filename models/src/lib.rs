//! The modules of fullbore that threads meet in, with loom's atomics in the
//! place of the standard library's. `tests/` runs them in every order in which
//! their steps can happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub mod engine;
pub mod link;
pub mod sync;

/// Runs `model` in every order in which the steps of its threads can happen,
/// and with every value that each load may see. Where those are too many, as
/// many as there is time for: the number is printed.
///
/// loom's own bound on preemptions is not used: it reports deadlocks where a
/// condition variable is waited for.
pub fn check(model: impl Fn() + Sync + Send + 'static) {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    let began = Instant::now();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 5_000;
    builder.max_duration = Some(LONGEST);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let how = if began.elapsed() < LONGEST {
        "all"
    } else {
        "the first"
    };
    println!("{how} {} orders", orders.load(Ordering::Relaxed));
}

/// How long one model may take.
const LONGEST: Duration = Duration::from_secs(5);
