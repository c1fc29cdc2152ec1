//! What happened to a connection, in numbers.

/// What happened to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent, retransmissions included.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Packets sent that carried payload.
    pub data_packets_sent: u64,
    /// Packets received that carried payload.
    pub data_packets_received: u64,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// Payload bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Payload bytes received in order.
    pub bytes_received: u64,
    /// Packets delivered: acknowledged cumulatively or selectively for the
    /// first time.
    pub delivered: u64,
    /// Packets sent again.
    pub retransmits: u64,
    /// Of those, found lost by selective acknowledgements.
    pub fast_retransmits: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Packets sent since nothing was heard of those that were out.
    pub tail_probes: u64,
    /// Losses that made the window smaller.
    pub recoveries: u64,
    /// Packets sent to find out what size the path takes.
    pub mtu_probes: u64,
    /// Times that large packets seemed to vanish.
    pub black_holes: u64,
    /// Packets sent into a window that was too small.
    pub window_probes: u64,
    /// Keepalives.
    pub keepalives: u64,
    /// Packets that arrived out of order.
    pub out_of_order: u64,
    /// Packets that had arrived before.
    pub duplicates: u64,
    /// Acknowledgements repeated since nothing came after them.
    pub repeated_acks: u64,
    /// Packets too far ahead, or behind the end of the peer's stream.
    pub out_of_window: u64,
    /// Packets whose acknowledgement was not believed: of what was never
    /// sent, or from long ago.
    pub bad_acks: u64,
    /// Resets that were not believed.
    pub bad_resets: u64,
    /// Acknowledgements in answer to what was not believed.
    pub challenges: u64,
    /// Payloads dropped since other payload that waits to be read has the
    /// frames.
    pub no_room: u64,
}
