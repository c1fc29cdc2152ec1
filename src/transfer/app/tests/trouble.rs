//! What breaks, refuses or is full.

use super::*;

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
