//! Interfaces, drivers and local files that cannot be used.

use super::*;

// -- surroundings --------------------------------------------------------------
#[test]
#[ignore = "needs root"]
fn an_interface_that_cannot_be_used_is_named() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let check = |run: Run, code, words: &[&str]| {
        run.failed(code, words);
        detached(&net, Side::A);
    };
    let none = plain(&["serve", dir.path().to_str().unwrap(), "--on", "nosuch0"]);
    none.failed(3, &["nosuch0", "no interface", "ip link"]);
    check(
        serve(&net, &["--queues", "5"]),
        3,
        &[DEVICE, "queue 5", "1 queue"],
    );
    check(
        serve(&net, &["--bind", "zero-copy"]),
        3,
        &[DEVICE, "veth", "zero-copy"],
    );
    check(
        serve(&net, &["--mtu", "1600"]),
        3,
        &[DEVICE, "1600", "1500"],
    );
    let pcap = dir.path().join("none/x.pcap");
    let pcap = pcap.to_str().unwrap();
    check(serve(&net, &["--pcap", pcap]), 1, &[pcap, "No such file"]);

    // Without any right.
    let mut command = net.command(Side::A, "setpriv");
    command.args([
        "--reuid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        PROGRAM,
    ]);
    command.args(["serve", "/", "--on", DEVICE]);
    check(
        Run::of(&mut command),
        3,
        &["not permitted", "root", "CAP_NET_ADMIN"],
    );

    // Huge pages that are not there: none are reserved in these namespaces'
    // kernel unless somebody did.
    if std::fs::read_to_string("/proc/sys/vm/nr_hugepages")
        .unwrap()
        .trim()
        == "0"
    {
        check(
            serve(&net, &["--huge-pages", "require"]),
            3,
            &["huge pages", "nr_hugepages", "MiB"],
        );
    }

    // Somebody has a listener on the port.
    let listener = net.enter(Side::A, || TcpListener::bind("0.0.0.0:80").unwrap());
    check(serve(&net, &[]), 3, &["port 80", "use"]);
    drop(listener);

    // Two of ours on one interface.
    let first = Serving::start(&net, dir.path(), &[]);
    serve(&net, &["--port", "81"]).failed(3, &[DEVICE, "already"]);
    assert!(attached(&net, Side::A), "the first is undisturbed");
    first.finish(&net);

    net.run(Side::A, "ip", &["address", "flush", "dev", DEVICE]);
    check(serve(&net, &[]), 3, &[DEVICE, "no address", "--address"]);
    net.run(Side::A, "ip", &["link", "set", DEVICE, "down"]);
    check(serve(&net, &[]), 3, &[DEVICE, "down", "ip link set"]);
}

#[test]
#[ignore = "needs root"]
fn forced_native_is_refused_where_the_driver_cannot() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    // The loopback driver has no XDP of its own.
    net.run(Side::A, "ip", &["link", "set", "lo", "mtu", "1500"]);
    let mut command = net.command(Side::A, PROGRAM);
    command.args(["serve", dir.path().to_str().unwrap(), "--on", "lo"]);
    command.args(["--attach", "native"]);
    Run::of(&mut command).failed(3, &["interface lo", "native"]);
    let link = net.run(Side::A, "ip", &["link", "show", "dev", "lo"]);
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
#[ignore = "needs root"]
fn local_files_that_cannot_be_used_are_named() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"content").unwrap();
    let server = Serving::start(&net, dir.path(), &["--writable"]);
    let none = dir.path().join("none");
    let none = none.to_str().unwrap();
    let ours = |verb, args: &[&str]| Run::of(fullbore(&net, Side::B, verb).args(args));
    let inside = format!("{none}/file");
    ours("serve", &[none]).failed(7, &[none, "No such file"]);
    let file = dir.path().join("file");
    let file = file.to_str().unwrap();
    ours("serve", &[file]).failed(7, &[file, "directory"]);
    ours("serve", &[".", "--writable", "--token-file", none])
        .failed(7, &[none, "token", "No such file"]);
    ours("serve", &[".", "--writable", "--token-file", file]).failed(7, &[file, "16 to 1024"]);
    ours("get", &[&url("file"), "--token-file", none]).failed(7, &[none, "token"]);
    ours("get", &[&url("file"), "-o", &inside]).failed(7, &[&inside, "cannot write"]);
    let directory = dir.path().to_str().unwrap();
    ours("get", &[&url("file"), "-o", directory]).failed(7, &[directory, "is a directory"]);
    ours("get", &[&url("file"), "-o", "-", "--config", none]).failed(2, &[none, "cannot be read"]);
    ours("put", &[none, &url("x")]).failed(7, &[none, "No such file"]);
    ours("put", &[directory, &url("x")]).failed(7, &[directory, "directory"]);
    // A full device: what is written there fails late.
    let mut command = fullbore(&net, Side::B, "get");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    command
        .args([&url("file"), "-o", "-"])
        .stdout(full)
        .stderr(Stdio::piped());
    let run = Run::from(command.spawn().unwrap().wait_with_output().unwrap());
    run.failed(7, &["standard output", "space"]);
    detached(&net, Side::B);
    server.finish(&net);
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_insufficient_storage() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let mount = Tmpfs::new("size=1m");
    let server = Serving::start(&net, mount.0.path(), &["--writable"]);
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("big");
    std::fs::write(&file, content(2 << 20, 3)).unwrap();
    let mut command = fullbore(&net, Side::B, "put");
    command.arg(&file).arg(url("big"));
    Run::of(&mut command).failed(5, &["507 Insufficient Storage", "space"]);
    // Without a length it is only found out on the way.
    let mut command = fullbore(&net, Side::B, "put");
    command
        .arg("-")
        .arg(url("big"))
        .stdin(std::fs::File::open(&file).unwrap());
    Run::of(&mut command).failed(5, &["507 Insufficient Storage", "space"]);
    assert_eq!(std::fs::read_dir(mount.0.path()).unwrap().count(), 0);
    // The space is free again.
    std::fs::write(&file, content(700 << 10, 4)).unwrap();
    let mut command = fullbore(&net, Side::B, "put");
    command.arg(&file).arg(url("fits"));
    Run::of(&mut command).succeeded();
    server.finish(&net);
}

/// A small file system.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", options, "fullbore-test", at],
        );
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .output();
    }
}

#[test]
#[ignore = "needs root"]
fn a_socket_in_the_way_is_named() {
    if !require_root() {
        return;
    }
    // The queue is held by an AF_XDP socket that brought no program.
    let net = Net::pair(Options::default());
    let steering = common::ends::attach(&net, Side::A, Default::default());
    let end = common::ends::End::open(&net, Side::A, &steering, 0, Default::default()).unwrap();
    serve(&net, &[]).failed(3, &[DEVICE, "already has an XDP program", "xdp off"]);
    drop(steering);
    end.close();
    detached(&net, Side::A);
    let dir = tempfile::tempdir().unwrap();
    Serving::start(&net, dir.path(), &[]).finish(&net);
}
