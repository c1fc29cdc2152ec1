//! What is put.

use super::*;

#[test]
fn uploads() {
    let mut s = Server::new();
    let content = big();
    let sum = sha256(&content);
    let r = s.put("/up", &format!("Repr-Digest: {sum}\r\n"), &content);
    assert_eq!((r.status.code(), r.keep_alive), (201, true));
    assert_eq!(r.repr_digest, sum.into());
    assert_eq!(s.file("up").unwrap(), content);
    assert_eq!(s.put("/up", "", b"new").status.code(), 204);
    assert_eq!(s.file("up").unwrap(), b"new");
    assert_eq!(s.put("/nothing", "", b"").status.code(), 201);
    assert_eq!(s.file("nothing").unwrap(), b"");
}

#[test]
fn digests_guard_uploads() {
    let before = Server::new().files();
    let right = sha256(b"content");
    let wrong = [
        ("Repr-Digest", Digest::sha256([1; 32]).to_string()),
        ("Content-Digest", Digest::sha256([1; 32]).to_string()),
        ("Repr-Digest", Digest::blake3([1; 32]).to_string()),
        // One that is right does not make up for the other.
        (
            "Repr-Digest",
            format!("{right}, {}", Digest::blake3([1; 32])),
        ),
    ];
    for (field, wrong) in &wrong {
        let mut s = Server::new();
        let r = s.put("/up", &format!("{field}: {wrong}\r\n"), b"content");
        assert_eq!(r.status.code(), 400);
        assert_eq!(s.files(), before, "nothing is left");
        assert_eq!(
            s.put("/up", "", b"content").status.code(),
            201,
            "the connection goes on"
        );
        for malformed in ["sha-256=:x:", "blake3=:AAAA:"] {
            let mut s = Server::new();
            let r = s.put("/up", &format!("{field}: {malformed}\r\n"), b"content");
            assert_eq!(r.status.code(), 400);
        }
    }
    for (_, wrong) in &wrong {
        let mut s = Server::new();
        s.feed(format!("PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nRepr-Digest: {wrong}\r\n\r\n").as_bytes());
        assert_eq!(s.responses(Method::Put)[0].0.status.code(), 400);
        assert_eq!(s.files(), before);
    }
}

#[test]
fn an_algorithm_that_is_not_known_is_no_condition() {
    let mut s = Server::new();
    let fields = "Repr-Digest: blake2b=:AAAA:, md5=:AAAA:\r\nWant-Repr-Digest: blake2b=10\r\n";
    let r = s.put("/up", fields, b"content");
    assert_eq!(
        (r.status.code(), r.repr_digest),
        (201, sha256(b"content").into())
    );
}

#[test]
fn expectations() {
    let mut s = Server::new();
    s.feed(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let (r, _) = s.responses(Method::Put).remove(0);
    assert_eq!(
        (r.status.code(), r.wants_digest),
        (100, Some(Algorithm::Sha256))
    );
    s.feed(b"12345");
    assert_eq!(s.responses(Method::Put)[0].0.status.code(), 201);
    // Whoever wants another one hears that it can be had.
    s.feed(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nWant-Repr-Digest: sha-256=1, blake3=2\r\nExpect: 100-continue\r\n\r\n");
    let (r, _) = s.responses(Method::Put).remove(0);
    assert_eq!(
        (r.status.code(), r.wants_digest),
        (100, Some(Algorithm::Blake3))
    );
    s.feed(b"12345");
    let (r, _) = s.responses(Method::Put).remove(0);
    let digest = Digest::blake3(blake3::hash(b"12345"));
    assert_eq!((r.status.code(), r.repr_digest), (204, digest.into()));
    // The final answer comes instead when it is clear already.
    s.feed(
        b"PUT /none/up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    let responses = s.responses(Method::Put);
    assert_eq!((responses.len(), responses[0].0.status.code()), (1, 409));
    assert_eq!(s.closed, Some(Close::Shutdown));
}
