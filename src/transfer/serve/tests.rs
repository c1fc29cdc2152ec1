//! The machine with a synchronous disk, a virtual clock and no network.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;
use crate::transfer::disk::Outcome;
use crate::transfer::http::{Method, Response, digest, response};

/// Bytes in a block.
const BLOCK: usize = 1000;

struct Server {
    conn: ServerConn<Vec<u8>>,
    dir: TempDir,
    time: Duration,
    /// Everything that was sent.
    sent: Vec<u8>,
    closed: Option<Close>,
    /// The peer takes nothing.
    stuck: bool,
}

fn policy(dir: &TempDir) -> Policy {
    Policy {
        writable: true,
        ..Policy::new(Arc::new(Root::open(dir.path()).unwrap()))
    }
}

fn served() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.txt"), "hello, world").unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    fs::write(dir.path().join("big"), big()).unwrap();
    fs::create_dir(dir.path().join("sub dir")).unwrap();
    dir
}

fn big() -> Vec<u8> {
    (0..100_000u32).map(|i| (i * 31 % 253) as u8).collect()
}

impl Server {
    fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let dir = served();
        let mut policy = policy(&dir);
        change(&mut policy);
        let conn = ServerConn::new(Arc::new(policy), at(Duration::ZERO));
        Self {
            conn,
            dir,
            time: Duration::ZERO,
            sent: Vec::new(),
            closed: None,
            stuck: false,
        }
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    fn now(&self) -> Now {
        at(self.time)
    }

    /// Shows bytes and does everything that follows.
    fn feed(&mut self, input: &[u8]) {
        let mut rest = input;
        loop {
            let taken = self.conn.on_bytes(self.now(), rest);
            if !taken.data.is_empty() {
                let block = rest[taken.data.clone()].to_vec();
                let upload = self.conn.upload().expect("content has an upload").clone();
                let result = upload.sink().write(taken.offset, &block);
                assert!(
                    self.conn
                        .on_outcome(self.now(), Outcome::Written(block, result))
                        .is_some()
                );
            }
            rest = &rest[taken.consumed..];
            self.pump();
            if rest.is_empty() || taken.consumed == 0 && !self.conn.wants_input() {
                return;
            }
        }
    }

    fn pump(&mut self) {
        loop {
            let mut busy = false;
            while let Some(op) = self.conn.poll_op() {
                busy = true;
                if let Some(outcome) = op.run() {
                    assert!(self.conn.on_outcome(self.now(), outcome).is_none());
                }
            }
            while let Some(wish) = self.conn.next_read(BLOCK) {
                busy = true;
                self.conn.read_issued(wish.len);
                let mut block = vec![0; BLOCK];
                let result = wish.file.read(wish.offset, wish.len, &mut block);
                self.conn
                    .on_outcome(self.now(), Outcome::Read(block, result));
            }
            while !self.stuck
                && let Some(front) = self.conn.front()
            {
                busy = true;
                match front {
                    Front::Bytes(bytes) => {
                        let n = bytes.len().min(77);
                        self.sent.extend_from_slice(&bytes[..n]);
                        self.conn.bytes_sent(at(self.time), n);
                    }
                    Front::Block => {
                        let block = self.conn.take_block(at(self.time), Vec::len).unwrap();
                        self.sent.extend_from_slice(&block);
                    }
                }
            }
            if let Some(close) = self.conn.poll_close() {
                self.closed = Some(close);
            }
            if !busy {
                return;
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.time += time;
        self.conn.handle_timeout(at(self.time), 0);
        self.pump();
    }

    /// The responses so far, to requests with `method`.
    fn responses(&mut self, method: Method) -> Vec<(Response, Vec<u8>)> {
        let mut out = Vec::new();
        let mut rest = &self.sent[..];
        while !rest.is_empty() {
            let end = rest
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("a whole head")
                + 4;
            let head = response::parse(&rest[..end], method).expect("a good head");
            let len = match head.framing {
                crate::transfer::http::Framing::Length(n) => n as usize,
                _ => 0,
            };
            out.push((head, rest[end..end + len].to_vec()));
            rest = &rest[end + len..];
        }
        self.sent.clear();
        out
    }

    fn get(&mut self, target: &str, fields: &str) -> (Response, Vec<u8>) {
        self.feed(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        self.responses(Method::Get).pop().expect("a response")
    }

    fn put(&mut self, target: &str, fields: &str, content: &[u8]) -> Response {
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{fields}\r\n",
            content.len()
        );
        self.feed(&[head.as_bytes(), content].concat());
        self.responses(Method::Put).pop().expect("a response").0
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.path().join(name)).ok()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn at(time: Duration) -> Now {
    Now {
        at: Instant::from_millis(1000) + time,
        wall: SystemTime::now() + Duration::from_secs(10) + time,
    }
}

#[test]
fn whole_files() {
    let mut s = Server::new();
    let (r, body) = s.get("/a.txt", "");
    assert_eq!((r.status.code(), &body[..]), (200, &b"hello, world"[..]));
    assert_eq!(r.repr_digest, Some(Sha256::digest("hello, world").into()));
    assert!(r.accepts_ranges && r.keep_alive && r.etag.is_some() && r.last_modified.is_some());
    let (r, body) = s.get("/big", "");
    assert_eq!((r.status.code(), body), (200, big()));
    let (r, body) = s.get("/empty", "");
    assert_eq!(
        (r.status.code(), r.content_length, body.len()),
        (200, Some(0), 0)
    );
    assert_eq!(s.closed, None);
    let tally = s.conn.take_tally();
    assert_eq!(
        (tally.requests, tally.responses[1], tally.sent),
        (3, 3, 100_012)
    );
}

#[test]
fn a_file_from_the_future_is_dated_no_later_than_now() {
    let mut s = Server::new();
    let path = s.dir.path().join("a.txt");
    let file = fs::File::options().write(true).open(path).unwrap();
    let wrong = s.now().wall + Duration::from_secs(3600);
    file.set_modified(wrong).unwrap();
    let (r, _) = s.get("/a.txt", "");
    let dated = httpdate::parse_http_date(&r.last_modified.unwrap()).unwrap();
    assert!(dated <= s.now().wall, "{dated:?}");
}

#[test]
fn head_and_options() {
    let mut s = Server::new();
    s.feed(b"HEAD /big HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n");
    let (r, _) = s.responses(Method::Head).pop().unwrap();
    assert_eq!(
        (r.status.code(), r.content_length, r.repr_digest),
        (200, Some(100_000), None)
    );
    s.feed(b"HEAD /big HTTP/1.1\r\nHost: x\r\nWant-Repr-Digest: sha-256=5\r\n\r\n");
    let (r, _) = s.responses(Method::Head).pop().unwrap();
    assert_eq!(r.repr_digest, Some(Sha256::digest(big()).into()));
    for head in [
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        s.feed(head.as_bytes());
        assert!(
            String::from_utf8_lossy(&s.sent).contains("\r\nAllow: GET, HEAD, OPTIONS, PUT\r\n")
        );
        assert_eq!(
            s.responses(Method::Options)[0].0.status,
            crate::transfer::http::Status::NO_CONTENT
        );
    }
}

#[test]
fn ranges() {
    let mut s = Server::new();
    let (r, body) = s.get("/big", "Range: bytes=500-2499\r\n");
    assert_eq!((r.status.code(), &body[..]), (206, &big()[500..2500]));
    assert_eq!(r.content_range.unwrap().size, Some(100_000));
    let (r, body) = s.get("/big", "Range: bytes=-10\r\n");
    assert_eq!((r.status.code(), &body[..]), (206, &big()[99_990..]));
    let (r, _) = s.get("/big", "Range: bytes=100000-\r\n");
    assert_eq!(
        (r.status.code(), r.content_range.unwrap().size),
        (416, Some(100_000))
    );
    let (r, _) = s.get("/big", "Range: bytes=5-1\r\n");
    assert_eq!(r.status.code(), 200);
    let etag = s.get("/big", "").0.etag.unwrap();
    assert_eq!(
        s.get("/big", &format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"))
            .0
            .status
            .code(),
        206
    );
    assert_eq!(
        s.get("/big", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n")
            .0
            .status
            .code(),
        200
    );
}

#[test]
fn many_ranges() {
    let mut s = Server::new();
    s.feed(b"GET /big HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9,5000-7999,-5\r\n\r\n");
    let head = String::from_utf8_lossy(&s.sent).into_owned();
    let boundary = head
        .split("boundary=")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap()
        .to_owned();
    let (r, body) = s.responses(Method::Get).pop().unwrap();
    assert_eq!(r.status.code(), 206);
    let mut want = Vec::new();
    for (start, end) in [(0, 10), (5000, 8000), (99_995, 100_000)] {
        let lead = if start == 0 { "" } else { "\r\n" };
        want.extend(format!(
            "{lead}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{}/100000\r\n\r\n",
            end - 1
        ).bytes());
        want.extend_from_slice(&big()[start..end]);
    }
    want.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert_eq!(body, want);
}

#[test]
fn conditions() {
    let mut s = Server::new();
    let (first, _) = s.get("/a.txt", "");
    let (etag, date) = (first.etag.unwrap(), first.last_modified.unwrap());
    assert_eq!(
        s.get("/a.txt", &format!("If-None-Match: {etag}\r\n"))
            .0
            .status
            .code(),
        304
    );
    assert_eq!(
        s.get("/a.txt", &format!("If-Modified-Since: {date}\r\n"))
            .0
            .status
            .code(),
        304
    );
    assert_eq!(s.get("/a.txt", "If-Match: \"x\"\r\n").0.status.code(), 412);
    assert_eq!(
        s.put("/a.txt", "If-None-Match: *\r\n", b"x").status.code(),
        412
    );
    assert_eq!(s.file("a.txt").unwrap(), b"hello, world");
}

#[test]
fn pipelined_and_cut_anywhere() {
    let requests = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\nPUT /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for cut in 0..requests.len() {
        let mut s = Server::new();
        s.feed(&requests[..cut]);
        s.feed(&requests[cut..]);
        let got: Vec<_> = s
            .responses(Method::Get)
            .into_iter()
            .map(|(r, b)| (r.status.code(), b))
            .collect();
        let want = [
            (200, b"hello, world".to_vec()),
            (201, Vec::new()),
            (200, b"abcde".to_vec()),
        ];
        assert_eq!(got, want, "cut at {cut}");
        assert_eq!(s.closed, Some(Close::Shutdown));
    }
}

#[test]
fn uploads() {
    let mut s = Server::new();
    let content = big();
    let sum = digest::format(&Sha256::digest(&content).into());
    let r = s.put("/up", &format!("Repr-Digest: {sum}\r\n"), &content);
    assert_eq!((r.status.code(), r.keep_alive), (201, true));
    assert_eq!(r.repr_digest, Some(Sha256::digest(&content).into()));
    assert_eq!(s.file("up").unwrap(), content);
    assert_eq!(s.put("/up", "", b"new").status.code(), 204);
    assert_eq!(s.file("up").unwrap(), b"new");
    assert_eq!(s.put("/nothing", "", b"").status.code(), 201);
    assert_eq!(s.file("nothing").unwrap(), b"");
}

#[test]
fn digests_guard_uploads() {
    let wrong = digest::format(&[1; 32]);
    let before = Server::new().files();
    for field in ["Repr-Digest", "Content-Digest"] {
        let mut s = Server::new();
        let r = s.put("/up", &format!("{field}: {wrong}\r\n"), b"content");
        assert_eq!(r.status.code(), 400);
        assert_eq!(s.files(), before, "nothing is left");
        assert_eq!(
            s.put("/up", "", b"content").status.code(),
            201,
            "the connection goes on"
        );
        let r = s.put("/up", &format!("{field}: sha-256=:x:\r\n"), b"content");
        assert_eq!(r.status.code(), 400);
    }
    let mut s = Server::new();
    s.feed(format!("PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nRepr-Digest: {wrong}\r\n\r\n").as_bytes());
    assert_eq!(s.responses(Method::Put)[0].0.status.code(), 400);
    assert_eq!(s.files(), before);
}

#[test]
fn expectations() {
    let mut s = Server::new();
    s.feed(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(s.responses(Method::Put)[0].0.status.code(), 100);
    s.feed(b"12345");
    assert_eq!(s.responses(Method::Put)[0].0.status.code(), 201);
    // The final answer comes instead when it is clear already.
    s.feed(
        b"PUT /none/up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    let responses = s.responses(Method::Put);
    assert_eq!((responses.len(), responses[0].0.status.code()), (1, 409));
    assert_eq!(s.closed, Some(Close::Shutdown));
}

#[test]
fn refusals() {
    let token = Auth::new("0123456789abcdef", Scope::Writes);
    type Change = Box<dyn FnOnce(&mut Policy)>;
    let cases: Vec<(Change, String, u16)> = vec![
        (Box::new(|_| {}), "GET /none HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404),
        (Box::new(|_| {}), "GET /../x HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        (Box::new(|_| {}), "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        (Box::new(|_| {}), "GET /link HTTP/1.1\r\nHost: x\r\n\r\n".into(), 403),
        (Box::new(|_| {}), "GET /fifo HTTP/1.1\r\nHost: x\r\n\r\n".into(), 403),
        (Box::new(|p| p.listing = false), "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 403),
        (Box::new(|_| {}), "DELETE /a.txt HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405),
        (Box::new(|p| p.writable = false), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na".into(), 405),
        (Box::new(|_| {}), "PUT /a HTTP/1.1\r\nHost: x\r\n\r\n".into(), 411),
        (Box::new(|p| p.max_upload = 3), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\naaaa".into(), 413),
        (Box::new(|p| p.max_upload = 3), "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\naaaa\r\n0\r\n\r\n".into(), 413),
        (Box::new(|_| {}), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\na".into(), 415),
        (Box::new(|_| {}), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/2\r\n\r\na".into(), 400),
        (Box::new(|_| {}), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400),
        (Box::new(|_| {}), "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(), 400),
        (Box::new(|_| {}), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: x\r\n\r\n".into(), 417),
        (Box::new(|_| {}), format!("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", u64::MAX), 507),
        (Box::new(|_| {}), format!("GET /{} HTTP/1.1\r\n", "a".repeat(20_000)), 414),
        (Box::new(|_| {}), format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(300)), 414),
        (Box::new(|_| {}), format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(20_000)), 431),
        (Box::new(|_| {}), format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(120)), 431),
        (Box::new(|_| {}), "GET / HTTP/1.1\nHost: x\n\n".into(), 400),
        (Box::new(|_| {}), "BREW / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 501),
        (Box::new(|_| {}), "GET / HTTP/3.0\r\nHost: x\r\n\r\n".into(), 505),
        (Box::new(move |p| p.auth = Some(token)), "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na".into(), 401),
    ];
    for (change, input, want) in cases {
        let mut s = Server::with(change);
        symlink("/etc/passwd", s.dir.path().join("link")).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            s.dir.path().join("fifo"),
            rustix::fs::Mode::RUSR,
        )
        .unwrap();
        let before = s.files();
        s.feed(input.as_bytes());
        let responses = s.responses(Method::Get);
        let short = &input[..input.len().min(90)];
        assert_eq!(responses.len(), 1, "{short}");
        let (r, body) = &responses[0];
        assert_eq!(r.status.code(), want, "{short}");
        assert!(
            String::from_utf8_lossy(body).contains(": "),
            "{short}: says why"
        );
        assert_eq!(s.closed.is_some(), !r.keep_alive, "{short}");
        assert_eq!(s.files(), before, "{short}");
        // What is left of a broken stream is never taken for a request.
        if s.closed.is_some() {
            s.feed(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(s.sent.is_empty(), "{short}");
        }
    }
}

#[test]
fn tokens() {
    let mut s = Server::with(|p| p.auth = Some(Auth::new("0123456789abcdef", Scope::Everything)));
    assert_eq!(s.get("/a.txt", "").0.status.code(), 401);
    assert_eq!(
        s.get("/a.txt", "Authorization: Bearer 0123456789abcdef\r\n")
            .0
            .status
            .code(),
        200
    );
}

/// Fields that a status demands (RFC 9110 sections 10.2.1, 11.6.1, 15).
#[test]
fn each_status_has_the_fields_that_it_demands() {
    let token = Auth::new("0123456789abcdef", Scope::Writes);
    let mut s = Server::with(|p| p.auth = Some(token));
    let etag = s.get("/big", "").0.etag.unwrap();
    for (line, fields, status, demanded) in [
        ("GET /big", "", 200, &["Date", "ETag", "Last-Modified"][..]),
        (
            "GET /big",
            "Range: bytes=0-1\r\n",
            206,
            &["Date", "ETag", "Last-Modified", "Content-Range"],
        ),
        (
            "GET /big",
            &format!("If-None-Match: {etag}\r\n"),
            304,
            &["Date", "ETag", "Last-Modified"],
        ),
        (
            "PUT /x",
            "Content-Length: 1\r\n",
            401,
            &["WWW-Authenticate"],
        ),
        ("DELETE /a.txt", "", 405, &["Allow"]),
        (
            "GET /big",
            "Range: bytes=100000-\r\n",
            416,
            &["Content-Range"],
        ),
    ] {
        s.sent.clear();
        let closed = std::mem::take(&mut s.closed);
        assert_eq!(closed, None, "{status}: the connection goes on");
        s.feed(format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        let sent = String::from_utf8_lossy(&s.sent).into_owned();
        let head = sent.split("\r\n\r\n").next().unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        for field in demanded {
            let n = head.matches(&format!("\r\n{field}: ")).count();
            assert_eq!(n, 1, "{field} in {head}");
        }
        if s.closed.is_some() {
            s = Server::with(|p| p.auth = Some(Auth::new("0123456789abcdef", Scope::Writes)));
        }
    }
    s.sent.clear();
    s.feed(b"GET /big HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,4-5\r\n\r\n");
    let sent = String::from_utf8_lossy(&s.sent).into_owned();
    let head = sent.split("\r\n\r\n").next().unwrap();
    assert!(head.contains("multipart/byteranges") && !head.contains("Content-Range"));
}

#[test]
fn directories() {
    let mut s = Server::new();
    let (r, _) = s.get("/sub%20dir", "");
    assert_eq!(
        (r.status.code(), r.location.as_deref()),
        (301, Some("/sub%20dir/"))
    );
    let (r, body) = s.get("/", "");
    assert_eq!(r.status.code(), 200);
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("href=\"./sub%20dir/\"")
    );
    let (_, body) = s.get("/", "Accept: application/json\r\n");
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["entries"].as_array().unwrap().len(), 4);
}

#[test]
fn half_closed_clients_get_their_answer() {
    let mut s = Server::new();
    // The end of the stream is known while the disk still looks for the file.
    let input = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(s.conn.on_bytes(s.now(), input).consumed, input.len());
    s.conn.on_eof();
    s.pump();
    assert_eq!(s.responses(Method::Get)[0].1, b"hello, world");
    assert_eq!(s.closed, Some(Close::Shutdown));
    // An upload that ends too early is nothing.
    let mut s = Server::new();
    let before = s.files();
    s.feed(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123");
    s.conn.on_eof();
    s.pump();
    assert_eq!((s.closed, s.files()), (Some(Close::Abort), before));
}

#[test]
fn slow_peers() {
    // Idle.
    let mut s = Server::new();
    s.wait(Duration::from_secs(59));
    assert_eq!(s.closed, None);
    s.wait(Duration::from_secs(1));
    assert_eq!(s.closed, Some(Close::Shutdown));
    s.wait(Duration::from_secs(2));
    assert_eq!(s.closed, Some(Close::Abort));
    // A head in drops.
    let mut s = Server::new();
    for byte in b"GET / HTT" {
        s.feed(&[*byte]);
        s.wait(Duration::from_millis(1100));
    }
    s.wait(Duration::from_secs(1));
    assert_eq!(s.responses(Method::Get)[0].0.status.code(), 408);
    // Content in drops.
    let mut s = Server::new();
    let before = s.files();
    s.feed(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n");
    for _ in 0..30 {
        s.feed(b"x");
        s.wait(Duration::from_secs(1));
    }
    assert_eq!(s.responses(Method::Put)[0].0.status.code(), 408);
    assert_eq!(s.files(), before);
    assert_eq!(s.conn.take_tally().timed_out, 1);
    // A response that is not read.
    let mut s = Server::new();
    s.stuck = true;
    s.feed(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    s.wait(Duration::from_secs(29));
    assert_eq!(s.closed, None);
    s.wait(Duration::from_secs(1));
    assert_eq!(s.closed, Some(Close::Abort));
}

#[test]
fn the_tail_of_a_response_may_take_its_time() {
    let mut s = Server::new();
    s.get("/a.txt", "");
    for unsent in [5000, 4000, 3000] {
        s.time += Duration::from_secs(60);
        s.conn.handle_timeout(at(s.time), unsent);
        assert_eq!(s.conn.poll_close(), None, "{unsent}");
    }
    s.time += Duration::from_secs(60);
    s.conn.handle_timeout(at(s.time), 3000);
    assert_eq!(s.conn.poll_close(), Some(Close::Shutdown));
}

#[test]
fn files_that_shrink_break_the_connection() {
    let mut s = Server::new();
    s.stuck = true;
    s.feed(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    fs::write(s.dir.path().join("big"), "short").unwrap();
    s.stuck = false;
    s.pump();
    assert_eq!(s.closed, Some(Close::Abort));
}

#[test]
fn beyond_the_limits() {
    let dir = served();
    let refusal =
        crate::transfer::http::Refusal::new(crate::transfer::http::Status::UNAVAILABLE, "full");
    let conn = ServerConn::refusing(Arc::new(policy(&dir)), refusal, at(Duration::ZERO));
    let mut s = Server {
        conn,
        dir,
        time: Duration::ZERO,
        sent: Vec::new(),
        closed: None,
        stuck: false,
    };
    s.feed(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    let (r, _) = s.responses(Method::Get).pop().unwrap();
    assert_eq!(
        (r.status.code(), r.retry_after),
        (503, Some(Duration::from_secs(1)))
    );
    assert_eq!(s.closed, Some(Close::Shutdown));
}

#[test]
fn a_closed_connection_leaves_nothing() {
    let mut s = Server::new();
    let before = s.files();
    s.feed(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123");
    assert!(s.conn.on_closed().is_empty());
    assert!(matches!(
        s.conn.poll_op(),
        Some(crate::transfer::disk::Op::Discard(_))
    ));
    assert_eq!(s.files(), before);
    let mut s = Server::new();
    s.stuck = true;
    s.feed(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(s.conn.on_closed().len(), 4, "blocks come back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes(input in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut s = Server::new();
        s.feed(&input);
    }

    #[test]
    fn request_like_bytes(
        input in "((GET|PUT|HEAD|OPTIONS) /[a-z.%]{0,6} HTTP/1.1\r\nHost: x\r\n(Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|Range: bytes=[0-9,-]{1,9}\r\n){0,2}\r\n(5\r\nabcde\r\n|0\r\n\r\n){0,2}){0,4}",
        cut in 0usize..300,
    ) {
        let cut = cut.min(input.len());
        let mut s = Server::new();
        s.feed(&input.as_bytes()[..cut]);
        s.feed(&input.as_bytes()[cut..]);
        s.wait(Duration::from_secs(100));
        s.wait(Duration::from_secs(100));
    }
}
