//! A segment that leaves when nothing else is under way: the answer to what came,
//! or a request. What is sent here comes out as it would by `output`, which sends
//! everything else; but nothing is looked at that cannot be there.

use super::State;
use super::connection::Connection;
use super::timers::Timer;
use crate::frame::{Pool, TxDesc};
use crate::time::Instant;
use crate::wire::segment::DataHeader;
use crate::wire::tcp::Flags;
use crate::wire::template::Template;

impl Connection {
    /// Sends the first segment of the queue, if nothing is in flight, it may
    /// leave as it is, and there is nothing unusual about the connection.
    #[inline]
    pub(super) fn send_single(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        #[cfg(test)]
        if super::predict::in_full() {
            return None;
        }
        if !self.is_quiet() {
            return None;
        }
        let ecn = self.ecn.train_mark()?;
        let mss = self.snd.mss;
        let s = self.snd.first()?;
        let (len, end, held) = (s.len, s.end(), s.held.as_ref()?);
        let headers = t.data_headers(self.ts.is_some())?;
        let goes = !(s.syn | s.fin)
            && len <= mss
            && self.snd.wire / 2 < mss
            && end.le(self.snd.una + self.snd.wnd)
            && held.len() == headers + usize::from(len)
            && !pool.in_transmission(held);
        if !goes {
            return None;
        }
        if !self.can_settle_later(now) {
            self.settle_answer();
        }
        let rto = self.rtt.time_out(&self.config);
        if self.config.slow_start_after_idle && now.nanos_since(self.last_sent_at) > rto {
            self.cc.on_idle(now.since(self.last_sent_at), rto.into());
        }
        self.rcv.note_room(self.payload_of_chunk(), pool);
        let push = if end == self.snd.tail() {
            Flags::PSH
        } else {
            Flags::NONE
        };
        let header = DataHeader {
            src_port: self.ports.local,
            dst_port: self.ports.remote,
            seq: self.snd.nxt,
            ack: self.rcv.nxt,
            flags: Flags::ACK | push | self.ecn.echo_flag(),
            window: self.rcv.advertise(u32::from(self.mss), false),
            timestamps: self.ts.map(|_| self.timestamps(now)),
        };
        self.ident = self.ident.wrapping_add(1);
        let (ident, s) = (self.ident, self.snd.next_unsent_mut()?);
        let (sum, held) = (s.sum, s.held.as_mut()?);
        let desc = pool.transmit_written(held, |frame| {
            t.write_data(frame, &header, ident, ecn, sum);
        })?;
        self.snd.sent_next(now);
        self.last_sent_at = now;
        self.progress_at = now;
        self.counters.data_segments_sent += 1;
        self.counters.bytes_sent += u64::from(len);
        if len < mss {
            self.partial_sent(end);
        }
        self.timers.set(Timer::Rto, now + rto);
        self.pending.arm_probe = true;
        self.acknowledged();
        #[cfg(test)]
        super::predict::count_short(1);
        Some(desc)
    }

    /// Whether nothing is in flight, and nothing but the windows decides about
    /// what is new.
    #[inline]
    fn is_quiet(&self) -> bool {
        !self.snd.has_sent()
            && self.state == State::Established
            && self.snd.nxt == self.snd.una
            && self.recovery.is_calm()
            && !self.pending.is_rare()
            && !(self.mtu.wanted | self.cork | self.config.pacing)
            && self.mtu.sending == 0
            && !self.timers.is_set(Timer::Persist)
            && !self.rcv.has_sack()
    }
}
