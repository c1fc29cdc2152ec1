//! A received frame: who it is from and for, and which part of the stack it
//! goes to.

use super::icmp::is_martian;
use super::iface::{Interface, Meta, Mode, Received};
use crate::frame::{PACKET_START, Packet, Pool};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::again::Again;
use crate::wire::ip::{self, Envelope, Parsed, parse_frame};
use crate::wire::{Error, Span, eth, ipv4, ipv6, tcp};

/// The headers of the last segment that was admitted, and what they meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    again: Again,
    meta: Meta,
}

impl Interface {
    /// Reads a frame that has the same headers below TCP as the last segment
    /// that was admitted, but for what differs from packet to packet.
    #[inline]
    pub(super) fn read_again(
        &mut self,
        pool: &Pool,
        packet: &Packet,
    ) -> Option<(Meta, tcp::Header, Span)> {
        let recent = self.recent.as_ref()?;
        let (header, payload) = recent.again.read(pool.bytes(packet), self.verify)?;
        self.counters.frames_in += 1;
        Some((recent.meta, header, payload))
    }

    /// Takes a received frame, whose first byte is the Ethernet header's.
    #[inline]
    pub fn receive(&mut self, now: Instant, pool: &mut Pool, mut packet: Packet) -> Received {
        self.counters.frames_in += 1;
        let parsed = match parse_frame(pool.bytes(&packet), self.verify) {
            Ok(parsed) => parsed,
            Err(error) => {
                let reason = reason(error, pool.bytes(&packet));
                return self.refuse(pool, packet, reason);
            }
        };
        if let Parsed::Tcp {
            envelope,
            header,
            payload,
        } = parsed
        {
            if let Err(reason) = self.admit(&envelope) {
                return self.refuse(pool, packet, reason);
            }
            let meta = Meta {
                src: envelope.src,
                dst: envelope.dst,
                src_mac: envelope.src_mac,
                ce: envelope.ecn == 3,
            };
            let again = Again::of(pool.bytes(&packet), &envelope);
            self.recent = again.map(|again| Recent { again, meta });
            packet.slice(payload.range());
            return Received::Segment(meta, header, packet);
        }
        self.receive_other(now, pool, packet, parsed)
    }

    fn receive_other(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        parsed: Parsed,
    ) -> Received {
        match parsed {
            Parsed::Arp {
                ethernet,
                packet: arp,
            } => self.receive_arp(now, pool, packet, &ethernet, &arp),
            Parsed::Icmpv4 {
                envelope, message, ..
            } => match self.admit(&envelope) {
                Ok(()) => self.receive_icmpv4(now, pool, packet, &envelope, &message),
                Err(reason) => self.refuse(pool, packet, reason),
            },
            Parsed::Icmpv6 {
                envelope, message, ..
            } => self.receive_icmpv6(now, pool, packet, &envelope, &message),
            Parsed::Udp { envelope, .. } => {
                let refusal = self.admit(&envelope).err();
                self.refuse(pool, packet, refusal.unwrap_or(DropReason::UdpPortClosed))
            }
            Parsed::Tcp { .. } | Parsed::Other => {
                let reason = unknown(pool.bytes(&packet));
                self.refuse(pool, packet, reason)
            }
        }
    }

    /// Whether a packet is for us, and from somebody who can be.
    #[inline]
    pub(super) fn admit(&self, envelope: &Envelope) -> Result<(), DropReason> {
        if envelope.dst_mac != self.mac {
            return Err(DropReason::MacNotOurs);
        }
        if envelope.vlan != self.vlan {
            return Err(DropReason::VlanMismatch);
        }
        if !self.is_own(envelope.dst) {
            return Err(DropReason::AddressNotOurs);
        }
        let src = envelope.src;
        let strange = is_martian(src)
            || !envelope.src_mac.is_unicast()
            || self
                .addresses
                .iter()
                .any(|a| a.addr() == src || a.is_broadcast(src));
        if strange {
            return Err(DropReason::SourceInvalid);
        }
        Ok(())
    }

    /// Whether we answer for our addresses ourselves.
    pub(super) fn answers(&self) -> bool {
        self.mode == Mode::Own
    }
}

/// Moves the bytes of a received packet to where a transmitted one has to
/// begin. Nothing to do with drivers that leave the usual headroom.
pub(super) fn to_start(pool: &Pool, packet: &mut Packet) -> bool {
    let (start, len) = (packet.start(), packet.len());
    let Some(shift) = start.checked_sub(usize::from(PACKET_START)) else {
        return false;
    };
    if shift > 0 {
        packet.set_range(PACKET_START, (shift + len) as u16);
        pool.bytes_mut(packet).copy_within(shift.., 0);
        packet.truncate(len);
    }
    true
}

#[cold]
fn unknown(frame: &[u8]) -> DropReason {
    match eth::Header::parse(frame) {
        Ok((header, _)) if matches!(header.ethertype, eth::TYPE_IPV4 | eth::TYPE_IPV6) => {
            DropReason::ProtocolUnknown
        }
        _ => DropReason::EthertypeUnknown,
    }
}

/// Which counter a frame that could not be read belongs to.
#[cold]
fn reason(error: Error, frame: &[u8]) -> DropReason {
    let Ok((ethernet, at)) = eth::Header::parse(frame) else {
        return DropReason::Truncated;
    };
    let packet = frame.get(at..).unwrap_or_default();
    let protocol = match ethernet.ethertype {
        eth::TYPE_IPV4 => match ipv4::Header::parse(packet, true) {
            Ok((header, _)) => header.protocol,
            Err(Error::BadChecksum) => return DropReason::Ipv4Checksum,
            Err(Error::Fragment) => return DropReason::Ipv4Fragment,
            Err(Error::Truncated) => return DropReason::Truncated,
            Err(_) => return DropReason::Ipv4Malformed,
        },
        eth::TYPE_IPV6 => match ipv6::Header::parse(packet) {
            Ok((header, _)) => header.protocol,
            Err(Error::Fragment) => return DropReason::Ipv6Fragment,
            Err(Error::Truncated) => return DropReason::Truncated,
            Err(_) => return DropReason::Ipv6Malformed,
        },
        eth::TYPE_ARP if error == Error::Truncated => return DropReason::Truncated,
        eth::TYPE_ARP => return DropReason::ArpMalformed,
        _ => return DropReason::EthertypeUnknown,
    };
    match (protocol, error) {
        (ip::PROTOCOL_TCP, Error::BadChecksum) => DropReason::TcpChecksum,
        (ip::PROTOCOL_TCP, _) => DropReason::TcpMalformed,
        (ip::PROTOCOL_UDP, Error::BadChecksum) => DropReason::UdpChecksum,
        (ip::PROTOCOL_UDP, _) => DropReason::UdpMalformed,
        (_, Error::BadChecksum) => DropReason::IcmpChecksum,
        _ => DropReason::IcmpMalformed,
    }
}
