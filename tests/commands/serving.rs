//! What is in force, who has a port, and how the server stops.

use super::*;

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
