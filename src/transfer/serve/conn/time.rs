//! How a connection ends, and when.

use super::{Close, Out, ServerConn, State};
use crate::time::Instant;
use crate::transfer::disk::{Block, Op};
use crate::transfer::http::{Refusal, Status};
use crate::transfer::serve::{Now, Tally};

impl<B: Block> ServerConn<B> {
    pub(super) fn abort(&mut self) {
        if let State::Receiving(r) = std::mem::replace(&mut self.state, State::Closed) {
            self.ops.push_back(Op::Discard(r.upload));
        }
        self.close = Some(Close::Abort);
        self.parts.clear();
    }

    /// How the connection is to be ended; answered once.
    pub fn poll_close(&mut self) -> Option<Close> {
        self.close.take()
    }

    /// The connection is gone: gives back the blocks and, by
    /// [`poll_op`](Self::poll_op), the upload.
    pub fn on_closed(&mut self) -> Vec<B> {
        self.abort();
        self.close = None;
        let blocks = std::mem::take(&mut self.out)
            .into_iter()
            .filter_map(|out| match out {
                Out::Block(block) => Some(block),
                _ => None,
            });
        blocks.collect()
    }

    /// Whether nothing is under way: a stop may close the connection.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// No further request is to be served after the current one.
    pub fn finish_soon(&mut self) {
        self.keep_alive = false;
        if self.is_idle() {
            self.close = Some(Close::Shutdown);
            self.state = State::Lingering;
        }
    }

    pub(super) fn start_window(&mut self, at: Instant) {
        self.since = at;
        self.moved = 0;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let after = match &self.state {
            State::Head if self.head.is_empty() => self.policy.idle_timeout,
            State::Head => self.policy.header_timeout,
            State::Receiving(_) | State::Responding if self.policy.min_rate > 0 => {
                self.policy.rate_window
            }
            State::Lingering => self.policy.linger,
            _ => return None,
        };
        Some(self.since + after)
    }

    /// Time has passed. `unsent` bytes that were handed over have not been
    /// acknowledged by the peer yet.
    pub fn handle_timeout(&mut self, now: Now, unsent: usize) {
        if self.poll_timeout().is_none_or(|at| at > now.at) {
            return;
        }
        // The last bytes of a response are still on their way: that they are
        // taken counts as activity.
        let draining = unsent > 0 && self.last_unsent != Some(unsent);
        let before = self.last_unsent.replace(unsent);
        if draining && matches!(self.state, State::Head | State::Lingering) && self.head.is_empty()
        {
            return self.start_window(now.at);
        }
        // What the peer took of what had been handed over before.
        let taken = before.unwrap_or(0).saturating_sub(unsent) as u64;
        let enough = self.moved.saturating_add(taken)
            >= self
                .policy
                .min_rate
                .saturating_mul(self.policy.rate_window.as_secs());
        match &self.state {
            State::Head if self.head.is_empty() => {
                self.tally.timed_out += 1;
                self.close = Some(Close::Shutdown);
                self.state = State::Lingering;
                self.start_window(now.at);
            }
            State::Head => {
                self.tally.timed_out += 1;
                let refusal = Refusal::new(Status::REQUEST_TIMEOUT, "the request took too long");
                self.refuse_and_close(now, refusal);
            }
            // Waiting for our own disk is not the peer's fault.
            State::Receiving(r) if enough || r.written < r.received => self.start_window(now.at),
            State::Receiving(_) => {
                self.tally.timed_out += 1;
                let refusal = Refusal::new(Status::REQUEST_TIMEOUT, "the content comes too slowly");
                self.drop_upload(now, refusal);
            }
            // Nor is it when all has been taken that was handed over; but a
            // full send buffer that nothing leaves is.
            State::Responding if enough || (self.front().is_none() && unsent == 0) => {
                self.start_window(now.at);
            }
            // How much was there when the window began is not known.
            State::Responding if before.is_none() && self.front().is_none() => {
                self.start_window(now.at);
            }
            State::Responding => {
                self.tally.timed_out += 1;
                self.abort();
            }
            State::Lingering => self.abort(),
            _ => {}
        }
    }

    /// What happened since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}
