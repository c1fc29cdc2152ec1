//! fullbore next to other stacks, in turn and in one run, on a veth pair
//! between two network namespaces that end with this process.
//!
//! This one binary is also the fullbore that is measured, the uTP peer beside it,
//! and the way into the namespaces: see `fullbore_bench::compare::place`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use fullbore_bench::compare::place::{ENTER, FULLBORE, become_program};
use fullbore_bench::compare::report::{self, Conditions};
use fullbore_bench::compare::{self, Group, Plan};
use fullbore_bench::utp_peer;

/// Compares fullbore with other stacks on one veth pair. Needs root.
#[derive(Parser)]
struct Args {
    /// Short times and one round: shows that everything works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Rounds, in each of which all run in turn. Default: 5; quick: 1.
    #[arg(long)]
    runs: Option<usize>,
    /// Seconds of each measurement. Default: 3; quick: 0.3.
    #[arg(long)]
    seconds: Option<f64>,
    /// MiB of the file that is transferred. Default: 1024; quick: 16.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=8192))]
    file: Option<u64>,
    /// Bytes of the largest IP packet. Segments over memory are of one size.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..=9000))]
    mtu: u16,
    /// What to compare. Default: all.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write the generated part of performance.md in this directory, and the
    /// plots.
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name == FULLBORE {
        return fullbore::cli::main();
    }
    if name == utp_peer::NAME {
        return utp_peer::main();
    }
    if arguments.next().is_some_and(|first| first == ENTER) {
        eprintln!("error: {}", become_program(arguments));
        return ExitCode::FAILURE;
    }
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn plan(args: &Args) -> Result<Plan, String> {
    let quick = |quick, whole| if args.quick { quick } else { whole };
    let seconds = args.seconds.unwrap_or_else(|| quick(0.3, 3.0));
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("--seconds: from 0.1 to 3600".to_owned());
    }
    Ok(Plan {
        runs: args.runs.unwrap_or(if args.quick { 1 } else { 5 }).max(1),
        duration: Duration::from_secs_f64(seconds),
        warm_up: Duration::from_secs_f64(quick(0.1, 0.5)),
        file: args.file.unwrap_or(if args.quick { 16 } else { 1024 }) << 20,
        segments: if args.quick { 20_000 } else { 300_000 },
        mtu: args.mtu,
        groups: if args.only.is_empty() {
            Group::value_variants().to_vec()
        } else {
            args.only.clone()
        },
    })
}

/// Whether nothing failed.
fn run(args: &Args) -> Result<bool, String> {
    let plan = plan(args)?;
    if let Some(docs) = &args.docs {
        report::check(docs)?;
    }
    let mut conditions = Conditions::of_machine(&plan);
    let outcome = compare::run(&plan, |step| eprintln!("{step}"))?;
    conditions.add(&outcome);
    if args.json {
        println!("{:#}", report::json(&conditions, &outcome));
    } else {
        print!("{}", report::text(&conditions, &outcome, false));
    }
    let failed: Vec<_> = outcome.rows.iter().filter(|row| row.failed).collect();
    if let Some(docs) = &args.docs {
        if !failed.is_empty() {
            return Err("something failed: the document stays as it was".to_owned());
        }
        report::write(docs, &conditions, &outcome)?;
    }
    Ok(failed.is_empty())
}
