//! The steering program in the kernel: loading, attaching, telling it what to
//! take, reading its counters. `bpf/steer.bpf.c` is the other half.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::programs::links::FdLink;
use aya::{Ebpf, EbpfLoader};

use super::claims::{Claims, Maps};
use crate::stats::SteeringCounters;

use super::attach::{attach_in_mode, load_error, map_error, program_error};
use super::{AttachMode, AttachedMode, Interface, Protocol, XdpError};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

const TAKE_ALL: u32 = 1;
const HAVE_ADDRESSES: u32 = 2;
const HAVE_FIRST: u32 = 4;
const VLAN_ANY: u32 = 0xffff;
const COUNTERS: usize = 8;

/// Which frames claims apply to, by 802.1Q tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum VlanPolicy {
    /// Frames without a tag, or with identifier 0 (priority only).
    #[default]
    Untagged,
    /// Frames with this identifier, 1 to 4094.
    Only(u16),
    /// All of them.
    Any,
}

/// How a [`Steering`] is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteeringOptions {
    /// Where to run the program.
    pub mode: AttachMode,
    /// Which tags claims apply to.
    pub vlan: VlanPolicy,
    /// Take every frame, claimed or not: for forwarders and measurements.
    pub take_all: bool,
}

/// `struct config` of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Config {
    flags: u32,
    vlan: u32,
    first: [u8; 16],
    first_entry: AddressEntry,
}

/// `struct address_entry` of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct AddressEntry {
    slot: u32,
    own: u32,
}

/// `struct counters` of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Counters([u64; COUNTERS]);

// SAFETY: plain integers without padding, laid out as in the program.
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for AddressEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for Counters {}

/// The steering program attached to one interface. Clones share it; it is
/// detached when the last of them is dropped, or when the process ends in
/// whatever way.
///
/// Claims are counted: what was claimed twice has to be given back twice.
#[derive(Debug, Clone)]
pub struct Steering {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    interface: Interface,
    mode: AttachedMode,
    native_refusal: Option<String>,
    state: Mutex<State>,
}

struct State {
    // Dropped first: detaches. `None` once that was asked for.
    link: Option<FdLink>,
    claims: Claims,
    maps: KernelMaps,
    sockets: XskMap<MapData>,
    served: HashSet<u32>,
    counters: PerCpuArray<MapData, Counters>,
    _program: Ebpf,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl Steering {
    /// Loads the program and attaches it to `interface`. It takes nothing
    /// until something is claimed (unless `take_all` is set).
    ///
    /// # Errors
    ///
    /// [`XdpError::InterfaceDown`], [`XdpError::AlreadyAttached`],
    /// [`XdpError::AttachRefused`] with the driver's reason for a forced mode,
    /// [`XdpError::NotPermitted`], or [`XdpError::Program`].
    pub fn attach(interface: &Interface, options: SteeringOptions) -> Result<Self, XdpError> {
        if !interface.up {
            return Err(XdpError::InterfaceDown(interface.name.clone()));
        }
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("sockets", interface.rx_queues)
            .load(OBJECT)
            .map_err(load_error)?;
        let mut maps = KernelMaps::take(&mut ebpf, options)?;
        maps.write_config()?;
        let sockets = XskMap::try_from(take_map(&mut ebpf, "sockets")?).map_err(map_error)?;
        let counters = PerCpuArray::try_from(take_map(&mut ebpf, "counts")?).map_err(map_error)?;
        let program: &mut Xdp = ebpf
            .program_mut("steer")
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| XdpError::Program("the object has no program `steer`".into()))?;
        program.load().map_err(program_error)?;
        let (link, mode, native_refusal) = attach_in_mode(program, interface, options.mode)?;
        Ok(Self {
            shared: Arc::new(Shared {
                interface: interface.clone(),
                mode,
                native_refusal,
                state: Mutex::new(State {
                    link: Some(link),
                    claims: Claims::new(),
                    maps,
                    sockets,
                    served: HashSet::new(),
                    counters,
                    _program: ebpf,
                }),
            }),
        })
    }

    /// Detaches the program now, whoever else shares it: the kernel gets all
    /// frames. That takes as long as closing a socket, and can be done meanwhile.
    pub fn detach(&self) {
        let link = self.state().link.take();
        drop(link);
    }

    /// The interface, as it was when the program was attached.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.shared.interface
    }

    /// Where the program runs.
    #[must_use]
    pub fn mode(&self) -> AttachedMode {
        self.shared.mode
    }

    /// Why [`AttachMode::Auto`] came to [`AttachedMode::Generic`].
    #[must_use]
    pub fn native_refusal(&self) -> Option<&str> {
        self.shared.native_refusal.as_deref()
    }

    /// Takes frames to `port` of `address`, or of every address, from now on.
    ///
    /// Give the address whenever it is known: without one, frames that the
    /// kernel forwards to other hosts' ports would be taken as well.
    ///
    /// # Errors
    ///
    /// [`XdpError::TooManyAddresses`] beyond 63 addresses.
    pub fn claim(
        &self,
        protocol: Protocol,
        port: u16,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        self.claim_range(protocol, port..=port, address)
    }

    /// [`Steering::claim`] for a range of ports, at one system call per 64.
    ///
    /// # Errors
    ///
    /// As [`Steering::claim`].
    pub fn claim_range(
        &self,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        let state = &mut *self.state();
        state
            .claims
            .claim(&mut state.maps, protocol, ports, address)
    }

    /// Leaves frames to `port` to the kernel again.
    ///
    /// # Errors
    ///
    /// The map update that failed.
    pub fn unclaim(
        &self,
        protocol: Protocol,
        port: u16,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        self.unclaim_range(protocol, port..=port, address)
    }

    /// [`Steering::unclaim`] for a range of ports.
    ///
    /// # Errors
    ///
    /// The map update that failed.
    pub fn unclaim_range(
        &self,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        let state = &mut *self.state();
        state
            .claims
            .unclaim(&mut state.maps, protocol, ports, address)
    }

    /// Takes everything for `address`: all ports and protocols, fragments, ARP
    /// requests and neighbour solicitations for it. For addresses that the
    /// kernel does not have.
    ///
    /// # Errors
    ///
    /// [`XdpError::TooManyAddresses`] beyond 63 addresses.
    pub fn own_address(&self, address: IpAddr) -> Result<(), XdpError> {
        let state = &mut *self.state();
        state.claims.own(&mut state.maps, address)
    }

    /// Undoes [`Steering::own_address`].
    ///
    /// # Errors
    ///
    /// The map update that failed.
    pub fn disown_address(&self, address: IpAddr) -> Result<(), XdpError> {
        let state = &mut *self.state();
        state.claims.disown(&mut state.maps, address)
    }

    /// Gives the frames of `queue` to an AF_XDP socket bound to that queue.
    /// Closing the socket takes it out again.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoSuchQueue`], or the map update that failed.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.interface().check_queue(queue)?;
        let state = &mut *self.state();
        state
            .sockets
            .set(queue, socket.as_raw_fd(), 0)
            .map_err(map_error)?;
        state.served.insert(queue);
        Ok(())
    }

    /// Takes the socket of `queue` out: its frames go to the kernel.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoSuchQueue`], or the map update that failed.
    pub fn clear_socket(&self, queue: u32) -> Result<(), XdpError> {
        self.interface().check_queue(queue)?;
        let state = &mut *self.state();
        state.served.remove(&queue);
        match state.sockets.unset(queue) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(map_error(error)),
        }
    }

    /// Queues without a socket. Claimed frames that the NIC puts on them go to
    /// the kernel, which resets their connections: they need engines, or the
    /// NIC fewer queues (`ethtool -L`).
    #[must_use]
    pub fn unserved_queues(&self) -> Vec<u32> {
        let state = self.state();
        (0..self.interface().rx_queues)
            .filter(|queue| !state.served.contains(queue))
            .collect()
    }

    /// Frames by verdict, summed over the processors.
    ///
    /// # Errors
    ///
    /// The map lookup that failed.
    pub fn counters(&self) -> Result<SteeringCounters, XdpError> {
        let per_cpu = self.state().counters.get(&0, 0).map_err(map_error)?;
        let mut sum = [0u64; COUNTERS];
        for Counters(cpu) in per_cpu.iter() {
            for (to, from) in sum.iter_mut().zip(cpu) {
                *to = to.wrapping_add(*from);
            }
        }
        let [
            redirected,
            redirected_icmp_errors,
            redirected_neighbour,
            passed_not_ours,
            passed_no_socket,
            passed_fragments,
            passed_malformed,
            dropped_fragments,
        ] = sum;
        Ok(SteeringCounters {
            redirected,
            redirected_icmp_errors,
            redirected_neighbour,
            passed_not_ours,
            passed_no_socket,
            passed_fragments,
            passed_malformed,
            dropped_fragments,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The maps that claims are written to.
struct KernelMaps {
    config: Config,
    settings: Array<MapData, Config>,
    addresses: HashMap<MapData, [u8; 16], AddressEntry>,
    ports: Array<MapData, u64>,
}

impl KernelMaps {
    fn take(ebpf: &mut Ebpf, options: SteeringOptions) -> Result<Self, XdpError> {
        Ok(Self {
            config: Config {
                flags: if options.take_all { TAKE_ALL } else { 0 },
                vlan: match options.vlan {
                    VlanPolicy::Untagged => 0,
                    VlanPolicy::Only(id) => u32::from(id & 0xfff),
                    VlanPolicy::Any => VLAN_ANY,
                },
                first: [0; 16],
                first_entry: AddressEntry { slot: 0, own: 0 },
            },
            settings: Array::try_from(take_map(ebpf, "settings")?).map_err(map_error)?,
            addresses: HashMap::try_from(take_map(ebpf, "addresses")?).map_err(map_error)?,
            ports: Array::try_from(take_map(ebpf, "ports")?).map_err(map_error)?,
        })
    }

    fn write_config(&mut self) -> Result<(), XdpError> {
        self.settings.set(0, self.config, 0).map_err(map_error)
    }
}

impl Maps for KernelMaps {
    fn set_word(&mut self, index: u32, bits: u64) -> Result<(), XdpError> {
        self.ports.set(index, bits, 0).map_err(map_error)
    }

    fn set_address(&mut self, address: IpAddr, slot: u32, own: bool) -> Result<(), XdpError> {
        let entry = AddressEntry {
            slot,
            own: own.into(),
        };
        let key = map_key(address);
        self.addresses.insert(key, entry, 0).map_err(map_error)?;
        let known = self.config.flags & HAVE_FIRST != 0;
        if known && self.config.first != key {
            return Ok(());
        }
        // The program may read while this is written: first what it means, and
        // only then that it means something.
        if !known {
            self.config.first = key;
        }
        self.config.first_entry = entry;
        self.write_config()?;
        self.config.flags |= HAVE_FIRST;
        self.write_config()
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), XdpError> {
        if self.config.first == map_key(address) {
            self.config.flags &= !HAVE_FIRST;
            self.write_config()?;
        }
        self.addresses.remove(&map_key(address)).map_err(map_error)
    }

    fn set_have_addresses(&mut self, have: bool) -> Result<(), XdpError> {
        if have {
            self.config.flags |= HAVE_ADDRESSES;
        } else {
            self.config.flags &= !HAVE_ADDRESSES;
        }
        self.write_config()
    }
}

fn map_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, XdpError> {
    ebpf.take_map(name)
        .ok_or_else(|| XdpError::Program(format!("the object has no map `{name}`")))
}
