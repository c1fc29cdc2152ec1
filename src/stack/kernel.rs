//! What the kernel says about the interface, as plain values. The thread that
//! asks it is `engine::netlink`.

use std::net::IpAddr;
use std::sync::Arc;

use super::route::{Prefix, Route};
use crate::wire::eth::Mac;

/// The interface as the kernel sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Index of the interface; 0 once it is gone.
    pub index: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// Link, addresses and routes of the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    /// The interface.
    pub link: LinkState,
    /// Its addresses with the prefixes that are on the link; tentative and
    /// duplicate ones are left out.
    pub addresses: Vec<Prefix>,
    /// The main table's routes, those through other interfaces as well.
    pub routes: Vec<Route>,
}

/// What the kernel knows about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Confirmed, or configured by hand.
    Reachable(Mac),
    /// Known but not confirmed of late.
    Stale(Mac),
    /// It did not answer.
    Failed,
    /// The kernel has no entry, or no address yet.
    Gone,
}

/// News from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelUpdate {
    /// Link, addresses or routes are now these.
    Config(Arc<KernelConfig>),
    /// The whole neighbour table is now this.
    Neighbours(Arc<[(IpAddr, NeighbourState)]>),
    /// One neighbour is now so.
    Neighbour(IpAddr, NeighbourState),
}

/// What the kernel is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelRequest {
    /// Find out, or check, the Ethernet address of this neighbour.
    Resolve(IpAddr),
}
