//! What the device and the machine offer, and a process that is killed.

use super::*;

#[test]
#[ignore = "needs root"]
fn forced_zero_copy_on_a_veth_is_refused_with_the_reason() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let forced = LinkOptions {
        bind: BindMode::ZeroCopy,
        ..LinkOptions::default()
    };
    for (mode, reason) in [
        (AttachMode::Native, "no zero-copy support"),
        (AttachMode::Generic, "in generic"),
    ] {
        let steering = attach(&net, Side::A, SteeringOptions { mode, ..take_all() });
        let error = End::open(&net, Side::A, &steering, 0, forced)
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(matches!(error, XdpError::BindRefused { .. }), "{text}");
        assert!(text.contains("veth") && text.contains(reason), "{text}");
        // Nothing is left behind.
        End::open(&net, Side::A, &steering, 0, LinkOptions::default())
            .unwrap()
            .close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_device_that_goes_away_is_noticed() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = attach(&net, Side::A, take_all());
    let mut end = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    end.link.health().unwrap();
    net.run(Side::B, "ip", &["link", "del", DEVICE]);
    let error = end.link.health().unwrap_err().to_string();
    assert!(error.contains(DEVICE) && error.contains("gone"), "{error}");
    // Sending to it neither hangs nor loses a frame from the ledger.
    let start = Instant::now();
    end.send(&[0xff; 60]);
    end.link
        .wait(Duration::from_millis(10), &[])
        .unwrap_or_default();
    assert!(
        !end.link.drain(&mut end.pool, 2 * SECOND),
        "nobody can complete it"
    );
    assert!(start.elapsed() < SECOND);
    let total = end.pool.ledger().total();
    end.link.close(&mut end.pool);
    assert_eq!(end.pool.ledger().pool, total);
}

#[test]
#[ignore = "needs root"]
fn a_device_that_is_down_for_a_while_is_not_gone() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = attach(&net, Side::A, take_all());
    let mut end = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    net.run(Side::A, "ip", &["link", "set", DEVICE, "down"]);
    end.send(&[0xff; 60]);
    assert!(end.link.counters().device_errors > 0);
    end.link.health().unwrap();
    net.run(Side::A, "ip", &["link", "set", DEVICE, "up"]);
    assert!(end.link.drain(&mut end.pool, 2 * SECOND));
    end.close();
}

#[test]
#[ignore = "needs root"]
fn required_huge_pages_that_are_missing_are_an_error() {
    if !require_root() {
        return;
    }
    // More than a machine for tests reserves.
    let options = UmemOptions {
        chunks: 4 << 20,
        huge_pages: HugePages::Require,
        ..UmemOptions::default()
    };
    let error = Umem::new(&options).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, XdpError::HugePages { .. }), "{text}");
    assert!(
        text.contains("8192 MiB") && text.contains("vm.nr_hugepages"),
        "{text}"
    );
    let (umem, _pool) = Umem::new(&MEMORY).unwrap();
    assert!(!umem.huge_pages());
}

const HOLDER: &str = "FULLBORE_TEST_HOLDER";

/// Not a test: the process that `killed_process_leaves_nothing` kills.
#[test]
#[ignore = "needs root"]
fn holder_process() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let steering = Steering::attach(
        &Interface::read(DEVICE).unwrap(),
        SteeringOptions::default(),
    )
    .unwrap();
    steering.claim(Protocol::Tcp, 22, None).unwrap();
    let (umem, mut pool) = Umem::new(&MEMORY).unwrap();
    let options = LinkOptions::default();
    let _link = XdpLink::open(&Arc::new(umem), &mut pool, &steering, 0, &options).unwrap();
    // Straight to the pipe: the harness captures `println!`.
    std::io::stdout().write_all(b"\nready\n").unwrap();
    std::io::stdout().flush().unwrap();
    std::thread::sleep(60 * SECOND);
}

#[test]
#[ignore = "needs root"]
fn killed_process_leaves_nothing() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let binary = std::env::current_exe().unwrap();
    let mut command = net.command(Side::A, binary.to_str().unwrap());
    command
        .args([
            "--exact",
            "surroundings::holder_process",
            "--include-ignored",
            "--nocapture",
        ])
        .env(HOLDER, "1")
        .stdout(Stdio::piped());
    let mut holder = common::Process::start(&mut command);
    let mut stdout = holder.child().stdout.take().unwrap();
    let mut said = String::new();
    while !said.contains("\nready\n") {
        let mut buffer = [0; 256];
        let n = stdout.read(&mut buffer).unwrap();
        assert!(n > 0, "the holder ended: {said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    let interface = net.enter(Side::A, || Interface::read(DEVICE).unwrap());
    let attached = || net.enter(Side::A, || interface.attached_program().unwrap());
    assert!(attached().is_some());
    let listener = net.enter(Side::A, || TcpListener::bind((Side::A.ipv4(), 22)).unwrap());
    let connect = || {
        net.enter(Side::B, || {
            TcpStream::connect_timeout(&(Side::A.ipv4(), 22).into(), Duration::from_millis(500))
        })
    };
    connect().unwrap_err();

    holder.kill();
    wait_for("the program to go", SECOND, || attached().is_none());
    connect().unwrap();
    drop(listener);
    let steering = attach(&net, Side::A, take_all());
    End::open(&net, Side::A, &steering, 0, LinkOptions::default())
        .unwrap()
        .close();
}
