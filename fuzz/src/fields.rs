//! Values of header fields, URLs and targets.

use std::time::{Duration, SystemTime};

use fullbore::transfer::client::Url;
use fullbore::transfer::http::condition::{Outcome, Validators, evaluate, if_range_holds};
use fullbore::transfer::http::range::{
    MAX_RANGES, Selection, content_range, parse_content_range, select,
};
use fullbore::transfer::http::{Method, Status, digest, fields, request, target};
use fullbore::transfer::serve::{Auth, Scope};

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let number = input.u32();
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    match kind % 8 {
        0 => range(text, u64::from(number)),
        1 => range(text, u64::MAX - u64::from(number)),
        2 => digests(text),
        3 => lists(text),
        4 => url(text),
        5 => path(text),
        6 => conditions(text),
        _ => written(text),
    }
}

fn range(text: &str, size: u64) {
    if let Selection::Parts(parts) = select(text, size) {
        assert!(!parts.is_empty() && parts.len() <= MAX_RANGES);
        let mut total = 0u64;
        for (i, part) in parts.iter().enumerate() {
            assert!(part.start < part.end && part.end <= size, "{part:?}");
            total = total.checked_add(part.len()).expect("no overlap");
            for other in &parts[..i] {
                assert!(part.start >= other.end || other.start >= part.end);
            }
            let field = content_range(*part, size);
            let again = parse_content_range(&field).expect("what was written");
            assert_eq!((again.range, again.size), (Some(*part), Some(size)));
        }
        assert!(total <= size);
    }
    if let Some(found) = parse_content_range(text)
        && let (Some(range), Some(size)) = (found.range, found.size)
    {
        assert!(range.start < range.end && range.end <= size);
    }
}

fn digests(text: &str) {
    if let Ok(found) = digest::parse(text) {
        assert_eq!(digest::parse(&found.to_string()), Ok(found));
    }
    let _ = digest::wanted(text);
    let auth = Auth::new("0123456789abcdef", Scope::Everything);
    assert!(!auth.allows(Method::Get, Some(text)) || text.contains("0123456789abcdef"));
}

fn lists(text: &str) {
    let members: Vec<&str> = fields::list(text).collect();
    for member in &members {
        assert!(!member.is_empty() && member.trim_matches([' ', '\t']) == *member);
    }
    // Joined again they are the same list, unless a quote was left open.
    if text.matches('"').count().is_multiple_of(2) && !text.contains('\\') {
        let joined = members.join(", ");
        assert!(
            fields::list(&joined).eq(members.iter().copied()),
            "{text:?}"
        );
    }
    let _ = fields::prefers_json(text);
    if let Some(n) = fields::decimal(text) {
        let digits = text.trim_start_matches('0');
        let expected = if digits.is_empty() { "0" } else { digits };
        assert_eq!(n.to_string(), expected);
    }
}

fn url(text: &str) {
    let Ok(url) = Url::parse(text) else { return };
    assert!(url.port() > 0 && !url.host().is_empty());
    assert!(url.target().starts_with('/'));
    assert!(
        url.target().bytes().all(|b| b.is_ascii_graphic()),
        "{url:?}"
    );
    let again = Url::parse(&format!("http://{}{}", url.authority(), url.target()));
    assert_eq!(again.as_ref(), Ok(&url));
    if let Some(name) = url.file_name() {
        assert!(!name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']));
    }
    // It can be asked for.
    let head = fields::HeadWriter::request(Method::Get, url.target())
        .field("Host", &url.authority())
        .finish();
    if let Err(refusal) = request::parse(&head, 8) {
        assert_eq!(refusal.status, Status::BAD_REQUEST, "{url:?} {refusal:?}");
    }
    let _ = url.join_name(b"a/b\0c");
}

fn path(text: &str) {
    let Ok(target::Target::Path(path)) = target::parse(text) else {
        return;
    };
    assert_eq!(
        target::parse(&path.encoded()),
        Ok(target::Target::Path(path.clone()))
    );
    if let Some((dir, name)) = path.split() {
        assert!(!name.is_empty() && !name.contains(&b'/'));
        assert!(path.bytes().starts_with(dir) && path.bytes().ends_with(name));
    }
}

fn conditions(text: &str) {
    let current = Validators {
        etag: "\"a\"",
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
    };
    let later = current.modified + Duration::from_secs(60);
    if if_range_holds(text, &current, later) {
        assert!(!text.trim().starts_with("W/"));
    }
    for name in [
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
    ] {
        for method in [Method::Get, Method::Put] {
            let head = fields::HeadWriter::request(method, "/")
                .field("Host", "x")
                .field(name, text)
                .finish();
            let Ok(request) = request::parse(&head, 8) else {
                return;
            };
            let outcome = evaluate(&request, Some(&current));
            assert!(method == Method::Get || outcome != Outcome::NotModified);
            let _ = evaluate(&request, None);
        }
    }
}

/// No value that is written can end its line.
fn written(text: &str) {
    let head = fields::HeadWriter::response(Status::OK)
        .field("X", text)
        .finish();
    assert_eq!(head.windows(2).filter(|w| w == b"\r\n").count(), 3);
    assert_eq!(head.iter().filter(|&&b| b == b'\n' || b == 0).count(), 3);
    assert!(head.ends_with(b"\r\n\r\n"));
}
