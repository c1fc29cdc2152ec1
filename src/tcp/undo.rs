//! Time-outs and recoveries that were mistaken: found by timestamps (RFC 3522),
//! by reported duplicates (RFC 3708), and after a time-out by what arrives
//! (RFC 5682).

use super::connection::Connection;
use super::delivered::Progress;
use super::loss::{Phase, Recovery};
use crate::wire::tcp::{Header, SeqNumber};

/// Where F-RTO stands (RFC 5682).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Frto {
    /// The time-out is taken for real, or there was none.
    #[default]
    No,
    /// The first segment was sent again; what its acknowledgement covers will
    /// tell (step 2).
    Watch,
    /// New data goes, and nothing is sent again until the next
    /// acknowledgement (step 3).
    New,
    /// That told nothing: what is lost is sent again, and what arrives may
    /// still tell.
    Late,
}

impl Recovery {
    /// Behind the data in flight at a time-out that may have been mistaken.
    pub fn watched(&self) -> Option<SeqNumber> {
        match self.phase {
            Phase::Loss { point } if self.frto != Frto::No => Some(point),
            _ => None,
        }
    }

    /// Whether new data goes instead of what is taken for lost.
    pub fn prefers_new(&self) -> bool {
        self.frto == Frto::New
    }

    /// Whether the next acknowledgement is waited for: new data went instead
    /// of what is taken for lost. If none could go after all, the time-out is
    /// taken for real.
    pub fn waits(&mut self, nxt: SeqNumber) -> bool {
        if self.frto != Frto::New {
            return false;
        }
        let went = matches!(self.phase, Phase::Loss { point } if nxt.gt(point));
        if !went {
            self.frto = Frto::No;
        }
        went
    }
}

impl Connection {
    /// RFC 5682 section 3.1, and section 2.1 without SACK: data that was sent
    /// once, before the time-out, arrives after it, so nothing was lost.
    pub(super) fn judge_timeout(&mut self, p: &Progress, advanced: bool) {
        let Some(point) = self.recovery.watched() else {
            self.recovery.frto = Frto::No;
            return;
        };
        // Without SACK an acknowledgement that covers what was sent again
        // may be of that, and of what had arrived out of order before.
        if p.original && (self.sack || !p.again) {
            self.undo();
            self.rack.forget_delivery();
            return;
        }
        self.recovery.frto = match self.recovery.frto {
            Frto::Watch if advanced && self.snd.una.lt(point) && self.may_send_new() => {
                self.recovery.phase = Phase::Loss {
                    point: self.snd.nxt,
                };
                Frto::New
            }
            // Selective acknowledgements may still tell.
            Frto::Watch if !advanced && self.sack => Frto::Watch,
            Frto::New | Frto::Late if advanced && p.again => Frto::Late,
            _ => Frto::No,
        };
    }

    fn may_send_new(&self) -> bool {
        let edge = self.snd.una + self.snd.wnd;
        self.snd.next_unsent().is_some_and(|s| s.end().le(edge))
    }

    /// The peer had a retransmission twice (RFC 3708).
    pub(super) fn take_dsack(&mut self, left: SeqNumber, right: SeqNumber) {
        // Most reports come when the recovery has ended: the originals that
        // arrived late have ended it.
        let recent = right.ge(self.snd.una - self.snd.max_wnd);
        let Some(past) = self.recovery.past() else {
            return;
        };
        let ours = left.ge(past.undo_from) && right.le(past.undo_to) && recent;
        if let Some(n) = past.undo_left.as_mut().filter(|n| ours && **n > 0) {
            *n -= 1;
            if *n == 0 && self.snd.lost() == 0 {
                self.undo();
            }
        }
    }

    /// The Eifel detection of RFC 3522: an echo older than the first
    /// retransmission means that the original arrived.
    pub(super) fn judge_retransmissions(&mut self, h: &Header) {
        let undo_ts = self.recovery.past().and_then(|past| past.undo_ts);
        let (Some(undo_ts), Some(t)) = (undo_ts, h.options.timestamps) else {
            return;
        };
        if self.ts.is_none() {
            return;
        }
        let original = (t.ecr.wrapping_sub(undo_ts) as i32) < 0;
        match self.recovery.phase {
            Phase::Open | Phase::Cwr { .. } => {}
            Phase::Loss { .. } if original => self.undo(),
            Phase::Fast { point } if original => {
                if self.snd.una.ge(point) {
                    self.undo();
                }
            }
            _ => self.recovery.repair().undo_ts = None,
        }
    }

    fn undo(&mut self) {
        self.cc.undo();
        self.ecn.not_reduced();
        self.snd.unmark_losses();
        self.recovery.phase = Phase::Open;
        self.recovery.dup_acks = 0;
        self.recovery.dup_bytes = 0;
        self.recovery.forget_undo();
        self.recovery.frto = Frto::No;
        self.recovery.unreduced = false;
        self.counters.rare().undone += 1;
    }
}
