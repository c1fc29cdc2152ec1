//! What is to be sent, and the blocks to be read for it.

use std::sync::Arc;

use super::{Close, Front, Out, ReadWish, ServerConn, State};
use crate::transfer::disk::{Block, DiskError, Upload};
use crate::transfer::http::{Framing, Method, Refusal, Request};
use crate::transfer::serve::Now;
use crate::transfer::serve::reply::{self, Part, Reply};

impl<B: Block> ServerConn<B> {
    pub(super) fn refuse_request(&mut self, now: Now, request: &Request, refusal: Refusal) {
        if !matches!(request.framing, Framing::None | Framing::Length(0)) {
            self.keep_alive = false; // the content may come or not
        }
        let reply = reply::refuse(&self.policy, refusal, request.method, now, self.keep_alive);
        self.respond(now, reply);
    }

    pub(super) fn refuse_and_close(&mut self, now: Now, refusal: Refusal) {
        self.keep_alive = false;
        let reply = reply::refuse(&self.policy, refusal, Method::Get, now, false);
        self.respond(now, reply);
    }

    pub(super) fn respond(&mut self, now: Now, reply: Reply) {
        let class = usize::from(reply.status.code() / 100).saturating_sub(1);
        if let Some(count) = self.tally.responses.get_mut(class) {
            *count += 1;
        }
        let mut data = reply.head;
        self.parts = reply.parts;
        // Short answers go out in one segment.
        while let Some(Part::Bytes(bytes)) = self.parts.front_mut() {
            data.append(bytes);
            self.parts.pop_front();
        }
        self.out.push_back(Out::Bytes { data, sent: 0 });
        self.file = reply.file;
        self.state = State::Responding;
        self.start_window(now.at);
    }

    /// A block to read ahead of what has been sent, of at most `max` bytes.
    /// [`read_issued`](Self::read_issued) has to follow, or nothing.
    pub fn next_read(&mut self, max: usize) -> Option<ReadWish> {
        if self.blocks >= self.policy.read_ahead.max(1) {
            return None;
        }
        while let Some(Part::Bytes(bytes)) = self.parts.front_mut() {
            let data = std::mem::take(bytes);
            self.out.push_back(Out::Bytes { data, sent: 0 });
            self.parts.pop_front();
        }
        let Some(Part::File(range)) = self.parts.front() else {
            return None;
        };
        let len = usize::try_from(range.len()).unwrap_or(usize::MAX).min(max);
        if len == 0 {
            return None;
        }
        Some(ReadWish {
            file: self.file.clone()?,
            offset: range.start,
            len,
        })
    }

    /// The block that [`next_read`](Self::next_read) asked for is on its way,
    /// with `len` bytes of it.
    pub fn read_issued(&mut self, len: usize) {
        if let Some(Part::File(range)) = self.parts.front_mut() {
            range.start += (len as u64).min(range.len());
            if range.is_empty() {
                self.parts.pop_front();
            }
            self.out.push_back(Out::Pending(len));
            self.blocks += 1;
            self.ahead += len;
        }
    }

    /// Bytes asked for and not yet taken to be sent.
    #[must_use]
    pub const fn read_ahead(&self) -> usize {
        self.ahead
    }

    /// Whether a block is on its way.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.out.iter().any(|out| matches!(out, Out::Pending(_)))
    }

    /// Blocks come in the order in which they were asked for.
    pub(super) fn on_read(
        &mut self,
        now: Now,
        block: B,
        result: Result<usize, DiskError>,
    ) -> Option<B> {
        let was_waiting = self.front().is_none();
        let pending = self.out.iter_mut().find_map(|out| match out {
            Out::Pending(len) => Some((*len, out)),
            _ => None,
        });
        let Some((len, slot)) = pending else {
            return Some(block);
        };
        if result != Ok(len) {
            // The file became shorter, or cannot be read: what was promised
            // in Content-Length cannot be kept.
            self.abort();
            return Some(block);
        }
        *slot = Out::Block(block);
        if was_waiting {
            self.start_window(now.at); // the peer was not to blame
        }
        None
    }

    /// What is to be sent next; `None` when there is nothing, or not yet.
    #[must_use]
    pub fn front(&self) -> Option<Front<'_>> {
        match self.out.front()? {
            Out::Bytes { data, sent } => Some(Front::Bytes(data.get(*sent..).unwrap_or_default())),
            Out::Pending(_) => None,
            Out::Block(_) => Some(Front::Block),
        }
    }

    /// `n` of the bytes that [`front`](Self::front) showed have been sent.
    pub fn bytes_sent(&mut self, now: Now, n: usize) {
        if let Some(Out::Bytes { data, sent }) = self.out.front_mut() {
            *sent += n;
            self.moved += n as u64;
            if *sent >= data.len() {
                self.out.pop_front();
                self.sent(now);
            }
        }
    }

    /// Takes the block at the front to send it; `len` are its bytes.
    pub fn take_block(&mut self, now: Now, len: impl FnOnce(&B) -> usize) -> Option<B> {
        if !matches!(self.out.front(), Some(Out::Block(_))) {
            return None;
        }
        let Some(Out::Block(block)) = self.out.pop_front() else {
            return None;
        };
        let len = len(&block);
        self.ahead = self.ahead.saturating_sub(len);
        let len = len as u64;
        self.blocks = self.blocks.saturating_sub(1);
        self.moved += len;
        self.tally.sent += len;
        self.sent(now);
        Some(block)
    }

    /// After each piece: whether that was all.
    pub(super) fn sent(&mut self, now: Now) {
        if !matches!(self.state, State::Responding)
            || !self.out.is_empty()
            || !self.parts.is_empty()
        {
            return;
        }
        self.file = None;
        self.start_window(now.at);
        if self.keep_alive && !self.peer_done {
            self.state = State::Head;
        } else {
            self.close = Some(Close::Shutdown);
            self.state = if self.peer_done {
                State::Closed
            } else {
                State::Lingering
            };
        }
    }

    /// Whether bytes that have arrived may be shown again after
    /// [`on_bytes`](Self::on_bytes) took none.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        matches!(
            self.state,
            State::Head | State::Receiving(_) | State::Lingering | State::Closed
        )
    }

    /// Content bytes received and not yet reported as written.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        match &self.state {
            State::Receiving(r) => r.received.saturating_sub(r.written),
            _ => 0,
        }
    }

    /// The upload that content belongs to, while content comes in.
    #[must_use]
    pub fn upload(&self) -> Option<&Arc<Upload>> {
        match &self.state {
            State::Receiving(r) => Some(&r.upload),
            _ => None,
        }
    }
}
