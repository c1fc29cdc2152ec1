//! What an acknowledgement tells the sender: delivery, loss, recovery and
//! congestion (RFC 5681, 6298, 6675, 8985, 9937).

use std::time::Duration;

use super::CaState;
use super::connection::Connection;
use super::delivered::Progress;
use super::timers::Timer;
use super::undo::Frto;
use crate::congestion::{AckSample, Prr};
use crate::frame::Pool;
use crate::time::Instant;
use crate::wire::tcp::{Header, SeqNumber};

/// Duplicate acknowledgements that show a loss when there is no SACK.
const DUP_ACKS: u32 = 3;
/// Longest delay of a peer's acknowledgement that a tail probe allows for
/// when a single segment is in flight (RFC 8985 section 7.2).
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);
/// Least allowance for the peer's and our own clock.
const PROBE_SLACK: Duration = Duration::from_millis(2);

/// Where the sender stands after a loss.
#[derive(Debug, Default)]
pub enum Phase {
    /// Nothing is being repaired.
    #[default]
    Open,
    /// The window goes down after a congestion mark (RFC 3168), until what is
    /// behind `point` is acknowledged.
    Cwr { point: SeqNumber },
    /// Fast recovery until `point` is acknowledged.
    Fast { point: SeqNumber },
    /// After a time-out, until `point` is acknowledged.
    Loss { point: SeqNumber },
}

/// Loss recovery of one connection.
#[derive(Debug, Default)]
pub struct Recovery {
    pub phase: Phase,
    /// Duplicate acknowledgements in a row, without SACK.
    pub dup_acks: u32,
    /// Bytes that they stand for.
    pub dup_bytes: u32,
    /// What is repaired was no sign of congestion: the threshold stands as it
    /// was before.
    pub unreduced: bool,
    /// Whether the last time-out may turn out to have been mistaken.
    pub frto: Frto,
    /// There from the first trouble on, until [`trim`](Self::trim).
    repair: Option<Box<Repair>>,
}

/// What is remembered of repairs, and of the reports that lead to them.
#[derive(Debug, Default)]
pub struct Repair {
    /// The way down of the window, in fast recovery and after a mark.
    pub prr: Prr,
    /// Where the last recovery ended, until more is acknowledged: duplicate
    /// acknowledgements of that are echoes of what it sent again, and begin
    /// no other without SACK (RFC 6582 section 3.2 step 1).
    pub recover: Option<SeqNumber>,
    /// Timestamp of the first retransmission of this recovery: an
    /// acknowledgement that echoes an older one is of the original.
    pub undo_ts: Option<u32>,
    /// Retransmissions of this recovery that no duplicate report has
    /// explained away.
    pub undo_left: Option<u32>,
    /// SND.UNA and SND.NXT when it began: duplicates of anything else are not
    /// of its retransmissions.
    pub undo_from: SeqNumber,
    pub undo_to: SeqNumber,
    /// Blocks last seen, so that they are not walked again.
    pub blocks: [(SeqNumber, SeqNumber); 4],
}

impl Repair {
    #[cold]
    fn is_over(&self) -> bool {
        self.undo_ts.is_none() && self.blocks == Self::default().blocks
    }
}

impl Recovery {
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// What is remembered, if there ever was anything.
    pub fn past(&mut self) -> Option<&mut Repair> {
        self.repair.as_deref_mut()
    }

    /// Whether nothing is being repaired, and an acknowledgement has nothing to
    /// change in what is remembered, with SACK.
    #[inline]
    pub fn is_calm(&self) -> bool {
        self.is_open()
            && self.frto == Frto::No
            && self.dup_bytes == 0
            && self.repair.as_ref().is_none_or(|past| past.is_over())
    }

    /// What is to be remembered.
    pub fn repair(&mut self) -> &mut Repair {
        self.repair.get_or_insert_default()
    }

    /// Whether anything is remembered.
    pub const fn has_slack(&self) -> bool {
        self.repair.is_some()
    }

    /// Forgets repairs that are long over.
    pub fn trim(&mut self) {
        if self.is_open() {
            self.repair = None;
        }
    }

    /// Reports on what was sent again cannot take anything back any more.
    pub fn forget_undo(&mut self) {
        if let Some(past) = self.past() {
            past.undo_ts = None;
            past.undo_left = None;
        }
    }

    /// Whether a loss is being repaired.
    pub const fn is_repairing(&self) -> bool {
        matches!(self.phase, Phase::Fast { .. } | Phase::Loss { .. })
    }

    /// Whether a loss that was found before a time-out is being repaired.
    pub const fn is_fast(&self) -> bool {
        matches!(self.phase, Phase::Fast { .. })
    }

    /// How congestion control stands, in Linux's words. `sacked` says that
    /// something was selectively acknowledged.
    pub const fn ca_state(&self, sacked: bool) -> CaState {
        match self.phase {
            Phase::Open if sacked || self.dup_acks > 0 => CaState::Disorder,
            Phase::Open => CaState::Open,
            Phase::Cwr { .. } => CaState::Cwr,
            Phase::Fast { .. } => CaState::Recovery,
            Phase::Loss { .. } => CaState::Loss,
        }
    }

    /// Duplicate acknowledgements in a row, counted without SACK.
    pub const fn dup_acks(&self) -> u32 {
        self.dup_acks
    }

    /// A retransmission went out.
    pub fn retransmitted(&mut self, bytes: u32) {
        let repairing = self.is_repairing();
        let left = self.past().and_then(|p| p.undo_left.as_mut());
        if let Some(n) = left.filter(|_| repairing) {
            *n += 1;
        }
        self.sent(bytes);
    }

    pub fn sent(&mut self, bytes: u32) {
        if let Phase::Fast { .. } | Phase::Cwr { .. } = self.phase {
            self.repair().prr.on_sent(bytes);
        }
    }
}

impl Connection {
    /// Bytes in the network, by our best estimate.
    pub(super) fn in_flight(&self) -> u32 {
        self.snd.in_flight().saturating_sub(self.recovery.dup_bytes)
    }

    /// Takes an acceptable acknowledgement. `bare` says that the segment
    /// carried nothing else and left the window as it was, so that it may
    /// count as a duplicate (RFC 5681 section 2).
    pub(super) fn take_ack(&mut self, now: Instant, h: &Header, bare: bool, pool: &mut Pool) {
        let in_flight = self.in_flight();
        let sacked_before = self.snd.sacked();
        let advanced = h.ack.gt(self.snd.una);
        let mut p = Progress {
            ece: self.ecn.is_echo(h.flags) && self.snd.has_sent(),
            ..Progress::default()
        };
        if advanced {
            self.take_cumulative(now, h, &mut p, pool);
        }
        if self.sack {
            self.take_blocks(now, h, &mut p);
        } else {
            self.take_duplicate(advanced, bare, &mut p);
        }
        if let Some(rtt) = p.rtt {
            self.rtt.sample(now, rtt, &self.config);
        }
        self.counters.delivered += u64::from(p.segments);
        if p.ece {
            self.counters.rare().delivered_ce += u64::from(p.segments);
        }
        self.rack.adapt(&self.snd, p.dsack);
        let duplicate = bare && !advanced && p.delivered == 0;
        self.finish_probe(now, h.ack, p.dsack || duplicate, in_flight);
        if advanced {
            self.judge_retransmissions(h);
        }
        if self.recovery.frto != Frto::No {
            self.judge_timeout(&p, advanced);
        }
        let newly_lost = self.find_losses(now, advanced);
        // Data up to there was sent in the round before.
        let round_start = advanced && self.snd.una.gt(self.round_end);
        if round_start {
            self.round_end = self.snd.nxt;
            self.ecn.acked(self.snd.una);
        }
        let sample = AckSample {
            now,
            acked: p.delivered,
            rtt: p.rtt,
            srtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            min_rtt: if self.rtt.srtt().is_some() {
                self.rtt.min()
            } else {
                Duration::ZERO
            },
            in_flight,
            cwnd_limited: self.cwnd_limited.is_some(),
            round_start,
            delay: None,
        };
        self.advance_phase(now, &sample, newly_lost, advanced, sacked_before, &p);
        if p.ece {
            self.take_echo(now, &sample, sacked_before, p.acked);
        }
        if self.cwnd_limited.is_some_and(|at| self.snd.una.ge(at)) {
            self.cwnd_limited = None;
        }
        if advanced {
            self.timeouts = 0;
            self.progress_at = now;
            self.probes = 0;
            self.pending.tail_probe = false;
            self.mtu_probe_acked(now);
            self.rearm_rto(now);
        }
        if p.delivered > 0 {
            self.arm_probe(now);
        }
    }

    /// RFC 8985 section 7.4: was the probe needed? `twice` says that the peer
    /// had what the probe carried already. An acknowledgement of just the
    /// probe's end does not tell: what comes next does.
    fn finish_probe(&mut self, now: Instant, ack: SeqNumber, twice: bool, in_flight: u32) {
        let Some((end, retransmitted)) = self.rack.tlp else {
            return;
        };
        if ack.lt(end) {
            return;
        }
        if !retransmitted || twice {
            self.rack.tlp = None;
        } else if ack.gt(end) {
            self.rack.tlp = None;
            if self.recovery.is_open() {
                if let Some(past) = self.recovery.past() {
                    past.undo_left = None;
                }
                let ssthresh = self.cc.on_congestion(now, in_flight);
                self.cc.set_cwnd(ssthresh);
                self.cc.on_recovery_exit(now);
                self.ecn.reduced();
            }
        }
    }

    /// Marks what is lost. Answers the bytes newly marked.
    fn find_losses(&mut self, now: Instant, advanced: bool) -> u32 {
        if !self.sack {
            let needed = match self.recovery.phase {
                Phase::Open | Phase::Cwr { .. } => {
                    let una = self.snd.una;
                    let echoes = self.recovery.past().is_some_and(|past| {
                        past.recover = past.recover.filter(|r| una.le(*r));
                        past.recover.is_some()
                    });
                    self.recovery.dup_acks >= DUP_ACKS && !echoes
                }
                // NewReno (RFC 6582): a partial acknowledgement shows the
                // next hole.
                Phase::Fast { point } => advanced && self.snd.una.lt(point),
                Phase::Loss { .. } => false,
            };
            if !needed || !self.snd.has_sent() {
                return 0;
            }
            let lost = self.snd.mark_lost(0);
            self.judge_mtu_probe(now);
            return lost;
        }
        if !self.snd.has_sent() && self.snd.resent(0).is_none() {
            // Nothing is left that could be lost.
            self.timers.stop(Timer::Reorder);
            return 0;
        }
        let recovering = self.recovery.is_repairing();
        let srtt = self.srtt();
        let (lost, wait) =
            self.rack
                .detect_loss(now, &mut self.snd, recovering, self.rtt.min(), srtt);
        match wait {
            Some(d) => self.timers.set(Timer::Reorder, now + d),
            None => self.timers.stop(Timer::Reorder),
        }
        if lost > 0 {
            self.judge_mtu_probe(now);
        }
        lost
    }

    fn advance_phase(
        &mut self,
        now: Instant,
        sample: &AckSample,
        newly_lost: u32,
        advanced: bool,
        sacked_before: u32,
        p: &Progress,
    ) {
        let una = self.snd.una;
        // The window grows by what is acknowledged, not by what is only
        // reported (RFC 5681 section 3.1, RFC 3042 section 2), nor by an
        // acknowledgement that echoes a mark (RFC 3168 section 6.1.2).
        let grows = advanced && !p.ece;
        let in_flight = self.in_flight();
        match self.recovery.phase {
            Phase::Fast { point } if una.ge(point) => {
                self.cc.on_recovery_exit(now);
                self.end_recovery();
            }
            Phase::Loss { point } if una.ge(point) => {
                self.cc.on_ack(sample);
                self.end_recovery();
            }
            // What is behind tells the peer of the reduction.
            Phase::Cwr { point } if una.gt(point) => {
                self.cc.on_recovery_exit(now);
                self.recovery.phase = Phase::Open;
            }
            Phase::Fast { .. } | Phase::Cwr { .. } => {
                let prr = &mut self.recovery.repair().prr;
                if newly_lost > 0
                    && let Some(lower) = self.cc.on_further_loss(newly_lost)
                {
                    prr.set_ssthresh(lower);
                }
                let cwnd = prr.on_ack(sample.acked, in_flight, advanced && newly_lost == 0);
                self.cc.set_cwnd(cwnd);
                self.cc.on_ack_in_recovery(sample);
            }
            Phase::Loss { .. } if grows => self.cc.on_ack(sample),
            Phase::Open if newly_lost == 0 && grows => self.cc.on_ack(sample),
            _ => self.cc.on_ack_in_recovery(sample),
        }
        if !self.recovery.is_repairing() && self.snd.lost() > 0 {
            self.begin_recovery(now, sample, sacked_before, p.acked);
        }
    }

    fn end_recovery(&mut self) {
        self.rack.recovery_ended();
        let recover = match self.recovery.phase {
            Phase::Fast { point } | Phase::Loss { point } => Some(point),
            Phase::Open | Phase::Cwr { .. } => None,
        };
        let past = self.recovery.repair();
        past.recover = recover;
        past.undo_ts = None;
        self.recovery.phase = Phase::Open;
        self.recovery.dup_acks = 0;
        self.recovery.dup_bytes = 0;
        self.recovery.frto = Frto::No;
        self.recovery.unreduced = false;
    }

    fn begin_recovery(&mut self, now: Instant, s: &AckSample, sacked_before: u32, acked: u32) {
        let point = self.snd.nxt;
        if let Phase::Cwr { .. } = self.recovery.phase {
            // The window is on its way down already (RFC 3168 section 6.1.2):
            // once for one window of data is enough.
        } else {
            let mut ssthresh = self.cc.on_congestion(now, s.in_flight);
            let further = self.snd.lost().saturating_sub(u32::from(self.snd.mss));
            if further > 0 {
                ssthresh = self.cc.on_further_loss(further).unwrap_or(ssthresh);
            }
            self.lower_window(s, ssthresh, sacked_before, acked);
            self.may_undo_from_now(now);
        }
        self.recovery.phase = Phase::Fast { point };
        self.rack.tlp = None;
        self.pending.tail_probe = false;
        self.timers.stop(Timer::Probe);
        self.counters.rare().recoveries += 1;
    }

    /// What is sent again from now on, of what is in flight, may turn out not
    /// to have been lost.
    fn may_undo_from_now(&mut self, now: Instant) {
        let ts = self.ts.map(|_| self.ts_val(now));
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let repair = self.recovery.repair();
        repair.undo_ts = ts;
        repair.undo_left = Some(0);
        repair.undo_from = una;
        repair.undo_to = nxt;
    }

    /// Begins to bring the window down to `ssthresh`, in proportion to what is
    /// delivered.
    fn lower_window(&mut self, s: &AckSample, ssthresh: u32, sacked_before: u32, acked: u32) {
        let mut prr = Prr::enter(
            u32::from(self.snd.mss),
            ssthresh,
            self.snd.outstanding(),
            sacked_before,
            acked,
            self.in_flight(),
        );
        let cwnd = prr.on_ack(s.acked, self.in_flight(), false);
        self.cc.set_cwnd(cwnd.max(prr.cwnd()));
        self.ecn.reduced();
        self.recovery.repair().prr = prr;
    }

    /// An acknowledgement echoes a congestion mark: at most one reduction for
    /// one window of data, whatever its reason was (RFC 3168 section 6.1.2).
    fn take_echo(&mut self, now: Instant, s: &AckSample, sacked_before: u32, acked: u32) {
        self.ecn.acked(self.snd.una);
        if !self.recovery.is_open() || !self.ecn.is_news() {
            return;
        }
        // Reports on an earlier recovery cannot take this reduction back.
        if let Some(past) = self.recovery.past() {
            past.undo_left = None;
        }
        let ssthresh = self.cc.on_ecn(now, s.in_flight);
        self.lower_window(s, ssthresh, sacked_before, acked);
        self.recovery.phase = Phase::Cwr {
            point: self.snd.nxt,
        };
        self.counters.rare().mark_reductions += 1;
    }

    /// The reordering timer ran out (RFC 8985 section 6.2 step 5).
    pub(super) fn reorder_timeout(&mut self, now: Instant) {
        let in_flight = self.in_flight();
        let lost = self.find_losses(now, false);
        if lost > 0 && !self.recovery.is_repairing() {
            let sample = AckSample {
                now,
                acked: 0,
                rtt: None,
                srtt: self.srtt(),
                rttvar: self.rtt.rttvar(),
                min_rtt: self.rtt.min(),
                in_flight,
                cwnd_limited: false,
                round_start: false,
                delay: None,
            };
            self.begin_recovery(now, &sample, self.snd.sacked(), 0);
        }
    }

    /// The retransmission timer ran out with data in flight (RFC 6298
    /// section 5, RFC 8985 section 6.3).
    pub(super) fn lose_all(&mut self, now: Instant) {
        let first = self.recovery.is_open() || self.recovery.unreduced;
        self.recovery.unreduced = false;
        self.cc.on_rto(now, self.in_flight(), first);
        if self.snd.first().is_some_and(|s| s.sacked) {
            // The peer went back on its word (RFC 2018 section 8).
            self.snd.forget_sacks();
            self.recovery.repair().blocks = Default::default();
        }
        if self.sack {
            let reo_wnd = self.rtt.min().min(self.srtt()) / 4;
            self.rack.mark_losses_on_rto(now, &mut self.snd, reo_wnd);
        } else {
            for i in 0..self.snd.sent_count() {
                self.snd.mark_lost(i);
            }
        }
        if first {
            self.may_undo_from_now(now);
            self.recovery.frto = Frto::Watch;
        } else if self.recovery.frto != Frto::Watch {
            self.recovery.frto = Frto::No;
        }
        self.ecn.reduced();
        self.recovery.phase = Phase::Loss {
            point: self.snd.nxt,
        };
        self.recovery.dup_acks = 0;
        self.recovery.dup_bytes = 0;
        self.rack.tlp = None;
        self.timers.stop(Timer::Probe);
        self.timers.stop(Timer::Reorder);
        self.pending.first_again = true;
        self.pending.tail_probe = false;
        self.counters.rare().timeouts += 1;
    }

    /// Arms the probe behind new data that has gone out since.
    pub(super) fn arm_pending_probe(&mut self, now: Instant) {
        if std::mem::take(&mut self.pending.arm_probe) {
            self.arm_probe(now);
        }
    }

    /// Arms the tail loss probe (RFC 8985 section 7.2), or stops it where it
    /// does not apply.
    pub(super) fn arm_probe(&mut self, now: Instant) {
        let applies = self.sack
            && !self.recovery.is_repairing()
            && self.snd.has_sent()
            && self.snd.sacked() == 0
            && self.rack.tlp.is_none()
            && self.state.is_synchronized();
        if !applies {
            self.timers.stop(Timer::Probe);
            return;
        }
        let mut pto = self.rtt.srtt().map_or(Duration::from_secs(1), |s| s * 2);
        pto += if self.snd.sent_count() == 1 {
            MAX_ACK_DELAY
        } else {
            PROBE_SLACK
        };
        // A probe takes the place of a time-out that would come first.
        let at = (now + pto).min(self.timers.get(Timer::Rto));
        self.timers.set(Timer::Probe, at);
    }
}
