//! Runs packetdrill scripts against fullbore, under virtual time.
//!
//! `cargo run --example packetdrill -- [--lenient] FILE...`, where a FILE may
//! be a folder. `--lenient` does not mind packets that come after the last one
//! that a script expects. `tests/packetdrill/README.md` tells the rest.

#[allow(dead_code)]
#[path = "../tests/packetdrill/drill/mod.rs"]
mod drill;

use std::path::Path;
use std::process::ExitCode;

use drill::fullbore::Fullbore;
use drill::run::Settings;
use drill::{suite, target};

fn fullbore(plan: &target::Plan) -> Result<Box<dyn target::Target>, String> {
    Ok(Box::new(Fullbore::new(plan)))
}

fn main() -> ExitCode {
    let mut settings = Settings { strict_end: true };
    let mut scripts = Vec::new();
    for argument in std::env::args().skip(1) {
        if argument == "--lenient" {
            settings.strict_end = false;
            continue;
        }
        match suite::find(Path::new(&argument)) {
            Ok(found) => scripts.extend(found),
            Err(e) => {
                eprintln!("error: {argument}: {e}");
                return ExitCode::from(2);
            }
        }
    }
    if scripts.is_empty() {
        eprintln!("usage: packetdrill [--lenient] FILE...");
        return ExitCode::from(2);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results = suite::run(scripts, settings, threads, &fullbore);
    for (path, run) in results.iter() {
        if !run.ignored.is_empty() {
            println!("ignored {}: {}", path.display(), run.ignored);
        }
    }
    println!("{results}");
    let (_, failed, _) = results.counts();
    ExitCode::from(u8::from(failed > 0))
}
