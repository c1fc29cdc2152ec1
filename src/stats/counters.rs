//! The counters of each layer. All are plain and monotonic unless a comment
//! calls one a level.

use serde::Serialize;
use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)+
        }

        impl $name {
            /// Each counter's name and value.
            #[must_use]
            pub fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)+]
            }
        }

        impl AddAssign<&Self> for $name {
            fn add_assign(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)+
            }
        }
    )+};
}

counters! {
    /// What a link moved.
    LinkCounters {
        /// Frames received.
        rx_frames,
        /// Bytes received, Ethernet header included, checksum (FCS) not.
        rx_bytes,
        /// Bursts in which at least one frame was received.
        rx_bursts,
        /// Frames of several chunks of which a part is missing, or that are
        /// longer than any packet: dropped.
        rx_oversize,
        /// Chunks given to the transmit ring: a frame is one, or several if it
        /// is longer than a chunk.
        tx_frames,
        /// Bytes given to the transmit ring, counted as for `rx_bytes`.
        tx_bytes,
        /// Chunks that the kernel has finished sending.
        tx_completed,
        /// System calls made to start transmission.
        tx_kicks,
        /// Times that the transmit ring had no room for all that was to leave.
        tx_ring_full,
        /// Times that completions did not come within their bound.
        tx_stalled,
        /// Frames given to the fill ring.
        fill_frames,
        /// System calls made to make the kernel look at the fill ring.
        fill_kicks,
        /// Times that the pool had no frame for the fill ring.
        fill_starved,
        /// Times that the link slept until a frame or a deadline came.
        sleeps,
        /// Errors that the device reported.
        device_errors,
    }

    /// The kernel's own statistics of an AF_XDP socket (`XDP_STATISTICS`).
    KernelCounters {
        /// Frames dropped for other reasons than those below.
        rx_dropped,
        /// Descriptors on the fill ring that the kernel refused.
        rx_invalid_descs,
        /// Descriptors on the transmit ring that the kernel refused.
        tx_invalid_descs,
        /// Frames dropped since the receive ring was full.
        rx_ring_full,
        /// Times that the fill ring was empty when a frame came.
        rx_fill_ring_empty_descs,
        /// Times that the transmit ring was empty when the kernel looked.
        tx_ring_empty_descs,
    }

    /// What the steering program decided. Each frame counts once.
    SteeringCounters {
        /// Claimed, and given to the socket of its queue.
        redirected,
        /// ICMP errors that quote a packet of ours, given to the socket.
        redirected_icmp_errors,
        /// ARP and neighbour solicitations for an own address, given to the
        /// socket.
        redirected_neighbour,
        /// Not claimed: left to the kernel.
        passed_not_ours,
        /// Claimed, but no socket was bound to the queue: left to the kernel.
        passed_no_socket,
        /// IP fragments that are not known to be ours: left to the kernel.
        passed_fragments,
        /// Headers cut short or contradictory: left to the kernel.
        passed_malformed,
        /// First fragments for a claimed port, dropped: the kernel would
        /// reassemble them and reset a connection it does not know.
        dropped_fragments,
    }

    /// The engine's loop.
    EngineCounters {
        /// Turns of the loop.
        turns,
        /// Turns in which there was nothing to do.
        idle_turns,
        /// Timers that came due.
        timers,
        /// Messages taken from other threads.
        messages_in,
        /// Messages given to other threads.
        messages_out,
        /// Messages not given since the other side's mailbox was full.
        mailbox_full,
        /// Frames handed to another engine, whose flow they are.
        handed_over,
    }

    /// Addresses, neighbours and everything below the transports.
    StackCounters {
        /// Ethernet frames looked at.
        frames_in,
        /// Ethernet frames built.
        frames_out,
        /// ARP requests answered.
        arp_replies,
        /// ARP requests sent.
        arp_requests,
        /// Neighbour solicitations answered.
        neighbour_advertisements,
        /// Neighbour solicitations sent.
        neighbour_solicitations,
        /// Pings answered.
        echo_replies,
        /// Resets sent to segments and packets of no connection.
        resets_stray,
        /// Level: entries of the neighbour table.
        neighbours,
        /// Level: connections in the flow table.
        connections,
    }

    /// The TCP machines of one engine together.
    TcpCounters {
        /// Connections opened by us and established.
        connected,
        /// Connections opened by the peer and established.
        accepted,
        /// Connections that ended, for whatever reason.
        closed,
        /// Connections that were reset by the peer.
        resets_received,
        /// Connections that we reset.
        resets_sent,
        /// Connections given up after a timeout.
        timed_out,
        /// Segments received.
        segments_in,
        /// Segments sent, retransmissions included.
        segments_out,
        /// Payload bytes received in order.
        bytes_in,
        /// Payload bytes acknowledged by the peer.
        bytes_acked,
        /// Segments sent again.
        retransmits,
        /// Segments sent again by loss detection before a timeout.
        fast_retransmits,
        /// Retransmission timeouts.
        timeouts,
        /// Tail loss probes.
        tail_loss_probes,
        /// Retransmissions that turned out to be needless (DSACK, F-RTO).
        spurious,
        /// Segments received with a congestion mark (RFC 3168).
        marks_in,
        /// Reductions of a congestion window that marks caused.
        mark_reductions,
        /// Segments received out of order.
        out_of_order,
        /// Segments received that held nothing new.
        duplicates,
        /// Challenge acks sent (RFC 5961).
        challenge_acks,
        /// Zero-window probes sent.
        window_probes,
        /// Keepalive probes sent.
        keepalives,
        /// SYN cookies sent.
        cookies_sent,
        /// Connections established from a SYN cookie.
        cookies_accepted,
        /// Payload bytes that the engine copied: from the application into
        /// frames, or between frames when small payloads are compacted.
        payload_bytes_copied,
    }

    /// The uTP machines of one engine together.
    UtpCounters {
        /// Connections opened by us and established.
        connected,
        /// Connections opened by the peer and established.
        accepted,
        /// Connections that ended, for whatever reason.
        closed,
        /// Connections that were reset by the peer.
        resets_received,
        /// Connections that we reset.
        resets_sent,
        /// Connections given up after a timeout, half-open ones included.
        timed_out,
        /// Half-open connections that made way for newer ones.
        displaced,
        /// Packets received.
        packets_in,
        /// Packets sent, retransmissions included.
        packets_out,
        /// Payload bytes received in order.
        bytes_in,
        /// Payload bytes acknowledged by the peer.
        bytes_acked,
        /// Packets sent again.
        retransmits,
        /// Packets sent again that selective acknowledgements show as lost.
        fast_retransmits,
        /// Retransmission timeouts.
        timeouts,
        /// Packets sent to find out what size the path takes.
        mtu_probes,
        /// Times that large packets seemed to vanish.
        black_holes,
        /// Packets sent into a window that was too small.
        window_probes,
        /// Keepalives sent.
        keepalives,
        /// Packets received out of order.
        out_of_order,
        /// Packets received that had arrived before.
        duplicates,
        /// Packets too far ahead, or behind the end of the peer's stream.
        out_of_window,
        /// Packets whose acknowledgement was not believed.
        bad_acks,
        /// Resets that were not believed.
        bad_resets,
    }

    /// Levels: the frame ledger of one engine.
    FrameCounters {
        /// Chunks of the UMEM.
        total,
        /// Free in the pool.
        pool,
        /// On the fill ring: the kernel's.
        fill,
        /// Held by the engine: received and not yet freed.
        engine,
        /// Of those: with payload that the application has not read, or has
        /// taken and not given back.
        unread,
        /// On the transmit ring only: the kernel's.
        tx,
        /// In a send queue only.
        send_queue,
        /// In a send queue and on the transmit ring at once.
        tx_and_send_queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_and_fields_are_named() {
        let mut a = LinkCounters {
            rx_frames: 3,
            rx_bytes: u64::MAX,
            ..Default::default()
        };
        a += &LinkCounters {
            rx_frames: 4,
            rx_bytes: 1,
            ..Default::default()
        };
        assert_eq!((a.rx_frames, a.rx_bytes), (7, u64::MAX));
        assert!(a.fields().contains(&("rx_frames", 7)));
    }
}
