//! Worlds by the thousand, on several threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::plan::Plan;
use crate::trace::Trace;
use crate::world::{self, Report};

/// Failures after which a run ends that is not to find all.
const ENOUGH: usize = 10;

/// What the worlds of a run came to.
#[derive(Default)]
struct Totals {
    packets: u64,
    virtual_seconds: u64,
    /// The world that took longest, and how long.
    slowest: (Duration, u64),
    reached: BTreeMap<&'static str, u64>,
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// One world, and what is to be seen of it.
    pub seed: Option<u64>,
    pub verbose: bool,
    pub pcap: Option<PathBuf>,
    /// Many: how many, or for how long.
    pub runs: Option<u64>,
    pub hours: Option<f64>,
    pub from: u64,
    pub threads: Option<usize>,
    /// Goes on whatever fails.
    pub all: bool,
}

const USAGE: &str = "usage: cargo test [--release] --test simulation -- \
    --seed N [--verbose] [--pcap FILE] | \
    --runs N | --hours H  [--from SEED] [--threads N]";

impl Options {
    /// Options of our own; `None` if there are none.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let (mut any, mut arguments) = (false, arguments);
        options.all = true;
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or(format!("{name} wants a value\n{USAGE}"))
            };
            let wrong = |_| format!("{name} wants a number\n{USAGE}");
            match name.as_str() {
                "--seed" => options.seed = Some(value()?.parse().map_err(wrong)?),
                "--runs" => options.runs = Some(value()?.parse().map_err(wrong)?),
                "--from" => options.from = value()?.parse().map_err(wrong)?,
                "--threads" => options.threads = Some(value()?.parse().map_err(wrong)?),
                "--hours" => {
                    let hours = value()?.parse::<f64>();
                    options.hours = Some(hours.map_err(|e| format!("--hours: {e}\n{USAGE}"))?);
                }
                "--verbose" => options.verbose = true,
                "--pcap" => options.pcap = Some(value()?.into()),
                _ => continue,
            }
            any = true;
        }
        Ok(any.then_some(options))
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a world; a panic is a failure like any other.
///
/// # Errors
/// The rule that was broken.
pub fn caught(plan: Plan, trace: Trace) -> Result<Report, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let trace = std::backtrace::Backtrace::force_capture();
            PANIC.set(Some(format!("{info}\n{trace}")));
        }));
    });
    std::panic::catch_unwind(AssertUnwindSafe(|| world::run(plan, trace))).unwrap_or_else(|_| {
        let what = PANIC.take().unwrap_or_default();
        Err(format!("panic: {what}"))
    })
}

/// Does what the command line asks for.
pub fn command(options: &Options) -> ExitCode {
    let outcome = match options.seed {
        Some(seed) => one(seed, options),
        None => run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, options: &Options) -> Result<(), String> {
    let plan = Plan::new(seed);
    println!("{plan}");
    let trace = Trace::new(options.verbose, options.pcap.as_deref())?;
    let report = caught(plan, trace)?;
    println!("fine: {report:?}");
    Ok(())
}

/// Runs many worlds.
///
/// # Errors
/// The seeds of those that broke a rule, and the rules.
pub fn run(options: &Options) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores).max(1);
    let (begin, used) = (Instant::now(), processor_time());
    let end = options
        .hours
        .map(|h| begin + Duration::from_secs_f64(h * 3600.0));
    let most = match (options.runs, end) {
        (Some(runs), _) => runs,
        (None, Some(_)) => u64::MAX,
        (None, None) => 10_000,
    };
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    let totals = Mutex::new(Totals::default());
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let late = end.is_some_and(|end| Instant::now() >= end);
            let failed = failures
                .lock()
                .map_or(0, |f: std::sync::MutexGuard<'_, Vec<_>>| f.len());
            if i >= most || late || (failed >= ENOUGH && !options.all) {
                return;
            }
            let seed = options.from.wrapping_add(i);
            let start = Instant::now();
            let outcome = caught(Plan::new(seed), Trace::default());
            let took = start.elapsed();
            match outcome {
                Ok(report) => {
                    let mut t = totals.lock().expect("no panic holds it");
                    t.packets += report.packets;
                    t.virtual_seconds += report.virtual_seconds;
                    t.slowest = t.slowest.max((took, seed));
                    for (name, n) in report.reached {
                        *t.reached.entry(name).or_default() += n;
                    }
                }
                Err(what) => {
                    eprintln!("seed {seed}: {what}\n{}", replay(seed));
                    failures.lock().expect("no panic holds it").push(seed);
                }
            }
            let n = done.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_multiple_of(20_000) {
                println!("{n} worlds in {:.0} s", begin.elapsed().as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    let t = totals.into_inner().unwrap_or_default();
    let (slowest, which) = t.slowest;
    let (n, took) = (done.into_inner(), begin.elapsed().as_secs_f64());
    let cpu = processor_time() - used;
    println!(
        "{n} worlds from seed {}, {} failed, in {took:.1} s on {threads} threads, \
         {cpu:.1} s of processor time ({:.2} ms each): {} packets, \
         {:.1} days of virtual time; the slowest took {slowest:.1?} (seed {which})",
        options.from,
        failures.len(),
        cpu * 1000.0 / n.max(1) as f64,
        t.packets,
        t.virtual_seconds as f64 / 86400.0,
    );
    for (name, n) in t
        .reached
        .iter()
        .filter(|_| options.runs.is_none() || options.verbose)
    {
        println!("{n:>12} {name}");
    }
    match failures.first() {
        None => Ok(()),
        Some(first) => Err(format!("seeds {failures:?} failed\n{}", replay(*first))),
    }
}

/// Seconds that this process has computed.
fn processor_time() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0.0;
    };
    let seconds = |t: nix::sys::time::TimeVal| t.num_microseconds() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn replay(seed: u64) -> String {
    format!("replay: cargo test --test simulation -- --seed {seed} --verbose")
}
