//! How a node is made.

use std::path::PathBuf;

use crate::engine::EngineConfig;
use crate::link::FaultSettings;
use crate::stack::route::{Prefix, Route};
use crate::xdp::{LinkOptions, SteeringOptions, UmemOptions};

/// Addresses that the kernel does not have.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// With their on-link prefixes; at least one.
    pub addresses: Vec<Prefix>,
    /// Routes beyond those prefixes.
    pub routes: Vec<Route>,
}

/// One engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Queues of the interface, at least one.
    pub queues: Vec<u32>,
    /// The core that its thread is pinned to.
    pub core: Option<usize>,
}

/// How a node is made.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Name of the interface.
    pub interface: String,
    /// The engines.
    pub engines: Vec<EngineOptions>,
    /// How the steering program is attached.
    pub steering: SteeringOptions,
    /// Packet memory of each engine.
    pub umem: UmemOptions,
    /// The sockets.
    pub link: LinkOptions,
    /// Own addresses; `None` shares the kernel's.
    pub own: Option<Own>,
    /// Largest IP packet, in bytes, if it is to be smaller than the
    /// interface's MTU.
    pub mtu: Option<u16>,
    /// VLAN of all frames.
    pub vlan: Option<u16>,
    /// Whether checksums of received packets are verified.
    pub verify: bool,
    /// Settings of each engine.
    pub engine: EngineConfig,
    /// Messages that may wait for an engine.
    pub mailbox: usize,
    /// File to capture what crosses the links into, as pcapng.
    pub pcap: Option<PathBuf>,
    /// What to do to packets, for trials.
    pub faults: Option<FaultSettings>,
}

impl NodeOptions {
    /// One engine on queue 0 of `interface`, everything else as by default.
    #[must_use]
    pub fn new(interface: String) -> Self {
        Self {
            interface,
            engines: vec![EngineOptions {
                queues: vec![0],
                core: None,
            }],
            steering: SteeringOptions::default(),
            umem: UmemOptions {
                chunks: 16_384,
                ..UmemOptions::default()
            },
            link: LinkOptions::default(),
            own: None,
            mtu: None,
            vlan: None,
            verify: true,
            engine: EngineConfig::default(),
            mailbox: 4096,
            pcap: None,
            faults: None,
        }
    }
}
