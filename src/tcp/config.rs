//! What a connection may be told to do differently.

use std::time::Duration;

use super::{Ecn, MtuProbing};
use crate::congestion::{Algorithm, Controller};

/// Settings of TCP connections. All have working defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Congestion controller.
    pub congestion: Algorithm,
    /// The longest queue that LEDBAT and LEDBAT++ make; `None` leaves it to
    /// them. See [`Controller::set_delay_target`].
    ///
    /// [`Controller::set_delay_target`]: crate::congestion::Controller::set_delay_target
    pub delay_target: Option<Duration>,
    /// Whether new data is spread over the round trip, where that is long
    /// enough (1 ms), instead of leaving in bursts.
    pub pacing: bool,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_window: u32,
    /// Receive buffer in bytes: the most that waits for the application,
    /// and so the largest window advertised.
    pub recv_buffer: u32,
    /// Send buffer in bytes: the most that waits for acknowledgement.
    pub send_buffer: u32,
    /// Of those, the most that have not been sent once: what would wait for
    /// longer than it takes to be asked for more only leaves the cache.
    pub unsent_buffer: u32,
    /// Whether to offer window scaling (RFC 7323 section 2).
    pub window_scaling: bool,
    /// Whether to offer timestamps (RFC 7323 section 3).
    pub timestamps: bool,
    /// Whether to offer selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Whether a connection that was idle for longer than a retransmission
    /// time-out begins again with the initial window (RFC 5681 section 4.1).
    pub slow_start_after_idle: bool,
    /// Acknowledgements and resets a second, at most, in answer to segments
    /// that are not believed (RFC 5961 section 7); for each connection.
    pub challenge_acks: u8,
    /// Whether to use congestion marks (RFC 3168).
    pub ecn: Ecn,
    /// Whether a listener whose backlog is full answers with SYN cookies
    /// (RFC 4987); otherwise it drops the SYN, and the peer tries again.
    pub syn_cookies: bool,
    /// Whether to send small segments at once (no Nagle algorithm, RFC 9293
    /// section 3.7.4).
    pub nodelay: bool,
    /// Largest payload of a segment, without options, in either direction;
    /// `None` leaves it to the path. Below 88 counts as 88.
    pub max_segment: Option<u16>,
    /// Whether to find out by trying how large segments may be.
    pub mtu_probing: MtuProbing,
    /// For how long an incoming connection on which the peer has sent nothing
    /// is kept from the application; `None` tells at once.
    pub defer_accept: Option<Duration>,
    /// Longest time an acknowledgement is held back (RFC 9293 section
    /// 3.8.6.3: below 500 ms).
    pub delayed_ack: Duration,
    /// Full segments of a stream that flows which one acknowledgement may
    /// answer while more of it comes: 2 does as RFC 5681 section 4.2 says. No
    /// effect without `delayed_ack`.
    pub ack_segments: u8,
    /// Floor of the retransmission time-out. RFC 6298 says 1 s; Linux and
    /// this default use 200 ms.
    pub min_rto: Duration,
    /// Ceiling of the retransmission time-out, back-off included.
    pub max_rto: Duration,
    /// Retransmissions of a SYN before the attempt fails. RFC 9293 section
    /// 3.8.3 wants at least 3 minutes, which takes 7; Linux has 6.
    pub syn_retries: u8,
    /// Retransmissions of a SYN-ACK before the attempt is forgotten.
    pub synack_retries: u8,
    /// Consecutive time-outs of data before the connection fails (RFC 9293
    /// section 3.8.3, R2).
    pub retries: u8,
    /// The same for a connection that the application has closed, which
    /// answered window probes do not prolong. Linux: 8.
    pub orphan_retries: u8,
    /// Longest time that sent data may stay unacknowledged (RFC 5482);
    /// `None` leaves it to `retries`.
    pub user_timeout: Option<Duration>,
    /// Idle time before the first keepalive probe; `None` sends none.
    pub keepalive: Option<Duration>,
    /// Time between keepalive probes.
    pub keepalive_interval: Duration,
    /// Unanswered keepalive probes before the connection fails.
    pub keepalive_probes: u8,
    /// How long a connection stays in TIME-WAIT (RFC 9293: 2 MSL; Linux and
    /// this default: 60 s).
    pub time_wait: Duration,
    /// How long a closed connection waits in FIN-WAIT-2 for the peer's FIN.
    pub fin_wait_2: Duration,
}

impl Config {
    /// The controller of a connection whose segments have `mss` bytes.
    pub(super) fn controller(&self, mss: u16) -> Controller {
        let mut cc = Controller::new(self.congestion, u32::from(mss), self.initial_window);
        cc.set_paced(self.pacing);
        if let Some(target) = self.delay_target {
            cc.set_delay_target(target);
        }
        cc
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            congestion: Algorithm::default(),
            delay_target: None,
            pacing: false,
            initial_window: 10,
            recv_buffer: 4 << 20,
            send_buffer: 4 << 20,
            unsent_buffer: 256 << 10,
            window_scaling: true,
            timestamps: true,
            sack: true,
            challenge_acks: 10,
            ecn: Ecn::default(),
            syn_cookies: true,
            nodelay: false,
            max_segment: None,
            mtu_probing: MtuProbing::default(),
            defer_accept: None,
            slow_start_after_idle: true,
            delayed_ack: Duration::from_millis(40),
            ack_segments: 32,
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            syn_retries: 7,
            synack_retries: 5,
            retries: 15,
            orphan_retries: 8,
            user_timeout: None,
            keepalive: None,
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            time_wait: Duration::from_secs(60),
            fin_wait_2: Duration::from_secs(60),
        }
    }
}
