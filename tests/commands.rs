//! The program itself: what it prints and how it ends, above all when it is
//! used wrongly.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{DEVICE, Net, Options, Process, Side, require_root, wait_for};

const FULLBORE: &str = env!("CARGO_BIN_EXE_fullbore");

/// What a finished command wrote to standard error.
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `command`, which has to fail with `code` and one line on standard
/// error that has all of `parts` in it.
fn fails(command: &mut Command, code: i32, parts: &[&str]) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{command:?}: {text}");
    for part in parts {
        assert!(last.contains(part), "{command:?}: no {part:?} in {last:?}");
    }
}

fn fullbore(args: &[&str]) -> Command {
    let mut command = Command::new(FULLBORE);
    command.args(args);
    command
}

#[test]
fn wrong_arguments_are_one_line_and_code_2() {
    fails(&mut fullbore(&["serv"]), 2, &["serv", "hint: "]);
    fails(
        &mut fullbore(&["serve", ".", "--prt", "1"]),
        2,
        &["--prt", "--port"],
    );
    fails(
        &mut fullbore(&["serve", "."]),
        2,
        &["no interface is named", "--on"],
    );
    fails(
        &mut fullbore(&["serve", "--on", "lo"]),
        2,
        &["no directory"],
    );
    fails(
        &mut fullbore(&["get", "ftp://h/f", "--on", "lo"]),
        2,
        &["http"],
    );
    fails(
        &mut fullbore(&["get", "http://h/", "--on", "lo"]),
        2,
        &["names no file", "-o"],
    );
    fails(&mut fullbore(&["get"]), 2, &["URL"]);
    fails(
        &mut fullbore(&[
            "get",
            "http://h/f",
            "-o",
            "-",
            "--on",
            "lo",
            "--stats",
            "json",
        ]),
        2,
        &["standard output"],
    );
}

#[test]
fn check_names_file_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.toml");
    let bad = dir.path().join("bad.toml");
    fs::write(&good, "interface = \"eth0\"\n").unwrap();
    fs::write(&bad, "interface = \"eth0\"\n[umem]\nframe = 1\n").unwrap();
    let ok = fullbore(&["check", good.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(ok.status.success(), "{}", stderr(&ok));
    assert!(String::from_utf8_lossy(&ok.stdout).contains("good.toml: valid"));
    let both = ["check", good.to_str().unwrap(), bad.to_str().unwrap()];
    fails(
        &mut fullbore(&both),
        2,
        &["bad.toml:3:1: unknown key `frame`", "`frames`"],
    );
    fails(
        &mut fullbore(&["check", "/nonexistent.toml"]),
        2,
        &["/nonexistent.toml", "No such"],
    );
}

#[test]
fn interfaces_lists_the_loopback() {
    let output = fullbore(&["interfaces"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().any(|line| line.starts_with("lo ")), "{text}");
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    fails(
        &mut fullbore(&["serve", ".", "--on", "nosuch0"]),
        3,
        &["no interface `nosuch0`", "ip link"],
    );
}

#[test]
#[ignore = "needs root"]
fn without_root_the_error_says_so() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The binary has to be where another user may reach it.
    let binary = dir.path().join("fullbore");
    fs::copy(FULLBORE, &binary).unwrap();
    let mut command = net.command(Side::A, "setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--bounding-set",
            "-all",
        ])
        .arg(&binary)
        .args(["serve", "/", "--on", DEVICE]);
    fails(&mut command, 3, &["not permitted", "root"]);
}

/// `fullbore` with `args` in the namespace of `side`.
fn inside(net: &Net, side: Side, args: &[&str]) -> Command {
    let mut command = net.command(side, FULLBORE);
    command.args(args);
    command
}

#[test]
#[ignore = "needs root"]
fn what_the_interface_cannot_do_is_an_error_that_says_why() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options {
        mtu: 3000,
        ..Options::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let serve = |more: &[&str]| {
        let mut command = inside(&net, Side::A, &["serve", path, "--on", DEVICE]);
        command.args(more);
        command
    };
    fails(&mut serve(&["--queues", "7"]), 3, &["no queue 7"]);
    fails(&mut serve(&["--cores", "4000"]), 3, &["core 4000"]);
    net.run(Side::A, "ip", &["link", "set", DEVICE, "mtu", "1500"]);
    fails(&mut serve(&["--mtu", "1501"]), 3, &["MTU of 1501", "1500"]);
    fails(&mut serve(&["--bind", "zero-copy"]), 3, &["zero-copy"]);
    fails(&mut serve(&["--huge-pages", "require"]), 3, &["huge pages"]);
    fails(
        &mut serve(&["--pcap", "/nonexistent/x"]),
        1,
        &["/nonexistent/x"],
    );
    fails(
        &mut inside(&net, Side::A, &["serve", "/nonexistent", "--on", DEVICE]),
        7,
        &["/nonexistent"],
    );
    fails(
        &mut serve(&["--writable", "--token-file", "/nonexistent"]),
        7,
        &["/nonexistent"],
    );
    net.run(Side::A, "ip", &["address", "flush", "dev", DEVICE]);
    fails(&mut serve(&[]), 3, &["has no address", "--address"]);
    net.run(Side::A, "ip", &["link", "set", DEVICE, "down"]);
    fails(&mut serve(&[]), 3, &["is down"]);
}

/// Starts `fullbore serve`; returns it with the file its standard error is in.
fn start_serving(
    net: &Net,
    dir: &std::path::Path,
    log: &std::path::Path,
    more: &[&str],
) -> Process {
    let mut command = inside(
        net,
        Side::A,
        &["serve", dir.to_str().unwrap(), "--on", DEVICE],
    );
    command.args(more);
    command.stderr(fs::File::create(log).unwrap());
    let process = Process::start(&mut command);
    wait_for("the server to serve", Duration::from_secs(10), || {
        fs::read_to_string(log).unwrap().contains("\nserving ")
    });
    process
}

/// Bytes that do not repeat soon.
fn content(len: u32) -> Vec<u8> {
    (0..len)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn signal(process: &Process, name: &str) {
    common::run("kill", &["-s", name, &process.id().to_string()]);
}

#[test]
#[ignore = "needs root"]
fn a_port_or_queue_in_use_is_an_error_and_the_first_user_goes_on() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    fs::write(dir.path().join("f"), "content").unwrap();
    // A kernel program has the port.
    let listener = net.enter(Side::A, || {
        std::net::TcpListener::bind("0.0.0.0:8080").unwrap()
    });
    fails(
        &mut inside(
            &net,
            Side::A,
            &["serve", path, "--on", DEVICE, "--port", "8080"],
        ),
        3,
        &["8080", "in use"],
    );
    drop(listener);
    let logs = tempfile::tempdir().unwrap();
    let served = start_serving(&net, dir.path(), &logs.path().join("log"), &[]);
    fails(
        &mut inside(
            &net,
            Side::A,
            &["serve", path, "--on", DEVICE, "--port", "81"],
        ),
        3,
        &[DEVICE, "XDP program"],
    );
    let url = format!("http://{}/f", Side::A.ipv4());
    assert_eq!(
        net.run(
            Side::B,
            "curl",
            &["-sS", "--fail", "--max-time", "10", &url]
        ),
        "content"
    );
    signal(&served, "TERM");
    let output = served.wait_with_output();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn serve_says_what_is_in_force_and_stops_in_order() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), vec![7; 100_000]).unwrap();
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let json = logs.path().join("json");
    let pcap = logs.path().join("x.pcapng");
    let mut command = inside(
        &net,
        Side::A,
        &[
            "serve",
            dir.path().to_str().unwrap(),
            "--on",
            DEVICE,
            "--stats",
            "json",
            "--pcap",
        ],
    );
    command.arg(&pcap);
    command.stderr(fs::File::create(&log).unwrap());
    command.stdout(fs::File::create(&json).unwrap());
    let served = Process::start(&mut command);
    wait_for("the server to serve", Duration::from_secs(10), || {
        fs::read_to_string(&log).unwrap().contains("\nserving ")
    });
    let said = fs::read_to_string(&log).unwrap();
    for part in [
        &format!("interface {DEVICE}, driver veth, 1 queue, MTU 1500\n"),
        "XDP native, 16384 frames of 2048 bytes",
        "engine 0: queue 0 (copy), core ",
        "10.77.0.1/24",
        "shared with the kernel",
        "on port 80, read-only",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let url = format!("http://{}/f", Side::A.ipv4());
    net.run(
        Side::B,
        "curl",
        &["-sS", "--fail", "--max-time", "10", "-o", "/dev/null", &url],
    );
    signal(&served, "INT");
    let output = served.wait_with_output();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        fs::read_to_string(&log).unwrap()
    );
    let lines = fs::read_to_string(&json).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["last"], true);
    assert!(
        last["total"]["tcp"]["bytes_acked"].as_u64().unwrap() >= 100_000,
        "{last}"
    );
    assert!(
        last["total"]["link"]["tx_frames"].as_u64().unwrap() >= 70,
        "{last}"
    );
    assert!(
        last["total"]["steering"]["redirected"].as_u64().unwrap() > 10,
        "{last}"
    );
    // Every frame is back: free, or ready for receiving.
    let frames = |owner: &str| last["total"]["frames"][owner].as_u64().unwrap();
    assert_eq!(frames("pool") + frames("fill"), frames("total"), "{last}");
    // pcapng begins with a section header block.
    assert_eq!(fs::read(&pcap).unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
}

#[test]
#[ignore = "needs root"]
fn files_go_both_ways_between_two_fullbores() {
    files_go_both_ways("http", "");
}

#[test]
#[ignore = "needs root"]
fn files_go_both_ways_between_two_fullbores_over_utp() {
    files_go_both_ways("utp", ":6881");
}

fn files_go_both_ways(scheme: &str, port: &str) {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let content = content(3_000_000);
    fs::write(dir.path().join("big"), &content).unwrap();
    let token = here.path().join("token");
    fs::write(&token, "correct-horse-battery\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let token = token.to_str().unwrap();
    let log = here.path().join("log");
    let served = start_serving(
        &net,
        dir.path(),
        &log,
        &["--writable", "--token-file", token, "--utp", "6881"],
    );
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        said.contains(" on port 80, uTP port 6881, writable"),
        "{said}"
    );
    let url = |name: &str| format!("{scheme}://{}{port}/{name}", Side::A.ipv4());
    let client = |args: &[&str]| {
        let mut command = inside(&net, Side::B, args);
        command.args(["--on", DEVICE]);
        command
    };

    let got = here.path().join("got");
    let got = got.to_str().unwrap();
    let output = client(&["get", &url("big"), "-o", got, "-j", "3"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("SHA-256 verified"),
        "{}",
        stderr(&output)
    );
    assert!(fs::read(got).unwrap() == content);

    let output = client(&["get", &url("big"), "-o", "-", "--quiet"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert!(output.stdout == content);
    let by_ipv6 = format!("{scheme}://[{}]{port}/big", Side::A.ipv6());
    let output = client(&["get", &by_ipv6, "-o", "-", "--quiet"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout == content);

    fails(&mut client(&["put", got, &url("up")]), 5, &["401"]);
    let output = client(&["put", got, &url("up"), "--token-file", token])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read(dir.path().join("up")).unwrap() == content);

    fails(&mut client(&["get", &url("none"), "-o", got]), 5, &["404"]);
    fails(
        &mut client(&["put", "/nonexistent", &url("x"), "--token-file", token]),
        7,
        &["nonexistent"],
    );
    signal(&served, "TERM");
    assert_eq!(served.wait_with_output().status.code(), Some(0));
}

/// The names in a directory.
fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs root"]
fn a_killed_server_leaves_a_working_interface_and_the_transfer_resumes() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let content = content(20_000_000);
    fs::write(dir.path().join("big"), &content).unwrap();
    let log = here.path().join("log");
    // Slow enough to be in the middle of something for a while.
    let slow = ["--fault", "rate=40Mbit"];
    let mut served = start_serving(&net, dir.path(), &log, &slow);
    let got = here.path().join("got");
    let url = format!("http://{}/big", Side::A.ipv4());
    let mut get = inside(
        &net,
        Side::B,
        &["get", &url, "--on", DEVICE, "-o", got.to_str().unwrap()],
    );
    let get = Process::start(get.stderr(Stdio::piped()));
    let part = here.path().join("got.part");
    wait_for("part of the file", Duration::from_secs(20), || {
        fs::metadata(&part).is_ok_and(|m| m.len() > 0)
    });
    // Some more, of which not all is known to be there.
    std::thread::sleep(Duration::from_millis(1500));
    served.kill();
    assert!(!got.exists());
    // The kernel has the interface at once.
    let address = (Side::A.ipv4(), 7000);
    let kernel = net.enter(Side::A, || std::net::TcpListener::bind(address).unwrap());
    net.enter(Side::B, || std::net::TcpStream::connect(address).unwrap());
    drop(kernel);

    let served = start_serving(&net, dir.path(), &log, &[]);
    let output = get.wait_with_output();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("SHA-256 verified"), "{said}");
    assert!(said.contains("lost on the way"), "{said}");
    assert!(fs::read(&got).unwrap() == content);
    assert_eq!(names(here.path()), ["got", "log"]);
    signal(&served, "TERM");
    assert_eq!(served.wait_with_output().status.code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn an_interrupted_upload_leaves_nothing() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let big = here.path().join("big");
    fs::write(&big, content(20_000_000)).unwrap();
    let log = here.path().join("log");
    for server_is_killed in [false, true] {
        let slow = ["--writable", "--fault", "rate=40Mbit"];
        let mut served = start_serving(&net, dir.path(), &log, &slow);
        let url = format!("http://{}/up", Side::A.ipv4());
        let mut put = inside(
            &net,
            Side::B,
            &["put", big.to_str().unwrap(), &url, "--on", DEVICE],
        );
        let put = Process::start(put.stderr(Stdio::piped()));
        std::thread::sleep(Duration::from_millis(1500));
        if server_is_killed {
            served.kill();
        }
        signal(&put, "INT");
        let output = put.wait_with_output();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("error: interrupted"), "{said}");
        if !server_is_killed {
            signal(&served, "TERM");
            assert_eq!(served.wait_with_output().status.code(), Some(0));
        }
        assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
    }
}

#[test]
#[ignore = "needs root"]
fn the_raw_limit_is_measured_across_namespaces() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let output = inside(
        &net,
        Side::B,
        &[
            "bench",
            "raw",
            "--tx",
            DEVICE,
            "--rx",
            DEVICE,
            "--rx-netns",
            net.namespace(Side::A),
        ],
    )
    .args(["--duration", "300ms", "--json"])
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        result["sent"]["frames"].as_u64().unwrap() > 1000,
        "{result}"
    );
    assert!(
        result["received"]["gbps"].as_f64().unwrap() > 0.0,
        "{result}"
    );
    fails(
        &mut inside(
            &net,
            Side::B,
            &[
                "bench",
                "raw",
                "--tx",
                DEVICE,
                "--rx",
                DEVICE,
                "--rx-netns",
                "no-such-namespace",
            ],
        ),
        3,
        &["no-such-namespace", "ip netns"],
    );
}
