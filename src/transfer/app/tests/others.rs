//! Servers of others.

use super::*;

/// A server that gives one canned answer to everybody.
fn canned(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = client.read(&mut [0; 4096]);
                let _ = client.write_all(answer.as_bytes());
                let _ = client.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut client, &mut std::io::sink());
            });
        }
    });
    address
}

#[test]
fn content_is_sent_to_a_server_that_never_says_continue() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "content").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"content") {
            let mut some = [0; 4096];
            let n = client.read(&mut some).unwrap();
            assert!(n > 0, "{:?}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&some[..n]);
        }
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        client.write_all(answer).unwrap();
        String::from_utf8(got).unwrap()
    });
    let report = put_with(address, "/f", &dir.path().join("file"), |_| {}).unwrap();
    assert_eq!((report.size, report.created), (7, true));
    let got = server.join().unwrap();
    assert!(got.contains("\r\nExpect: 100-continue\r\n"), "{got}");
}

#[test]
fn what_other_servers_may_answer() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("out");
    let get = |answer: &str, n: usize| {
        let result = get_with(canned(answer.to_owned()), "/f", &to, |o| {
            o.connections = n;
            o.patience.retries = 1;
        });
        result.map(|r| (r.size, r.verified))
    };
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1),
        Ok((5, false))
    );
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 4),
        Ok((5, false))
    );
    assert_eq!(
        get("HTTP/1.1 200 OK\r\n\r\nuntil the end", 1),
        Ok((13, false))
    );
    assert_eq!(
        get(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
            4
        ),
        Ok((5, false))
    );
    assert_eq!(std::fs::read(&to).unwrap(), b"abcde");
    let wrong = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRepr-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\r\n\r\nhello";
    let hello = Digest::blake3(blake3::hash(b"hello"));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRepr-Digest";
    for (digests, verified) in [
        (hello.to_string(), true),
        (format!("md5=:AAAA:, {hello}"), true),
        // Nobody here knows what these say.
        ("blake2b=:AAAA:".to_owned(), false),
        ("blake3=:AAAA:".to_owned(), false),
    ] {
        let answer = format!("{head}: {digests}\r\n\r\nhello");
        assert_eq!(get(&answer, 1), Ok((5, verified)), "{digests}");
    }
    std::fs::remove_file(&to).unwrap();
    let wrong3 = format!("{head}: {}\r\n\r\nhello", Digest::blake3([1; 32]));
    for (answer, n, code) in [
        (wrong, 1, 6),
        (&wrong3[..], 1, 6),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 1, 8),
        (
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\nhello",
            1,
            8,
        ),
        (
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 3-7/9\r\n\r\nhello",
            2,
            8,
        ),
        (
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello",
            2,
            8,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            1,
            8,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            1,
            8,
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", 1, 8),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 1, 5),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
            1,
            5,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            1,
            8,
        ),
        ("", 1, 4),
    ] {
        let error = get(answer, n).expect_err(answer);
        assert_eq!(error.exit_code(), code, "{answer}: {error}");
        assert!(!to.exists(), "{answer}");
    }
    for (field, only) in [
        (String::new(), None),
        ("Repr-Digest: blake2b=:AAAA:\r\n".into(), None),
        (format!("Repr-Digest: {hello}\r\n"), Some(Algorithm::Sha256)),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{field}\r\nhello");
        let require = get_with(canned(answer), "/f", &to, |o| {
            (o.verify, o.digest) = (Verify::Require, only);
        });
        assert_eq!(require.unwrap_err().exit_code(), 6, "{field}");
        assert!(!to.exists(), "{field}");
    }
}
