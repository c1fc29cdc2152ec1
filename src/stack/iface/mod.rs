//! One interface: its addresses, its neighbours, its ways out.
//!
//! Sans-IO. [`Interface::receive`] takes frames, [`Interface::path`] answers
//! how to reach somebody, and the `poll_` methods give out frames and requests.

mod announce;
mod path;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::icmp::Report;
use super::kernel::{KernelRequest, KernelUpdate, LinkState};
use super::limit::RateLimit;
use super::neigh::Neighbours;
use super::pmtu::PathMtus;
use super::receive::Recent;
use super::route::{Prefix, Route, RouteTable};
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::{DropCounters, DropReason, StackCounters};
use crate::time::Instant;
use crate::wire::eth::Mac;
use crate::wire::{tcp, udp};

pub use path::{NoRoute, Path, Ready};

/// Most addresses of an interface; further ones are left out.
pub const MAX_ADDRESSES: usize = 256;
/// How often own addresses are announced at the start (RFC 5227, section 3:
/// `ANNOUNCE_NUM`), and the time between (`ANNOUNCE_INTERVAL`).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// An address that another station claims is defended no more often than
/// this (RFC 5227, section 2.4 (c)).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// Events kept for [`Interface::poll_event`].
const MAX_EVENTS: usize = 64;

/// Whose addresses the interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel's: it answers ARP, neighbour discovery and ping, and says
    /// what its addresses, routes and neighbours are.
    Shared,
    /// Our own, which the kernel does not have.
    Own,
}

/// What an interface is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose addresses.
    pub mode: Mode,
    /// Own Ethernet address.
    pub mac: Mac,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// VLAN of all frames; frames with another tag are dropped.
    pub vlan: Option<u16>,
    /// Own addresses with their on-link prefixes. In shared mode the kernel's
    /// replace them.
    pub addresses: Vec<Prefix>,
    /// Routes beyond those prefixes. In shared mode the kernel's replace them.
    pub routes: Vec<Route>,
    /// Whether checksums of received packets are checked here, rather than
    /// trusted to have been checked by the device.
    pub verify: bool,
    /// Time to live of sent packets.
    pub ttl: u8,
    /// Keys hashes and spreads timers.
    pub seed: u64,
}

/// What became of a received frame.
#[must_use]
#[derive(Debug)]
pub enum Received {
    /// A TCP segment for one of our addresses; the packet's range is its
    /// payload.
    Segment(Meta, tcp::Header, Packet),
    /// A UDP datagram for one of our addresses; the packet's range is its
    /// payload.
    Datagram(Meta, udp::Header, Packet),
    /// It was turned around: to be sent.
    Reply(TxDesc),
    /// An ICMP error about a packet of ours.
    Report(Report),
    /// Dealt with, or dropped and counted.
    Done,
}

/// What is known of a packet from below the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The sender.
    pub src: IpAddr,
    /// The one of our addresses that it is for.
    pub dst: IpAddr,
    /// The Ethernet address that it came from.
    pub src_mac: Mac,
    /// Congestion was met on the way (RFC 3168).
    pub ce: bool,
}

/// What the owner of the interface should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another station uses our address (RFC 5227; RFC 4862, section 5.4).
    Conflict {
        /// The address.
        addr: IpAddr,
        /// The other station.
        mac: Mac,
    },
    /// The link went up or down, or is gone (index 0).
    Link(LinkState),
}

/// What is answered at most, per second and at once.
pub(super) struct Limits {
    /// ARP replies and neighbour advertisements.
    pub(super) neighbours: RateLimit,
    /// Answers to pings.
    pub(super) echo: RateLimit,
    /// Defences of an address that another station claims.
    defend: RateLimit,
}

/// See the module's own words.
pub struct Interface {
    pub(super) mode: Mode,
    pub(super) mac: Mac,
    pub(super) vlan: Option<u16>,
    pub(super) mtu: u16,
    pub(super) up: bool,
    pub(super) verify: bool,
    ttl: u8,
    pub(super) addresses: Vec<Prefix>,
    /// Who sent the last segment, and the last datagram. Void when own
    /// addresses change.
    pub(super) recent: Option<Recent>,
    pub(super) recent_datagram: Option<Recent>,
    routes: RouteTable,
    pub(super) neighbours: Neighbours,
    pmtus: PathMtus,
    generation: u64,
    pub(super) limits: Limits,
    /// When all addresses are announced next, how often that still happens,
    /// and how many have been this time.
    announce_at: Instant,
    announcements: u8,
    announced: usize,
    /// An address to announce out of turn.
    defend: Option<IpAddr>,
    events: VecDeque<Event>,
    pub(super) drops: DropCounters,
    pub(super) counters: StackCounters,
}

impl Interface {
    /// An interface. In shared mode it knows nothing until the kernel's
    /// [`KernelUpdate`]s are applied.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut this = Self {
            mode: config.mode,
            mac: config.mac,
            vlan: config.vlan,
            mtu: config.mtu,
            up: true,
            verify: config.verify,
            ttl: config.ttl,
            addresses: Vec::new(),
            recent: None,
            recent_datagram: None,
            routes: RouteTable::default(),
            neighbours: Neighbours::new(config.mode == Mode::Shared, config.seed),
            pmtus: PathMtus::new(config.seed),
            generation: 0,
            limits: Limits {
                neighbours: RateLimit::new(1000, 200),
                echo: RateLimit::new(1000, 200),
                defend: RateLimit::every(DEFEND_INTERVAL),
            },
            announce_at: Instant::ZERO,
            announcements: ANNOUNCEMENTS,
            announced: 0,
            defend: None,
            events: VecDeque::new(),
            drops: DropCounters::default(),
            counters: StackCounters::default(),
        };
        this.set_addresses(config.addresses);
        let connected = this.addresses.iter().map(|a| Route {
            source: Some(a.addr()),
            ..Route::new(*a, None)
        });
        this.routes = RouteTable::new(connected.chain(config.routes).collect());
        this
    }

    /// Own Ethernet address.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// Own addresses.
    #[must_use]
    pub fn addresses(&self) -> &[Prefix] {
        &self.addresses
    }

    /// Whether `ip` is an own address.
    #[inline]
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.addr() == ip)
    }

    /// Frames that went no further here.
    #[must_use]
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// What was done here.
    #[must_use]
    pub fn counters(&self) -> StackCounters {
        StackCounters {
            neighbours: self.neighbours.len() as u64,
            ..self.counters
        }
    }

    /// Changes whenever [`path`](Self::path) may answer otherwise than
    /// before: then those that wait for a path should ask again, and those that
    /// have one before they next send.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation.wrapping_add(self.neighbours.generation())
    }

    /// Takes news from the kernel (shared mode).
    pub fn apply(&mut self, now: Instant, update: &KernelUpdate) {
        if self.mode != Mode::Shared {
            return;
        }
        match update {
            KernelUpdate::Config(config) => {
                self.set_link(config.link);
                self.set_addresses(config.addresses.clone());
                self.routes = RouteTable::new(config.routes.clone());
                self.generation += 1;
            }
            KernelUpdate::Neighbours(all) => {
                self.neighbours.mirror_reset();
                for (ip, state) in all.iter() {
                    self.neighbours.mirror(now, *ip, *state);
                }
            }
            KernelUpdate::Neighbour(ip, state) => self.neighbours.mirror(now, *ip, *state),
        }
    }

    fn set_link(&mut self, link: LinkState) {
        let up = link.up && link.index != 0;
        if up != self.up || link.mac != self.mac {
            self.up = up;
            self.event(Event::Link(link));
        }
        if link.index != 0 {
            self.forget_recent();
            self.mac = link.mac;
            self.mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
        }
    }

    fn set_addresses(&mut self, mut addresses: Vec<Prefix>) {
        addresses.truncate(MAX_ADDRESSES);
        self.forget_recent();
        self.addresses = addresses;
    }

    fn forget_recent(&mut self) {
        self.recent = None;
        self.recent_datagram = None;
    }

    /// Drops a frame for `reason`.
    pub(super) fn refuse(
        &mut self,
        pool: &mut Pool,
        packet: Packet,
        reason: DropReason,
    ) -> Received {
        self.drops.count(reason);
        pool.free(packet);
        Received::Done
    }

    /// The next frame that the interface itself wants to send: a question to a
    /// neighbour or an announcement.
    pub fn poll_transmit(&mut self, now: Instant, pool: &mut Pool) -> Option<TxDesc> {
        if self.mode != Mode::Own || !self.up {
            return None;
        }
        while let Some(own) = self.next_announcement(now) {
            let desc = match own {
                IpAddr::V4(own) => self.announce_arp(pool, own),
                IpAddr::V6(own) => self.announce_ndp(pool, own),
            };
            if desc.is_some() {
                return desc;
            }
        }
        while let Some(solicit) = self.neighbours.poll_solicit() {
            let desc = match solicit.target {
                IpAddr::V4(target) => self.ask_arp(pool, target, solicit.to),
                IpAddr::V6(target) => self.ask_ndp(pool, target, solicit.to),
            };
            // What the pool has no frame for is asked again a second later.
            if desc.is_some() {
                return desc;
            }
        }
        None
    }

    /// The next request to the kernel (shared mode).
    pub fn poll_request(&mut self) -> Option<KernelRequest> {
        if self.mode != Mode::Shared {
            return None;
        }
        self.neighbours
            .poll_solicit()
            .map(|s| KernelRequest::Resolve(s.target))
    }

    /// What happened that its owner should know. Only the latest are kept.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn event(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let announce = Some(self.announce_at)
            .filter(|at| self.mode == Mode::Own && self.up && *at != Instant::FAR);
        let neighbours = self.neighbours.poll_timeout();
        announce.into_iter().chain(neighbours).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.neighbours.handle_timeout(now);
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface")
            .field("mode", &self.mode)
            .field("mac", &self.mac)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
