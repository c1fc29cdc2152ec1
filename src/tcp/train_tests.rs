//! A train is what the same segments are one by one.

use proptest::prelude::*;

use super::super::Config;
use super::super::testing::{Pair, pattern};
use super::*;

/// What leaves `a` when it sends `len` bytes, of which the first segment is in
/// flight already, and what is left behind.
fn frames(
    config: &Config,
    len: usize,
    window: u32,
    train: Option<usize>,
) -> (Vec<Vec<u8>>, String) {
    let mut pair = Pair::connected(config.clone(), config.clone());
    let now = pair.now;
    let end = &mut pair.a;
    let c = end.conn.as_mut().expect("a connection");
    c.snd.wnd = window;
    c.send(&mut end.pool, &pattern(len));
    let mut queue = VecDeque::new();
    queue.extend(c.poll_transmit(now, &mut end.pool, &end.template));
    if let Some(budget) = train {
        let before = queue.len();
        let sent = c.poll_train(now, &mut end.pool, &end.template, budget, &mut queue);
        assert!(sent <= budget && sent == queue.len() - before);
    }
    while let Some(desc) = c.poll_transmit(now, &mut end.pool, &end.template) {
        queue.push_back(desc);
    }
    let mut out = Vec::new();
    for desc in queue {
        out.push(end.pool.tx_bytes(&desc).to_vec());
        end.pool.complete(desc);
    }
    assert_eq!(c.check(), Ok(()));
    (
        out,
        format!("{:?} {:?} {:?}", c.info(), c.counters(), c.poll_timeout()),
    )
}

#[test]
fn a_train_runs() {
    let mut pair = Pair::connected(Config::default(), Config::default());
    let end = &mut pair.a;
    let c = end.conn.as_mut().expect("a connection");
    c.send(&mut end.pool, &pattern(20_000));
    let mut queue = VecDeque::new();
    assert_eq!(
        c.poll_train(pair.now, &mut end.pool, &end.template, 64, &mut queue),
        0
    );
    queue.extend(c.poll_transmit(pair.now, &mut end.pool, &end.template));
    assert_eq!(
        c.poll_train(pair.now, &mut end.pool, &end.template, 4, &mut queue),
        4
    );
    // The initial window is ten segments.
    assert_eq!(
        c.poll_train(pair.now, &mut end.pool, &end.template, 64, &mut queue),
        5
    );
    assert_eq!(
        c.poll_train(pair.now, &mut end.pool, &end.template, 64, &mut queue),
        0
    );
    for desc in queue {
        end.pool.complete(desc);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_train_is_the_same_segments(
        len in 1usize..30_000,
        budget in 0usize..12,
        timestamps: bool,
        window in 0u32..40_000,
    ) {
        let config = Config { timestamps, ..Config::default() };
        let one_by_one = frames(&config, len, window, None);
        let in_a_train = frames(&config, len, window, Some(budget));
        prop_assert_eq!(one_by_one, in_a_train);
    }
}
