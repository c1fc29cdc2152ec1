//! What is refused, and with which fields.

use super::*;

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
