//! Deadlines that have passed.

use std::time::Duration;

use super::connection::Connection;
use super::timers::{ALL, Timer};
use super::{Reason, State};
use crate::frame::Pool;
use crate::time::Instant;

/// Time-outs of a FIN that is all that is left, before the peer is taken for
/// gone: it has ended its stream and may have forgotten the connection
/// (librqbit-utp, libtorrent).
const LAST_FINS: u8 = 4;
/// How often who has connected says so, while nothing comes.
const HELLOS: u8 = 4;

impl Connection {
    /// Handles the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut Pool) {
        for timer in ALL {
            if self.timers.is_due(timer, now) {
                self.timers.stop(timer);
                self.expire(timer, now, pool);
            }
        }
    }

    fn expire(&mut self, timer: Timer, now: Instant, pool: &mut Pool) {
        match timer {
            Timer::Close => match self.state {
                // Its application has not heard of it.
                State::SynReceived => self.end(Reason::TimedOut, pool),
                _ => self.end(Reason::Finished, pool),
            },
            Timer::Reorder => self.find_losses(now, self.snd.in_flight()),
            Timer::Probe => self.pending.tail_probe = self.snd.has_sent(),
            Timer::Rto if self.state == State::SynSent => self.syn_timeout(pool),
            Timer::Rto => self.retransmission_timeout(now, pool),
            Timer::Persist => self.pending.force = self.snd.has_unsent(),
            Timer::Keepalive => self.keepalive(now, pool),
            Timer::Hello => self.hello(now),
            Timer::Cork => self.push(),
            Timer::Raise => self.mtu.restart(),
            // Output is polled after every deadline.
            Timer::Retry => {}
            Timer::Ack => self.ack_timeout(),
        }
    }

    fn syn_timeout(&mut self, pool: &mut Pool) {
        if self.syns > self.config.syn_retries {
            self.end(Reason::TimedOut, pool);
        } else {
            self.pending.syn = true;
        }
    }

    /// Nothing was acknowledged for long: all that is out is taken for lost,
    /// and goes again from the first on.
    fn retransmission_timeout(&mut self, now: Instant, pool: &mut Pool) {
        if !self.snd.has_sent() {
            return;
        }
        self.counters.timeouts += 1;
        self.timeouts = self.timeouts.saturating_add(1);
        let patience = self.config.user_timeout;
        let out_of_time = patience.is_some_and(|most| now.since(self.progress_at) >= most);
        let (retries, reason) = if self.is_as_good_as_over() {
            (self.config.retries.min(LAST_FINS), Reason::Finished)
        } else {
            (self.config.retries, Reason::TimedOut)
        };
        if self.timeouts > retries || out_of_time {
            self.end(reason, pool);
            return;
        }
        let una = self.snd.una;
        let only_probe = self.snd.sent_count() == 1 && self.mtu.is_probe(una);
        let in_flight = self.snd.in_flight();
        // A packet that was too large is no sign of congestion.
        if !only_probe {
            let first = self.timeouts == 1 && self.recovery.point.is_none();
            self.cc.on_rto(now, in_flight, first);
            self.recovery.point = Some(self.snd.nxt());
            self.recovery.by_timeout = true;
        }
        self.mtu.lost(una);
        self.recovery.duplicates = 0;
        self.pending.tail_probe = false;
        self.timers.stop(Timer::Probe);
        self.timers.stop(Timer::Reorder);
        self.snd.lose_all();
        self.rtt.back_off();
        self.pending.first_again = true;
        let large = self.snd.get(0).is_some_and(|s| s.len > self.mtu.base());
        if self.timeouts >= 2 && large && self.config.mtu_probing {
            // What got through once may do so no longer.
            self.counters.black_holes += 1;
            self.mtu.collapse();
            self.use_size(self.mtu.size());
        }
        self.rearm_rto(now);
    }

    /// Says again that we got the peer's answer: without that it may not send,
    /// and will forget us.
    fn hello(&mut self, now: Instant) {
        if self.state == State::Connected && self.hellos < HELLOS {
            self.hellos += 1;
            self.ack.now = true;
            let pause = Duration::from_secs(1 << self.hellos.min(6));
            self.timers.set(Timer::Hello, now + pause);
        }
    }

    fn keepalive(&mut self, now: Instant, pool: &mut Pool) {
        let Some(idle) = self.config.keepalive.filter(|_| self.state.can_receive()) else {
            return;
        };
        let most = self.config.keepalive_probes;
        let quiet = now.since(self.last_received_at);
        let patience = self.config.user_timeout;
        let out_of_time = self.keepalives > 0 && patience.is_some_and(|most| quiet >= most);
        if most > 0 && (self.keepalives >= most || out_of_time) {
            self.end(Reason::TimedOut, pool);
            return;
        }
        self.keepalives = self.keepalives.saturating_add(1);
        self.pending.keepalive = true;
        let pause = self.config.keepalive_interval.unwrap_or(idle);
        self.timers.set(Timer::Keepalive, now + pause);
    }
}
