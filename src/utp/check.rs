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
        hold!(
            self.snd.sent_count() <= usize::from(self.max_packets()),
            "packets in flight are bounded"
        );
        if self.state == State::Closed {
            hold!(
                self.timers.next().is_none() || self.pending.reset,
                "a closed connection waits"
            );
            hold!(!self.snd.has_sent(), "a closed connection keeps packets");
            hold!(self.rcv.early().1 == 0, "a closed connection keeps packets");
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
        match self.state {
            State::Closed => return Ok(()),
            State::Lingering | State::SynReceived => {
                hold!(set(Timer::Close), "a linger and an unproven peer end");
                return Ok(());
            }
            State::SynSent => {
                hold!(set(Timer::Rto) || set(Timer::Retry), "a SYN has a time-out");
                return Ok(());
            }
            State::Connected | State::Closing => {}
        }
        if self.snd.has_sent() {
            hold!(
                set(Timer::Rto) && within(Timer::Rto, self.config.max_rto),
                "sent data has a retransmission time-out"
            );
        } else if self.snd.has_unsent() {
            hold!(
                set(Timer::Persist) || set(Timer::Retry) || set(Timer::Cork),
                "data that is kept back has a deadline"
            );
        }
        if self.ack.now {
            hold!(set(Timer::Retry), "an acknowledgement that is due goes");
        } else if self.ack.unacked > 0 {
            hold!(
                set(Timer::Ack) && within(Timer::Ack, self.config.delayed_ack),
                "received data is acknowledged in time"
            );
        }
        if self.fin_acked && self.recv_closed {
            hold!(set(Timer::Close), "an orphan that waits for a FIN ends");
        }
        if self.config.keepalive.is_some() {
            hold!(set(Timer::Keepalive), "keepalive is armed");
        }
        Ok(())
    }
}
