//! Losses, and what they cost.

use std::time::Duration;

use super::State;
use super::connection::{Connection, MIN_PAYLOAD};
use super::timers::Timer;
use crate::frame::Pool;
use crate::time::Instant;
use crate::wire::utp::SeqNr;

/// What a packet that was overtaken is given at the least, beyond a round trip.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);
/// How long others wait with an acknowledgement (libutp: 100 ms).
const PEERS_DELAY: Duration = Duration::from_millis(100);

impl Connection {
    /// Finds lost what three packets that were sent later have overtaken, and
    /// what one has and had a round trip and a quarter to arrive: with few
    /// packets in flight there are no three. The window goes down for that at
    /// most once in a round trip, and not for a probe of the path's size: that
    /// was lost for it.
    pub(super) fn find_losses(&mut self, now: Instant, in_flight: u32) {
        self.timers.stop(Timer::Reorder);
        if self.snd.is_plain() {
            return;
        }
        let mtu = &mut self.mtu;
        let mut others = self.recovery.duplicates >= 3 && self.snd.lost_count() > 0;
        let round = self.rtt.longest();
        let patience = round + (round / 4).max(LEAST_PATIENCE);
        let waits = self
            .snd
            .judge(now - patience, |seq| others |= !mtu.lost(seq));
        if let Some(sent_at) = waits {
            self.timers.set(Timer::Reorder, sent_at + patience);
        }
        if others && self.recovery.point.is_none() {
            self.counters.recoveries += 1;
            self.recovery.point = Some(self.snd.nxt());
            self.recovery.by_timeout = false;
            let target = self.cc.on_congestion(now, in_flight);
            self.cc.set_cwnd(target);
            // What was lost goes at once, whatever is in flight.
            self.pending.first_again = true;
        }
    }

    /// Something new was sent, or acknowledged: if nothing more is heard for two
    /// round trips, a packet more may tell what is missing.
    pub(super) fn arm_probe(&mut self, now: Instant) {
        self.timers.stop(Timer::Probe);
        let Some(srtt) = self.rtt.srtt() else {
            return;
        };
        if !self.snd.has_sent() || self.probed || self.timeouts > 0 {
            return;
        }
        // The peer may wait with the acknowledgement of a little.
        let wait = if self.snd.outstanding() < 2 * u32::from(self.snd.mss) {
            PEERS_DELAY
        } else {
            LEAST_PATIENCE
        };
        let at = now + srtt * 2 + wait;
        if at < self.timers.get(Timer::Rto) {
            self.timers.set(Timer::Probe, at);
        }
    }

    /// Packets carry up to `size` bytes of payload from now on.
    pub(super) fn use_size(&mut self, size: u16) {
        let size = size.min(self.mtu.most()).max(1);
        if size != self.snd.mss {
            self.snd.mss = size;
            self.cc.set_smss(u32::from(size));
            self.tell_room();
        }
    }

    /// The path takes no packets with more than `payload` bytes, as a router
    /// has reported: those not yet sent become smaller, but never so small that
    /// they would be all headers (anybody can say so). Others may be cut on the
    /// way.
    pub fn limit_payload(&mut self, payload: u16, _pool: &mut Pool) {
        if self.mtu.limit(payload.max(MIN_PAYLOAD)) {
            self.use_size(self.mtu.size());
        }
    }

    /// Whether a packet with this number was sent and is not acknowledged: what
    /// an ICMP error quotes has to be (RFC 5927 section 4).
    #[must_use]
    pub fn is_in_flight(&self, seq: SeqNr) -> bool {
        match self.state {
            State::SynSent => self.syns > 0 && seq == self.isn,
            _ => self.snd.index_of(seq).is_some(),
        }
    }

    /// Largest payload of a packet that the path may take, for all that is
    /// known: its packets may be smaller until they have been tried.
    #[must_use]
    pub const fn longest_payload(&self) -> u16 {
        self.mtu.most()
    }
}
