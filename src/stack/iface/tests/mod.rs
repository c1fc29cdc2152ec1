//! Interfaces that talk to each other, and what they make of the rest.

mod frames;
mod neighbours;
mod paths;
mod reports;

use super::super::icmp::{About, ReportKind};
use super::super::kernel::{KernelConfig, NeighbourState};
use super::super::neigh::State;
use super::*;
use crate::frame::{PACKET_START, Region};
use crate::stack::route::RouteKind;
use crate::wire::checksum::Sum;
use crate::wire::ip::{PROTOCOL_TCP, PROTOCOL_UDP, Parsed, parse_frame};
use crate::wire::tcp::SeqNumber;
use crate::wire::template::{self, Template};
use crate::wire::{arp, eth, icmpv4, icmpv6};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
const EVE: Mac = Mac([2, 0, 0, 0, 0, 66]);

fn at(ms: u64) -> Instant {
    Instant::from_millis(10_000 + ms)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn config(mode: Mode, mac: Mac, addresses: &[&str]) -> Config {
    Config {
        mode,
        mac,
        mtu: 1500,
        vlan: None,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        routes: Vec::new(),
        verify: true,
        ttl: 64,
        seed: 3,
    }
}

struct Host {
    iface: Interface,
    pool: Pool,
}

impl Host {
    fn new(config: Config) -> Host {
        let mut host = Host {
            iface: Interface::new(config),
            pool: Pool::new(Region::anonymous(16, 4096)),
        };
        host.out(at(0));
        host.out(at(5_000));
        host
    }

    fn a() -> Host {
        Host::new(config(Mode::Own, A, &["10.0.0.1/24", "fd00::1/64"]))
    }

    fn b() -> Host {
        Host::new(config(Mode::Own, B, &["10.0.0.2/24", "fd00::2/64"]))
    }

    /// The frames that the interface itself sends.
    fn out(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.iface.handle_timeout(now);
        while let Some(desc) = self.iface.poll_transmit(now, &mut self.pool) {
            assert_eq!(desc.start(), usize::from(PACKET_START));
            frames.push(self.pool.tx_bytes(&desc).to_vec());
            self.pool.complete(desc);
        }
        frames
    }

    fn receive(&mut self, now: Instant, frame: &[u8]) -> Received {
        self.receive_at(now, frame, PACKET_START)
    }

    fn receive_at(&mut self, now: Instant, frame: &[u8], start: u16) -> Received {
        let mut packet = self.pool.alloc().unwrap();
        packet.set_range(start, frame.len() as u16);
        self.pool.bytes_mut(&mut packet).copy_from_slice(frame);
        self.iface.receive(now, &mut self.pool, packet)
    }

    /// The reply to a frame, if it was turned around.
    fn reply(&mut self, now: Instant, frame: &[u8]) -> Option<Vec<u8>> {
        match self.receive(now, frame) {
            Received::Reply(desc) => {
                assert_eq!(desc.start(), usize::from(PACKET_START));
                let bytes = self.pool.tx_bytes(&desc).to_vec();
                self.pool.complete(desc);
                Some(bytes)
            }
            Received::Done => None,
            other => panic!("{other:?}"),
        }
    }

    /// The one reason for which a frame was dropped.
    fn dropped(&mut self, now: Instant, frame: &[u8]) -> DropReason {
        let before = self.iface.drops().clone();
        let got = self.receive(now, frame);
        assert!(matches!(got, Received::Done), "{got:?}");
        let mut reasons = self.iface.drops().occurred();
        reasons.retain(|(reason, n)| *n != before[*reason]);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        reasons[0].0
    }

    fn ready(&mut self, now: Instant, remote: &str) -> Ready {
        match self.iface.path(now, None, ip(remote)) {
            Path::Ready(ready) => ready,
            other => panic!("{other:?}"),
        }
    }

    fn why(&mut self, now: Instant, remote: &str) -> NoRoute {
        match self.iface.path(now, None, ip(remote)) {
            Path::NoRoute(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self, of: &str) -> Option<(State, Mac)> {
        self.iface.neighbours.state(ip(of))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.pool.ledger().outstanding(), 0);
        }
    }
}

/// Lets two hosts exchange frames until both are silent.
fn converse(now: Instant, a: &mut Host, b: &mut Host) {
    let mut to_b = a.out(now);
    let mut to_a = b.out(now);
    while !to_b.is_empty() || !to_a.is_empty() {
        let from_b: Vec<_> = to_b.iter().filter_map(|f| b.reply(now, f)).collect();
        let from_a: Vec<_> = to_a.iter().filter_map(|f| a.reply(now, f)).collect();
        (to_a, to_b) = (from_b, from_a);
    }
}

fn arp_frame(eth_dst: Mac, arp: arp::Packet) -> Vec<u8> {
    let header = eth::Header {
        dst: eth_dst,
        src: arp.sender_mac,
        vlan: None,
        ethertype: eth::TYPE_ARP,
    };
    let mut frame = vec![0; 60];
    let at = header.emit(&mut frame);
    arp.emit(&mut frame[at..]);
    frame
}

fn arp_of(frame: &[u8]) -> (eth::Header, arp::Packet) {
    match parse_frame(frame, true) {
        Ok(Parsed::Arp { ethernet, packet }) => (ethernet, packet),
        other => panic!("{other:?}"),
    }
}

fn request(sender: &str, mac: Mac, target: &str) -> Vec<u8> {
    let (header, packet) = arp::Packet::request(mac, v4(sender), v4(target), None);
    arp_frame(header.dst, packet)
}

fn headers(dst: Mac, src: Mac, from: IpAddr, to: IpAddr, protocol: u8) -> Template {
    let path = template::Path {
        src_mac: src,
        dst_mac: dst,
        vlan: None,
        src: from,
        dst: to,
        ttl: 255,
        tos: 0,
    };
    Template::new(&path, protocol).unwrap()
}

/// An ICMP or ICMPv6 message as B sends it to A.
fn icmp(from: &str, to: &str, dst: Mac, body: impl Fn(&mut [u8]) -> usize) -> Vec<u8> {
    let protocol = if ip(from).is_ipv4() { 1 } else { 58 };
    let headers = headers(dst, B, ip(from), ip(to), protocol);
    let mut frame = vec![0; 2048];
    let len = body(&mut frame[headers.len()..]);
    headers.write(&mut frame, len, 7);
    frame.truncate(headers.len() + len);
    frame
}

fn udp_frame(dst: Mac, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let headers = headers(dst, B, ip(from), ip(to), PROTOCOL_UDP);
    let header = udp::Header {
        src_port: 1000,
        dst_port: 80,
        checksum: 0,
    };
    let (at, len) = (headers.len(), udp::HEADER_LEN + payload.len());
    let mut frame = vec![0; at + udp::HEADER_LEN];
    let pseudo = headers.pseudo_sum(len);
    header.emit(&mut frame[at..], pseudo, payload.len(), Sum::of(payload));
    frame.extend_from_slice(payload);
    headers.write(&mut frame[..at], len, 7);
    frame
}

fn tcp_frame(dst: Mac, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let headers = headers(dst, B, ip(from), ip(to), PROTOCOL_TCP);
    let header = tcp::Header {
        src_port: 1000,
        dst_port: 80,
        ..tcp::Header::default()
    };
    let at = headers.len();
    let mut frame = vec![0; at + 60 + payload.len()];
    let len = header.emit(&mut frame[at..]);
    frame.truncate(at + len + payload.len());
    frame[at + len..].copy_from_slice(payload);
    headers.write(&mut frame, len + payload.len(), 7);
    let pseudo = headers.pseudo_sum(len + payload.len());
    template::fill_tcp_checksum(&mut frame[at..at + len], pseudo, Sum::of(payload));
    frame
}
