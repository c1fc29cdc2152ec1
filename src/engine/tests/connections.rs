//! Connections that open, carry bytes and close.

use std::sync::Arc;

use super::*;
use crate::stats::DropReason;
use crate::tcp::{self, State};

#[test]
fn many_flows_echo_and_close_and_every_frame_comes_back() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(9000));
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..200 {
            app.open(cx);
        }
    });
    until(&mut world, &mut server, &mut client, 10 * SECOND, |s, c| {
        c.app().ends.len() == 200 && s.app().closed.len() == 200
    });
    assert_eq!(client.app().finished, 200);
    for reason in client.app().ends.iter().chain(&server.app().closed) {
        assert_eq!(*reason, Reason::Finished);
    }
    let local = server.app().accepted[0].2;
    assert_eq!(local, at(SERVER, 80));
    // TIME-WAIT is over after a minute, and with it everything.
    world.settle(&mut [&mut server, &mut client], 61 * SECOND);
    for (flows, ledger) in [
        (server.stack().flows.len(), server.ledger()),
        (client.stack().flows.len(), client.ledger()),
    ] {
        assert_eq!((flows, ledger.outstanding()), (0, 0), "{ledger}");
    }
    let tcp = client.stack().tcp_counters();
    assert_eq!(
        (tcp.connected, tcp.closed, tcp.bytes_in),
        (200, 200, 200 * 9000)
    );
    assert_eq!(tcp.retransmits, 0);
}

#[test]
fn a_long_stream_is_paced_by_the_reader_and_intact() {
    let (mut server, mut client) = pair(
        host(SERVER),
        Echo::new(),
        host(CLIENT),
        Client::new(8 << 20),
    );
    let mut world = World::default();
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, 60 * SECOND, |s, c| {
        c.app().ends.len() == 1 && s.app().closed.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Finished]);
}

#[test]
fn few_frames_for_many_flows_starve_nobody() {
    let mut scarce = host(SERVER);
    scarce.frames = 256;
    let mut few = host(CLIENT);
    few.frames = 256;
    let (mut server, mut client) = pair(scarce, Echo::new(), few, Client::new(100_000));
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..30 {
            app.open(cx);
        }
    });
    until(
        &mut world,
        &mut server,
        &mut client,
        600 * SECOND,
        |_, c| c.app().ends.len() == 30,
    );
    assert_eq!(client.app().ends, [Reason::Finished; 30]);
}

/// Found by the simulation, seed 48000: whoever had frames got the next ones
/// too, and the others waited until it was done.
#[test]
fn who_has_frames_leaves_some_to_who_waits() {
    let mut scarce = host(CLIENT);
    scarce.frames = 48;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), scarce, Client::new(2_000_000));
    let mut world = World::default();
    client.with(|app, cx| {
        app.open(cx);
        app.open(cx);
    });
    let mut sent = [0; 2];
    while sent.iter().all(|n| *n < 1_000_000) {
        assert!(world.step(&mut [&mut server as &mut dyn Turns, &mut client]));
        let flows: Vec<_> = client.app().flows.keys().copied().collect();
        for (flow, n) in flows.iter().zip(&mut sent) {
            let info = client.with(|_, cx| cx.info(*flow));
            *n = info.map_or(0, |i| i.counters.bytes_acked);
        }
    }
    assert!(sent.iter().all(|n| *n > 300_000), "{sent:?}");
}

#[test]
fn a_port_without_listener_refuses() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    client.with(|app, cx| {
        app.server = at(SERVER, 81);
        app.open(cx)
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Refused]);
    assert_eq!(server.stack().drops()[DropReason::TcpPortClosed], 1);
    assert_eq!(server.stack().counters().resets_stray, 1);
    assert_eq!(client.stack().flows.len(), 0);
}

#[test]
fn an_address_that_nobody_has_is_unreachable() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    client.with(|app, cx| {
        app.server = at("10.0.0.77", 80);
        app.open(cx)
    });
    until(&mut world, &mut server, &mut client, 20 * SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Unreachable]);
    assert_eq!(client.stack().flows.len(), 0);
    let elsewhere = client.with(|_, cx| cx.connect(at("192.0.2.1", 80)));
    assert!(
        matches!(elsewhere, Err(ConnectError::NoRoute(..))),
        "{elsewhere:?}"
    );
}

#[test]
fn a_connection_leaves_from_the_address_that_was_asked_for() {
    let mut many = host(CLIENT);
    many.addresses = vec!["10.0.0.3/24".parse().unwrap()];
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), many, Client::new(1000));
    let mut world = World::default();
    let second = "10.0.0.3".parse().unwrap();
    client.with(|app, cx| {
        app.open(cx);
        let flow = cx.connect_from(second, app.server).unwrap();
        app.flows.insert(flow, (0, 0));
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 2
    });
    let mut peers: Vec<_> = server.app().accepted.iter().map(|a| a.1.ip()).collect();
    peers.sort();
    assert_eq!(peers, [CLIENT.parse::<std::net::IpAddr>().unwrap(), second]);
    let others = client.with(|_, cx| cx.connect_from("10.0.0.9".parse().unwrap(), at(SERVER, 80)));
    assert!(
        matches!(others, Err(ConnectError::NoRoute(..))),
        "{others:?}"
    );
}

#[test]
fn a_connection_keeps_the_codepoint_that_it_was_given() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(0));
    let mut world = World::default();
    let flow = client.with(|app, cx| {
        let flow = app.open(cx);
        cx.set_dscp(flow, 46);
        flow
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().connected == 1
    });
    let route = |engine: &Node<Client>| {
        let slot = engine.stack().flows.get(flow).unwrap();
        let route = slot.route.clone().unwrap();
        let mut out = [0; 34];
        route.template.write(&mut out, 20, 0);
        (out[15], route.refresh)
    };
    let (tos, first) = route(&client);
    assert_eq!(tos, 46 << 2);
    // The route that is looked up next has it too.
    world.advance(100 * SECOND);
    client.with(|_, cx| cx.set_nodelay(flow, true));
    world.settle(&mut [&mut server, &mut client], SECOND);
    let (tos, second) = route(&client);
    assert!(second > first, "looked up again");
    assert_eq!(tos, 46 << 2);
    client.with(|_, cx| cx.set_dscp(flow, 0));
    assert_eq!(route(&client).0, 0);
}

#[test]
fn a_refused_accept_resets_and_is_never_heard_of_again() {
    let mut echo = Echo::new();
    echo.accept = false;
    let (mut server, mut client) = pair(host(SERVER), echo, host(CLIENT), Client::new(1));
    let mut world = World::default();
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Reset]);
    assert_eq!(server.app().closed, []);
    assert_eq!(server.stack().flows.len(), 0);
}

#[test]
fn an_abort_resets_the_peer_and_frees_both() {
    let mut lasting = Client::new(3000);
    lasting.close = false;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 1
    });
    client.with(|_, cx| cx.abort(flow));
    until(&mut world, &mut server, &mut client, SECOND, |s, c| {
        s.app().closed.len() + c.app().ends.len() == 2
    });
    assert_eq!(client.app().ends, [Reason::Aborted]);
    assert_eq!(server.app().closed, [Reason::Reset]);
    world.settle(&mut [&mut server, &mut client], SECOND);
    for ledger in [server.ledger(), client.ledger()] {
        assert_eq!(ledger.outstanding(), 0, "{ledger}");
    }
    // The handle outlives its connection harmlessly.
    client.with(|_, cx| {
        assert_eq!(cx.send(flow, b"late"), 0);
        assert_eq!(cx.recv_chunk(flow), None);
        assert!(cx.prepare(flow).is_none());
        assert!(cx.info(flow).is_none());
        cx.shutdown(flow);
        cx.abort(flow);
    });
}

#[test]
fn the_table_is_bounded_and_time_wait_gives_way() {
    let mut small = host(CLIENT);
    small.config.max_flows = 4;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), small, Client::new(10));
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..4 {
            app.open(cx);
        }
        assert_eq!(cx.connect(app.server), Err(ConnectError::TooManyFlows));
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 4
    });
    let waits = client.stack().flows.indices().collect::<Vec<_>>();
    for index in &waits {
        let state = client
            .stack()
            .flows
            .at(*index)
            .unwrap()
            .conn
            .tcp()
            .unwrap()
            .state();
        assert_eq!(state, State::TimeWait);
    }
    assert_eq!(waits.len(), 4);
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 5
    });
    assert_eq!(client.app().ends, [Reason::Finished; 5]);
}

#[test]
fn ipv6_works_alike() {
    let six = |last: u8| Host::new(format!("2001:db8::{last}/64").parse().unwrap());
    let mut echo = Echo::new();
    echo.listen = "[::]:80".parse().unwrap();
    let mut app = Client::new(20_000);
    app.server = "[2001:db8::1]:80".parse().unwrap();
    let (mut server, mut client) = pair(six(1), echo, six(2), app);
    let mut world = World::default();
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, 10 * SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Finished]);
}

#[test]
fn packets_go_through_without_a_copy() {
    let mut lasting = Client::new(0);
    lasting.close = false;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().connected == 1
    });
    client.with(|app, cx| {
        app.bytes = 1000;
        let mut packet = cx.prepare(flow).unwrap();
        assert_eq!(packet.len(), cx.send_mss(flow));
        packet.truncate(1000);
        let sum = {
            let bytes = cx.bytes_mut(&mut packet);
            for (i, b) in bytes.iter_mut().enumerate() {
                *b = Client::byte(flow, i);
            }
            crate::wire::checksum::Sum::of(bytes)
        };
        cx.send_packet(flow, packet, sum).unwrap();
        let early = cx.prepare(flow).unwrap();
        cx.free(early);
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 1
    });
    assert_eq!(client.pool().copied(), 0);
}

#[test]
fn one_ack_answers_a_batch() {
    let (mut server, mut client) = pair(
        host(SERVER),
        Echo::new(),
        host(CLIENT),
        Client::new(200_000),
    );
    let mut world = World::default();
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, 10 * SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    let tcp = server.stack().tcp_counters();
    // The echo carries the acks: no more segments than there are of data,
    // plus the handshake's and some for the ends of batches.
    assert!(tcp.segments_out < 200, "{tcp:?}");
}

/// Reads nothing until it is told to, and closes first, or last.
#[derive(Default)]
struct Late {
    last: bool,
    flow: Option<Flow>,
    accepted: usize,
    ends: Vec<Reason>,
}

impl Application for Late {
    type Message = Note;

    fn start(&mut self, cx: &mut Context<'_, Note>) {
        cx.listen(at("0.0.0.0", 80), 8).unwrap();
    }

    fn accept(
        &mut self,
        cx: &mut Context<'_, Note>,
        flow: Flow,
        _: SocketAddr,
        _: SocketAddr,
    ) -> bool {
        self.accepted += 1;
        self.flow.get_or_insert(flow);
        if !self.last {
            cx.shutdown(flow);
        }
        true
    }

    fn readable(&mut self, _: &mut Context<'_, Note>, _: Flow) {}

    fn closed(&mut self, _: &mut Context<'_, Note>, _: Flow, reason: Reason) {
        self.ends.push(reason);
    }
}

/// Found by the simulation, seed 139: the application lost what it had not
/// read, and never heard the end.
#[test]
fn a_new_connection_does_not_replace_one_that_is_not_read_yet() {
    let mut only = host(CLIENT);
    only.config.ports = 50_000..=50_000;
    let mut app = Client::new(100);
    app.close = false;
    let (mut server, mut client) = pair(host(SERVER), Late::default(), only, app);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().accepted == 1
    });
    client.with(|_, cx| cx.shutdown(flow));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    let index = server.app().flow.unwrap().index() as u32;
    let state = |s: &Node<Late>| {
        s.stack()
            .flows
            .at(index)
            .unwrap()
            .conn
            .tcp()
            .unwrap()
            .state()
    };
    assert_eq!(state(&server), State::TimeWait);
    // The same port again, while the server has not read.
    client.with(|app, cx| app.open(cx));
    let soon = Duration::from_millis(5);
    world.settle(&mut [&mut server as &mut dyn Turns, &mut client], soon);
    assert_eq!(server.app().accepted, 1);
    assert_eq!(state(&server), State::Closed);
    // The client's reset has ended TIME-WAIT, and its next SYN finds the way
    // clear; what is unread stays.
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().accepted == 2
    });
    assert!(server.app().ends.is_empty());
    server.with(|app, cx| {
        let flow = app.flow.unwrap();
        assert_eq!(cx.recv_available(flow), 100);
        cx.recv_consume(flow, 100);
    });
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().ends == [Reason::Finished]
    });
}

/// Found by the simulation, seed 36969: the peer's SYNs went unanswered for as
/// long as the application had not read all of the connection before.
#[test]
fn a_connection_that_is_over_but_not_read_is_in_nobodys_way() {
    let mut only = host(CLIENT);
    only.config.ports = 50_000..=50_000;
    only.config.tcp = Arc::new(tcp::Config {
        time_wait: Duration::from_millis(1),
        ..tcp::Config::default()
    });
    let mut app = Client::new(100);
    app.close = false;
    let late = Late {
        last: true,
        ..Late::default()
    };
    let (mut server, mut client) = pair(host(SERVER), late, only, app);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().accepted == 1
    });
    let first = server.app().flow.unwrap();
    client.with(|_, cx| cx.shutdown(flow));
    world.settle(&mut [&mut server as &mut dyn Turns, &mut client], SECOND);
    server.with(|_, cx| cx.shutdown(first));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    // The client's TIME-WAIT.
    world.settle(&mut [&mut server as &mut dyn Turns, &mut client], SECOND);
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().accepted == 2
    });
    server.with(|_, cx| {
        assert_eq!(cx.recv_available(first), 100);
        cx.recv_consume(first, 100);
    });
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().ends == [Reason::Finished]
    });
}

#[test]
fn a_connection_leaves_from_the_port_and_with_the_settings_that_were_asked_for() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(10));
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    let settings = tcp::Config {
        timestamps: false,
        ..tcp::Config::default()
    };
    let options = ConnectOptions {
        port: Some(1234),
        tcp: Some(settings.into()),
        ..ConnectOptions::default()
    };
    let remote = at(SERVER, 80);
    let flow = client.with(|app, cx| {
        let flow = cx.connect_with(remote, &options).unwrap();
        app.flows.insert(flow, (0, 0));
        flow
    });
    assert_eq!(client.with(|_, cx| cx.local(flow)), Some(at(CLIENT, 1234)));
    let again = client.with(|_, cx| cx.connect_with(remote, &options));
    assert_eq!(again, Err(ConnectError::NoPort(remote)));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().connected == 1
    });
    let info = client.with(|_, cx| cx.info(flow)).unwrap();
    assert!(!info.timestamps && info.sack);
}

#[test]
fn a_listener_gives_its_connections_its_own_settings() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(10));
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    let settings = tcp::Config {
        sack: false,
        max_segment: Some(700),
        ..tcp::Config::default()
    };
    server.with(|_, cx| cx.tune_listener(at("0.0.0.0", 80), settings.into()));
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().connected == 1
    });
    let flow = *client.app().flows.keys().next().unwrap();
    let info = client.with(|_, cx| cx.info(flow)).unwrap();
    assert!(!info.sack && info.timestamps);
    assert_eq!(info.snd_mss, 700 - 12);
}
