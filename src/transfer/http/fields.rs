//! Writing heads, and reading the small grammars that several fields share.

use std::time::{Duration, SystemTime};

use super::{Method, Status};

/// Writes a message head line by line.
///
/// Values come from our own code or were checked; a control character in one
/// is replaced by a space, so no value can end its line.
#[derive(Debug)]
pub struct HeadWriter {
    bytes: Vec<u8>,
}

impl HeadWriter {
    /// A response head.
    #[must_use]
    pub fn response(status: Status) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(b"HTTP/1.1 ");
        bytes.extend_from_slice(status.code().to_string().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(status.reason().as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Self { bytes }
    }

    /// A request head. `target` has been percent-encoded.
    #[must_use]
    pub fn request(method: Method, target: &str) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(512),
        };
        writer.bytes.extend_from_slice(method.as_str().as_bytes());
        writer.bytes.push(b' ');
        writer.text(target);
        writer.bytes.extend_from_slice(b" HTTP/1.1\r\n");
        writer
    }

    /// Adds one field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.add(name, value);
        self
    }

    /// Adds one field.
    pub fn add(&mut self, name: &str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.text(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn text(&mut self, value: &str) {
        let clean = value
            .bytes()
            .map(|b| if b.is_ascii_control() { b' ' } else { b });
        self.bytes.extend(clean);
    }

    /// Ends the head.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

/// The last second that an HTTP date can express, 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// `time` as an HTTP date; years outside 1970 to 9999 are clamped.
#[must_use]
pub fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(whole_second(time))
}

/// `time` cut to a whole second within what an HTTP date can express.
#[must_use]
pub fn whole_second(time: SystemTime) -> SystemTime {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}

/// Reads a list of digits as a number; nothing else is accepted (RFC 9110
/// section 8.6: no sign, no space, no overflow).
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The members of a comma-separated list, trimmed, empty ones left out
/// (RFC 9110 section 5.6.1). Commas inside quoted strings do not separate.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let mut quoted = false;
            let mut escaped = false;
            let end = text.bytes().position(|b| {
                if escaped {
                    escaped = false;
                } else if quoted && b == b'\\' {
                    escaped = true;
                } else if b == b'"' {
                    quoted = !quoted;
                }
                b == b',' && !quoted
            });
            let (member, tail) = match end {
                Some(at) => (&text[..at], text.get(at + 1..)),
                None => (text, None),
            };
            rest = tail;
            let member = member.trim_matches([' ', '\t']);
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

/// Whether JSON is what the sender of this `Accept` field prefers over HTML.
#[must_use]
pub fn prefers_json(accept: &str) -> bool {
    let quality = |kind: &str| {
        let (group, _) = kind.split_once('/').unwrap_or((kind, ""));
        let mut best: Option<(u8, u32)> = None;
        for member in list(accept) {
            let mut parts = member.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let q = parts
                .find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")))
                .map_or(1000, |q| {
                    q.parse::<f32>()
                        .map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
                });
            let precision = if media.eq_ignore_ascii_case(kind) {
                2
            } else if media
                .strip_suffix("/*")
                .is_some_and(|g| g.eq_ignore_ascii_case(group))
            {
                1
            } else if media == "*/*" {
                0
            } else {
                continue;
            };
            if best.is_none_or(|(p, _)| precision >= p) {
                best = Some((precision, q));
            }
        }
        best.map_or(0, |(_, q)| q)
    };
    quality("application/json") > quality("text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_line() {
        let head = HeadWriter::response(Status::OK)
            .field("Location", "/a\r\nSet-Cookie: b")
            .finish();
        assert_eq!(
            head,
            b"HTTP/1.1 200 OK\r\nLocation: /a  Set-Cookie: b\r\n\r\n"
        );
        let head = HeadWriter::request(Method::Get, "/a b\r\n").finish();
        assert_eq!(head, b"GET /a b   HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn dates_are_clamped() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(
            http_date(epoch - Duration::from_secs(5)),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
        assert_eq!(
            http_date(epoch + Duration::from_secs(1 << 40)),
            "Fri, 31 Dec 9999 23:59:59 GMT"
        );
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(decimal("0018"), Some(18));
        for bad in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "0x1",
            "1,1",
            "18446744073709551616",
        ] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lists_respect_quotes() {
        let members: Vec<_> = list(r#" "a,b" ,, W/"c\",d", e "#).collect();
        assert_eq!(members, [r#""a,b""#, r#"W/"c\",d""#, "e"]);
        assert_eq!(list(" , ").count(), 0);
    }

    #[test]
    fn json_only_when_asked_for() {
        assert!(prefers_json("application/json"));
        assert!(prefers_json("text/html;q=0.5, application/json"));
        assert!(prefers_json("application/*"));
        for html in [
            "",
            "*/*",
            "text/html",
            "text/html, application/json;q=0.9",
            "application/json;q=0",
        ] {
            assert!(!prefers_json(html), "{html:?}");
        }
    }
}
