//! What is put.

use super::*;

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
