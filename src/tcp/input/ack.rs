//! The acknowledgement and the window of a segment: the fifth step of RFC 9293
//! section 3.10.7.4.

use super::{DONE, GO_ON, Step};
use crate::frame::Pool;
use crate::tcp::connection::Connection;
use crate::tcp::timers::Timer;
use crate::tcp::{Reason, State};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, SeqNumber};

impl Connection {
    /// Fifth: the acknowledgement.
    pub(super) fn check_ack(
        &mut self,
        now: Instant,
        h: &Header,
        len: u32,
        pool: &mut Pool,
    ) -> Step {
        if !h.flags.contains(Flags::ACK) {
            return DONE;
        }
        let handshaking = self.snd.first().is_some_and(|s| s.syn);
        if handshaking {
            if h.ack.le(self.snd.una) || h.ack.gt(self.snd.nxt) {
                self.disown(now, h.ack);
                return DONE;
            }
            self.finish_handshake(now, h, pool);
            return self.after_ack(now, pool);
        }
        if h.ack.lt(self.oldest_ack()) || h.ack.gt(self.snd.nxt) {
            self.challenge(now);
            return DONE;
        }
        if h.ack.lt(self.snd.una) {
            return GO_ON;
        }
        let wnd = self.snd.wnd;
        let changed = self.update_window(h, false) && self.snd.wnd != wnd;
        let bare = len == 0 && !changed && !h.flags.contains(Flags::FIN);
        self.take_ack(now, h, bare, pool);
        if self.snd.wnd == 0 && !self.recv_closed {
            // The peer lives, and has shut its window with data in flight or
            // not: as long as it answers, the connection stays open (RFC 9293
            // section 3.8.6.1).
            self.timeouts = 0;
        }
        if self.timers.is_set(Timer::Persist) {
            // Whether the window opened shows when sending.
            if !self.recv_closed {
                self.timeouts = 0;
            }
            if self.snd.wnd > wnd {
                self.probes = 0;
                self.rtt.reset_backoff();
                self.timers.stop(Timer::Persist);
            }
        }
        self.after_ack(now, pool)
    }

    /// The oldest acknowledgement that is believed: RFC 5961 section 5.2, and
    /// not one of what was never sent, which whoever guesses could use while a
    /// connection is young.
    fn oldest_ack(&self) -> SeqNumber {
        let (una, reach) = (self.snd.una, self.snd.max_wnd);
        if self.counters.bytes_acked < u64::from(reach) {
            let sent = una.distance(self.snd.iss + 1).max(0) as u32;
            una - reach.min(sent)
        } else {
            una - reach
        }
    }

    /// Takes the window field unless an older segment brings it. One that
    /// acknowledges more is never older, although it may repeat older payload:
    /// with the window of before it would let us go beyond the peer's edge.
    pub(in crate::tcp) fn update_window(&mut self, h: &Header, unscaled: bool) -> bool {
        let snd = &mut self.snd;
        let newer =
            snd.wl1.lt(h.seq) || (snd.wl1 == h.seq && snd.wl2.le(h.ack)) || h.ack.gt(snd.una);
        if !newer && !unscaled {
            return false;
        }
        snd.wnd = u32::from(h.window) << if unscaled { 0 } else { snd.scale };
        snd.max_wnd = snd.max_wnd.max(snd.wnd);
        snd.wl1 = h.seq;
        snd.wl2 = h.ack;
        true
    }

    /// What the acknowledgement of our FIN changes.
    fn after_ack(&mut self, now: Instant, pool: &mut Pool) -> Step {
        let fin_acked = self.fin_end.is_some_and(|end| self.snd.una.ge(end));
        if !fin_acked {
            return GO_ON;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.recv_closed {
                    self.timers.set(Timer::Close, now + self.config.fin_wait_2);
                }
            }
            State::Closing => self.enter_time_wait(now),
            State::LastAck => {
                self.end(Reason::Finished, pool);
                return DONE;
            }
            _ => {}
        }
        GO_ON
    }
}
