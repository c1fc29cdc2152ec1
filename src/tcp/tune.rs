//! What the application may change while a connection is open: what other
//! stacks call socket options.

use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::connection::{Connection, MIN_MSS};
use super::timers::Timer;
use crate::congestion::Algorithm;
use crate::time::Instant;
use crate::wire::tcp::SeqNumber;

/// Longest time that a corked segment waits to be filled. Linux: 200 ms.
const CORK_LIMIT: Duration = Duration::from_millis(200);

impl Connection {
    /// The settings as this connection has them. Most connections share
    /// theirs; one that changes something gets its own.
    fn settings(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// Sends small segments at once from now on, or not (RFC 9293 section
    /// 3.7.4). Switching it on sends what is held back, even under
    /// [`set_cork`](Self::set_cork).
    pub fn set_nodelay(&mut self, nodelay: bool) {
        self.nodelay = nodelay;
        if nodelay {
            self.push();
        }
    }

    /// Sends only full segments from now on, or not: who writes in parts can
    /// have them leave together. What has been held back for 200 ms goes
    /// nevertheless, and so does what precedes a FIN.
    pub fn set_cork(&mut self, cork: bool) {
        self.cork = cork;
        self.timers.stop(Timer::Cork);
    }

    /// Caps the payload of our segments, options included, in bytes; before
    /// the SYN is sent, that of the peer's as well. It can be lowered only;
    /// below 88 counts as 88.
    pub fn set_max_segment(&mut self, most: u16) {
        let most = most.max(MIN_MSS);
        if self.snd.first().is_some_and(|s| s.syn && s.sent == 0) {
            self.mss = self.mss.min(most);
        }
        self.settle_answer();
        self.cap_size(most);
    }

    /// Idle time before the first keepalive probe, or none at all (RFC 9293
    /// section 3.8.4). The time already idle counts.
    pub fn set_keepalive(&mut self, now: Instant, idle: Option<Duration>) {
        self.settings().keepalive = idle;
        let quiet_since = self.last_received_at;
        self.rearm_keepalive(quiet_since);
        if self.timers.is_due(Timer::Keepalive, now) {
            self.timers.set(Timer::Keepalive, now);
        }
    }

    /// Time between keepalive probes, from the next one on.
    pub fn set_keepalive_interval(&mut self, interval: Duration) {
        self.settings().keepalive_interval = interval;
    }

    /// Unanswered keepalive probes before the connection fails.
    pub fn set_keepalive_probes(&mut self, probes: u8) {
        self.settings().keepalive_probes = probes;
    }

    /// Longest time that sent data may stay unacknowledged (RFC 5482), and
    /// that keepalive probes may stay unanswered; `None` leaves it to the
    /// numbers of retries and probes.
    pub fn set_user_timeout(&mut self, longest: Option<Duration>) {
        self.settings().user_timeout = longest;
    }

    /// Changes the congestion controller; the window stays.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        self.settings().congestion = algorithm;
        self.settle_answer();
        self.cc.switch(algorithm);
        if let Some(target) = self.config.delay_target {
            self.cc.set_delay_target(target);
        }
    }

    /// Changes the most that waits for acknowledgement, in bytes.
    pub fn set_send_buffer(&mut self, bytes: u32) {
        self.settings().send_buffer = bytes;
        self.tell_room();
    }

    /// Changes the most that waits to be read, in bytes. A window that the
    /// peer has been told is not taken back.
    pub fn set_recv_buffer(&mut self, bytes: u32) {
        self.settings().recv_buffer = bytes;
        self.rcv.set_buffer(bytes);
    }

    /// What is queued goes, be the last segment full or not.
    pub(super) fn push(&mut self) {
        self.timers.stop(Timer::Cork);
        self.pending.push = self.snd.has_unsent();
    }

    /// Whether a last segment that is not full has to wait.
    ///
    /// Nagle's algorithm as Minshall has it: it waits for the acknowledgement
    /// of another partial segment, not for that of full ones.
    pub(super) fn holds_back(&mut self, now: Instant) -> bool {
        if self.pending.push {
            return false;
        }
        if self.cork {
            if !self.timers.is_set(Timer::Cork) {
                self.timers.set(Timer::Cork, now + CORK_LIMIT);
            }
            return true;
        }
        let small = self.snd.small_end;
        !self.nodelay && small.gt(self.snd.una) && small.le(self.snd.nxt)
    }

    /// A segment that is not full was sent, up to `end`.
    pub(super) fn partial_sent(&mut self, end: SeqNumber) {
        self.snd.small_end = end;
        self.pending.push &= self.snd.has_unsent();
    }
}
