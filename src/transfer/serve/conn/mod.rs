//! The machine of one connection.

mod answers;
mod output;
mod time;

use std::collections::VecDeque;
use std::sync::Arc;

use super::reply::{self, Part};
use super::{Now, Policy, Tally};
use crate::time::Instant;
use crate::transfer::Taken;
use crate::transfer::disk::{Block, Op, OpenFile, Upload};
use crate::transfer::http::digest::{self, Digest, Digests};
use crate::transfer::http::target::Target;
use crate::transfer::http::{
    Body, BodyError, Framing, HeadBuffer, HeadError, Method, Refusal, Request, Status, fields,
    request,
};

/// What is to be sent next.
#[derive(Debug)]
pub enum Front<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A block, to be had by [`ServerConn::take_block`].
    Block,
}

/// How the connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Send the end of the stream after what has been sent. What still comes
    /// in is to be shown as before.
    Shutdown,
    /// Reset.
    Abort,
}

/// A block wanted from a file.
#[derive(Clone, Debug)]
pub struct ReadWish {
    /// The file.
    pub file: Arc<OpenFile>,
    /// First byte.
    pub offset: u64,
    /// Bytes, no more than were offered.
    pub len: usize,
}

enum Out<B> {
    Bytes {
        data: Vec<u8>,
        sent: usize,
    },
    /// A read of so many bytes is under way.
    Pending(usize),
    Block(B),
}

/// An upload in progress.
struct Receiving {
    upload: Arc<Upload>,
    body: Body,
    expected: Vec<Digest>,
    received: u64,
    written: u64,
}

enum State {
    /// Waiting for a request or in the middle of its head.
    Head,
    /// The disk has the path.
    Lookup(Box<Request>),
    /// The disk works out a digest, beside those that are known.
    Digesting(Box<Request>, Arc<OpenFile>, Digests),
    /// The disk lists a directory; as JSON if set.
    Listing(Method, bool),
    /// The disk prepares an upload.
    Creating(Box<Request>),
    /// Content comes in.
    Receiving(Box<Receiving>),
    /// The disk makes the upload a file.
    Committing,
    /// A response goes out.
    Responding,
    /// All is sent; what still comes in is dropped, so that our close does
    /// not destroy the last response (RFC 9112 section 9.6).
    Lingering,
    /// Nothing more will happen.
    Closed,
}

/// Bytes dropped after the last response before the connection is reset.
const MAX_LINGER_BYTES: u64 = 4 << 20;

/// The server's side of one connection. See the [module](super).
pub struct ServerConn<B> {
    policy: Arc<Policy>,
    state: State,
    head: HeadBuffer,
    refuse_all: Option<Refusal>,
    keep_alive: bool,
    peer_done: bool,
    ops: VecDeque<Op<B>>,
    out: VecDeque<Out<B>>,
    parts: VecDeque<Part>,
    file: Option<Arc<OpenFile>>,
    blocks: usize,
    ahead: usize,
    /// When the current phase began, or the current window of the rate.
    since: Instant,
    moved: u64,
    last_unsent: Option<usize>,
    close: Option<Close>,
    tally: Tally,
}

impl<B: Block> ServerConn<B> {
    /// A connection that was accepted just now.
    #[must_use]
    pub fn new(policy: Arc<Policy>, now: Now) -> Self {
        Self {
            head: HeadBuffer::new(policy.max_head),
            policy,
            state: State::Head,
            refuse_all: None,
            keep_alive: true,
            peer_done: false,
            ops: VecDeque::new(),
            out: VecDeque::new(),
            parts: VecDeque::new(),
            file: None,
            blocks: 0,
            ahead: 0,
            since: now.at,
            moved: 0,
            last_unsent: None,
            close: None,
            tally: Tally::default(),
        }
    }

    /// A connection beyond a limit: its first request is answered with
    /// `refusal`, then it is closed.
    #[must_use]
    pub fn refusing(policy: Arc<Policy>, refusal: Refusal, now: Now) -> Self {
        Self {
            refuse_all: Some(refusal),
            ..Self::new(policy, now)
        }
    }

    // -- input --------------------------------------------------------------

    /// Shows bytes that have arrived.
    pub fn on_bytes(&mut self, now: Now, input: &[u8]) -> Taken {
        match &mut self.state {
            State::Head => self.on_head_bytes(now, input),
            State::Receiving(_) => self.on_body_bytes(now, input),
            State::Lingering => {
                self.moved += input.len() as u64;
                if self.moved > MAX_LINGER_BYTES {
                    self.abort();
                }
                Taken::none(input.len())
            }
            State::Closed => Taken::none(input.len()),
            _ => Taken::none(0),
        }
    }

    /// The upload that the bytes which arrive next belong to, where in it, and how
    /// many of them are its content, whatever they are. They can be told by
    /// [`pass`](Self::pass) instead of being shown.
    #[must_use]
    pub fn plain(&self) -> Option<(&Arc<Upload>, u64, u64)> {
        let State::Receiving(receiving) = &self.state else {
            return None;
        };
        let left = self.policy.max_upload.saturating_sub(receiving.received);
        let plain = receiving.body.plain().min(left);
        Some((&receiving.upload, receiving.received, plain))
    }

    /// So many bytes have arrived: fewer than [`plain`](Self::plain) says.
    pub fn pass(&mut self, n: u64) {
        let State::Receiving(receiving) = &mut self.state else {
            return;
        };
        receiving.body.pass(n);
        receiving.received += n;
        self.moved += n;
        self.tally.received += n;
    }

    /// The peer will send no more.
    pub fn on_eof(&mut self) {
        self.peer_done = true;
        match &self.state {
            // Between requests, or too early for an answer to be of use.
            State::Head => {
                self.close = Some(Close::Shutdown);
                self.state = State::Closed;
            }
            State::Receiving(r) if !r.body.is_done() => self.abort(),
            State::Lingering => self.state = State::Closed,
            _ => self.keep_alive = false,
        }
    }

    fn on_head_bytes(&mut self, now: Now, input: &[u8]) -> Taken {
        if self.head.is_empty() && !input.is_empty() {
            self.since = now.at; // the time for the head begins
        }
        let pushed = self.head.push(input);
        match pushed {
            Ok((consumed, false)) => Taken::none(consumed),
            Ok((consumed, true)) => {
                self.tally.requests += 1;
                let parsed = request::parse(self.head.bytes(), self.policy.max_fields);
                self.head.clear();
                match parsed {
                    Ok(request) => self.dispatch(now, Box::new(request)),
                    Err(refusal) => self.refuse_and_close(now, refusal),
                }
                Taken::none(consumed)
            }
            Err(error) => {
                self.tally.requests += 1;
                let (status, why) = match error {
                    HeadError::LineTooLong => {
                        (Status::URI_TOO_LONG, "the request line is too long")
                    }
                    HeadError::TooLarge => {
                        (Status::HEADERS_TOO_LARGE, "the request head is too large")
                    }
                    HeadError::BareLineFeed => {
                        (Status::BAD_REQUEST, "a line ends without a carriage return")
                    }
                };
                self.refuse_and_close(now, Refusal::new(status, why));
                Taken::none(input.len())
            }
        }
    }

    fn on_body_bytes(&mut self, now: Now, input: &[u8]) -> Taken {
        let State::Receiving(receiving) = &mut self.state else {
            return Taken::none(0);
        };
        let offset = receiving.received;
        match receiving.body.decode(input) {
            Ok(decoded) => {
                let len = decoded.data.len() as u64;
                receiving.received += len;
                self.moved += len;
                self.tally.received += len;
                if receiving.received > self.policy.max_upload {
                    let refusal =
                        Refusal::new(Status::CONTENT_TOO_LARGE, "the content is too large");
                    self.drop_upload(now, refusal);
                    return Taken::none(decoded.consumed);
                }
                if decoded.done {
                    self.finish_upload(now);
                }
                Taken {
                    consumed: decoded.consumed,
                    data: decoded.data,
                    offset,
                }
            }
            Err(error) => {
                self.drop_upload(now, body_refusal(error));
                Taken::none(input.len())
            }
        }
    }

    // -- requests -----------------------------------------------------------

    fn dispatch(&mut self, now: Now, request: Box<Request>) {
        self.keep_alive = request.keep_alive && !self.peer_done;
        if let Some(refusal) = self.refuse_all {
            return self.refuse_and_close(now, refusal);
        }
        let authorization = request.authorization.as_deref();
        if self
            .policy
            .auth
            .as_ref()
            .is_some_and(|a| !a.allows(request.method, authorization))
        {
            let refusal = Refusal::new(Status::UNAUTHORIZED, "a bearer token is needed");
            return self.refuse_request(now, &request, refusal);
        }
        match (request.method, &request.target) {
            (Method::Options, _) => {
                let reply = reply::options(&self.policy, now, self.keep_alive);
                self.respond(now, reply);
            }
            (Method::Put, _) => match self.check_put(&request) {
                Ok(length) => {
                    let root = self.policy.root.clone();
                    let op = Op::Create {
                        root,
                        request: request.clone(),
                        length,
                    };
                    self.wait(State::Creating(request), op);
                }
                Err(refusal) => self.refuse_request(now, &request, refusal),
            },
            (_, Target::Path(path)) => {
                let op = Op::Lookup {
                    root: self.policy.root.clone(),
                    path: path.clone(),
                };
                self.wait(State::Lookup(request), op);
            }
            (_, Target::Server) => {
                let refusal = Refusal::new(Status::BAD_REQUEST, "the target * is for OPTIONS only");
                self.refuse_request(now, &request, refusal);
            }
        }
    }

    /// Whether an upload may begin, and its length if it is known.
    fn check_put(&self, request: &Request) -> Result<Option<u64>, Refusal> {
        if !self.policy.writable {
            return Err(Refusal::new(
                Status::METHOD_NOT_ALLOWED,
                "this server is read-only",
            ));
        }
        if request.content_range.is_some() {
            // RFC 9110 section 14.5: not to be mistaken for the whole.
            return Err(Refusal::new(
                Status::BAD_REQUEST,
                "a part of a file cannot be put",
            ));
        }
        let coded = request.content_encoding.as_deref().is_some_and(|codings| {
            fields::list(codings).any(|c| !c.eq_ignore_ascii_case("identity"))
        });
        if coded {
            return Err(Refusal::new(
                Status::UNSUPPORTED_MEDIA_TYPE,
                "content codings are not undone",
            ));
        }
        expected_digests(request)?;
        match request.framing {
            Framing::Length(length) if length > self.policy.max_upload => Err(Refusal::new(
                Status::CONTENT_TOO_LARGE,
                "the content is too large",
            )),
            Framing::Length(length) => Ok(Some(length)),
            Framing::Chunked => Ok(None),
            Framing::None | Framing::UntilClose => Err(Refusal::new(
                Status::LENGTH_REQUIRED,
                "PUT needs Content-Length or chunks",
            )),
        }
    }

    fn wait(&mut self, state: State, op: Op<B>) {
        self.state = state;
        self.ops.push_back(op);
    }

    fn finish_upload(&mut self, now: Now) {
        let State::Receiving(receiving) = &mut self.state else {
            return;
        };
        if !receiving.body.is_done() || receiving.written < receiving.received {
            return;
        }
        match receiving.body.trailer_digests() {
            Ok(digests) => {
                receiving.expected.extend(digests.iter());
                let op = Op::Commit {
                    upload: receiving.upload.clone(),
                    size: receiving.received,
                    expected: std::mem::take(&mut receiving.expected),
                };
                self.wait(State::Committing, op);
            }
            Err(error) => self.drop_upload(now, body_refusal(error)),
        }
    }

    /// Gives an upload up. What else of it comes in cannot be told from a
    /// request, so the connection ends.
    fn drop_upload(&mut self, now: Now, refusal: Refusal) {
        if let State::Receiving(receiving) = std::mem::replace(&mut self.state, State::Closed) {
            self.ops.push_back(Op::Discard(receiving.upload));
        }
        self.refuse_and_close(now, refusal);
    }
}

fn expected_digests(request: &Request) -> Result<Vec<Digest>, Refusal> {
    let mut digests = Vec::new();
    // Without a content coding, content and representation are the same.
    for field in [&request.repr_digest, &request.content_digest]
        .into_iter()
        .flatten()
    {
        let found = digest::parse(field)
            .map_err(|_| Refusal::new(Status::BAD_REQUEST, "a digest field is malformed"))?;
        digests.extend(found.iter());
    }
    Ok(digests)
}

const fn body_refusal(error: BodyError) -> Refusal {
    match error {
        BodyError::ChunkSize => Refusal::new(Status::BAD_REQUEST, "a chunk size is malformed"),
        BodyError::ChunkEnd => Refusal::new(Status::BAD_REQUEST, "a chunk is malformed"),
        BodyError::Extensions => Refusal::new(Status::BAD_REQUEST, "too many chunk extensions"),
        BodyError::Trailers => {
            Refusal::new(Status::BAD_REQUEST, "the trailer section is malformed")
        }
    }
}
