//! What a connection does when a deadline passes.

use super::connection::Connection;
use super::timers::{self, Timer};
use super::{Reason, State};
use crate::frame::Pool;
use crate::time::Instant;

impl Connection {
    /// Handles all deadlines up to `now`.
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut Pool) {
        self.settle_answer();
        // Sending was interrupted: the probe armed before is outdated.
        self.arm_pending_probe(now);
        for timer in timers::ALL {
            if !self.timers.is_due(timer, now) {
                continue;
            }
            self.timers.stop(timer);
            match timer {
                Timer::Close if self.events.deferred && self.state.can_send() => {
                    self.events.deferred = false;
                }
                Timer::Close => self.end(Reason::Finished, pool),
                Timer::Reorder => self.reorder_timeout(now),
                Timer::Probe => {
                    self.pending.tail_probe = self.snd.has_sent();
                    self.rearm_rto(now);
                }
                Timer::Rto => self.retransmission_timeout(now, pool),
                Timer::Persist => self.persist_timeout(now, pool),
                Timer::Keepalive => self.keepalive_timeout(now, pool),
                Timer::Ack => self.ack.now = true,
                Timer::Cork => self.push(),
                Timer::Raise => self.raise_timeout(),
                // Polling for output is all it takes.
                Timer::Retry => {}
            }
        }
        self.tell_room();
    }

    fn retransmission_timeout(&mut self, now: Instant, pool: &mut Pool) {
        if !self.snd.has_sent() {
            return;
        }
        let first_is_syn = self.snd.first().is_some_and(|s| s.syn);
        if std::mem::take(&mut self.pending.syn) && first_is_syn {
            self.snd.mark_lost(0);
            self.rearm_rto(now);
            return;
        }
        let limit = match self.state {
            State::SynSent => self.config.syn_retries,
            State::SynReceived => self.config.synack_retries,
            _ => self.retries(),
        };
        if self.timeouts >= limit || self.user_timeout_passed(now) {
            self.give_up(pool);
            return;
        }
        self.timeouts += 1;
        if first_is_syn {
            self.snd.mark_lost(0);
            self.counters.rare().timeouts += 1;
        } else {
            self.suspect_black_hole();
            self.lose_all(now);
        }
        self.rtt.back_off();
        self.rearm_rto(now);
    }

    /// Time-outs in a row that end the connection. One that the application
    /// has closed ends earlier, and answers to probes do not keep it.
    fn retries(&self) -> u8 {
        if self.recv_closed {
            self.config.orphan_retries.min(self.config.retries)
        } else {
            self.config.retries
        }
    }

    /// RFC 5482.
    fn user_timeout_passed(&self, now: Instant) -> bool {
        self.config
            .user_timeout
            .is_some_and(|t| now.since(self.progress_at) >= t)
    }

    fn give_up(&mut self, pool: &mut Pool) {
        // RFC 9293 section 3.8.3: the peer is told, if it hears.
        self.pending.reset = self.state.is_synchronized();
        self.end(Reason::TimedOut, pool);
    }

    /// The window has been too small for too long (RFC 9293 section 3.8.6.1).
    fn persist_timeout(&mut self, now: Instant, pool: &mut Pool) {
        if !self.snd.has_unsent() || self.snd.outstanding() > 0 {
            return;
        }
        if self.timeouts >= self.retries() || self.user_timeout_passed(now) {
            self.give_up(pool);
            return;
        }
        if self.snd.wnd > 0 {
            self.pending.force = true;
        } else {
            self.pending.probe = true;
            self.timeouts += 1;
            self.probes = self.probes.saturating_add(1);
            self.counters.rare().window_probes += 1;
        }
        self.rtt.back_off();
        self.timers.set(Timer::Persist, now + self.rto());
    }

    /// RFC 9293 section 3.8.4.
    fn keepalive_timeout(&mut self, now: Instant, pool: &mut Pool) {
        let Some(idle) = self.config.keepalive else {
            return;
        };
        let quiet = now.since(self.last_received_at);
        if quiet < idle {
            self.timers
                .set(Timer::Keepalive, self.last_received_at + idle);
            return;
        }
        if self.snd.has_sent() || self.snd.has_unsent() {
            // What is sent finds out as well.
            self.timers.set(Timer::Keepalive, now + idle);
            return;
        }
        // A user time-out takes the place of the number of probes.
        let dead = match self.config.user_timeout {
            Some(longest) => self.keepalives > 0 && quiet >= longest,
            None => self.keepalives >= self.config.keepalive_probes,
        };
        if dead {
            self.give_up(pool);
            return;
        }
        self.keepalives = self.keepalives.saturating_add(1);
        self.counters.rare().keepalives += 1;
        self.pending.probe = true;
        self.timers
            .set(Timer::Keepalive, now + self.config.keepalive_interval);
    }
}
