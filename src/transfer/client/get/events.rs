//! What happened: responses, content, losses.

use std::time::Duration;

use super::{Get, GetReport, Known, Link, MAX_RESTARTS, MAX_TEXT, Output, Role, Verify, link_idle};
use crate::time::Instant;
use crate::transfer::Taken;
use crate::transfer::client::exchange::{Broken, Event, announced};
use crate::transfer::client::progress::Phase;
use crate::transfer::client::{ClientError, Key, Loss};
use crate::transfer::disk::DiskError;
use crate::transfer::disk::pool::{TaskResult, TaskValue};
use crate::transfer::http::{ByteRange, Response, Status};

impl Get {
    /// A connection has come about.
    pub fn on_connected(&mut self, key: Key, now: Instant) {
        if let Some(link) = self.link(key) {
            link.x.connected = true;
            link.x.active = now;
            if link.role == Role::Content {
                self.progress.enter(Phase::Transferring);
            }
        }
    }

    pub(super) fn link(&mut self, key: Key) -> Option<&mut Link> {
        self.links.get_mut(key)?.as_mut()
    }

    pub(super) fn drop_link(&mut self, key: Key) -> Option<Link> {
        self.links.get_mut(key)?.take()
    }

    /// Bytes to be sent on a connection.
    #[must_use]
    pub fn out(&self, key: Key) -> &[u8] {
        self.links
            .get(key)
            .and_then(Option::as_ref)
            .map_or(&[], |l| l.x.out())
    }

    /// So many of them were sent.
    pub fn advance(&mut self, key: Key, now: Instant, n: usize) {
        if let Some(link) = self.link(key) {
            link.x.advance(now, n);
        }
    }

    /// Shows bytes that arrived on a connection.
    pub fn on_bytes(&mut self, key: Key, now: Instant, input: &[u8]) -> Taken {
        let Some(link) = self.link(key) else {
            return Taken::none(input.len());
        };
        let event = link.x.on_bytes(now, input);
        match event {
            Ok(Event::More(n)) => Taken::none(n),
            Ok(Event::Head(n, response)) => {
                self.on_response(key, now, *response);
                if self.link(key).is_some_and(|l| l.busy && l.x.is_done()) {
                    self.on_done(key, now);
                }
                Taken::none(n)
            }
            Ok(Event::Data {
                consumed,
                data,
                done,
            }) => {
                let taken = self.on_data(key, input, consumed, data);
                if done && self.link(key).is_some_and(|l| l.busy) {
                    self.on_done(key, now);
                }
                taken
            }
            Err(Broken(text)) => {
                self.fail(ClientError::Protocol(text));
                Taken::none(input.len())
            }
        }
    }

    /// Where in the file the bytes belong that arrive next on a connection, and
    /// how many of them are content of it, whatever they are. They can be told by
    /// [`pass`](Self::pass) instead of being shown.
    #[must_use]
    pub fn plain(&self, key: Key) -> Option<(u64, u64)> {
        let link = self.links.get(key)?.as_ref()?;
        let content = link.busy && link.role == Role::Content && link.error.is_none();
        let left = link.end.saturating_sub(link.pos);
        content.then(|| (link.pos, link.x.plain().min(left)))
    }

    /// So many bytes have arrived: fewer than [`plain`](Self::plain) says.
    pub fn pass(&mut self, key: Key, now: Instant, n: u64) {
        let Some(link) = self.link(key).filter(|_| n > 0) else {
            return;
        };
        link.x.pass(now, n);
        link.pos += n;
        self.writing += n;
        self.attempts = 0;
    }

    pub(super) fn on_data(
        &mut self,
        key: Key,
        input: &[u8],
        consumed: usize,
        data: std::ops::Range<usize>,
    ) -> Taken {
        let Some(link) = self.link(key).filter(|l| l.busy && l.role == Role::Content) else {
            return Taken::none(consumed);
        };
        if let Some((_, text)) = &mut link.error {
            let room = MAX_TEXT.saturating_sub(text.len());
            text.extend(input.get(data).unwrap_or_default().iter().take(room));
            return Taken::none(consumed);
        }
        let len = data.len() as u64;
        if len > link.end - link.pos.min(link.end) {
            self.fail(ClientError::Protocol(
                "the server sent more than was asked for".into(),
            ));
            return Taken::none(consumed);
        }
        let offset = link.pos;
        link.pos += len;
        self.writing += len;
        if len > 0 {
            self.attempts = 0;
        }
        Taken {
            consumed,
            data,
            offset,
        }
    }

    pub(super) fn on_response(&mut self, key: Key, now: Instant, r: Response) {
        if r.status.is_interim() {
            return;
        }
        let Some(link) = self.link(key) else { return };
        if link.role == Role::Digest {
            let same = self
                .known
                .as_ref()
                .is_some_and(|k| k.etag == r.etag && k.last_modified == r.last_modified);
            if r.status.is_success() && same {
                self.expect(&r);
            }
            self.drop_link(key);
            self.aborts.push(key);
            return;
        }
        let ranged = link.ranged;
        let (pos, end) = (link.pos, link.end);
        if r.status == Status::RANGE_NOT_SATISFIABLE && ranged {
            if self.size.is_none() && r.content_range.is_some_and(|c| c.size == Some(0)) {
                self.know_size(0);
                link_idle(self.link(key));
            } else {
                self.restart("the file on the server has become shorter");
            }
            return;
        }
        if r.status != Status::OK && r.status != Status::PARTIAL_CONTENT {
            if let Some(link) = self.link(key) {
                link.error = Some((r, Vec::new()));
            }
            return;
        }
        if let Some(coding) = &r.content_encoding {
            let text =
                format!("the server sent the file in the coding {coding}, which was not asked for");
            return self.fail(ClientError::Protocol(text));
        }
        let has_content = self.done > 0 || self.writing > 0;
        let (start, stop) = match (
            r.status,
            r.content_range.and_then(|c| c.range),
            announced(r.framing),
        ) {
            (Status::PARTIAL_CONTENT, Some(range), length) if ranged => {
                if range.start != pos || range.end > end || length.is_some_and(|l| l != range.len())
                {
                    let text = "the server sent another range than was asked for";
                    return self.fail(ClientError::Protocol(text.into()));
                }
                (range.start, range.end)
            }
            (Status::OK, _, length) => (0, length.unwrap_or(u64::MAX)),
            _ => {
                return self.fail(ClientError::Protocol(
                    "the server sent a part that was not asked for".into(),
                ));
            }
        };
        if r.status == Status::OK && (has_content || pos > 0) {
            // It does not do ranges, or the file is not the same any more.
            return self.restart("the file on the server has changed");
        }
        let changed = self
            .known
            .as_ref()
            .is_some_and(|k| matches!((&k.etag, &r.etag), (Some(a), Some(b)) if a != b));
        let other_digest = self.expected.is_some_and(|e| r.repr_digest.contradict(&e));
        let size = match r.status {
            Status::OK => announced(r.framing),
            _ => r.content_range.and_then(|c| c.size),
        };
        let other_size = matches!((self.size, size), (Some(a), Some(b)) if a != b);
        if changed || other_digest || (other_size && has_content) {
            return self.restart("the file on the server has changed");
        }
        self.know(key, now, &r, (start, stop), size);
    }

    /// A response with content that fits what is known.
    pub(super) fn know(
        &mut self,
        key: Key,
        now: Instant,
        r: &Response,
        (start, stop): (u64, u64),
        size: Option<u64>,
    ) {
        if self.options.verify != Verify::Skip {
            self.expect(r);
        }
        if self.known.is_none() {
            self.known = Some(Known {
                etag: r.etag.clone(),
                last_modified: r.last_modified.clone(),
            });
            self.saved_at = now;
        }
        let first = self.size.is_none();
        if r.status == Status::OK {
            // All of it comes here, whatever was planned.
            self.todo.clear();
            let others: Vec<Key> = (0..self.links.len())
                .filter(|&k| k != key && self.links[k].is_some())
                .collect();
            for other in others {
                self.drop_link(other);
                self.aborts.push(other);
            }
        }
        let Some(link) = self.link(key) else { return };
        let left = ByteRange {
            start: stop,
            end: link.end,
        };
        (link.start, link.pos, link.end) = (start, start, stop);
        if r.status == Status::PARTIAL_CONTENT {
            if let (true, Some(size)) = (first, size) {
                self.plan(ByteRange {
                    start: stop,
                    end: size,
                });
            } else if !first && !left.is_empty() {
                self.todo.push_front(left);
            }
            if first && size.is_none() {
                let text = "the server does not tell the size of the file";
                return self.fail(ClientError::Protocol(text.into()));
            }
        }
        if let Some(size) = size {
            self.know_size(size);
        }
    }

    /// Takes the digest that a response tells, unless one is known.
    fn expect(&mut self, r: &Response) {
        if self.expected.is_none() {
            self.expected = self.pick(&r.repr_digest);
            self.hash();
        }
    }

    /// A response is complete.
    pub(super) fn on_done(&mut self, key: Key, now: Instant) {
        let Some(link) = self.link(key) else { return };
        link.busy = false;
        if let Some((response, text)) = link.error.take() {
            return self.on_refused(key, now, &response, &text);
        }
        if link.end == u64::MAX {
            let size = link.pos;
            link.end = size;
            self.know_size(size);
        }
        let Some(mut link) = self.drop_link(key) else {
            return;
        };
        if link.x.keep_alive && !self.todo.is_empty() && self.size.is_some() {
            self.ask(&mut link);
        }
        if link.busy {
            if let Some(slot) = self.links.get_mut(key) {
                *slot = Some(link);
            }
        } else {
            self.aborts.push(key);
        }
    }

    pub(super) fn on_refused(&mut self, key: Key, now: Instant, r: &Response, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let mut text: String = text
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        if let Some(rest) = text.strip_prefix(&format!("{}: ", r.status)) {
            text = rest.to_owned();
        }
        if let Some(location) = &r.location {
            text = format!("it is at {location}");
        }
        if !r.status.is_temporary() {
            return self.fail(ClientError::Refused {
                status: r.status,
                text,
            });
        }
        self.give_back(key);
        self.drop_link(key);
        self.aborts.push(key);
        let error = ClientError::Refused {
            status: r.status,
            text,
        };
        self.try_again(now, error, r.retry_after.unwrap_or_default());
    }

    /// Puts what a link did not fetch back on the list.
    pub(super) fn give_back(&mut self, key: Key) {
        let Some(link) = self.link(key) else { return };
        let left = ByteRange {
            start: link.pos,
            end: link.end,
        };
        if self.size.is_some() && !left.is_empty() {
            self.todo.push_front(left);
        }
    }

    pub(super) fn try_again(&mut self, now: Instant, error: ClientError, at_least: Duration) {
        self.attempts += 1;
        self.retries += 1;
        self.progress.lost();
        self.progress.enter(Phase::Connecting);
        self.last_loss = error.to_string();
        if self.attempts > self.options.patience.retries {
            self.save_now();
            return self.fail(error);
        }
        let pause = self
            .options
            .patience
            .pause_before(self.attempts)
            .max(at_least);
        self.not_before = now + pause;
    }

    /// A connection is gone.
    pub fn on_lost(&mut self, key: Key, now: Instant, loss: Loss) {
        let Some(link) = self.link(key) else { return };
        if link.role == Role::Digest {
            self.drop_link(key);
            return;
        }
        if !link.busy {
            self.drop_link(key);
            return;
        }
        if loss == Loss::Ended && link.x.may_end_here() {
            self.on_done(key, now);
            return;
        }
        if let Some((response, text)) = link.error.take() {
            return self.on_refused(key, now, &response, &text);
        }
        let connected = link.x.connected;
        let whole = link.end == u64::MAX && link.pos > 0;
        self.give_back(key);
        self.drop_link(key);
        let authority = self.options.url.authority();
        let error = ClientError::Unreachable(match loss {
            Loss::Ended => format!("{authority} closed the connection too early"),
            Loss::Broken(why) if connected => {
                format!("the connection to {authority} was lost: {why}")
            }
            Loss::Broken(why) => format!("cannot connect to {authority}: {why}"),
        });
        self.try_again(now, error, Duration::ZERO);
        let resumable = self.known.as_ref().is_none_or(|k| k.if_range().is_some());
        if whole || (!resumable && self.done + self.writing > 0) {
            self.restart("the server gives no means to go on where it stopped");
        }
    }

    /// Throws away what has come and begins again.
    pub(super) fn restart(&mut self, why: &str) {
        if self.outcome.is_some() {
            return;
        }
        self.restarts += 1;
        if self.local.is_none() && self.done + self.writing > 0 {
            let text =
                format!("{why}, and what was written to standard output cannot be taken back");
            return self.fail(ClientError::Protocol(text));
        }
        if self.restarts > MAX_RESTARTS {
            return self.fail(ClientError::Protocol(format!("{why}, again and again")));
        }
        for key in 0..self.links.len() {
            if self.drop_link(key).is_some() {
                self.aborts.push(key);
            }
        }
        self.todo.clear();
        self.size = None;
        self.known = None;
        self.expected = None;
        self.asked_digest = false;
        self.restarting = true;
    }

    /// A block of content has been written, or not.
    pub fn on_written(&mut self, len: u64, result: Result<u64, DiskError>) {
        self.writing = self.writing.saturating_sub(len);
        match result {
            Ok(n) => {
                self.done += n;
                self.progress.set_done(self.done);
            }
            Err(e) => {
                let what = match &self.options.output {
                    Output::File(path) => path.display().to_string(),
                    Output::Stdout => "standard output".into(),
                };
                self.fail(ClientError::Local(format!("cannot write {what}: {e}")));
            }
        }
    }

    /// A task of [`poll_action`](Self::poll_action) is done.
    pub fn on_task(&mut self, result: TaskResult) {
        if self.outcome.is_some() {
            return;
        }
        match result {
            Err(text) => self.fail(ClientError::Local(text)),
            Ok(TaskValue::Mismatch(text)) => self.fail(ClientError::Digest(text)),
            Ok(TaskValue::Digest(digest)) => {
                self.outcome = Some(Ok(GetReport {
                    size: self.done,
                    resumed: self.resumed,
                    digest,
                    verified: self.expected == Some(digest),
                    retries: self.retries,
                }));
            }
            Ok(TaskValue::Done) if self.resetting => {
                (self.resetting, self.restarting) = (false, false);
                (self.done, self.resumed, self.saved_done) = (0, 0, 0);
                self.progress.set_done(0);
                self.progress.set_resumed(0);
            }
            Ok(TaskValue::Done) => self.saving = false,
        }
    }
}
