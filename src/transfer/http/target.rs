//! The request target, decoded into a path that stays inside a directory.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::{Refusal, Status};

/// What stays unencoded in a path segment that we write (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A path relative to the served directory: decoded, no empty, `.` or `..`
/// segments, no NUL. The kernel checks it once more when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Path {
    bytes: Vec<u8>,
    directory: bool,
}

impl Path {
    /// The path without a leading or trailing slash; empty for the root.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the target ended in a slash (the root counts as one).
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The directory part and the last segment; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.bytes.is_empty() {
            return None;
        }
        Some(match self.bytes.iter().rposition(|&b| b == b'/') {
            Some(at) => (&self.bytes[..at], &self.bytes[at + 1..]),
            None => (&[][..], &self.bytes[..]),
        })
    }

    /// The path as an absolute, percent-encoded reference. It never begins
    /// with two slashes, which would name another host.
    #[must_use]
    pub fn encoded(&self) -> String {
        let mut out = String::with_capacity(self.bytes.len() + 2);
        for segment in self.bytes.split(|&b| b == b'/').filter(|s| !s.is_empty()) {
            out.push('/');
            out.push_str(&encode_segment(segment));
        }
        if self.directory || out.is_empty() {
            out.push('/');
        }
        out
    }
}

/// Percent-encodes one path segment.
#[must_use]
pub fn encode_segment(segment: &[u8]) -> String {
    percent_encode(segment, SEGMENT).to_string()
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `*`, with `OPTIONS` only.
    Server,
    /// A file or a directory.
    Path(Path),
}

const fn bad(why: &'static str) -> Refusal {
    Refusal::new(Status::BAD_REQUEST, why)
}

/// Reads a request target in origin form, absolute form (any authority: one
/// server, one tree) or asterisk form (RFC 9112 section 3.2). A query is
/// allowed and means nothing.
///
/// # Errors
/// 400 for anything else: bad escapes, NUL, `.` and `..`, a slash in disguise.
pub fn parse(text: &str) -> Result<Target, Refusal> {
    if text == "*" {
        return Ok(Target::Server);
    }
    let path = if text.starts_with('/') {
        text
    } else {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(bad("the target is not a path"))?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(bad("only http targets are served"));
        }
        rest.find(['/', '?']).map_or("/", |at| &rest[at..])
    };
    if path.contains('#') {
        return Err(bad("the target has a fragment"));
    }
    let path = path.split('?').next().unwrap_or_default();
    let mut out = Path {
        bytes: Vec::with_capacity(path.len()),
        directory: path.ends_with('/') || path.is_empty(),
    };
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        let start = out.bytes.len();
        if start > 0 {
            out.bytes.push(b'/');
        }
        decode_segment(segment, &mut out.bytes)?;
    }
    Ok(Target::Path(out))
}

fn decode_segment(segment: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    let mut escapes = segment.split('%');
    escapes.next();
    // The decoder passes malformed escapes through; here they are an error.
    if !escapes.all(|e| e.len() >= 2 && e.bytes().take(2).all(|b| b.is_ascii_hexdigit())) {
        return Err(bad("the target has a malformed percent escape"));
    }
    out.extend(percent_decode_str(segment));
    match &out[start..] {
        b"." | b".." => Err(bad("the target has a dot segment")),
        decoded if decoded.contains(&0) => Err(bad("the target has a NUL byte")),
        decoded if decoded.contains(&b'/') => Err(bad("the target has an encoded slash")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Path {
        match parse(text) {
            Ok(Target::Path(path)) => path,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn forms() {
        assert_eq!(parse("*"), Ok(Target::Server));
        assert_eq!(path("/").bytes(), b"");
        assert!(path("/").is_directory());
        assert_eq!(path("/a/b%20c?x=/../y").bytes(), b"a/b c");
        assert_eq!(path("http://[::1]:80/a").bytes(), b"a");
        assert_eq!(path("HTTP://host?x").bytes(), b"");
        assert_eq!(path("//evil//b/").bytes(), b"evil/b");
        assert_eq!(path("//evil//b/").encoded(), "/evil/b/");
        assert_eq!(path("/%2e%2e%2e").bytes(), b"...");
        assert_eq!(path("/a/b").split(), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(path("/b").split(), Some((&b""[..], &b"b"[..])));
        assert_eq!(path("/").split(), None);
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "a",
            "/..",
            "/a/../b",
            "/%2e%2e/etc/passwd",
            "/.%2E/x",
            "/./a",
            "/a%00b",
            "/a%2fb",
            "/a%2",
            "/a%zz",
            "/%",
            "https://x/",
            "/a#b",
            "host:80",
        ] {
            let refusal = parse(text).expect_err(text);
            assert_eq!(refusal.status, Status::BAD_REQUEST, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_targets(text in "\\PC{0,80}|(/(\\.|%2e|%2f|%|a|/){0,12}){0,6}") {
            if let Ok(Target::Path(path)) = parse(&text) {
                let bytes = path.bytes();
                prop_assert!(!bytes.contains(&0));
                prop_assert!(bytes.is_empty() || bytes.split(|&b| b == b'/')
                    .all(|s| !s.is_empty() && s != b"." && s != b".."));
                prop_assert!(!path.encoded().starts_with("//"));
            }
        }

        #[test]
        fn encoding_round_trips(segments in prop::collection::vec("[^/\\x00]{1,12}", 1..5)) {
            prop_assume!(segments.iter().all(|s| s != "." && s != ".."));
            let text: String = segments.iter().map(|s| format!("/{}", encode_segment(s.as_bytes()))).collect();
            let (path, joined) = (path(&text), segments.join("/"));
            prop_assert_eq!(path.bytes(), joined.as_bytes());
            prop_assert_eq!(path.encoded(), text);
        }
    }
}
