//! `fullbore check`.

use super::failure::{Exit, Failure};
use crate::config::{Plan, Source};
use std::path::PathBuf;

/// Checks each file; reports all that is wrong in all of them.
pub fn run(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for path in paths {
        match Source::read(path).and_then(Source::plan) {
            Ok(plan) => println!("{}: valid: {}", path.display(), summary(&plan)),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Usage, wrong.join("\n")))
    }
}

fn summary(plan: &Plan) -> String {
    let file = &plan.file;
    format!(
        "interface {}, attach {}, bind {}, {} addresses, {} frames of {} bytes an engine",
        plan.interface,
        file.attach,
        file.bind,
        file.addresses.mode,
        file.umem.frames.get(),
        file.umem.chunk.get(),
    )
}
