//! Files as a whole and in parts, and directories.

use super::*;

#[test]
fn whole_files() {
    let mut s = Server::new();
    let (r, body) = s.get("/a.txt", "");
    assert_eq!((r.status.code(), &body[..]), (200, &b"hello, world"[..]));
    assert_eq!(r.repr_digest, sha256("hello, world".as_bytes()).into());
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
    // Old enough for its digests to be remembered.
    let file = fs::File::options()
        .write(true)
        .open(s.dir.path().join("big"));
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.unwrap().set_modified(long_ago).unwrap();
    s.feed(b"HEAD /big HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n");
    let (r, _) = s.responses(Method::Head).pop().unwrap();
    assert_eq!(
        (r.status.code(), r.content_length, r.repr_digest),
        (200, Some(100_000), Digests::default())
    );
    s.feed(b"HEAD /big HTTP/1.1\r\nHost: x\r\nWant-Repr-Digest: sha-256=5\r\n\r\n");
    let (r, _) = s.responses(Method::Head).pop().unwrap();
    assert_eq!(r.repr_digest, sha256(&big()).into());
    // What is known is told, what is wanted is worked out beside it.
    for (want, blake3) in [
        ("", false),
        ("blake3=3, sha-256=2", true),
        ("crc32c=3", true),
    ] {
        s.feed(
            format!("HEAD /big HTTP/1.1\r\nHost: x\r\nWant-Repr-Digest: {want}\r\n\r\n").as_bytes(),
        );
        let (r, _) = s.responses(Method::Head).pop().unwrap();
        let mut known = Digests::from(sha256(&big()));
        if blake3 {
            known.insert(Digest::blake3(blake3::hash(&big())));
        }
        assert_eq!(r.repr_digest, known, "{want}");
    }
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
fn files_that_shrink_break_the_connection() {
    let mut s = Server::new();
    s.stuck = true;
    s.feed(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    fs::write(s.dir.path().join("big"), "short").unwrap();
    s.stuck = false;
    s.pump();
    assert_eq!(s.closed, Some(Close::Abort));
}
