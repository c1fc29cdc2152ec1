//! The applications over the kernel's TCP, against curl and each other.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::kernel::{KernelServer, run_client};
use super::{ClientApp, ClientReport, Server, ServerOptions};
use crate::transfer::client::{
    Announce, ClientError, GetOptions, GetReport, Output, Patience, PutOptions, PutReport, Source,
    Url, Verify,
};
use crate::transfer::http::digest::{Algorithm, Digest};

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn serve(dir: &Path, change: impl FnOnce(&mut ServerOptions)) -> (Server, KernelServer) {
    let mut options = ServerOptions::new(dir.to_owned());
    options.writable = true;
    change(&mut options);
    let server = Server::start(options).unwrap();
    let running = KernelServer::start(server.app(), "127.0.0.1");
    (server, running)
}

fn curl(args: &[&str]) -> std::process::Output {
    Command::new("curl")
        .args(["-sS", "--max-time", "60"])
        .args(args)
        .output()
        .expect("curl is installed")
}

fn ok(output: &std::process::Output) -> &[u8] {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    &output.stdout
}

#[test]
fn curl_gets_and_puts() {
    let dir = TempDir::new().unwrap();
    let content = pattern(30_000_001, 1);
    std::fs::write(dir.path().join("file"), &content).unwrap();
    for inline in [false, true] {
        let (server, running) = serve(dir.path(), |o| o.inline_reads = inline);
        let url = format!("http://{}", running.address);
        let file = format!("{url}/file");
        assert!(ok(&curl(&[&file])) == content);
        assert!(ok(&curl(&["-r", "1000-1999999", &file])) == &content[1000..2_000_000]);
        assert!(
            ok(&curl(&["--limit-rate", "20M", &file])) == content,
            "slowly"
        );
        let parallel = curl(&["-Z", &file, &file, &file, &file]);
        assert_eq!(ok(&parallel).len(), 4 * content.len());
        let up = dir.path().join("source");
        std::fs::write(&up, &content).unwrap();
        let up = up.to_str().unwrap();
        let code = ["-w", "%{http_code}", "-o", "/dev/null"];
        for (extra, name) in [
            (&[][..], "a"),
            (&["-H", "Transfer-Encoding: chunked"][..], "b"),
        ] {
            let target = format!("{url}/{name}");
            let output = curl(&[&code, extra, &["-T", up, &target]].concat());
            assert_eq!(ok(&output), if inline { b"204" } else { b"201" });
            assert!(
                std::fs::read(dir.path().join(name)).unwrap() == content,
                "{name}"
            );
        }
        assert_eq!(
            ok(&curl(&[&code[..], &[&format!("{url}/none")]].concat())),
            b"404"
        );
        let totals = server.stats().totals();
        assert_eq!((totals.ok, totals.client_errors), (9, 1));
        assert_eq!(totals.received_bytes, 2 * content.len() as u64);
        assert_eq!(running.stop().outstanding(), 0, "every frame is back");
        assert_eq!(server.stats().totals().open, 0);
    }
}

/// Of a file of which some is in the page cache and some is not, what can be had
/// at once must not overtake what a disk thread reads. (On a file system in
/// memory all goes the same way.)
#[test]
fn blocks_that_are_cached_do_not_overtake_others() {
    use rustix::fs::{Advice, fadvise};
    let dir = TempDir::new().unwrap();
    let content = pattern(4_000_001, 3);
    let path = dir.path().join("file");
    std::fs::write(&path, &content).unwrap();
    let (_server, running) = serve(dir.path(), |o| o.inline_reads = true);
    let url = format!("http://{}/file", running.address);
    let file = std::fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    // Without reading ahead only what is read here is cached.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    for part in [10_000, 50_000, 100_000, 150_000, 400_000] {
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        for at in (part..content.len()).step_by(2 * part) {
            let len = part.min(content.len() - at);
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut vec![0; len], at as u64).unwrap();
        }
        assert!(ok(&curl(&[&url])) == content, "{part}");
    }
    assert_eq!(running.stop().outstanding(), 0);
}

#[test]
fn many_small_files_on_one_connection() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("small"), "small").unwrap();
    let (server, running) = serve(dir.path(), |_| {});
    let url = format!("http://{}/small?[1-500]", running.address);
    assert_eq!(ok(&curl(&[&url])), "small".repeat(500).as_bytes());
    let totals = server.stats().totals();
    assert_eq!((totals.connections, totals.requests), (1, 500));
    assert_eq!(running.stop().outstanding(), 0);
}

#[test]
fn interrupted_uploads_leave_nothing() {
    let dir = TempDir::new().unwrap();
    let source = dir.path().join("source");
    std::fs::write(&source, pattern(5_000_000, 2)).unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let (_server, running) = serve(&root, |_| {});
    let url = format!("http://{}/up", running.address);
    let output = curl(&[
        "--limit-rate",
        "2M",
        "--max-time",
        "1",
        "-T",
        source.to_str().unwrap(),
        &url,
    ]);
    assert!(!output.status.success());
    assert_eq!(running.stop().outstanding(), 0);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

// -- the client ---------------------------------------------------------------

fn patience() -> Patience {
    Patience {
        pause: Duration::from_millis(10),
        ..Patience::default()
    }
}

fn get_with(
    address: SocketAddr,
    path: &str,
    to: &Path,
    change: impl FnOnce(&mut GetOptions),
) -> Result<GetReport, ClientError> {
    let url = Url::parse(&format!("http://{address}{path}")).unwrap();
    let mut options = GetOptions::new(url, Output::File(to.to_owned()));
    options.patience = patience();
    change(&mut options);
    let (app, result) = ClientApp::get(options, vec![address], Arc::default())?;
    let (result, ledger) = run_client(app, &result);
    assert_eq!(ledger.outstanding(), 0, "every frame is back");
    result.map(|report| match report {
        ClientReport::Get(report) => report,
        ClientReport::Put(_) => panic!("it was a get"),
    })
}

fn put_with(
    address: SocketAddr,
    path: &str,
    from: &Path,
    change: impl FnOnce(&mut PutOptions),
) -> Result<PutReport, ClientError> {
    let url = Url::parse(&format!("http://{address}{path}")).unwrap();
    let mut options = PutOptions::new(url, Source::File(from.to_owned()));
    options.patience = patience();
    change(&mut options);
    let (app, result) = ClientApp::put(options, vec![address], Arc::default())?;
    let (result, ledger) = run_client(app, &result);
    assert_eq!(ledger.outstanding(), 0, "every frame is back");
    result.map(|report| match report {
        ClientReport::Put(report) => report,
        ClientReport::Get(_) => panic!("it was a put"),
    })
}

struct Setting {
    dir: TempDir,
    content: Vec<u8>,
    server: Server,
    running: KernelServer,
}

impl Setting {
    fn new(len: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let content = pattern(len, 3);
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("root/file"), &content).unwrap();
        let (server, running) = serve(&dir.path().join("root"), |_| {});
        Self {
            dir,
            content,
            server,
            running,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn check(&self, name: &str) {
        assert!(
            std::fs::read(self.path(name)).unwrap() == self.content,
            "{name} is intact"
        );
        assert!(!self.path(&format!("{name}.part")).exists());
        assert!(!self.path(&format!("{name}.part.json")).exists());
    }
}

#[test]
fn gets_over_one_and_several_connections() {
    let s = Setting::new(20_000_003);
    for n in [1, 4] {
        let name = format!("out{n}");
        let report = get_with(s.running.address, "/file", &s.path(&name), |o| {
            o.connections = n
        })
        .unwrap();
        assert_eq!(
            (report.size, report.verified, report.resumed),
            (20_000_003, true, 0)
        );
        s.check(&name);
    }
    assert!(
        s.server.stats().totals().connections >= 6,
        "four of content and one for the digest"
    );
    std::fs::write(s.path("root/empty"), "").unwrap();
    for n in [1, 4] {
        let report = get_with(s.running.address, "/empty", &s.path("e"), |o| {
            o.connections = n
        })
        .unwrap();
        assert_eq!(
            (report.size, std::fs::read(s.path("e")).unwrap().len()),
            (0, 0)
        );
    }
    assert_eq!(s.running.stop().outstanding(), 0);
}

#[test]
fn puts() {
    let s = Setting::new(10_000_003);
    let file = s.path("root/file");
    for announce in [
        Announce::Head,
        Announce::Trailer,
        Announce::Auto,
        Announce::Never,
    ] {
        let name = format!("up{announce:?}");
        let report = put_with(s.running.address, &format!("/{name}"), &file, |o| {
            o.announce = announce
        })
        .unwrap();
        assert_eq!((report.size, report.created), (10_000_003, true));
        assert_eq!(report.verified, announce != Announce::Never);
        s.check(&format!("root/{name}"));
    }
    // A directory gets the name of the file.
    std::fs::create_dir(s.path("root/sub")).unwrap();
    put_with(s.running.address, "/sub/", &file, |_| {}).unwrap();
    s.check("root/sub/file");
    std::fs::write(s.path("empty"), "").unwrap();
    for announce in [Announce::Head, Announce::Trailer] {
        let report = put_with(s.running.address, "/empty", &s.path("empty"), |o| {
            o.announce = announce
        })
        .unwrap();
        assert_eq!(
            (
                report.size,
                std::fs::read(s.path("root/empty")).unwrap().len()
            ),
            (0, 0)
        );
    }
    assert_eq!(s.running.stop().outstanding(), 0);
}

#[test]
fn the_digest_is_agreed_on() {
    let s = Setting::new(3_000_001);
    let sha256 = Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&s.content));
    let blake3 = Digest::blake3(blake3::hash(&s.content));
    let (sha, blake) = (Some(Algorithm::Sha256), Some(Algorithm::Blake3));
    for connections in [1, 3] {
        for (only, want) in [
            (None, blake3),
            (sha, sha256),
            (blake, blake3),
            (None, blake3),
        ] {
            let report = get_with(s.running.address, "/file", &s.path("out"), |o| {
                (o.digest, o.connections, o.verify) = (only, connections, Verify::Require);
            });
            let report = report.unwrap();
            assert_eq!((report.digest, report.verified), (want, true), "{only:?}");
            s.check("out");
        }
    }
    let file = s.path("root/file");
    for (announce, only, want) in [
        (Announce::Head, None, sha256),
        (Announce::Head, blake, blake3),
        (Announce::Trailer, None, blake3),
        (Announce::Trailer, sha, sha256),
    ] {
        let report = put_with(s.running.address, "/up", &file, |o| {
            (o.announce, o.digest) = (announce, only);
        });
        let report = report.unwrap();
        assert_eq!(
            (report.digest, report.verified),
            (Some(want), true),
            "{announce:?} {only:?}"
        );
        s.check("root/up");
        // What was worked out while it came is known to who fetches it.
        let report = get_with(s.running.address, "/up", &s.path("out"), |_| {}).unwrap();
        assert_eq!((report.digest, report.verified), (want, true));
    }
    assert_eq!(s.running.stop().outstanding(), 0);
}

/// Passes connections on to `server`, and cuts the first `cuts` of them off
/// after `after` bytes in either direction.
fn cutter(server: SocketAddr, cuts: usize, after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (i, client) in listener.incoming().flatten().enumerate() {
            let upstream = TcpStream::connect(server).unwrap();
            let limit = if i < cuts { after } else { usize::MAX };
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), upstream.try_clone().unwrap()),
                (upstream.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                let both = [client.try_clone().unwrap(), upstream.try_clone().unwrap()];
                std::thread::spawn(move || {
                    let mut buffer = [0; 16 * 1024];
                    let mut passed = 0;
                    while let Ok(n) = from.read(&mut buffer)
                        && n > 0
                        && to.write_all(&buffer[..n]).is_ok()
                    {
                        passed += n;
                        if passed > limit {
                            both.iter()
                                .for_each(|s| drop(s.shutdown(std::net::Shutdown::Both)));
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}

#[test]
fn lost_connections_are_made_up_for() {
    let s = Setting::new(20_000_003);
    for n in [1, 3] {
        let name = format!("out{n}");
        let proxy = cutter(s.running.address, 6, 3_000_000);
        let report = get_with(proxy, "/file", &s.path(&name), |o| o.connections = n).unwrap();
        assert!(report.verified && report.retries >= 2, "{report:?}");
        s.check(&name);
    }
    let proxy = cutter(s.running.address, 2, 3_000_000);
    let report = put_with(proxy, "/up", &s.path("root/file"), |o| {
        o.announce = Announce::Trailer
    })
    .unwrap();
    assert_eq!((report.retries, report.verified), (2, true));
    s.check("root/up");
    assert_eq!(s.running.stop().outstanding(), 0);
}

#[test]
fn a_second_attempt_goes_on() {
    let s = Setting::new(20_000_003);
    let attempt = |cuts, n| {
        let proxy = cutter(s.running.address, cuts, 5_000_000);
        let url = Url::parse(&format!("http://{}/file", s.running.address)).unwrap();
        let mut options = GetOptions::new(url, Output::File(s.path("out")));
        options.patience = Patience {
            retries: 0,
            ..patience()
        };
        options.connections = n;
        let (app, result) = ClientApp::get(options, vec![proxy], Arc::default()).unwrap();
        let (result, _) = run_client(app, &result);
        result
    };
    let error = attempt(99, 1).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(
        s.path("out.part").exists() && s.path("out.part.json").exists() && !s.path("out").exists()
    );
    match attempt(0, 2) {
        Ok(ClientReport::Get(report)) => {
            assert!(report.verified && report.resumed > 1_000_000, "{report:?}");
            // Of the whole, though only a part of it came now.
            let whole = Digest::blake3(blake3::hash(&s.content));
            assert_eq!(report.digest, whole);
        }
        other => panic!("{other:?}"),
    }
    s.check("out");
    // What is left of another state of the file is of no use.
    let error = attempt(99, 1).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    let changed = pattern(15_000_000, 9);
    std::fs::write(s.path("root/file"), &changed).unwrap();
    match attempt(0, 1) {
        Ok(ClientReport::Get(report)) => assert_eq!((report.resumed, report.verified), (0, true)),
        other => panic!("{other:?}"),
    }
    assert!(std::fs::read(s.path("out")).unwrap() == changed);
}

#[test]
fn refusals_have_their_exit_codes() {
    let s = Setting::new(1000);
    let address = s.running.address;
    let get = |path: &str| get_with(address, path, &s.path("x"), |_| {}).unwrap_err();
    let error = get("/none");
    assert_eq!(
        (error.exit_code(), error.to_string().as_str()),
        (
            5,
            "the server answered 404 Not Found: there is no such file"
        )
    );
    let error = put_with(address, "/none/x", &s.path("root/file"), |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server answered 409 Conflict: there is no such directory"
    );
    let error = put_with(address, "/x", &s.path("absent"), |_| {}).unwrap_err();
    assert_eq!(error.exit_code(), 7, "{error}");
    let error = get_with(address, "/file", &s.path("no/dir"), |_| {}).unwrap_err();
    assert_eq!(error.exit_code(), 7, "{error}");
    let error = get_with(address, "/file", s.dir.path(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("is a directory"), "{error}");
    // Nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = get_with(free, "/file", &s.path("x"), |o| o.patience.retries = 1).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(error.to_string().contains("cannot connect to"), "{error}");
}

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

/// A mounted file system of 2 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        let status = mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(dir.path())
            .status();
        assert!(status.expect("mount is installed").success());
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_told_and_keeps_nothing() {
    let disk = SmallDisk::new();
    let source = TempDir::new().unwrap();
    let file = source.path().join("big");
    std::fs::write(&file, pattern(8 << 20, 5)).unwrap();
    let (_server, running) = serve(disk.0.path(), |_| {});
    let url = format!("http://{}/up", running.address);
    let file = file.to_str().unwrap();
    let code = ["-w", "%{http_code}", "-o", "/dev/null", "-T", file];
    // Known beforehand, and found out on the way.
    for extra in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let output = curl(&[&code, extra, &[&url]].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "507");
        assert_eq!(std::fs::read_dir(disk.0.path()).unwrap().count(), 0);
    }
    for announce in [Announce::Head, Announce::Trailer] {
        let error = put_with(running.address, "/up", Path::new(file), |o| {
            o.announce = announce
        })
        .unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string().as_str()),
            (
                5,
                "the server answered 507 Insufficient Storage: no space is left"
            )
        );
    }
    let small = source.path().join("small");
    std::fs::write(&small, "small").unwrap();
    put_with(running.address, "/up", &small, |_| {}).unwrap();
    assert_eq!(running.stop().outstanding(), 0);
    // Nor does a get.
    let s = Setting::new(8 << 20);
    let error = get_with(
        s.running.address,
        "/file",
        &disk.0.path().join("out"),
        |_| {},
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(error.to_string().contains("no space left"), "{error}");
}
