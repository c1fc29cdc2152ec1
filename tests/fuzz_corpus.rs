//! Every input that the fuzzers kept, through the same functions: the corpus,
//! and what once went wrong. `fuzz/README.md` tells how they are made.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(kind)
        .join(target);
    let Ok(entries) = fs::read_dir(&dir) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Runs a target over all its inputs.
fn replay(target: &str) {
    let (_, run) = targets::TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target of this name");
    // So that an input that was never written down is tried as well.
    run(&[]);
    let mut files = inputs("regressions", target);
    let corpus = inputs("corpus", target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    files.extend(corpus);
    for file in files {
        let bytes = fs::read(&file).expect("a readable file");
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&bytes)));
        assert!(outcome.is_ok(), "{target} fails with {}", file.display());
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            let all: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(tested.as_slice(), all);
        }
    };
}

targets!(connection cookie fields http packetdrill pair serve settings stack toml utp utp_pair utp_wire wire);
