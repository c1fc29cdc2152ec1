//! `fullbore get` and `fullbore put`.

use super::args::{GetArgs, InterfaceArgs, PutArgs};
use super::failure::{Exit, Failure};
use super::node::Node;
use super::options;
use super::report::{self, Stats};
use super::signals::Interrupt;
use crate::config::{Count, Plan, StatsFormat};
use crate::engine::Flow;
use crate::stats::with_unit;
use crate::transfer::app::{ClientApp, ClientReport, ClientResult};
use crate::transfer::client::progress::Phase;
use crate::transfer::client::{ClientError, GetOptions, Output, Progress, PutOptions, Source, Url};
use crate::transfer::serve::auth::read_token;
use crossbeam::channel::RecvTimeoutError;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the main thread looks around.
const TICK: Duration = Duration::from_millis(10);
/// How often to look whether the engine has ended when its work is done.
const SOON: Duration = Duration::from_micros(500);

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Local(_) => Exit::File,
            ClientError::Unreachable(_) => Exit::Network,
            ClientError::Protocol(_) => Exit::Protocol,
            ClientError::Refused { .. } => Exit::Refused,
            ClientError::Digest(_) => Exit::Digest,
            ClientError::Interrupted(_) => Exit::Interrupted,
        };
        Self::new(exit, error)
    }
}

/// Fetches a file.
pub fn get(args: &GetArgs) -> Result<(), Failure> {
    let url = url(&args.url)?;
    let output = match &args.output {
        Some(path) if path == Path::new("-") => Output::Stdout,
        Some(path) => Output::File(path.clone()),
        None => Output::File(url.file_name().map(PathBuf::from).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{} names no file", args.url))
                .hint("name the output with -o FILE")
        })?),
    };
    let plan = plan(&args.interface)?;
    if output == Output::Stdout && plan.file.stats.format == StatsFormat::Json {
        return Err(Failure::new(
            Exit::Usage,
            "the file and the statistics cannot both go to standard output",
        )
        .hint("use --stats line, or -o FILE"));
    }
    let addresses = resolve(&url)?;
    let mut options = GetOptions::new(url, output);
    options.connections = usize::try_from(args.connections.get()).unwrap_or(1);
    options.resume = !args.no_resume;
    options.digest = args.digest;
    options.patience.retries = retries(args.retries);
    options.token = token(args.token_file.as_deref())?;
    let progress = Arc::new(Progress::default());
    let (app, result) = ClientApp::get(options, addresses, Arc::clone(&progress))?;
    run(&plan, app, &result, &progress, args.quiet)
}

/// Sends a file.
pub fn put(args: &PutArgs) -> Result<(), Failure> {
    let url = url(&args.url)?;
    let source = if args.file == Path::new("-") {
        Source::Stdin
    } else {
        Source::File(args.file.clone())
    };
    let plan = plan(&args.interface)?;
    let addresses = resolve(&url)?;
    let mut options = PutOptions::new(url, source);
    options.digest = args.digest;
    options.patience.retries = retries(args.retries);
    options.token = token(args.token_file.as_deref())?;
    let progress = Arc::new(Progress::default());
    let (app, result) = ClientApp::put(options, addresses, Arc::clone(&progress))?;
    run(&plan, app, &result, &progress, args.quiet)
}

fn url(text: &str) -> Result<Url, Failure> {
    Url::parse(text).map_err(|e| Failure::new(Exit::Usage, e))
}

fn retries(count: Count<0, 1_000_000>) -> u32 {
    u32::try_from(count.get()).unwrap_or(u32::MAX)
}

fn plan(args: &InterfaceArgs) -> Result<Plan, Failure> {
    Ok(args.source()?.plan()?)
}

fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    url.resolve()
        .map_err(|e| Failure::new(Exit::Network, format!("{} has no address: {e}", url.host())))
}

fn token(path: Option<&Path>) -> Result<Option<String>, Failure> {
    path.map(read_token)
        .transpose()
        .map_err(|e| Failure::new(Exit::File, e))
}

/// Runs a job on one engine until it is done.
fn run(
    plan: &Plan,
    app: ClientApp<Flow>,
    result: &ClientResult,
    progress: &Progress,
    quiet: bool,
) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let mut options = options::node(plan)?;
    // One engine has all connections of a transfer, so it listens to all
    // queues: answers come in by any of them.
    let queues = options
        .engines
        .iter()
        .flat_map(|e| e.queues.clone())
        .collect();
    options.engines.truncate(1);
    if let Some(engine) = options.engines.first_mut() {
        engine.queues = queues;
    }
    let mut app = Some(app);
    let node = Node::start(&options, |_| app.take().expect("there is one engine"))?;
    if !quiet {
        eprintln!("{}", report::in_force(node.in_force()));
    }
    let bar = if quiet { ProgressBar::hidden() } else { bar() };
    let mut stats = Stats::new(plan);
    let start = Instant::now();
    let mut done = None;
    while !node.has_ended() {
        if interrupt.requested() {
            node.stop();
        }
        // The engine ends soon after it has told how the transfer went.
        match result.recv_timeout(if done.is_some() { SOON } else { TICK }) {
            Ok(outcome) => done = Some(outcome),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(SOON),
        }
        show(&bar, progress);
        node.tend();
        stats.tick(&node);
    }
    let taken = start.elapsed();
    bar.finish_and_clear();
    let board = node.board().clone();
    let steering = node.steering();
    let ended = node.join();
    let mut snapshots = board.read();
    if let Some(first) = snapshots.first_mut() {
        first.steering = steering;
    }
    stats.last(&snapshots);
    let done = done.or_else(|| result.try_recv().ok());
    // Why the transfer failed tells more than that the engine ended.
    let outcome = match done {
        Some(done) => done?,
        None => {
            ended?;
            return Err(Failure::new(
                Exit::Failed,
                "the engine ended before the transfer",
            ));
        }
    };
    report::balance(&ended?)?;
    if !quiet {
        eprintln!("{}", summary(&outcome, taken));
    }
    Ok(())
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
    );
    let bar = ProgressBar::new(0);
    // A template that is wrong is shown by the test below.
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let view = progress.view();
    if let Some(total) = view.total {
        bar.set_length(total);
    }
    bar.set_position(view.done);
    bar.set_message(match view.phase {
        Phase::Hashing => "hashing",
        Phase::Connecting => "connecting",
        Phase::Transferring => "transferring",
        Phase::Finishing => "finishing",
    });
}

/// What was done, in one line.
fn summary(report: &ClientReport, taken: Duration) -> String {
    let (verb, size, resumed, retries) = match report {
        ClientReport::Get(r) => ("fetched", r.size, r.resumed, r.retries),
        ClientReport::Put(r) => ("sent", r.size, 0, r.retries),
    };
    let verified = match report {
        ClientReport::Get(r) => Some(r.digest).filter(|_| r.verified),
        ClientReport::Put(r) => r.digest.filter(|_| r.verified),
    };
    #[allow(clippy::cast_precision_loss)]
    let rate = 8.0 * size.saturating_sub(resumed) as f64 / taken.as_secs_f64().max(1e-9);
    let mut line = format!(
        "{verb} {} in {:.2} s: {}, {}",
        HumanBytes(size),
        taken.as_secs_f64(),
        with_unit(rate, "bit/s"),
        verified.map_or_else(
            || "digest not verified".to_owned(),
            |digest| format!("{} verified", digest.algorithm)
        ),
    );
    if resumed > 0 {
        line += &format!(", {} of it from an earlier attempt", HumanBytes(resumed));
    }
    if retries > 0 {
        line += &format!(", {retries} connections lost on the way");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::client::PutReport;

    #[test]
    fn the_template_of_the_bar_is_valid() {
        assert!(
            ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}"
            )
            .is_ok()
        );
    }

    #[test]
    fn exit_codes_are_those_of_the_client() {
        for error in [
            ClientError::Local(String::new()),
            ClientError::Unreachable(String::new()),
            ClientError::Digest(String::new()),
            ClientError::Interrupted(String::new()),
            ClientError::Protocol(String::new()),
        ] {
            let code = error.exit_code();
            assert_eq!(Failure::from(error).exit as u8, code);
        }
    }

    #[test]
    fn the_summary_has_the_rate_and_what_was_lost() {
        let report = PutReport {
            size: 1_250_000_000,
            created: true,
            digest: None,
            verified: false,
            retries: 2,
        };
        let line = summary(&ClientReport::Put(report), Duration::from_secs(2));
        assert!(
            line.contains("2.00 s: 5.00 Gbit/s, digest not verified"),
            "{line}"
        );
        assert!(line.ends_with("2 connections lost on the way"), "{line}");
    }
}
