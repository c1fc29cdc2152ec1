//! What a connection may be told to do differently.

use std::time::Duration;

use crate::congestion::{Algorithm, Controller};

/// Settings of uTP connections. All have working defaults.
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
    /// Initial congestion window in packets.
    pub initial_window: u32,
    /// Receive buffer in bytes: the most that waits for the application, and
    /// so the largest window advertised.
    pub recv_buffer: u32,
    /// Send buffer in bytes: the most that waits for acknowledgement.
    pub send_buffer: u32,
    /// Of those, the most that have not been sent once.
    pub unsent_buffer: u32,
    /// Most packets sent and not acknowledged. At most 16384 of the 65536
    /// sequence numbers.
    pub max_packets: u16,
    /// How far ahead of the next packet in order others are kept, in packets;
    /// at most 16384. libutp and nim-eth keep 1024.
    pub reorder_packets: u16,
    /// Largest payload of a packet in bytes; `None` leaves it to the path.
    pub max_payload: Option<u16>,
    /// Whether to begin with packets of 576 bytes and to find out by trying
    /// how large they may be (RFC 8899). Otherwise they are as large as the
    /// path's first link takes from the start.
    pub mtu_probing: bool,
    /// When larger packets are tried again after some got lost for their size
    /// (RFC 8899 section 5.1.1: 600 s).
    pub mtu_raise: Duration,
    /// Whether to send small packets at once.
    pub nodelay: bool,
    /// Longest time an acknowledgement is held back.
    pub delayed_ack: Duration,
    /// Full packets of a stream that flows which one acknowledgement may
    /// answer while more of it comes. No effect without `delayed_ack`.
    pub ack_packets: u8,
    /// Acknowledgements a second, at most, in answer to packets that are not
    /// believed.
    pub challenge_acks: u8,
    /// Time-out before a round trip has been measured. Of a SYN it is
    /// `syn_timeout`.
    pub initial_rto: Duration,
    /// Floor of the retransmission time-out. BEP 29 and libtorrent: 500 ms.
    pub min_rto: Duration,
    /// Ceiling of the retransmission time-out, back-off included.
    pub max_rto: Duration,
    /// Time-out of the first SYN; it doubles.
    pub syn_timeout: Duration,
    /// Retransmissions of a SYN before the attempt fails.
    pub syn_retries: u8,
    /// How long an answered SYN is kept whose sender says nothing more.
    pub accept_timeout: Duration,
    /// Consecutive time-outs of data before the connection fails.
    pub retries: u8,
    /// Longest time that sent data may stay unacknowledged; `None` leaves it
    /// to `retries`.
    pub user_timeout: Option<Duration>,
    /// How long the peer's window may be too small before a packet is sent
    /// nevertheless.
    pub window_probe: Duration,
    /// Idle time before a keepalive, which keeps address translators from
    /// forgetting the connection; `None` sends none. libutp: 29 s.
    pub keepalive: Option<Duration>,
    /// Time between keepalives; `None` is that before the first.
    pub keepalive_interval: Option<Duration>,
    /// Unanswered keepalives before the connection fails; 0 never fails it:
    /// no other implementation answers them.
    pub keepalive_probes: u8,
    /// How long a connection that is over acknowledges what arrives again.
    pub linger: Duration,
    /// How long a closed connection waits for the peer's FIN.
    pub fin_wait: Duration,
}

impl Config {
    /// The controller of a connection whose packets carry `payload` bytes.
    pub(super) fn controller(&self, payload: u16) -> Controller {
        let mut cc = Controller::new(self.congestion, u32::from(payload), self.initial_window);
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
            congestion: Algorithm::Ledbat,
            delay_target: None,
            pacing: false,
            initial_window: 10,
            recv_buffer: 4 << 20,
            send_buffer: 4 << 20,
            unsent_buffer: 256 << 10,
            max_packets: 4096,
            reorder_packets: 4096,
            max_payload: None,
            mtu_probing: true,
            mtu_raise: Duration::from_secs(600),
            nodelay: false,
            delayed_ack: Duration::from_millis(40),
            ack_packets: 32,
            challenge_acks: 10,
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(500),
            max_rto: Duration::from_secs(60),
            syn_timeout: Duration::from_secs(3),
            syn_retries: 2,
            accept_timeout: Duration::from_secs(10),
            retries: 6,
            user_timeout: None,
            window_probe: Duration::from_secs(15),
            keepalive: None,
            keepalive_interval: None,
            keepalive_probes: 0,
            linger: Duration::from_secs(10),
            fin_wait: Duration::from_secs(60),
        }
    }
}
