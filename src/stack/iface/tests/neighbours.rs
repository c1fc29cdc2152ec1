//! Who has which address: ARP, neighbour discovery, announcements, claims.

use super::*;

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
