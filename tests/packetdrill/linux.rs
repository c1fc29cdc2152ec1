//! The same scripts against the Linux kernel, in real time: what they say is
//! what TCP does, or they carry the reason why Linux does otherwise.

use std::path::{Path, PathBuf};

use crate::common;
use crate::drill::linux::Linux;
use crate::drill::run::{Settings, Verdict};
use crate::drill::{suite, target};

/// Scripts that run at once, in the first try and when some are tried again:
/// they mostly wait, but making their namespaces is work.
const THREADS: [usize; 6] = [24, 8, 4, 2, 2, 1];

fn linux(plan: &target::Plan) -> Result<Box<dyn target::Target>, String> {
    Ok(Box::new(Linux::new(plan)))
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn linux_passes_every_script_or_it_is_known_why_not() {
    if !common::require_root() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packetdrill/scripts");
    let mut scripts = suite::find(&folder).expect("the folder of scripts");
    if let Ok(part) = std::env::var("FULLBORE_PACKETDRILL") {
        scripts.retain(|path| path.to_string_lossy().contains(&part));
    }
    let (mut passed, mut skipped) = (0, 0);
    let mut report = String::new();
    // A busy machine can spoil the times of a try.
    for threads in THREADS {
        let settings = Settings { strict_end: true };
        let results = suite::run(std::mem::take(&mut scripts), settings, threads, &linux);
        let counts = results.counts();
        passed += counts.0;
        skipped += counts.2;
        scripts = failures(&results);
        report = results.to_string();
        if scripts.is_empty() {
            break;
        }
        println!("again: {}", scripts.len());
        for line in report.lines().filter(|l| l.starts_with("FAILED")) {
            println!("  {line}");
        }
    }
    println!(
        "linux: {passed} passed, {} failed, {skipped} skipped",
        scripts.len()
    );
    assert!(scripts.is_empty(), "{report}");
}

fn failures(results: &suite::Results) -> Vec<PathBuf> {
    let failed = results
        .iter()
        .filter(|(_, run)| matches!(run.verdict, Verdict::Failed(_)));
    failed.map(|(path, _)| path.clone()).collect()
}
