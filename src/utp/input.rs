//! A packet arrives: whether it is believed, and what it says, step by step.

use std::time::Duration;

use super::connection::Connection;
use super::recv::Received;
use super::timers::Timer;
use super::{Reason, State};
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::wire::utp::{Header, Kind, MAX_EXTENSION};

/// Whether to go on with the next step.
type Step = std::ops::ControlFlow<()>;
const GO_ON: Step = Step::Continue(());
const DONE: Step = Step::Break(());

/// Numbers before the next one in order that are still taken for old ones.
const OLD: i32 = 0x4000;
/// A timestamp further back than this is of a clock that was set, not of a
/// packet that was overtaken. In microseconds.
const CLOCK_SET: u32 = 30_000_000;
/// When who has connected says so again, if nothing has come since.
const HELLO: Duration = Duration::from_secs(1);

impl Connection {
    /// Takes a packet of this connection: one that carries its
    /// [`recv_id`](Self::recv_id); a SYN that carries the id before that; or a
    /// RESET that carries either of its ids. `h` is what
    /// [`Header::parse`] found in `packet`, whose range is the whole uTP
    /// packet; it is kept or given back.
    pub fn handle_packet(&mut self, now: Instant, pool: &mut Pool, h: &Header, packet: Packet) {
        self.counters.packets_received += 1;
        let Some(mut packet) = self.take_expected(now, pool, h, packet) else {
            return;
        };
        // The bits are short, and the packet will be given away.
        let mut bits = [0; MAX_EXTENSION];
        let sack = h.sack.of(pool.bytes(&packet));
        let n = sack.len().min(MAX_EXTENSION);
        bits[..n].copy_from_slice(&sack[..n]);
        packet.advance(usize::from(h.len));
        self.counters.data_packets_received += u64::from(!packet.is_empty());
        let mut packet = Some(packet);
        let _ = match self.state {
            State::Closed => DONE,
            State::SynSent => self.in_syn_sent(now, pool, h),
            _ => self.in_order(now, pool, h, &bits[..n], &mut packet),
        };
        if let Some(p) = packet {
            self.keep_spare(p, pool);
        }
        self.rcv.note_room(self.payload_of_chunk(), pool);
        self.tell_room();
    }

    fn in_order(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        h: &Header,
        sack: &[u8],
        packet: &mut Option<Packet>,
    ) -> Step {
        self.check_reset(h, pool)?;
        self.check_syn(now, h)?;
        self.check_id(h)?;
        self.check_ack(now, h)?;
        self.check_sequence(now, h, packet)?;
        self.note_pause(now);
        self.note_peer(now, h);
        self.take_ack(now, h, sack, pool)?;
        self.take_payload(now, h, packet, pool)?;
        self.check_fin(now, pool)
    }

    /// The answer to our SYN.
    fn in_syn_sent(&mut self, now: Instant, pool: &mut Pool, h: &Header) -> Step {
        self.check_reset(h, pool)?;
        self.check_id(h)?;
        if h.kind != Kind::State || h.ack != self.isn || self.syns == 0 {
            self.counters.bad_acks += u64::from(h.kind != Kind::Syn);
            return DONE;
        }
        // No implementation counts its answer as a packet: the first one with
        // payload has its number.
        self.irs = h.seq.minus(1);
        self.rcv.nxt = h.seq;
        self.state = State::Connected;
        self.last_received_at = now;
        self.note_clock(now, h);
        self.snd.wnd = h.window;
        if self.syns == 1 {
            self.rtt.sample(now, now.since(self.last_sent_at));
        }
        self.timeouts = 0;
        self.rtt.reset_backoff();
        self.timers.stop(Timer::Rto);
        self.events.connected = true;
        // Who accepted may not send before it has heard from us.
        self.ack.now = true;
        self.timers.set(Timer::Hello, now + HELLO);
        self.rearm_keepalive(now);
        GO_ON
    }

    /// A RESET is believed if it answers something that we may have sent: a
    /// guess of both ids and numbers has to be good.
    fn check_reset(&mut self, h: &Header, pool: &mut Pool) -> Step {
        if h.kind != Kind::Reset {
            return GO_ON;
        }
        let ours = h.conn_id == self.recv_id || h.conn_id == self.send_id;
        let plausible = if self.state == State::SynSent {
            h.ack == self.isn && self.syns > 0
        } else {
            // Acknowledgements carry the number of the next packet.
            let (first, last) = (self.snd.una.minus(1), self.snd.nxt());
            first.le(h.ack) && h.ack.le(last)
        };
        if !ours || !plausible {
            self.counters.bad_resets += 1;
            return DONE;
        }
        let reason = match self.state {
            State::SynSent => Reason::Refused,
            _ if self.is_as_good_as_over() => Reason::Finished,
            _ => Reason::Reset,
        };
        self.end(reason, pool);
        DONE
    }

    /// Both streams are where they belong, but for acknowledgements: some
    /// forget a connection as soon as they have sent their FIN (libtorrent), or
    /// never send it again.
    pub(super) fn is_as_good_as_over(&self) -> bool {
        let all_there = self.fin_acked || (self.fin_queued && self.snd.queued() == 0);
        self.state == State::Lingering || (all_there && (self.rcv.is_over() || self.recv_closed))
    }

    /// A SYN again: its answer got lost, or it was long on its way.
    fn check_syn(&mut self, now: Instant, h: &Header) -> Step {
        if h.kind != Kind::Syn {
            return GO_ON;
        }
        if self.is_of_syn(h) {
            if self.state == State::SynReceived {
                self.note_clock(now, h);
                self.ack.now = true;
            } else {
                self.challenge(now);
            }
        }
        DONE
    }

    fn check_id(&self, h: &Header) -> Step {
        if h.conn_id == self.recv_id {
            GO_ON
        } else {
            DONE
        }
    }

    /// Is it of what was sent, and not from long ago? A packet whose
    /// acknowledgement cannot be is not of this connection.
    fn check_ack(&mut self, now: Instant, h: &Header) -> Step {
        let ahead = h.ack.distance(self.snd.una.minus(1));
        // What is unproven has to name the answer that it got.
        let old = if self.state == State::SynReceived {
            0
        } else {
            2 * i32::from(self.snd.peak()).max(16)
        };
        if (-old..=self.snd.sent_count() as i32).contains(&ahead) {
            return GO_ON;
        }
        self.counters.bad_acks += 1;
        if self.state != State::SynReceived {
            self.challenge(now);
        }
        DONE
    }

    /// Is its number near those that are expected?
    fn check_sequence(&mut self, now: Instant, h: &Header, packet: &Option<Packet>) -> Step {
        let ahead = h.seq.distance(self.rcv.nxt);
        if (-OLD..OLD).contains(&ahead) {
            return GO_ON;
        }
        self.counters.out_of_window += 1;
        if packet.as_ref().is_some_and(|p| !p.is_empty()) && self.state != State::SynReceived {
            self.challenge(now);
        }
        DONE
    }

    /// The peer is there.
    fn note_peer(&mut self, now: Instant, h: &Header) {
        self.last_received_at = now;
        let overtaken = self.peer_clock.wrapping_sub(h.timestamp) < CLOCK_SET
            && self.peer_clock != h.timestamp
            && self.peer_clock != 0;
        // A window from before the last one tells nothing new.
        let old_ack = h.ack.plus(1).lt(self.snd.una);
        let newer_ack = self.snd.una.le(h.ack);
        if newer_ack || !(old_ack || overtaken) {
            self.update_window(h.window);
        }
        if !overtaken {
            self.note_clock(now, h);
        }
        if self.snd.wnd == 0 && !self.recv_closed {
            // It lives, and has shut its window with data in flight or not: as
            // long as it answers, the connection stays open.
            self.timeouts = 0;
        }
        self.timers.stop(Timer::Hello);
        self.rearm_keepalive(now);
        if self.state == State::SynReceived {
            self.state = State::Connected;
            self.timers.stop(Timer::Close);
            self.events.connected = true;
            if self.fin_queued {
                self.state = State::Closing;
            }
            // It need not say so again.
            self.ack.now = true;
            self.rearm_keepalive(now);
        }
    }

    #[inline]
    pub(super) fn update_window(&mut self, window: u32) {
        if window > self.snd.wnd && self.timers.is_set(Timer::Persist) {
            // Whether it opened far enough shows when sending.
            self.timers.stop(Timer::Persist);
        }
        self.snd.wnd = window;
    }

    /// The payload, and the end of the stream.
    fn take_payload(
        &mut self,
        now: Instant,
        h: &Header,
        packet: &mut Option<Packet>,
        pool: &mut Pool,
    ) -> Step {
        if !matches!(h.kind, Kind::Data | Kind::Fin) {
            if h.ack.plus(2) == self.snd.una && packet.as_ref().is_some_and(Packet::is_empty) {
                // A keepalive.
                self.challenge(now);
            }
            return GO_ON;
        }
        let Some(p) = packet.take() else {
            return GO_ON;
        };
        let fin = h.kind == Kind::Fin;
        let new = self.rcv.nxt.le(h.seq);
        if self.recv_closed && new && !p.is_empty() && self.state.can_receive() {
            // Nobody will read it: the peer has to know.
            *packet = Some(p);
            self.abort(pool);
            return DONE;
        }
        let before = self.rcv.available();
        let nxt = self.rcv.nxt;
        self.note_size(p.len() as u32);
        let received = self.rcv.take_in(h.seq, p, fin, pool);
        let delivered = (self.rcv.available() - before) as u32;
        match received {
            Received::InOrder { filled } => {
                if filled {
                    self.ack.run = 0;
                } else {
                    self.ack.run = self.ack.run.saturating_add(delivered);
                }
                self.ack.now |= filled || fin;
                if delivered > 0 {
                    self.note_received(now, delivered);
                }
                // A packet without payload has a number, too.
                self.ack.now |= delivered == 0 && self.rcv.nxt != nxt;
            }
            Received::Early => {
                self.counters.out_of_order += 1;
                self.ack.run = 0;
                self.ack_early();
            }
            Received::Duplicate => {
                self.counters.duplicates += 1;
                self.ack_lossy();
            }
            Received::Outside => {
                self.counters.out_of_window += 1;
                self.ack.now = true;
            }
            Received::NoRoom => {
                self.counters.no_room += 1;
                self.ack.now = true;
            }
        }
        GO_ON
    }

    /// The end of the peer's stream, once everything before it is here.
    fn check_fin(&mut self, now: Instant, pool: &mut Pool) -> Step {
        if self.rcv.is_over() && !self.fin_told {
            self.fin_told = true;
            // Who is here now may answer our FIN, however often it got lost before.
            self.timeouts = 0;
            self.rtt.reset_backoff();
            self.rearm_rto(now);
            self.ack.now = true;
            self.events.peer_closed = true;
            self.rcv.forget_early(pool);
        }
        self.maybe_finish(now, pool);
        GO_ON
    }

    /// Whether both streams have ended: lingers, unless the peer is known to
    /// have our acknowledgement of its FIN.
    pub(super) fn maybe_finish(&mut self, now: Instant, pool: &mut Pool) {
        if self.state != State::Closing || !self.fin_acked {
            return;
        }
        if !self.rcv.is_over() {
            if self.recv_closed && !self.timers.is_set(Timer::Close) {
                self.timers.set(Timer::Close, now + self.config.fin_wait);
            }
            return;
        }
        if self.fin_answers {
            self.end(Reason::Finished, pool);
            return;
        }
        self.state = State::Lingering;
        self.timers.stop_all();
        self.timers.set(Timer::Close, now + self.config.linger);
        self.events.closed = self.events.closed.or(Some(Reason::Finished));
    }

    /// Acknowledges what is not believed, within limits.
    pub(super) fn challenge(&mut self, now: Instant) {
        if now.since(self.ack.challenge_since) >= Duration::from_secs(1) {
            self.ack.challenge_since = now;
            self.ack.challenges = 0;
        }
        if self.ack.challenges < self.config.challenge_acks {
            self.ack.challenges += 1;
            self.counters.challenges += 1;
            self.ack.now = true;
        }
    }
}
