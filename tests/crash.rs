//! Processes that die in the middle of their work, and ones that are asked to
//! end there: what is left, and whether the work can go on.

mod common;

use common::program::{Run, Serving, attached, content, detached, fullbore, signal};
use common::{Net, Options, Process, Side, require_root, wait_for};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// Makes the server slow enough to be hit in the middle of a transfer.
const SLOW: [&str; 2] = ["--fault", "out.rate=60Mbit"];

fn url(path: &str) -> String {
    format!("http://{}/{path}", Side::A.ipv4())
}

/// Waits until the file that a transfer writes has more than `bytes`.
fn grown(path: &Path, bytes: usize) {
    wait_for(
        "the transfer to be under way",
        Duration::from_secs(10),
        || std::fs::metadata(path).is_ok_and(|m| m.len() > bytes as u64),
    );
}

/// Starts `fullbore get` of `path` in namespace B, into `file`.
fn get(net: &Net, path: &str, file: &Path) -> Process {
    let mut command = fullbore(net, Side::B, "get");
    command.arg(url(path)).arg("-o").arg(file);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    Process::start(&mut command)
}

/// The kernel's TCP at both ends, on the server's port.
fn the_kernel_has_the_port(net: &Net) {
    let listener = net.enter(Side::A, || {
        TcpListener::bind((Side::A.ipv4(), 80)).expect("the port is the kernel's again")
    });
    let mut client = net.enter(Side::B, || {
        TcpStream::connect_timeout(&(Side::A.ip(), 80).into(), Duration::from_secs(2)).unwrap()
    });
    client.write_all(b"hello").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut bytes = [0; 5];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

/// Bytes of payload that a server's peers have taken, from its counters.
fn sent(total: &serde_json::Value) -> u64 {
    total["tcp"]["bytes_acked"].as_u64().expect("a counter")
}

/// Names in a directory, as the file system has them.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
#[ignore = "needs root"]
fn a_killed_server_leaves_the_interface_to_the_kernel() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("big"), content(16 * MIB, 1)).unwrap();
    let mut server = Serving::start(&net, dir.path(), &SLOW);
    let file = out.path().join("big");
    let mut curl = net.command(Side::B, "curl");
    curl.args(["-sS", "--max-time", "20", "-o"]).arg(&file);
    curl.arg(url("big")).stderr(Stdio::piped());
    let curl = Process::start(&mut curl);
    grown(&file, MIB);
    assert!(attached(&net, Side::A));
    server.process.kill();
    // At once: no retries.
    the_kernel_has_the_port(&net);
    detached(&net, Side::A);
    // The peer's connection is unknown to the kernel, which says so.
    let curl = Run::from(curl.wait_with_output());
    assert_ne!(curl.code, Some(0), "{curl:?}");
    let server = Serving::start(&net, dir.path(), &[]);
    let whole = net.run(Side::B, "curl", &["-sS", "--fail", "-I", &url("big")]);
    assert!(whole.contains("200 OK"), "{whole}");
    server.finish(&net);
}

#[test]
#[ignore = "needs root"]
fn a_get_goes_on_when_a_killed_server_is_back() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(16 * MIB, 2);
    std::fs::write(dir.path().join("big"), &data).unwrap();
    let mut server = Serving::start(&net, dir.path(), &SLOW);
    let file = out.path().join("big");
    let client = get(&net, "big", &file);
    grown(&out.path().join("big.part"), 4 * MIB);
    server.process.kill();
    let server = Serving::start(&net, dir.path(), &[]);
    let client = Run::from(client.wait_with_output()).succeeded();
    assert!(client.stderr.contains("lost on the way"), "{client:?}");
    assert!(client.stderr.contains("BLAKE3 verified"), "{client:?}");
    assert!(std::fs::read(&file).unwrap() == data);
    let again = sent(&server.finish(&net));
    assert!(
        again < 13 * MIB as u64,
        "{again} bytes after 4 MiB were there"
    );
    assert_eq!(names(out.path()), ["big"]);
}

#[test]
#[ignore = "needs root"]
fn a_killed_get_goes_on_and_others_are_served_meanwhile() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(24 * MIB, 3);
    std::fs::write(dir.path().join("big"), &data).unwrap();
    std::fs::write(dir.path().join("small"), b"small").unwrap();
    let server = Serving::start(&net, dir.path(), &SLOW);
    let file = out.path().join("big");
    let mut client = get(&net, "big", &file);
    // What is there is written down once a second.
    wait_for("the state to be saved", Duration::from_secs(10), || {
        out.path().join("big.part.json").exists()
    });
    client.kill();
    detached(&net, Side::B);
    let small = net.run(Side::B, "curl", &["-sS", "--fail", &url("small")]);
    assert_eq!(small, "small");
    let one = Run::from(get(&net, "big", &file).wait_with_output()).succeeded();
    assert!(one.stderr.contains("from an earlier attempt"), "{one:?}");
    assert!(one.stderr.contains("BLAKE3 verified"), "{one:?}");
    assert!(std::fs::read(&file).unwrap() == data);
    assert_eq!(names(out.path()), ["big"]);
    server.finish(&net);
}

#[test]
#[ignore = "needs root"]
fn an_interrupted_get_says_so_and_goes_on() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(12 * MIB, 4);
    std::fs::write(dir.path().join("big"), &data).unwrap();
    let mut server = Serving::start(&net, dir.path(), &SLOW);
    let file = out.path().join("big");
    let client = get(&net, "big", &file);
    grown(&out.path().join("big.part"), 6 * MIB);
    signal(&client, Signal::INT);
    let one = Run::from(client.wait_with_output());
    one.failed(130, &["interrupted", "the same command goes on"]);
    detached(&net, Side::B);
    server.process.kill();
    let server = Serving::start(&net, dir.path(), &[]);
    let two = Run::from(get(&net, "big", &file).wait_with_output()).succeeded();
    assert!(two.stderr.contains("from an earlier attempt"), "{two:?}");
    assert!(std::fs::read(&file).unwrap() == data);
    let again = sent(&server.finish(&net));
    assert!(
        again < 7 * MIB as u64,
        "{again} bytes after 6 MiB were there"
    );
}

#[test]
#[ignore = "needs root"]
fn an_interrupted_upload_leaves_nothing() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = local.path().join("big");
    std::fs::write(&file, content(16 * MIB, 5)).unwrap();
    let arguments = ["--writable", "--fault", "in.rate=60Mbit"];
    let put = || {
        let mut curl = net.command(Side::B, "curl");
        curl.args(["-sS", "--max-time", "20", "-T"]).arg(&file);
        curl.arg(url("big")).stderr(Stdio::null());
        Process::start(&mut curl)
    };
    let received = |server: &Serving| server.counter("/total/link/rx_bytes");
    let nothing = || {
        assert_eq!(names(dir.path()), [""; 0]);
        let list = net.run(Side::B, "curl", &["-sS", "--fail", &url("")]);
        assert!(
            !list.contains("big") && !list.contains(".fullbore"),
            "{list}"
        );
    };

    let mut server = Serving::start(&net, dir.path(), &arguments);
    // The client is killed.
    let mut client = put();
    wait_for("the upload", Duration::from_secs(10), || {
        received(&server) > 2 * MIB as u64
    });
    client.kill();
    nothing();
    // The server is killed.
    let before = received(&server);
    let mut client = put();
    wait_for("the upload", Duration::from_secs(10), || {
        received(&server) > before + 2 * MIB as u64
    });
    server.process.kill();
    let server = Serving::start(&net, dir.path(), &arguments);
    nothing();
    client.kill();
    // `fullbore put` tries again by itself.
    let mut command = fullbore(&net, Side::B, "put");
    command.arg(&file).arg(url("big"));
    let run = Run::of(&mut command).succeeded();
    assert!(run.stderr.contains("SHA-256 verified"), "{run:?}");
    assert_eq!(names(dir.path()), ["big"]);
    server.finish(&net);
}

#[test]
#[ignore = "needs root"]
fn sigterm_lets_transfers_finish_until_the_drain_time_is_over() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(8 * MIB, 6);
    std::fs::write(dir.path().join("big"), &data).unwrap();
    let config = out.path().join("f.toml");
    std::fs::write(&config, "[limits]\ndrain = \"4s\"\n").unwrap();
    let config = config.to_str().unwrap();
    let server = Serving::start(&net, dir.path(), &["--config", config, SLOW[0], SLOW[1]]);
    // One that will be done in time, one that reads nothing at all, one idle.
    let file = out.path().join("big");
    let mut curl = net.command(Side::B, "curl");
    curl.args(["-sS", "--fail", "-o"])
        .arg(&file)
        .arg(url("big"));
    let curl = Process::start(&mut curl);
    grown(&file, MIB);
    let connect = || net.enter(Side::B, || TcpStream::connect((Side::A.ip(), 80)).unwrap());
    let mut stuck = connect();
    stuck
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let idle = connect();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    server.terminate();
    assert_eq!(Run::from(curl.wait_with_output()).code, Some(0));
    assert!(std::fs::read(&file).unwrap() == data);
    server.finish_terminated(&net);
    let taken = start.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_secs(7)).contains(&taken),
        "{taken:?}"
    );
    drop((stuck, idle));
}

#[test]
#[ignore = "needs root"]
fn a_second_signal_ends_at_once() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("big"), content(16 * MIB, 7)).unwrap();
    let mut server = Serving::start(&net, dir.path(), &[]);
    let mut stuck = net.enter(Side::B, || TcpStream::connect((Side::A.ip(), 80)).unwrap());
    stuck
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.terminate();
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.process.child().try_wait().unwrap().is_none());
    let start = Instant::now();
    server.terminate();
    let status = server.process.child().wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(1));
    detached(&net, Side::A);
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_away_ends_the_server_with_an_error() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let mut server = Serving::start(&net, dir.path(), &[]);
    net.run(Side::A, "ip", &["link", "del", common::DEVICE]);
    let start = Instant::now();
    let status = server.process.child().wait().unwrap();
    assert_eq!(status.code(), Some(3), "{}", server.stderr());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(server.stderr().contains("error: "), "{}", server.stderr());
}
