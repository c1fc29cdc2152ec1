//! What is in front of a segment: tags, addresses, options, extensions.

use super::*;

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
fn spans_stay_inside() {
    let span = Span::new(5, 3);
    assert!(span.is_empty() && span.range() == (5..5));
    assert_eq!(Span::new(1, 4).of(&[1, 2]), &[] as &[u8]);
    assert_eq!(Span::new(1, 3).of(&[1, 2, 3]), &[2, 3]);
    assert_eq!(Span::new(1, 3).len(), 2);
}
