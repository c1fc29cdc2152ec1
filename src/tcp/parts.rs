//! What a connection remembers besides its two halves.

use super::Reason;
use crate::time::Instant;
use crate::wire::tcp::SeqNumber;

/// Timestamps (RFC 7323 section 3), once both ends have agreed on them.
#[derive(Clone, Copy, Debug)]
pub struct TimestampState {
    /// TS.Recent.
    pub recent: u32,
    /// When it was set, in whole seconds: it is void after 24 days without one.
    pub recent_at: u32,
}

impl TimestampState {
    pub const fn new(recent: u32, now: Instant) -> Self {
        Self {
            recent,
            recent_at: seconds(now),
        }
    }

    /// Whole seconds since it was set.
    pub const fn age(&self, now: Instant) -> u32 {
        seconds(now).saturating_sub(self.recent_at)
    }
}

const fn seconds(at: Instant) -> u32 {
    // 136 years.
    (at.as_millis() / 1000) as u32
}

/// What is owed to the peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckState {
    /// An acknowledgement is due at the end of this batch.
    pub now: bool,
    /// Payload bytes received since the last acknowledgement.
    pub unacked: u32,
    /// Payload bytes received in order since the stream last paused or came out
    /// of order, as far as that can be counted.
    pub run: u32,
    /// Acknowledgements still to be sent without delay.
    pub quick: u8,
    /// Last.ACK.sent (RFC 7323 section 4.3).
    pub last_sent: SeqNumber,
    /// Largest payload received: what the peer's segments look like.
    pub rcv_mss: u16,
    /// Rate limit of challenge acknowledgements (RFC 5961 section 7).
    pub challenges: u8,
    pub challenge_since: Instant,
}

/// Segments to be sent out of the ordinary order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// A reset: the connection was aborted.
    pub reset: bool,
    /// The SYN goes again before its time-out, which that is not.
    pub syn: bool,
    /// New data has gone out, behind which a probe is to be armed: once for
    /// all that goes at a time.
    pub arm_probe: bool,
    /// A tail loss probe (RFC 8985 section 7.3).
    pub tail_probe: bool,
    /// An empty segment at SND.UNA - 1: keepalive or zero-window probe.
    pub probe: bool,
    /// What fits a window too small for a whole segment.
    pub force: bool,
    /// The first segment, whatever the congestion window says: a time-out.
    pub first_again: bool,
    /// The last segment although it is not full: the application wants it
    /// out, or it has waited long enough.
    pub push: bool,
    /// A reset in answer to a segment that is not of this connection: its
    /// sequence number.
    pub refusal: Option<SeqNumber>,
}

impl Pending {
    /// Whether anything is to be sent out of the ordinary order.
    #[inline]
    pub const fn is_rare(&self) -> bool {
        self.reset
            | self.tail_probe
            | self.probe
            | self.force
            | self.first_again
            | self.refusal.is_some()
    }
}

/// Events not yet polled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    pub connected: bool,
    /// `connected` waits for the peer's first bytes.
    pub deferred: bool,
    pub readable: bool,
    pub writable: bool,
    pub peer_closed: bool,
    pub closed: Option<Reason>,
    pub closed_told: bool,
}

impl Events {
    /// Whether there may be anything to tell.
    #[inline]
    pub const fn any(&self) -> bool {
        self.readable | self.is_rare()
    }

    /// Whether that is anything but payload.
    #[inline]
    const fn is_rare(&self) -> bool {
        let flags = self.connected | self.deferred | self.writable | self.peer_closed;
        flags | (self.closed.is_some() & !self.closed_told)
    }

    /// Payload can be read, and that is all there is to tell: told by this.
    #[inline]
    pub const fn take_readable(&mut self) -> bool {
        let alone = self.readable & !self.is_rare();
        self.readable &= !alone;
        alone
    }
}
