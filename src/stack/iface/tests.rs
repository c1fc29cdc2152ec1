//! Interfaces that talk to each other, and what they make of the rest.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::super::icmp::ReportKind;
use super::super::kernel::{KernelConfig, NeighbourState};
use super::super::neigh::State;
use super::*;
use crate::frame::{PACKET_START, Region};
use crate::stack::route::RouteKind;
use crate::wire::checksum::Sum;
use crate::wire::ip::{Parsed, parse_frame};
use crate::wire::tcp::SeqNumber;
use crate::wire::template::{self, Template};
use crate::wire::{arp, eth, icmpv4, icmpv6};

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

#[test]
fn two_hosts_find_each_other_in_both_families() {
    let (mut a, mut b) = (Host::a(), Host::b());
    for remote in ["10.0.0.2", "fd00::2"] {
        let before = a.iface.generation();
        assert!(matches!(
            a.iface.path(at(0), None, ip(remote)),
            Path::Resolving
        ));
        converse(at(1), &mut a, &mut b);
        assert_ne!(a.iface.generation(), before);
        let ready = a.ready(at(2), remote);
        let mut bytes = [0; 64];
        ready.template.write(&mut bytes, 0, 0);
        assert_eq!((&bytes[..6], &bytes[6..12]), (&B.0[..], &A.0[..]));
        assert_eq!(
            ready.mss,
            if ip(remote).is_ipv4() { 1460 } else { 1440 },
            "{remote}"
        );
    }
    // B learnt A from its questions, and checks that before it relies on it.
    assert_eq!(b.state("10.0.0.1"), Some((State::Stale, A)));
    b.ready(at(10), "10.0.0.1");
    b.ready(at(10), "fd00::1");
    converse(at(11), &mut a, &mut b);
    assert_eq!(b.state("10.0.0.1"), Some((State::Reachable, A)));
    assert_eq!(b.state("fd00::1"), Some((State::Reachable, A)));
    let counted = a.iface.counters();
    assert_eq!((counted.arp_requests, counted.arp_replies), (1, 1));
    assert_eq!(
        (
            counted.neighbour_solicitations,
            counted.neighbour_advertisements
        ),
        (1, 1)
    );
    assert_eq!(counted.neighbours, 2);
}

#[test]
fn own_addresses_are_announced_twice() {
    let mut host = Host {
        iface: Interface::new(config(Mode::Own, A, &["10.0.0.1/24", "fd00::1/64"])),
        pool: Pool::new(Region::anonymous(4, 2048)),
    };
    let first = host.out(at(0));
    assert_eq!(first.len(), 2);
    let (ethernet, arp) = arp_of(&first[0]);
    assert_eq!(ethernet.dst, Mac::BROADCAST);
    assert_eq!(
        (arp.sender_ip, arp.target_ip),
        (v4("10.0.0.1"), v4("10.0.0.1"))
    );
    match parse_frame(&first[1], true) {
        Ok(Parsed::Icmpv6 {
            envelope,
            message:
                icmpv6::Message::NeighborAdvertisement {
                    target,
                    target_mac,
                    solicited,
                    overrides,
                    ..
                },
            ..
        }) => {
            assert_eq!((target, target_mac), (v6("fd00::1"), Some(A)));
            assert_eq!((solicited, overrides), (false, true));
            assert_eq!(envelope.dst, ip("ff02::1"));
            assert_eq!(envelope.ttl, 255);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(host.iface.poll_timeout(), Some(at(2_000)));
    assert!(host.out(at(1_999)).is_empty());
    assert_eq!(host.out(at(2_000)), first);
    assert_eq!(host.iface.poll_timeout(), None);
    // In shared mode that is the kernel's business.
    let mut shared = Host::new(config(Mode::Shared, A, &["10.0.0.1/24"]));
    assert!(shared.out(at(0)).is_empty());
    assert_eq!(shared.iface.poll_timeout(), None);
}

#[test]
fn only_questions_for_us_are_answered() {
    let mut a = Host::a();
    let reply = a.reply(at(0), &request("10.0.0.9", B, "10.0.0.1")).unwrap();
    let (ethernet, arp) = arp_of(&reply);
    assert_eq!((ethernet.dst, ethernet.src), (B, A));
    assert_eq!((arp.sender_ip, arp.sender_mac), (v4("10.0.0.1"), A));
    assert_eq!((arp.target_ip, arp.target_mac), (v4("10.0.0.9"), B));
    assert_eq!(reply.len(), 42);

    let dropped = a.dropped(at(0), &request("10.0.0.9", B, "10.0.0.3"));
    assert_eq!(dropped, DropReason::AddressNotOurs);
    // Somebody who cannot be on this link, and nobody at all.
    for sender in ["10.1.0.9", "127.0.0.1", "224.0.0.1", "10.0.0.255"] {
        let dropped = a.dropped(at(0), &request(sender, B, "10.0.0.1"));
        assert_eq!(dropped, DropReason::SourceInvalid, "{sender}");
    }
    // A probe is answered, and says nothing about who sent it.
    assert!(
        a.reply(at(0), &request("0.0.0.0", EVE, "10.0.0.1"))
            .is_some()
    );
    assert_eq!(a.iface.neighbours.len(), 1);
    // Another tag, another station.
    let mut tagged = request("10.0.0.9", B, "10.0.0.1");
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(a.dropped(at(0), &tagged), DropReason::VlanMismatch);
    let (_, packet) = arp::Packet::request(B, v4("10.0.0.9"), v4("10.0.0.1"), None);
    let frame = arp_frame(EVE, packet);
    assert_eq!(a.dropped(at(0), &frame), DropReason::MacNotOurs);
    // The kernel answers for its own addresses.
    let mut shared = Host::new(config(Mode::Shared, A, &["10.0.0.1/24"]));
    let dropped = shared.dropped(at(0), &request("10.0.0.9", B, "10.0.0.1"));
    assert_eq!(dropped, DropReason::Unclaimed);
}

#[test]
fn frames_of_a_vlan_are_answered_in_it() {
    let mut vlan = config(Mode::Own, A, &["10.0.0.1/24"]);
    vlan.vlan = Some(5);
    let mut a = Host::new(vlan);
    let mut tagged = request("10.0.0.9", B, "10.0.0.1");
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let reply = a.reply(at(0), &tagged).unwrap();
    assert_eq!(arp_of(&reply).0.vlan, Some(5));
    let dropped = a.dropped(at(0), &request("10.0.0.9", B, "10.0.0.1"));
    assert_eq!(dropped, DropReason::VlanMismatch);
    a.iface.path(at(0), None, ip("10.0.0.3"));
    assert_eq!(arp_of(&a.out(at(0))[0]).0.vlan, Some(5));
}

#[test]
fn announcements_create_nothing_and_replace_nothing() {
    let mut a = Host::a();
    a.reply(at(0), &request("10.0.0.2", B, "10.0.0.2"));
    let gratuitous = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: B,
        sender_ip: v4("10.0.0.2"),
        target_mac: A,
        target_ip: v4("10.0.0.1"),
    };
    a.reply(at(0), &arp_frame(A, gratuitous));
    assert_eq!(a.state("10.0.0.2"), None);
    // Though another engine of the interface may have asked.
    assert!(a.iface.is_for_all(&arp_frame(A, gratuitous)));

    a.iface.path(at(0), None, ip("10.0.0.2"));
    // Sent to everybody it is no answer.
    a.reply(at(1), &arp_frame(Mac::BROADCAST, gratuitous));
    assert!(matches!(
        a.iface.path(at(1), None, ip("10.0.0.2")),
        Path::Resolving
    ));
    a.reply(at(2), &arp_frame(A, gratuitous));
    assert_eq!(a.state("10.0.0.2"), Some((State::Reachable, B)));
    a.out(at(2));
    let mut forged = gratuitous;
    forged.sender_mac = EVE;
    for dst in [A, Mac::BROADCAST] {
        a.reply(at(3), &arp_frame(dst, forged));
    }
    assert_eq!(a.state("10.0.0.2"), Some((State::Probe, B)));
    let (ethernet, _) = arp_of(&a.out(at(3))[0]);
    assert_eq!(ethernet.dst, B, "the question goes to the known address");
    a.reply(at(4), &arp_frame(A, gratuitous));
    assert_eq!(a.state("10.0.0.2"), Some((State::Reachable, B)));
}

#[test]
fn forged_neighbour_advertisements_are_not_believed() {
    let (mut a, mut b) = (Host::a(), Host::b());
    a.iface.path(at(0), None, ip("fd00::2"));
    converse(at(1), &mut a, &mut b);
    assert_eq!(a.state("fd00::2"), Some((State::Reachable, B)));
    let advertisement = |target: &str, to: &str, dst: Mac, solicited| {
        let message = icmpv6::Message::NeighborAdvertisement {
            target: v6(target),
            target_mac: Some(EVE),
            router: true,
            solicited,
            overrides: true,
        };
        icmp("fd00::66", to, dst, |out| {
            message.emit(out, v6("fd00::66"), v6(to), &[])
        })
    };
    a.reply(at(2), &advertisement("fd00::2", "fd00::1", A, true));
    assert_eq!(a.state("fd00::2"), Some((State::Probe, B)));
    let unasked = advertisement("fd00::7", "fd00::1", A, true);
    a.reply(at(2), &unasked);
    assert_eq!(a.state("fd00::7"), None);
    assert!(a.iface.is_for_all(&unasked));
    let all = Mac::multicast_v6(v6("ff02::1"));
    a.reply(at(2), &advertisement("fd00::7", "ff02::1", all, false));
    assert_eq!(a.state("fd00::7"), None);
    // Our own address, claimed by another station.
    let dropped = a.dropped(at(3), &advertisement("fd00::1", "ff02::1", all, false));
    assert_eq!(dropped, DropReason::SourceInvalid);
    let claimed = Event::Conflict {
        addr: ip("fd00::1"),
        mac: EVE,
    };
    assert_eq!(a.iface.poll_event(), Some(claimed));
    converse(at(4), &mut a, &mut b);
}

#[test]
fn a_claim_to_our_address_is_reported_and_answered_every_ten_seconds() {
    let mut a = Host::a();
    let claim = request("10.0.0.1", EVE, "10.0.0.7");
    for ms in 0..50 {
        assert_eq!(a.dropped(at(ms), &claim), DropReason::SourceInvalid);
    }
    let conflict = Event::Conflict {
        addr: ip("10.0.0.1"),
        mac: EVE,
    };
    assert_eq!(a.iface.poll_event(), Some(conflict));
    assert_eq!(a.iface.poll_event(), None);
    let defence = a.out(at(50));
    assert_eq!(defence.len(), 1);
    assert_eq!(arp_of(&defence[0]).1.sender_mac, A);
    a.dropped(at(9_999), &claim);
    assert!(a.out(at(9_999)).is_empty());
    a.dropped(at(10_000), &claim);
    assert_eq!(a.out(at(10_000)).len(), 1);
    // A switch that returns our own broadcast claims nothing.
    a.dropped(at(90_000), &request("10.0.0.1", A, "10.0.0.1"));
    assert!(a.out(at(90_000)).is_empty());
}

#[test]
fn solicitations_and_probes_are_answered_by_the_rules() {
    let mut a = Host::a();
    let group = icmpv6::solicited_node(v6("fd00::1"));
    let ask = |from: &str, to: Ipv6Addr, dst: Mac, source_mac, target: &str| {
        let message = icmpv6::Message::NeighborSolicitation {
            target: v6(target),
            source_mac,
        };
        icmp(from, &to.to_string(), dst, |out| {
            message.emit(out, v6(from), to, &[])
        })
    };
    let group_mac = Mac::multicast_v6(group);
    let reply = a
        .reply(at(0), &ask("fd00::9", group, group_mac, Some(B), "fd00::1"))
        .unwrap();
    let Ok(Parsed::Icmpv6 {
        envelope, message, ..
    }) = parse_frame(&reply, true)
    else {
        panic!("no reply");
    };
    assert_eq!((envelope.src, envelope.dst), (ip("fd00::1"), ip("fd00::9")));
    assert_eq!((envelope.dst_mac, envelope.ttl), (B, 255));
    assert!(matches!(
        message,
        icmpv6::Message::NeighborAdvertisement {
            solicited: true,
            target_mac: Some(A),
            ..
        }
    ));
    assert_eq!(a.state("fd00::9"), Some((State::Stale, B)));
    // A probe for a duplicate: everybody hears the answer.
    let probe = ask("::", group, group_mac, None, "fd00::1");
    let reply = a.reply(at(0), &probe).unwrap();
    let Ok(Parsed::Icmpv6 { envelope, .. }) = parse_frame(&reply, true) else {
        panic!("no reply");
    };
    assert_eq!(envelope.dst, ip("ff02::1"));
    assert_eq!(envelope.dst_mac, Mac::multicast_v6(v6("ff02::1")));
    // A link-local asker, directly.
    let direct = ask("fe80::9", v6("fd00::1"), A, Some(B), "fd00::1");
    assert!(a.reply(at(0), &direct).is_some());
    for (frame, reason) in [
        (
            ask("fd00::9", group, group_mac, Some(B), "fd00::7"),
            DropReason::AddressNotOurs,
        ),
        (
            ask("fd77::9", group, group_mac, Some(B), "fd00::1"),
            DropReason::SourceInvalid,
        ),
        (
            ask("fd00::1", group, group_mac, Some(EVE), "fd00::1"),
            DropReason::SourceInvalid,
        ),
        (
            ask("fd00::9", group, EVE, Some(B), "fd00::1"),
            DropReason::MacNotOurs,
        ),
    ] {
        assert_eq!(a.dropped(at(0), &frame), reason);
    }
}

#[test]
fn pings_are_turned_around_in_place() {
    let mut a = Host::a();
    for (from, to) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
        for len in [0usize, 1, 56, 1400] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let frame = icmp(from, to, A, |out| match (ip(from), ip(to)) {
                (IpAddr::V6(from), IpAddr::V6(to)) => icmpv6::Message::Echo {
                    reply: false,
                    ident: 5,
                    seq: 6,
                }
                .emit(out, from, to, &data),
                _ => icmpv4::Message::Echo {
                    reply: false,
                    ident: 5,
                    seq: 6,
                }
                .emit(out, &data),
            });
            let mut padded = frame.clone();
            padded.resize(frame.len().max(60), 0xee);
            // Wherever a driver has put it.
            for start in [PACKET_START, PACKET_START + 2, PACKET_START + 300] {
                let Received::Reply(desc) = a.receive_at(at(0), &padded, start) else {
                    panic!("no reply");
                };
                assert_eq!(desc.start(), usize::from(PACKET_START));
                let reply = a.pool.tx_bytes(&desc).to_vec();
                a.pool.complete(desc);
                assert_eq!(reply.len(), frame.len(), "no padding");
                assert_eq!(reply[reply.len() - len..], data);
                match parse_frame(&reply, true) {
                    Ok(Parsed::Icmpv4 {
                        envelope, message, ..
                    }) => {
                        assert_eq!((envelope.src, envelope.dst), (ip(to), ip(from)));
                        assert_eq!((envelope.src_mac, envelope.dst_mac), (A, B));
                        assert_eq!(envelope.ttl, 64);
                        let echo = icmpv4::Message::Echo {
                            reply: true,
                            ident: 5,
                            seq: 6,
                        };
                        assert_eq!(message, echo);
                    }
                    Ok(Parsed::Icmpv6 {
                        envelope, message, ..
                    }) => {
                        assert_eq!((envelope.src, envelope.dst), (ip(to), ip(from)));
                        assert_eq!((envelope.src_mac, envelope.dst_mac), (A, B));
                        let echo = icmpv6::Message::Echo {
                            reply: true,
                            ident: 5,
                            seq: 6,
                        };
                        assert_eq!(message, echo);
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(a.reply(at(0), &reply), None, "a reply is not answered");
            }
        }
    }
    assert_eq!(a.iface.counters().echo_replies, 24);
}

/// The checksum of nothing but zeroes is 0xffff, and 0 does not hold there.
#[test]
fn a_ping_of_zeroes_is_answered_with_a_checksum_that_holds() {
    let mut a = Host::a();
    for len in [0, 1, 56] {
        let ping = icmp("10.0.0.2", "10.0.0.1", A, |out| {
            icmpv4::Message::Echo {
                reply: false,
                ident: 0,
                seq: 0,
            }
            .emit(out, &[0; 56][..len])
        });
        let reply = a.reply(at(0), &ping).expect("a reply");
        assert!(matches!(
            parse_frame(&reply, true),
            Ok(Parsed::Icmpv4 { .. })
        ));
    }
}

#[test]
fn answers_are_limited_by_rate() {
    let mut a = Host::a();
    let ping = icmp("10.0.0.2", "10.0.0.1", A, |out| {
        icmpv4::Message::Echo {
            reply: false,
            ident: 1,
            seq: 1,
        }
        .emit(out, b"x")
    });
    let question = request("10.0.0.9", B, "10.0.0.1");
    for frame in [&ping, &question] {
        let answered = (0..1000).filter(|_| a.reply(at(0), frame).is_some());
        assert_eq!(answered.count(), 200);
    }
    assert_eq!(a.iface.drops()[DropReason::RateLimited], 1600);
    let mut shared = Host::new(config(Mode::Shared, A, &["10.0.0.1/24"]));
    assert_eq!(shared.dropped(at(0), &ping), DropReason::IcmpIgnored);
}

#[test]
fn segments_for_us_come_through_and_others_do_not() {
    let mut a = Host::a();
    let frame = tcp_frame(A, "10.0.0.2", "10.0.0.1", b"payload");
    let Received::Segment(meta, header, packet) = a.receive(at(0), &frame) else {
        panic!("no segment");
    };
    assert_eq!(a.pool.bytes(&packet), b"payload");
    assert_eq!(header.dst_port, 80);
    assert_eq!((meta.src, meta.dst), (ip("10.0.0.2"), ip("10.0.0.1")));
    assert_eq!((meta.src_mac, meta.ce), (B, false));
    a.pool.free(packet);
    // The way back needs no question.
    let ready = a.iface.reply_path(at(0), &meta).unwrap();
    let mut bytes = [0; 64];
    ready.template.write(&mut bytes, 0, 0);
    assert_eq!(bytes[..12], [B.0, A.0].concat());
    assert_eq!(bytes[26..34], [10, 0, 0, 1, 10, 0, 0, 2]);
    assert_eq!((ready.mss, ready.local), (1460, ip("10.0.0.1")));
    assert!(ready.refresh <= at(1_000));

    for (src, reason) in [
        ("127.0.0.1", DropReason::SourceInvalid),
        ("0.0.0.0", DropReason::SourceInvalid),
        ("255.255.255.255", DropReason::SourceInvalid),
        ("224.0.0.5", DropReason::SourceInvalid),
        ("240.0.0.1", DropReason::SourceInvalid),
        ("10.0.0.255", DropReason::SourceInvalid),
        ("10.0.0.1", DropReason::SourceInvalid),
    ] {
        let frame = tcp_frame(A, src, "10.0.0.1", b"");
        assert_eq!(a.dropped(at(0), &frame), reason, "{src}");
    }
    for src in ["::1", "::", "ff02::1", "fd00::1", "::ffff:10.0.0.2"] {
        let frame = tcp_frame(A, src, "fd00::1", b"");
        assert_eq!(a.dropped(at(0), &frame), DropReason::SourceInvalid, "{src}");
    }
    let frame = tcp_frame(A, "10.0.0.2", "10.0.0.3", b"");
    assert_eq!(a.dropped(at(0), &frame), DropReason::AddressNotOurs);
    for dst in [Mac::BROADCAST, EVE] {
        let frame = tcp_frame(dst, "10.0.0.2", "10.0.0.1", b"");
        assert_eq!(a.dropped(at(0), &frame), DropReason::MacNotOurs);
    }
}

#[test]
fn damage_is_counted_by_what_it_damaged() {
    let mut a = Host::a();
    let tcp4 = tcp_frame(A, "10.0.0.2", "10.0.0.1", b"payload");
    let tcp6 = tcp_frame(A, "fd00::2", "fd00::1", b"payload");
    let ping = icmp("10.0.0.2", "10.0.0.1", A, |out| {
        icmpv4::Message::Echo {
            reply: false,
            ident: 1,
            seq: 1,
        }
        .emit(out, b"x")
    });
    let flip = |frame: &[u8], at: usize, with: u8| {
        let mut frame = frame.to_vec();
        frame[at] ^= with;
        frame
    };
    let refill = |mut frame: Vec<u8>| {
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = Sum::of(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let arp = request("10.0.0.2", B, "10.0.0.1");
    for (frame, reason) in [
        (tcp4[..13].to_vec(), DropReason::Truncated),
        (tcp4[..30].to_vec(), DropReason::Truncated),
        (tcp6[..50].to_vec(), DropReason::Truncated),
        (arp[..30].to_vec(), DropReason::Truncated),
        (flip(&arp, 15, 9), DropReason::ArpMalformed),
        (flip(&tcp4, 14, 0x20), DropReason::Ipv4Malformed),
        (flip(&tcp4, 22, 1), DropReason::Ipv4Checksum),
        (refill(flip(&tcp4, 20, 0x20)), DropReason::Ipv4Fragment),
        (flip(&tcp4, 60, 1), DropReason::TcpChecksum),
        (flip(&tcp6, 75, 1), DropReason::TcpChecksum),
        (flip(&tcp4, 46, 0x40), DropReason::TcpMalformed),
        (flip(&tcp6, 14, 0x20), DropReason::Ipv6Malformed),
        (flip(&tcp6, 20, 44 ^ 6), DropReason::Ipv6Fragment),
        (flip(&ping, 40, 1), DropReason::IcmpChecksum),
        (refill(flip(&tcp4, 23, 0x70)), DropReason::ProtocolUnknown),
        (flip(&tcp4, 12, 0x10), DropReason::EthertypeUnknown),
    ] {
        assert_eq!(a.dropped(at(0), &frame), reason, "{frame:02x?}");
    }
}

#[test]
fn reports_about_our_segments_are_passed_on() {
    let mut a = Host::a();
    let ours = tcp_frame(B, "10.0.0.1", "192.0.2.9", b"")[14..].to_vec();
    let others = tcp_frame(B, "10.0.0.7", "192.0.2.9", b"")[14..].to_vec();
    let report = |code, mtu, quote: &[u8]| {
        icmp("10.0.0.254", "10.0.0.1", A, |out| {
            let message = icmpv4::Message::Unreachable {
                code,
                mtu,
                quoted: None,
            };
            message.emit(out, quote)
        })
    };
    let expected = |kind| super::Report {
        local: "10.0.0.1:1000".parse().unwrap(),
        remote: "192.0.2.9:80".parse().unwrap(),
        seq: SeqNumber(0),
        kind,
    };
    for (frame, kind) in [
        (report(4, 1400, &ours), ReportKind::PathMtu { mtu: 1400 }),
        (report(4, 0, &ours), ReportKind::PathMtu { mtu: 1492 }),
        (report(4, 68, &ours), ReportKind::PathMtu { mtu: 552 }),
        (report(1, 0, &ours[..28]), ReportKind::Unreachable),
        (report(3, 0, &ours), ReportKind::Unreachable),
    ] {
        match a.receive(at(0), &frame) {
            Received::Report(report) => assert_eq!(report, expected(kind)),
            other => panic!("{other:?}"),
        }
    }
    for frame in [
        report(4, 1500, &ours),
        report(4, 9000, &ours),
        report(4, 1400, &others),
        report(1, 0, &ours[..20]),
    ] {
        assert_eq!(a.dropped(at(0), &frame), DropReason::IcmpIgnored);
    }
    let ours = tcp_frame(B, "fd00::1", "2001:db8::9", b"")[14..].to_vec();
    let too_big = |mtu| {
        icmp("fd00::254", "fd00::1", A, |out| {
            let message = icmpv6::Message::PacketTooBig { mtu, quoted: None };
            message.emit(out, v6("fd00::254"), v6("fd00::1"), &ours)
        })
    };
    match a.receive(at(0), &too_big(1280)) {
        Received::Report(report) => {
            assert_eq!(report.remote, "[2001:db8::9]:80".parse().unwrap());
            assert_eq!(report.kind, ReportKind::PathMtu { mtu: 1280 });
        }
        other => panic!("{other:?}"),
    }
    for mtu in [0, 1279, 1500, u32::MAX] {
        assert_eq!(a.dropped(at(0), &too_big(mtu)), DropReason::IcmpIgnored);
    }
}

#[test]
fn source_quench_and_time_exceeded_change_nothing() {
    let mut a = Host::a();
    let ours = tcp_frame(B, "10.0.0.1", "192.0.2.9", b"")[14..].to_vec();
    // Source quench, time exceeded, parameter problem, redirect.
    for kind in [4, 11, 12, 5] {
        let frame = icmp("10.0.0.254", "10.0.0.1", A, |out| {
            icmpv4::Message::Other { kind, code: 0 }.emit(out, &ours)
        });
        assert_eq!(a.dropped(at(0), &frame), DropReason::IcmpIgnored, "{kind}");
    }
}

#[test]
fn a_believed_path_mtu_lowers_the_segment_size_for_its_time() {
    let (mut a, mut b) = (Host::a(), Host::b());
    a.iface.path(at(0), None, ip("10.0.0.2"));
    converse(at(0), &mut a, &mut b);
    assert_eq!(a.ready(at(1), "10.0.0.2").mss, 1460);
    let before = a.iface.generation();
    a.iface.learn_path_mtu(at(1), ip("10.0.0.2"), 1400);
    assert_ne!(a.iface.generation(), before);
    assert_eq!(a.ready(at(2), "10.0.0.2").mss, 1360);
    a.iface.learn_path_mtu(at(2), ip("10.0.0.2"), 9000);
    assert_eq!(a.ready(at(3), "10.0.0.2").mss, 1360);
    let later = at(700_000);
    a.iface.path(later, None, ip("10.0.0.2"));
    converse(later, &mut a, &mut b);
    assert_eq!(a.ready(later, "10.0.0.2").mss, 1460);
}

#[test]
fn paths_follow_the_routes_and_say_why_not() {
    let mut config = config(Mode::Own, A, &["10.0.0.1/24", "10.9.0.1/16"]);
    let gateway = Route::new("0.0.0.0/0".parse().unwrap(), Some(ip("10.0.0.254")));
    let mut narrow = Route::new("203.0.113.0/24".parse().unwrap(), Some(ip("10.0.0.254")));
    narrow.mtu = Some(1280);
    let mut refused = Route::new("198.51.100.0/24".parse().unwrap(), None);
    refused.kind = RouteKind::Refused;
    config.routes = vec![gateway, narrow, refused];
    let mut a = Host::new(config);
    let asked = |a: &mut Host, remote: &str| {
        let path = a.iface.path(at(0), None, ip(remote));
        assert!(matches!(path, Path::Resolving), "{path:?}");
        let frames = a.out(at(0));
        let arp = frames.first().map(|f| arp_of(f).1);
        arp.map(|arp| (arp.target_ip.to_string(), arp.sender_ip.to_string()))
    };
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(asked(&mut a, "8.8.8.8"), pair("10.0.0.254", "10.0.0.1"));
    assert_eq!(asked(&mut a, "203.0.113.9"), None, "asked already");
    assert_eq!(asked(&mut a, "10.9.3.4"), pair("10.9.3.4", "10.9.0.1"));
    let answer = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: B,
        sender_ip: v4("10.0.0.254"),
        target_mac: A,
        target_ip: v4("10.0.0.1"),
    };
    a.reply(at(1), &arp_frame(A, answer));
    assert_eq!(a.ready(at(2), "8.8.8.8").local, ip("10.0.0.1"));
    assert_eq!(a.ready(at(2), "203.0.113.9").mss, 1240);

    let local = Some(ip("10.9.0.1"));
    assert!(matches!(
        a.iface.path(at(2), local, ip("8.8.8.8")),
        Path::Ready(ready) if ready.local == ip("10.9.0.1")
    ));
    let foreign = Some(ip("10.7.7.7"));
    assert!(matches!(
        a.iface.path(at(2), foreign, ip("8.8.8.8")),
        Path::NoRoute(NoRoute::NoSource)
    ));
    for (remote, why) in [
        ("198.51.100.4", NoRoute::Refused),
        ("fd00::2", NoRoute::NoRoute),
        ("10.0.0.1", NoRoute::OwnAddress),
        ("10.0.0.255", NoRoute::NotUnicast),
        ("224.0.0.1", NoRoute::NotUnicast),
        ("255.255.255.255", NoRoute::NotUnicast),
        ("127.0.0.1", NoRoute::NotUnicast),
        ("0.0.0.0", NoRoute::NotUnicast),
    ] {
        assert_eq!(a.why(at(2), remote), why, "{remote}");
    }
    for ms in [1_000, 2_000, 3_000] {
        a.out(at(ms));
    }
    assert_eq!(a.why(at(3_100), "10.9.3.4"), NoRoute::NeighbourFailed);
}

#[test]
fn the_kernels_view_is_taken_over_and_its_help_asked() {
    let mut a = Host::new(config(Mode::Shared, Mac::ZERO, &[]));
    assert_eq!(a.why(at(0), "10.0.0.2"), NoRoute::NoRoute);
    let link = LinkState {
        index: 3,
        up: true,
        mtu: 9000,
        mac: A,
    };
    let mut elsewhere = Route::new("0.0.0.0/0".parse().unwrap(), None);
    elsewhere.kind = RouteKind::Elsewhere;
    let kernel = KernelConfig {
        link,
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        routes: vec![Route::new("10.0.0.0/24".parse().unwrap(), None), elsewhere],
    };
    let before = a.iface.generation();
    let update = KernelUpdate::Config(kernel.clone().into());
    a.iface.apply(at(0), &update);
    assert_ne!(a.iface.generation(), before);
    assert_eq!(a.iface.poll_event(), Some(Event::Link(link)));
    assert_eq!(a.why(at(0), "8.8.8.8"), NoRoute::OtherInterface);
    assert!(matches!(
        a.iface.path(at(0), None, ip("10.0.0.2")),
        Path::Resolving
    ));
    let wanted = KernelRequest::Resolve(ip("10.0.0.2"));
    assert_eq!(a.iface.poll_request(), Some(wanted));
    assert_eq!(a.iface.poll_request(), None);
    assert!(a.out(at(0)).is_empty(), "the kernel asks, not we");
    let known = [(ip("10.0.0.2"), NeighbourState::Reachable(B))];
    let news = KernelUpdate::Neighbours(known.as_slice().into());
    a.iface.apply(at(1), &news);
    let ready = a.ready(at(1), "10.0.0.2");
    assert_eq!((ready.mss, ready.local), (8960, ip("10.0.0.1")));
    let news = KernelUpdate::Neighbour(ip("10.0.0.2"), NeighbourState::Failed);
    a.iface.apply(at(2), &news);
    assert_eq!(a.why(at(2), "10.0.0.2"), NoRoute::NeighbourFailed);
    // And the link goes.
    let mut down = kernel;
    down.link = LinkState {
        index: 0,
        up: false,
        mtu: 0,
        mac: Mac::ZERO,
    };
    a.iface.apply(at(3), &KernelUpdate::Config(down.into()));
    assert_eq!(a.why(at(3), "10.0.0.2"), NoRoute::LinkDown);
    assert_eq!(a.iface.mac(), A);
    // In own mode the kernel has no say.
    let mut own = Host::a();
    own.iface.apply(at(0), &update);
    assert_eq!(own.iface.addresses().len(), 2);
}

#[test]
fn an_empty_pool_costs_a_question_not_more() {
    let mut a = Host::new(config(Mode::Own, A, &["10.0.0.1/24"]));
    a.iface.path(at(0), None, ip("10.0.0.2"));
    let taken: Vec<_> = std::iter::from_fn(|| a.pool.alloc()).collect();
    assert!(a.out(at(0)).is_empty());
    for packet in taken {
        a.pool.free(packet);
    }
    assert_eq!(a.out(at(1_000)).len(), 1);
}

proptest! {
    /// Whatever arrives is dealt with or dropped, and no frame is lost.
    #[test]
    fn nothing_that_arrives_breaks_anything(
        which in 0usize..9,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        shared: bool,
        verify: bool,
    ) {
        let echo4 = |out: &mut [u8]| icmpv4::Message::Echo { reply: false, ident: 1, seq: 2 }
            .emit(out, b"abc");
        let quote = tcp_frame(B, "10.0.0.1", "192.0.2.9", b"")[14..].to_vec();
        let quote6 = tcp_frame(B, "fd00::1", "2001:db8::9", b"")[14..].to_vec();
        let (b6, a6) = (v6("fd00::2"), v6("fd00::1"));
        let mut frame = match which {
            0 => request("10.0.0.2", B, "10.0.0.1"),
            1 => tcp_frame(A, "10.0.0.2", "10.0.0.1", b"hello"),
            2 => tcp_frame(A, "fd00::2", "fd00::1", b"hello"),
            3 => icmp("10.0.0.2", "10.0.0.1", A, echo4),
            4 => icmp("fd00::2", "fd00::1", A, |out| icmpv6::Message::Echo {
                reply: false, ident: 1, seq: 2,
            }.emit(out, b6, a6, b"abc")),
            5 => icmp("fd00::2", "fd00::1", A, |out| icmpv6::Message::NeighborSolicitation {
                target: a6, source_mac: Some(B),
            }.emit(out, b6, a6, &[])),
            6 => icmp("fd00::2", "fd00::1", A, |out| icmpv6::Message::NeighborAdvertisement {
                target: b6, target_mac: Some(B), router: false, solicited: true, overrides: true,
            }.emit(out, b6, a6, &[])),
            7 => icmp("10.0.0.2", "10.0.0.1", A, |out| icmpv4::Message::Unreachable {
                code: 4, mtu: 1400, quoted: None,
            }.emit(out, &quote)),
            _ => icmp("fd00::2", "fd00::1", A, |out| icmpv6::Message::PacketTooBig {
                mtu: 1400, quoted: None,
            }.emit(out, b6, a6, &quote6)),
        };
        for (index, with) in &flips {
            let at = index.index(frame.len());
            frame[at] ^= with;
        }
        if flips.len() > 3 {
            frame.truncate(cut.index(frame.len() + 1));
        }
        let mode = if shared { Mode::Shared } else { Mode::Own };
        let mut config = config(mode, A, &["10.0.0.1/24", "fd00::1/64"]);
        config.verify = verify;
        let mut a = Host::new(config);
        a.iface.path(at(0), None, b6.into());
        match a.receive(at(0), &frame) {
            Received::Segment(_, _, packet) => a.pool.free(packet),
            Received::Reply(desc) => {
                prop_assert!(!shared);
                a.pool.complete(desc);
            }
            Received::Report(report) => prop_assert!(a.iface.is_own(report.local.ip())),
            Received::Done => {}
        }
        a.out(at(10));
        prop_assert_eq!(a.pool.ledger().outstanding(), 0);
    }
}
