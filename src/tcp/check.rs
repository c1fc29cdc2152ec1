//! What must hold of a connection between two calls, whatever has arrived:
//! asked by simulations and tests, never by the data path.

use super::State;
use super::connection::Connection;
use super::timers::Timer;
use crate::time::Instant;

/// Answers with a broken rule.
macro_rules! hold {
    ($condition:expr, $rule:literal) => {
        if !$condition {
            return Err($rule);
        }
    };
}
pub(super) use hold;

impl Connection {
    /// The first rule that does not hold of the sequence spaces, the queues
    /// and their sums.
    ///
    /// # Errors
    /// The rule.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), &'static str> {
        self.snd.check()?;
        self.rcv.check()?;
        hold!(
            self.snd.queued() <= self.config.send_buffer.max(1) + u32::from(u16::MAX),
            "the send queue is bounded by its buffer"
        );
        if let Some(fin) = self.fin_end {
            hold!(
                fin == self.snd.tail() || self.state == State::Closed,
                "nothing is queued behind our FIN (RFC 9293 3.10.2)"
            );
        }
        let finished = matches!(
            self.state,
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait
        );
        if let Some(fin) = self.fin_seq.filter(|_| finished) {
            hold!(
                self.rcv.nxt == fin + 1,
                "nothing is received behind the peer's FIN (RFC 9293 3.10.7.4)"
            );
        }
        if self.state == State::Closed {
            hold!(
                self.timers.next().is_none() || self.pending.reset,
                "a closed connection waits"
            );
            hold!(!self.snd.has_sent(), "a closed connection keeps segments");
        }
        Ok(())
    }

    /// The first rule that does not hold of the timers of a connection from
    /// which all output has been polled: whoever waits for something must
    /// have a deadline for when it does not come.
    ///
    /// # Errors
    /// The rule.
    #[doc(hidden)]
    pub fn check_timers(&self, now: Instant) -> Result<(), &'static str> {
        let t = &self.timers;
        let set = |timer| t.is_set(timer);
        let within = |timer, limit| t.get(timer) <= now + limit;
        if self.state == State::Closed {
            return Ok(());
        }
        if self.state == State::TimeWait {
            hold!(set(Timer::Close), "TIME-WAIT ends (RFC 9293 3.6.1)");
            return Ok(());
        }
        if self.snd.has_sent() {
            hold!(
                set(Timer::Rto) && within(Timer::Rto, self.config.max_rto),
                "sent data has a retransmission time-out (RFC 6298 5.1)"
            );
        } else if self.snd.has_unsent() {
            hold!(
                set(Timer::Persist) || set(Timer::Retry) || set(Timer::Cork),
                "data that is kept back has a deadline (RFC 9293 3.8.6.1)"
            );
        }
        if self.ack.now {
            hold!(set(Timer::Retry), "an acknowledgement that is due goes");
        } else if self.ack.unacked > 0 {
            hold!(
                set(Timer::Ack) && within(Timer::Ack, self.config.delayed_ack),
                "received data is acknowledged in time (RFC 9293 3.8.6.3)"
            );
        }
        if self.state == State::FinWait2 && self.recv_closed {
            hold!(set(Timer::Close), "an orphan in FIN-WAIT-2 ends");
        }
        if self.config.keepalive.is_some() && self.state.is_synchronized() {
            hold!(set(Timer::Keepalive), "keepalive is armed (RFC 9293 3.8.4)");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::Config;
    use crate::tcp::testing::Pair;
    use std::time::Duration;

    /// The checks are worth something only if they see what they are for.
    #[test]
    fn a_missing_timer_and_a_wrong_sum_are_seen() {
        let mut p = Pair::connected(Config::default(), Config::default());
        p.a.to_send = b"outstanding".to_vec();
        p.settle();
        let now = p.now;
        let c = p.a.c();
        assert_eq!((c.check(), c.check_timers(now)), (Ok(()), Ok(())));
        c.timers.stop(Timer::Rto);
        assert!(c.check_timers(now).unwrap_err().contains("RFC 6298"));
        c.timers.set(Timer::Rto, now + c.config.max_rto * 2);
        assert!(c.check_timers(now).is_err(), "too late");
        c.rearm_rto(now);
        c.ack.unacked = 1;
        c.timers.stop(Timer::Ack);
        assert!(c.check_timers(now).unwrap_err().contains("acknowledged"));
        c.ack.unacked = 0;
        let una = c.snd.una;
        c.snd.una = c.snd.nxt + 1;
        assert!(c.check().unwrap_err().contains("SND.UNA <= SND.NXT"));
        c.snd.una = una;
        p.run(Duration::from_secs(1));
        assert_eq!(p.a.c().check(), Ok(()));
        p.finish();
    }
}
