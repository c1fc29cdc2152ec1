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
use crate::engine::{Application, Idle};
use crate::stack::route::Prefix;
use crate::tcp;
use crate::xdp::{LinkOptions, SteeringOptions, UmemOptions};

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
    cores: [Option<usize>; 2],
}

impl Ends {
    /// Finds the interfaces, or makes them.
    ///
    /// # Errors
    /// They cannot be made, or are not to be had.
    pub fn new(args: &PairArgs) -> Result<Self, Failure> {
        let names = match (&args.a, &args.b) {
            (Some(a), Some(b)) => [a.as_str().to_owned(), b.as_str().to_owned()],
            _ => {
                make_veth(args.mtu.get())?;
                VETH.map(str::to_owned)
            }
        };
        let cores = if let [a, b] = args.cores[..] {
            [Some(a), Some(b)]
        } else {
            let all: Vec<_> = options::cores().into_iter().map(|c| c as usize).collect();
            match all[..] {
                [first, .., last] => [Some(first), Some(last)],
                // Two engines on one core: the scheduler shares it best.
                _ => [None, None],
            }
        };
        Ok(Self {
            args: args.clone(),
            names,
            cores,
        })
    }

    /// The core of an end's thread.
    pub const fn core(&self, end: End) -> Option<usize> {
        self.cores[end as usize]
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
        node.engines = vec![EngineOptions {
            queues: vec![0],
            core: self.cores[n],
        }];
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
        node.engine.tcp = std::sync::Arc::new(tcp::Config {
            congestion: options::algorithm(args.congestion),
            ..tcp::Config::default()
        });
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

    /// Starts an end's engine with an application.
    ///
    /// # Errors
    /// The interface cannot be used.
    pub fn start<A>(&self, end: End, options: &NodeOptions, app: A) -> Result<Node, Failure>
    where
        A: Application + Send + 'static,
    {
        let mut app = Some(app);
        self.within(end, || {
            // One engine, so called once.
            Ok(Node::start(options, |_| app.take().expect("one engine"))?)
        })
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
        let cores = self
            .cores
            .map(|c| c.map_or_else(|| "any".to_owned(), |c| c.to_string()));
        conditions.add("cores", format!("client {}, server {}", cores[0], cores[1]));
        conditions.add("idle", format!("{:?}", self.args.idle).to_lowercase());
        conditions.add(
            "congestion",
            format!("{:?}", self.args.congestion).to_lowercase(),
        );
        if let Some(faults) = &self.args.fault {
            conditions.add("faults", faults.to_string());
        }
        conditions
    }
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
fn make_veth(mtu: u64) -> Result<(), Failure> {
    let failed = |what: String| {
        Failure::new(Exit::Interface, what)
            .hint("--veth needs root and `ip` of iproute2; or name two interfaces with --a and --b")
    };
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|e| failed(format!("a network namespace cannot be made: {e}")))?;
    let [a, b] = VETH;
    let lines = [
        format!("link add {a} mtu {mtu} type veth peer name {b} mtu {mtu}"),
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
