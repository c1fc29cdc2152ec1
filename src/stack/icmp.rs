//! ICMP and ICMPv6: pings answered, errors read.

use std::net::{IpAddr, SocketAddr};

use super::iface::{Interface, Received};
use super::pmtu;
use super::receive::to_start;
use crate::frame::{Packet, Pool};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::ip::{Envelope, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::quoted::Quoted;
use crate::wire::tcp::SeqNumber;
use crate::wire::{Span, icmpv4, icmpv6, ipv4, ipv6};

/// Time to live, or hop limit, of a ping's answer.
const REPLY_TTL: u8 = 64;

/// A router or a host reports that a packet of ours did not arrive.
///
/// The report is what somebody on the network claims. It names a flow; whoever
/// has the flow checks that what is quoted is in flight before believing it
/// (RFC 5927, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Our end of the quoted packet.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// What is quoted.
    pub about: About,
    /// What is said about it.
    pub kind: ReportKind,
}

/// Which packet of ours an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A TCP segment with this sequence number.
    Segment(SeqNumber),
    /// A packet of uTP: the connection id that it was sent with, and its
    /// sequence number.
    Packet {
        /// Connection id.
        id: u16,
        /// Sequence number.
        seq: u16,
    },
}

impl About {
    /// What is quoted, as far as the quote tells: of UDP that is as much as uTP
    /// needs, which all routers but the oldest send (RFC 1812, section
    /// 4.3.2.3).
    fn of(quoted: &Quoted) -> Option<Self> {
        const VERSION: u8 = 1;
        match (quoted.protocol, quoted.datagram) {
            (PROTOCOL_TCP, _) => Some(Self::Segment(quoted.seq)),
            (PROTOCOL_UDP, Some(d)) if d[0] & 15 == VERSION => Some(Self::Packet {
                id: u16::from_be_bytes([d[2], d[3]]),
                seq: u16::from_be_bytes([d[16], d[17]]),
            }),
            _ => None,
        }
    }
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// Larger than a link on the way takes: packets of up to `mtu` bytes, IP
    /// header included, get through. Believed: tell
    /// [`Interface::learn_path_mtu`](super::iface::Interface::learn_path_mtu).
    PathMtu {
        /// Bytes; floors and plateaus have been applied.
        mtu: u16,
    },
    /// Not delivered: host, network, port or protocol unreachable, or
    /// prohibited, or hop limit exceeded. A soft error for TCP (RFC 5461).
    Unreachable,
}

/// Whether nobody may send unicast from this address: broadcast, multicast,
/// loopback, unspecified, reserved.
#[must_use]
pub fn is_martian(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            first == 0 || first == 127 || first >= 224
        }
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.to_ipv4_mapped().is_some()
        }
    }
}

impl Interface {
    /// An ICMP message for one of our addresses.
    pub(super) fn receive_icmpv4(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        envelope: &Envelope,
        message: &icmpv4::Message,
    ) -> Received {
        use icmpv4::Message as M;
        let (quoted, kind) = match *message {
            M::Echo { reply: false, .. } => return self.answer_echo(now, pool, packet, envelope),
            M::Unreachable {
                code: icmpv4::CODE_FRAGMENTATION_NEEDED,
                mtu,
                quoted: Some(quoted),
            } => {
                let mtu = match mtu {
                    0 => pmtu::plateau(self.mtu_to(now, quoted.dst)),
                    mtu => mtu.max(pmtu::MIN_V4),
                };
                (quoted, ReportKind::PathMtu { mtu })
            }
            M::Unreachable {
                quoted: Some(quoted),
                ..
            } => (quoted, ReportKind::Unreachable),
            _ => return self.refuse(pool, packet, DropReason::IcmpIgnored),
        };
        self.report(pool, packet, &quoted, kind)
    }

    /// An ICMPv6 message; whether it is for us has not been looked at.
    pub(super) fn receive_icmpv6(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        envelope: &Envelope,
        message: &icmpv6::Message,
    ) -> Received {
        use icmpv6::Message as M;
        match *message {
            M::NeighborSolicitation { target, source_mac } if self.answers() => {
                return self.receive_solicitation(now, pool, packet, envelope, target, source_mac);
            }
            M::NeighborAdvertisement {
                target,
                target_mac,
                solicited,
                ..
            } if self.answers() => {
                let claim = (target, target_mac, solicited);
                return self.receive_advertisement(now, pool, packet, envelope, claim);
            }
            _ => {}
        }
        if let Err(reason) = self.admit(envelope) {
            return self.refuse(pool, packet, reason);
        }
        match *message {
            M::Echo { reply: false, .. } => self.answer_echo(now, pool, packet, envelope),
            M::PacketTooBig {
                mtu,
                quoted: Some(quoted),
            } => match u16::try_from(mtu).unwrap_or(u16::MAX) {
                // RFC 8201, section 4: nothing below is believed.
                ..pmtu::MIN_V6 => self.refuse(pool, packet, DropReason::IcmpIgnored),
                mtu => self.report(pool, packet, &quoted, ReportKind::PathMtu { mtu }),
            },
            M::Unreachable {
                quoted: Some(quoted),
                ..
            } => self.report(pool, packet, &quoted, ReportKind::Unreachable),
            _ => self.refuse(pool, packet, DropReason::IcmpIgnored),
        }
    }

    /// Passes an error about a packet of ours on.
    fn report(
        &mut self,
        pool: &mut Pool,
        packet: Packet,
        quoted: &Quoted,
        kind: ReportKind,
    ) -> Received {
        let larger = matches!(kind, ReportKind::PathMtu { mtu } if mtu >= self.mtu);
        let about = About::of(quoted).filter(|_| self.is_own(quoted.src) && !larger);
        let Some(about) = about else {
            return self.refuse(pool, packet, DropReason::IcmpIgnored);
        };
        pool.free(packet);
        Received::Report(Report {
            local: SocketAddr::new(quoted.src, quoted.src_port),
            remote: SocketAddr::new(quoted.dst, quoted.dst_port),
            about,
            kind,
        })
    }

    /// Turns a ping around where it lies.
    fn answer_echo(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        mut packet: Packet,
        envelope: &Envelope,
    ) -> Received {
        if !self.answers() {
            return self.refuse(pool, packet, DropReason::IcmpIgnored);
        }
        if !self.limits.echo.take(now) {
            return self.refuse(pool, packet, DropReason::RateLimited);
        }
        // Ethernet's padding is not sent back.
        packet.truncate(envelope.packet.end());
        if !to_start(pool, &mut packet)
            || turn_echo(pool.bytes_mut(&mut packet), envelope.packet).is_none()
        {
            return self.refuse(pool, packet, DropReason::IcmpIgnored);
        }
        self.counters.echo_replies += 1;
        self.counters.frames_out += 1;
        Received::Reply(pool.transmit(packet))
    }
}

/// Makes an echo request in a frame its reply; `None` when the IP header has
/// options or extensions, which no ping needs.
fn turn_echo(frame: &mut [u8], ip: Span) -> Option<()> {
    let (ethernet, packet) = frame.split_at_mut_checked(ip.start())?;
    let (dst, rest) = ethernet.split_at_mut_checked(6)?;
    dst.swap_with_slice(rest.get_mut(..6)?);
    let (header_len, request, reply) = match packet.first()? {
        0x45 => (ipv4::HEADER_LEN, [8, 0], [0, 0]),
        version if version >> 4 == 6 => (ipv6::HEADER_LEN, [128, 0], [129, 0]),
        _ => return None,
    };
    let (header, message) = packet.split_at_mut_checked(header_len)?;
    let message = message.first_chunk_mut::<{ icmpv4::HEADER_LEN }>()?;
    if message[..2] != request {
        return None;
    }
    if header_len == ipv4::HEADER_LEN {
        let (before, addresses) = header.split_at_mut(12);
        let (src, dst) = addresses.split_at_mut(4);
        src.swap_with_slice(dst);
        before[4..8].copy_from_slice(&[0; 4]); // no identification, no flags
        before[8] = REPLY_TTL;
        before[10..12].copy_from_slice(&[0; 2]);
        let checksum = Sum::of(header).finish();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        let (before, addresses) = header.split_at_mut(8);
        let (src, dst) = addresses.split_at_mut(16);
        src.swap_with_slice(dst);
        before[7] = REPLY_TTL;
    }
    // RFC 1624: the rest of what the checksum covers stands; swapped addresses
    // have the same sum.
    let checksum = Sum::word(!u16::from_be_bytes([message[2], message[3]]))
        .add(Sum::word(!u16::from_be_bytes(request)))
        .add(Sum::word(u16::from_be_bytes(reply)))
        .finish();
    // Of the two forms of zero, the one that also holds where every other
    // word is zero.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    message[..2].copy_from_slice(&reply);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}
