//! What the steering program makes of each kind of frame, in the real kernel:
//! frames are sent from one end, and either arrive at the other's socket or
//! are left to its kernel and counted.

mod common;

use common::ends::{End, Frames, attach, ipv4, ipv6, quoted_ports, udp};
use common::{Net, Options, Side, require_root, wait_for};
use fullbore::stats::SteeringCounters;
use fullbore::xdp::{LinkOptions, Protocol, Steering, SteeringOptions, VlanPolicy};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const OWN4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0xab, 0xcdef);
const TCP: u8 = 6;
const MORE_FRAGMENTS: u16 = 0x2000;

/// B sends what the test says; A steers.
struct Bench {
    _net: Net,
    steering: Steering,
    receiver: End,
    sender: End,
    frames: Frames,
}

impl Bench {
    fn new(options: SteeringOptions) -> Self {
        let net = Net::pair(Options::default());
        // The kernel at B neither hears nor says anything.
        net.silence(Side::B);
        let steering = attach(&net, Side::A, options);
        let mut receiver = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
        let other = SteeringOptions {
            take_all: true,
            ..SteeringOptions::default()
        };
        let other = attach(&net, Side::B, other);
        let sender = End::open(&net, Side::B, &other, 0, LinkOptions::default()).unwrap();
        let frames = Frames::new(&net, Side::B);
        // What it said before is out of the way.
        while !receiver.frames(Duration::from_millis(20)).is_empty() {}
        Self {
            _net: net,
            steering,
            receiver,
            sender,
            frames,
        }
    }

    /// Sends a frame and returns how the counters changed.
    #[track_caller]
    fn counted(&mut self, frame: &[u8]) -> SteeringCounters {
        let before = self.steering.counters().unwrap();
        self.sender.send(frame);
        self.sender.frames(Duration::ZERO);
        let mut after = before;
        wait_for("a verdict", Duration::from_secs(2), || {
            after = self.steering.counters().unwrap();
            after != before
        });
        SteeringCounters {
            redirected: after.redirected - before.redirected,
            redirected_icmp_errors: after.redirected_icmp_errors - before.redirected_icmp_errors,
            redirected_neighbour: after.redirected_neighbour - before.redirected_neighbour,
            passed_not_ours: after.passed_not_ours - before.passed_not_ours,
            passed_no_socket: after.passed_no_socket - before.passed_no_socket,
            passed_fragments: after.passed_fragments - before.passed_fragments,
            passed_malformed: after.passed_malformed - before.passed_malformed,
            dropped_fragments: after.dropped_fragments - before.dropped_fragments,
        }
    }

    /// The frame has to come to the socket as it was sent.
    #[track_caller]
    fn taken(&mut self, frame: &[u8]) -> SteeringCounters {
        let counts = self.counted(frame);
        let got = self.receiver.frames(Duration::from_secs(1));
        assert!(got.len() == 1 && got[0] == frame, "{counts:?}");
        counts
    }

    /// The frame has to be left to the kernel.
    #[track_caller]
    fn left(&mut self, frame: &[u8]) -> SteeringCounters {
        let counts = self.counted(frame);
        assert_eq!(self.receiver.frames(Duration::ZERO).len(), 0, "{counts:?}");
        counts
    }

    fn close(self) {
        self.receiver.close();
        self.sender.close();
    }
}

const NOT_OURS: fn() -> SteeringCounters = || SteeringCounters {
    passed_not_ours: 1,
    ..Default::default()
};
const OURS: fn() -> SteeringCounters = || SteeringCounters {
    redirected: 1,
    ..Default::default()
};
const NEIGHBOUR: fn() -> SteeringCounters = || SteeringCounters {
    redirected_neighbour: 1,
    ..Default::default()
};
const ICMP_ERROR: fn() -> SteeringCounters = || SteeringCounters {
    redirected_icmp_errors: 1,
    ..Default::default()
};
const MALFORMED: fn() -> SteeringCounters = || SteeringCounters {
    passed_malformed: 1,
    ..Default::default()
};
const FRAGMENT: fn() -> SteeringCounters = || SteeringCounters {
    passed_fragments: 1,
    ..Default::default()
};
const DROPPED: fn() -> SteeringCounters = || SteeringCounters {
    dropped_fragments: 1,
    ..Default::default()
};

#[test]
#[ignore = "needs root"]
fn claims_go_by_protocol_port_and_address() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions::default());
    let (v4, v6) = (Side::A.ip(), Side::A.ipv6().into());
    let other = Ipv4Addr::new(10, 77, 0, 50).into();
    bench.steering.claim(Protocol::Udp, 1000, Some(v4)).unwrap();
    bench.steering.claim(Protocol::Udp, 2000, Some(v6)).unwrap();
    bench
        .steering
        .claim_range(Protocol::Udp, 3000..=3100, None)
        .unwrap();
    let udp = |bench: &Bench, to, port| bench.frames.udp(to, 5, port, b"payload");
    for (to, port, ours) in [
        (v4, 1000, true),
        (v4, 1001, false),
        (v6, 1000, false),
        (other, 1000, false),
        (v6, 2000, true),
        (v4, 2000, false),
        (v4, 2999, false),
        (v4, 3000, true),
        (other, 3064, true),
        (v6, 3100, true),
        (v6, 3101, false),
    ] {
        let frame = udp(&bench, to, port);
        if ours {
            assert_eq!(bench.taken(&frame), OURS(), "{to} {port}");
        } else {
            assert_eq!(bench.left(&frame), NOT_OURS(), "{to} {port}");
        }
    }
    let tcp = bench
        .frames
        .ipv4(Side::A.ipv4(), TCP, 0, &quoted_ports(5, 1000));
    assert_eq!(bench.left(&tcp), NOT_OURS());
    bench.steering.claim(Protocol::Tcp, 1000, Some(v4)).unwrap();
    assert_eq!(bench.taken(&tcp), OURS());
    let arp = bench.frames.arp(Side::A.ipv4());
    assert_eq!(bench.left(&arp), NOT_OURS());
    bench
        .steering
        .unclaim_range(Protocol::Udp, 3000..=3100, None)
        .unwrap();
    let frame = udp(&bench, v4, 3000);
    assert_eq!(bench.left(&frame), NOT_OURS());
    bench.close();
}

#[test]
#[ignore = "needs root"]
fn options_and_extension_headers_are_skipped() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions::default());
    bench.steering.claim(Protocol::Udp, 1000, None).unwrap();
    let datagram = udp(5, 1000, b"x");
    let mut frame = bench.frames.ipv4(Side::A.ipv4(), 17, 0, &datagram);
    frame.splice(34..34, [1; 8]);
    frame[14] = 0x47;
    assert_eq!(bench.taken(&frame), OURS());

    let options = |next: u8| [&[next, 1], &[0; 14][..]].concat();
    let to = Side::A.ipv6();
    let one = [options(17), datagram.clone()].concat();
    let frame = bench.frames.ipv6(to, 0, &one);
    assert_eq!(bench.taken(&frame), OURS());
    let four = [options(43), options(60), options(60), one.clone()].concat();
    let frame = bench.frames.ipv6(to, 0, &four);
    assert_eq!(bench.taken(&frame), OURS());
    let five = [options(60), four].concat();
    let frame = bench.frames.ipv6(to, 60, &five);
    assert_eq!(bench.left(&frame), NOT_OURS(), "more than are looked at");
    bench.close();
}

#[test]
#[ignore = "needs root"]
fn frames_cut_short_are_malformed_and_left() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions::default());
    bench.steering.claim(Protocol::Udp, 1000, None).unwrap();
    let v4 = bench.frames.udp(Side::A.ip(), 5, 1000, b"");
    let v6 = bench.frames.udp(Side::A.ipv6().into(), 5, 1000, b"");
    for frame in [&v4[..20], &v4[..33], &v4[..36], &v6[..40], &v6[..56]] {
        assert_eq!(bench.left(frame), MALFORMED(), "{frame:x?}");
    }
    let mut short_header = v4.clone();
    short_header[14] = 0x44;
    assert_eq!(bench.left(&short_header), MALFORMED());
    let mut version = v6.clone();
    version[14] = 0x40;
    assert_eq!(bench.left(&version), MALFORMED());
    // An options length that leads out of the frame.
    let outside = bench
        .frames
        .ipv6(Side::A.ipv6(), 0, &[17, 255, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.left(&outside), MALFORMED());
    let arp = bench.frames.arp(OWN4);
    assert_eq!(bench.left(&arp[..30]), MALFORMED());
    bench.close();
}

#[test]
#[ignore = "needs root"]
fn fragments_are_left_unless_they_begin_a_datagram_of_ours() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions::default());
    bench.steering.claim(Protocol::Udp, 1000, None).unwrap();
    let to = Side::A.ipv4();
    let first = bench
        .frames
        .ipv4(to, 17, MORE_FRAGMENTS, &udp(5, 1000, b"12345678"));
    assert_eq!(bench.left(&first), DROPPED());
    let others = bench
        .frames
        .ipv4(to, 17, MORE_FRAGMENTS, &udp(5, 1001, b"12345678"));
    assert_eq!(bench.left(&others), FRAGMENT());
    let later = bench.frames.ipv4(to, 17, 2, &udp(5, 1000, b"12345678"));
    assert_eq!(bench.left(&later), FRAGMENT());
    for (offset, port, counts) in [
        (1u8, 1000, DROPPED()),
        (1, 1001, FRAGMENT()),
        (17, 1000, FRAGMENT()),
    ] {
        let header = [17, 0, 0, offset, 0, 0, 0, 1];
        let body = [&header[..], &udp(5, port, b"12345678")].concat();
        let frame = bench.frames.ipv6(Side::A.ipv6(), 44, &body);
        assert_eq!(bench.left(&frame), counts);
    }
    bench.close();
}

#[test]
#[ignore = "needs root"]
fn icmp_errors_follow_the_packet_they_quote() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions::default());
    let a = Side::A;
    bench
        .steering
        .claim(Protocol::Tcp, 40_000, Some(a.ip()))
        .unwrap();
    bench
        .steering
        .claim(Protocol::Udp, 40_001, Some(a.ipv6().into()))
        .unwrap();
    let router = Side::B.ipv4();
    let error4 = |bench: &Bench, kind: u8, code: u8, quote: &[u8]| {
        let body = [&[kind, code, 0, 0, 0, 0, 5, 0], quote].concat();
        bench.frames.ipv4(a.ipv4(), 1, 0, &body)
    };
    let ours = ipv4(a.ipv4(), router, TCP, 0x4000, &quoted_ports(40_000, 80));
    for (kind, code) in [(3, 4), (3, 1), (11, 0), (12, 0)] {
        let frame = error4(&bench, kind, code, &ours);
        assert_eq!(bench.taken(&frame), ICMP_ERROR(), "type {kind}");
    }
    let redirect = error4(&bench, 5, 0, &ours);
    assert_eq!(bench.left(&redirect), NOT_OURS());
    let echo = error4(&bench, 8, 0, &ours);
    assert_eq!(bench.left(&echo), NOT_OURS(), "the kernel answers pings");
    let quote = ipv4(a.ipv4(), router, TCP, 0, &quoted_ports(80, 40_000));
    let frame = error4(&bench, 3, 4, &quote);
    assert_eq!(
        bench.left(&frame),
        NOT_OURS(),
        "the local port is the quoted source"
    );
    let frame = error4(&bench, 3, 4, &ours[..22]);
    assert_eq!(bench.left(&frame), MALFORMED());

    let quote = ipv6(a.ipv6(), Side::B.ipv6(), 17, &udp(40_001, 53, b""));
    for kind in 1..=4 {
        let body = [&[kind, 0, 0, 0, 0, 0, 5, 0], &quote[..]].concat();
        let frame = bench.frames.ipv6(a.ipv6(), 58, &body);
        assert_eq!(bench.taken(&frame), ICMP_ERROR(), "type {kind}");
    }
    let body = [&[128, 0, 0, 0, 0, 0, 5, 0], &quote[..]].concat();
    let frame = bench.frames.ipv6(a.ipv6(), 58, &body);
    assert_eq!(bench.left(&frame), NOT_OURS());
    bench.close();
}

#[test]
#[ignore = "needs root"]
fn an_own_address_is_taken_whole() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions::default());
    bench.steering.own_address(OWN4.into()).unwrap();
    bench.steering.own_address(OWN6.into()).unwrap();
    let arp = bench.frames.arp(OWN4);
    assert_eq!(bench.taken(&arp), NEIGHBOUR());
    let arp = bench.frames.arp(Side::A.ipv4());
    assert_eq!(bench.left(&arp), NOT_OURS());
    let ping = bench.frames.ipv4(OWN4, 1, 0, &[8, 0, 0, 0, 0, 1, 0, 1]);
    assert_eq!(bench.taken(&ping), OURS());
    let any = bench.frames.udp(OWN4.into(), 5, 54_321, b"x");
    assert_eq!(bench.taken(&any), OURS());
    let fragment = bench.frames.ipv4(OWN4, 17, 2, &[0; 16]);
    assert_eq!(bench.taken(&fragment), OURS());

    // Neighbour solicitations go to the solicited-node group.
    let group: Ipv6Addr = "ff02::1:ffab:cdef".parse().unwrap();
    for (target, counts) in [
        (OWN6, NEIGHBOUR()),
        ("fd77::ffab:cdef".parse().unwrap(), NOT_OURS()),
    ] {
        let body = [&[135, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..]].concat();
        let frame = bench.frames.ipv6(group, 58, &body);
        let verdict = bench.counted(&frame);
        assert_eq!(verdict, counts, "{target}");
        bench.receiver.frames(Duration::from_millis(10));
    }
    let advertisement = bench.frames.ipv6(OWN6, 58, &[136; 24]);
    assert_eq!(bench.taken(&advertisement), OURS());

    bench.steering.disown_address(OWN4.into()).unwrap();
    let arp = bench.frames.arp(OWN4);
    assert_eq!(bench.left(&arp), NOT_OURS());
    let any = bench.frames.udp(OWN6.into(), 5, 1, b"x");
    assert_eq!(bench.taken(&any), OURS());

    // The program knows one of the addresses without looking it up: whichever
    // that is comes and goes as the others do.
    bench.steering.own_address(OWN4.into()).unwrap();
    bench.steering.disown_address(OWN6.into()).unwrap();
    assert_eq!(bench.left(&any), NOT_OURS());
    let any = bench.frames.udp(OWN4.into(), 5, 1, b"x");
    assert_eq!(bench.taken(&any), OURS());
    bench.steering.disown_address(OWN4.into()).unwrap();
    assert_eq!(bench.left(&any), NOT_OURS());
    bench.close();
}

#[test]
#[ignore = "needs root"]
fn claims_apply_to_the_vlan_they_are_made_for() {
    if !require_root() {
        return;
    }
    for (vlan, untagged, seven, eight) in [
        (VlanPolicy::Untagged, true, false, false),
        (VlanPolicy::Only(7), false, true, false),
        (VlanPolicy::Any, true, true, true),
    ] {
        let mut bench = Bench::new(SteeringOptions {
            vlan,
            ..SteeringOptions::default()
        });
        bench.steering.claim(Protocol::Udp, 1000, None).unwrap();
        let plain = bench.frames.udp(Side::A.ip(), 5, 1000, b"x");
        let tagged = |id: u16| {
            let mut frame = plain.clone();
            let tag = [0x8100u16, 0x6000 | id].map(u16::to_be_bytes);
            frame.splice(12..12, tag.as_flattened().iter().copied());
            frame
        };
        for (frame, ours) in [
            (plain.clone(), untagged),
            (tagged(0), untagged),
            (tagged(7), seven),
            (tagged(8), eight),
        ] {
            if ours {
                assert_eq!(bench.taken(&frame), OURS(), "{vlan:?}");
            } else {
                assert_eq!(bench.left(&frame), NOT_OURS(), "{vlan:?}");
            }
        }
        bench.close();
    }
}

#[test]
#[ignore = "needs root"]
fn take_all_takes_all() {
    if !require_root() {
        return;
    }
    let mut bench = Bench::new(SteeringOptions {
        take_all: true,
        ..SteeringOptions::default()
    });
    for frame in [
        bench.frames.arp(Side::A.ipv4()),
        vec![0xff; 60],
        vec![0; 14],
    ] {
        assert_eq!(bench.taken(&frame), OURS());
    }
    bench.close();
}
