//! Responses, as a head and a plan of what content follows.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::media::media_type;
use super::{Now, Policy};
use crate::transfer::disk::{DiskError, OpenFile, Stored};
use crate::transfer::http::condition::{self, Outcome, Validators};
use crate::transfer::http::digest::{self, Algorithm, Digests};
use crate::transfer::http::fields::{HeadWriter, http_date};
use crate::transfer::http::range::{ByteRange, Selection, content_range, select};
use crate::transfer::http::target::{Path, Target};
use crate::transfer::http::{Method, Refusal, Request, Status};

/// A part of a response's content.
#[derive(Debug)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    File(ByteRange),
}

/// A response that has not been sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: Status,
    pub head: Vec<u8>,
    pub parts: VecDeque<Part>,
    pub file: Option<Arc<OpenFile>>,
}

fn start(status: Status, now: Now, keep_alive: bool) -> HeadWriter {
    let head = HeadWriter::response(status)
        .field("Date", &http_date(now.wall))
        .field("Server", concat!("fullbore/", env!("CARGO_PKG_VERSION")));
    if status.is_interim() {
        return head;
    }
    head.field(
        "Connection",
        if keep_alive { "keep-alive" } else { "close" },
    )
}

/// The methods a target takes.
fn allow(policy: &Policy) -> &'static str {
    if policy.writable {
        "GET, HEAD, OPTIONS, PUT"
    } else {
        "GET, HEAD, OPTIONS"
    }
}

/// A response whose content is in memory.
fn in_memory(status: Status, mut head: HeadWriter, method: Method, content: Vec<u8>) -> Reply {
    if !status.has_no_content() {
        head.add("Content-Length", &content.len().to_string());
    }
    let mut parts = VecDeque::new();
    if method != Method::Head && !status.has_no_content() && !content.is_empty() {
        parts.push_back(Part::Bytes(content));
    }
    Reply {
        status,
        head: head.finish(),
        parts,
        file: None,
    }
}

/// An answer that says why not.
pub(super) fn refuse(
    policy: &Policy,
    refusal: Refusal,
    method: Method,
    now: Now,
    keep: bool,
) -> Reply {
    let Refusal { status, why } = refusal;
    let mut head = start(status, now, keep).field("Content-Type", "text/plain; charset=utf-8");
    match status {
        Status::UNAUTHORIZED => head.add("WWW-Authenticate", "Bearer realm=\"fullbore\""),
        Status::METHOD_NOT_ALLOWED => head.add("Allow", allow(policy)),
        Status::UNAVAILABLE | Status::TOO_MANY_REQUESTS => head.add("Retry-After", "1"),
        _ => {}
    }
    in_memory(
        status,
        head,
        method,
        format!("{status}: {why}\n").into_bytes(),
    )
}

/// The answer to `OPTIONS`.
pub(super) fn options(policy: &Policy, now: Now, keep: bool) -> Reply {
    let status = Status::NO_CONTENT;
    let head = start(status, now, keep)
        .field("Allow", allow(policy))
        .field("Accept-Ranges", "bytes")
        .field("Want-Repr-Digest", digest::WANT_ANY);
    in_memory(status, head, Method::Options, Vec::new())
}

/// `100 Continue`; tells which digest is worked out, so that a trailer can have
/// the same.
pub(super) fn proceed(algorithm: Algorithm, now: Now) -> Vec<u8> {
    start(Status::CONTINUE, now, true)
        .field("Want-Repr-Digest", algorithm.want())
        .finish()
}

/// A directory without its slash.
pub(super) fn redirect(path: &Path, method: Method, now: Now, keep: bool) -> Reply {
    let status = Status::MOVED_PERMANENTLY;
    let location = format!("{}/", path.encoded());
    let head = start(status, now, keep)
        .field("Location", &location)
        .field("Content-Type", "text/plain; charset=utf-8");
    in_memory(status, head, method, format!("{location}\n").into_bytes())
}

/// A directory listing.
pub(super) fn listing(content: Vec<u8>, json: bool, method: Method, now: Now, keep: bool) -> Reply {
    let kind = if json {
        "application/json"
    } else {
        "text/html; charset=utf-8"
    };
    let head = start(Status::OK, now, keep)
        .field("Content-Type", kind)
        .field("Vary", "Accept")
        .field("Cache-Control", "no-cache")
        .field("Content-Security-Policy", "default-src 'none'")
        .field("X-Content-Type-Options", "nosniff");
    in_memory(Status::OK, head, method, content)
}

/// An upload that has become a file.
pub(super) fn stored(stored: &Stored, now: Now, keep: bool) -> Reply {
    let status = if stored.created {
        Status::CREATED
    } else {
        Status::NO_CONTENT
    };
    let head = start(status, now, keep)
        .field("ETag", &stored.etag)
        .field("Repr-Digest", &stored.digest.to_string());
    in_memory(status, head, Method::Put, Vec::new())
}

/// A file, or the parts of it that were asked for.
pub(super) fn file(
    policy: &Policy,
    request: &Request,
    file: &Arc<OpenFile>,
    digests: Digests,
    now: Now,
    keep: bool,
) -> Reply {
    let meta = file.meta();
    let etag = meta.etag();
    // RFC 9110 section 8.8.2.1: never a date in the future.
    let modified = meta.modified().min(now.wall);
    let current = Validators {
        etag: &etag,
        modified,
    };
    match condition::evaluate(request, Some(&current)) {
        Outcome::Proceed => {}
        Outcome::NotModified => {
            let head = start(Status::NOT_MODIFIED, now, keep)
                .field("ETag", &etag)
                .field("Last-Modified", &http_date(modified));
            return in_memory(Status::NOT_MODIFIED, head, request.method, Vec::new());
        }
        Outcome::Failed => {
            let refusal =
                Refusal::new(Status::PRECONDITION_FAILED, "the file is not in that state");
            return refuse(policy, refusal, request.method, now, keep);
        }
    }
    let name = match &request.target {
        Target::Path(path) => path.split().map_or(&[][..], |(_, name)| name),
        Target::Server => &[],
    };
    let kind = media_type(name);
    let selection = match &request.range {
        Some(field) if request.method == Method::Get => {
            let holds = request
                .if_range
                .as_deref()
                .is_none_or(|f| condition::if_range_holds(f, &current, now.wall));
            if holds {
                select(field, meta.size)
            } else {
                Selection::Whole
            }
        }
        _ => Selection::Whole,
    };
    let begin = |status| {
        let mut head = start(status, now, keep)
            .field("ETag", &etag)
            .field("Last-Modified", &http_date(modified))
            .field("Accept-Ranges", "bytes")
            .field("X-Content-Type-Options", "nosniff");
        if !digests.is_empty() {
            head.add("Repr-Digest", &digests.to_string());
        }
        head
    };
    let finish = |status, head: HeadWriter, length: u64, parts: VecDeque<Part>| Reply {
        status,
        head: head.field("Content-Length", &length.to_string()).finish(),
        parts: if request.method == Method::Head {
            VecDeque::new()
        } else {
            parts
        },
        file: Some(file.clone()),
    };
    match selection {
        Selection::Whole => {
            let whole = ByteRange {
                start: 0,
                end: meta.size,
            };
            let parts = if whole.is_empty() {
                VecDeque::new()
            } else {
                [Part::File(whole)].into()
            };
            finish(
                Status::OK,
                begin(Status::OK).field("Content-Type", kind),
                meta.size,
                parts,
            )
        }
        Selection::Unsatisfiable => {
            let status = Status::RANGE_NOT_SATISFIABLE;
            let head = start(status, now, keep)
                .field("Content-Range", &format!("bytes */{}", meta.size))
                .field("Content-Type", "text/plain; charset=utf-8");
            let text = format!("{status}: the file has {} bytes\n", meta.size);
            in_memory(status, head, request.method, text.into_bytes())
        }
        Selection::Parts(ranges) => {
            let status = Status::PARTIAL_CONTENT;
            if let [range] = ranges[..] {
                let head = begin(status)
                    .field("Content-Type", kind)
                    .field("Content-Range", &content_range(range, meta.size));
                return finish(status, head, range.len(), [Part::File(range)].into());
            }
            let boundary = boundary(policy.seed, &etag, request);
            let (length, parts) = multipart(&ranges, meta.size, kind, &boundary);
            let media = format!("multipart/byteranges; boundary={boundary}");
            finish(
                status,
                begin(status).field("Content-Type", &media),
                length,
                parts,
            )
        }
    }
}

fn boundary(seed: u64, etag: &str, request: &Request) -> String {
    let mut hash = SipHasher13::new_with_keys(seed, 0x6675_6c6c_626f_7265);
    hash.write(etag.as_bytes());
    hash.write(request.range.as_deref().unwrap_or_default().as_bytes());
    format!("fullbore-{:016x}", hash.finish())
}

/// Content of type multipart/byteranges (RFC 9110 section 14.6) and its length.
fn multipart(ranges: &[ByteRange], size: u64, kind: &str, boundary: &str) -> (u64, VecDeque<Part>) {
    let mut parts = VecDeque::with_capacity(ranges.len() * 2 + 1);
    let mut length = 0;
    let mut lead = "";
    for range in ranges {
        let head = format!(
            "{lead}--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {}\r\n\r\n",
            content_range(*range, size)
        );
        lead = "\r\n";
        length += head.len() as u64 + range.len();
        parts.push_back(Part::Bytes(head.into_bytes()));
        parts.push_back(Part::File(*range));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length += end.len() as u64;
    parts.push_back(Part::Bytes(end.into_bytes()));
    (length, parts)
}

/// How a failed file operation is told to the peer. `writing` tells `PUT`
/// apart: there a missing directory is a conflict (RFC 4918 section 9.7.1).
pub(super) fn disk_refusal(error: DiskError, writing: bool) -> Refusal {
    let (status, why) = match error {
        DiskError::NotFound => (Status::NOT_FOUND, "there is no such file"),
        DiskError::NoParent => (Status::CONFLICT, "there is no such directory"),
        DiskError::Denied => (Status::FORBIDDEN, "the file system denies it"),
        DiskError::NotRegular => (Status::FORBIDDEN, "it is not a regular file"),
        DiskError::IsDirectory if writing => (Status::CONFLICT, "it names a directory"),
        DiskError::IsDirectory => (Status::FORBIDDEN, "it is a directory"),
        DiskError::Outside => (Status::FORBIDDEN, "it leads out of the served directory"),
        DiskError::NameTooLong => (Status::URI_TOO_LONG, "a name in the path is too long"),
        DiskError::NoSpace => (Status::INSUFFICIENT_STORAGE, "no space is left"),
        DiskError::Exhausted => (Status::UNAVAILABLE, "too much is being done at once"),
        DiskError::Precondition => (Status::PRECONDITION_FAILED, "the file is not in that state"),
        DiskError::Digest => (Status::BAD_REQUEST, "the content does not match its digest"),
        DiskError::Changed | DiskError::Other(_) => (Status::INTERNAL, "the file system failed"),
    };
    Refusal::new(status, why)
}
