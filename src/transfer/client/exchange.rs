//! One connection of a client: a request out, a response in.

use crate::time::Instant;
use crate::transfer::http::response::{self, Malformed, Response};
use crate::transfer::http::{Body, BodyError, Framing, HeadBuffer, Method};

/// Largest response head accepted, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// What came in.
pub(super) enum Event {
    /// More bytes are needed; so many were taken.
    More(usize),
    /// A response begins, after so many bytes.
    Head(usize, Box<Response>),
    /// Content: bytes taken, where it lies among them, whether it was the last.
    Data {
        consumed: usize,
        data: std::ops::Range<usize>,
        done: bool,
    },
}

/// A response that breaks the rules.
#[derive(Debug)]
pub(super) struct Broken(pub String);

impl From<Malformed> for Broken {
    fn from(e: Malformed) -> Self {
        Self(e.to_string())
    }
}

impl From<BodyError> for Broken {
    fn from(_: BodyError) -> Self {
        Self("the response is malformed: its chunks are broken".into())
    }
}

/// One connection's request and response.
pub(super) struct Exchange {
    pub connected: bool,
    method: Method,
    out: Vec<u8>,
    sent: usize,
    head: HeadBuffer,
    body: Option<Body>,
    pub keep_alive: bool,
    /// When something last came or went.
    pub active: Instant,
}

impl Exchange {
    pub fn new(now: Instant) -> Self {
        Self {
            connected: false,
            method: Method::Get,
            out: Vec::new(),
            sent: 0,
            head: HeadBuffer::new(MAX_HEAD),
            body: None,
            keep_alive: true,
            active: now,
        }
    }

    /// Sends a request; its response is expected next.
    pub fn request(&mut self, method: Method, head: Vec<u8>) {
        self.method = method;
        self.out = head;
        self.sent = 0;
        self.head.clear();
        self.body = None;
    }

    /// Bytes to be sent.
    pub fn out(&self) -> &[u8] {
        if self.connected {
            self.out.get(self.sent..).unwrap_or_default()
        } else {
            &[]
        }
    }

    /// So many of them were sent.
    pub fn advance(&mut self, now: Instant, n: usize) {
        self.sent += n;
        self.active = now;
    }

    /// Looks at what arrived.
    pub fn on_bytes(&mut self, now: Instant, input: &[u8]) -> Result<Event, Broken> {
        self.active = now;
        if let Some(body) = &mut self.body {
            let decoded = body.decode(input)?;
            return Ok(Event::Data {
                consumed: decoded.consumed,
                data: decoded.data,
                done: decoded.done,
            });
        }
        let (consumed, complete) = self
            .head
            .push(input)
            .map_err(|_| Broken("the response is malformed: its head is no HTTP head".into()))?;
        // Others may never send the empty line that ends a head.
        let begun = self.head.bytes().iter().zip(b"HTTP/");
        if begun.into_iter().any(|(got, expected)| got != expected) {
            return Err(Broken("the server does not speak HTTP".into()));
        }
        if !complete {
            return Ok(Event::More(consumed));
        }
        let response = response::parse(self.head.bytes(), self.method)?;
        self.head.clear();
        if !response.status.is_interim() {
            self.keep_alive = response.keep_alive;
            self.body = Some(Body::new(response.framing));
        }
        Ok(Event::Head(consumed, Box::new(response)))
    }

    /// How many of the bytes that arrive next are content, whatever they are.
    pub fn plain(&self) -> u64 {
        self.body.as_ref().map_or(0, Body::plain)
    }

    /// So many have arrived, fewer than [`plain`](Self::plain) says.
    pub fn pass(&mut self, now: Instant, n: u64) {
        self.active = now;
        if let Some(body) = &mut self.body {
            body.pass(n);
        }
    }

    /// Whether the response is complete.
    pub fn is_done(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_done)
    }

    /// Whether the end of the stream here is an end of the response.
    pub fn may_end_here(&self) -> bool {
        self.body.as_ref().is_some_and(Body::may_end_here)
    }
}

/// The number of bytes that a framing announces.
pub(super) const fn announced(framing: Framing) -> Option<u64> {
    match framing {
        Framing::None => Some(0),
        Framing::Length(n) => Some(n),
        Framing::Chunked | Framing::UntilClose => None,
    }
}
