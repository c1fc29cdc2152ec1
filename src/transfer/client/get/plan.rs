//! What to do next: pieces, connections, saving, the end.

use super::{Get, Known, Link, PIECE, PROBE, Role, SAVE_EVERY, Verify, task};
use crate::time::Instant;
use crate::transfer::client::exchange::Exchange;
use crate::transfer::client::local::{Local, Saved};
use crate::transfer::client::progress::Phase;
use crate::transfer::client::{Action, ClientError, Key};
use crate::transfer::disk::pool::TaskValue;
use crate::transfer::http::fields::HeadWriter;
use crate::transfer::http::{ByteRange, Method};

impl Get {
    pub(super) fn go_on_with(&mut self, saved: Saved) {
        self.known = Some(Known {
            etag: saved.etag,
            last_modified: saved.last_modified,
        });
        self.done = self.sink.written().iter().map(ByteRange::len).sum();
        let mut at = 0;
        let mut gaps = Vec::new();
        for part in self.sink.written() {
            gaps.push(ByteRange {
                start: at,
                end: part.start,
            });
            at = part.end;
        }
        gaps.push(ByteRange {
            start: at,
            end: saved.size,
        });
        // At least one byte is asked for, to see that the file is still the same.
        if gaps.iter().all(ByteRange::is_empty) && saved.size > 0 {
            gaps.push(ByteRange {
                start: saved.size - 1,
                end: saved.size,
            });
            self.done -= 1;
        }
        self.resumed = self.done;
        self.progress.set_resumed(self.resumed);
        self.progress.set_done(self.done);
        self.know_size(saved.size);
        for gap in gaps {
            self.plan(gap);
        }
    }

    pub(super) fn know_size(&mut self, size: u64) {
        self.size = Some(size);
        self.progress.set_total(size);
    }

    /// Cuts `range` into pieces to ask for.
    pub(super) fn plan(&mut self, range: ByteRange) {
        let n = self.options.connections as u64;
        let piece = if n == 1 {
            u64::MAX
        } else {
            (range.len() / (n * 4)).clamp(*PIECE.start(), *PIECE.end())
        };
        let mut at = range.start;
        while at < range.end {
            let end = at.saturating_add(piece).min(range.end);
            self.todo.push_back(ByteRange { start: at, end });
            at = end;
        }
    }

    /// The next thing to do.
    pub fn poll_action<B>(&mut self, now: Instant) -> Option<Action<B>> {
        if let Some(key) = self.aborts.pop() {
            return Some(Action::Abort(key));
        }
        if self.outcome.is_some() {
            return None;
        }
        if self.restarting {
            if self.writing > 0 || self.saving || self.resetting {
                return None;
            }
            self.resetting = true;
            let sink = self.sink.clone();
            return Some(task(move || match sink.reset() {
                Ok(()) => Ok(TaskValue::Done),
                Err(e) => Err(format!("cannot begin again: {e}")),
            }));
        }
        if self.is_complete() {
            return self.finish();
        }
        if let Some(key) = self.open_link(now) {
            return Some(Action::Connect(key));
        }
        self.save(now)
    }

    pub(super) fn count(&self, role: Role) -> usize {
        self.links
            .iter()
            .flatten()
            .filter(|l| l.role == role)
            .count()
    }

    pub(super) fn open_link(&mut self, now: Instant) -> Option<Key> {
        let wants_digest = self.options.verify != Verify::Skip
            && !self.asked_digest
            && self.expected.is_none()
            && self.known.is_some()
            && self.size.is_some_and(|s| s > 0)
            && self.links.iter().flatten().any(|l| l.pos > l.start);
        let open = self.count(Role::Content);
        let wants_content = now >= self.not_before
            && match self.size {
                None => open == 0,
                Some(_) => open < self.options.connections && !self.todo.is_empty(),
            };
        let role = match (wants_content, wants_digest) {
            (true, _) => Role::Content,
            (_, true) => {
                self.asked_digest = true;
                Role::Digest
            }
            _ => return None,
        };
        let mut link = Link {
            x: Exchange::new(now),
            role,
            busy: false,
            ranged: false,
            start: 0,
            pos: 0,
            end: 0,
            error: None,
        };
        if role == Role::Content {
            self.ask(&mut link);
        } else {
            let head = self
                .head(Method::Head)
                .field("Want-Repr-Digest", self.want());
            link.x.request(Method::Head, head.finish());
            link.busy = true;
        }
        let key = self
            .links
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.links.len());
        if key == self.links.len() {
            self.links.push(None);
        }
        if let Some(slot) = self.links.get_mut(key) {
            *slot = Some(link);
        }
        Some(key)
    }

    pub(super) fn head(&self, method: Method) -> HeadWriter {
        let url = &self.options.url;
        let mut head = HeadWriter::request(method, url.target())
            .field("Host", &url.authority())
            .field(
                "User-Agent",
                concat!("fullbore/", env!("CARGO_PKG_VERSION")),
            )
            .field("Accept", "*/*");
        if let Some(token) = &self.options.token {
            head.add("Authorization", &format!("Bearer {token}"));
        }
        head
    }

    /// Lets a link ask for the next piece, if there is one.
    pub(super) fn ask(&mut self, link: &mut Link) {
        let mut head = self.head(Method::Get);
        let range = if self.size.is_some() {
            let Some(piece) = self.todo.pop_front() else {
                return;
            };
            (piece.start, piece.end)
        } else if self.options.connections > 1 && self.restarts == 0 {
            (0, PROBE)
        } else {
            (0, u64::MAX)
        };
        (link.start, link.pos, link.end) = (range.0, range.0, range.1);
        link.ranged = link.pos > 0
            || link.end != u64::MAX && Some(link.end) != self.size
            || self.known.is_some();
        if link.ranged {
            head.add(
                "Range",
                &format!("bytes={}-{}", link.pos, link.end.saturating_sub(1)),
            );
            if let Some(validator) = self.known.as_ref().and_then(Known::if_range) {
                head.add("If-Range", validator);
            }
        }
        link.error = None;
        link.x.request(Method::Get, head.finish());
        link.busy = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.size == Some(self.done)
            && self.writing == 0
            && self.todo.is_empty()
            && !self
                .links
                .iter()
                .flatten()
                .any(|l| l.role == Role::Content && l.busy)
    }

    pub(super) fn finish<B>(&mut self) -> Option<Action<B>> {
        let waits = self.expected.is_none() && self.count(Role::Digest) > 0;
        self.progress.enter(Phase::Finishing);
        if waits || self.saving || self.finishing {
            return None;
        }
        if self.expected.is_none() && self.options.verify == Verify::Require {
            let text = "the server offers none to check against".to_owned();
            self.fail(ClientError::Digest(text));
            return None;
        }
        self.finishing = true;
        let (sink, local, expected, algorithm, size) = (
            self.sink.clone(),
            self.local.clone(),
            self.expected,
            self.algorithm(),
            self.done,
        );
        Some(task(move || match local {
            Some(local) => match local.finish(&sink, size, expected, algorithm) {
                Ok(digest) => Ok(TaskValue::Digest(digest)),
                Err(ClientError::Digest(text)) => Ok(TaskValue::Mismatch(text)),
                Err(e) => Err(e.to_string()),
            },
            None => match sink.digest(size, expected.map_or(algorithm, |e| e.algorithm)) {
                Ok(digest) if expected.is_none_or(|e| e == digest) => Ok(TaskValue::Digest(digest)),
                Ok(_) => Ok(TaskValue::Mismatch(
                    "it has been written to standard output".into(),
                )),
                Err(e) => Err(e.to_string()),
            },
        }))
    }

    /// What is there, if that can be resumed.
    pub(super) fn saved(&self) -> Option<(Local, Saved)> {
        let known = self.known.as_ref().filter(|k| k.if_range().is_some())?;
        let saved = Saved {
            url: self.options.url.to_string(),
            etag: known.etag.clone(),
            last_modified: known.last_modified.clone(),
            size: self.size?,
            parts: Vec::new(),
        };
        Some((self.local.clone()?, saved))
    }

    pub(super) fn save<B>(&mut self, now: Instant) -> Option<Action<B>> {
        if self.saving || self.done == self.saved_done || now.since(self.saved_at) < SAVE_EVERY {
            return None;
        }
        let (local, mut saved) = self.saved()?;
        self.saving = true;
        self.saved_at = now;
        self.saved_done = self.done;
        let sink = self.sink.clone();
        Some(task(move || {
            saved.parts = sink.written().iter().map(|p| (p.start, p.end)).collect();
            local
                .save(&saved)
                .map_err(|e| format!("cannot write the .part.json file: {e}"))?;
            Ok(TaskValue::Done)
        }))
    }
}
