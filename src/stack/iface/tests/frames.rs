//! Which frames come through, and what is counted of the others.

use super::*;

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

proptest! {
    /// Whatever arrives is dealt with or dropped, and no frame is lost.
    #[test]
    fn nothing_that_arrives_breaks_anything(
        which in 0usize..10,
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
            9 => udp_frame(A, "10.0.0.2", "10.0.0.1", b"hello"),
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
            Received::Segment(_, _, packet) | Received::Datagram(_, _, packet) => {
                a.pool.free(packet);
            }
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
