//! The modules of fullbore that threads meet in, with loom's atomics in the
//! place of the standard library's. `tests/` runs them in every order in which
//! their steps can happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub mod engine;
pub mod link;
pub mod sync;

/// Runs `model` in every order in which the steps of its threads can happen
/// with up to `bound` preemptions, and with every value that each load may see.
/// The number of orders is printed.
///
/// With `MODELS_LONG` in the environment, a number of seconds, there is no
/// bound: all orders, or as many as there is time for.
pub fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    let long = std::env::var("MODELS_LONG")
        .ok()
        .map(|s| Duration::from_secs(s.parse().expect("MODELS_LONG is a number of seconds")));
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 5_000;
    builder.max_duration = long;
    // How often loom looks at the clock.
    builder.checkpoint_interval = 1_000;
    builder.preemption_bound = if long.is_some() { None } else { Some(bound) };
    let began = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let took = began.elapsed();
    let orders = orders.load(Ordering::Relaxed);
    match long {
        None => println!("all {orders} orders of up to {bound} preemptions, {took:.1?}"),
        Some(limit) if took < limit => println!("all {orders} orders, {took:.1?}"),
        Some(_) => println!("the first {orders} orders, {took:.1?}"),
    }
}
