//! When an acknowledgement is due, and when it may wait for more of a stream
//! that flows: as `tcp` does, for the same reasons. Delays are measured by
//! every packet, and told by those acknowledgements that are sent.

use super::connection::Connection;
use super::timers::Timer;
use crate::time::Instant;
use std::time::Duration;

/// Bytes that have come in order and without a pause before acknowledgements
/// are stretched: until then a peer's window may still be growing by them.
const FLOWS: u32 = 128 << 10;
/// A pause after which a peer may begin again with a small window.
const PAUSE: Duration = Duration::from_millis(100);
/// Acknowledgements of packets out of order that leave together, at most.
const MOST_AT_ONCE: u8 = 3;
/// Acknowledgements sent at once after a packet came out of order, or again.
const QUICK_AGAIN: u8 = 16;
/// How often the last of them is repeated, and when first: before the time-out
/// of others (librqbit-utp: 200 ms). The pause doubles.
const REPEATS: u8 = 4;
const REPEAT: Duration = Duration::from_millis(10);

impl Connection {
    /// Whether an acknowledgement is to be sent, at once or when the stream
    /// pauses: of more than one full packet, for two may each be a little smaller
    /// than the largest ever, a probe for the path's MTU (librqbit-utp).
    #[inline]
    pub(super) fn ack_due(&self) -> bool {
        let a = &self.ack;
        self.state != super::State::SynSent
            && (a.now || a.unacked > u32::from(a.rcv_mss) || (a.quick > 0 && a.unacked > 0))
    }

    /// Whether an acknowledgement that is due may wait for more of the stream.
    #[inline]
    pub(super) fn ack_may_wait(&self) -> bool {
        let a = &self.ack;
        let most = u32::from(self.config.ack_packets) * u32::from(a.rcv_mss);
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

    /// A packet has come: after a pause it begins a stream anew.
    #[inline]
    pub(super) fn note_pause(&mut self, now: Instant) {
        if now.since(self.last_received_at) >= PAUSE {
            self.ack.run = 0;
        }
    }

    /// A packet of `len` bytes has come.
    #[inline]
    pub(super) fn note_size(&mut self, len: u32) {
        self.ack.rcv_mss = self.ack.rcv_mss.max(len.min(u32::from(u16::MAX)) as u16);
    }

    /// `len` bytes have come in order, of one packet or of those, too, that had
    /// waited for it.
    #[inline]
    pub(super) fn note_received(&mut self, now: Instant, len: u32) {
        self.counters.bytes_received += u64::from(len);
        self.events.readable = true;
        self.ack.unacked += len;
        if self.ack.lossy {
            self.ack.repeats = REPEATS;
        }
        self.arm_ack(now);
    }

    /// A packet has come out of order. Each is answered, up to as many as
    /// others count before they take a packet for lost: one that answers them
    /// all may get lost itself.
    pub(super) fn ack_early(&mut self) {
        if self.ack.now {
            self.ack.more = (self.ack.more + 1).min(MOST_AT_ONCE - 1);
        }
        self.ack_lossy();
    }

    /// Packets get lost on the way to us, or acknowledgements on the way back.
    /// Who then has a window of few packets waits for a time-out for each
    /// acknowledgement that it misses: a few are sent at once, and repeated.
    pub(super) fn ack_lossy(&mut self) {
        self.ack.now = true;
        self.ack.lossy = true;
        self.ack.quick = self.ack.quick.max(QUICK_AGAIN);
        self.ack.repeats = REPEATS;
    }

    /// The timer of delayed acknowledgements has run out.
    pub(super) fn ack_timeout(&mut self) {
        if self.ack.unacked == 0 && self.ack.repeats > 0 {
            self.ack.repeats -= 1;
            self.counters.repeated_acks += 1;
            self.ack.now = true;
        }
        self.ack.now |= self.ack.unacked > 0;
    }

    /// Everything has been sent. Where packets get lost the last
    /// acknowledgement is repeated if nothing comes.
    #[inline]
    pub(super) fn arm_repeat(&mut self, now: Instant) {
        let a = &self.ack;
        if a.repeats == 0 || a.now || self.timers.is_set(Timer::Ack) {
            return;
        }
        let told = self.rcv.is_over() || !(a.lossy || self.rcv.has_sack());
        if self.state.can_receive() && !told {
            let times = 1 << (REPEATS - a.repeats);
            self.timers.set(Timer::Ack, now + REPEAT * times);
        }
    }

    /// The timer of a delayed acknowledgement runs from the first byte that it
    /// answers.
    #[inline]
    pub(super) fn arm_ack(&mut self, now: Instant) {
        let at = now + self.config.delayed_ack;
        if !self.ack.now && at < self.timers.get(Timer::Ack) {
            self.timers.set(Timer::Ack, at);
        }
    }
}
