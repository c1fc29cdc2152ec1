//! Backlogs, cookies, and who gets which segment.

use super::*;
use crate::engine::Handover;
use crate::link::Link;
use crate::stats::DropReason;
use crate::tcp::write_bare;
use crate::wire::tcp::{Flags, Header, SeqNumber};
use crate::wire::template::{Path, Template};
use std::collections::VecDeque;

#[test]
fn cookies_take_over_when_the_backlog_is_full() {
    let mut echo = Echo::new();
    echo.backlog = 2;
    let (mut server, mut client) = pair(host(SERVER), echo, host(CLIENT), Client::new(3000));
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..50 {
            app.open(cx);
        }
    });
    until(&mut world, &mut server, &mut client, 20 * SECOND, |_, c| {
        c.app().ends.len() == 50
    });
    assert_eq!(client.app().ends, [Reason::Finished; 50]);
    let tcp = server.stack().tcp_counters();
    assert!(tcp.cookies_sent >= 40, "{tcp:?}");
    assert_eq!(tcp.cookies_accepted, tcp.cookies_sent);
    assert_eq!(tcp.accepted, 50);
}

#[test]
fn without_cookies_a_full_backlog_drops_and_the_client_tries_again() {
    let mut echo = Echo::new();
    echo.backlog = 2;
    let mut near = host(SERVER);
    near.config.tcp = std::sync::Arc::new(crate::tcp::Config {
        syn_cookies: false,
        ..crate::tcp::Config::default()
    });
    let (mut server, mut client) = pair(near, echo, host(CLIENT), Client::new(3000));
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..5 {
            app.open(cx);
        }
    });
    until(&mut world, &mut server, &mut client, 60 * SECOND, |_, c| {
        c.app().ends.len() == 5
    });
    assert_eq!(client.app().ends, [Reason::Finished; 5]);
    assert_eq!(server.stack().tcp_counters().cookies_sent, 0);
    let drops = server.stack().drops().occurred();
    assert!(
        drops.iter().any(|d| d.0 == DropReason::TcpBacklogFull),
        "{drops:?}"
    );
}

#[test]
fn half_open_connections_are_bounded_and_forgotten() {
    // A client whose SYNs arrive and who never hears the answers.
    let mut echo = Echo::new();
    echo.backlog = 8;
    let (near, far) = MemoryLink::pair(1024).unwrap();
    let mut server = host(SERVER).build(near, echo).unwrap();
    let mut client = host(CLIENT).build(far, Client::new(1)).unwrap();
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..100 {
            app.open(cx);
        }
    });
    // Neighbours get to know each other, then the client falls silent.
    while server.stack().flows.is_empty() {
        world.step(&mut [&mut client as &mut dyn Turns, &mut server]);
    }
    for _ in 0..3 {
        world.step(&mut [&mut server]);
    }
    assert_eq!(server.stack().flows.len(), 8);
    assert_eq!(server.stack().tcp_counters().cookies_sent, 92);
    let mut last = world.now();
    while !server.stack().flows.is_empty() {
        assert!(world.now() < Instant::from_millis(400_000), "still there");
        assert!(world.step(&mut [&mut server]));
        assert!(world.now() > last);
        last = world.now();
        // Frees the queue; the client does not look.
        drain(&mut client);
    }
    assert_eq!(server.app().accepted, []);
    assert_eq!(server.app().closed, []);
    assert_eq!(server.ledger().outstanding(), 0);
}

/// Takes what arrived at a node without turning it.
fn drain<A: Application>(node: &mut Node<A>) {
    let mut got = Vec::new();
    node.link
        .receive(Instant::ZERO, &mut node.core.pool, &mut got, 1024);
    for packet in got {
        node.core.pool.free(packet);
    }
}

/// RFC 9293 section 3.10.7.2, fourth.
#[test]
fn a_listener_drops_what_neither_begins_nor_acknowledges_anything() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    let path = Path {
        src_mac: client.stack().iface.mac(),
        dst_mac: server.stack().iface.mac(),
        vlan: None,
        src: CLIENT.parse().unwrap(),
        dst: SERVER.parse().unwrap(),
        ttl: 64,
        tos: 0,
    };
    let template = Template::new(&path, 6).unwrap();
    let mut say = |flags, ack| {
        let header = Header {
            src_port: 4000,
            dst_port: 80,
            ack: SeqNumber(ack),
            flags,
            ..Header::default()
        };
        let pool = &mut client.core.pool;
        let mut packet = pool.alloc().unwrap();
        write_bare(&mut packet, pool, &template, &header, 0);
        let desc = pool.transmit(packet);
        client
            .link
            .transmit(world.now(), pool, &mut VecDeque::from([desc]));
        world.step(&mut [&mut server]);
    };
    for flags in [Flags::NONE, Flags::FIN, Flags::PSH, Flags::SYN | Flags::FIN] {
        say(flags, 0);
    }
    assert_eq!(server.stack().counters().resets_stray, 0);
    assert_eq!(server.stack().drops()[DropReason::TcpFlagsInvalid], 4);
    assert!(server.stack().flows.is_empty());
    drain(&mut client);
}

#[test]
fn a_second_listener_on_the_same_port_is_refused() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    server.with(|app, cx| {
        assert!(matches!(
            cx.listen(app.listen, 1),
            Err(ListenError::InUse(_))
        ));
        cx.unlisten(app.listen);
        cx.listen(app.listen, 1).unwrap();
        cx.unlisten(app.listen);
    });
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Refused]);
}

#[test]
fn a_listeners_connections_outlive_it() {
    let mut lasting = Client::new(100);
    lasting.close = false;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 1
    });
    server.with(|app, cx| cx.unlisten(app.listen));
    assert!(
        server.stack().ports.is_ours(Protocol::Tcp, 80),
        "the connection needs it"
    );
    client.with(|_, cx| cx.shutdown(flow));
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().closed.len() == 1
    });
    world.settle(&mut [&mut server as &mut dyn Turns, &mut client], SECOND);
    assert!(!server.stack().ports.is_ours(Protocol::Tcp, 80));
}

#[test]
fn strays_are_answered_at_a_limited_rate() {
    let mut many = host(CLIENT);
    many.config.max_flows = 5000;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), many, Client::new(1));
    let mut world = World::default();
    client.with(|app, cx| {
        app.server = at(SERVER, 9);
        for _ in 0..900 {
            app.open(cx);
        }
    });
    let end = world.now() + SECOND / 2;
    while world.now() < end {
        world.step(&mut [&mut client as &mut dyn Turns, &mut server]);
    }
    let refused = client.app().ends.len();
    assert!((200..700).contains(&refused), "{refused}");
    assert!(server.stack().drops()[DropReason::RateLimited] >= 200);
}

/// Two engines with one address, and a client at whose link they take turns
/// in hearing.
#[test]
fn a_frame_for_another_engines_flow_is_handed_over() {
    let inboxes = [Inbox::new(8).unwrap(), Inbox::new(8).unwrap()];
    let wakers = inboxes.each_ref().map(|i| i.waker().clone());
    let mut ring = Handover::ring(&wakers, 64).into_iter();
    let (near, far) = MemoryLink::pair(1024).unwrap();
    // The second engine's link has nobody at its other end yet.
    let (other, other_end) = MemoryLink::pair(1024).unwrap();
    let [first, second] = inboxes;
    let mut a = host(SERVER);
    a.handover = ring.next();
    let mut b = host(SERVER);
    b.handover = ring.next();
    let mut a = a.build_with(near, Echo::new(), first);
    let mut b = b.build_with(other, Echo::new(), second);
    let mut lasting = Client::new(4000);
    lasting.close = false;
    let mut client = host(CLIENT).build(far, lasting).unwrap();
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    while client.app().finished == 0 {
        world.step(&mut [&mut a as &mut dyn Turns, &mut b, &mut client]);
    }
    assert_eq!(a.counters().handed_over + b.counters().handed_over, 0);
    // What was heard at one link of the neighbour is known to both.
    assert_eq!(b.stack().counters().neighbours, 1);
    // From now on the client's frames come in at the wrong engine, whose
    // own frames reach nobody.
    let silent = std::mem::replace(&mut client.link, other_end);
    client.with(|app, cx| {
        app.bytes = 8000;
        app.push(cx, flow);
    });
    for _ in 0..50 {
        world.step(&mut [&mut a as &mut dyn Turns, &mut b, &mut client]);
    }
    assert!(b.counters().handed_over >= 3, "{:?}", b.counters());
    let info = a.with(|app, cx| cx.info(app.accepted[0].0)).unwrap();
    assert_eq!(info.counters.bytes_received, 8000);
    assert_eq!(b.stack().counters().resets_stray, 0);
    // A segment that nobody knows is refused once, after its round.
    client.with(|_, cx| cx.abort(flow));
    world.settle(&mut [&mut a as &mut dyn Turns, &mut b, &mut client], SECOND);
    assert_eq!(a.app().closed, [Reason::Reset]);
    // Outgoing connections of the two never take the same port.
    let ports = [&mut a, &mut b].map(|engine| {
        let flow = engine.with(|_, cx| cx.connect(at(CLIENT, 9))).unwrap();
        engine.with(|_, cx| cx.local(flow)).unwrap().port() % 2
    });
    assert_eq!(ports, [0, 1]);
    drop(silent);
}
