//! Whole frames, written out by hand, and everything that can be wrong in them.

mod datagrams;
mod headers;
mod icmp;
mod random;
mod segments;

use super::*;
use crate::wire::icmpv6::solicited_node;
use crate::wire::quoted::Quoted;
use crate::wire::tcp::{Flags, SeqNumber, Timestamps};
use crate::wire::template::{Path, Template, fill_tcp_checksum};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

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
