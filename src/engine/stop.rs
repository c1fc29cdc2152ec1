//! How an engine stops: connections finish, or are reset; then every frame
//! comes back.

use std::time::Duration;

use super::{Application, Engine};
use crate::frame::Ledger;
use crate::link::Link;
use crate::stack::Tell;
use crate::stack::flow::Phase;
use crate::tcp::Reason;
use crate::time::Instant;

/// How long to wait for frames that the link or other threads still have
/// when all connections are gone.
const RECLAIM: Duration = Duration::from_secs(2);
/// How often to look whether they are back.
const LOOK: Duration = Duration::from_millis(1);

/// Where an engine is between start and end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// Its first turn is yet to come.
    New,
    /// It runs.
    Running,
    /// It accepts nothing new; connections have until then.
    Draining(Instant),
    /// Connections have been reset; their last segments leave.
    Resetting,
    /// All connections are gone; frames have until then to come back.
    Reclaiming(Instant),
    /// It is over.
    Stopped,
}

impl Life {
    /// Whether only frames are waited for.
    pub(super) const fn is_reclaiming(self) -> bool {
        matches!(self, Self::Reclaiming(_))
    }

    /// When the next step is to be tried.
    pub(super) fn next(self, now: Instant) -> Option<Instant> {
        match self {
            Self::New | Self::Resetting => Some(now),
            Self::Running | Self::Stopped => None,
            Self::Draining(until) => Some(until.max(now)),
            Self::Reclaiming(_) => Some(now + LOOK),
        }
    }
}

impl<L: Link, A: Application> Engine<L, A> {
    /// Frames by owner. Reads the whole ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.core.pool.ledger()
    }

    /// Whether an orderly stop has begun.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        !matches!(self.life, Life::New | Life::Running)
    }

    pub(super) fn begin_stop(&mut self, now: Instant) {
        let asked = self.core.stop_asked || self.core.inbox.waker().stop_requested();
        if !asked || self.life != Life::Running {
            return;
        }
        self.core.stop_asked = true;
        self.life = Life::Draining(now + self.config.drain);
        self.core.stack.close(&mut self.core.pool);
        self.with(|app, cx| app.stopping(cx));
    }

    pub(super) fn go_on_stopping(&mut self, now: Instant) {
        match self.life {
            Life::New | Life::Running | Life::Stopped => {}
            Life::Draining(until) => {
                if !self.core.stack.is_in_use() {
                    self.forget_all();
                    self.life = Life::Reclaiming(now + RECLAIM);
                } else if now >= until {
                    let stack = &mut self.core.stack;
                    let all: Vec<u32> = stack.flows.indices().collect();
                    for index in all {
                        stack.abort(&mut self.core.pool, index);
                    }
                    self.life = Life::Resetting;
                }
            }
            Life::Resetting => {
                // The turn since has told the application and sent the
                // resets, as far as they had somewhere to go.
                self.forget_all();
                self.life = Life::Reclaiming(now + RECLAIM);
            }
            Life::Reclaiming(until) => {
                let clean = self.tx.is_empty() && self.ledger().outstanding() == 0;
                if clean || now >= until {
                    self.finish();
                }
            }
        }
    }

    /// Forgets every connection, telling the application of those that it
    /// still has.
    fn forget_all(&mut self) {
        let all: Vec<u32> = self.core.stack.flows.indices().collect();
        for index in all {
            let stack = &mut self.core.stack;
            if let Some(flow) = stack.flows.flow(index)
                && let Some(slot) = stack.flows.at_mut(index)
            {
                let had = matches!(slot.phase, Phase::Open | Phase::Connecting);
                slot.phase = Phase::Over;
                if had {
                    self.call(flow, Tell::Closed(Reason::Aborted));
                }
            }
            self.core.stack.forget(&mut self.core.pool, index);
            self.wheel.cancel(index);
        }
    }

    /// The link is gone: so are all connections.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.core.now = now;
        self.core.stop_asked = true;
        self.core.stack.close(&mut self.core.pool);
        self.forget_all();
        self.finish();
    }

    fn finish(&mut self) {
        self.core.inbox.close();
        // What was sent before it was closed may carry frames.
        while let Some(message) = self.core.inbox.pop() {
            self.with(|app, cx| app.message(cx, message));
        }
        self.life = Life::Stopped;
    }
}
