//! Segments to the byte, and what damage does to them.

use super::*;

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
fn the_protocol_can_change() {
    for v6 in [false, true] {
        for vlan in [None, Some(7)] {
            let mut template = Template::new(&path(v6, vlan), PROTOCOL_TCP).unwrap();
            template.set_protocol(PROTOCOL_UDP);
            let other = Template::new(&path(v6, vlan), PROTOCOL_UDP).unwrap();
            let (mut out, mut expected) = ([0; 58], [0; 58]);
            let len = template.len();
            template.write(&mut out[..len], 30, 9);
            other.write(&mut expected[..len], 30, 9);
            assert_eq!(out, expected);
            let sum = template.pseudo_sum(30).finish();
            assert_eq!(sum, other.pseudo_sum(30).finish());
        }
    }
}
