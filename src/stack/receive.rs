//! A received frame: who it is from and for, and which part of the stack it
//! goes to.

use super::icmp::is_martian;
use super::iface::{Interface, Meta, Mode, Received};
use crate::frame::{PACKET_START, Packet, Pool};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::again::Again;
use crate::wire::chain::{Chain, parse_chain};
use crate::wire::ip::{self, Envelope, Parsed, parse_frame};
use crate::wire::run::{Head, Run};
use crate::wire::tcp::SeqNumber;
use crate::wire::{Error, Span, eth, ipv4, ipv6, tcp, udp};

/// The headers of the last segment or datagram that was admitted, and what they
/// meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    again: Again,
    meta: Meta,
}

const fn meta(envelope: &Envelope) -> Meta {
    Meta {
        src: envelope.src,
        dst: envelope.dst,
        src_mac: envelope.src_mac,
        ce: envelope.ecn == 3,
    }
}

impl Interface {
    /// Reads a frame that has the same headers below TCP as the last segment
    /// that was admitted, but for what differs from packet to packet.
    #[inline]
    pub(super) fn read_again(
        &mut self,
        pool: &Pool,
        packet: &Packet,
    ) -> Option<(tcp::Header, Span)> {
        let recent = self.recent.as_ref()?;
        let read = recent.again.read(pool.bytes(packet), self.verify)?;
        self.counters.frames_in += 1;
        Some(read)
    }

    /// The last segment that was admitted, whose headers are `head`, to be
    /// continued.
    #[inline]
    pub(super) fn run(&self, head: &Head) -> Option<Run> {
        Run::new(&self.recent.as_ref()?.again, head)
    }

    /// Whether `packet` is the segment of the run that begins at `seq`.
    #[inline]
    pub(super) fn goes_on(&self, pool: &Pool, run: &Run, packet: &Packet, seq: SeqNumber) -> bool {
        run.goes_on(pool.bytes(packet), seq, self.verify)
    }

    /// Counts segments of a run.
    #[inline]
    pub(super) const fn count_run(&mut self, segments: usize) {
        self.counters.frames_in += segments as u64;
    }

    /// Between whom the last segment that was admitted went.
    #[inline]
    pub(super) fn recent_meta(&self) -> Option<&Meta> {
        self.recent.as_ref().map(|recent| &recent.meta)
    }

    /// The same of a datagram.
    #[inline]
    pub(super) fn read_datagram_again(
        &mut self,
        pool: &Pool,
        packet: &Packet,
    ) -> Option<(Meta, udp::Header, Span)> {
        let recent = self.recent_datagram.as_ref()?;
        let (header, payload) = recent.again.read_udp(pool.bytes(packet), self.verify)?;
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
            let meta = meta(&envelope);
            let again = Again::of(pool.bytes(&packet), &envelope);
            self.recent = again.map(|again| Recent { again, meta });
            packet.slice(payload.range());
            return Received::Segment(meta, header, packet);
        }
        self.receive_other(now, pool, packet, parsed)
    }

    /// Takes a frame of several parts, the first of which begins with the
    /// Ethernet header. What is left of `parts` is the payload, if it is a
    /// segment for one of our addresses; otherwise nothing.
    pub(super) fn receive_chain(
        &mut self,
        pool: &mut Pool,
        parts: &mut Vec<Packet>,
    ) -> Option<(Meta, tcp::Header)> {
        self.counters.frames_in += 1;
        let admitted = self.read_chain(pool, parts);
        match admitted {
            Ok(Chain {
                envelope,
                header,
                payload,
            }) => {
                let mut at = 0;
                for packet in parts.iter_mut() {
                    let len = packet.len();
                    let from = payload.start().saturating_sub(at);
                    packet.slice(from..payload.end().saturating_sub(at));
                    packet.set_continues(false);
                    at += len;
                }
                Some((meta(&envelope), header))
            }
            Err(reason) => {
                self.drops.count(reason);
                for packet in parts.drain(..) {
                    pool.free(packet);
                }
                None
            }
        }
    }

    fn read_chain(&self, pool: &Pool, parts: &[Packet]) -> Result<Chain, DropReason> {
        let (head, rest) = parts.split_first().ok_or(DropReason::Truncated)?;
        let (head, rest) = (pool.bytes(head), rest.iter().map(|part| pool.bytes(part)));
        let chain = parse_chain(head, rest, self.verify)
            .map_err(|error| reason_of_chain(error, head))?
            .ok_or(DropReason::LongNotTcp)?;
        self.admit(&chain.envelope)?;
        Ok(chain)
    }

    fn receive_other(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        mut packet: Packet,
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
            Parsed::Udp {
                envelope,
                header,
                payload,
            } => {
                if let Err(reason) = self.admit(&envelope) {
                    return self.refuse(pool, packet, reason);
                }
                let meta = meta(&envelope);
                let again = Again::of(pool.bytes(&packet), &envelope);
                self.recent_datagram = again.map(|again| Recent { again, meta });
                packet.slice(payload.range());
                Received::Datagram(meta, header, packet)
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

/// The same for one of several parts, of which `head` is the first.
#[cold]
fn reason_of_chain(error: Error, head: &[u8]) -> DropReason {
    let Ok((ethernet, at)) = eth::Header::parse(head) else {
        return DropReason::Truncated;
    };
    let packet = head.get(at..).unwrap_or_default();
    match (ethernet.ethertype, error) {
        (_, Error::Truncated) => DropReason::Truncated,
        (eth::TYPE_IPV4, Error::Fragment) => DropReason::Ipv4Fragment,
        (eth::TYPE_IPV4, error) => match ipv4::Header::parse_start(packet, usize::MAX, true) {
            Ok(_) if error == Error::BadChecksum => DropReason::TcpChecksum,
            Ok(_) => DropReason::TcpMalformed,
            Err(Error::BadChecksum) => DropReason::Ipv4Checksum,
            Err(_) => DropReason::Ipv4Malformed,
        },
        (_, Error::Fragment) => DropReason::Ipv6Fragment,
        (_, Error::BadChecksum) => DropReason::TcpChecksum,
        (_, _) => match ipv6::Header::parse_start(packet, usize::MAX) {
            Ok(_) => DropReason::TcpMalformed,
            Err(_) => DropReason::Ipv6Malformed,
        },
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
