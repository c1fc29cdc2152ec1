//! Why a frame was dropped.

use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;
use std::ops::{AddAssign, Index, IndexMut};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// Why a frame that arrived, or one that was to leave, went no further.
        ///
        /// Each reason is one counter in [`DropCounters`]; its name is the one
        /// that reports and JSON show.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name of the reason's counter, in `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Shorter than its own headers say, at whatever layer.
    Truncated => "truncated",
    /// An Ethernet type that the stack does not speak.
    EthertypeUnknown => "ethertype_unknown",
    /// The destination MAC address is not ours.
    MacNotOurs => "mac_not_ours",
    /// Tagged with another VLAN than the interface's, or not tagged.
    VlanMismatch => "vlan_mismatch",
    /// An ARP packet that makes no sense.
    ArpMalformed => "arp_malformed",
    /// An IPv4 header that makes no sense.
    Ipv4Malformed => "ipv4_malformed",
    /// The IPv4 header checksum is wrong.
    Ipv4Checksum => "ipv4_checksum",
    /// An IPv4 fragment: fragments are not reassembled.
    Ipv4Fragment => "ipv4_fragment",
    /// An IPv6 header, or a chain of extension headers, that makes no sense.
    Ipv6Malformed => "ipv6_malformed",
    /// An IPv6 fragment: fragments are not reassembled.
    Ipv6Fragment => "ipv6_fragment",
    /// A source address that no host may send from.
    SourceInvalid => "source_invalid",
    /// The destination IP address is not ours.
    AddressNotOurs => "address_not_ours",
    /// An IP protocol that nobody here speaks.
    ProtocolUnknown => "protocol_unknown",
    /// An ICMP or ICMPv6 message that makes no sense.
    IcmpMalformed => "icmp_malformed",
    /// The ICMP or ICMPv6 checksum is wrong.
    IcmpChecksum => "icmp_checksum",
    /// An ICMP message of a type that nothing is done with.
    IcmpIgnored => "icmp_ignored",
    /// A UDP header that makes no sense.
    UdpMalformed => "udp_malformed",
    /// The UDP checksum is wrong.
    UdpChecksum => "udp_checksum",
    /// A UDP port that nobody listens on.
    UdpPortClosed => "udp_port_closed",
    /// A datagram to a port of uTP that is none of it: its header makes no
    /// sense, or is of another version.
    UtpMalformed => "utp_malformed",
    /// A packet of uTP for a connection that does not exist, or a SYN that
    /// nobody listens for.
    UtpNoConnection => "utp_no_connection",
    /// A SYN of uTP whose connection id another connection with the same ends
    /// has.
    UtpIdInUse => "utp_id_in_use",
    /// A SYN of uTP from an address that has as many half-open connections as
    /// it may.
    UtpAddressFull => "utp_address_full",
    /// A SYN of uTP that the application did not want.
    UtpRefused => "utp_refused",
    /// A TCP header or option list that makes no sense.
    TcpMalformed => "tcp_malformed",
    /// The TCP checksum is wrong.
    TcpChecksum => "tcp_checksum",
    /// A frame of several chunks that is not a TCP segment.
    LongNotTcp => "long_not_tcp",
    /// A segment for a TCP port or connection that does not exist.
    TcpPortClosed => "tcp_port_closed",
    /// A segment outside the receive window (RFC 9293 3.10.7.4).
    TcpOutOfWindow => "tcp_out_of_window",
    /// A segment with a timestamp older than the last (RFC 7323 PAWS).
    TcpPaws => "tcp_paws",
    /// A segment whose acknowledgement cannot be right.
    TcpAckInvalid => "tcp_ack_invalid",
    /// A payload that was received already.
    TcpDuplicate => "tcp_duplicate",
    /// A segment whose flags are not allowed in the connection's state.
    TcpFlagsInvalid => "tcp_flags_invalid",
    /// A SYN for a listener that takes no more and sends no cookies.
    TcpBacklogFull => "tcp_backlog_full",
    /// An acknowledgement of a SYN cookie that we did not make.
    TcpCookieInvalid => "tcp_cookie_invalid",
    /// The flow table takes no more connections.
    FlowTableFull => "flow_table_full",
    /// A connection holds as many out-of-order segments as it may.
    ReorderFull => "reorder_full",
    /// A payload that the pool cannot keep until others have been read.
    UnreadFull => "unread_full",
    /// No route to the destination.
    NoRoute => "no_route",
    /// The next hop did not answer.
    NeighbourUnresolved => "neighbour_unresolved",
    /// Too many frames wait for the next hop's address.
    NeighbourQueueFull => "neighbour_queue_full",
    /// Larger than the interface sends.
    TooLarge => "too_large",
    /// No free frame in the pool.
    PoolEmpty => "pool_empty",
    /// The transmit ring was full and the frame is not worth keeping.
    TxRingFull => "tx_ring_full",
    /// A reply that is limited by rate, such as a challenge ack or a reset.
    RateLimited => "rate_limited",
    /// A frame of another engine's flow, whose mailbox was full.
    HandoverFull => "handover_full",
    /// The steering program passed a frame that nobody claims.
    Unclaimed => "unclaimed",
    /// Lost on purpose by the fault wrapper.
    FaultLoss => "fault_loss",
    /// The queue of the fault wrapper's rate limit or delay was full.
    FaultQueueFull => "fault_queue_full",
}

/// One counter for each [`DropReason`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts one frame.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self[reason] += 1;
    }

    /// All frames dropped, for whatever reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred and how often, the commonest first.
    #[must_use]
    pub fn occurred(&self) -> Vec<(DropReason, u64)> {
        let mut list: Vec<_> = DropReason::ALL
            .iter()
            .map(|&r| (r, self[r]))
            .filter(|&(_, n)| n > 0)
            .collect();
        list.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        list
    }
}

impl Index<DropReason> for DropCounters {
    type Output = u64;
    #[inline]
    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason as usize]
    }
}

impl IndexMut<DropReason> for DropCounters {
    #[inline]
    fn index_mut(&mut self, reason: DropReason) -> &mut u64 {
        &mut self.0[reason as usize]
    }
}

impl AddAssign<&Self> for DropCounters {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl Serialize for DropCounters {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(DropReason::ALL.len()))?;
        for &reason in DropReason::ALL {
            map.serialize_entry(reason.name(), &self[reason])?;
        }
        map.end()
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut counters = DropCounters::default();
        let mut names = HashSet::new();
        for (n, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, n);
            assert!(names.insert(reason.name()), "{reason} twice");
            counters.count(reason);
            counters[reason] += n as u64;
        }
        for (n, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(counters[reason], 1 + n as u64);
        }
        let n = DropReason::ALL.len() as u64;
        assert_eq!(counters.total(), n + n * (n - 1) / 2);
        assert_eq!(
            counters.occurred()[0],
            (*DropReason::ALL.last().unwrap(), n)
        );
    }

    #[test]
    fn sums_and_json_name_each_reason() {
        let mut a = DropCounters::default();
        a.count(DropReason::TcpChecksum);
        let mut b = a.clone();
        b += &a;
        assert_eq!(b[DropReason::TcpChecksum], 2);
        let json = serde_json::to_value(&b).unwrap();
        assert_eq!(json["tcp_checksum"], 2);
        assert_eq!(json.as_object().unwrap().len(), DropReason::ALL.len());
    }
}
