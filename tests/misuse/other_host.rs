//! What the other host can refuse, and what we refuse it.

use super::*;

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
        (8004, wrong, 6, &["does not match its digest", "removed"]),
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
