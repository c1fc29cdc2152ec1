//! ICMP errors that the peer, or a router before it, sends.

use super::super::ast::{Flags, Icmp, Packet};
use super::super::wire::{self, Ip, Tcp, ip_header, tcp_header};
use super::{DEFAULT_PORT, Result, Runner, Stop};

/// Bytes of the quoted payload: routers quote all that fits, or just eight
/// bytes of the header behind IP.
const QUOTED: usize = 64;

const V4_UNREACHABLE: [(&str, u8); 16] = [
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", 4),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("source_host_isolated", 8),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("net_unreachable_for_tos", 11),
    ("host_unreachable_for_tos", 12),
    ("communication_prohibited", 13),
    ("host_precedence_violation", 14),
    ("precedence_cutoff", 15),
];

const V6_UNREACHABLE: [(&str, u8); 6] = [
    ("no_route", 0),
    ("admin_prohibited", 1),
    ("not_neighbour", 2),
    ("addr_unreachable", 3),
    ("address_unreachable", 3),
    ("port_unreachable", 4),
];

/// Type and code of an error by their names.
pub fn numbers(icmp: &Icmp, v6: bool) -> Result<(u8, u8)> {
    let unknown = || Stop::Unsupported(format!("icmp {} {:?}", icmp.kind, icmp.code));
    let code = icmp.code.as_deref();
    let table: &[(&str, u8)] = match (icmp.kind.as_str(), v6) {
        ("unreachable", false) => &V4_UNREACHABLE,
        ("unreachable", true) => &V6_UNREACHABLE,
        ("packet_too_big", true) => return Ok((2, 0)),
        ("time_exceeded", v6) => return Ok((if v6 { 3 } else { 11 }, 0)),
        ("source_quench", false) => return Ok((4, 0)),
        ("parameter_problem", v6) => return Ok((if v6 { 4 } else { 12 }, 0)),
        _ => return Err(unknown()),
    };
    let found = table.iter().find(|(name, _)| Some(*name) == code);
    let (_, code) = found.ok_or_else(unknown)?;
    Ok((if v6 { 1 } else { 3 }, *code))
}

impl Runner<'_> {
    /// The message, which quotes a segment that the target has sent.
    pub(super) fn icmp(&mut self, packet: &Packet, icmp: &Icmp, ip: &Ip) -> Result<wire::Icmp> {
        let v6 = ip.src.is_ipv6();
        let (kind, code) = numbers(icmp, v6)?;
        if let Some(number) = packet.conn.filter(|n| self.conns.contains_key(n)) {
            self.current = Some(number);
        }
        let number = match self.current {
            Some(number) => number,
            None => self.begin(packet.conn, Some(DEFAULT_PORT)),
        };
        let conn = &self.conns[&number];
        let (seq, len) = match (icmp.quoted, conn.last_out) {
            (Some((seq, len)), _) => (seq.wrapping_add(conn.out_offset.unwrap_or(0)), len),
            (None, Some(last)) => last,
            (None, None) => (0, 0),
        };
        let quoted = Tcp {
            src_port: conn.local_port.unwrap_or(DEFAULT_PORT),
            dst_port: conn.remote_port,
            seq,
            ack: 0,
            flags: Flags::ACK,
            win: 0,
            urg: 0,
            options: Vec::new(),
            payload: Vec::new(),
        };
        let header = tcp_header(&quoted);
        let there = Ip {
            src: ip.dst,
            dst: ip.src,
            tos: 0,
            ttl: 64,
        };
        let mut data = ip_header(&there, 6, header.len() + len as usize);
        data.extend(header);
        data.extend(std::iter::repeat_n(0, QUOTED.min(len as usize)));
        Ok(wire::Icmp {
            kind,
            code,
            rest: icmp.mtu.unwrap_or(0),
            data,
        })
    }
}
