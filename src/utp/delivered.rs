//! What an acknowledgement says has arrived.

use std::time::Duration;

use super::State;
use super::connection::Connection;
use crate::congestion::{AckSample, DelaySample};
use crate::frame::Pool;
use crate::time::Instant;
use crate::wire::utp::{Header, Kind, sack_bit};

/// Duplicate acknowledgements that show a loss to who sends no selective ones.
const DUPLICATES: u8 = 3;

/// What one acknowledgement brought.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// Packets and bytes that arrived, for all that was known.
    packets: u32,
    bytes: u32,
    /// When the last of them left that was sent only once.
    sent_at: Option<Instant>,
    /// Packets may be larger from now on.
    larger: bool,
}

impl News {
    #[inline]
    fn add(&mut self, len: u16, sent: u8, sent_at: Instant) {
        self.packets += 1;
        self.bytes += u32::from(len);
        if sent == 1 {
            self.sent_at = self.sent_at.max(Some(sent_at));
        }
    }
}

impl Connection {
    /// Takes a believable acknowledgement; `sack` are the bits of a selective
    /// one.
    pub(super) fn take_ack(
        &mut self,
        now: Instant,
        h: &Header,
        sack: &[u8],
        pool: &mut Pool,
    ) -> std::ops::ControlFlow<()> {
        let acked = h.ack.plus(1).distance(self.snd.una);
        let in_flight = self.snd.in_flight();
        let mut news = News::default();
        if acked > 0 {
            self.take_cumulative(now, acked as usize, &mut news, pool);
        }
        if !sack.is_empty() && acked >= 0 {
            self.take_selective(now, sack, &mut news);
        }
        let none_known = sack.is_empty() && h.kind == Kind::State;
        self.count_duplicates(none_known && acked == 0);
        if news.packets == 0 && acked <= 0 && self.recovery.duplicates < DUPLICATES {
            return std::ops::ControlFlow::Continue(());
        }
        self.counters.delivered += u64::from(news.packets);
        let rtt = news.sent_at.map(|sent_at| now.since(sent_at));
        if let Some(rtt) = rtt {
            self.rtt.sample(now, rtt);
        }
        if acked > 0 {
            self.timeouts = 0;
            self.probed = false;
            self.progress_at = now;
            self.rtt.reset_backoff();
        }
        if news.packets > 0 {
            self.rearm_rto(now);
        }
        self.grow(now, h, &news, rtt, in_flight);
        if news.larger {
            self.use_size(self.mtu.size());
        }
        self.find_losses(now, in_flight);
        self.arm_probe(now);
        if self.fin_acked && self.state == State::Closing {
            self.maybe_finish(now, pool);
            if self.state == State::Closed {
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn take_cumulative(&mut self, now: Instant, n: usize, news: &mut News, pool: &mut Pool) {
        let plain = self.snd.is_plain();
        for _ in 0..n {
            let seq = self.snd.una;
            let Some(s) = self.snd.pop_acked() else {
                break;
            };
            if let Some(held) = s.held {
                pool.release(held);
            }
            self.fin_acked |= s.fin;
            self.counters.bytes_acked += u64::from(s.len);
            if s.sacked {
                continue;
            }
            news.add(s.len, s.sent, s.sent_at);
            news.larger |= self.mtu.arrived(seq, s.sent == 1);
            if !plain && self.is_telling(now, s.sent, s.sent_at) {
                self.snd.note_arrival(s.order);
            }
        }
        if !plain {
            self.snd.tidy();
        }
        let una = self.snd.una;
        self.small.take_if(|seq| seq.lt(una));
        self.cwnd_limited.take_if(|end| end.plus(1).le(una));
    }

    fn take_selective(&mut self, now: Instant, sack: &[u8], news: &mut News) {
        // The first bit is of the second packet that is missing.
        let places = (sack.len() * 8).min(self.snd.sent_count().saturating_sub(1));
        for bit in 0..places {
            // Whole bytes that say nothing are passed over.
            if bit % 8 == 0 && sack.get(bit / 8) == Some(&0) {
                continue;
            }
            let i = bit + 1;
            if !sack_bit(sack, bit) || !self.snd.mark_sacked(i) {
                continue;
            }
            let Some(s) = self.snd.get(i) else {
                break;
            };
            let (len, sent, sent_at, order) = (s.len, s.sent, s.sent_at, s.order);
            news.add(len, sent, sent_at);
            news.larger |= self.mtu.arrived(self.snd.una.plus(i as u16), sent == 1);
            if self.is_telling(now, sent, sent_at) {
                self.snd.note_arrival(order);
            }
        }
    }

    /// Whether it is known which transmission of a packet has arrived: not an
    /// earlier one than the last, if that was too short ago.
    fn is_telling(&self, now: Instant, sent: u8, sent_at: Instant) -> bool {
        sent == 1 || now.since(sent_at) >= self.rtt.min()
    }

    /// Who sends no selective acknowledgements repeats the others.
    fn count_duplicates(&mut self, repeats: bool) {
        let r = &mut self.recovery;
        let una = self.snd.una;
        r.recover = r.recover.filter(|ended| una.le(*ended));
        let echo = r.recover.is_some() && r.point.is_none();
        if repeats && !echo && self.snd.has_sent() && self.snd.sacked_count() == 0 {
            r.duplicates = r.duplicates.saturating_add(1);
        } else {
            r.duplicates = 0;
        }
        if r.duplicates == DUPLICATES {
            let first = self.snd.get(0).is_some_and(|s| s.sent == 1);
            if first {
                self.snd.mark_lost(0);
            }
        }
    }

    /// Tells the congestion controller.
    fn grow(
        &mut self,
        now: Instant,
        h: &Header,
        news: &News,
        rtt: Option<Duration>,
        in_flight: u32,
    ) {
        let una = self.snd.una;
        let round_start = self.round_end.le(una);
        if round_start {
            self.round_end = self.snd.nxt();
        }
        let sample = AckSample {
            now,
            acked: news.bytes,
            rtt,
            srtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            in_flight,
            cwnd_limited: self.cwnd_limited.is_some(),
            round_start,
            delay: Some(DelaySample {
                ours: h.timestamp_diff,
                theirs: self.reply_diff,
            }),
        };
        if self.recovery.point.is_some() && !self.recovery.by_timeout {
            self.cc.on_ack_in_recovery(&sample);
        } else {
            self.cc.on_ack(&sample);
        }
        if self.recovery.point.is_some_and(|point| point.le(una)) {
            if !self.recovery.by_timeout {
                self.cc.on_recovery_exit(now);
            }
            self.recovery.recover = self.recovery.point.take();
        }
    }
}
