//! fullbore and smoltcp over memory, both ends of a connection in one thread:
//! the cost of a full segment, in turn and in one run.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;

use fullbore_bench::memory::{self, Messages, Pair, Settings, Stack};
use fullbore_bench::sample::Sample;

/// Compares stacks over memory: nanoseconds a full segment, both ends.
#[derive(Parser)]
struct Args {
    /// Stacks to measure; default: all.
    #[arg(long = "stack", value_delimiter = ',')]
    stacks: Vec<Stack>,
    /// The one to compare with.
    #[arg(long, default_value = "smoltcp")]
    against: Stack,
    /// Full segments in each run.
    #[arg(long, default_value_t = 200_000)]
    segments: u64,
    /// Runs of each stack, in turn.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Full segments before each run, verified and not measured.
    #[arg(long, default_value_t = 20_000)]
    warm_up: u64,
    /// Send and receive buffers, in bytes.
    #[arg(long, default_value_t = 256 << 10)]
    buffer: u32,
    /// Largest IP packet, in bytes.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..=1500))]
    mtu: u16,
    /// Segments carry timestamps, and 12 bytes of payload less.
    #[arg(long)]
    timestamps: bool,
    /// One run of each stack and no clock: for callgrind and perf. What is
    /// to be counted happens in the function `measured`.
    #[arg(long)]
    once: bool,
    /// Instead: so many messages of 64 bytes and their answers between two engines,
    /// after a tenth as many, and no clock.
    #[arg(long)]
    messages: Option<u64>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    if let Some(n) = args.messages {
        let mut pair = Messages::new()?;
        pair.exchange(n / 10)?;
        return exchanged(&mut pair, n);
    }
    let settings = Settings {
        buffer: args.buffer,
        mtu: args.mtu,
        timestamps: args.timestamps,
    };
    let stacks = if args.stacks.is_empty() {
        Stack::value_variants().to_vec()
    } else {
        args.stacks.clone()
    };
    let named = |stack: Stack| move |e| format!("{}: {e}", stack.name());
    if args.once {
        for &stack in &stacks {
            let mut pair = stack.connect(&settings).map_err(named(stack))?;
            pair.transfer(args.warm_up * settings.segment())
                .map_err(named(stack))?;
            pair.set_verify(false);
            measured(&mut *pair, args.segments * settings.segment()).map_err(named(stack))?;
        }
        return Ok(());
    }
    let mut costs = vec![Sample::default(); stacks.len()];
    for _ in 0..args.runs.max(1) {
        for (&stack, cost) in stacks.iter().zip(&mut costs) {
            let nanos = memory::cost(stack, &settings, args.warm_up, args.segments);
            cost.push(nanos.map_err(named(stack))?);
        }
    }
    report(args, &settings, &stacks, &costs);
    Ok(())
}

/// The same of messages.
#[inline(never)]
fn exchanged(pair: &mut Messages, n: u64) -> Result<(), String> {
    pair.exchange(n)
}

/// What a profiler's filter by function is held to.
#[inline(never)]
fn measured(pair: &mut dyn Pair, bytes: u64) -> Result<(), String> {
    pair.transfer(bytes)
}

fn report(args: &Args, settings: &Settings, stacks: &[Stack], costs: &[Sample]) {
    // How many times as long the one to compare with takes, if it was run.
    let baseline = stacks.iter().position(|&stack| stack == args.against);
    let ratio = |cost: &Sample| baseline.map(|n| costs[n].over(cost));
    if args.json {
        let rows: Vec<_> = stacks
            .iter()
            .zip(costs)
            .map(|(stack, cost)| {
                json!({
                    "stack": stack.name(),
                    "ns_per_segment": cost.json(),
                    "gbps": settings.segment() as f64 * 8.0 / cost.median(),
                    "times_as_fast": ratio(cost).map(|r| r.json()),
                })
            })
            .collect();
        let report = json!({
            "segment_bytes": settings.segment(), "segments": args.segments,
            "runs": args.runs, "mtu": args.mtu, "buffer": args.buffer,
            "timestamps": args.timestamps, "against": args.against.name(), "stacks": rows,
        });
        println!("{report:#}");
        return;
    }
    println!(
        "both ends in one thread, processor time, {} segments of {} bytes a run, buffers of {} KiB, \
         checksums on; median (least to most) of {} runs in turn",
        args.segments,
        settings.segment(),
        args.buffer >> 10,
        args.runs
    );
    println!(
        "{:<18} {:>24} {:>8}   times as fast as {}",
        "stack",
        "ns a segment",
        "Gbit/s",
        args.against.name()
    );
    for (stack, cost) in stacks.iter().zip(costs) {
        let ratio = ratio(cost).map_or(String::new(), |r| {
            format!("{:.2} ({:.2} to {:.2})", r.median(), r.min(), r.max())
        });
        println!(
            "{:<18} {:>6.0} ({:>6.0} to {:>6.0}) {:>8.1}   {ratio}",
            stack.name(),
            cost.median(),
            cost.min(),
            cost.max(),
            settings.segment() as f64 * 8.0 / cost.median(),
        );
    }
}
