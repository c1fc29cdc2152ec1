//! fullbore's uTP and `librqbit-utp`, as server and client of HTTP in turn, over
//! AF_XDP between network namespaces: files come over whole, whatever gets lost.
//!
//! `FULLBORE_INTEROP_MIB=100` makes the files as large as that.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{DEVICE, Net, Options, Process, Side, require_root, wait_for};
use fullbore_bench::compare::place::{ENTER, FULLBORE};
use fullbore_bench::utp_peer::{self, Content, sha256_of_file};
use serde_json::Value;

/// The program that is fullbore and its peer, too.
const PROGRAM: &str = env!("CARGO_BIN_EXE_compare");
const PORT: u16 = 4567;
/// More than any transfer takes on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// fullbore at side A, its peer at side B.
struct Scene {
    net: Net,
    dir: tempfile::TempDir,
    fault: String,
}

impl Scene {
    /// Loses `loss` of a thousand packets in each direction.
    fn new(loss: u64) -> Self {
        Self {
            net: Net::pair(Options::default()),
            dir: tempfile::tempdir().unwrap(),
            fault: format!("loss={}.{}%,seed=7", loss / 10, loss % 10),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in a namespace, which ends with this thread.
    fn start(&self, side: Side, program: &str, words: &[&str], name: &str) -> Process {
        let file = |kind| File::create(self.path(&format!("{name}.{kind}"))).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args([ENTER, self.net.namespace(side), "any", program])
            .args(words)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        Process::start(&mut command)
    }

    fn fullbore(&self, words: &[&str], name: &str) -> Process {
        let on = ["--on", DEVICE, "--idle", "sleep", "--cores", "none"];
        let words = [words, &on, &["--fault", &self.fault]].concat();
        self.start(Side::A, FULLBORE, &words, name)
    }

    fn peer(&self, words: &[&str], name: &str) -> Process {
        self.start(Side::B, utp_peer::NAME, words, name)
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// All that both have said.
    fn told(&self) -> String {
        ["server.err", "server.out", "client.err", "client.out"]
            .map(|name| format!("-- {name}\n{}", self.said(name)))
            .concat()
    }

    fn wait_for_server(&self, server: &mut Process) {
        wait_for("the server", LIMIT, || {
            let said = self.said("server.err");
            if let Some(status) = server.child().try_wait().unwrap() {
                panic!("{status}: {said}");
            }
            said.contains("serving ")
        });
    }

    /// Waits for the client's end, which has to be a success.
    fn finish(&self, mut client: Process) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = client.child().try_wait().unwrap() {
                break status;
            }
            assert!(
                begin.elapsed() < LIMIT,
                "not done after {LIMIT:?}\n{}",
                self.told()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}\n{}", self.told());
    }

    /// The digest that the peer has printed.
    fn digest_of(&self, name: &str) -> String {
        let said = self.said(name);
        let line = said.lines().find(|line| line.starts_with('{'));
        let report: Value = serde_json::from_str(line.expect(&said)).unwrap();
        eprintln!("{}: {report}", self.fault);
        report["sha256"].as_str().expect("a digest").to_owned()
    }
}

/// How large the files are: with so many packets of 1000 lost.
fn size(loss: u64) -> u64 {
    let whole = std::env::var("FULLBORE_INTEROP_MIB").ok();
    let whole = whole.map(|mib| mib.parse::<u64>().expect("a number of MiB") << 20);
    // Less in time for less, and no multiple of anything.
    whole.unwrap_or(match loss {
        0 => 16 << 20,
        10 => 4 << 20,
        _ => 1 << 20,
    }) + 4711
}

fn write(path: &Path, mut content: Content) {
    let mut file = File::create(path).unwrap();
    std::io::copy(&mut content, &mut file).unwrap();
}

/// The peer fetches from and sends to `fullbore serve --utp`.
fn serve(loss: u64) {
    if !require_root() {
        return;
    }
    let scene = Scene::new(loss);
    let dir = scene.path("served");
    std::fs::create_dir(&dir).unwrap();
    let bytes = size(loss);
    write(&dir.join("file"), Content::new(loss, bytes));
    let (port, dir_name) = (PORT.to_string(), dir.to_str().unwrap());
    let words = ["serve", dir_name, "--writable", "--utp", &port];
    let mut server = scene.fullbore(&words, "server");
    scene.wait_for_server(&mut server);
    let to = format!("{}:{PORT}", Side::A.ipv4());

    let client = scene.peer(&["get", &to, "/file"], "client");
    scene.finish(client);
    let digest = sha256_of_file(&dir.join("file")).unwrap();
    assert_eq!(scene.digest_of("client.out"), digest, "{}", scene.told());

    let put = [
        "put",
        &to,
        "/copy",
        "--seed",
        "5",
        "--bytes",
        &bytes.to_string(),
    ];
    let client = scene.peer(&put, "client");
    scene.finish(client);
    let digest = sha256_of_file(&dir.join("copy")).unwrap();
    assert_eq!(scene.digest_of("client.out"), digest, "{}", scene.told());
    assert_eq!(std::fs::metadata(dir.join("copy")).unwrap().len(), bytes);
}

/// `fullbore get` and `put` with the peer as the server.
fn fetch_and_send(loss: u64) {
    if !require_root() {
        return;
    }
    let scene = Scene::new(loss);
    let bytes = size(loss);
    let at = format!("{}:{PORT}", Side::B.ipv4());
    let mut server = scene.peer(&["serve", &at], "server");
    scene.wait_for_server(&mut server);
    let copy = scene.path("copy");

    let url = format!("utp://{at}/9/{bytes}");
    let get = ["get", &url, "-o", copy.to_str().unwrap(), "--retries", "0"];
    let client = scene.fullbore(&get, "client");
    scene.finish(client);
    let digest = sha256_of_file(&copy).unwrap();
    assert_eq!(scene.digest_of("server.out"), digest, "{}", scene.told());
    assert!(
        scene.said("client.err").contains("SHA-256 verified"),
        "{}",
        scene.told()
    );

    let url = format!("utp://{at}/file");
    let put = ["put", copy.to_str().unwrap(), &url, "--retries", "0"];
    let client = scene.fullbore(&put, "client");
    scene.finish(client);
    let said = scene.said("server.out");
    assert_eq!(said.matches(&digest).count(), 2, "{}", scene.told());
}

#[test]
#[ignore = "needs root"]
fn the_peer_fetches_and_sends() {
    serve(0);
}

#[test]
#[ignore = "needs root"]
fn the_peer_serves() {
    fetch_and_send(0);
}

#[test]
#[ignore = "needs root"]
fn the_peer_fetches_and_sends_though_packets_are_lost() {
    serve(10);
    serve(50);
}

#[test]
#[ignore = "needs root"]
fn the_peer_serves_though_packets_are_lost() {
    fetch_and_send(10);
    fetch_and_send(50);
}
