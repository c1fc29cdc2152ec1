//! What an engine sends: those first that somebody may wait for.

use super::stop::Life;
use super::{Application, Engine, Wheel};
use crate::link::Link;
use crate::stack::Stack;
use crate::stack::output::Left;
use crate::time::Instant;

/// Segments of one connection before the next one's turn.
const BURST: usize = 16;
/// Connections about to send whose timers are loaded before the first is looked
/// at.
const SOON: usize = 64;
/// Connections that send in a turn of which their frames go first, and the rest
/// of the work for them comes behind.
pub(super) const FEW: usize = 4;

impl<L: Link, A: Application> Engine<L, A> {
    /// Tells the application of the few frames that have come, and sends what it
    /// says to that, before anything else that a turn has to do: somebody may wait
    /// for it.
    #[inline]
    pub(super) fn answer(&mut self, now: Instant) {
        if self.life != Life::Running {
            return;
        }
        self.tell();
        let queued = self.core.stack.queued().len();
        if queued > FEW || !self.tx.is_empty() {
            return;
        }
        for _ in 0..queued {
            let Some(index) = self.core.stack.poll_answer() else {
                break;
            };
            self.send_of(now, index, true);
        }
        if self.tx.is_empty() {
            return;
        }
        self.link.transmit(now, &mut self.core.pool, &mut self.tx);
        for &index in &self.sent {
            self.wheel.prefetch(index);
        }
    }

    /// Gathers what is to be sent and gives it to the link.
    pub(super) fn send(&mut self, now: Instant) {
        let stack = &self.core.stack;
        for index in stack.queued().take(SOON) {
            self.wheel.prefetch(index);
        }
        // Somebody may wait for a few; of many, each would only wait for what is
        // done again for the others.
        let hurry = stack.queued().len() <= FEW;
        while self.tx.len() < self.config.tx_queue
            && let Some(index) = self.core.stack.poll_output()
        {
            self.send_of(now, index, hurry);
        }
        // Called with an empty queue as well: completions are taken.
        self.link.transmit(now, &mut self.core.pool, &mut self.tx);
        let waiting = self.tx.len();
        self.send_rest(now);
        if self.tx.len() > waiting {
            self.link.transmit(now, &mut self.core.pool, &mut self.tx);
        }
        // Timers can wait, the peer does not have to.
        for (index, next) in self.to_arm.drain(..) {
            arm(&mut self.core.stack, &mut self.wheel, index, next);
        }
    }

    /// Gathers what the connection at `index` has to send.
    #[inline]
    fn send_of(&mut self, now: Instant, index: u32, hurry: bool) {
        let (stack, pool) = (&mut self.core.stack, &mut self.core.pool);
        let budget = BURST.min(self.config.tx_queue.saturating_sub(self.tx.len()));
        match stack.transmit(now, pool, index, budget, &mut self.tx, hurry) {
            Left::More => {}
            Left::Sent => self.sent.push(index),
            Left::Gone => self.wheel.cancel(index),
            Left::Idle(next) => self.to_arm.push((index, next)),
        }
    }

    /// What nobody waits for: the end of the work for connections that have
    /// sent all they had, and what the interface itself sends.
    fn send_rest(&mut self, now: Instant) {
        while let Some(index) = self.sent.pop() {
            self.send_of(now, index, false);
        }
        let core = &mut self.core;
        // Nor is anything announced by who only waits for its frames.
        while self.tx.len() < self.config.tx_queue
            && !self.life.is_reclaiming()
            && let Some(desc) = core.stack.iface.poll_transmit(now, &mut core.pool)
        {
            self.tx.push_back(desc);
        }
        // What was sent may have raised questions to the kernel.
        while let Some(request) = core.stack.iface.poll_request() {
            if let Some(feed) = &self.feed {
                feed.request(request);
            }
        }
    }
}

/// Sets the connection's deadline in the wheel, if it has changed.
#[inline]
fn arm(stack: &mut Stack, wheel: &mut Wheel, index: u32, next: Option<Instant>) {
    let next = next.unwrap_or(Instant::FAR);
    let Some(slot) = stack.flows.at_mut(index) else {
        return;
    };
    if slot.armed == next {
        return;
    }
    slot.armed = next;
    if next == Instant::FAR {
        wheel.cancel(index);
    } else {
        wheel.set(index, next);
    }
}
