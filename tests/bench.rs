//! `fullbore bench` on pairs that it makes, and on interfaces that are there.

#[path = "common/mod.rs"]
mod common;

use common::program::{PROGRAM, Run};
use common::{DEVICE, Net, Options, Side, require_root};
use serde_json::Value;
use std::process::{Command, Stdio};

fn bench(args: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("bench").args(args.split_whitespace());
    command.stdin(Stdio::null());
    command
}

fn report(args: &str) -> Value {
    let run = Run::of(bench(args).arg("--json")).succeeded();
    serde_json::from_slice(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:?}"))
}

/// The figure whose name begins with `name`.
fn figure(report: &Value, name: &str) -> f64 {
    report["figures"]
        .as_array()
        .and_then(|figures| {
            figures
                .iter()
                .find(|f| f["name"].as_str().is_some_and(|n| n.starts_with(name)))
        })
        .and_then(|figure| figure["value"].as_f64())
        .unwrap_or_else(|| panic!("no figure {name}: {report}"))
}

fn condition<'a>(report: &'a Value, name: &str) -> &'a str {
    report["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c[0] == name))
        .and_then(|c| c[1].as_str())
        .unwrap_or_else(|| panic!("no condition {name}: {report}"))
}

#[test]
#[ignore = "needs root"]
fn every_measurement_on_a_pair_of_its_own_has_figures_and_conditions() {
    if !require_root() {
        return;
    }
    let ceiling = report("ceiling --veth --duration 300ms");
    assert!(figure(&ceiling, "payload") > 0.0);

    let stream = report("stream --veth --duration 500ms --warm-up 200ms --direction both");
    assert!(figure(&stream, "goodput, client to server") > 0.0);
    assert!(figure(&stream, "goodput, server to client") > 0.0);
    assert!(condition(&stream, "client").contains("veth"));
    assert_eq!(condition(&stream, "MTU"), "1500 bytes");
    let points = stream["plots"][0]["series"][0]["points"].as_array();
    assert!(points.is_some_and(|p| !p.is_empty()), "{stream}");

    let rr = report("rr --veth --duration 500ms --connections 3");
    let (p50, p99) = (figure(&rr, "latency p50"), figure(&rr, "latency p99"));
    assert!(0.0 < p50 && p50 <= p99, "{rr}");

    let crr = report("crr --veth --duration 500ms --concurrency 8");
    assert!(figure(&crr, "connections") > 0.0);
    assert_eq!(figure(&crr, "connections that failed"), 0.0, "{crr}");
}

#[test]
#[ignore = "needs root"]
fn several_engines_each_have_a_queue_and_their_part() {
    if !require_root() {
        return;
    }
    // Each engine has one connection: with one silent it would not begin.
    let stream = report("stream --veth --engines 3 --connections 3 --duration 500ms");
    assert!(figure(&stream, "goodput, client to server") > 0.0);
    assert_eq!(condition(&stream, "engines"), "3 at each end");
    let crr = report("crr --veth --engines 2 --duration 500ms --concurrency 3");
    assert!(figure(&crr, "connections") > 0.0);
    assert_eq!(figure(&crr, "connections that failed"), 0.0, "{crr}");
}

#[test]
#[ignore = "needs root"]
fn an_open_loop_times_requests_from_when_they_were_due() {
    if !require_root() {
        return;
    }
    let rr = report("rr --veth --duration 500ms --rate 2000 --fault delay=5ms");
    // Each takes longer than the time between two: a closed loop of one
    // connection could not send as many.
    assert!(figure(&rr, "latency p50") >= 5000.0, "{rr}");
    assert!(figure(&rr, "answers") > 500.0, "{rr}");
    assert!(figure(&rr, "requests left late") >= 0.0);
}

#[test]
#[ignore = "needs root"]
fn loss_is_measured_at_each_point_and_a_page_is_written() {
    if !require_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("loss.html");
    let args = "loss --veth --duration 300ms --rates 0,2 --round-trips 2,10 --json --html";
    let run = Run::of(bench(args).arg(&page)).succeeded();
    let loss: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(loss["figures"].as_array().map(Vec::len), Some(4), "{loss}");
    assert!(figure(&loss, "loss 0 %, round trip 2 ms") > 0.0);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg"));
}

#[test]
fn idle_connections_are_counted_without_an_interface() {
    let many = report("many --connections 2000 --exchanges 1000");
    for at_once in ["one exchange", "64 exchanges"] {
        let name = format!("a packet, 2000 connections, {at_once} at a time");
        assert!(figure(&many, &name) > 0.0);
    }
    assert!(figure(&many, "memory of an idle connection, each end") > 0.0);
    assert!(figure(&many, "connections opened") > 0.0);
}

#[test]
#[ignore = "needs root"]
fn the_trio_works_on_interfaces_that_are_there() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    // What is received is what the sender sent, and nothing of the kernel's.
    net.silence(Side::A);
    let run = |side, args: &str| {
        let mut command = net.command(side, PROGRAM);
        command.arg("bench").args(args.split_whitespace());
        command.arg("--json").stdin(Stdio::null());
        command
    };
    let mut receiver = run(Side::B, &format!("rx-drop --on {DEVICE} --duration 60s"));
    receiver.stdout(Stdio::piped());
    let receiver = common::Process::start(&mut receiver);
    common::wait_for("the receiver", std::time::Duration::from_secs(10), || {
        common::program::attached(&net, Side::B)
    });
    let sent = Run::of(&mut run(
        Side::A,
        &format!("tx-only --on {DEVICE} --duration 500ms --frame 64"),
    ))
    .succeeded();
    let sent: Value = serde_json::from_slice(&sent.stdout).unwrap();
    common::program::signal(&receiver, rustix::process::Signal::INT);
    let received = Run::from(receiver.wait_with_output()).succeeded();
    let received: Value = serde_json::from_slice(&received.stdout).unwrap();
    let (sent, got) = (
        figure(&sent, "frames sent"),
        figure(&received, "frames received"),
    );
    assert!(got > 0.0 && got <= sent, "{got} of {sent}");
}

#[test]
fn ends_that_are_not_named_or_not_there_are_told() {
    Run::of(&mut bench("stream")).failed(2, &["--veth"]);
    Run::of(&mut bench("stream --veth --a lo --b lo")).failed(2, &["--veth", "--a"]);
    Run::of(&mut bench("stream --a fb-none0 --b fb-none1")).failed(3, &["fb-none"]);
    Run::of(&mut bench("rr --a lo --b fb-none1 --b-netns fb-none")).failed(3, &["fb-none"]);
}
