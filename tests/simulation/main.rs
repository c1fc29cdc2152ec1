//! Whole engines under a virtual clock, on a wire on which everything goes
//! wrong. Each world follows from its seed; rules are checked all the time.
//!
//! `cargo test --test simulation` runs ten thousand worlds, and sees that
//! defects built in on purpose are found. With arguments of its own it does
//! as told:
//!
//! ```text
//! cargo test --test simulation -- --seed 77 [--verbose] [--pcap FILE]
//! cargo test --profile simulation --test simulation -- --hours 8 [--from SEED] [--threads 4]
//! cargo test --profile simulation --test simulation -- --runs 1000000
//! ```
//!
//! `FULLBORE_SIM_RUNS` and `FULLBORE_SIM_SEED` say the same to the plain
//! command.

mod app;
mod book;
mod content;
mod datagram;
mod defects;
mod handshake;
mod line;
mod network;
mod nic;
mod numbers;
mod observer;
mod packet;
mod plan;
mod rng;
mod rules;
mod runner;
mod script;
mod trace;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Worlds of a plain run.
const RUNS: u64 = 10_000;

fn main() -> ExitCode {
    match runner::Options::from_arguments(std::env::args().skip(1)) {
        Ok(Some(options)) => runner::command(&options),
        Ok(None) => tests(),
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

fn tests() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("worlds_keep_every_rule", worlds),
        Trial::test("the_same_seed_is_the_same_world", || {
            defects::the_same_seed_is_the_same_world().map_err(Failed::from)
        }),
        Trial::test("worlds_reach_every_corner", || {
            defects::worlds_reach_every_corner().map_err(Failed::from)
        }),
        Trial::test("arrows_lead_one_way", || {
            rules::arrows_lead_one_way().map_err(Failed::from)
        }),
    ];
    for (name, defect) in defects::ALL {
        trials.push(Trial::test(format!("finds_{name}"), move || {
            defects::is_found(defect).map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn worlds() -> Result<(), Failed> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let mut options = runner::Options {
        runs: Some(number("FULLBORE_SIM_RUNS").unwrap_or(RUNS)),
        ..runner::Options::default()
    };
    if let Some(seed) = number("FULLBORE_SIM_SEED") {
        (options.from, options.runs) = (seed, Some(1));
    }
    runner::run(&options).map_err(Failed::from)
}
