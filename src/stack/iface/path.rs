//! How to reach somebody: by which route, through whom, in which packets.

use std::net::IpAddr;
use std::time::Duration;

use super::{Interface, Meta};
use crate::stack::icmp;
use crate::stack::neigh::Lookup;
use crate::stack::route::{Prefix, Route, RouteKind};
use crate::time::Instant;
use crate::wire::eth::Mac;
use crate::wire::ip::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::template::{self, Template};
use crate::wire::{ipv4, ipv6, tcp};

/// For how long a path that was learnt from a received frame is used before
/// it has to be looked up.
const LEARNT_PATH: Duration = Duration::from_secs(1);

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
    /// The headers below TCP; see [`for_udp`](Self::for_udp).
    pub template: Template,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Largest TCP payload without options, in bytes.
    pub mss: u16,
    /// The address to send from.
    pub local: IpAddr,
    /// Ask again no later than this, when there is something to send. Until a
    /// new path is `Ready` the old one may be used.
    pub refresh: Instant,
}

impl Ready {
    /// The same for UDP.
    #[must_use]
    pub fn for_udp(mut self) -> Self {
        self.template.set_protocol(PROTOCOL_UDP);
        self
    }
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

impl Interface {
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
            mtu,
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

    /// The own address that a question about `target` comes from.
    pub(in crate::stack) fn asking_address(&self, target: IpAddr) -> Option<IpAddr> {
        self.source_for(&Route::new(Prefix::host(target), None), target, target)
    }

    /// The largest packet to `remote` as far as is known, in bytes.
    pub(in crate::stack) fn mtu_to(&self, now: Instant, remote: IpAddr) -> u16 {
        let reported = self.pmtus.get(now, remote);
        reported.map_or(self.mtu, |mtu| mtu.min(self.mtu))
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
