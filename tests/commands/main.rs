//! The program itself: what it prints and how it ends, above all when it is
//! used wrongly.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod serving;

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

fn signal(process: &Process, name: &str) {
    common::run("kill", &["-s", name, &process.id().to_string()]);
}

/// Bytes that do not repeat soon.
fn content(len: u32) -> Vec<u8> {
    (0..len)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
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
