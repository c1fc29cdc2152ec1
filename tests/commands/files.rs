//! Files that go both ways, and what is left when something ends.

use super::*;

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
        stderr(&output).contains("BLAKE3 verified"),
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
    assert!(said.contains("BLAKE3 verified"), "{said}");
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
