//! Ports taken from the kernel: reserved with it, and claimed in the steering
//! program, on each address of the interface.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::ports::PortReservation;
use crate::engine::{PortClaims, Protocol};
use crate::stack::route::Prefix;
use crate::xdp::{self, Steering};

/// The ports of all engines of one interface.
#[derive(Clone, Debug)]
pub struct SharedPorts {
    shared: Arc<Mutex<Ports>>,
}

#[derive(Debug)]
struct Ports {
    steering: Steering,
    /// Index of the interface.
    scope: u32,
    addresses: Vec<IpAddr>,
    claimed: HashMap<(Protocol, u16), Claimed>,
}

#[derive(Debug)]
struct Claimed {
    /// Engines that use it.
    users: u32,
    /// One for each address, so that addresses can come and go.
    reserved: HashMap<IpAddr, PortReservation>,
}

impl SharedPorts {
    /// No port yet, on `addresses`.
    #[must_use]
    pub fn new(steering: Steering, scope: u32, addresses: &[Prefix]) -> Self {
        let addresses = addresses.iter().map(Prefix::addr).collect();
        let ports = Ports {
            steering,
            scope,
            addresses,
            claimed: HashMap::new(),
        };
        Self {
            shared: Arc::new(Mutex::new(ports)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interface's addresses are now these.
    pub fn set_addresses(&self, addresses: &[Prefix]) {
        let ports = &mut *self.lock();
        let now: Vec<IpAddr> = addresses.iter().map(Prefix::addr).collect();
        for (&(protocol, port), claimed) in &mut ports.claimed {
            for gone in ports.addresses.iter().filter(|a| !now.contains(a)) {
                let _ = ports.steering.unclaim(steered(protocol), port, Some(*gone));
                claimed.reserved.remove(gone);
            }
            for new in now.iter().filter(|a| !ports.addresses.contains(a)) {
                if let Ok(r) = claim_one(&ports.steering, ports.scope, *new, (protocol, port)) {
                    claimed.reserved.insert(*new, r);
                } else {
                    tracing::warn!(
                        "{protocol} port {port} of the new address {new} is not to be had"
                    );
                }
            }
        }
        ports.addresses = now;
    }
}

const fn steered(protocol: Protocol) -> xdp::Protocol {
    match protocol {
        Protocol::Tcp => xdp::Protocol::Tcp,
        Protocol::Udp => xdp::Protocol::Udp,
    }
}

fn claim_one(
    steering: &Steering,
    scope: u32,
    address: IpAddr,
    (protocol, port): (Protocol, u16),
) -> io::Result<PortReservation> {
    let reserved =
        PortReservation::new(protocol, &[address], scope, port).map_err(io::Error::other)?;
    steering
        .claim(steered(protocol), port, Some(address))
        .map_err(io::Error::other)?;
    Ok(reserved)
}

impl PortClaims for SharedPorts {
    fn claim(&mut self, protocol: Protocol, port: u16) -> io::Result<()> {
        let ports = &mut *self.lock();
        let entry = match ports.claimed.entry((protocol, port)) {
            Entry::Occupied(mut known) => {
                known.get_mut().users += 1;
                return Ok(());
            }
            Entry::Vacant(free) => free,
        };
        let mut reserved = HashMap::new();
        for address in &ports.addresses {
            match claim_one(&ports.steering, ports.scope, *address, (protocol, port)) {
                Ok(r) => {
                    reserved.insert(*address, r);
                }
                Err(error) => {
                    for address in reserved.keys() {
                        let _ = ports
                            .steering
                            .unclaim(steered(protocol), port, Some(*address));
                    }
                    return Err(error);
                }
            }
        }
        entry.insert(Claimed { users: 1, reserved });
        Ok(())
    }

    fn unclaim(&mut self, protocol: Protocol, port: u16) {
        let ports = &mut *self.lock();
        let Entry::Occupied(mut known) = ports.claimed.entry((protocol, port)) else {
            return;
        };
        known.get_mut().users -= 1;
        if known.get().users == 0 {
            for address in known.remove().reserved.keys() {
                let _ = ports
                    .steering
                    .unclaim(steered(protocol), port, Some(*address));
            }
        }
    }
}
