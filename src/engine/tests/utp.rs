//! uTP through whole engines.

mod outsiders;

use super::*;
use crate::engine::Handover;
use crate::frame::{PACKET_START, Pool, Region};
use crate::link::Link;
use crate::stack::ConnectError;
use crate::stats::DropReason;
use crate::utp::{Ports, write_bare};
use crate::wire::eth::Mac;
use crate::wire::ip::{PROTOCOL_UDP, Parsed, parse_frame};
use crate::wire::template::{Path, Template};
use crate::wire::utp::{Header, Kind, SeqNr};
use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

fn end(ip: &str) -> Host {
    let prefix = if ip.contains(':') { 64 } else { 24 };
    Host::new(format!("{ip}/{prefix}").parse().unwrap())
}

fn echo() -> Echo {
    Echo {
        transport: Transport::Utp,
        ..Echo::new()
    }
}

fn options() -> ConnectOptions {
    ConnectOptions {
        transport: Transport::Utp,
        ..ConnectOptions::default()
    }
}

fn client(bytes: usize) -> Client {
    Client {
        options: options(),
        ..Client::new(bytes)
    }
}

fn finish<A: Application, B: Application>(world: &mut World, a: &mut Node<A>, b: &mut Node<B>) {
    a.stop();
    b.stop();
    until(world, a, b, 30 * SECOND, |a, b| {
        a.is_stopping() && b.is_stopping()
    });
    while world.step(&mut [&mut *a as &mut dyn Turns, &mut *b]) {}
    assert_eq!(a.ledger().outstanding(), 0);
    assert_eq!(b.ledger().outstanding(), 0);
}

#[test]
fn streams_go_there_and_back_and_end_in_order() {
    for (server, client_at) in [(SERVER, CLIENT), ("fd00::1", "fd00::2")] {
        let mut echo = echo();
        echo.listen = at(
            if server.contains(':') {
                "::"
            } else {
                "0.0.0.0"
            },
            80,
        );
        let mut app = client(300_000);
        app.server = at(server, 80);
        let (mut server, mut client) = pair(end(server), echo, end(client_at), app);
        let mut world = World::default();
        client.with(|app, cx| {
            for _ in 0..5 {
                app.open(cx);
            }
        });
        until(&mut world, &mut server, &mut client, 30 * SECOND, |s, c| {
            c.app().ends.len() == 5 && s.app().closed.len() == 5
        });
        assert_eq!(client.app().ends, [Reason::Finished; 5]);
        assert_eq!(server.app().closed, [Reason::Finished; 5]);
        let (tcp, utp) = server.stack().transport_counters();
        assert_eq!((tcp.accepted, utp.accepted, utp.closed), (0, 5, 5));
        assert_eq!((utp.bytes_in, utp.bytes_acked), (1_500_000, 1_500_000));
        let (_, utp) = client.stack().transport_counters();
        assert_eq!((utp.connected, utp.closed), (5, 5));
        assert!(!client.stack().ports.is_ours(Protocol::Tcp, 80));
        finish(&mut world, &mut server, &mut client);
    }
}

#[test]
fn transports_share_a_port_number() {
    let tcp = Echo::new();
    let (mut server, mut client) = pair(host(SERVER), tcp, host(CLIENT), client(20_000));
    server.with(|_, cx| {
        let options = ListenOptions::new(Transport::Utp, 8);
        cx.listen_with(at("0.0.0.0", 80), options).unwrap();
    });
    let mut world = World::default();
    client.with(|app, cx| {
        for n in 0..8 {
            app.options.transport = [Transport::Tcp, Transport::Utp][n % 2];
            // The same port of either protocol.
            app.options.port = Some(50_000 + n as u16 / 2);
            let flow = app.open(cx);
            assert_eq!(cx.transport(flow), Some(app.options.transport));
            assert_eq!(cx.info(flow).is_some(), n % 2 == 0);
            assert_eq!(cx.utp_info(flow).is_some(), n % 2 == 1);
            assert!(cx.vitals(flow).is_some());
        }
    });
    until(&mut world, &mut server, &mut client, 30 * SECOND, |_, c| {
        c.app().ends.len() == 8
    });
    assert_eq!(client.app().ends, [Reason::Finished; 8]);
    let (tcp, utp) = server.stack().transport_counters();
    assert_eq!((tcp.accepted, utp.accepted), (4, 4));
    let drops = server.stack().drops().occurred();
    assert_eq!(drops, [], "everything was for somebody");
    server.with(|_, cx| cx.unlisten(at("0.0.0.0", 80)));
    finish(&mut world, &mut server, &mut client);
}

#[test]
fn connections_between_the_same_ports_have_ids_of_their_own() {
    let mut echo = echo();
    // An eighth of it for one address.
    echo.backlog = 800;
    let (mut server, mut client) = pair(host(SERVER), echo, host(CLIENT), client(5000));
    let mut world = World::default();
    client.with(|app, cx| {
        app.options.port = Some(6881);
        for _ in 0..100 {
            app.open(cx);
        }
    });
    let flows = &client.stack().flows;
    let ids: HashSet<u16> = flows
        .indices()
        .flat_map(|i| {
            let conn = flows.at(i).unwrap().conn.utp().unwrap();
            [conn.recv_id(), conn.send_id()]
        })
        .collect();
    assert_eq!(ids.len(), 200, "no id is of two, in either direction");
    until(&mut world, &mut server, &mut client, 60 * SECOND, |_, c| {
        c.app().ends.len() == 100
    });
    assert_eq!(client.app().ends, [Reason::Finished; 100]);
    finish(&mut world, &mut server, &mut client);
}

#[test]
fn ids_are_searched_for_and_may_run_out() {
    let mut near = host(CLIENT);
    near.config.max_flows = 100_000;
    let (_, link) = MemoryLink::pair(16).unwrap();
    let mut node = near.build(link, client(1)).unwrap();
    let opened = node.with(|app, cx| {
        app.options.port = Some(6881);
        let mut opened = 0;
        loop {
            match cx.connect_with(app.server, &app.options) {
                Ok(_) => opened += 1,
                Err(ConnectError::NoPort(_)) => return opened,
                Err(other) => panic!("{other}"),
            }
            assert!(opened < 32_768, "two ids each");
        }
    });
    // What is left are single ids, and pairs that were not tried.
    assert!(opened > 10_000, "{opened}");
}

#[test]
fn nobody_listens_and_nobody_answers() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), client(1));
    let mut world = World::default();
    let start = world.now();
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, 60 * SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    // A SYN and two more: after 3, 6 and 12 seconds.
    assert_eq!(client.app().ends, [Reason::TimedOut]);
    assert_eq!(server.stack().drops()[DropReason::UdpPortClosed], 3);
    assert_eq!(server.stack().counters().resets_stray, 0);
    let waited = world.now().since(start);
    assert!((21 * SECOND..22 * SECOND).contains(&waited), "{waited:?}");
}

#[test]
fn settings_of_a_connection_and_of_a_listener_can_be_their_own() {
    let (mut server, mut client) = pair(host(SERVER), echo(), host(CLIENT), client(1));
    let small = Arc::new(crate::utp::Config {
        send_buffer: 4096,
        ..crate::utp::Config::default()
    });
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    server.with(|app, cx| {
        let options = ListenOptions {
            utp: Some(small.clone()),
            ..ListenOptions::new(Transport::Utp, 8)
        };
        cx.unlisten_with(Transport::Utp, app.listen);
        cx.listen_with(app.listen, options).unwrap();
    });
    let flow = client.with(|app, cx| {
        app.close = false;
        app.options.utp = Some(small);
        app.open(cx)
    });
    until(&mut world, &mut server, &mut client, 5 * SECOND, |_, c| {
        c.app().finished == 1
    });
    client.with(|_, cx| assert!(cx.send_room(flow) <= 4096));
    let flow = server.app().accepted[0].0;
    server.with(|_, cx| assert!(cx.send_room(flow) <= 4096));
    finish(&mut world, &mut server, &mut client);
}
