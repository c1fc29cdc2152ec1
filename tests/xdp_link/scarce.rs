//! Small rings, empty pools, frames that do not fit.

use super::*;

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
