//! HTTP from the network: heads of requests and responses, and content. What
//! is made of the bytes does not depend on where they were cut.

use fullbore::transfer::http::body::Decoded;
use fullbore::transfer::http::{
    Body, BodyError, Framing, HeadBuffer, HeadError, Method, Refusal, Status, digest, request,
    response, target,
};

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let mut cuts: Vec<usize> = (0..input.below(5)).map(|_| input.u8().into()).collect();
    cuts.sort_unstable();
    let stream = input.rest();
    let whole = read(kind, &[stream]);
    assert_eq!(whole, read(kind, &pieces(stream, &cuts)), "cut at {cuts:?}");
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(whole, read(kind, &single), "byte by byte");
}

fn pieces<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts {
        let to = (*cut).clamp(from, stream.len());
        out.push(&stream[from..to]);
        from = to;
    }
    out.push(&stream[from..]);
    out
}

/// What a recipient makes of a stream.
#[derive(Debug, PartialEq)]
enum Seen {
    /// A head, with what was understood of it.
    Head(Vec<u8>, String),
    Content(Vec<u8>, bool),
    HeadError(HeadError),
    Body(BodyError),
    Refused(Refusal),
    Malformed(&'static str),
}

const MAX_HEAD: usize = 4096;

/// Takes messages one after the other, as a server (`kind` even) or a client.
fn read(kind: u8, pieces: &[&[u8]]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut reader = Reader {
        client: kind & 1 != 0,
        method: if kind & 2 != 0 {
            Method::Head
        } else {
            Method::Get
        },
        head: HeadBuffer::new(MAX_HEAD),
        body: None,
        content: Vec::new(),
    };
    if kind & 4 != 0 {
        reader.body = Some(Body::new(match kind >> 3 & 3 {
            0 | 1 => Framing::Chunked,
            2 => Framing::Length(u64::from(kind >> 5) * 37),
            _ => Framing::UntilClose,
        }));
    }
    'all: for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match reader.take(rest, &mut seen) {
                Some(n) => {
                    assert!(n > 0 && n <= rest.len(), "no progress");
                    rest = &rest[n..];
                }
                None => break 'all,
            }
        }
    }
    if reader.body.is_some() {
        let may_end = reader.body.as_ref().is_some_and(Body::may_end_here);
        seen.push(Seen::Content(reader.content, may_end));
    } else {
        seen.push(Seen::Head(reader.head.bytes().to_vec(), String::new()));
    }
    seen
}

struct Reader {
    client: bool,
    method: Method,
    head: HeadBuffer,
    body: Option<Body>,
    content: Vec<u8>,
}

impl Reader {
    /// Takes some of `bytes`: how many, or `None` when the stream is broken.
    fn take(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) -> Option<usize> {
        let Some(body) = &mut self.body else {
            return self.take_head(bytes, seen);
        };
        let Decoded {
            consumed,
            data,
            done,
        } = match body.decode(bytes) {
            Ok(decoded) => decoded,
            Err(e) => {
                seen.push(Seen::Body(e));
                return None;
            }
        };
        assert!(data.end <= consumed && consumed <= bytes.len());
        self.content.extend_from_slice(&bytes[data]);
        assert_eq!(done, body.is_done());
        if done {
            if let Err(e) = body.trailer_digests() {
                seen.push(Seen::Body(e));
            }
            seen.push(Seen::Content(std::mem::take(&mut self.content), true));
            self.body = None;
            // Nothing may have been taken when the content was empty.
            if consumed == 0 {
                return self.take_head(bytes, seen);
            }
        }
        Some(consumed)
    }

    fn take_head(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) -> Option<usize> {
        let (taken, complete) = match self.head.push(bytes) {
            Ok(found) => found,
            Err(e) => {
                seen.push(Seen::HeadError(e));
                return None;
            }
        };
        assert!(self.head.bytes().len() <= MAX_HEAD);
        if !complete {
            assert_eq!(taken, bytes.len());
            return Some(taken);
        }
        let head = self.head.bytes().to_vec();
        assert!(head.ends_with(b"\r\n"));
        self.head.clear();
        let framing = if self.client {
            match response::parse(&head, self.method) {
                Ok(r) => {
                    seen.push(Seen::Head(head, format!("{r:?}")));
                    check_response(&r, self.method);
                    r.framing
                }
                Err(e) => {
                    seen.push(Seen::Malformed(e.0));
                    return None;
                }
            }
        } else {
            match request::parse(&head, 16) {
                Ok(r) => {
                    seen.push(Seen::Head(head, format!("{r:?}")));
                    check_request(&r);
                    r.framing
                }
                Err(refusal) => {
                    assert!(refusal.status.code() >= 400 && !refusal.why.is_empty());
                    seen.push(Seen::Refused(refusal));
                    return None;
                }
            }
        };
        if !matches!(framing, Framing::None | Framing::Length(0)) {
            self.body = Some(Body::new(framing));
        }
        Some(taken)
    }
}

fn check_request(r: &request::Request) {
    if let target::Target::Path(path) = &r.target {
        let bytes = path.bytes();
        assert!(!bytes.contains(&0));
        let inside = |s: &[u8]| !s.is_empty() && s != b"." && s != b"..";
        assert!(bytes.is_empty() || bytes.split(|&b| b == b'/').all(inside));
        let encoded = path.encoded();
        assert!(encoded.starts_with('/') && !encoded.starts_with("//"));
        assert_eq!(
            target::parse(&encoded),
            Ok(target::Target::Path(path.clone())),
            "{encoded}"
        );
    }
    if r.method != Method::Put {
        assert!(matches!(r.framing, Framing::None | Framing::Length(0)));
    }
    assert_ne!(r.framing, Framing::UntilClose);
    for field in [&r.repr_digest, &r.content_digest].into_iter().flatten() {
        let _ = digest::parse(field);
    }
}

fn check_response(r: &response::Response, method: Method) {
    if method == Method::Head || r.status.has_no_content() {
        assert_eq!(r.framing, Framing::None);
    }
    if r.framing == Framing::UntilClose {
        assert!(!r.keep_alive);
    }
    assert_eq!(Status::from_code(r.status.code()), Some(r.status));
}
