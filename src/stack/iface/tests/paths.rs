//! Routes, the next hop, and how much a path carries.

use super::*;

#[test]
fn a_believed_path_mtu_lowers_the_segment_size_for_its_time() {
    let (mut a, mut b) = (Host::a(), Host::b());
    a.iface.path(at(0), None, ip("10.0.0.2"));
    converse(at(0), &mut a, &mut b);
    assert_eq!(a.ready(at(1), "10.0.0.2").mss, 1460);
    let before = a.iface.generation();
    a.iface.learn_path_mtu(at(1), ip("10.0.0.2"), 1400);
    assert_ne!(a.iface.generation(), before);
    assert_eq!(a.ready(at(2), "10.0.0.2").mss, 1360);
    a.iface.learn_path_mtu(at(2), ip("10.0.0.2"), 9000);
    assert_eq!(a.ready(at(3), "10.0.0.2").mss, 1360);
    let later = at(700_000);
    a.iface.path(later, None, ip("10.0.0.2"));
    converse(later, &mut a, &mut b);
    assert_eq!(a.ready(later, "10.0.0.2").mss, 1460);
}

#[test]
fn paths_follow_the_routes_and_say_why_not() {
    let mut config = config(Mode::Own, A, &["10.0.0.1/24", "10.9.0.1/16"]);
    let gateway = Route::new("0.0.0.0/0".parse().unwrap(), Some(ip("10.0.0.254")));
    let mut narrow = Route::new("203.0.113.0/24".parse().unwrap(), Some(ip("10.0.0.254")));
    narrow.mtu = Some(1280);
    let mut refused = Route::new("198.51.100.0/24".parse().unwrap(), None);
    refused.kind = RouteKind::Refused;
    config.routes = vec![gateway, narrow, refused];
    let mut a = Host::new(config);
    let asked = |a: &mut Host, remote: &str| {
        let path = a.iface.path(at(0), None, ip(remote));
        assert!(matches!(path, Path::Resolving), "{path:?}");
        let frames = a.out(at(0));
        let arp = frames.first().map(|f| arp_of(f).1);
        arp.map(|arp| (arp.target_ip.to_string(), arp.sender_ip.to_string()))
    };
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(asked(&mut a, "8.8.8.8"), pair("10.0.0.254", "10.0.0.1"));
    assert_eq!(asked(&mut a, "203.0.113.9"), None, "asked already");
    assert_eq!(asked(&mut a, "10.9.3.4"), pair("10.9.3.4", "10.9.0.1"));
    let answer = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: B,
        sender_ip: v4("10.0.0.254"),
        target_mac: A,
        target_ip: v4("10.0.0.1"),
    };
    a.reply(at(1), &arp_frame(A, answer));
    assert_eq!(a.ready(at(2), "8.8.8.8").local, ip("10.0.0.1"));
    assert_eq!(a.ready(at(2), "203.0.113.9").mss, 1240);

    let local = Some(ip("10.9.0.1"));
    assert!(matches!(
        a.iface.path(at(2), local, ip("8.8.8.8")),
        Path::Ready(ready) if ready.local == ip("10.9.0.1")
    ));
    let foreign = Some(ip("10.7.7.7"));
    assert!(matches!(
        a.iface.path(at(2), foreign, ip("8.8.8.8")),
        Path::NoRoute(NoRoute::NoSource)
    ));
    for (remote, why) in [
        ("198.51.100.4", NoRoute::Refused),
        ("fd00::2", NoRoute::NoRoute),
        ("10.0.0.1", NoRoute::OwnAddress),
        ("10.0.0.255", NoRoute::NotUnicast),
        ("224.0.0.1", NoRoute::NotUnicast),
        ("255.255.255.255", NoRoute::NotUnicast),
        ("127.0.0.1", NoRoute::NotUnicast),
        ("0.0.0.0", NoRoute::NotUnicast),
    ] {
        assert_eq!(a.why(at(2), remote), why, "{remote}");
    }
    for ms in [1_000, 2_000, 3_000] {
        a.out(at(ms));
    }
    assert_eq!(a.why(at(3_100), "10.9.3.4"), NoRoute::NeighbourFailed);
}

#[test]
fn the_kernels_view_is_taken_over_and_its_help_asked() {
    let mut a = Host::new(config(Mode::Shared, Mac::ZERO, &[]));
    assert_eq!(a.why(at(0), "10.0.0.2"), NoRoute::NoRoute);
    let link = LinkState {
        index: 3,
        up: true,
        mtu: 9000,
        mac: A,
    };
    let mut elsewhere = Route::new("0.0.0.0/0".parse().unwrap(), None);
    elsewhere.kind = RouteKind::Elsewhere;
    let kernel = KernelConfig {
        link,
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        routes: vec![Route::new("10.0.0.0/24".parse().unwrap(), None), elsewhere],
    };
    let before = a.iface.generation();
    let update = KernelUpdate::Config(kernel.clone().into());
    a.iface.apply(at(0), &update);
    assert_ne!(a.iface.generation(), before);
    assert_eq!(a.iface.poll_event(), Some(Event::Link(link)));
    assert_eq!(a.why(at(0), "8.8.8.8"), NoRoute::OtherInterface);
    assert!(matches!(
        a.iface.path(at(0), None, ip("10.0.0.2")),
        Path::Resolving
    ));
    let wanted = KernelRequest::Resolve(ip("10.0.0.2"));
    assert_eq!(a.iface.poll_request(), Some(wanted));
    assert_eq!(a.iface.poll_request(), None);
    assert!(a.out(at(0)).is_empty(), "the kernel asks, not we");
    let known = [(ip("10.0.0.2"), NeighbourState::Reachable(B))];
    let news = KernelUpdate::Neighbours(known.as_slice().into());
    a.iface.apply(at(1), &news);
    let ready = a.ready(at(1), "10.0.0.2");
    assert_eq!((ready.mss, ready.local), (8960, ip("10.0.0.1")));
    let news = KernelUpdate::Neighbour(ip("10.0.0.2"), NeighbourState::Failed);
    a.iface.apply(at(2), &news);
    assert_eq!(a.why(at(2), "10.0.0.2"), NoRoute::NeighbourFailed);
    // And the link goes.
    let mut down = kernel;
    down.link = LinkState {
        index: 0,
        up: false,
        mtu: 0,
        mac: Mac::ZERO,
    };
    a.iface.apply(at(3), &KernelUpdate::Config(down.into()));
    assert_eq!(a.why(at(3), "10.0.0.2"), NoRoute::LinkDown);
    assert_eq!(a.iface.mac(), A);
    // In own mode the kernel has no say.
    let mut own = Host::a();
    own.iface.apply(at(0), &update);
    assert_eq!(own.iface.addresses().len(), 2);
}
