//! Conditional requests (RFC 9110 section 13).

use std::time::{Duration, SystemTime};

use super::fields::{list, whole_second};
use super::{Method, Request};

/// What identifies one state of a representation.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// A strong entity tag, in its quotes.
    pub etag: &'a str,
    /// Last modification.
    pub modified: SystemTime,
}

/// The outcome of a request's preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carry the request out.
    Proceed,
    /// Answer 304.
    NotModified,
    /// Answer 412.
    Failed,
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn any_match(field: &str, current: Option<&Validators<'_>>, strong: bool) -> bool {
    let Some(current) = current else { return false };
    if field.trim() == "*" {
        return true;
    }
    list(field).any(|tag| {
        if strong {
            tag == current.etag
        } else {
            opaque(tag) == current.etag
        }
    })
}

fn date(field: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(field.trim()).ok()
}

/// Evaluates the preconditions in the order of RFC 9110 section 13.2.2.
/// `current` is `None` when the target does not exist.
#[must_use]
pub fn evaluate(request: &Request, current: Option<&Validators<'_>>) -> Outcome {
    let reading = matches!(request.method, Method::Get | Method::Head);
    let modified = current.map(|c| whole_second(c.modified));
    if let Some(field) = &request.if_match {
        if !any_match(field, current, true) {
            return Outcome::Failed;
        }
    } else if let Some(since) = request.if_unmodified_since.as_deref().and_then(date)
        && modified.is_some_and(|m| m > since)
    {
        return Outcome::Failed;
    }
    if let Some(field) = &request.if_none_match {
        if any_match(field, current, false) {
            return if reading {
                Outcome::NotModified
            } else {
                Outcome::Failed
            };
        }
    } else if reading
        && let Some(since) = request.if_modified_since.as_deref().and_then(date)
        && modified.is_some_and(|m| m <= since)
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether a `Range` field counts under this `If-Range` (RFC 9110 section
/// 13.1.5): a strong tag that matches, or exactly our date, provided the file
/// had rested long enough by `now` for its date to be a strong validator.
#[must_use]
pub fn if_range_holds(field: &str, current: &Validators<'_>, now: SystemTime) -> bool {
    let field = field.trim();
    if field.starts_with('"') || field.starts_with("W/") {
        return field == current.etag;
    }
    let modified = whole_second(current.modified);
    date(field) == Some(modified)
        && now
            .duration_since(modified)
            .is_ok_and(|age| age >= Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn current() -> Validators<'static> {
        Validators {
            etag: "\"a\"",
            modified: date(DATE).unwrap() + Duration::from_millis(300),
        }
    }

    fn outcome(method: Method, fields: &str) -> Outcome {
        let name = method.as_str();
        let head = format!("{name} / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let request = super::super::request::parse(head.as_bytes(), 32).expect(fields);
        evaluate(&request, Some(&current()))
    }

    #[test]
    fn tags() {
        use Method::{Get, Put};
        use Outcome::{Failed, NotModified, Proceed};
        for (method, field, want) in [
            (Get, "If-None-Match: \"a\"", NotModified),
            (Get, "If-None-Match: \"b\", W/\"a\"", NotModified),
            (Get, "If-None-Match: \"b\"", Proceed),
            (Get, "If-None-Match: *", NotModified),
            (Put, "If-None-Match: *", Failed),
            (Put, "If-Match: \"a\"", Proceed),
            (Put, "If-Match: W/\"a\"", Failed),
            (Put, "If-Match: *", Proceed),
            (Get, "If-Match: \"b\"", Failed),
        ] {
            assert_eq!(outcome(method, field), want, "{field}");
        }
    }

    #[test]
    fn dates() {
        use Method::{Get, Put};
        use Outcome::{Failed, NotModified, Proceed};
        for (method, field, want) in [
            (Get, format!("If-Modified-Since: {DATE}"), NotModified),
            (Get, format!("If-Modified-Since: {LATER}"), NotModified),
            (Get, format!("If-Modified-Since: {EARLIER}"), Proceed),
            (Get, "If-Modified-Since: yesterday".into(), Proceed),
            (Put, format!("If-Modified-Since: {DATE}"), Proceed),
            (Put, format!("If-Unmodified-Since: {DATE}"), Proceed),
            (Put, format!("If-Unmodified-Since: {EARLIER}"), Failed),
            // A tag outranks a date.
            (
                Get,
                format!("If-None-Match: \"b\"\r\nIf-Modified-Since: {DATE}"),
                Proceed,
            ),
            (
                Put,
                format!("If-Match: \"a\"\r\nIf-Unmodified-Since: {EARLIER}"),
                Proceed,
            ),
        ] {
            assert_eq!(outcome(method, &field), want, "{field}");
        }
    }

    #[test]
    fn missing_targets() {
        let head = b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nIf-Match: *\r\n\r\n";
        let request = super::super::request::parse(head, 32).unwrap();
        assert_eq!(evaluate(&request, None), Outcome::Failed);
        let head = b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nIf-None-Match: *\r\n\r\n";
        let request = super::super::request::parse(head, 32).unwrap();
        assert_eq!(evaluate(&request, None), Outcome::Proceed);
    }

    #[test]
    fn if_range() {
        let at = current();
        let later = at.modified + Duration::from_secs(60);
        assert!(if_range_holds("\"a\"", &at, later));
        assert!(!if_range_holds("\"b\"", &at, later));
        assert!(!if_range_holds("W/\"a\"", &at, later));
        assert!(if_range_holds(DATE, &at, later));
        assert!(!if_range_holds(LATER, &at, later));
        assert!(!if_range_holds(EARLIER, &at, later));
        // A file changed this very second may change again within it.
        assert!(!if_range_holds(DATE, &at, at.modified));
    }
}
