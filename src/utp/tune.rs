//! What the application may change while a connection is open: what other
//! stacks call socket options.

use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::connection::{Connection, MIN_PAYLOAD};
use super::timers::Timer;
use crate::congestion::Algorithm;
use crate::time::Instant;

/// Longest time that a corked packet waits to be filled.
const CORK_LIMIT: Duration = Duration::from_millis(200);

impl Connection {
    /// The settings as this connection has them.
    fn settings(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// Sends small packets at once from now on, or not. Switching it on sends
    /// what is held back, even under [`set_cork`](Self::set_cork).
    pub fn set_nodelay(&mut self, nodelay: bool) {
        self.nodelay = nodelay;
        if nodelay {
            self.push();
        }
    }

    /// Sends only full packets from now on, or not. What has been held back
    /// for 200 ms goes nevertheless, and so does what precedes a FIN.
    pub fn set_cork(&mut self, cork: bool) {
        self.cork = cork;
        self.timers.stop(Timer::Cork);
    }

    /// Caps the payload of our packets, in bytes. It can be lowered only;
    /// below 150 counts as 150.
    pub fn set_max_segment(&mut self, most: u16) {
        if self.mtu.limit(most.max(MIN_PAYLOAD)) {
            self.use_size(self.mtu.size());
        }
    }

    /// Idle time before a keepalive, or none at all. The time already idle
    /// counts.
    pub fn set_keepalive(&mut self, now: Instant, idle: Option<Duration>) {
        self.settings().keepalive = idle;
        let quiet_since = self.last_received_at;
        self.rearm_keepalive(quiet_since);
        if self.timers.is_due(Timer::Keepalive, now) {
            self.timers.set(Timer::Keepalive, now);
        }
    }

    /// Time between keepalives, from the next on.
    pub fn set_keepalive_interval(&mut self, interval: Duration) {
        self.settings().keepalive_interval = Some(interval);
    }

    /// Unanswered keepalives before the connection fails; 0 never fails it.
    pub fn set_keepalive_probes(&mut self, probes: u8) {
        self.settings().keepalive_probes = probes;
    }

    /// Longest time that sent data may stay unacknowledged; `None` leaves it
    /// to the number of retries.
    pub fn set_user_timeout(&mut self, longest: Option<Duration>) {
        self.settings().user_timeout = longest;
    }

    /// Changes the congestion controller; the window stays.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        self.settings().congestion = algorithm;
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

    /// Changes the most that waits to be read, in bytes.
    pub fn set_recv_buffer(&mut self, bytes: u32) {
        self.settings().recv_buffer = bytes;
        self.rcv.set_buffer(bytes);
    }

    /// What is queued goes, be the last packet full or not.
    pub(super) fn push(&mut self) {
        self.timers.stop(Timer::Cork);
        self.pending.push = self.snd.has_unsent();
    }

    /// Whether a last packet that is not full has to wait: Nagle's algorithm
    /// as Minshall has it. It waits for the acknowledgement of another partial
    /// packet, not for that of full ones.
    pub(super) fn holds_back(&mut self, now: Instant) -> bool {
        if self.pending.push || self.fin_queued {
            return false;
        }
        if self.cork {
            if !self.timers.is_set(Timer::Cork) {
                self.timers.set(Timer::Cork, now + CORK_LIMIT);
            }
            return true;
        }
        let una = self.snd.una;
        !self.nodelay && self.small.is_some_and(|seq| una.le(seq))
    }
}
