//! Pings, and reports about what we sent.

use super::*;

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
        about: About::Segment(SeqNumber(0)),
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
fn reports_about_our_packets_over_udp_are_passed_on_if_they_say_which() {
    let mut a = Host::a();
    // uTP's header: DATA of connection 7 with sequence number 8.
    let mut packet = [0; 24];
    packet[0] = 0x01;
    packet[3] = 7;
    packet[17] = 8;
    let quote = udp_frame(B, "10.0.0.1", "192.0.2.9", &packet)[14..].to_vec();
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
    for (frame, kind) in [
        (report(4, 1400, &quote), ReportKind::PathMtu { mtu: 1400 }),
        (report(3, 0, &quote[..48]), ReportKind::Unreachable),
    ] {
        match a.receive(at(0), &frame) {
            Received::Report(report) => {
                let expected = super::Report {
                    local: "10.0.0.1:1000".parse().unwrap(),
                    remote: "192.0.2.9:80".parse().unwrap(),
                    about: About::Packet { id: 7, seq: 8 },
                    kind,
                };
                assert_eq!(report, expected);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut other = quote.clone();
    other[28] = 0x40; // QUIC, say
    for frame in [
        report(3, 0, &quote[..47]),
        report(3, 0, &quote[..28]),
        report(3, 0, &other),
    ] {
        assert_eq!(a.dropped(at(0), &frame), DropReason::IcmpIgnored);
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
