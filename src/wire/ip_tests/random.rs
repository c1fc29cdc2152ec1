//! Any bytes, and anything that can be written.

use super::*;

/// Hostile bytes that get past the first checks: a valid start, then noise.
fn noisy_frame() -> impl Strategy<Value = Vec<u8>> {
    let starts = vec![
        vec![],
        data_frame(),
        udp_frame(false),
        udp_frame(true),
        tcp_frame(&path(true, Some(7)), &data_header(), b"abc"),
        v6_frame(0, 255, B6, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0]),
        v6_frame(PROTOCOL_ICMPV6, 255, B6, &[135; 40]),
        v6_frame(PROTOCOL_ICMPV6, 255, B6, &[2; 90]),
        hex("ffffffffffff 02000000000a 0806 0001 0800 06 04 0001"),
        {
            let mut icmp = data_frame();
            icmp[23] = PROTOCOL_ICMP;
            icmp[34] = 3;
            icmp
        },
    ];
    let noise = prop::collection::vec(any::<u8>(), 0..120);
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(starts), noise, flips).prop_map(|(mut frame, noise, flips)| {
        frame.extend(noise);
        for (at, value) in flips {
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] = value;
            }
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_frames_never_panic(frame in noisy_frame(), verify in any::<bool>()) {
        match parse_frame(&frame, verify) {
            Ok(Parsed::Tcp { envelope, payload, .. } | Parsed::Udp { envelope, payload, .. }
                | Parsed::Icmpv4 { envelope, payload, .. } | Parsed::Icmpv6 { envelope, payload, .. }) => {
                prop_assert!(envelope.packet.end() <= frame.len());
                prop_assert!(envelope.packet.start() < payload.start());
                prop_assert!(payload.end() <= envelope.packet.end());
            }
            Ok(Parsed::Arp { .. } | Parsed::Other) | Err(_) => {}
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_any_parser(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = eth::Header::parse(&bytes);
        let _ = arp::Packet::parse(&bytes);
        let _ = ipv4::Header::parse(&bytes, false);
        let _ = ipv6::Header::parse(&bytes);
        let _ = udp::Header::parse(&bytes);
        let _ = icmpv4::Message::parse(&bytes, false);
        let _ = icmpv6::Message::parse(&v6_header(255, A6, B6), &bytes, false);
    }

    #[test]
    fn tcp_frames_round_trip(
        v6 in any::<bool>(),
        vlan in prop::option::of(1u16..4095),
        numbers in any::<(u32, u32)>(),
        payload in prop::collection::vec(any::<u8>(), 0..1460),
    ) {
        let sent = tcp::Header { seq: SeqNumber(numbers.0), ack: SeqNumber(numbers.1), ..data_header() };
        let frame = tcp_frame(&path(v6, vlan), &sent, &payload);
        match parse_frame(&frame, true) {
            Ok(Parsed::Tcp { envelope, header, payload: span }) => {
                prop_assert_eq!(header, sent);
                prop_assert_eq!(span.of(&frame), &payload[..]);
                prop_assert_eq!(envelope.vlan, vlan);
                prop_assert_eq!(envelope.packet.end(), frame.len());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn headers_round_trip(
        tos in any::<u8>(),
        ident in any::<u16>(),
        dont_fragment in any::<bool>(),
        ttl in any::<u8>(),
        protocol in any::<u8>(),
        v4 in any::<(u32, u32)>(),
        v6 in any::<(u128, u128)>(),
        flow_label in 0u32..1 << 20,
        len in 0usize..100,
    ) {
        let mut out = [0; 140];
        let ip = ipv4::Header { tos, ident, dont_fragment, ttl, protocol, src: v4.0.into(), dst: v4.1.into() };
        ip.emit(&mut out, len);
        prop_assert_eq!(ipv4::Header::parse(&out, true), Ok((ip, Span::new(20, 20 + len))));
        let ip = ipv6::Header { traffic_class: tos, flow_label, protocol, hop_limit: ttl, src: v6.0.into(), dst: v6.1.into() };
        ip.emit(&mut out, len);
        let walked = matches!(protocol, 0 | 43 | 44 | 60);
        prop_assert!(walked || ipv6::Header::parse(&out) == Ok((ip, Span::new(40, 40 + len))));
    }

    #[test]
    fn icmp_round_trips(
        reply in any::<bool>(), ident in any::<u16>(), seq in any::<u16>(),
        data in prop::collection::vec(any::<u8>(), 0..100),
        flags in any::<[bool; 4]>(),
    ) {
        let mut out = vec![0; 200];
        let echo = icmpv4::Message::Echo { reply, ident, seq };
        let len = echo.emit(&mut out, &data);
        prop_assert_eq!(icmpv4::Message::parse(&out[..len], true), Ok((echo, Span::new(8, len))));
        prop_assert_eq!(&out[8..len], &data[..]);
        let ip = v6_header(255, A6, B6);
        let [router, solicited, overrides, with_mac] = flags;
        let mac = with_mac.then_some(A);
        for message in [
            icmpv6::Message::Echo { reply, ident, seq },
            icmpv6::Message::NeighborSolicitation { target: B6, source_mac: mac },
            icmpv6::Message::NeighborAdvertisement { target: B6, target_mac: mac, router, solicited, overrides },
        ] {
            let len = message.emit(&mut out, A6, B6, &data);
            prop_assert_eq!(len, message.emit_len(data.len()));
            prop_assert_eq!(icmpv6::Message::parse(&ip, &out[..len], true), Ok((message, Span::new(8, len))));
        }
    }
}
