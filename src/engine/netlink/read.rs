//! From netlink messages to the stack's plain values.

use std::net::IpAddr;

use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags,
    RouteType, RouteVia,
};
use rtnetlink::packet_route::AddressFamily;

use crate::stack::kernel::{LinkState, NeighbourState};
use crate::stack::route::{Prefix, Route, RouteKind};
use crate::wire::eth::Mac;

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// The link's state; an interface without an Ethernet address has all zeros.
pub fn link(message: &LinkMessage) -> LinkState {
    let flags = message.header.flags;
    let mut state = LinkState {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mac: Mac::ZERO,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::Address(bytes) => state.mac = mac(bytes).unwrap_or(Mac::ZERO),
            _ => {}
        }
    }
    state
}

/// An address that can be used, with the prefix that is on the link.
pub fn address(message: &AddressMessage) -> Option<Prefix> {
    let mut local = None;
    let mut peer = None;
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
    let mut usable = !message
        .header
        .flags
        .intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            // Optimistic addresses are tentative, and yet in use (RFC 4429).
            AddressAttribute::Flags(flags) => {
                usable = !flags.intersects(unusable) || flags.contains(AddressFlags::Optimistic);
            }
            _ => {}
        }
    }
    // Without a local one, `Address` is our own; with both, it is the peer's
    // end of a point-to-point link, and the prefix is the peer's.
    let own = local.or(peer)?;
    let len = match peer {
        Some(peer) if peer != own => Prefix::host(own).len(),
        _ => message.header.prefix_len,
    };
    Prefix::new(own, len).filter(|_| usable)
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn via(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(ip) => Some((*ip).into()),
        RouteVia::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// A route of the main table, as seen from interface `index`.
pub fn route(message: &RouteMessage, index: u32) -> Option<Route> {
    let header = &message.header;
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Elsewhere,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => RouteKind::Refused,
        _ => return None,
    };
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    let mut table = u32::from(header.table);
    let mut route = Route {
        kind,
        ..Route::new(Prefix::new(any, 0)?, None)
    };
    let mut to = any;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(a) => to = route_address(a)?,
            RouteAttribute::Gateway(a) => route.gateway = route_address(a),
            RouteAttribute::Via(a) => route.gateway = via(a),
            RouteAttribute::PrefSource(a) => route.source = route_address(a),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(oif) if *oif == index && kind == RouteKind::Elsewhere => {
                route.kind = RouteKind::Here;
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    if let RouteMetric::Mtu(mtu) = metric {
                        route.mtu = u16::try_from(*mtu).ok().filter(|m| *m > 0);
                    }
                }
            }
            // Of several ways the first one through this interface is taken.
            RouteAttribute::MultiPath(hops) if kind == RouteKind::Elsewhere => {
                let unusable = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
                let here = hops
                    .iter()
                    .find(|h| h.interface_index == index && !h.flags.intersects(unusable));
                if let Some(hop) = here {
                    route.kind = RouteKind::Here;
                    route.gateway = hop.attributes.iter().find_map(|a| match a {
                        RouteAttribute::Gateway(a) => route_address(a),
                        RouteAttribute::Via(a) => via(a),
                        _ => None,
                    });
                }
            }
            _ => {}
        }
    }
    route.to = Prefix::new(to, header.destination_prefix_length)?.network();
    (table == u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(route)
}

/// A neighbour of interface `index` and its state.
pub fn neighbour(message: &NeighbourMessage, index: u32) -> Option<(IpAddr, NeighbourState)> {
    if message.header.ifindex != index {
        return None;
    }
    let mut ip = None;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => ip = Some((*a).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => ip = Some((*a).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => address = mac(bytes),
            _ => {}
        }
    }
    // Multicast and broadcast have entries as well, which ask nobody.
    let ip: IpAddr = ip.filter(|ip: &IpAddr| !ip.is_multicast())?;
    let known = address.filter(|mac| mac.is_unicast());
    let state = match (message.header.state, known) {
        (Nud::Reachable | Nud::Permanent | Nud::Noarp, Some(mac)) => NeighbourState::Reachable(mac),
        (Nud::Stale | Nud::Delay | Nud::Probe, Some(mac)) => NeighbourState::Stale(mac),
        (Nud::Failed, _) => NeighbourState::Failed,
        _ => NeighbourState::Gone,
    };
    Some((ip, state))
}
