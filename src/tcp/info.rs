//! A look into a connection, in the spirit of Linux's `tcp_info`.

use std::time::Duration;

use super::{Connection, Counters, State};

/// How congestion control stands, in the words of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CaState {
    /// All is well.
    Open,
    /// Something arrived out of order; whether it is a loss shows soon.
    Disorder,
    /// The window goes down after a congestion mark (RFC 3168).
    Cwr,
    /// Fast recovery.
    Recovery,
    /// After a time-out.
    Loss,
}

/// A snapshot of a connection. In brackets: what `tcp_info` of Linux calls it,
/// where that is another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// State.
    pub state: State,
    /// How congestion control stands.
    pub ca_state: CaState,
    /// Consecutive retransmission time-outs.
    pub retransmits: u8,
    /// Zero-window and keepalive probes without effect.
    pub probes: u8,
    /// Times that the retransmission time-out has been doubled.
    pub backoff: u8,
    /// Segments sent and not acknowledged cumulatively.
    pub unacked: u32,
    /// Of those, acknowledged selectively; without SACK, duplicate
    /// acknowledgements.
    pub sacked: u32,
    /// Of those, taken for lost.
    pub lost: u32,
    /// Of those, sent again and not found lost since (`retrans`).
    pub retrans_out: u32,
    /// Segments delivered after one that was sent later.
    pub reord_seen: u32,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow-start threshold in bytes.
    pub ssthresh: u32,
    /// Bytes in flight (RFC 6675 pipe).
    pub in_flight: u32,
    /// Bytes that the peer's window allows beyond SND.UNA.
    pub snd_wnd: u32,
    /// Bytes that we allow the peer beyond RCV.NXT.
    pub rcv_wnd: u32,
    /// Largest payload sent, in bytes.
    pub snd_mss: u16,
    /// Largest payload received, in bytes; 536 before any.
    pub rcv_mss: u16,
    /// Largest payload that we have told the peer to send, options included.
    pub advmss: u16,
    /// Largest IP packet that the path is believed to take.
    pub pmtu: u16,
    /// Smoothed round-trip time, once measured.
    pub srtt: Option<Duration>,
    /// Its mean deviation.
    pub rttvar: Duration,
    /// Smallest recent round-trip time, once measured.
    pub min_rtt: Option<Duration>,
    /// Retransmission time-out, back-off included.
    pub rto: Duration,
    /// Bytes queued to be sent or acknowledged.
    pub send_queue: u32,
    /// Bytes that wait for the application.
    pub recv_queue: usize,
    /// Bytes and packets that wait out of order.
    pub early: (usize, usize),
    /// Whether timestamps are in use.
    pub timestamps: bool,
    /// Whether selective acknowledgements are in use.
    pub sack: bool,
    /// Whether congestion marks are in use.
    pub ecn: bool,
    /// Whether windows are scaled.
    pub scaling: bool,
    /// Shifts of the peer's window field and of ours; zero without scaling
    /// (`snd_wscale`, `rcv_wscale`).
    pub window_shifts: (u8, u8),
    /// Whether a loss is being repaired.
    pub recovering: bool,
    /// What happened so far: `total_retrans`, `delivered`, `bytes_acked` and
    /// the like.
    pub counters: Counters,
}

impl Connection {
    /// A snapshot. Looks at every segment in flight: not for each packet.
    #[must_use]
    pub fn info(&self) -> Info {
        Info {
            state: self.state,
            ca_state: self.recovery.ca_state(self.snd.sacked() > 0),
            retransmits: if self.probes > 0 { 0 } else { self.timeouts },
            probes: self.probes.saturating_add(self.keepalives),
            backoff: self.rtt.backoff(),
            unacked: self.snd.sent_count() as u32,
            sacked: if self.sack {
                self.snd.count_sent(|s| s.sacked)
            } else {
                self.recovery.dup_acks()
            },
            lost: self.snd.count_sent(|s| s.lost),
            retrans_out: self.snd.count_sent(|s| s.retransmitted),
            reord_seen: self.rack.reorderings,
            cwnd: self.cc.cwnd(),
            ssthresh: self.cc.ssthresh(),
            in_flight: self.in_flight(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.window(),
            snd_mss: self.snd.mss.max(self.snd.wire),
            rcv_mss: self.ack.rcv_mss,
            advmss: self.mss,
            pmtu: self
                .mtu
                .limit()
                .unwrap_or(self.path_mss)
                .saturating_add(self.ip_and_tcp()),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.srtt().map(|_| self.rtt.min()),
            rto: self.rto(),
            send_queue: self.snd.queued(),
            recv_queue: self.rcv.available(),
            early: self.rcv.early(),
            timestamps: self.ts.is_some(),
            sack: self.sack,
            ecn: self.ecn.is_on(),
            scaling: self.scaling,
            window_shifts: if self.scaling {
                (self.snd.scale, self.rcv.scale)
            } else {
                (0, 0)
            },
            recovering: self.recovery.is_repairing(),
            counters: self.counters.total(),
        }
    }

    /// Bytes of the IP and TCP headers, without options.
    const fn ip_and_tcp(&self) -> u16 {
        if self.is_ipv6() { 60 } else { 40 }
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.total()
    }
}
