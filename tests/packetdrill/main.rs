//! Every script of `scripts/` against fullbore, under virtual time.
//!
//! `FULLBORE_PACKETDRILL=TEXT` runs only those whose path has TEXT in it.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
mod drill;
#[path = "../kernel/mod.rs"]
mod kernel;
#[cfg(test)]
mod linux;
#[cfg(test)]
mod runner;

use std::path::Path;

use drill::fullbore::Fullbore;
use drill::run::{KNOWN, Settings, Verdict};
use drill::{suite, target};

fn fullbore(plan: &target::Plan) -> Result<Box<dyn target::Target>, String> {
    Ok(Box::new(Fullbore::new(plan)))
}

#[test]
fn every_script_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packetdrill/scripts");
    let mut scripts = suite::find(&folder).expect("the folder of scripts");
    let all = scripts.len();
    if let Ok(part) = std::env::var("FULLBORE_PACKETDRILL") {
        scripts.retain(|path| path.to_string_lossy().contains(&part));
    }
    assert!(!scripts.is_empty(), "no script of {all} is meant");
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let results = suite::run(scripts, Settings { strict_end: true }, threads, &fullbore);
    println!("{results}");
    let (_, failed, _) = results.counts();
    assert_eq!(failed, 0, "{results}");
    // A setting that does nothing makes a script that shows nothing.
    for (path, run) in results.iter() {
        assert!(
            run.ignored.is_empty(),
            "{}: {}",
            path.display(),
            run.ignored
        );
        // Nor may one be left out but for a difference that it tells itself.
        if let Verdict::Skipped(why) = &run.verdict {
            assert!(why.starts_with(KNOWN), "{}: {why}", path.display());
        }
    }
}
