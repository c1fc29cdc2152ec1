//! Connections at rest give back what they keep for being in use: queues that
//! are empty now, what was remembered of a loss. Done a while after, so that
//! who is in use does not allocate for each packet, and a few at a time.

use std::collections::VecDeque;
use std::time::Duration;

use super::Stack;
use crate::time::Instant;

/// Who has neither sent nor received for this long is at rest. It is noticed
/// within as long again.
const REST: Duration = Duration::from_secs(5);
/// Connections looked at in one turn.
const AT_ONCE: usize = 8;

/// Connections that have something to give back.
#[derive(Debug)]
pub(super) struct Resting {
    /// By index; some may be gone or in use again.
    queue: VecDeque<u32>,
    /// Those of them that the present round has not come to yet.
    left: usize,
    /// When to go on; [`Instant::FAR`] with an empty queue.
    due: Instant,
}

impl Default for Resting {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            left: 0,
            due: Instant::FAR,
        }
    }
}

impl Stack {
    /// Nothing is left to be done for the connection at `index`: it may be the
    /// beginning of a rest.
    #[inline]
    pub(super) fn note_rest(&mut self, now: Instant, index: u32) {
        if let Some(slot) = self.flows.at_rest(index)
            && !slot.in_resting
            && slot.conn.has_slack()
        {
            slot.in_resting = true;
            self.resting.queue.push_back(index);
            self.resting.due = self.resting.due.min(now + REST);
        }
    }

    /// When [`trim`](Self::trim) wants to be called next.
    #[must_use]
    pub fn rest_timeout(&self) -> Option<Instant> {
        (self.resting.due != Instant::FAR).then_some(self.resting.due)
    }

    /// Takes memory from connections that have been at rest for a while.
    #[inline]
    pub fn trim(&mut self, now: Instant) {
        if now >= self.resting.due {
            self.trim_some(now);
        }
    }

    #[cold]
    fn trim_some(&mut self, now: Instant) {
        let resting = &mut self.resting;
        if resting.left == 0 {
            resting.left = resting.queue.len();
        }
        for _ in 0..AT_ONCE.min(resting.left) {
            resting.left -= 1;
            let Some(index) = resting.queue.pop_front() else {
                break;
            };
            let Some(slot) = self.flows.at_rest(index).filter(|s| s.in_resting) else {
                continue;
            };
            if now.since(slot.conn.last_active()) < REST {
                resting.queue.push_back(index);
            } else {
                slot.in_resting = false;
                slot.conn.trim();
            }
        }
        if resting.left == 0 {
            resting.due = if resting.queue.is_empty() {
                resting.queue = VecDeque::new();
                Instant::FAR
            } else {
                now + REST
            };
        }
    }
}
