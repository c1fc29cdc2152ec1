//! A request head, checked once and then believed.

use super::fields::{decimal, list};
use super::target::{self, Target};
use super::{Framing, Refusal, Status};

/// The methods that fullbore knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
    /// `PUT`
    Put,
}

impl Method {
    /// The method's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Put => "PUT",
        }
    }
}

/// A request. List-valued fields that came in several lines are joined.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// With what.
    pub target: Target,
    /// How the content is delimited.
    pub framing: Framing,
    /// Whether the connection may serve another request after this one.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the content.
    pub expect_continue: bool,
    /// `Range`
    pub range: Option<String>,
    /// `If-Range`
    pub if_range: Option<String>,
    /// `If-Match`
    pub if_match: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<String>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<String>,
    /// `Authorization`
    pub authorization: Option<String>,
    /// `Accept`
    pub accept: Option<String>,
    /// `Want-Repr-Digest`
    pub want_repr_digest: Option<String>,
    /// `Repr-Digest`
    pub repr_digest: Option<String>,
    /// `Content-Digest`
    pub content_digest: Option<String>,
    /// `Content-Range`
    pub content_range: Option<String>,
    /// `Content-Encoding`
    pub content_encoding: Option<String>,
}

/// Most header fields that a caller can allow.
pub const MAX_FIELDS: usize = 128;

const fn bad(why: &'static str) -> Refusal {
    Refusal::new(Status::BAD_REQUEST, why)
}

fn once(slot: &mut Option<String>, value: String) -> Result<(), Refusal> {
    if slot.is_some() {
        return Err(bad("a header field that may come once came twice"));
    }
    *slot = Some(value);
    Ok(())
}

fn join(slot: &mut Option<String>, value: String) {
    match slot {
        Some(before) => {
            before.push_str(", ");
            before.push_str(&value);
        }
        None => *slot = Some(value),
    }
}

/// Fields that decide how the message is framed and routed.
#[derive(Default)]
struct Framed {
    host: Option<String>,
    content_length: Option<String>,
    transfer_encoding: Option<String>,
    connection: Option<String>,
    expect: Option<String>,
}

/// Reads a whole head, up to and including its empty line, with at most
/// `max_fields` (no more than [`MAX_FIELDS`]) header fields.
///
/// # Errors
/// The refusal to send; the connection must be closed after it, because where
/// the next request begins is not certain.
pub fn parse(head: &[u8], max_fields: usize) -> Result<Request, Refusal> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let limit = max_fields.min(MAX_FIELDS);
    let mut raw = httparse::Request::new(&mut slots[..limit]);
    match raw.parse(head) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(bad("the request head is malformed")),
        Err(e) => return Err(explain(e, head)),
    }
    let method = match raw.method.unwrap_or_default() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "PUT" => Method::Put,
        "POST" | "DELETE" | "PATCH" | "TRACE" | "CONNECT" => {
            return Err(Refusal::new(
                Status::METHOD_NOT_ALLOWED,
                "only GET, HEAD, OPTIONS and PUT are served",
            ));
        }
        _ => {
            return Err(Refusal::new(
                Status::NOT_IMPLEMENTED,
                "the method is not known",
            ));
        }
    };
    let version = raw.version.unwrap_or(0);
    let target = target::parse(raw.path.unwrap_or_default())?;
    if target == Target::Server && method != Method::Options {
        return Err(bad("the target * is for OPTIONS only"));
    }

    let mut framed = Framed::default();
    let mut request = Request {
        method,
        target,
        framing: Framing::None,
        keep_alive: version == 1,
        expect_continue: false,
        range: None,
        if_range: None,
        if_match: None,
        if_none_match: None,
        if_modified_since: None,
        if_unmodified_since: None,
        authorization: None,
        accept: None,
        want_repr_digest: None,
        repr_digest: None,
        content_digest: None,
        content_range: None,
        content_encoding: None,
    };
    for field in raw.headers.iter() {
        store(&mut request, &mut framed, field)?;
    }
    finish(&mut request, &framed, version)?;
    Ok(request)
}

fn store(r: &mut Request, f: &mut Framed, field: &httparse::Header<'_>) -> Result<(), Refusal> {
    let value = || String::from_utf8_lossy(field.value).into_owned();
    match field.name.to_ascii_lowercase().as_str() {
        "host" => once(&mut f.host, value()),
        "content-length" => once(&mut f.content_length, value()),
        "transfer-encoding" => once(&mut f.transfer_encoding, value()),
        "expect" => once(&mut f.expect, value()),
        "range" => once(&mut r.range, value()),
        "if-range" => once(&mut r.if_range, value()),
        "if-modified-since" => once(&mut r.if_modified_since, value()),
        "if-unmodified-since" => once(&mut r.if_unmodified_since, value()),
        "authorization" => once(&mut r.authorization, value()),
        "content-range" => once(&mut r.content_range, value()),
        "connection" => {
            join(&mut f.connection, value());
            Ok(())
        }
        "content-encoding" => {
            join(&mut r.content_encoding, value());
            Ok(())
        }
        "if-match" => {
            join(&mut r.if_match, value());
            Ok(())
        }
        "if-none-match" => {
            join(&mut r.if_none_match, value());
            Ok(())
        }
        "accept" => {
            join(&mut r.accept, value());
            Ok(())
        }
        "want-repr-digest" => {
            join(&mut r.want_repr_digest, value());
            Ok(())
        }
        "repr-digest" => {
            join(&mut r.repr_digest, value());
            Ok(())
        }
        "content-digest" => {
            join(&mut r.content_digest, value());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn finish(r: &mut Request, f: &Framed, version: u8) -> Result<(), Refusal> {
    if version == 1 && f.host.is_none() {
        return Err(bad("HTTP/1.1 requires a Host field"));
    }
    if f.host
        .as_deref()
        .is_some_and(|h| h.contains(['/', '@', ' ', '\t', ',', '?', '#']))
    {
        return Err(bad("the Host field is malformed"));
    }
    // RFC 9112 section 6.1: of a message with both, one recipient believes the
    // one and the next the other.
    r.framing = match (&f.content_length, &f.transfer_encoding) {
        (Some(_), Some(_)) => {
            return Err(bad(
                "Content-Length and Transfer-Encoding exclude each other",
            ));
        }
        (None, Some(_)) if version == 0 => {
            return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (None, Some(_)) => {
            return Err(Refusal::new(
                Status::NOT_IMPLEMENTED,
                "chunked is the only transfer coding served",
            ));
        }
        (Some(length), None) => {
            Framing::Length(decimal(length).ok_or(bad("the Content-Length field is malformed"))?)
        }
        (None, None) => Framing::None,
    };
    for option in f.connection.iter().flat_map(|c| list(c)) {
        if option.eq_ignore_ascii_case("close") {
            r.keep_alive = false;
            break;
        }
        if option.eq_ignore_ascii_case("keep-alive") {
            r.keep_alive = true;
        }
    }
    match &f.expect {
        // RFC 9110 section 10.1.1: from an HTTP/1.0 client it means nothing.
        Some(_) if version == 0 => {}
        Some(e) if e.eq_ignore_ascii_case("100-continue") => r.expect_continue = true,
        Some(_) => {
            return Err(Refusal::new(
                Status::EXPECTATION_FAILED,
                "100-continue is the only expectation served",
            ));
        }
        None => {}
    }
    // RFC 9110 section 9.3.1: content there is meaningless, and a sign of an
    // attempt to smuggle a request past another recipient.
    if r.method != Method::Put && !matches!(r.framing, Framing::None | Framing::Length(0)) {
        return Err(bad("only PUT takes content"));
    }
    Ok(())
}

fn explain(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(Status::HEADERS_TOO_LARGE, "too many header fields")
        }
        httparse::Error::Version => {
            let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
            let version = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
            let known_shape = matches!(version,
                [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                    if major.is_ascii_digit() && minor.is_ascii_digit());
            if known_shape {
                Refusal::new(
                    Status::VERSION_NOT_SUPPORTED,
                    "HTTP/1.1 and HTTP/1.0 are served",
                )
            } else {
                bad("the request line is malformed")
            }
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            bad("a header field is malformed")
        }
        _ => bad("the request line is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(fields: &str) -> Result<Request, Refusal> {
        parse(
            format!("GET /f HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes(),
            64,
        )
    }

    fn put(fields: &str) -> Result<Request, Refusal> {
        parse(
            format!("PUT /f HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes(),
            64,
        )
    }

    fn status(result: Result<Request, Refusal>) -> u16 {
        result.expect_err("refused").status.code()
    }

    #[test]
    fn plain() {
        let r = get("Range: bytes=0-1\r\nACCEPT: a\r\nAccept: b\r\n").unwrap();
        assert_eq!(r.method, Method::Get);
        assert_eq!(r.framing, Framing::None);
        assert_eq!(r.range.as_deref(), Some("bytes=0-1"));
        assert_eq!(r.accept.as_deref(), Some("a, b"));
        assert!(r.keep_alive && !r.expect_continue);
        let r =
            put("Content-Length: 10\r\nExpect: 100-Continue\r\nConnection: x, Close\r\n").unwrap();
        assert_eq!(r.framing, Framing::Length(10));
        assert!(r.expect_continue && !r.keep_alive);
        assert_eq!(
            put("Transfer-Encoding: Chunked\r\n").unwrap().framing,
            Framing::Chunked
        );
    }

    #[test]
    fn http_1_0() {
        let r = parse(b"GET / HTTP/1.0\r\n\r\n", 8).unwrap();
        assert!(!r.keep_alive);
        let r = parse(
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: x\r\n\r\n",
            8,
        )
        .unwrap();
        assert!(r.keep_alive && !r.expect_continue);
        assert_eq!(
            status(parse(
                b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                8
            )),
            400
        );
    }

    #[test]
    fn smuggling() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length : 5\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X: a\r\n b\r\n",
            " X: a\r\n",
            "X: a\rContent-Length: 5\r\n",
            "X: a\0b\r\n",
            "X\r\n",
            ": x\r\n",
            "Host: y\r\n",
        ] {
            assert_eq!(status(put(fields)), 400, "{fields:?}");
        }
        for fields in [
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: xchunked\r\n",
        ] {
            assert_eq!(status(put(fields)), 501, "{fields:?}");
        }
        assert_eq!(status(get("Content-Length: 5\r\n")), 400);
        assert_eq!(status(get("Transfer-Encoding: chunked\r\n")), 400);
        assert!(get("Content-Length: 0\r\n").is_ok());
    }

    #[test]
    fn refused() {
        for (head, want) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
            ("GET / FTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /\r\nHost: x\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            ("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
            ("get / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
            ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("\x16\x03\x01 hello\r\n\r\n", 400),
        ] {
            assert_eq!(status(parse(head.as_bytes(), 8)), want, "{head:?}");
        }
        assert_eq!(status(put("Expect: 200-ok\r\n")), 417);
        assert_eq!(status(get(&"A: b\r\n".repeat(64))), 431);
        assert!(get(&"A: b\r\n".repeat(63)).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_heads(head in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&head, 16);
        }

        #[test]
        fn arbitrary_fields(
            fields in "((Content-Length|Transfer-Encoding|Host|Connection|Expect|Range|X): ?[\\x20-\\xff]{0,12}\r\n){0,6}"
        ) {
            let _ = get(&fields);
            let _ = put(&fields);
        }
    }
}
