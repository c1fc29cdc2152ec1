//! Many scripts: found, run on several threads, summed up.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run::{self, MakeTarget, Run, Settings, Verdict};

/// Every `.pkt` file in `path`, which may be a file of any name, in order.
///
/// # Errors
/// When a folder cannot be read.
pub fn find(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|e| e == "pkt") {
            found.extend(find(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

/// What came of each script, in the order that they were given.
pub struct Results {
    runs: Vec<(PathBuf, Run)>,
}

impl Results {
    /// How many passed, failed, and were skipped.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count =
            |f: fn(&Verdict) -> bool| self.runs.iter().filter(|(_, r)| f(&r.verdict)).count();
        (
            count(|v| matches!(v, Verdict::Passed)),
            count(|v| matches!(v, Verdict::Failed(_))),
            count(|v| matches!(v, Verdict::Skipped(_))),
        )
    }

    /// Each script and what came of it.
    pub fn iter(&self) -> impl Iterator<Item = &(PathBuf, Run)> {
        self.runs.iter()
    }
}

/// The reports of failures, the reasons of skips, and the sums.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, run) in &self.runs {
            match &run.verdict {
                Verdict::Passed => {}
                Verdict::Failed(report) => writeln!(f, "FAILED  {}", report.trim_end())?,
                Verdict::Skipped(why) => writeln!(f, "skipped {}: {why}", path.display())?,
            }
        }
        let (passed, failed, skipped) = self.counts();
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs scripts on `threads` threads, each against a target of its own.
pub fn run(
    paths: Vec<PathBuf>,
    settings: Settings,
    threads: usize,
    make: &(impl Fn(&super::target::Plan) -> Result<Box<dyn super::target::Target>, String> + Sync),
) -> Results {
    let next = AtomicUsize::new(0);
    let runs = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, paths.len().max(1)) {
            scope.spawn(|| {
                let make: &MakeTarget<'_> = make;
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = one(path, settings, make);
                    runs.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((path.clone(), run));
                }
            });
        }
    });
    let mut runs = runs
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    Results { runs }
}

/// A script that panics fails; the others go on.
fn one(path: &Path, settings: Settings, make: &MakeTarget<'_>) -> Run {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run::run_file(path, settings, make)
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("panic");
        Run {
            verdict: Verdict::Failed(format!("{}: panicked: {text}", path.display())),
            ignored: run::Ignored::default(),
        }
    })
}
