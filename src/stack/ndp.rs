//! Neighbour discovery in own mode: answers, questions and announcements
//! (RFC 4861). No router is discovered and no address configured: both come
//! from the configuration.

use std::net::{IpAddr, Ipv6Addr};

use super::iface::{Interface, Received};
use super::receive::to_start;
use crate::frame::{PACKET_START, Packet, Pool, TxDesc};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::eth::{self, Mac};
use crate::wire::icmpv6::{Message, solicited_node};
use crate::wire::ip::{Envelope, PROTOCOL_ICMPV6};
use crate::wire::ipv6;

/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Interface {
    /// Whether a neighbour message was sent to us, to all, or to the group of
    /// `target`.
    fn hears(&self, envelope: &Envelope, target: Ipv6Addr) -> Result<(), DropReason> {
        let IpAddr::V6(dst) = envelope.dst else {
            return Err(DropReason::AddressNotOurs);
        };
        let mac = if dst.is_multicast() {
            Mac::multicast_v6(dst)
        } else {
            self.mac
        };
        if envelope.dst_mac != mac {
            return Err(DropReason::MacNotOurs);
        }
        if envelope.vlan != self.vlan {
            return Err(DropReason::VlanMismatch);
        }
        let ours = dst == ALL_NODES || dst == solicited_node(target) || self.is_own(dst.into());
        let from_us = self.is_own(envelope.src);
        match (ours, from_us || !envelope.src_mac.is_unicast()) {
            (false, _) => Err(DropReason::AddressNotOurs),
            (true, true) => Err(DropReason::SourceInvalid),
            (true, false) => Ok(()),
        }
    }

    pub(super) fn receive_solicitation(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        mut packet: Packet,
        envelope: &Envelope,
        target: Ipv6Addr,
        source_mac: Option<Mac>,
    ) -> Received {
        if let Err(reason) = self.hears(envelope, target) {
            return self.refuse(pool, packet, reason);
        }
        let IpAddr::V6(asker) = envelope.src else {
            return self.refuse(pool, packet, DropReason::SourceInvalid);
        };
        if !self.is_own(target.into()) {
            return self.refuse(pool, packet, DropReason::AddressNotOurs);
        }
        let probe = asker.is_unspecified();
        let on_link = asker.is_unicast_link_local()
            || self.addresses.iter().any(|a| a.contains(asker.into()));
        if !probe && !on_link {
            return self.refuse(pool, packet, DropReason::SourceInvalid);
        }
        if let (false, Some(mac)) = (probe, source_mac) {
            self.neighbours.asked_by(now, asker.into(), mac);
        }
        if !self.limits.neighbours.take(now) || !to_start(pool, &mut packet) {
            return self.refuse(pool, packet, DropReason::RateLimited);
        }
        // A probe for our address has no source to answer to; all are told.
        let (dst, mac) = if probe {
            (ALL_NODES, Mac::multicast_v6(ALL_NODES))
        } else {
            (asker, source_mac.unwrap_or(envelope.src_mac))
        };
        let message = Message::NeighborAdvertisement {
            target,
            target_mac: Some(self.mac),
            router: false,
            solicited: !probe,
            overrides: true,
        };
        self.write_icmpv6(pool, &mut packet, mac, target, dst, &message);
        self.counters.neighbour_advertisements += 1;
        Received::Reply(pool.transmit(packet))
    }

    pub(super) fn receive_advertisement(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        envelope: &Envelope,
        (target, target_mac, solicited): (Ipv6Addr, Option<Mac>, bool),
    ) -> Received {
        if let Err(reason) = self.hears(envelope, target) {
            return self.refuse(pool, packet, reason);
        }
        // An answer to a direct question may leave the address out.
        let mac = target_mac.unwrap_or(envelope.src_mac);
        if self.is_own(target.into()) {
            self.conflict(now, target.into(), mac);
            return self.refuse(pool, packet, DropReason::SourceInvalid);
        }
        let solicited = solicited && self.is_own(envelope.dst);
        self.neighbours.answer(now, target.into(), mac, solicited);
        pool.free(packet);
        Received::Done
    }

    /// A question for `target`, to its group or to `to` alone.
    pub(super) fn ask_ndp(
        &mut self,
        pool: &mut Pool,
        target: Ipv6Addr,
        to: Option<Mac>,
    ) -> Option<TxDesc> {
        let IpAddr::V6(own) = self.asking_address(target.into())? else {
            return None;
        };
        let group = solicited_node(target);
        let (dst, mac) = match to {
            Some(mac) => (target, mac),
            None => (group, Mac::multicast_v6(group)),
        };
        let message = Message::NeighborSolicitation {
            target,
            source_mac: Some(self.mac),
        };
        let mut packet = pool.alloc()?;
        self.write_icmpv6(pool, &mut packet, mac, own, dst, &message);
        self.counters.neighbour_solicitations += 1;
        Some(pool.transmit(packet))
    }

    /// Tells everybody that `own` is here (RFC 4861, section 7.2.6).
    pub(super) fn announce_ndp(&mut self, pool: &mut Pool, own: Ipv6Addr) -> Option<TxDesc> {
        let message = Message::NeighborAdvertisement {
            target: own,
            target_mac: Some(self.mac),
            router: false,
            solicited: false,
            overrides: true,
        };
        let mut packet = pool.alloc()?;
        let mac = Mac::multicast_v6(ALL_NODES);
        self.write_icmpv6(pool, &mut packet, mac, own, ALL_NODES, &message);
        Some(pool.transmit(packet))
    }

    fn write_icmpv6(
        &mut self,
        pool: &Pool,
        packet: &mut Packet,
        mac: Mac,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: &Message,
    ) {
        let ethernet = eth::Header {
            dst: mac,
            src: self.mac,
            vlan: self.vlan,
            ethertype: eth::TYPE_IPV6,
        };
        let len = message.emit_len(0);
        let header = ipv6::Header {
            traffic_class: 0,
            flow_label: 0,
            protocol: PROTOCOL_ICMPV6,
            hop_limit: 255,
            src,
            dst,
        };
        let headers = ethernet.emit_len() + ipv6::HEADER_LEN;
        packet.set_range(PACKET_START, (headers + len) as u16);
        let out = pool.bytes_mut(packet);
        let at = ethernet.emit(out);
        header.emit(&mut out[at..], len);
        message.emit(&mut out[headers..], src, dst, &[]);
        self.counters.frames_out += 1;
    }
}
