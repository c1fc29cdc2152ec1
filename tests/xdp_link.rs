//! AF_XDP sockets in the real kernel, on a veth pair.

mod common;

use common::ends::{End, Frames, MEMORY, attach};
use common::{DEVICE, Net, Options, Side, require_root, wait_for};
use fullbore::link::Link;
use fullbore::xdp::{
    AttachMode, BindMode, HugePages, Interface, LinkOptions, Protocol, Steering, SteeringOptions,
    Umem, UmemOptions, XdpError, XdpLink,
};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn take_all() -> SteeringOptions {
    SteeringOptions {
        take_all: true,
        ..SteeringOptions::default()
    }
}

/// Turns a UDP frame round: its checksum stays right.
fn turn_round(frame: &mut [u8]) {
    let swap = |frame: &mut [u8], a: usize, b: usize, n: usize| {
        for i in 0..n {
            frame.swap(a + i, b + i);
        }
    };
    swap(frame, 0, 6, 6);
    swap(frame, 26, 30, 4);
    swap(frame, 34, 36, 2);
}

#[test]
#[ignore = "needs root"]
fn echoes_to_a_kernel_socket_and_accounts_for_every_frame() {
    if !require_root() {
        return;
    }
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let net = Net::pair(Options::default());
        let steering = attach(
            &net,
            Side::A,
            SteeringOptions {
                mode,
                ..Default::default()
            },
        );
        steering
            .claim(Protocol::Udp, 7, Some(Side::A.ip()))
            .unwrap();
        let mut end = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
        assert!(!end.link.zero_copy());
        let client = net.enter(Side::B, || UdpSocket::bind((Side::B.ipv4(), 0)).unwrap());
        client.connect((Side::A.ipv4(), 7)).unwrap();
        client.set_read_timeout(Some(3 * SECOND)).unwrap();

        const COUNT: u64 = 2000;
        let asker = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            for i in 0..COUNT {
                let text = vec![i as u8; 1 + (i as usize * 7) % 1400];
                client.send(&text).unwrap();
                let n = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], text, "datagram {i}");
            }
        });
        let (mut packets, mut queue) = (Vec::new(), VecDeque::new());
        while !asker.is_finished() {
            if end.receive(&mut packets) == 0 {
                end.link.wait(Duration::from_millis(50), &[]).unwrap();
            }
            for mut packet in packets.drain(..) {
                turn_round(end.pool.bytes_mut(&mut packet));
                queue.push_back(end.pool.transmit(packet));
            }
            end.transmit(&mut queue);
        }
        asker.join().unwrap();
        assert!(end.link.drain(&mut end.pool, SECOND));
        let moved = *end.link.counters();
        assert_eq!(
            (moved.rx_frames, moved.tx_frames, moved.tx_completed),
            (COUNT, COUNT, COUNT)
        );
        assert_eq!((moved.device_errors, moved.rx_oversize), (0, 0));
        assert_eq!(moved.rx_bytes, moved.tx_bytes);
        assert_eq!(steering.counters().unwrap().redirected, COUNT);
        let kernel = end.link.kernel_counters().unwrap();
        assert_eq!(
            (kernel.rx_dropped, kernel.tx_invalid_descs),
            (0, 0),
            "{kernel:?}"
        );
        let ledger = end.pool.ledger();
        assert_eq!(ledger.outstanding(), 0, "{ledger}");
        assert_eq!(ledger.total(), MEMORY.chunks);
        end.close();
    }
}

#[test]
#[ignore = "needs root"]
fn kernel_tcp_on_another_port_goes_on_beside_a_busy_socket() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = attach(&net, Side::A, SteeringOptions::default());
    steering
        .claim(Protocol::Tcp, 80, Some(Side::A.ip()))
        .unwrap();
    let mut end = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    let listener = net.enter(Side::A, || TcpListener::bind((Side::A.ipv4(), 22)).unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    // Meanwhile somebody knocks at the claimed port: the kernel must not reset it.
    let knock = net.spawn_thread(Side::B, || {
        TcpStream::connect_timeout(&(Side::A.ipv4(), 80).into(), 2 * SECOND)
            .unwrap_err()
            .kind()
    });
    let session = net.spawn_thread(Side::B, || {
        let mut stream = TcpStream::connect((Side::A.ipv4(), 22)).unwrap();
        let text: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        stream.write_all(&text).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == text);
    });
    let mut syns = 0;
    while !knock.is_finished() {
        for frame in end.frames(Duration::from_millis(50)) {
            assert_eq!(u16::from_be_bytes([frame[36], frame[37]]), 80);
            syns += 1;
        }
    }
    assert_eq!(knock.join().unwrap(), std::io::ErrorKind::TimedOut);
    session.join().unwrap();
    server.join().unwrap();
    assert!(syns >= 1);
    let counts = steering.counters().unwrap();
    assert_eq!(counts.redirected, syns, "{counts:?}");
    assert!(counts.passed_not_ours > 50, "{counts:?}");
    end.close();
}

#[test]
#[ignore = "needs root"]
fn a_small_ring_that_fills_up_loses_nothing() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steerings = [Side::A, Side::B].map(|side| attach(&net, side, Default::default()));
    steerings[1].claim(Protocol::Udp, 2, None).unwrap();
    let small = LinkOptions {
        tx_ring: 64,
        ..LinkOptions::default()
    };
    let mut a = End::open(&net, Side::A, &steerings[0], 0, small).unwrap();
    let mut b = End::open(&net, Side::B, &steerings[1], 0, LinkOptions::default()).unwrap();
    let frames = Frames::new(&net, Side::A);
    let (mut queue, mut packets) = (VecDeque::new(), Vec::new());
    let mut received = 0u32;
    for round in 0..20u32 {
        for i in 0..400u32 {
            let number = (round * 400 + i).to_be_bytes();
            let packet = a.packet(&frames.udp(Side::B.ip(), 1, 2, &number));
            queue.push_back(a.pool.transmit(packet));
        }
        let deadline = Instant::now() + 5 * SECOND;
        while received < (round + 1) * 400 {
            assert!(
                Instant::now() < deadline,
                "{:?} {:?}",
                a.link.counters(),
                b.pool
            );
            a.transmit(&mut queue);
            b.receive(&mut packets);
            for packet in packets.drain(..) {
                let bytes = b.pool.bytes(&packet);
                assert_eq!(bytes[42..46], received.to_be_bytes(), "order");
                received += 1;
                b.pool.free(packet);
            }
        }
        assert!(queue.is_empty());
    }
    assert!(
        a.link.counters().tx_ring_full > 0,
        "{:?}",
        a.link.counters()
    );
    a.close();
    b.close();
}

#[test]
#[ignore = "needs root"]
fn a_pool_that_runs_dry_starves_the_fill_ring_and_recovers() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steerings = [Side::A, Side::B].map(|side| attach(&net, side, take_all()));
    let mut a = End::open(&net, Side::A, &steerings[0], 0, LinkOptions::default()).unwrap();
    let mut b = End::open(&net, Side::B, &steerings[1], 0, LinkOptions::default()).unwrap();
    let frame = Frames::new(&net, Side::A).udp(Side::B.ip(), 1, 2, &[7; 1000]);
    let mut kept = Vec::new();
    while b.pool.available() > 0 || b.link.counters().fill_starved == 0 {
        for _ in 0..32 {
            a.send(&frame);
        }
        b.receive(&mut kept);
    }
    let ledger = b.pool.ledger();
    assert_eq!(
        ledger.pool + ledger.fill + ledger.engine,
        MEMORY.chunks,
        "{ledger}"
    );
    for packet in kept.drain(..) {
        b.pool.free(packet);
    }
    b.receive(&mut kept);
    a.send(&frame);
    wait_for("a frame after the drought", SECOND, || {
        b.receive(&mut kept) > 0
    });
    for packet in kept {
        b.pool.free(packet);
    }
    a.close();
    b.close();
}

#[test]
#[ignore = "needs root"]
fn frames_that_the_kernel_would_swallow_are_not_sent() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = attach(&net, Side::A, take_all());
    let mut end = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    end.send(&[]);
    end.send(&[0; 13]);
    assert_eq!(end.link.counters().device_errors, 2);
    assert_eq!(end.link.kernel_counters().unwrap().tx_invalid_descs, 0);
    // One that begins elsewhere in its chunk is moved.
    for start in [100u16, 300] {
        let mut packet = end.pool.alloc().unwrap();
        packet.set_range(start, 60);
        end.pool.bytes_mut(&mut packet).fill(0xff);
        let mut queue = VecDeque::from([end.pool.transmit(packet)]);
        end.transmit(&mut queue);
    }
    assert!(end.link.drain(&mut end.pool, SECOND));
    assert_eq!(end.link.counters().tx_completed, 2);
    end.close();
}

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
fn a_queue_is_taken_until_it_is_closed() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = attach(&net, Side::A, take_all());
    let options = LinkOptions {
        queue_wait: Duration::from_millis(200),
        ..LinkOptions::default()
    };
    let first = End::open(&net, Side::A, &steering, 0, options).unwrap();
    let error = End::open(&net, Side::A, &steering, 0, options)
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        matches!(error, XdpError::QueueTaken { queue: 0, .. }),
        "{text}"
    );
    assert!(text.contains(DEVICE) && text.contains("queue 0"), "{text}");
    // A closed link frees its queue though its memory lives on.
    let pool = first.close();
    let second = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    // So does one that is merely dropped.
    drop(second.link);
    let third = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    third.close();
    drop((pool, second.pool));
    let error = End::open(&net, Side::A, &steering, 1, options)
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            XdpError::NoSuchQueue {
                queue: 1,
                queues: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
#[ignore = "needs root"]
fn two_queues_have_two_sockets_and_flows_on_both() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options {
        queues: 2,
        ..Options::default()
    });
    let steering = attach(&net, Side::A, SteeringOptions::default());
    steering
        .claim(Protocol::Udp, 9, Some(Side::A.ip()))
        .unwrap();
    assert_eq!(steering.unserved_queues(), [0, 1]);
    let mut ends: Vec<End> = (0..2)
        .map(|queue| End::open(&net, Side::A, &steering, queue, LinkOptions::default()).unwrap())
        .collect();
    assert_eq!(steering.unserved_queues(), [0u32; 0]);
    let sent = 200u64;
    net.enter(Side::B, || {
        for _ in 0..sent {
            let socket = UdpSocket::bind((Side::B.ipv4(), 0)).unwrap();
            socket.send_to(b"x", (Side::A.ipv4(), 9)).unwrap();
        }
    });
    let mut flows = [0, 0];
    wait_for("all datagrams", 3 * SECOND, || {
        for (queue, end) in ends.iter_mut().enumerate() {
            flows[queue] += end.frames(Duration::ZERO).len() as u64;
        }
        flows[0] + flows[1] == sent
    });
    assert!(flows[0] > 0 && flows[1] > 0, "{flows:?}");
    ends.into_iter().for_each(|end| drop(end.close()));
}

#[test]
#[ignore = "needs root"]
fn two_sockets_share_one_memory() {
    if !require_root() {
        return;
    }
    two_sockets_close_in_order(true);
    two_sockets_close_in_order(false);
}

fn two_sockets_close_in_order(first_goes_first: bool) {
    let net = Net::pair(Options {
        queues: 2,
        ..Options::default()
    });
    let steering = attach(&net, Side::A, take_all());
    let (umem, mut pool) = net.enter(Side::A, || Umem::new(&MEMORY)).unwrap();
    let umem = Arc::new(umem);
    let options = LinkOptions {
        fill: Some(128),
        ..LinkOptions::default()
    };
    let links = [0, 1].map(|queue| {
        net.enter(Side::A, || {
            XdpLink::open(&umem, &mut pool, &steering, queue, &options)
        })
        .unwrap()
    });
    assert_eq!(pool.ledger().fill, 256);
    let [first, second] = links;
    assert_eq!((first.queue(), second.queue()), (0, 1));
    if first_goes_first {
        first.close(&mut pool);
        assert_eq!(pool.ledger().fill, 256, "they come back with the last");
        second.close(&mut pool);
    } else {
        second.close(&mut pool);
        assert_eq!(pool.ledger().fill, 128, "only its own come back");
        first.close(&mut pool);
    }
    assert_eq!(pool.ledger().pool, MEMORY.chunks);
    assert_eq!(steering.unserved_queues(), [0, 1]);
    let again = net.enter(Side::A, || {
        XdpLink::open(&umem, &mut pool, &steering, 0, &options)
    });
    assert!(again.unwrap_err().to_string().contains("new memory"));
    // Both queues are free again.
    for queue in [0, 1] {
        End::open(&net, Side::A, &steering, queue, LinkOptions::default())
            .unwrap()
            .close();
    }
}

#[test]
#[ignore = "needs root"]
fn frames_that_are_longer_than_a_chunk_take_several() {
    if !require_root() {
        return;
    }
    for mtu in [6000, 9000, 65_535] {
        let net = Net::pair(Options {
            mtu,
            ..Options::default()
        });
        let steering = attach(&net, Side::A, SteeringOptions::default());
        steering.claim(Protocol::Udp, 9, None).unwrap();
        let mut end = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
        assert!(end.link.chains());
        let sender = net.enter(Side::B, || UdpSocket::bind((Side::B.ipv4(), 0)).unwrap());
        let most = usize::try_from(mtu).unwrap() - 28;
        let sent = [5000, 100, most, 200, 1751, most - 1];
        let payload: Vec<u8> = (0..most).map(|n| (n / 3) as u8).collect();
        for length in sent {
            sender
                .send_to(&payload[..length], (Side::A.ipv4(), 9))
                .unwrap();
        }
        let mut frames = Vec::new();
        wait_for("all of them", SECOND, || {
            frames.extend(end.frames(Duration::ZERO));
            frames.len() >= sent.len()
        });
        for (frame, length) in frames.iter().zip(sent) {
            assert_eq!(frame[42..], payload[..length], "MTU {mtu}");
        }
        let counters = *end.link.counters();
        assert_eq!((counters.rx_frames, counters.rx_oversize), (6, 0));

        // The same back, in parts that begin somewhere in their chunks.
        let port = sender.local_addr().unwrap().port();
        let parts_of = |length: usize| (length + 42).div_ceil(1700);
        for length in [3000, most.min(17 * 1700 - 42), 10] {
            let bytes = datagram(&net, 9, port, &payload[..length]);
            let mut queue = VecDeque::new();
            for (n, part) in bytes.chunks(1700).enumerate() {
                let mut packet = end.pool.alloc().unwrap();
                packet.set_range(200 + n as u16 % 2, part.len() as u16);
                packet.set_continues(n + 1 < parts_of(length));
                end.pool.bytes_mut(&mut packet).copy_from_slice(part);
                queue.push_back(end.pool.transmit(packet));
            }
            end.transmit(&mut queue);
            assert!(queue.is_empty());
            let mut got = vec![0; 70_000];
            sender.set_read_timeout(Some(SECOND)).unwrap();
            let n = sender.recv(&mut got).unwrap();
            assert_eq!(got[..n], payload[..length], "MTU {mtu}");
        }
        assert_eq!(end.link.kernel_counters().unwrap().tx_invalid_descs, 0);
        end.close();
    }
}

/// A datagram from A to B, without a checksum.
fn datagram(net: &Net, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let udp = [
        from.to_be_bytes(),
        to.to_be_bytes(),
        (8 + payload.len() as u16).to_be_bytes(),
        [0, 0],
    ];
    let mut bytes = [net.mac(Side::B), net.mac(Side::A)].concat();
    bytes.extend([0x08, 0x00]);
    let at = bytes.len();
    bytes.resize(at + 20, 0);
    let header = fullbore::wire::ipv4::Header {
        tos: 0,
        ident: 1,
        dont_fragment: true,
        ttl: 64,
        protocol: 17,
        src: Side::A.ipv4(),
        dst: Side::B.ipv4(),
    };
    header.emit(&mut bytes[at..], 8 + payload.len());
    bytes.extend(udp.concat());
    bytes.extend(payload);
    bytes
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
            "holder_process",
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
