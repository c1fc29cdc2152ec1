//! ARP in own mode: answers, questions and announcements (RFC 826, RFC 5227).

use std::net::{IpAddr, Ipv4Addr};

use super::icmp::is_martian;
use super::iface::{Interface, Received};
use super::receive::to_start;
use crate::frame::{PACKET_START, Packet, Pool, TxDesc};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::arp::{self, Operation};
use crate::wire::eth::{self, Mac};

impl Interface {
    pub(super) fn receive_arp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        ethernet: &eth::Header,
        arp: &arp::Packet,
    ) -> Received {
        if !self.answers() {
            return self.refuse(pool, packet, DropReason::Unclaimed);
        }
        let to_us = ethernet.dst == self.mac;
        if !to_us && ethernet.dst != Mac::BROADCAST {
            return self.refuse(pool, packet, DropReason::MacNotOurs);
        }
        if ethernet.vlan != self.vlan {
            return self.refuse(pool, packet, DropReason::VlanMismatch);
        }
        let sender = IpAddr::V4(arp.sender_ip);
        let target = IpAddr::V4(arp.target_ip);
        let probe = arp.sender_ip.is_unspecified();
        if self.is_own(sender) {
            self.conflict(now, sender, arp.sender_mac);
            return self.refuse(pool, packet, DropReason::SourceInvalid);
        }
        // Only who is on the link can be heard, and asks by ARP.
        let on_link = self
            .addresses
            .iter()
            .any(|a| a.contains(sender) && !a.is_broadcast(sender));
        if !probe && (is_martian(sender) || !on_link && !self.neighbours.knows(sender)) {
            return self.refuse(pool, packet, DropReason::SourceInvalid);
        }
        match arp.operation {
            Operation::Request if self.is_own(target) => {
                if !probe {
                    self.neighbours.asked_by(now, sender, arp.sender_mac);
                }
                self.answer_arp(now, pool, packet, arp)
            }
            Operation::Request if sender != target => {
                self.refuse(pool, packet, DropReason::AddressNotOurs)
            }
            _ => {
                let solicited = arp.operation == Operation::Reply && to_us && self.is_own(target);
                let mac = arp.sender_mac;
                self.neighbours.answer(now, sender, mac, solicited);
                pool.free(packet);
                Received::Done
            }
        }
    }

    /// Turns a request around into its reply.
    fn answer_arp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        mut packet: Packet,
        request: &arp::Packet,
    ) -> Received {
        if !self.limits.neighbours.take(now) || !to_start(pool, &mut packet) {
            return self.refuse(pool, packet, DropReason::RateLimited);
        }
        let ethernet = eth::Header {
            dst: request.sender_mac,
            src: self.mac,
            vlan: self.vlan,
            ethertype: eth::TYPE_ARP,
        };
        write(pool, &mut packet, &ethernet, &request.reply(self.mac));
        self.counters.arp_replies += 1;
        self.counters.frames_out += 1;
        Received::Reply(pool.transmit(packet))
    }

    /// A question for `target`, to everybody or to `to` alone.
    pub(super) fn ask_arp(
        &mut self,
        pool: &mut Pool,
        target: Ipv4Addr,
        to: Option<Mac>,
    ) -> Option<TxDesc> {
        let IpAddr::V4(own) = self.asking_address(target.into())? else {
            return None;
        };
        let desc = self.emit_arp(pool, own, target, to)?;
        self.counters.arp_requests += 1;
        Some(desc)
    }

    /// Tells everybody that `own` is here (RFC 5227, section 3: a request for
    /// itself).
    pub(super) fn announce_arp(&mut self, pool: &mut Pool, own: Ipv4Addr) -> Option<TxDesc> {
        self.emit_arp(pool, own, own, None)
    }

    fn emit_arp(
        &mut self,
        pool: &mut Pool,
        own: Ipv4Addr,
        target: Ipv4Addr,
        to: Option<Mac>,
    ) -> Option<TxDesc> {
        let mut packet = pool.alloc()?;
        let (mut ethernet, request) = arp::Packet::request(self.mac, own, target, self.vlan);
        ethernet.dst = to.unwrap_or(ethernet.dst);
        write(pool, &mut packet, &ethernet, &request);
        self.counters.frames_out += 1;
        Some(pool.transmit(packet))
    }
}

fn write(pool: &Pool, packet: &mut Packet, ethernet: &eth::Header, arp: &arp::Packet) {
    packet.set_range(PACKET_START, (ethernet.emit_len() + arp::LEN) as u16);
    let out = pool.bytes_mut(packet);
    let at = ethernet.emit(out);
    arp.emit(&mut out[at..]);
}
