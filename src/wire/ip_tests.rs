//! Whole frames, written out by hand, and everything that can be wrong in them.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::wire::icmpv6::solicited_node;
use crate::wire::quoted::Quoted;
use crate::wire::tcp::{Flags, SeqNumber, Timestamps};
use crate::wire::template::{Path, Template, fill_tcp_checksum};

const A: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);
const B: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);
const A4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// The bytes of hexadecimal text; blanks do not count.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn path(v6: bool, vlan: Option<u16>) -> Path {
    let (src, dst) = if v6 {
        (A6.into(), B6.into())
    } else {
        (A4.into(), B4.into())
    };
    Path {
        src_mac: A,
        dst_mac: B,
        vlan,
        src,
        dst,
        ttl: 64,
        tos: 0x02,
    }
}

/// A TCP frame as the sending side makes it.
fn tcp_frame(path: &Path, header: &tcp::Header, payload: &[u8]) -> Vec<u8> {
    let template = Template::new(path, PROTOCOL_TCP).unwrap();
    let l4_len = header.emit_len() + payload.len();
    let mut frame = vec![0xee; template.len() + l4_len];
    template.write(&mut frame, l4_len, 0x1234);
    let tcp = &mut frame[template.len()..];
    let header_len = header.emit(tcp);
    let payload_sum = checksum::copy_and_sum(&mut tcp[header_len..], payload);
    fill_tcp_checksum(
        &mut tcp[..header_len],
        template.pseudo_sum(l4_len),
        payload_sum,
    );
    frame
}

fn data_header() -> tcp::Header {
    tcp::Header {
        src_port: 80,
        dst_port: 40000,
        seq: SeqNumber(0x0102_0304),
        ack: SeqNumber(0x0506_0708),
        flags: Flags::ACK | Flags::PSH,
        window: 0x0fff,
        options: tcp::Options {
            timestamps: Some(Timestamps { val: 1, ecr: 2 }),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Checksums in these vectors come from outside this crate.
fn data_frame() -> Vec<u8> {
    hex("02000000000b 02000000000a 0800
         4502 0037 1234 4000 4006 a487 c0000201 c0000202
         0050 9c40 01020304 05060708 8018 0fff 71a5 0000
         0101080a 00000001 00000002
         616263")
}

#[test]
fn tcp_over_ipv4_to_the_byte() {
    let frame = tcp_frame(&path(false, None), &data_header(), b"abc");
    assert_eq!(frame, data_frame());
    // Ethernet pads short frames; the padding is no payload.
    let mut padded = frame.clone();
    padded.extend([0x55; 9]);
    let Ok(Parsed::Tcp {
        envelope,
        header,
        payload,
    }) = parse_frame(&padded, true)
    else {
        panic!("refused: {:?}", parse_frame(&padded, true));
    };
    assert_eq!(header, data_header());
    assert_eq!(payload.of(&padded), b"abc");
    assert_eq!(payload.range(), 66..69);
    let expected = Envelope {
        src_mac: A,
        dst_mac: B,
        vlan: None,
        src: A4.into(),
        dst: B4.into(),
        ecn: 2,
        ttl: 64,
        packet: Span::new(14, 69),
    };
    assert_eq!(envelope, expected);
}

#[test]
fn tcp_over_ipv6_in_a_vlan_to_the_byte() {
    let frame = tcp_frame(&path(true, Some(7)), &data_header(), b"abc");
    let expected = hex("02000000000b 02000000000a 8100 0007 86dd
         60200000 0023 06 40
         20010db8000000000000000000000001 20010db8000000000000000000000002
         0050 9c40 01020304 05060708 8018 0fff 9a34 0000
         0101080a 00000001 00000002
         616263");
    assert_eq!(frame, expected);
    let Ok(Parsed::Tcp {
        envelope,
        header,
        payload,
    }) = parse_frame(&frame, true)
    else {
        panic!("refused: {:?}", parse_frame(&frame, true));
    };
    assert_eq!(header, data_header());
    assert_eq!(payload.range(), 90..93);
    assert_eq!(
        (envelope.vlan, envelope.ecn, envelope.ttl),
        (Some(7), 2, 64)
    );
    assert_eq!((envelope.src, envelope.dst), (A6.into(), B6.into()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = data_frame();
    for bit in 14 * 8..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_frame(&bad, true).is_err(), "bit {bit} went unnoticed");
    }
    // Without verification a wrong checksum passes.
    let mut bad = good.clone();
    bad[24] ^= 1; // IPv4
    bad[50] ^= 1; // TCP
    assert_eq!(parse_frame(&bad, true), Err(Error::BadChecksum));
    assert!(matches!(parse_frame(&bad, false), Ok(Parsed::Tcp { .. })));
}

#[test]
fn every_cut_is_noticed() {
    for frame in [
        data_frame(),
        tcp_frame(&path(true, Some(7)), &data_header(), b"abc"),
    ] {
        for len in 0..frame.len() {
            assert_eq!(parse_frame(&frame[..len], true), Err(Error::Truncated));
        }
    }
}

#[test]
fn ipv4_refusals() {
    let changed = |at: usize, value: u8| {
        let mut frame = data_frame();
        frame[at] = value;
        parse_frame(&frame, false)
    };
    assert_eq!(changed(14, 0x55), Err(Error::BadVersion));
    assert_eq!(changed(14, 0x44), Err(Error::BadLength));
    assert_eq!(changed(17, 19), Err(Error::BadLength));
    assert_eq!(changed(16, 1), Err(Error::Truncated));
    assert_eq!(changed(20, 0x20), Err(Error::Fragment)); // more fragments
    assert_eq!(changed(21, 0x01), Err(Error::Fragment)); // offset
    assert_eq!(changed(23, 132), Ok(Parsed::Other)); // SCTP
    assert_eq!(changed(13, 0x01), Ok(Parsed::Other)); // another ethertype
    // A header length that leaves no room for TCP's.
    assert_eq!(changed(14, 0x4f), Err(Error::BadLength));
}

#[test]
fn ipv4_options_are_skipped() {
    let mut frame = data_frame();
    frame[14] = 0x46;
    frame[17] += 4;
    frame.splice(34..34, [1, 1, 1, 0]);
    let Ok(Parsed::Tcp { payload, .. }) = parse_frame(&frame, false) else {
        panic!("refused");
    };
    assert_eq!(payload.of(&frame), b"abc");
}

/// An IPv6 frame with `next` after the fixed header and `rest` behind it.
fn v6_frame(next: u8, hop_limit: u8, dst: Ipv6Addr, rest: &[u8]) -> Vec<u8> {
    let ethernet = eth::Header {
        dst: B,
        src: A,
        vlan: None,
        ethertype: eth::TYPE_IPV6,
    };
    let ip = ipv6::Header {
        traffic_class: 0,
        flow_label: 0xabcde,
        protocol: next,
        hop_limit,
        src: A6,
        dst,
    };
    let mut frame = vec![0; 54];
    ethernet.emit(&mut frame);
    ip.emit(&mut frame[14..], rest.len());
    frame.extend(rest);
    frame
}

#[test]
fn ipv6_extension_headers() {
    let segment = tcp_frame(&path(true, None), &data_header(), b"abc").split_off(54);
    let parse = |next, extensions: &[u8]| {
        let frame = v6_frame(next, 64, B6, &[extensions, &segment].concat());
        parse_frame(&frame, true).map(|parsed| match parsed {
            Parsed::Tcp { payload, .. } => payload.of(&frame).to_vec(),
            other => panic!("{other:?}"),
        })
    };
    let abc = || Ok(b"abc".to_vec());
    assert_eq!(parse(6, &[]), abc());
    // Hop-by-hop (router alert, padding), then 16 bytes of destination options.
    let hop_by_hop = [60, 0, 5, 2, 0, 0, 1, 0];
    let destination = [6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(parse(0, &[&hop_by_hop[..], &destination].concat()), abc());
    // A routing header that has been used up, and one that has not.
    assert_eq!(parse(43, &[6, 0, 4, 0, 0, 0, 0, 0]), abc());
    assert_eq!(
        parse(43, &[6, 0, 4, 1, 0, 0, 0, 0]),
        Err(Error::BadExtension)
    );
    // Hop-by-hop anywhere but first.
    let late = [[0, 0, 1, 4, 0, 0, 0, 0], [6, 0, 1, 4, 0, 0, 0, 0]].concat();
    assert_eq!(parse(60, &late), Err(Error::BadExtension));
    assert_eq!(parse(44, &[6, 0, 0, 1, 0, 0, 0, 9]), Err(Error::Fragment));
    // As many as are allowed, and one more.
    let mut chain = [60, 0, 1, 4, 0, 0, 0, 0].repeat(ipv6::MAX_EXTENSIONS);
    let last = chain.len() - 8;
    chain[last] = 6;
    assert_eq!(parse(60, &chain), abc());
    chain[last] = 60;
    chain.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(parse(60, &chain), Err(Error::BadExtension));
    // A header that is longer than the packet.
    assert_eq!(
        parse(60, &[6, 255, 1, 4, 0, 0, 0, 0]),
        Err(Error::Truncated)
    );
}

#[test]
fn ipv6_refusals() {
    let mut frame = v6_frame(59, 64, B6, &[]);
    assert_eq!(parse_frame(&frame, true), Ok(Parsed::Other)); // no next header
    frame[14] = 0x50;
    assert_eq!(parse_frame(&frame, true), Err(Error::BadVersion));
    assert_eq!(
        Template::new(
            &Path {
                dst: B6.into(),
                ..path(false, None)
            },
            6
        )
        .map(|_| ()),
        Err(Error::MixedFamilies)
    );
}

#[test]
fn ethernet_tags() {
    let mut frame = tcp_frame(&path(false, Some(7)), &data_header(), b"");
    let vlan = |frame: &[u8]| match parse_frame(frame, true) {
        Ok(Parsed::Tcp { envelope, .. }) => envelope.vlan,
        other => panic!("{other:?}"),
    };
    assert_eq!(vlan(&frame), Some(7));
    frame[14] = 0xe0; // priority 7
    assert_eq!(vlan(&frame), Some(7));
    frame[15] = 0; // priority only
    assert_eq!(vlan(&frame), None);
    frame[16..18].copy_from_slice(&[0x81, 0]); // a second tag
    assert_eq!(parse_frame(&frame, true), Ok(Parsed::Other));
}

#[test]
fn marks_are_written_and_summed() {
    for v6 in [false, true] {
        for ecn in 0..4 {
            let path = Path {
                tos: 0xb8,
                ..path(v6, Some(7))
            };
            let template = Template::new(&path, PROTOCOL_TCP).unwrap();
            let mut frame = tcp_frame(&path, &data_header(), b"payload");
            let l4_len = frame.len() - template.len();
            template.write_marked(&mut frame, l4_len, 0x1234, ecn);
            match parse_frame(&frame, true) {
                Ok(Parsed::Tcp { envelope, .. }) => assert_eq!(envelope.ecn, ecn),
                other => panic!("{other:?}"),
            }
            let at = template.eth_len();
            let tos = if v6 {
                frame[at] << 4 | frame[at + 1] >> 4
            } else {
                frame[at + 1]
            };
            assert_eq!(tos, 0xb8 | ecn);
        }
    }
}

#[test]
fn next_hop_can_change() {
    let mut template = Template::new(&path(false, None), PROTOCOL_TCP).unwrap();
    template.set_dst_mac(A);
    let mut out = [0; 34];
    template.write(&mut out, 20, 0);
    assert_eq!(out[..6], A.0);
    assert_eq!((template.len(), template.eth_len()), (34, 14));
    assert!(!template.is_ipv6());
}

#[test]
fn the_codepoint_can_change() {
    for v6 in [false, true] {
        let path = Path {
            tos: 0,
            ..path(v6, None)
        };
        let mut template = Template::new(&path, PROTOCOL_TCP).unwrap();
        for (given, dscp) in [(46, 46), (63, 63), (0, 0), (0xc1, 1)] {
            template.set_dscp(given);
            let mut out = [0; 74];
            let len = template.len();
            template.write_marked(&mut out, 20, 7, 2);
            let packet = &out[template.eth_len()..len + 20];
            let tos = if v6 {
                ipv6::Header::parse(packet).unwrap().0.traffic_class
            } else {
                ipv4::Header::parse(packet, true).unwrap().0.tos
            };
            assert_eq!(tos, dscp << 2 | 2);
        }
    }
}

#[test]
fn mac_text() {
    let mac: Mac = "02:00:5E:10:00:ff".parse().unwrap();
    assert_eq!(mac, Mac([2, 0, 0x5e, 0x10, 0, 0xff]));
    assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
    for bad in [
        "",
        "02:00:5e:10:00",
        "02:00:5e:10:00:ff:01",
        "02:00:5e:10:00:f",
        "02:00:5e:10:00:+f",
        "02-00-5e-10-00-ff",
        "02:00:5e:10:00:é",
    ] {
        assert!(bad.parse::<Mac>().is_err(), "{bad}");
    }
    assert!(Mac::BROADCAST.is_multicast() && !Mac::BROADCAST.is_unicast());
    assert!(mac.is_unicast() && !Mac::ZERO.is_unicast());
    assert_eq!(
        Mac::multicast_v6(solicited_node(B6)),
        Mac([0x33, 0x33, 0xff, 0, 0, 2])
    );
}

#[test]
fn arp_to_the_byte() {
    let request = hex("ffffffffffff 02000000000a 0806
         0001 0800 06 04 0001 02000000000a c0000201 000000000000 c0000202");
    let (ethernet, packet) = arp::Packet::request(A, A4, B4, None);
    let mut out = [0; 42];
    ethernet.emit(&mut out);
    packet.emit(&mut out[14..]);
    assert_eq!(out[..], request);
    // Padded to Ethernet's minimum.
    let padded = [&request[..], &[0; 18]].concat();
    assert_eq!(
        parse_frame(&padded, true),
        Ok(Parsed::Arp { ethernet, packet })
    );
    let mut out = [0; 28];
    packet.reply(B).emit(&mut out);
    assert_eq!(
        out[..],
        hex("0001 0800 06 04 0002 02000000000b c0000202 02000000000a c0000201")
    );
    assert_eq!(arp::Packet::parse(&out), Ok(packet.reply(B)));
    assert_eq!(arp::Packet::parse(&out[..27]), Err(Error::Truncated));
    // Each field of the kind, an operation of 3, a group address as sender.
    for (at, value) in [(1, 6), (2, 9), (4, 8), (5, 16), (7, 3), (8, 3)] {
        let mut bad = out;
        bad[at] = value;
        assert_eq!(arp::Packet::parse(&bad), Err(Error::Unsupported), "{at}");
    }
}

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

fn v6_header(hop_limit: u8, src: Ipv6Addr, dst: Ipv6Addr) -> ipv6::Header {
    ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        protocol: PROTOCOL_ICMPV6,
        hop_limit,
        src,
        dst,
    }
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

/// A UDP frame with the payload `abc`.
fn udp_frame(v6: bool) -> Vec<u8> {
    let template = Template::new(&path(v6, None), PROTOCOL_UDP).unwrap();
    let mut frame = vec![0; template.len() + 11];
    template.write(&mut frame, 11, 0);
    let header = udp::Header {
        src_port: 1,
        dst_port: 2,
        checksum: 0,
    };
    let udp = &mut frame[template.len()..];
    header.emit(udp, template.pseudo_sum(11), 3, Sum::of(b"abc"));
    udp[8..].copy_from_slice(b"abc");
    frame
}

#[test]
fn udp_checksums() {
    for v6 in [false, true] {
        let good = udp_frame(v6);
        let at = if v6 { 54 } else { 34 };
        let payload = |frame: &[u8]| {
            parse_frame(frame, true).map(|parsed| match parsed {
                Parsed::Udp { payload, .. } => payload.of(frame).to_vec(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(payload(&good), Ok(b"abc".to_vec()));
        let mut bad = good.clone();
        bad[at + 8] ^= 1;
        assert_eq!(payload(&bad), Err(Error::BadChecksum));
        // None at all: fine over IPv4 only.
        bad[at + 6..at + 8].copy_from_slice(&[0, 0]);
        let expected = if v6 {
            Err(Error::BadChecksum)
        } else {
            Ok(b"`bc".to_vec())
        };
        assert_eq!(payload(&bad), expected);
        // Lengths: below the header, beyond the packet, and short of it.
        for (len, expected) in [
            (7, Err(Error::BadLength)),
            (12, Err(Error::Truncated)),
            (11, Ok(b"abc".to_vec())),
        ] {
            let mut frame = good.clone();
            frame[at + 5] = len;
            assert_eq!(payload(&frame), expected);
        }
        let mut short = good.clone();
        short[at + 5] = 9;
        match parse_frame(&short, false) {
            Ok(Parsed::Udp { payload, .. }) => assert_eq!(payload.of(&short), b"a"),
            other => panic!("{other:?}"),
        }
    }
    let to_the_byte = hex("0001 0002 000b b76e 616263");
    assert_eq!(udp_frame(false)[34..], to_the_byte);
}

#[test]
fn udp_checksum_of_zero_is_sent_as_ones() {
    let header = udp::Header {
        src_port: 0,
        dst_port: 0,
        checksum: 0,
    };
    let mut out = [0; 8];
    // The length field adds 8; this pseudo sum brings the total to all ones.
    header.emit(&mut out, Sum::word(0xffff - 8), 0, Sum::ZERO);
    assert_eq!(out[6..], [0xff, 0xff]);
}

#[test]
fn spans_stay_inside() {
    let span = Span::new(5, 3);
    assert!(span.is_empty() && span.range() == (5..5));
    assert_eq!(Span::new(1, 4).of(&[1, 2]), &[] as &[u8]);
    assert_eq!(Span::new(1, 3).of(&[1, 2, 3]), &[2, 3]);
    assert_eq!(Span::new(1, 3).len(), 2);
}

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
