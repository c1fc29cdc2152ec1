//! Frames for tests.

use super::checksum::Sum;
use super::eth::Mac;
use super::ip::PROTOCOL_TCP;
use super::tcp;
use super::template::{Path, Template, fill_tcp_checksum};

/// Between two hosts of a network.
pub fn path(v6: bool) -> Path {
    let (src, dst) = if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
    };
    Path {
        src_mac: Mac([2, 0, 0, 0, 0, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0, 2]),
        vlan: None,
        src,
        dst,
        ttl: 64,
        tos: 0,
    }
}

/// A segment without options from port 1 to port 2.
pub fn tcp_frame(payload: &[u8], v6: bool, ident: u16, ecn: u8) -> Vec<u8> {
    let header = tcp::Header {
        src_port: 1,
        dst_port: 2,
        ..tcp::Header::default()
    };
    let marked = Path {
        tos: ecn,
        ..path(v6)
    };
    tcp_frame_of(&marked, &header, payload, ident)
}

/// A segment with any header.
pub fn tcp_frame_of(path: &Path, header: &tcp::Header, payload: &[u8], ident: u16) -> Vec<u8> {
    let t = Template::new(path, PROTOCOL_TCP).unwrap();
    let (at, len) = (t.len(), header.emit_len());
    let mut frame = vec![0; at + len];
    header.emit(&mut frame[at..]);
    frame.extend_from_slice(payload);
    let l4 = frame.len() - at;
    t.write(&mut frame[..at], l4, ident);
    let sum = Sum::of(payload);
    fill_tcp_checksum(&mut frame[at..at + len], t.pseudo_sum(l4), sum);
    frame
}
