//! Wire formats: no bytes make a parser panic or answer a range outside of
//! them, and what is written is read back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fullbore::wire::checksum::{Sum, copy_and_sum, pseudo_header};
use fullbore::wire::eth::{self, Mac};
use fullbore::wire::ip::{Envelope, Parsed, parse_frame};
use fullbore::wire::template::{Path, Template};
use fullbore::wire::{Error, arp, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 8 {
        0 => frame(bytes),
        1 => header_of_tcp(bytes),
        2 => header_of_v4(bytes),
        3 => header_of_v6(bytes),
        4 => message_of_v4(bytes),
        5 => message_of_v6(bytes),
        6 => small(bytes),
        _ => sums(bytes),
    }
}

/// A whole frame, and the one that fullbore would send with the same contents.
fn frame(bytes: &[u8]) {
    let trusted = parse_frame(bytes, false);
    let verified = parse_frame(bytes, true);
    match (&trusted, &verified) {
        (Err(a), Err(b)) => assert!(a == b || *b == Error::BadChecksum),
        (Err(a), Ok(_)) => panic!("only without verification: {a}"),
        (Ok(_), Err(e)) => assert_eq!(*e, Error::BadChecksum),
        (Ok(a), Ok(b)) => assert_eq!(a, b),
    }
    match trusted {
        Ok(Parsed::Tcp {
            envelope,
            header,
            payload,
        }) => {
            check_envelope(&envelope, bytes);
            assert!(payload.end() <= bytes.len());
            resend(&envelope, &header, payload.of(bytes));
        }
        Ok(
            Parsed::Udp {
                envelope, payload, ..
            }
            | Parsed::Icmpv4 {
                envelope, payload, ..
            }
            | Parsed::Icmpv6 {
                envelope, payload, ..
            },
        ) => {
            check_envelope(&envelope, bytes);
            assert!(payload.end() <= envelope.packet.end());
        }
        _ => {}
    }
}

fn check_envelope(envelope: &Envelope, bytes: &[u8]) {
    assert!(envelope.packet.start() <= envelope.packet.end());
    assert!(envelope.packet.end() <= bytes.len());
    assert_eq!(envelope.src.is_ipv4(), envelope.dst.is_ipv4());
    assert!(envelope.ecn < 4);
}

/// Writes a segment as connections do, and reads it back.
fn resend(envelope: &Envelope, header: &tcp::Header, payload: &[u8]) {
    let path = Path {
        src_mac: envelope.src_mac,
        dst_mac: envelope.dst_mac,
        vlan: envelope.vlan,
        src: envelope.src,
        dst: envelope.dst,
        ttl: envelope.ttl,
        tos: envelope.ecn,
    };
    let template = Template::new(&path, 6).expect("one family");
    let below = template.len();
    let l4_len = header.emit_len() + payload.len();
    if l4_len > 0xffff - ipv4::HEADER_LEN {
        return;
    }
    let mut out = vec![0xa5; below + l4_len];
    template.write(&mut out, l4_len, 7);
    let segment = &mut out[below..];
    let header_len = header.emit(segment);
    let sum = copy_and_sum(&mut segment[header_len..], payload);
    let pseudo = template.pseudo_sum(l4_len);
    fullbore::wire::template::fill_tcp_checksum(&mut segment[..header_len], pseudo, sum);
    match parse_frame(&out, true) {
        Ok(Parsed::Tcp {
            envelope: e,
            header: h,
            payload: p,
        }) => {
            assert_eq!((e.src, e.dst, e.vlan), (path.src, path.dst, path.vlan));
            assert_eq!((e.ttl, e.ecn), (path.ttl, path.tos));
            assert_eq!(h, emitted(header));
            assert_eq!(p.of(&out), payload);
        }
        other => panic!("{other:?} from {header:?}"),
    }
}

/// The header with the SACK blocks that find room.
fn emitted(header: &tcp::Header) -> tcp::Header {
    let mut expected = *header;
    let mut fixed = header.options;
    fixed.sack = tcp::SackBlocks::default();
    let room = (tcp::MAX_OPTIONS_LEN - fixed.emit_len()).saturating_sub(4) / 8;
    let mut sack = tcp::SackBlocks::default();
    for (left, right) in header.options.sack.iter().take(room) {
        sack.push(left, right);
    }
    expected.options.sack = sack;
    expected
}

fn header_of_tcp(bytes: &[u8]) {
    let Ok((header, len)) = tcp::Header::parse(bytes) else {
        return;
    };
    assert!(len <= bytes.len() && len >= tcp::HEADER_LEN);
    let mut out = vec![0xa5; header.emit_len()];
    assert_eq!(header.emit(&mut out), out.len());
    assert_eq!(
        tcp::Header::parse(&out),
        Ok((emitted(&header), out.len())),
        "{header:?}"
    );
    assert!(out.len() <= tcp::HEADER_LEN + tcp::MAX_OPTIONS_LEN);
    // What answers a segment of no connection.
    if let Some(reset) = fullbore::tcp::reset::reset_for(&header, bytes.len() - len) {
        assert!(reset.flags.contains(tcp::Flags::RST));
        assert_eq!(fullbore::tcp::reset::reset_for(&reset, 0), None);
    }
}

fn header_of_v4(bytes: &[u8]) {
    let Ok((header, span)) = ipv4::Header::parse(bytes, false) else {
        return;
    };
    assert!(span.end() <= bytes.len());
    let mut out = vec![0xa5; ipv4::HEADER_LEN];
    header.emit(&mut out, span.len());
    out.extend_from_slice(span.of(bytes));
    let (again, span_again) = ipv4::Header::parse(&out, true).expect("what was written");
    assert_eq!(again, header);
    assert_eq!(span_again.of(&out), span.of(bytes));
}

fn header_of_v6(bytes: &[u8]) {
    let Ok((header, span)) = ipv6::Header::parse(bytes) else {
        return;
    };
    assert!(span.end() <= bytes.len());
    let mut out = vec![0xa5; ipv6::HEADER_LEN];
    header.emit(&mut out, span.len());
    out.extend_from_slice(span.of(bytes));
    let (again, span_again) = ipv6::Header::parse(&out).expect("what was written");
    assert_eq!(again, header);
    assert_eq!(span_again.of(&out), span.of(bytes));
}

fn message_of_v4(bytes: &[u8]) {
    let Ok((message, data)) = icmpv4::Message::parse(bytes, false) else {
        return;
    };
    let data = data.of(bytes);
    let mut out = vec![0xa5; icmpv4::HEADER_LEN + data.len()];
    message.emit(&mut out, data);
    let (again, span) = icmpv4::Message::parse(&out, true).expect("what was written");
    assert_eq!((again, span.of(&out)), (message, data));
}

fn message_of_v6(bytes: &[u8]) {
    // Hop limit and addresses, then the message.
    let Some((fixed, bytes)) = bytes.split_at_checked(33) else {
        return;
    };
    let address = |at: usize| {
        let octets: [u8; 16] = fixed[at..at + 16].try_into().expect("16 bytes");
        Ipv6Addr::from(octets)
    };
    let ip = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        protocol: 58,
        hop_limit: fixed[0],
        src: address(1),
        dst: address(17),
    };
    let Ok((message, data)) = icmpv6::Message::parse(&ip, bytes, false) else {
        return;
    };
    let data = data.of(bytes);
    let mut out = vec![0xa5; message.emit_len(data.len())];
    message.emit(&mut out, ip.src, ip.dst, data);
    let (again, span) = icmpv6::Message::parse(&ip, &out, true).expect("what was written");
    match message {
        icmpv6::Message::NeighborSolicitation { .. }
        | icmpv6::Message::NeighborAdvertisement { .. } => assert_eq!(again, message),
        // Its code is always written as 0.
        _ => assert_eq!((again, span.of(&out)), (message, data)),
    }
}

fn small(bytes: &[u8]) {
    if let Ok((header, len)) = eth::Header::parse(bytes) {
        assert!(len <= bytes.len());
        let mut out = vec![0xa5; header.emit_len()];
        assert_eq!(header.emit(&mut out), out.len());
        // A second tag is not looked into, so an untagged header whose type
        // is that of a tag cannot be told apart.
        if header.vlan.is_some() || header.ethertype != eth::TYPE_VLAN {
            assert_eq!(eth::Header::parse(&out), Ok((header, out.len())));
        }
    }
    if let Ok(packet) = arp::Packet::parse(bytes) {
        let mut out = [0xa5; arp::LEN];
        packet.emit(&mut out);
        assert_eq!(arp::Packet::parse(&out), Ok(packet));
        assert!(packet.sender_mac.is_unicast());
        let reply = packet.reply(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(reply.target_ip, packet.sender_ip);
    }
    if let Ok((header, len)) = udp::Header::parse(bytes) {
        assert!((udp::HEADER_LEN..=bytes.len()).contains(&len));
        let payload = &bytes[udp::HEADER_LEN..len];
        let (a, b) = (
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        );
        let pseudo = pseudo_header(a, b, 17, len);
        let mut out = vec![0xa5; udp::HEADER_LEN];
        header.emit(&mut out, pseudo, payload.len(), Sum::of(payload));
        out.extend_from_slice(payload);
        let (again, again_len) = udp::Header::parse(&out).expect("what was written");
        assert_ne!(again.checksum, 0);
        assert_eq!(again_len, len);
        assert_eq!(pseudo.add(Sum::of(&out)).finish(), 0);
    }
}

/// A sum does not depend on how the bytes are cut.
fn sums(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (left, right) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let whole = Sum::of(bytes);
    let parts = if left.len() % 2 == 0 {
        Sum::of(left).add(Sum::of(right))
    } else {
        Sum::of(left).add_odd(Sum::of(right))
    };
    // Zero has two forms.
    let same = |a: Sum, b: Sum| {
        a == b
            || (a.finish() == 0 || a.finish() == 0xffff)
                && (b.finish() == 0 || b.finish() == 0xffff)
    };
    assert!(same(whole, parts), "{whole:?} {parts:?}");
    let mut copy = vec![0; bytes.len()];
    assert!(same(copy_and_sum(&mut copy, bytes), whole));
    assert_eq!(copy, bytes);
}
