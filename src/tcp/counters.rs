//! What happened to a connection, in numbers.

/// What happened to a connection. In brackets: what `tcp_info` of Linux calls
/// it, where it has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Segments sent, retransmissions included (`segs_out`).
    pub segments_sent: u64,
    /// Segments received (`segs_in`).
    pub segments_received: u64,
    /// Segments sent that carried payload (`data_segs_out`).
    pub data_segments_sent: u64,
    /// Segments received that carried payload (`data_segs_in`).
    pub data_segments_received: u64,
    /// Payload bytes sent, retransmissions included (`bytes_sent`).
    pub bytes_sent: u64,
    /// Payload bytes sent again (`bytes_retrans`).
    pub bytes_retransmitted: u64,
    /// Payload bytes acknowledged by the peer (`bytes_acked`).
    pub bytes_acked: u64,
    /// Payload bytes received in order (`bytes_received`).
    pub bytes_received: u64,
    /// Segments delivered, SYN and FIN included: acknowledged cumulatively or
    /// selectively for the first time (`delivered`).
    pub delivered: u64,
    /// Of those, by acknowledgements with ECE (`delivered_ce`).
    pub delivered_ce: u64,
    /// Segments received with a congestion mark and payload.
    pub marks_received: u64,
    /// Reductions of the window that congestion marks caused.
    pub mark_reductions: u64,
    /// Segments sent again (`total_retrans`).
    pub retransmits: u64,
    /// Of those, in fast recovery.
    pub fast_retransmits: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Fast recoveries.
    pub recoveries: u64,
    /// Recoveries and time-outs found to have been mistaken.
    pub undone: u64,
    /// Tail loss probes.
    pub probes: u64,
    /// Segments sent to find out what size the path takes (RFC 8899).
    pub mtu_probes: u64,
    /// Times that large segments seemed to vanish.
    pub black_holes: u64,
    /// Zero-window probes.
    pub window_probes: u64,
    /// Keepalive probes.
    pub keepalives: u64,
    /// Duplicates that the peer reported (RFC 2883; `dsack_dups`).
    pub dsacks: u64,
    /// Segments that arrived out of order (`rcv_ooopack`).
    pub out_of_order: u64,
    /// Segments, or parts of them, that had arrived before.
    pub duplicates: u64,
    /// Segments refused by the timestamp check (RFC 7323 section 5).
    pub paws: u64,
    /// Challenge acknowledgements (RFC 5961).
    pub challenges: u64,
    /// Segments in the window whose payload was dropped, since other payload
    /// that waits to be read has the frames (`TCPRcvQDrop`).
    pub no_room: u64,
}

/// The same as a connection keeps it. What every stream counts stands here;
/// the rest has memory only once something of it has happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub segments_sent: u64,
    pub segments_received: u64,
    pub data_segments_sent: u64,
    pub data_segments_received: u64,
    pub bytes_sent: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub delivered: u64,
    rare: Option<Box<Counters>>,
}

impl Tally {
    /// What does not happen in every stream, to be counted.
    #[cold]
    pub fn rare(&mut self) -> &mut Counters {
        self.rare.get_or_insert_default()
    }

    /// All of it.
    pub fn total(&self) -> Counters {
        Counters {
            segments_sent: self.segments_sent,
            segments_received: self.segments_received,
            data_segments_sent: self.data_segments_sent,
            data_segments_received: self.data_segments_received,
            bytes_sent: self.bytes_sent,
            bytes_acked: self.bytes_acked,
            bytes_received: self.bytes_received,
            delivered: self.delivered,
            ..self.rare.as_deref().copied().unwrap_or_default()
        }
    }
}
