//! Requests one after the other, slow peers, and the end.

use super::*;

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
