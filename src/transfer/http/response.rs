//! A response head, for the client's side.

use std::time::Duration;

use super::digest::{self, Algorithm, Digests};
use super::fields::{decimal, list};
use super::range::{ContentRange, parse_content_range};
use super::{Framing, Method, Status};

/// What fullbore looks at in a response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// How the content is delimited.
    pub framing: Framing,
    /// The connection can carry another request after this response.
    pub keep_alive: bool,
    /// `Content-Length` as sent; in a response to HEAD it is the size of what
    /// GET would have brought.
    pub content_length: Option<u64>,
    /// `Content-Range`, if well-formed.
    pub content_range: Option<ContentRange>,
    /// `Accept-Ranges: bytes`.
    pub accepts_ranges: bool,
    /// `ETag`, in its quotes, with its `W/` if it is weak.
    pub etag: Option<String>,
    /// `Last-Modified` as it stands.
    pub last_modified: Option<String>,
    /// The known digests of `Repr-Digest`, if it is well-formed.
    pub repr_digest: Digests,
    /// The algorithm that `Want-Repr-Digest` likes best.
    pub wants_digest: Option<Algorithm>,
    /// A content coding other than identity, which fullbore did not ask for.
    pub content_encoding: Option<String>,
    /// `Retry-After` in seconds, at most a day.
    pub retry_after: Option<Duration>,
    /// `Location` as it stands.
    pub location: Option<String>,
}

/// A response that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response is malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Most header fields accepted in a response.
pub const MAX_FIELDS: usize = 128;

/// Reads a whole head that answers a request with `method`.
///
/// # Errors
/// [`Malformed`], after which the connection is of no use.
pub fn parse(head: &[u8], method: Method) -> Result<Response, Malformed> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut raw = httparse::Response::new(&mut slots);
    match raw.parse(head) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("too many header fields")),
        _ => return Err(Malformed("its head does not parse")),
    }
    let status = raw
        .code
        .and_then(Status::from_code)
        .ok_or(Malformed("its status is unknown"))?;
    let mut response = Response {
        status,
        framing: Framing::None,
        keep_alive: raw.version == Some(1),
        content_length: None,
        content_range: None,
        accepts_ranges: false,
        etag: None,
        last_modified: None,
        repr_digest: Digests::default(),
        wants_digest: None,
        content_encoding: None,
        retry_after: None,
        location: None,
    };
    let mut chunked = false;
    for field in raw.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        let value = value.trim();
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = decimal(value).ok_or(Malformed("its Content-Length is no number"))?;
                if response.content_length.is_some_and(|l| l != length) {
                    return Err(Malformed("it has two different lengths"));
                }
                response.content_length = Some(length);
            }
            "transfer-encoding" => {
                if chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err(Malformed("its transfer coding is not chunked"));
                }
                chunked = true;
            }
            "connection" if list(value).any(|o| o.eq_ignore_ascii_case("close")) => {
                response.keep_alive = false;
            }
            "content-range" => response.content_range = parse_content_range(value),
            "accept-ranges" => {
                response.accepts_ranges = list(value).any(|u| u.eq_ignore_ascii_case("bytes"));
            }
            "etag" => response.etag = Some(value.to_owned()),
            "last-modified" => response.last_modified = Some(value.to_owned()),
            "repr-digest" => response.repr_digest = digest::parse(value).unwrap_or_default(),
            "want-repr-digest" => response.wants_digest = digest::wanted(value),
            "content-encoding" if !value.is_empty() && !value.eq_ignore_ascii_case("identity") => {
                response.content_encoding = Some(value.to_owned());
            }
            "retry-after" => {
                response.retry_after = decimal(value).map(|s| Duration::from_secs(s.min(86_400)));
            }
            "location" => response.location = Some(value.to_owned()),
            _ => {}
        }
    }
    if chunked && response.content_length.is_some() {
        return Err(Malformed("it has both a length and chunks"));
    }
    // RFC 9112 section 6.3.
    response.framing = if method == Method::Head || status.has_no_content() {
        Framing::None
    } else if chunked {
        Framing::Chunked
    } else if let Some(length) = response.content_length {
        Framing::Length(length)
    } else {
        response.keep_alive = false;
        Framing::UntilClose
    };
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(text: &str) -> Result<Response, Malformed> {
        parse(text.as_bytes(), Method::Get)
    }

    #[test]
    fn framing() {
        let r = get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n").unwrap();
        assert_eq!((r.framing, r.keep_alive), (Framing::Length(5), true));
        assert_eq!(r.etag.as_deref(), Some("\"a\""));
        let r = get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
            .unwrap();
        assert_eq!((r.framing, r.keep_alive), (Framing::Chunked, false));
        let r = get("HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert_eq!((r.framing, r.keep_alive), (Framing::UntilClose, false));
        let r = get("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").unwrap();
        assert_eq!((r.framing, r.keep_alive), (Framing::None, true));
        let r = parse(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Method::Head,
        )
        .unwrap();
        assert_eq!((r.framing, r.content_length), (Framing::None, Some(5)));
    }

    #[test]
    fn fields() {
        let sum = digest::Digest::sha256([1; 32]);
        let r = get(&format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\
             Accept-Ranges: bytes\r\nRepr-Digest: {sum}\r\nWant-Repr-Digest: blake3=2\r\nRetry-After: 999999\r\nContent-Encoding: gzip\r\n\r\n"
        ))
        .unwrap();
        assert_eq!(r.content_range.unwrap().size, Some(9));
        assert!(r.accepts_ranges);
        assert_eq!(r.repr_digest, sum.into());
        assert_eq!(r.wants_digest, Some(Algorithm::Blake3));
        assert_eq!(r.retry_after, Some(Duration::from_secs(86_400)));
        assert_eq!(r.content_encoding.as_deref(), Some("gzip"));
    }

    #[test]
    fn malformed() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 42 X\r\n\r\n",
            "HTTP/1.1 999 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(get(text).is_err(), "{text:?}");
        }
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert_eq!(get(&many).unwrap_err(), Malformed("too many header fields"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes(head in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&head, Method::Get);
        }
    }
}
