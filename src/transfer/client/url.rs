//! `http://host[:port]/path`, and the same with `utp://`: HTTP over uTP.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use crate::engine::Transport;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What may not stand in a path or query as it is (RFC 3986 section 3.3).
const ESCAPE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'[')
    .add(b']');

/// A text that is no URL for fullbore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not a usable URL: {why}")]
pub struct UrlError {
    url: String,
    why: &'static str,
}

/// A checked URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    transport: Transport,
    host: String,
    port: u16,
    target: String,
}

impl Url {
    /// Reads `http://host[:port][/path][?query]`, or the same with `utp`. A path without escapes may
    /// have spaces and such; they are escaped.
    ///
    /// # Errors
    /// [`UrlError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let bad = |why| UrlError {
            url: text.to_owned(),
            why,
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad("it has to begin with http:// or utp://"))?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(bad("https is not supported, only http and utp"));
        }
        let transport = if scheme.eq_ignore_ascii_case("http") {
            Transport::Tcp
        } else if scheme.eq_ignore_ascii_case("utp") {
            Transport::Utp
        } else {
            return Err(bad("only http and utp are supported"));
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("user names are not supported; use a token file"));
        }
        let (host, port) = if let Some(tail) = authority.strip_prefix('[') {
            let (address, port) = tail.split_once(']').ok_or_else(|| bad("a ] is missing"))?;
            address
                .parse::<Ipv6Addr>()
                .map_err(|_| bad("there is no IPv6 address between [ and ]"))?;
            let port = match port {
                "" => None,
                p => Some(
                    p.strip_prefix(':')
                        .ok_or_else(|| bad("after ] only a port may follow"))?,
                ),
            };
            (address, port)
        } else {
            match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        let port = match port {
            None | Some("") => 80,
            Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => match p.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(bad("the port is not from 1 to 65535")),
            },
            Some(_) => return Err(bad("the port is not from 1 to 65535")),
        };
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let v6 = host.contains(':');
        let name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if !v6 && !host.bytes().all(name) {
            return Err(bad("the host has a character that host names do not have"));
        }
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{}", utf8_percent_encode(path, ESCAPE));
        Ok(Self {
            transport,
            host: host.to_ascii_lowercase(),
            port,
            target,
        })
    }

    /// What carries the request.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Host name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, escaped.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The value of the `Host` field.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = &self.host;
        match (host.contains(':'), self.port) {
            (true, 80) => format!("[{host}]"),
            (true, port) => format!("[{host}]:{port}"),
            (false, 80) => host.clone(),
            (false, port) => format!("{host}:{port}"),
        }
    }

    /// The last segment of the path, decoded: a name for the file. `None` if
    /// it is empty or no file name.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let path = self.target.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(last)
            .decode_utf8()
            .ok()?
            .into_owned();
        let good = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        good.then_some(name)
    }

    /// This URL with `name` in the place of an empty last segment.
    #[must_use]
    pub fn join_name(mut self, name: &[u8]) -> Self {
        if self.target.ends_with('/') {
            self.target
                .push_str(&crate::transfer::http::target::encode_segment(name));
        }
        self
    }

    /// Looks the host up with the system's resolver, which may take seconds.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Tcp => "http",
            Transport::Utp => "utp",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good() {
        for (text, authority, target) in [
            ("http://host", "host", "/"),
            ("HTTP://Host:80/a/b?c#d", "host", "/a/b?c"),
            (
                "http://10.0.0.1:8080/a b%20c",
                "10.0.0.1:8080",
                "/a%20b%20c",
            ),
            ("http://[fd00::1]/x", "[fd00::1]", "/x"),
            ("http://[fd00::1]:81?q", "[fd00::1]:81", "/?q"),
            ("http://host:/ä", "host", "/%C3%A4"),
            ("utp://host:6881/a", "host:6881", "/a"),
            ("UTP://host", "host", "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (url.authority().as_str(), url.target()),
                (authority, target),
                "{text}"
            );
            let utp = text.to_ascii_lowercase().starts_with("utp");
            assert_eq!(url.transport() == Transport::Utp, utp);
            assert_eq!(Url::parse(&url.to_string()), Ok(url));
        }
    }

    #[test]
    fn bad() {
        for (text, why) in [
            ("host/a", "begin with http:// or utp://"),
            ("https://host/", "https is not supported"),
            ("ftp://host/", "only http"),
            ("http:///a", "no host"),
            ("http://user@host/", "user names"),
            ("http://host:0/", "1 to 65535"),
            ("http://host:65536/", "1 to 65535"),
            ("http://host:+1/", "1 to 65535"),
            ("http://ho st/", "character"),
            ("http://h\r\nX/", "character"),
            ("http://[fd00::1/", "] is missing"),
            ("http://[10.0.0.1]/", "IPv6"),
            ("http://[fd00::1]x/", "only a port"),
        ] {
            let error = Url::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn names() {
        let name = |text: &str| Url::parse(text).unwrap().file_name();
        assert_eq!(name("http://h/a/b%20c?d/e").as_deref(), Some("b c"));
        for none in [
            "http://h/",
            "http://h/a/",
            "http://h/..",
            "http://h/%2e%2e",
            "http://h/a%2fb",
            "http://h/%00",
        ] {
            assert_eq!(name(none), None, "{none}");
        }
        let url = Url::parse("http://h/dir/").unwrap().join_name(b"a b/c");
        assert_eq!(url.target(), "/dir/a%20b%2Fc");
        assert_eq!(
            Url::parse("http://h/x").unwrap().join_name(b"y").target(),
            "/x"
        );
    }

    #[test]
    fn addresses_need_no_resolver() {
        let found = Url::parse("http://[::1]:81/").unwrap().resolve().unwrap();
        assert_eq!(found, [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 81))]);
    }
}
