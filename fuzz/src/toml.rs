//! Configuration files: any text is a plan, or an error that says where.

use std::path::Path;

use fullbore::config::{Error, Plan, Source};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("f.toml");
    let outcome = Source::parse(path, text.to_owned()).and_then(Source::plan);
    match outcome {
        Ok(plan) => check_plan(&plan),
        Err(e) => check_error(&e, text),
    }
}

fn check_error(error: &Error, text: &str) {
    assert!(!error.problems().is_empty());
    for problem in error.problems() {
        assert!(!problem.message.is_empty());
        if let Some((line, column)) = problem.place {
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&line), "{problem:?}");
            let found = text.split('\n').nth(line - 1).unwrap_or_default();
            assert!(
                column >= 1 && column <= found.chars().count() + 1,
                "{problem:?}"
            );
        } else {
            // Only what is not in the file at all has no place.
            assert!(
                problem.message.starts_with("no interface") || missing(problem.message.as_str()),
                "{problem:?}"
            );
        }
    }
    let shown = error.to_string();
    assert_eq!(shown.lines().count(), error.problems().len(), "{shown}");
}

fn missing(message: &str) -> bool {
    message.contains(':')
}

fn check_plan(plan: &Plan) {
    assert!(!plan.interface.as_str().is_empty());
    for (queues, cores) in [(1, &[0u32][..]), (4, &[0, 1]), (64, &[0, 1, 2, 3])] {
        if let Ok(engines) = plan.engines(queues, cores) {
            assert!(!engines.is_empty());
            let mut all: Vec<u32> = engines.iter().flat_map(|e| e.queues.clone()).collect();
            all.sort_unstable();
            let before = all.len();
            all.dedup();
            assert_eq!(all.len(), before, "a queue has two engines");
            assert!(engines.iter().all(|e| !e.queues.is_empty()));
            assert!(all.iter().all(|q| *q < queues));
        }
    }
}
