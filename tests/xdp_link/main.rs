//! AF_XDP sockets in the real kernel, on a veth pair.

#[path = "../common/mod.rs"]
mod common;
mod queues;
mod scarce;
mod surroundings;

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
            // Found by its looks alone, or the asker waits in vain.
            if end.link.is_quiet() {
                end.link.wait(Duration::from_millis(50), &[]).unwrap();
            } else {
                assert!(end.receive(&mut packets) > 0, "it said that there was one");
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
