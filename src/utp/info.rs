//! A look into a connection.

use std::time::Duration;

use super::{Connection, Counters, State};

/// A snapshot of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// State.
    pub state: State,
    /// Consecutive retransmission time-outs.
    pub retransmits: u8,
    /// Times that the retransmission time-out has been doubled.
    pub backoff: u8,
    /// Packets sent and not acknowledged cumulatively.
    pub unacked: u32,
    /// Of those, acknowledged selectively.
    pub sacked: u32,
    /// Of those, taken for lost and not sent again.
    pub lost: u32,
    /// Of those, sent again and not found lost since.
    pub retrans_out: u32,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow-start threshold in bytes.
    pub ssthresh: u32,
    /// Bytes in flight.
    pub in_flight: u32,
    /// Bytes that the peer's window allows beyond what it acknowledged.
    pub snd_wnd: u32,
    /// Bytes that we allow the peer beyond what we acknowledged.
    pub rcv_wnd: u32,
    /// Payload of a full packet, in bytes.
    pub snd_mss: u16,
    /// Largest payload received, in bytes; 528 before any.
    pub rcv_mss: u16,
    /// Payload of the largest packet that the path's first link takes.
    pub max_payload: u16,
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
    /// Whether a loss is being repaired.
    pub recovering: bool,
    /// What happened so far.
    pub counters: Counters,
}

impl Connection {
    /// A snapshot. Looks at every packet in flight: not for each packet.
    #[must_use]
    pub fn info(&self) -> Info {
        Info {
            state: self.state,
            retransmits: self.timeouts,
            backoff: self.rtt.backoff(),
            unacked: self.snd.sent_count() as u32,
            sacked: self.snd.sacked_count(),
            lost: self.snd.lost_count(),
            retrans_out: self.snd.again_count(),
            cwnd: self.cc.cwnd(),
            ssthresh: self.cc.ssthresh(),
            in_flight: self.snd.in_flight(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.window(),
            snd_mss: self.snd.mss,
            rcv_mss: self.ack.rcv_mss,
            max_payload: self.mtu.most(),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.srtt().map(|_| self.rtt.min()),
            rto: self.rto(),
            send_queue: self.snd.queued(),
            recv_queue: self.rcv.available(),
            early: self.rcv.early(),
            recovering: self.recovery.point.is_some(),
            counters: self.counters,
        }
    }

    /// Bytes queued to be sent or acknowledged.
    #[must_use]
    pub const fn send_queue(&self) -> usize {
        self.snd.queued() as usize
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}
