//! When an acknowledgement is due, and when it may wait for more of a stream
//! that flows.
//!
//! RFC 5681 section 4.2 and RFC 9293 section 3.8.6.3 ask for one at least every
//! second full segment, as a SHOULD whose purpose is the peer's window and its
//! clock. Each costs both ends a packet, though, so that receivers which gather
//! segments (Linux with GRO: about 45) answer all of them at once. Here one may
//! answer as many as [`Config::ack_segments`](super::Config::ack_segments), of
//! a stream whose beginning is over, as long as more of it comes without a
//! break: who drives the connection sends it as soon as that is not so.

use super::connection::Connection;
use crate::time::Instant;
use std::time::Duration;

/// Bytes that have come in order and without a pause before acknowledgements
/// are stretched: until then a peer's window may still be growing by them.
const FLOWS: u32 = 128 << 10;
/// A pause after which a peer may begin again with a small window: half the
/// shortest usual retransmission time-out (RFC 5681 section 4.1).
const PAUSE: Duration = Duration::from_millis(100);

impl Connection {
    /// Whether an acknowledgement is to be sent, at once or when the stream
    /// pauses.
    #[inline]
    pub(super) fn ack_due(&self) -> bool {
        let a = &self.ack;
        self.state != super::State::SynSent
            && (a.now || a.unacked >= 2 * u32::from(a.rcv_mss) || (a.quick > 0 && a.unacked > 0))
    }

    /// Whether an acknowledgement that is due may wait for more of the stream.
    #[inline]
    pub(super) fn ack_may_wait(&self) -> bool {
        let a = &self.ack;
        let most = u32::from(self.config.ack_segments) * u32::from(a.rcv_mss);
        !a.now
            && a.quick == 0
            && a.run >= FLOWS
            && a.unacked < most
            // A quarter of what the peer may have under way.
            && a.unacked <= self.rcv.window() / 3
            && !self.rcv.has_sack()
            && !self.config.delayed_ack.is_zero()
    }

    /// The bytes that an acknowledgement waits to answer together with more of
    /// the stream, after [`poll_transmit`](Self::poll_transmit) has answered
    /// `None`. When no more comes, [`hurry_ack`](Self::hurry_ack) sends it; the
    /// timer of delayed acknowledgements does in any case.
    #[inline]
    #[must_use]
    pub fn waiting_ack(&self) -> Option<u32> {
        (self.ack_due() && self.ack_may_wait()).then_some(self.ack.unacked)
    }

    /// An acknowledgement that waits for more of the stream waits no longer, if
    /// nothing has come since it was to answer `unacked` bytes. Whether there
    /// is such a one, to be polled.
    pub fn hurry_ack(&mut self, unacked: u32) -> bool {
        let still = self.waiting_ack() == Some(unacked);
        self.ack.now |= still;
        still
    }

    /// A segment has come: after a pause it begins a stream anew.
    #[inline]
    pub(super) fn note_pause(&mut self, now: Instant) {
        if now.since(self.last_received_at) >= PAUSE {
            self.ack.run = 0;
        }
    }

    /// `len` bytes have come in order.
    #[inline]
    pub(super) const fn note_flow(&mut self, len: u32) {
        self.ack.run = self.ack.run.saturating_add(len);
    }
}

#[cfg(test)]
#[path = "stretch_tests.rs"]
mod tests;
