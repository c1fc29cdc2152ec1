//! Commands and reports.

mod args;
mod bench;
mod check;
mod failure;
mod interfaces;
pub mod node;
mod options;
mod report;
mod serve;
mod signals;
mod transfer;

use args::{Cli, Command};
use clap::Parser;
use clap::error::ErrorKind;
use failure::{Exit, Failure};
use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        Command::Check { config } => check::run(&config),
        Command::Interfaces => interfaces::run(),
        Command::Serve(args) => serve::run(&args),
        Command::Bench(command) => bench::run(&command),
        Command::Get(args) => transfer::get(&args),
        Command::Put(args) => transfer::put(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

/// Help and version as clap prints them; errors in one line like all others.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let _ = error.print();
        return if error.use_stderr() {
            Exit::Usage.into()
        } else {
            ExitCode::SUCCESS
        };
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // The first paragraph says what is wrong, "tip:" what to do; usage follows.
    let mut message = String::new();
    let mut hint = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if let Some(tip) = line.strip_prefix("tip: ") {
            hint.get_or_insert(tip.to_owned());
        } else if line.starts_with('[') || !line.is_empty() {
            if !message.is_empty() {
                message.push(' ');
            }
            message.push_str(line);
        }
    }
    eprintln!(
        "{}",
        Failure {
            exit: Exit::Usage,
            message,
            hint: hint.or(Some("see --help".into()))
        }
    );
    Exit::Usage.into()
}
