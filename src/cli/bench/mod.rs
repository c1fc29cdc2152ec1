//! `fullbore bench`: what the machine, and fullbore on it, can do.

mod args;
mod ceiling;
mod crr;
mod ends;
mod live;
mod many;
mod raw;
mod report;
mod rr;
mod stream;

pub use args::BenchCommand;

use super::failure::Failure;
use nix::sys::resource::{UsageWho, getrusage};

/// Runs one measurement.
pub fn run(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Raw(args) => raw::raw(args),
        BenchCommand::RxDrop(args) => raw::rx_drop(args),
        BenchCommand::TxOnly(args) => raw::tx_only(args),
        BenchCommand::Forward(args) => raw::forward(args),
        BenchCommand::Ceiling(args) => ceiling::ceiling(args),
        BenchCommand::Stream(args) => stream::stream(args),
        BenchCommand::Rr(args) => rr::rr(args),
        BenchCommand::Crr(args) => crr::crr(args),
        BenchCommand::Many(args) => many::many(args),
        BenchCommand::Loss(args) => stream::loss(args),
    }
}

/// Processor time that this process has used, in seconds.
fn cpu_time() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0.0;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6)
        .sum()
}
