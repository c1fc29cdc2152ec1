//! `fullbore serve`.

use super::args::ServeArgs;
use super::failure::{Exit, Failure};
use super::node::{Node, NodeError};
use super::options;
use super::report::{self, Stats};
use super::signals::Interrupt;
use crate::config;
use crate::transfer::app::{Server, ServerError};
use std::time::Duration;

/// How often the main thread looks around.
const TICK: Duration = Duration::from_millis(20);

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let exit = match error {
            ServerError::Threads(_) => Exit::Failed,
            ServerError::Root(_) | ServerError::Token(_) => Exit::File,
        };
        Self::new(exit, error)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let exit = match error {
            NodeError::Panicked | NodeError::Io { .. } => Exit::Failed,
            _ => Exit::Interface,
        };
        Self::new(exit, error)
    }
}

/// Where is served: "port 80", or "port 80, uTP port 6881".
fn ports(serve: &config::Serve) -> String {
    let list = |what, ports: &[config::Count<1, 65_535>]| {
        let ports: Vec<_> = ports.iter().map(|p| p.get().to_string()).collect();
        (!ports.is_empty()).then(|| format!("{what} {}", ports.join(", ")))
    };
    let all = [
        list("port", &serve.ports),
        list("uTP port", &serve.utp_ports),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Serves until a signal comes.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let mut source = args.interface.source()?;
    let serve = &mut source.file.serve;
    if !args.port.is_empty() {
        serve.ports.clone_from(&args.port);
    }
    if !args.utp.is_empty() {
        serve.utp_ports.clone_from(&args.utp);
    }
    serve.writable |= args.writable;
    if args.token_file.is_some() {
        serve.token_file.clone_from(&args.token_file);
    }
    let dir =
        args.dir
            .clone()
            .or_else(|| serve.root.clone())
            .ok_or_else(|| {
                Failure::new(Exit::Usage, "no directory to serve is named")
            .hint("fullbore serve DIR --on INTERFACE, or `root` under [serve] of the configuration")
            })?;
    let plan = source.plan()?;

    let interrupt = Interrupt::install()?;
    let node_options = options::node(&plan)?;
    let server = Server::start(options::server(&plan, dir.clone())?)?;
    let node = Node::start(&node_options, |_| server.app())?;
    eprintln!("{}", report::in_force(node.in_force()));

    let mut stats = Stats::new(&plan);
    let mut announced = false;
    while !interrupt.requested() && !node.has_ended() {
        if !announced && server.listening() == node_options.engines.len() {
            announced = true;
            eprintln!(
                "serving {} on {}, {}",
                dir.display(),
                ports(&plan.file.serve),
                if plan.file.serve.writable {
                    "writable"
                } else {
                    "read-only"
                },
            );
        }
        std::thread::sleep(TICK);
        node.tend();
        stats.tick(&node);
    }
    node.stop();
    let board = node.board().clone();
    let steering = node.steering();
    let ended = node.join()?;
    let mut snapshots = board.read();
    if let Some(first) = snapshots.first_mut() {
        first.steering = steering;
    }
    stats.last(&snapshots);
    if let Some(failure) = server.failure() {
        return Err(Failure::new(Exit::Interface, failure));
    }
    report::balance(&ended)
}
