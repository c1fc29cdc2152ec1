//! Wrong arguments, wrong surroundings and peers that mean harm, all against
//! the real program: each is answered with what was wrong, and nothing is left
//! behind.

mod common;

use common::program::{PROGRAM, Run, Serving, attached, content, detached, fullbore};
use common::{DEVICE, Net, Options, Side, require_root, run};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn url(path: &str) -> String {
    format!("http://{}/{path}", Side::A.ipv4())
}

/// Runs the program outside of any namespace, where it touches no interface.
fn plain(args: &[&str]) -> Run {
    Run::of(Command::new(PROGRAM).args(args))
}

/// `fullbore serve` of an empty directory in namespace A, which is to fail.
fn serve(net: &Net, args: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut command = fullbore(net, Side::A, "serve");
    Run::of(command.arg(dir.path()).args(args))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// -- arguments and configurations: no root needed ------------------------------

#[test]
fn wrong_arguments_are_usage_errors_in_one_line() {
    for (args, words) in [
        (&["serv"][..], &["serv", "serve"][..]),
        (&["serve", "--on", "a/b"], &["a/b", "interface name"]),
        (&["serve", "."], &["no interface", "--on"]),
        (&["serve", "--on", "lo"], &["no directory", "serve DIR"]),
        (
            &["serve", ".", "--on", "lo", "--port", "0"],
            &["--port", "1 to 65535"],
        ),
        (
            &["serve", ".", "--on", "lo", "--fault", "los=1%"],
            &["los", "loss"],
        ),
        (
            &["serve", ".", "--on", "lo", "--queues", "x"],
            &["--queues", "0,1"],
        ),
        (
            &[
                "serve",
                ".",
                "--on",
                "lo",
                "--bind",
                "zero-copy",
                "--attach",
                "generic",
            ],
            &["zero copy", "generic", "native"],
        ),
        (&["get", "--on", "lo", "nonsense"], &["nonsense", "http://"]),
        (
            &["get", "--on", "lo", "https://a/b"],
            &["https is not supported"],
        ),
        (&["get", "--on", "lo", "http://a:99999/b"], &["port"]),
        (&["get", "--on", "lo", "http:///b"], &["no host"]),
        (&["get", "--on", "lo", "http://u:p@a/b"], &["token file"]),
        (&["get", "--on", "lo", "http://[::1/b"], &["]"]),
        (
            &["get", "--on", "lo", "http://192.0.2.1/"],
            &["names no file", "-o"],
        ),
        (
            &["get", "--on", "lo", "http://192.0.2.1/f", "-j", "65"],
            &["from 1 to 64"],
        ),
        (
            &[
                "get",
                "--on",
                "lo",
                "http://192.0.2.1/f",
                "-o",
                "-",
                "--stats",
                "json",
            ],
            &["standard output", "--stats line"],
        ),
        (&["put", "--on", "lo", "nonsense"], &["URL"]),
    ] {
        let run = plain(args);
        run.failed(2, words);
        assert!(run.stdout.is_empty(), "{run:?}");
    }
}

#[test]
fn check_names_the_place_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(dir.path(), "good.toml", "interface = \"lo\"\n");
    let run = plain(&["check", &good]).succeeded();
    assert!(
        String::from_utf8_lossy(&run.stdout).contains("valid"),
        "{run:?}"
    );
    for (text, words) in [
        (
            "interface = \"lo\"\nqueus = [0]\n",
            &[":2:1", "`queus`", "did you mean `queues`"][..],
        ),
        (
            "interface = \"lo\"\n[umem]\nchunks = 2048\n",
            &[":3:1", "`chunks`", "`chunk`"],
        ),
        ("interface = \"lo\"\n[tcp]\nmin_rto = \"5\"\n", &[":3:11"]),
        (
            "interface = \"lo\"\nattach = \"nativ\"\n",
            &[":2:10", "nativ", "native"],
        ),
        (
            "interface = \"lo\"\n[addresses]\nown = [\"192.0.2.7/24\"]\n",
            &[":3:", "shared", "own"],
        ),
        (
            "interface = \"lo\"\nbind = \"zero-copy\"\nattach = \"generic\"\n",
            &[":2:", "zero copy", "generic"],
        ),
        (
            "interface = \"lo\"\nmtu = 9000\n",
            &[":2:", "9000", "the most is"],
        ),
        (
            "interface = \"lo\"\nmtu = 3000\n",
            &[":2:", "3000", "umem.chunk to 4096"],
        ),
        ("interface = \n", &[":1:"]),
        ("queues = [0]\n", &["no interface"]),
    ] {
        let bad = write(dir.path(), "bad.toml", text);
        let run = plain(&["check", &bad]);
        run.failed(2, words);
        assert!(run.stderr.contains("bad.toml"), "{run:?}");
    }
    let both = write(
        dir.path(),
        "two.toml",
        "interface = \"lo\"\nmtu = 1\nvlan = 0\n",
    );
    assert_eq!(plain(&["check", &good, &both]).code, Some(2));
    let none = dir.path().join("none.toml");
    plain(&["check", none.to_str().unwrap()]).failed(2, &["none.toml", "cannot be read"]);
}

// -- surroundings --------------------------------------------------------------

#[test]
#[ignore = "needs root"]
fn an_interface_that_cannot_be_used_is_named() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let check = |run: Run, code, words: &[&str]| {
        run.failed(code, words);
        detached(&net, Side::A);
    };
    let none = plain(&["serve", dir.path().to_str().unwrap(), "--on", "nosuch0"]);
    none.failed(3, &["nosuch0", "no interface", "ip link"]);
    check(
        serve(&net, &["--queues", "5"]),
        3,
        &[DEVICE, "queue 5", "1 queue"],
    );
    check(
        serve(&net, &["--bind", "zero-copy"]),
        3,
        &[DEVICE, "veth", "zero-copy"],
    );
    check(
        serve(&net, &["--mtu", "1600"]),
        3,
        &[DEVICE, "1600", "1500"],
    );
    let pcap = dir.path().join("none/x.pcap");
    let pcap = pcap.to_str().unwrap();
    check(serve(&net, &["--pcap", pcap]), 1, &[pcap, "No such file"]);

    // Without any right.
    let mut command = net.command(Side::A, "setpriv");
    command.args([
        "--reuid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        PROGRAM,
    ]);
    command.args(["serve", "/", "--on", DEVICE]);
    check(
        Run::of(&mut command),
        3,
        &["not permitted", "root", "CAP_NET_ADMIN"],
    );

    // Huge pages that are not there: none are reserved in these namespaces'
    // kernel unless somebody did.
    if std::fs::read_to_string("/proc/sys/vm/nr_hugepages")
        .unwrap()
        .trim()
        == "0"
    {
        check(
            serve(&net, &["--huge-pages", "require"]),
            3,
            &["huge pages", "nr_hugepages", "MiB"],
        );
    }

    // Somebody has a listener on the port.
    let listener = net.enter(Side::A, || TcpListener::bind("0.0.0.0:80").unwrap());
    check(serve(&net, &[]), 3, &["port 80", "use"]);
    drop(listener);

    // Two of ours on one interface.
    let first = Serving::start(&net, dir.path(), &[]);
    serve(&net, &["--port", "81"]).failed(3, &[DEVICE, "already"]);
    assert!(attached(&net, Side::A), "the first is undisturbed");
    first.finish(&net);

    net.run(Side::A, "ip", &["link", "set", DEVICE, "mtu", "3000"]);
    check(serve(&net, &[]), 3, &[DEVICE, "3000", "chunk", "4096"]);
    net.run(Side::A, "ip", &["address", "flush", "dev", DEVICE]);
    net.run(Side::A, "ip", &["link", "set", DEVICE, "mtu", "1500"]);
    check(serve(&net, &[]), 3, &[DEVICE, "no address", "--address"]);
    net.run(Side::A, "ip", &["link", "set", DEVICE, "down"]);
    check(serve(&net, &[]), 3, &[DEVICE, "down", "ip link set"]);
}

#[test]
#[ignore = "needs root"]
fn forced_native_is_refused_where_the_driver_cannot() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    // The loopback driver has no XDP of its own.
    net.run(Side::A, "ip", &["link", "set", "lo", "mtu", "1500"]);
    let mut command = net.command(Side::A, PROGRAM);
    command.args(["serve", dir.path().to_str().unwrap(), "--on", "lo"]);
    command.args(["--attach", "native"]);
    Run::of(&mut command).failed(3, &["interface lo", "native"]);
    let link = net.run(Side::A, "ip", &["link", "show", "dev", "lo"]);
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
#[ignore = "needs root"]
fn local_files_that_cannot_be_used_are_named() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"content").unwrap();
    let server = Serving::start(&net, dir.path(), &["--writable"]);
    let none = dir.path().join("none");
    let none = none.to_str().unwrap();
    let ours = |verb, args: &[&str]| Run::of(fullbore(&net, Side::B, verb).args(args));
    let inside = format!("{none}/file");
    ours("serve", &[none]).failed(7, &[none, "No such file"]);
    let file = dir.path().join("file");
    let file = file.to_str().unwrap();
    ours("serve", &[file]).failed(7, &[file, "directory"]);
    ours("serve", &[".", "--writable", "--token-file", none])
        .failed(7, &[none, "token", "No such file"]);
    ours("serve", &[".", "--writable", "--token-file", file]).failed(7, &[file, "16 to 1024"]);
    ours("get", &[&url("file"), "--token-file", none]).failed(7, &[none, "token"]);
    ours("get", &[&url("file"), "-o", &inside]).failed(7, &[&inside, "cannot write"]);
    let directory = dir.path().to_str().unwrap();
    ours("get", &[&url("file"), "-o", directory]).failed(7, &[directory, "is a directory"]);
    ours("get", &[&url("file"), "-o", "-", "--config", none]).failed(2, &[none, "cannot be read"]);
    ours("put", &[none, &url("x")]).failed(7, &[none, "No such file"]);
    ours("put", &[directory, &url("x")]).failed(7, &[directory, "directory"]);
    // A full device: what is written there fails late.
    let mut command = fullbore(&net, Side::B, "get");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    command
        .args([&url("file"), "-o", "-"])
        .stdout(full)
        .stderr(Stdio::piped());
    let run = Run::from(command.spawn().unwrap().wait_with_output().unwrap());
    run.failed(7, &["standard output", "space"]);
    detached(&net, Side::B);
    server.finish(&net);
}

// -- the other host --------------------------------------------------------------

#[test]
#[ignore = "needs root"]
fn the_other_hosts_failures_are_told_apart() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("f");
    let get = |url: &str, more: &[&str]| {
        let mut command = fullbore(&net, Side::B, "get");
        command
            .arg(url)
            .arg("-o")
            .arg(&file)
            .args(["--retries", "0"])
            .args(more);
        Run::of(&mut command)
    };
    let a = Side::A.ipv4();
    // The kernel of the peer, without a listener.
    get(&format!("http://{a}:81/f"), &[]).failed(4, &["cannot connect", ":81", "refused"]);
    // Nobody has this address.
    let start = Instant::now();
    get("http://10.77.0.99/f", &[]).failed(4, &["cannot connect to 10.77.0.99"]);
    assert!(start.elapsed() < Duration::from_secs(12));
    // No route there.
    get("http://192.0.2.1/f", &[]).failed(4, &["192.0.2.1"]);
    // A host that is silent.
    let silent = "10.77.0.98";
    let neighbour = ["neigh", "add", silent, "lladdr", "02:00:00:00:00:98"];
    net.run(
        Side::B,
        "ip",
        &[&neighbour[..], &["dev", DEVICE, "nud", "permanent"]].concat(),
    );
    let start = Instant::now();
    get(&format!("http://{silent}/f"), &[]).failed(4, &["cannot connect", silent]);
    assert!(start.elapsed() < Duration::from_secs(13));
    get("http://no.such.host.invalid/f", &[]).failed(4, &["no.such.host.invalid"]);
    detached(&net, Side::B);

    // Servers of the kernel's TCP that do not do what they should.
    let speak = |port: u16, answer: &'static [u8]| {
        net.spawn_thread(Side::A, move || {
            let listener = TcpListener::bind((Side::A.ipv4(), port)).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = peer.read(&mut request).unwrap();
            peer.write_all(answer).unwrap();
            let _ = peer.shutdown(std::net::Shutdown::Write);
            // Whether the client asks for more is its business.
            listener.set_nonblocking(true).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            while let Ok((mut peer, _)) = listener.accept() {
                peer.set_nonblocking(false).unwrap();
                let _ = peer.read(&mut request);
                let _ = peer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            }
        })
    };
    let wrong = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRepr-Digest: sha-256=:\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\r\n\r\nhello";
    for (port, answer, code, words) in [
        (
            8001,
            &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            8,
            &["does not speak HTTP"][..],
        ),
        (
            8002,
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\ngone\n",
            5,
            &["404", "gone"],
        ),
        (
            8003,
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            4,
            &["8003"],
        ),
        (8004, wrong, 6, &["SHA-256", "removed"]),
        (
            8005,
            b"HTTP/1.1 301 Moved\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
            5,
            &["301", "/other"],
        ),
    ] {
        let server = speak(port, answer);
        std::thread::sleep(Duration::from_millis(50));
        let run = get(&format!("http://{a}:{port}/f"), &[]);
        server.join().unwrap();
        run.failed(code, words);
        assert!(!file.exists(), "{run:?}");
    }
    detached(&net, Side::B);
}

#[test]
#[ignore = "needs root"]
fn a_server_of_ours_refuses_with_reasons_and_pipes_work() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(3 << 20, 1);
    std::fs::write(dir.path().join("file"), &data).unwrap();
    let good = write(local.path(), "good", "0123456789abcdef0123\n");
    let bad = write(local.path(), "bad", "not-the-right-token-at-all\n");
    let server = Serving::start(&net, dir.path(), &["--writable", "--token-file", &good]);
    let ours = |verb, args: &[&str]| Run::of(fullbore(&net, Side::B, verb).args(args));
    let there = url("there");
    ours("get", &[&url("none"), "-o", &good]).failed(5, &["404 Not Found", "no such file"]);
    ours("put", &[&good, &there]).failed(5, &["401 Unauthorized", "bearer token"]);
    ours("put", &[&good, &there, "--token-file", &bad]).failed(5, &["401 Unauthorized"]);
    assert!(!dir.path().join("there").exists());
    ours("put", &[&good, &url("no/there"), "--token-file", &good]).failed(5, &["409", "directory"]);

    // Standard output and standard input.
    let run = ours("get", &[&url("file"), "-o", "-", "-q"]).succeeded();
    assert!(
        run.stdout == data && run.stderr.is_empty(),
        "{}",
        run.stderr
    );
    let mut command = fullbore(&net, Side::B, "put");
    command.args(["-", &there, "--token-file", &good]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&data).unwrap();
    Run::from(child.wait_with_output().unwrap()).succeeded();
    assert!(std::fs::read(dir.path().join("there")).unwrap() == data);
    // A reader that goes away.
    let mut command = fullbore(&net, Side::B, "get");
    command
        .args([&url("file"), "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    Run::from(child.wait_with_output().unwrap()).failed(7, &["standard output"]);
    detached(&net, Side::B);
    server.finish(&net);
}

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

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_insufficient_storage() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let mount = Tmpfs::new("size=1m");
    let server = Serving::start(&net, mount.0.path(), &["--writable"]);
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("big");
    std::fs::write(&file, content(2 << 20, 3)).unwrap();
    let mut command = fullbore(&net, Side::B, "put");
    command.arg(&file).arg(url("big"));
    Run::of(&mut command).failed(5, &["507 Insufficient Storage", "space"]);
    // Without a length it is only found out on the way.
    let mut command = fullbore(&net, Side::B, "put");
    command
        .arg("-")
        .arg(url("big"))
        .stdin(std::fs::File::open(&file).unwrap());
    Run::of(&mut command).failed(5, &["507 Insufficient Storage", "space"]);
    assert_eq!(std::fs::read_dir(mount.0.path()).unwrap().count(), 0);
    // The space is free again.
    std::fs::write(&file, content(700 << 10, 4)).unwrap();
    let mut command = fullbore(&net, Side::B, "put");
    command.arg(&file).arg(url("fits"));
    Run::of(&mut command).succeeded();
    server.finish(&net);
}

/// A small file system.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", options, "fullbore-test", at],
        );
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .output();
    }
}

#[test]
#[ignore = "needs root"]
fn a_socket_in_the_way_is_named() {
    if !require_root() {
        return;
    }
    // The queue is held by an AF_XDP socket that brought no program.
    let net = Net::pair(Options::default());
    let steering = common::ends::attach(&net, Side::A, Default::default());
    let end = common::ends::End::open(&net, Side::A, &steering, 0, Default::default()).unwrap();
    serve(&net, &[]).failed(3, &[DEVICE, "already has an XDP program", "xdp off"]);
    drop(steering);
    end.close();
    detached(&net, Side::A);
    let dir = tempfile::tempdir().unwrap();
    Serving::start(&net, dir.path(), &[]).finish(&net);
}
