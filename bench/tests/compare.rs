//! The comparison runs to its end in its quick mode, and leaves nothing
//! behind when it is killed.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_compare");

/// Whether to go on: without root only if leaving tests out was asked for.
fn require_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    let may_skip = std::env::var("FULLBORE_ALLOW_SKIP").is_ok_and(|v| v == "1");
    assert!(
        root || may_skip,
        "needs root for network namespaces and AF_XDP; \
         FULLBORE_ALLOW_SKIP=1 leaves such tests out"
    );
    root
}

/// Processes that carry the mark of the comparison `id`.
fn children(id: u32) -> Vec<String> {
    let mark = format!("FULLBORE_COMPARE={id}\0");
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let environment = read(&path.join("environ"));
            environment
                .windows(mark.len())
                .any(|w| w == mark.as_bytes())
        })
        .map(|path| String::from_utf8_lossy(&read(&path.join("cmdline"))).replace('\0', " "))
        .collect()
}

#[test]
#[ignore = "needs root, and a veth pair between namespaces of its own"]
fn everybody_is_measured_in_turn() {
    if !require_root() {
        return;
    }
    let run = Command::new(PROGRAM)
        .args(["--quick", "--json", "--seconds", "0.2", "--file", "4"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for (group, count, figure) in [
        ("stream", 7, "goodput"),
        ("utp", 3, "processor, s/GB"),
        ("rr", 5, "p99"),
        ("crr", 4, "connections"),
        ("transfer", 5, "goodput"),
        ("memory", 6, "cost"),
    ] {
        let rows: Vec<_> = rows.iter().filter(|row| row["group"] == group).collect();
        assert_eq!(rows.len(), count, "{report:#}");
        for row in rows {
            // nginx need not be there.
            if row["missing"].is_null() {
                assert!(row["figures"][figure]["median"].is_f64(), "{row:#}");
            }
        }
    }
    let interface = report["conditions"]["interface"].as_str().unwrap();
    assert!(interface.contains("veth"), "{interface}");
}

#[test]
#[ignore = "needs root, and a veth pair between namespaces of its own"]
fn who_is_killed_takes_everything_along() {
    if !require_root() {
        return;
    }
    let mut comparison = Command::new(PROGRAM)
        .args(["--only", "stream", "--seconds", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = comparison.stderr.take().unwrap();
    let id = comparison.id();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !done() && begin.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        done().then_some(()).ok_or_else(|| what.to_owned())
    };
    let started = wait("no measurement began", &|| {
        children(id)
            .iter()
            .any(|line| line.starts_with("fullbore bench"))
    });
    comparison.kill().unwrap();
    comparison.wait().unwrap();
    let ended = wait("a process is left", &|| children(id).is_empty());
    let mut said = String::new();
    let _ = stderr.read_to_string(&mut said);
    assert_eq!((started, ended), (Ok(()), Ok(())), "{said}");
}
