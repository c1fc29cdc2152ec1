//! The answer, losses and the end.

use std::sync::Arc;
use std::time::Duration;

use super::{ANSWER, CONTINUE, Link, MAX_TEXT, Out, Put, PutReport, Source};
use crate::time::Instant;
use crate::transfer::client::exchange::{Broken, Event};
use crate::transfer::client::{ClientError, Loss};
use crate::transfer::disk::Block;
use crate::transfer::disk::pool::{TaskResult, TaskValue};
use crate::transfer::http::Status;

impl<B: Block> Put<B> {
    /// Shows bytes that arrived; answers how many are dealt with.
    pub fn on_bytes(&mut self, now: Instant, input: &[u8]) -> usize {
        let Some(link) = &mut self.link else {
            return input.len();
        };
        match link.x.on_bytes(now, input) {
            Ok(Event::More(n)) => n,
            Ok(Event::Head(n, response)) => {
                if response.status == Status::CONTINUE {
                    if !std::mem::replace(&mut link.proceed, true) {
                        self.start_hashing(response.wants_digest);
                    }
                } else if !response.status.is_interim() {
                    link.final_response = Some(*response);
                    if link.x.is_done() {
                        self.conclude(now);
                    }
                }
                n
            }
            Ok(Event::Data {
                consumed,
                data,
                done,
            }) => {
                let room = MAX_TEXT.saturating_sub(link.text.len());
                link.text
                    .extend(input.get(data).unwrap_or_default().iter().take(room));
                if done && link.final_response.is_some() {
                    self.conclude(now);
                }
                consumed
            }
            Err(Broken(text)) => {
                self.fail(ClientError::Protocol(text));
                input.len()
            }
        }
    }

    /// The final response is complete.
    pub(super) fn conclude(&mut self, now: Instant) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        self.abort = true;
        let all_sent = link.ended && link.out.is_empty();
        self.keep(&mut link);
        let Some(response) = link.final_response else {
            return;
        };
        let status = response.status;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&link.text);
            let line: String = text
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            let text = line
                .strip_prefix(&format!("{status}: "))
                .unwrap_or(&line)
                .to_owned();
            let error = ClientError::Refused { status, text };
            if status.is_temporary() {
                self.try_again(now, error, response.retry_after.unwrap_or_default());
            } else {
                self.fail(error);
            }
            return;
        }
        if !all_sent {
            let text = format!("the server answered {status} before it had the file");
            return self.fail(ClientError::Protocol(text));
        }
        if let Some(ours) = self.digest
            && response.repr_digest.contradict(&ours)
        {
            let text = "the server has stored something else than was sent".to_owned();
            return self.fail(ClientError::Digest(text));
        }
        self.outcome = Some(Ok(PutReport {
            size: self.size.unwrap_or(link.read),
            created: status == Status::CREATED,
            digest: self.digest,
            verified: self
                .digest
                .is_some_and(|ours| response.repr_digest.get(ours.algorithm) == Some(ours)),
            retries: self.retries,
        }));
    }

    /// Keeps the blocks of a link that is given up, to be given back.
    pub(super) fn keep(&mut self, link: &mut Link<B>) {
        for out in link.out.drain(..) {
            if let Out::Block(block, _) = out {
                self.spare.push(block);
            }
        }
    }

    /// A block that is of no use any more.
    pub fn take_spare(&mut self) -> Option<B> {
        self.spare.pop()
    }

    pub(super) fn try_again(&mut self, now: Instant, error: ClientError, at_least: Duration) {
        self.attempts += 1;
        self.retries += 1;
        self.progress.lost();
        let again = self.options.source != Source::Stdin || self.serial == 0;
        if !again || self.attempts > self.options.patience.retries {
            return self.fail(error);
        }
        match self.file.again() {
            Ok(file) => self.file = Arc::new(file),
            Err(e) => return self.fail(ClientError::Local(format!("cannot read the file: {e}"))),
        }
        self.not_before = now
            + self
                .options
                .patience
                .pause_before(self.attempts)
                .max(at_least);
    }

    /// The connection is gone.
    pub fn on_lost(&mut self, now: Instant, loss: Loss) {
        let Some(link) = &self.link else { return };
        // An answer is worth more than the way the connection ended after it.
        if link.final_response.is_some() && (link.x.may_end_here() || !link.text.is_empty()) {
            return self.conclude(now);
        }
        let connected = link.x.connected;
        if let Some(mut link) = self.link.take() {
            self.keep(&mut link);
        }
        let authority = self.options.url.authority();
        let error = ClientError::Unreachable(match loss {
            Loss::Ended => format!("{authority} closed the connection without an answer"),
            Loss::Broken(why) if connected => {
                format!("the connection to {authority} was lost: {why}")
            }
            Loss::Broken(why) => format!("cannot connect to {authority}: {why}"),
        });
        self.try_again(now, error, Duration::ZERO);
    }

    /// A task of [`poll_action`](Self::poll_action) is done.
    pub fn on_task(&mut self, result: TaskResult) {
        self.hashing = None;
        match result {
            Ok(TaskValue::Digest(digest)) => self.digest = Some(digest),
            Ok(_) => {}
            Err(text) => self.fail(ClientError::Local(text)),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.outcome.is_some() || self.hashing.is_some() {
            return None;
        }
        let patience = &self.options.patience;
        let Some(link) = &self.link else {
            return Some(self.not_before);
        };
        let after = if !link.x.connected {
            patience.connect
        } else if !link.proceed && link.x.out().is_empty() && link.final_response.is_none() {
            CONTINUE
        } else if link.ended && link.out.is_empty() {
            ANSWER
        } else {
            patience.answer
        };
        Some(link.x.active + after)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let Some(link) = &mut self.link else { return };
        if link.x.connected
            && !link.proceed
            && link.final_response.is_none()
            && link.x.out().is_empty()
        {
            link.proceed = true; // RFC 9110 section 10.1.1: not to wait for ever
            link.x.active = now;
            return self.start_hashing(None);
        }
        if self.options.source == Source::Stdin
            && matches!(link.out.front(), Some(Out::Pending(_)) | None)
            && !link.ended
        {
            link.x.active = now; // we are the slow ones
            return;
        }
        self.abort = true;
        self.on_lost(now, Loss::Broken("no answer in time".into()));
    }
}
