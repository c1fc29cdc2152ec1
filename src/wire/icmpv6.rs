//! ICMPv6 (RFC 4443) and the neighbour discovery messages of a host
//! (RFC 4861).

use std::net::Ipv6Addr;

use super::checksum::{self, Sum};
use super::eth::Mac;
use super::quoted::Quoted;
use super::{Error, Span, array, ip, ipv6};

/// Length of a header, in bytes; the message's data follows.
pub const HEADER_LEN: usize = 8;

/// Code of destination unreachable: nobody listens on the port.
pub const CODE_PORT_UNREACHABLE: u8 = 4;

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Length of a neighbour message without options, in bytes.
const NEIGHBOR_LEN: usize = HEADER_LEN + 16;

/// An ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Echo; the reply repeats identifier, number and data.
    Echo {
        /// Reply, not request.
        reply: bool,
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// Destination unreachable.
    Unreachable {
        /// Why: RFC 4443, section 3.1.
        code: u8,
        /// The packet that did not arrive, when it was TCP or UDP.
        quoted: Option<Quoted>,
    },
    /// The packet is larger than the next link's MTU.
    PacketTooBig {
        /// That MTU in bytes, as on the wire: it may be any value.
        mtu: u32,
        /// The packet that did not arrive, when it was TCP or UDP.
        quoted: Option<Quoted>,
    },
    /// Who has the target address?
    NeighborSolicitation {
        /// The address asked for: not multicast.
        target: Ipv6Addr,
        /// Ethernet address of who asks; none when it probes for a duplicate
        /// address, and then the source is unspecified.
        source_mac: Option<Mac>,
    },
    /// The target address is here.
    NeighborAdvertisement {
        /// The address: not multicast.
        target: Ipv6Addr,
        /// Its Ethernet address.
        target_mac: Option<Mac>,
        /// The sender is a router.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It overrides what the cache has.
        overrides: bool,
    },
    /// Anything else, router advertisements among it.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

impl Message {
    /// Reads the message behind the header `ip`; its data (what an echo
    /// carries, what an error quotes) is where the span says. With `verify` the
    /// checksum is checked.
    ///
    /// # Errors
    /// `Truncated`, `BadChecksum`, `BadNeighborDiscovery`.
    pub fn parse(ip: &ipv6::Header, bytes: &[u8], verify: bool) -> Result<(Message, Span), Error> {
        let &[kind, code, _, _, a, b, c, d] = bytes.first_chunk().ok_or(Error::Truncated)?;
        if verify
            && pseudo(ip.src, ip.dst, bytes.len())
                .add(Sum::of(bytes))
                .finish()
                != 0
        {
            return Err(Error::BadChecksum);
        }
        let data = &bytes[HEADER_LEN..];
        let message = match (kind, code) {
            (ECHO_REQUEST | ECHO_REPLY, 0) => Message::Echo {
                reply: kind == ECHO_REPLY,
                ident: u16::from_be_bytes([a, b]),
                seq: u16::from_be_bytes([c, d]),
            },
            (UNREACHABLE, _) => Message::Unreachable {
                code,
                quoted: Quoted::parse_v6(data),
            },
            (PACKET_TOO_BIG, _) => Message::PacketTooBig {
                mtu: u32::from_be_bytes([a, b, c, d]),
                quoted: Quoted::parse_v6(data),
            },
            (NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT, _) => {
                neighbor(ip, kind, code, a, data).ok_or(Error::BadNeighborDiscovery)?
            }
            _ => Message::Other { kind, code },
        };
        Ok((message, Span::new(HEADER_LEN, bytes.len())))
    }

    /// Bytes that [`emit`](Self::emit) writes with `data_len` bytes of data.
    pub fn emit_len(&self, data_len: usize) -> usize {
        match self {
            Message::NeighborSolicitation {
                source_mac: mac, ..
            }
            | Message::NeighborAdvertisement {
                target_mac: mac, ..
            } => NEIGHBOR_LEN + if mac.is_some() { 8 } else { 0 },
            _ => HEADER_LEN + data_len,
        }
    }

    /// Writes the message from `src` to `dst`, checksum included, and returns
    /// its length. `data` is what an echo carries, or the packet that an error
    /// quotes from its IP header on (`quoted` is not used); neighbour messages
    /// have none.
    ///
    /// # Panics
    /// When `out` is shorter than [`emit_len`](Self::emit_len).
    pub fn emit(&self, out: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, data: &[u8]) -> usize {
        let len = self.emit_len(data.len());
        let out = &mut out[..len];
        let pair = |ident: u16, seq: u16| u32::from(ident) << 16 | u32::from(seq);
        let flag = |set, bit: u8| if set { u32::from(bit) << 24 } else { 0 };
        let (kind, code, word) = match *self {
            Message::Echo { reply, ident, seq } => {
                let kind = if reply { ECHO_REPLY } else { ECHO_REQUEST };
                (kind, 0, pair(ident, seq))
            }
            Message::Unreachable { code, .. } => (UNREACHABLE, code, 0),
            Message::PacketTooBig { mtu, .. } => (PACKET_TOO_BIG, 0, mtu),
            Message::NeighborSolicitation { .. } => (NEIGHBOR_SOLICITATION, 0, 0),
            Message::NeighborAdvertisement {
                router,
                solicited,
                overrides,
                ..
            } => {
                let flags =
                    flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (NEIGHBOR_ADVERTISEMENT, 0, flags)
            }
            Message::Other { kind, code } => (kind, code, 0),
        };
        out[0..4].copy_from_slice(&[kind, code, 0, 0]);
        out[4..8].copy_from_slice(&word.to_be_bytes());
        match *self {
            Message::NeighborSolicitation { target, source_mac } => {
                emit_neighbor(out, target, OPTION_SOURCE_MAC, source_mac);
            }
            Message::NeighborAdvertisement {
                target, target_mac, ..
            } => emit_neighbor(out, target, OPTION_TARGET_MAC, target_mac),
            _ => out[HEADER_LEN..].copy_from_slice(data),
        }
        let checksum = pseudo(src, dst, len).add(Sum::of(out)).finish();
        out[2..4].copy_from_slice(&checksum.to_be_bytes());
        len
    }
}

/// The solicited-node multicast address of `target` (RFC 4291, section 2.7.1).
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    let (a, low) = (u16::from(a), u16::from_be_bytes([b, c]));
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a, low)
}

fn pseudo(src: Ipv6Addr, dst: Ipv6Addr, len: usize) -> Sum {
    checksum::pseudo_header(src.into(), dst.into(), ip::PROTOCOL_ICMPV6, len)
}

/// Reads a neighbour message under the rules of RFC 4861, sections 7.1.1 and
/// 7.1.2; `None` when one is broken.
fn neighbor(ip: &ipv6::Header, kind: u8, code: u8, flags: u8, data: &[u8]) -> Option<Message> {
    let target = Ipv6Addr::from(array::<16>(data, 0)?);
    // A hop limit of 255 shows that no router passed it on.
    if ip.hop_limit != 255 || code != 0 || target.is_multicast() {
        return None;
    }
    let options = data.get(16..)?;
    if kind == NEIGHBOR_SOLICITATION {
        let source_mac = find_mac(options, OPTION_SOURCE_MAC)?;
        if ip.src.is_unspecified() && (source_mac.is_some() || ip.dst != solicited_node(target)) {
            return None;
        }
        return Some(Message::NeighborSolicitation { target, source_mac });
    }
    let solicited = flags & SOLICITED != 0;
    if solicited && ip.dst.is_multicast() {
        return None;
    }
    Some(Message::NeighborAdvertisement {
        target,
        target_mac: find_mac(options, OPTION_TARGET_MAC)?,
        router: flags & ROUTER != 0,
        solicited,
        overrides: flags & OVERRIDE != 0,
    })
}

/// The Ethernet address in the option `wanted`, if it is there and one
/// station's. `None` when the options are malformed.
fn find_mac(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while !options.is_empty() {
        let [kind, units] = array(options, 0)?;
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        // A length of zero would never end.
        let [_, _, mac @ ..] = array::<8>(option, 0)?;
        if kind == wanted && units == 1 && found.is_none() {
            found = Some(Mac(mac)).filter(|mac| mac.is_unicast());
        }
        options = rest;
    }
    Some(found)
}

fn emit_neighbor(out: &mut [u8], target: Ipv6Addr, option: u8, mac: Option<Mac>) {
    out[HEADER_LEN..NEIGHBOR_LEN].copy_from_slice(&target.octets());
    if let Some(mac) = mac {
        out[NEIGHBOR_LEN..NEIGHBOR_LEN + 2].copy_from_slice(&[option, 1]);
        out[NEIGHBOR_LEN + 2..NEIGHBOR_LEN + 8].copy_from_slice(&mac.0);
    }
}
