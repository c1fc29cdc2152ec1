//! One interface: its addresses, its neighbours, its ways out.
//!
//! Sans-IO. [`Interface::receive`] takes frames, [`Interface::path`] answers
//! how to reach somebody, and the `poll_` methods give out frames and requests.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::icmp::{self, Report};
use super::kernel::{KernelRequest, KernelUpdate, LinkState};
use super::limit::RateLimit;
use super::neigh::{Lookup, Neighbours};
use super::pmtu::PathMtus;
use super::route::{Prefix, Route, RouteKind, RouteTable};
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::{DropCounters, DropReason, StackCounters};
use crate::time::Instant;
use crate::wire::eth::Mac;
use crate::wire::template::{self, Template};
use crate::wire::{ipv4, ipv6, tcp};

/// TCP's protocol number.
pub const PROTOCOL_TCP: u8 = 6;
/// Most addresses of an interface; further ones are left out.
pub const MAX_ADDRESSES: usize = 256;
/// For how long a path that was learnt from a received frame is used before
/// it has to be looked up.
const LEARNT_PATH: Duration = Duration::from_secs(1);
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

/// How to reach somebody.
#[derive(Clone, Debug)]
pub enum Path {
    /// By this path.
    Ready(Ready),
    /// Not known yet. Ask again when [`Interface::generation`] has changed.
    Resolving,
    /// Not at all.
    NoRoute(NoRoute),
}

/// A path in use.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The headers below TCP.
    pub template: Template,
    /// Largest TCP payload without options, in bytes.
    pub mss: u16,
    /// The address to send from.
    pub local: IpAddr,
    /// Ask again no later than this, when there is something to send. Until a
    /// new path is `Ready` the old one may be used.
    pub refresh: Instant,
}

/// A path before its next hop's Ethernet address is known.
struct Way {
    local: IpAddr,
    hop: IpAddr,
    mtu: u16,
}

/// Why somebody cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No route contains the address.
    #[error("no route to it")]
    NoRoute,
    /// The route leads through another interface.
    #[error("its route leads through another interface")]
    OtherInterface,
    /// A route forbids it.
    #[error("a route makes it unreachable")]
    Refused,
    /// No host can have the address.
    #[error("it is not the address of a single host")]
    NotUnicast,
    /// It is one of our own addresses.
    #[error("it is an address of this interface itself")]
    OwnAddress,
    /// There is no address of that family to send from.
    #[error("the interface has no address of that family to send from")]
    NoSource,
    /// The next hop does not answer.
    #[error("the next hop does not answer ARP or neighbour discovery")]
    NeighbourFailed,
    /// The link is down or gone.
    #[error("the link is down")]
    LinkDown,
}

/// What became of a received frame.
#[must_use]
#[derive(Debug)]
pub enum Received {
    /// A TCP segment for one of our addresses; the packet's range is its
    /// payload.
    Segment(Meta, tcp::Header, Packet),
    /// It was turned around: to be sent.
    Reply(TxDesc),
    /// An ICMP error about a segment of ours.
    Report(Report),
    /// Dealt with, or dropped and counted.
    Done,
}

/// What is known of a segment from below TCP.
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

    /// How to reach `remote`, from `local` if it is given (it must be an own
    /// address), otherwise from the address that suits best.
    pub fn path(&mut self, now: Instant, local: Option<IpAddr>, remote: IpAddr) -> Path {
        match self.find_path(now, local, remote) {
            Ok(Some(ready)) => Path::Ready(ready),
            Ok(None) => Path::Resolving,
            Err(why) => Path::NoRoute(why),
        }
    }

    fn find_path(
        &mut self,
        now: Instant,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<Option<Ready>, NoRoute> {
        let way = self.way(local, remote)?;
        let (mac, refresh) = match self.neighbours.resolve(now, way.hop) {
            Lookup::Known { mac, refresh } => (mac, refresh),
            Lookup::Pending => return Ok(None),
            Lookup::Failed => return Err(NoRoute::NeighbourFailed),
        };
        Ok(self.ready(now, way.local, remote, mac, way.mtu, refresh))
    }

    /// What [`path`](Self::path) will say about `remote` apart from the next
    /// hop's Ethernet address, without asking for that.
    ///
    /// # Errors
    /// Why there is no way.
    pub fn plan(
        &self,
        now: Instant,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<Ready, NoRoute> {
        let way = self.way(local, remote)?;
        self.ready(now, way.local, remote, self.mac, way.mtu, now)
            .ok_or(NoRoute::NoSource)
    }

    fn way(&self, local: Option<IpAddr>, remote: IpAddr) -> Result<Way, NoRoute> {
        if !self.up {
            return Err(NoRoute::LinkDown);
        }
        if icmp::is_martian(remote) || self.addresses.iter().any(|a| a.is_broadcast(remote)) {
            return Err(NoRoute::NotUnicast);
        }
        if self.is_own(remote) {
            return Err(NoRoute::OwnAddress);
        }
        let route = *self.routes.lookup(remote).ok_or(NoRoute::NoRoute)?;
        match route.kind {
            RouteKind::Here => {}
            RouteKind::Elsewhere => return Err(NoRoute::OtherInterface),
            RouteKind::Refused => return Err(NoRoute::Refused),
        }
        let hop = route.gateway.unwrap_or(remote);
        let local = match local {
            Some(ip) if self.is_own(ip) && ip.is_ipv4() == remote.is_ipv4() => ip,
            Some(_) => return Err(NoRoute::NoSource),
            None => self
                .source_for(&route, hop, remote)
                .ok_or(NoRoute::NoSource)?,
        };
        let mtu = route.mtu.map_or(self.mtu, |m| m.min(self.mtu));
        Ok(Way { local, hop, mtu })
    }

    /// The path back to where a segment came from, without asking anybody:
    /// through the station that the frame came from.
    ///
    /// A forged source leads to a forged path, and to nothing that its forger
    /// could not have had by other means on the same link; `refresh` is soon,
    /// and then the neighbour table decides.
    #[must_use]
    pub fn reply_path(&self, now: Instant, meta: &Meta) -> Option<Ready> {
        let mtu = self
            .routes
            .lookup(meta.src)
            .and_then(|r| r.mtu)
            .map_or(self.mtu, |m| m.min(self.mtu));
        self.ready(
            now,
            meta.dst,
            meta.src,
            meta.src_mac,
            mtu,
            now + LEARNT_PATH,
        )
    }

    fn ready(
        &self,
        now: Instant,
        local: IpAddr,
        remote: IpAddr,
        mac: Mac,
        mtu: u16,
        refresh: Instant,
    ) -> Option<Ready> {
        let path = template::Path {
            src_mac: self.mac,
            dst_mac: mac,
            vlan: self.vlan,
            src: local,
            dst: remote,
            ttl: self.ttl,
            tos: 0,
        };
        let template = Template::new(&path, PROTOCOL_TCP).ok()?;
        let mtu = self.pmtus.get(now, remote).map_or(mtu, |m| m.min(mtu));
        let headers = tcp::HEADER_LEN
            + if remote.is_ipv6() {
                ipv6::HEADER_LEN
            } else {
                ipv4::HEADER_LEN
            };
        Some(Ready {
            template,
            mss: mtu.saturating_sub(headers as u16),
            local,
            refresh,
        })
    }

    /// The route's own choice, else an address on the next hop's network, else
    /// the first that is not link-local (RFC 6724 has more rules, for hosts
    /// with more addresses).
    fn source_for(&self, route: &Route, hop: IpAddr, remote: IpAddr) -> Option<IpAddr> {
        if let Some(source) = route.source.filter(|s| self.is_own(*s)) {
            return Some(source);
        }
        let same = || {
            self.addresses
                .iter()
                .filter(|a| a.addr().is_ipv4() == remote.is_ipv4())
        };
        let wide = || same().filter(|a| is_link_local(a.addr()) == is_link_local(remote));
        wide()
            .find(|a| a.contains(hop))
            .or_else(|| wide().next())
            .or_else(|| same().next())
            .map(|a| a.addr())
    }

    /// Takes note of a path MTU report about a packet to `remote` that was
    /// found to be genuine.
    pub fn learn_path_mtu(&mut self, now: Instant, remote: IpAddr, mtu: u16) {
        if mtu < self.mtu && self.pmtus.learn(now, remote, mtu) {
            self.generation += 1;
        }
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
            self.mac = link.mac;
            self.mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
        }
    }

    fn set_addresses(&mut self, mut addresses: Vec<Prefix>) {
        addresses.truncate(MAX_ADDRESSES);
        self.addresses = addresses;
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

    /// The address to announce now, if it is time.
    fn next_announcement(&mut self, now: Instant) -> Option<IpAddr> {
        if let Some(own) = self.defend.take() {
            return Some(own);
        }
        if now < self.announce_at {
            return None;
        }
        let own = self.addresses.get(self.announced).map(Prefix::addr);
        self.announced += 1;
        if own.is_none() {
            self.announced = 0;
            self.announcements = self.announcements.saturating_sub(1);
            self.announce_at = match self.announcements {
                0 => Instant::FAR,
                _ => now + ANNOUNCE_INTERVAL,
            };
        }
        own
    }

    /// Somebody else claims one of our addresses: we say that it is ours, now
    /// and then, and leave the rest to the operator.
    pub(super) fn conflict(&mut self, now: Instant, addr: IpAddr, mac: Mac) {
        // Some switches send our own broadcasts back to us.
        if mac != self.mac && self.limits.defend.take(now) {
            self.defend = Some(addr);
            self.event(Event::Conflict { addr, mac });
        }
    }

    /// The own address that a question about `target` comes from.
    pub(super) fn asking_address(&self, target: IpAddr) -> Option<IpAddr> {
        self.source_for(&Route::new(Prefix::host(target), None), target, target)
    }

    /// The largest packet to `remote` as far as is known, in bytes.
    pub(super) fn mtu_to(&self, now: Instant, remote: IpAddr) -> u16 {
        let reported = self.pmtus.get(now, remote);
        reported.map_or(self.mtu, |mtu| mtu.min(self.mtu))
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

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "iface_tests.rs"]
mod tests;
