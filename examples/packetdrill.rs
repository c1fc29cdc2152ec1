//! Runs packetdrill scripts against fullbore, under virtual time, or against
//! the Linux kernel.
//!
//! `cargo run --example packetdrill -- [--lenient] [--target linux] FILE...`,
//! where a FILE may be a folder. `--lenient` does not mind packets that come
//! after the last one that a script expects. `--target linux` needs root: each
//! script gets a network namespace. `tests/packetdrill/README.md` tells the
//! rest.

#[allow(dead_code)]
#[path = "../tests/packetdrill/drill/mod.rs"]
mod drill;
#[path = "../tests/kernel/mod.rs"]
mod kernel;

use std::path::Path;
use std::process::ExitCode;

use drill::fullbore::Fullbore;
use drill::linux::Linux;
use drill::run::Settings;
use drill::{suite, target};

const USAGE: &str = "usage: packetdrill [--lenient] [--target fullbore|linux] FILE...";
/// Scripts run against the kernel at once: they mostly wait.
const REAL_TIME_THREADS: usize = 16;

fn fullbore(plan: &target::Plan) -> Result<Box<dyn target::Target>, String> {
    Ok(Box::new(Fullbore::new(plan)))
}

fn linux(plan: &target::Plan) -> Result<Box<dyn target::Target>, String> {
    Ok(Box::new(Linux::new(plan)))
}

fn main() -> ExitCode {
    let mut settings = Settings { strict_end: true };
    let mut scripts = Vec::new();
    let mut on_linux = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--lenient" {
            settings.strict_end = false;
            continue;
        }
        if argument == "--target" {
            on_linux = match arguments.next().as_deref() {
                Some("linux") => true,
                Some("fullbore") => false,
                _ => {
                    eprintln!("{USAGE}");
                    return ExitCode::from(2);
                }
            };
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
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results = if on_linux {
        suite::run(scripts, settings, REAL_TIME_THREADS, &linux)
    } else {
        suite::run(scripts, settings, threads, &fullbore)
    };
    for (path, run) in results.iter() {
        if !run.ignored.is_empty() {
            println!("ignored {}: {}", path.display(), run.ignored);
        }
    }
    println!("{results}");
    let (_, failed, _) = results.counts();
    ExitCode::from(u8::from(failed > 0))
}
