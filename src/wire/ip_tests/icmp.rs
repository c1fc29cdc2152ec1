//! Messages of both families.

use super::*;

#[test]
fn icmpv4_echo_to_the_byte() {
    let request = hex("0800 ebf2 1234 0001 f8d7 01");
    let (message, data) = icmpv4::Message::parse(&request, true).unwrap();
    let echo = |reply| icmpv4::Message::Echo {
        reply,
        ident: 0x1234,
        seq: 1,
    };
    assert_eq!((message, data.range()), (echo(false), 8..11));
    let mut out = [0; 11];
    assert_eq!(echo(true).emit(&mut out, data.of(&request)), 11);
    assert_eq!(out[..], hex("0000 f3f2 1234 0001 f8d7 01"));
    out[10] ^= 1;
    assert_eq!(icmpv4::Message::parse(&out, true), Err(Error::BadChecksum));
    assert_eq!(
        icmpv4::Message::parse(&out[..7], true),
        Err(Error::Truncated)
    );
}

fn quoted(src: IpAddr, dst: IpAddr) -> Option<Quoted> {
    Some(Quoted {
        datagram: None,
        protocol: PROTOCOL_TCP,
        src,
        dst,
        src_port: 80,
        dst_port: 40000,
        seq: SeqNumber(0x0102_0304),
    })
}

#[test]
fn icmpv4_names_the_packet_that_did_not_arrive() {
    let packet = data_frame().split_off(14);
    let too_big = icmpv4::Message::Unreachable {
        code: icmpv4::CODE_FRAGMENTATION_NEEDED,
        mtu: 1400,
        quoted: quoted(A4.into(), B4.into()),
    };
    // RFC 792 has routers quote no more than 8 bytes behind the header.
    let mut out = [0; 8 + 28];
    too_big.emit(&mut out, &packet[..28]);
    assert_eq!(out[..2], [3, 4]);
    assert_eq!(out[4..8], [0, 0, 0x05, 0x78]);
    assert_eq!(
        icmpv4::Message::parse(&out, true).map(|(message, _)| message),
        Ok(too_big)
    );
    let about = |quote: &[u8]| {
        let mut out = vec![0; 8 + quote.len()];
        too_big.emit(&mut out, quote);
        match icmpv4::Message::parse(&out, true) {
            Ok((icmpv4::Message::Unreachable { quoted, .. }, _)) => quoted,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(about(&packet[..27]), None);
    assert_eq!(about(&[]), None);
    let changed = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        about(&packet)
    };
    assert_eq!(changed(9, 132), None); // neither TCP nor UDP
    assert_eq!(changed(7, 1), None); // a later fragment has no ports
    assert_eq!(changed(0, 0x44), None);
    assert_eq!(changed(0, 0x65), None);
    // Routers change the time to live, and its checksum, on the way.
    assert_eq!(changed(8, 1), quoted(A4.into(), B4.into()));
}

#[test]
fn icmpv6_errors() {
    let packet = tcp_frame(&path(true, None), &data_header(), b"abc").split_off(14);
    let quoted = quoted(A6.into(), B6.into());
    let ip = v6_header(60, B6, A6);
    for message in [
        icmpv6::Message::PacketTooBig { mtu: 1280, quoted },
        icmpv6::Message::Unreachable {
            code: icmpv6::CODE_PORT_UNREACHABLE,
            quoted,
        },
    ] {
        let mut out = vec![0; 8 + packet.len()];
        message.emit(&mut out, B6, A6, &packet);
        assert_eq!(
            icmpv6::Message::parse(&ip, &out, true),
            Ok((message, Span::new(8, out.len())))
        );
        // The pseudo-header counts.
        let elsewhere = v6_header(60, B6, "2001:db8::3".parse().unwrap());
        assert_eq!(
            icmpv6::Message::parse(&elsewhere, &out, true),
            Err(Error::BadChecksum)
        );
    }
}

#[test]
fn neighbor_discovery_to_the_byte() {
    let group = solicited_node(B6);
    assert_eq!(group, "ff02::1:ff00:2".parse::<Ipv6Addr>().unwrap());
    let solicitation = icmpv6::Message::NeighborSolicitation {
        target: B6,
        source_mac: Some(A),
    };
    let bytes = hex("87 00 1c1e 00000000 20010db8000000000000000000000002
         01 01 02000000000a");
    let mut out = [0; 32];
    assert_eq!(solicitation.emit(&mut out, A6, group, &[]), 32);
    assert_eq!(out[..], bytes);
    let frame = v6_frame(PROTOCOL_ICMPV6, 255, group, &bytes);
    match parse_frame(&frame, true) {
        Ok(Parsed::Icmpv6 { message, .. }) => assert_eq!(message, solicitation),
        other => panic!("{other:?}"),
    }
    let advertisement = icmpv6::Message::NeighborAdvertisement {
        target: B6,
        target_mac: Some(B),
        router: false,
        solicited: true,
        overrides: true,
    };
    let bytes = hex("88 00 8a68 60000000 20010db8000000000000000000000002
         02 01 02000000000b");
    assert_eq!(advertisement.emit(&mut out, B6, A6, &[]), 32);
    assert_eq!(out[..], bytes);
    let ip = v6_header(255, B6, A6);
    assert_eq!(
        icmpv6::Message::parse(&ip, &out, true).map(|(message, _)| message),
        Ok(advertisement)
    );
}

#[test]
fn neighbor_discovery_refusals() {
    let parse = |ip: ipv6::Header, text: &str| {
        icmpv6::Message::parse(&ip, &hex(text), false).map(|(message, _)| message)
    };
    let bad = Err(Error::BadNeighborDiscovery);
    let group = solicited_node(B6);
    let ip = v6_header(255, A6, group);
    let target = "20010db8000000000000000000000002";
    let ns = format!("87000000 00000000 {target}");
    let probe = Ok(icmpv6::Message::NeighborSolicitation {
        target: B6,
        source_mac: None,
    });
    assert_eq!(parse(ip, &ns), probe);
    assert_eq!(parse(v6_header(254, A6, group), &ns), bad);
    assert_eq!(parse(ip, &format!("87010000 00000000 {target}")), bad);
    assert_eq!(parse(ip, &ns[..ns.len() - 2]), bad); // cut
    let multicast = "ff020000000000000000000000000001";
    assert_eq!(parse(ip, &format!("87000000 00000000 {multicast}")), bad);
    // Options: length zero, longer than the message, a lone byte.
    for options in ["0100000000000000", "01020000000000aa", "01"] {
        assert_eq!(parse(ip, &format!("{ns}{options}")), bad, "{options}");
    }
    // An unknown option is skipped, a group address is none.
    let mixed = format!("{ns} 0e01000000000000 0101ffffffffffff");
    assert_eq!(parse(ip, &mixed), probe);
    // Duplicate address detection: no address yet, so no link address either.
    let unspecified = v6_header(255, Ipv6Addr::UNSPECIFIED, group);
    assert_eq!(parse(unspecified, &ns), probe);
    assert_eq!(parse(unspecified, &format!("{ns}010102000000000a")), bad);
    assert_eq!(parse(v6_header(255, Ipv6Addr::UNSPECIFIED, B6), &ns), bad);
    // A solicited advertisement goes to one station.
    let na = format!("88000000 40000000 {target}");
    assert_eq!(parse(v6_header(255, B6, group), &na), bad);
    assert!(parse(v6_header(255, B6, A6), &na).is_ok());
    // Router advertisements are left alone.
    let ra = "86000000 40000000 00000000 00000000";
    assert_eq!(
        parse(ip, ra),
        Ok(icmpv6::Message::Other { kind: 134, code: 0 })
    );
}
