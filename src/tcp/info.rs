//! A look into a connection, in the spirit of Linux's `tcp_info`.

use std::time::Duration;

use super::connection::Counters;
use super::{Connection, State};

/// A snapshot of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// State.
    pub state: State,
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
    /// Whether windows are scaled.
    pub scaling: bool,
    /// Whether a loss is being repaired.
    pub recovering: bool,
    /// What happened so far.
    pub counters: Counters,
}

impl Connection {
    /// A snapshot.
    #[must_use]
    pub fn info(&self) -> Info {
        Info {
            state: self.state,
            cwnd: self.cc.cwnd(),
            ssthresh: self.cc.ssthresh(),
            in_flight: self.in_flight(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.window(),
            snd_mss: self.snd.mss,
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.srtt().map(|_| self.rtt.min()),
            rto: self.rto(),
            send_queue: self.snd.queued(),
            recv_queue: self.rcv.available(),
            early: self.rcv.early(),
            timestamps: self.ts.is_some(),
            sack: self.sack,
            scaling: self.scaling,
            recovering: !self.recovery.is_open(),
            counters: self.counters,
        }
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
