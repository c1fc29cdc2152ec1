//! Opening an interface and starting its engines.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::claims::SharedPorts;
use super::placement::Placed;
use super::{EngineInForce, InForce, Node, NodeError, NodeOptions};
use crate::engine::netlink::{Feed, KernelSync};
use crate::engine::{
    Application, Clock, Engine, Handover, Inbox, NoClaims, Parts, PortClaims, spawn,
};
use crate::frame::Pool;
use crate::link::{Capture, FaultLink, Link};
use crate::stack::iface;
use crate::stack::route::Prefix;
use crate::stats::Board;
use crate::wire::eth::Mac;
use crate::xdp::{Interface, Queues, Steering, Umem, XdpLink};

/// Frames that may wait to be handed from one engine to the next.
const HANDOVER: usize = 1024;
/// Time to live of what is sent.
const TTL: u8 = 64;

/// What engines have in common, and what it was made of.
struct Common {
    interface: Interface,
    steering: Steering,
    kernel: Option<KernelSync>,
    ports: Option<SharedPorts>,
    addresses: Vec<Prefix>,
}

impl Node {
    /// Opens the interface and starts the engines, each with the application
    /// that `application` makes for its number.
    ///
    /// # Errors
    /// See [`NodeError`]; then nothing is left attached or running.
    pub fn start<A>(
        options: &NodeOptions,
        mut application: impl FnMut(usize) -> A,
    ) -> Result<Self, NodeError>
    where
        A: Application + Send + 'static,
    {
        let interface = Interface::read(&options.interface)?;
        let (steering, memories) = attach(options, &interface)?;
        let inboxes = options
            .engines
            .iter()
            .map(|_| Inbox::<A::Message>::new(options.mailbox))
            .collect::<Result<Vec<_>, _>>()
            .map_err(NodeError::io("an engine's mailbox"))?;
        let wakers: Vec<_> = inboxes.iter().map(|i| i.waker().clone()).collect();
        let (common, mut feeds) = share(options, interface, steering, &wakers)?;
        let (board, mut publishers) = Board::new(options.engines.len());
        let mut handovers = Handover::ring(&wakers, HANDOVER);
        let mut in_force = InForce {
            interface: common.interface.clone(),
            attached: common.steering.mode(),
            native_refusal: common.steering.native_refusal().map(str::to_owned),
            engines: Vec::new(),
            unserved: Vec::new(),
            huge_pages: false,
            chains: false,
            memory: (0, 0),
            addresses: common.addresses.iter().map(ToString::to_string).collect(),
            shared: options.own.is_none(),
        };
        // What is not taken from the front is the node's own.
        let own_feed = if feeds.len() > inboxes.len() {
            feeds.pop()
        } else {
            None
        };
        feeds.reverse();
        publishers.reverse();
        handovers.reverse();
        let capture = match &options.pcap {
            Some(path) => Some(
                Capture::create(path)
                    .map_err(NodeError::io(format!("capture file {}", path.display())))?,
            ),
            None => None,
        };
        let mut claims = claims(options, &common).into_iter();
        let (clock, origin) = (Clock::new(), SystemTime::now());
        let mut engines = Vec::new();
        for ((n, inbox), memory) in inboxes.into_iter().enumerate().zip(memories) {
            let (link, pool) = open_link(
                options,
                &common,
                (n, memory),
                (capture.as_ref(), origin),
                &mut in_force,
            )?;
            let parts = Parts {
                link,
                pool,
                interface: stack_interface(options, &common),
                application: application(n),
                inbox,
                // One for each engine.
                claims: claims.next().unwrap_or_else(|| Box::new(NoClaims)),
                feed: feeds.pop(),
                handover: handovers.pop(),
                publisher: publishers.pop(),
            };
            engines.push(Engine::new(options.engine.clone(), parts));
        }
        in_force.unserved = common.steering.unserved_queues();
        let mut node = Self {
            in_force,
            board,
            steering: common.steering,
            wakers,
            threads: Vec::new(),
            stopped: Arc::default(),
            ports: common.ports,
            feed: own_feed,
            kernel: common.kernel,
            capture,
        };
        for (n, mut engine) in engines.into_iter().enumerate() {
            let core = options.engines[n].core;
            let stopped = Arc::clone(&node.stopped);
            let run = move || {
                let ended = engine.run(clock);
                stopped.fetch_add(1, Ordering::AcqRel);
                // Which closes its sockets.
                drop(engine);
                ended
            };
            let thread = spawn(format!("engine-{n}"), core, run)
                .map_err(NodeError::io("an engine's thread"))?;
            node.threads.push(thread);
        }
        Ok(node)
    }
}

/// Attaches the steering program, and prepares the memory of each engine, which
/// takes as long: at once.
fn attach(
    options: &NodeOptions,
    interface: &Interface,
) -> Result<(Steering, Vec<(Umem, Pool)>), NodeError> {
    std::thread::scope(|scope| {
        let memories = scope.spawn(|| {
            let engines = options.engines.iter();
            engines
                .map(|_| Umem::new(&options.umem))
                .collect::<Result<Vec<_>, _>>()
        });
        let steering = Steering::attach(interface, options.steering)?;
        let memories = memories.join().map_err(|_| NodeError::Panicked)??;
        Ok((steering, memories))
    })
}

/// What the engines have in common.
fn share(
    options: &NodeOptions,
    interface: Interface,
    steering: Steering,
    wakers: &[crate::engine::Waker],
) -> Result<(Common, Vec<Feed>), NodeError> {
    if let Some(own) = &options.own {
        for prefix in &own.addresses {
            steering.own_address(prefix.addr())?;
        }
        let addresses = own.addresses.clone();
        let common = Common {
            interface,
            steering,
            kernel: None,
            ports: None,
            addresses,
        };
        return Ok((common, Vec::new()));
    }
    let subscribers = wakers.iter().cloned().map(Some).chain([None]).collect();
    let (kernel, feeds) = KernelSync::start(&options.interface, subscribers)?;
    let addresses = kernel.config().addresses.clone();
    if addresses.is_empty() {
        return Err(NodeError::NoAddress(options.interface.clone()));
    }
    let ports = SharedPorts::new(steering.clone(), interface.index, &addresses);
    let (kernel, ports) = (Some(kernel), Some(ports));
    Ok((
        Common {
            interface,
            steering,
            kernel,
            ports,
            addresses,
        },
        feeds,
    ))
}

/// The claims of each engine.
fn claims(options: &NodeOptions, common: &Common) -> Vec<Box<dyn PortClaims + Send>> {
    let queues: Vec<_> = options.engines.iter().map(|e| e.queues.clone()).collect();
    let claims = queues
        .iter()
        .map(|_| match &common.ports {
            Some(ports) => Box::new(ports.clone()) as Box<dyn PortClaims + Send>,
            None => Box::new(NoClaims),
        })
        .collect();
    Placed::all(common.interface.rss(), queues, claims)
}

fn stack_interface(options: &NodeOptions, common: &Common) -> iface::Interface {
    let own = options.own.as_ref();
    let s = &options.engine.seed;
    iface::Interface::new(iface::Config {
        mode: if own.is_some() {
            iface::Mode::Own
        } else {
            iface::Mode::Shared
        },
        mac: Mac(common.interface.mac),
        mtu: {
            let most = u16::try_from(common.interface.mtu).unwrap_or(u16::MAX);
            options.mtu.map_or(most, |mtu| mtu.min(most))
        },
        vlan: options.vlan,
        addresses: common.addresses.clone(),
        routes: own.map(|o| o.routes.clone()).unwrap_or_default(),
        verify: options.verify,
        ttl: TTL,
        seed: u64::from_le_bytes([s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]]),
    })
}

/// The links of engine `n`, wrapped as asked. A call through the box is for a
/// batch.
fn open_link(
    options: &NodeOptions,
    common: &Common,
    (n, (umem, mut pool)): (usize, (Umem, Pool)),
    (capture, origin): (Option<&Capture>, SystemTime),
    in_force: &mut InForce,
) -> Result<(Box<dyn Link + Send>, Pool), NodeError> {
    let engine = &options.engines[n];
    in_force.huge_pages = umem.huge_pages();
    in_force.memory = (pool.region().chunks(), pool.region().chunk_size());
    let umem = Arc::new(umem);
    let mut links = Vec::new();
    for queue in &engine.queues {
        let link = XdpLink::open(&umem, &mut pool, &common.steering, *queue, &options.link)?;
        links.push(link);
    }
    in_force.chains = links.iter().any(XdpLink::chains);
    let queues = links.iter().map(|l| (l.queue(), l.zero_copy())).collect();
    let core = engine.core;
    in_force.engines.push(EngineInForce { queues, core });
    let mut link: Box<dyn Link + Send> = Box::new(Queues::new(links));
    if let Some(faults) = &options.faults {
        link = Box::new(FaultLink::new(link, faults));
    }
    if let Some(capture) = capture {
        let name = format!("{}-engine-{n}", common.interface.name);
        link = Box::new(capture.tap(link, &name, origin));
    }
    Ok((link, pool))
}
