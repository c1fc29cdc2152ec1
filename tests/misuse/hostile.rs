//! Peers that mean harm.

use super::*;

// -- peers that mean harm ---------------------------------------------------------
/// A connection of the kernel's TCP in namespace B to a server in A.
fn connect(net: &Net) -> TcpStream {
    let stream = net.enter(Side::B, || {
        let to = SocketAddr::from((Side::A.ip(), 80));
        TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap()
    });
    stream
        .set_read_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    stream
}

/// Everything until the server closes; the connection may be reset after.
fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer to one raw request.
fn raw(net: &Net, request: &str) -> String {
    let mut stream = connect(net);
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn get_raw(net: &Net, target: &str) -> String {
    raw(
        net,
        &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    )
}

fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|a| a.get(..3));
    code.and_then(|c| c.parse().ok())
        .unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
#[ignore = "needs root"]
fn nothing_outside_of_the_directory_is_served() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("root");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(outer.path().join("secret"), b"SECRET").unwrap();
    std::fs::write(dir.join("plain"), b"plain").unwrap();
    symlink("../secret", dir.join("relative")).unwrap();
    symlink("/etc/passwd", dir.join("absolute")).unwrap();
    symlink("..", dir.join("up")).unwrap();
    symlink("plain", dir.join("inner")).unwrap();
    run("mkfifo", &[dir.join("fifo").to_str().unwrap()]);
    symlink("/dev/zero", dir.join("zero")).unwrap();
    let server = Serving::start(&net, &dir, &["--writable"]);
    for target in [
        "/../secret",
        "/../../../../etc/passwd",
        "/%2e%2e/secret",
        "/%2E%2e%2fsecret",
        "/..%2fsecret",
        "/x/../../secret",
        "/plain/../../secret",
        "//etc/passwd",
        "/%00/secret",
        "/..%00/secret",
        "/..\\secret",
        "/..%5csecret",
        "/%252e%252e/secret",
        "/%c0%ae%c0%ae/secret",
        "/relative",
        "/absolute",
        "/up/secret",
        "/up/",
        "/zero",
        "/fifo",
        "http://a/../secret",
        "../secret",
        "secret",
        "*",
    ] {
        let text = get_raw(&net, target);
        assert!((400..500).contains(&status(&text)), "{target}: {text}");
        assert!(
            !text.contains("SECRET") && !text.contains("root:"),
            "{target}: {text}"
        );
    }
    assert_eq!(status(&get_raw(&net, "/fifo")), 403);
    assert!(get_raw(&net, "/plain").ends_with("\r\n\r\nplain"));
    assert!(get_raw(&net, "/inner").ends_with("\r\n\r\nplain"));
    for target in [
        "/../new",
        "/%2e%2e/new",
        "/up/new",
        "/up/secret",
        "/..%2fnew",
    ] {
        let text = raw(
            &net,
            &format!(
                "PUT {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                 Content-Length: 3\r\n\r\nbad"
            ),
        );
        assert!((400..500).contains(&status(&text)), "{target}: {text}");
    }
    assert!(!outer.path().join("new").exists());
    assert_eq!(
        std::fs::read(outer.path().join("secret")).unwrap(),
        b"SECRET"
    );
    server.finish(&net);
}

#[test]
#[ignore = "needs root"]
fn malformed_and_oversized_heads_are_refused() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("plain"), b"plain").unwrap();
    let server = Serving::start(&net, dir.path(), &[]);
    let long = "a".repeat(20_000);
    let many = "X: y\r\n".repeat(500);
    let head = "GET /plain HTTP/1.1\r\nHost: a\r\n";
    for (request, expected) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("{head}X: {long}\r\n\r\n"), 431),
        (format!("{head}{many}\r\n"), 431),
        ("GET /plain HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("{head}Host: b\r\n\r\n"), 400),
        (
            format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            400,
        ),
        (
            format!("{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
        ),
        (format!("{head}Content-Length: -1\r\n\r\n"), 400),
        (
            format!("{head}Content-Length: 99999999999999999999\r\n\r\n"),
            400,
        ),
        (format!("{head}X : y\r\n\r\n"), 400),
        (format!("{head}folded: a\r\n b\r\n\r\n"), 400),
        ("GET /plain HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("GET /plain HTTP/3.7\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("GET  /plain HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(), 400),
        (
            "DELETE /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            501,
        ),
        (
            "PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".into(),
            405,
        ),
    ] {
        let text = raw(&net, &request);
        let got = status(&text);
        let shown = &request[..request.len().min(100)];
        // Of unknown methods and malformed lengths the class is enough.
        assert!(
            got == expected || (expected == 501 && got == 405),
            "{shown:?}: {text}"
        );
    }
    assert!(!dir.path().join("x").exists());
    // A head that never ends.
    let mut stream = connect(&net);
    let mut total = 0;
    let block = "Y: z\r\n".repeat(1000);
    stream.write_all(head.as_bytes()).unwrap();
    while total < 64 << 20 && stream.write_all(block.as_bytes()).is_ok() {
        total += block.len();
    }
    assert!(total < 16 << 20, "{total} bytes of head were taken");
    assert!(get_raw(&net, "/plain").ends_with("plain"));
    server.finish(&net);
}

#[test]
#[ignore = "needs root"]
fn slow_and_greedy_peers_are_cut_off() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("plain"), b"plain").unwrap();
    std::fs::write(dir.path().join("big"), content(24 << 20, 2)).unwrap();
    let config = write(
        local.path(),
        "f.toml",
        "[limits]\nconnections_per_address = 4\nheader_timeout = \"1s\"\n\
         idle_timeout = \"2s\"\nmin_rate = \"64KiB\"\nrate_window = \"1s\"\n\
         upload_size = \"1KiB\"\n",
    );
    let server = Serving::start(&net, dir.path(), &["--writable", "--config", &config]);

    // A header that drips in.
    let start = Instant::now();
    let mut slow = connect(&net);
    let mut writer = slow.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        for byte in b"GET /plain HTTP/1.1\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyy"
            .iter()
            .cycle()
        {
            std::thread::sleep(Duration::from_millis(100));
            if writer.write_all(&[*byte]).is_err() {
                break;
            }
        }
    });
    let mut bytes = [0; 1024];
    let n = slow.read(&mut bytes).unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&bytes[..n])), 408);
    assert!(start.elapsed() < Duration::from_secs(3));
    drop(slow);
    dripping.join().unwrap();

    // An upload that drips in, and one that says nothing; both at once.
    let put = "PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let start = Instant::now();
    let mut stalled = connect(&net);
    stalled.write_all(put.as_bytes()).unwrap();
    stalled.write_all(b"some").unwrap();
    let idle = connect(&net);
    assert_eq!(status(&answer(stalled)), 408);
    assert_eq!(answer(idle), "");
    assert!(start.elapsed() < Duration::from_secs(6));

    // Too large an upload, announced and not.
    let text = raw(
        &net,
        "PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(status(&text), 413);
    let chunks = format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000));
    let text = raw(
        &net,
        &format!("PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
    );
    let last = text.rfind("HTTP/1.1 ").unwrap();
    assert_eq!(status(&text[last..]), 413, "{text}");
    assert!(!dir.path().join("up").exists());

    // A reader that reads nothing.
    let start = Instant::now();
    let mut deaf = connect(&net);
    deaf.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let gone = || {
        let text = net.run(Side::B, "ss", &["-Htn", "dst", &Side::A.ipv4().to_string()]);
        !text.contains("ESTAB")
    };
    common::wait_for(
        "the deaf reader to be cut off",
        Duration::from_secs(8),
        gone,
    );
    assert!(start.elapsed() > Duration::from_millis(900));
    drop(deaf);

    // More connections than one address may have.
    let held: Vec<_> = (0..4).map(|_| connect(&net)).collect();
    let text = get_raw(&net, "/plain");
    assert_eq!(status(&text), 429, "{text}");
    assert!(text.contains("Retry-After"), "{text}");
    drop(held);
    common::wait_for(
        "connections to be free again",
        Duration::from_secs(5),
        || status(&get_raw(&net, "/plain")) == 200,
    );
    server.finish(&net);
}
