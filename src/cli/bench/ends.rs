//! The two ends of a measurement: interfaces, cores, addresses.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::args::PairArgs;
use super::report::Conditions;
use crate::cli::failure::{Exit, Failure};
use crate::cli::node::{EngineOptions, Node, NodeOptions, Own};
use crate::cli::{options, report};
use crate::config::IdleStrategy;
use crate::engine::{Application, ConnectOptions, Idle, ListenOptions, Transport};
use crate::stack::route::Prefix;
use crate::xdp::{LinkOptions, SteeringOptions, UmemOptions};
use crate::{tcp, utp};

/// Names of the ends of a pair that `--veth` makes.
const VETH: [&str; 2] = ["fba", "fbb"];
/// Addresses set aside for measurements (RFC 2544): nobody else's.
const ADDRESSES: [&str; 2] = ["198.18.0.1/24", "198.18.0.2/24"];
/// The server's address.
pub const SERVER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(198, 18, 0, 2);
/// Largest frame that fits a chunk of 2048 bytes with what lies before it.
const SMALL_FRAME: u64 = 1792;
/// Ethernet header.
const ETHERNET: u64 = 14;

/// How a server listens.
pub fn listening(transport: Transport) -> ListenOptions {
    const BACKLOG: usize = 16_384;
    ListenOptions {
        backlog_per_address: BACKLOG,
        ..ListenOptions::new(transport, BACKLOG)
    }
}

/// How a client connects.
pub fn connecting(transport: Transport) -> ConnectOptions {
    ConnectOptions {
        transport,
        ..ConnectOptions::default()
    }
}

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The one that opens connections.
    Client,
    /// The other.
    Server,
}

/// Two interfaces that are joined.
pub struct Ends {
    args: PairArgs,
    names: [String; 2],
    /// The cores of each end's engines, one for each of its queues.
    cores: [Vec<Option<usize>>; 2],
}

impl Ends {
    /// Finds the interfaces, or makes them, for `engines` engines at each end.
    ///
    /// # Errors
    /// They cannot be made, or are not to be had.
    pub fn new(args: &PairArgs, engines: usize) -> Result<Self, Failure> {
        let names = match (&args.a, &args.b) {
            (Some(a), Some(b)) => [a.as_str().to_owned(), b.as_str().to_owned()],
            _ => {
                make_veth(args.mtu.get(), engines)?;
                VETH.map(str::to_owned)
            }
        };
        let cores = if let [a, b] = args.cores[..] {
            [a, b].map(|first| (first..).take(engines).map(Some).collect())
        } else {
            let all: Vec<_> = options::cores().into_iter().map(|c| c as usize).collect();
            place(&all, engines)
        };
        Ok(Self {
            args: args.clone(),
            names,
            cores,
        })
    }

    /// The core of an end's first thread.
    pub fn core(&self, end: End) -> Option<usize> {
        self.cores[end as usize].first().copied().flatten()
    }

    /// Engines of each end.
    pub fn engines(&self) -> usize {
        self.cores[0].len()
    }

    /// The options of one end's node.
    ///
    /// # Errors
    /// No random seed is to be had.
    pub fn node(&self, end: End) -> Result<NodeOptions, Failure> {
        let (n, args) = (end as usize, &self.args);
        let mtu = args.mtu.get();
        let address: Option<Prefix> = ADDRESSES[n].parse().ok();
        let mut node = NodeOptions::new(self.names[n].clone());
        node.engines = (0..)
            .zip(&self.cores[n])
            .map(|(queue, &core)| EngineOptions {
                queues: vec![queue],
                core,
            })
            .collect();
        node.steering = self.steering(false);
        node.umem = self.umem();
        node.link = self.link();
        node.own = Some(Own {
            addresses: address.into_iter().collect(),
            routes: Vec::new(),
        });
        node.mtu = u16::try_from(mtu).ok();
        node.faults = args.fault.filter(|_| end == End::Client);
        node.engine.seed = options::seed()?;
        if let Some(congestion) = args.congestion {
            let congestion = options::algorithm(congestion);
            node.engine.tcp = std::sync::Arc::new(tcp::Config {
                congestion,
                ..tcp::Config::default()
            });
            node.engine.utp = std::sync::Arc::new(utp::Config {
                congestion,
                ..utp::Config::default()
            });
        }
        node.engine.drain = std::time::Duration::from_secs(2);
        node.engine.idle = match args.idle {
            IdleStrategy::Busy => Idle::Busy,
            IdleStrategy::Adaptive => Idle::default(),
            IdleStrategy::Sleep => Idle::Sleep,
        };
        Ok(node)
    }

    /// How an end's steering program is attached.
    pub fn steering(&self, take_all: bool) -> SteeringOptions {
        SteeringOptions {
            mode: options::attach(self.args.attach),
            take_all,
            ..SteeringOptions::default()
        }
    }

    /// An end's packet memory.
    pub fn umem(&self) -> UmemOptions {
        let frame = self.args.mtu.get() + ETHERNET;
        UmemOptions {
            chunks: 16_384,
            chunk_size: if frame > SMALL_FRAME { 4096 } else { 2048 },
            ..UmemOptions::default()
        }
    }

    /// An end's sockets.
    pub fn link(&self) -> LinkOptions {
        LinkOptions {
            bind: options::bind(self.args.bind),
            ..LinkOptions::default()
        }
    }

    /// The name of an end's interface.
    pub fn name(&self, end: End) -> &str {
        &self.names[end as usize]
    }

    /// Does `work` in an end's network namespace.
    ///
    /// # Errors
    /// Those of `work`, or the namespace cannot be entered.
    pub fn within<T: Send>(
        &self,
        end: End,
        work: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let Some(name) = self.args.b_netns.as_ref().filter(|_| end == End::Server) else {
            return work();
        };
        // Threads inherit the namespace of the one that starts them.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(name)?;
                    work()
                })
                .join()
        })
        .map_err(|_| Failure::new(Exit::Failed, "a thread panicked, a defect of fullbore"))?
    }

    /// Starts an end's engines, each with the application that `application`
    /// makes for its number.
    ///
    /// # Errors
    /// The interface cannot be used.
    pub fn start<A>(
        &self,
        end: End,
        options: &NodeOptions,
        application: impl FnMut(usize) -> A + Send,
    ) -> Result<Node, Failure>
    where
        A: Application + Send + 'static,
    {
        self.within(end, || Ok(Node::start(options, application)?))
    }

    /// How many of `total` engine `n` of an end has.
    pub fn part(&self, total: u64, n: usize) -> u64 {
        let (engines, n) = (self.engines() as u64, n as u64);
        total / engines + u64::from(n < total % engines)
    }

    /// What a figure has to carry.
    pub fn conditions(&self, nodes: [&Node; 2]) -> Conditions {
        let mut conditions = Conditions::of_machine();
        for (end, node) in ["client", "server"].iter().zip(nodes) {
            let found = node.in_force();
            let bound = match found.engines.first().and_then(|e| e.queues.first()) {
                Some((_, true)) => "zero copy",
                _ => "copy",
            };
            conditions.add(
                end,
                format!(
                    "{}, driver {}, XDP {}, {bound}",
                    found.interface.name,
                    found.interface.driver,
                    found.attached.name()
                ),
            );
        }
        conditions.add("MTU", format!("{} bytes", self.args.mtu.get()));
        let [client, server] = [0, 1].map(|n: usize| {
            let one = |c: &Option<usize>| c.map_or_else(|| "any".to_owned(), |c| c.to_string());
            self.cores[n].iter().map(one).collect::<Vec<_>>().join(" ")
        });
        conditions.add("cores", format!("client {client}, server {server}"));
        if self.engines() > 1 {
            conditions.add("engines", format!("{} at each end", self.engines()));
        }
        conditions.add("idle", format!("{:?}", self.args.idle).to_lowercase());
        let congestion = self.args.congestion;
        let congestion = congestion.map_or_else(|| "the usual".to_owned(), |c| c.to_string());
        conditions.add("congestion", congestion);
        if let Some(faults) = &self.args.fault {
            conditions.add("faults", faults.to_string());
        }
        conditions
    }
}

/// The cores of both ends' engines on a machine that has these: one each if
/// there are enough. If not, each engine shares one with its counterpart.
fn place(cores: &[usize], engines: usize) -> [Vec<Option<usize>>; 2] {
    if cores.len() < 2 {
        // Engines on one core: the scheduler shares it best.
        return [vec![None; engines], vec![None; engines]];
    }
    let some = |list: &[usize]| list.iter().copied().map(Some).collect();
    if cores.len() >= 2 * engines {
        return [
            some(&cores[..engines]),
            some(&cores[cores.len() - engines..]),
        ];
    }
    let shared: Vec<_> = cores.iter().copied().cycle().take(engines).collect();
    [some(&shared), some(&shared)]
}

/// Stops both nodes and checks that no frame is missing.
///
/// # Errors
/// An engine failed, or a frame is missing.
pub fn finish(nodes: [Node; 2]) -> Result<(), Failure> {
    for node in &nodes {
        node.stop();
    }
    let mut ended = Vec::new();
    for node in nodes {
        ended.extend(node.join()?);
    }
    report::balance(&ended)
}

/// Moves this thread into a new network namespace with a veth pair in it. It
/// goes with the last thread in it, however the process ends.
fn make_veth(mtu: u64, queues: usize) -> Result<(), Failure> {
    let failed = |what: String| {
        Failure::new(Exit::Interface, what)
            .hint("--veth needs root and `ip` of iproute2; or name two interfaces with --a and --b")
    };
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|e| failed(format!("a network namespace cannot be made: {e}")))?;
    let [a, b] = VETH;
    let lines = [
        format!(
            "link add {a} mtu {mtu} numrxqueues {queues} numtxqueues {queues} \
             type veth peer name {b} mtu {mtu} numrxqueues {queues} numtxqueues {queues}"
        ),
        format!("link set {a} up"),
        format!("link set {b} up"),
    ];
    for line in lines {
        let done = Command::new("ip")
            .args(line.split_whitespace())
            .output()
            .map_err(|e| failed(format!("`ip {line}`: {e}")))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(failed(format!("`ip {line}`: {}", said.trim())));
        }
    }
    Ok(())
}

/// Enters a network namespace that `ip netns` made; for this thread only.
pub fn enter(name: &str) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Interface,
            format!("network namespace {name} cannot be entered: {e}"),
        )
        .hint("`ip netns list` shows those there are; entering one needs root")
    };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(failed(&"that is not a name"));
    }
    let file = File::open(Path::new("/run/netns").join(name)).map_err(|e| failed(&e))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| failed(&e))
}

/// Pins this thread if it can be; the figures are steadier then.
pub fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_has_a_core_of_its_own_if_there_are_enough() {
        let some = |list: &[usize]| -> Vec<_> { list.iter().copied().map(Some).collect() };
        assert_eq!(place(&[3], 2), [vec![None; 2], vec![None; 2]]);
        assert_eq!(place(&[0, 1, 2], 1), [some(&[0]), some(&[2])]);
        assert_eq!(place(&[0, 1, 2, 5], 2), [some(&[0, 1]), some(&[2, 5])]);
        assert_eq!(place(&[0, 1], 2), [some(&[0, 1]), some(&[0, 1])]);
        assert_eq!(place(&[0, 1], 3), [some(&[0, 1, 0]), some(&[0, 1, 0])]);
    }
}
