//! An address that only fullbore has: found by the kernel at the other end
//! through ARP and neighbour discovery, pinged, served from, and fetched to.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{DEVICE, Net, Options, Side, require_root, wait_for};
use fullbore::wire::{icmpv4, icmpv6};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with, sockopt,
};

const BINARY: &str = env!("CARGO_BIN_EXE_fullbore");
const LIMIT: Duration = Duration::from_secs(20);
const OWN: [&str; 2] = ["10.77.0.9", "fd77::9"];
const OWN_ARGUMENTS: [&str; 6] = [
    "--on",
    DEVICE,
    "--address",
    "10.77.0.9/24",
    "--address",
    "fd77::9/64",
];

/// Pings `to` from `from` through the kernel; the data that came back.
fn ping(from: IpAddr, to: IpAddr, data: &[u8]) -> Option<Vec<u8>> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )
    .unwrap();
    let timeout = Some(Duration::from_millis(200));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, timeout).unwrap();
    let (ident, seq, reply) = (0x4642, 3, false);
    let mut message = vec![0; data.len() + 8];
    match (from, to) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            icmpv6::Message::Echo { reply, ident, seq }.emit(&mut message, src, dst, data)
        }
        _ => icmpv4::Message::Echo { reply, ident, seq }.emit(&mut message, data),
    };
    sendto(
        &socket,
        &message,
        SendFlags::empty(),
        &SocketAddr::new(to, 0),
    )
    .unwrap();
    let reply = if to.is_ipv4() { 0 } else { 129 };
    let end = Instant::now() + Duration::from_secs(2);
    let mut buffer = vec![0; 2048];
    while Instant::now() < end {
        let Ok((len, _)) = recv(&socket, &mut buffer[..], RecvFlags::empty()) else {
            continue;
        };
        // IPv4 comes with its header.
        let at = if to.is_ipv4() { 20 } else { 0 };
        if let Some(got) = buffer[..len].get(at..)
            && got.first() == Some(&reply)
            && got.get(4..6) == Some(&ident.to_be_bytes())
        {
            return Some(got[8..].to_vec());
        }
    }
    None
}

fn fetch(from: SocketAddr) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&from, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = format!("GET /file HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    Some(answer.split_off(head + 4))
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_own_address_is_found_pinged_and_served_from() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let files = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    std::fs::write(files.path().join("file"), &content).unwrap();
    let root = files.path().to_str().unwrap();
    let mut arguments = vec!["serve", root, "--port", "8002"];
    arguments.extend(OWN_ARGUMENTS);
    let mut server = net.spawn_in(Side::B, BINARY, &arguments);

    for own in OWN {
        let own: IpAddr = own.parse().unwrap();
        let from = match own {
            IpAddr::V4(_) => Side::A.ipv4().into(),
            IpAddr::V6(_) => Side::A.ipv6().into(),
        };
        wait_for("the server's answer", LIMIT, || {
            net.enter(Side::A, || fetch(SocketAddr::new(own, 8002))) == Some(content.clone())
        });
        for len in [0usize, 56, 1400] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let got = net.enter(Side::A, || ping(from, own, &data));
            assert_eq!(got, Some(data), "{own}");
        }
        // The kernel beside it goes on with its own address.
        let kernel: IpAddr = match own {
            IpAddr::V4(_) => Side::B.ipv4().into(),
            IpAddr::V6(_) => Side::B.ipv6().into(),
        };
        let got = net.enter(Side::A, || ping(from, kernel, b"kernel"));
        assert_eq!(got.as_deref(), Some(&b"kernel"[..]), "{kernel}");
    }
    let table = net.run(Side::A, "ip", &["neigh", "show", "dev", DEVICE]);
    let mac = net.mac(Side::B).map(|b| format!("{b:02x}")).join(":");
    for own in OWN {
        let line = table.lines().find(|l| l.starts_with(own));
        assert!(line.is_some_and(|l| l.contains(&mac)), "{own}: {table}");
    }
    // With the process goes the address.
    server.kill();
    let own: IpAddr = OWN[0].parse().unwrap();
    let from = Side::A.ipv4().into();
    assert_eq!(net.enter(Side::A, || ping(from, own, b"gone")), None);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_own_address_fetches_from_the_kernel() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    for kernel in [IpAddr::from(Side::A.ipv4()), IpAddr::from(Side::A.ipv6())] {
        let at = SocketAddr::new(kernel, 8003);
        let listener = net.enter(Side::A, || TcpListener::bind(at)).unwrap();
        let served = std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            let end = Instant::now() + LIMIT;
            let (mut stream, peer) = loop {
                match listener.accept() {
                    Ok(accepted) => break accepted,
                    Err(_) => assert!(Instant::now() < end, "nobody came"),
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
                )
                .unwrap();
            peer.ip()
        });
        let url = format!("http://{at}/file");
        let mut arguments = vec!["get", &url, "-q", "-o", "-"];
        arguments.extend(OWN_ARGUMENTS);
        let output = net
            .command(Side::B, BINARY)
            .args(&arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"hello", "{errors}");
        assert!(output.status.success(), "{errors}");
        assert!(OWN.contains(&served.join().unwrap().to_string().as_str()));
    }
}
