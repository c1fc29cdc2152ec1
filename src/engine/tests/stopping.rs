//! Orderly stops, after which every frame is accounted for.

use super::*;

#[test]
fn a_stop_lets_connections_finish() {
    let mut lasting = Client::new(50_000);
    lasting.close = false;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().accepted.len() == 1
    });
    server.stop();
    until(&mut world, &mut server, &mut client, SECOND, |s, c| {
        c.app().finished == 1 && s.app().stops == 1
    });
    assert!(server.is_stopping());
    server.with(|app, cx| {
        assert!(cx.is_stopping());
        assert!(matches!(
            cx.listen(app.listen, 1),
            Err(ListenError::Stopping)
        ));
        assert_eq!(cx.connect(at(CLIENT, 1)), Err(ConnectError::Stopping));
    });
    // A newcomer is refused; the old connection ends in order.
    client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().ends.len() == 1
    });
    assert_eq!(client.app().ends, [Reason::Refused]);
    client.with(|_, cx| cx.shutdown(flow));
    while !server.turn(world.now()).stopped {
        world.step(&mut [&mut client, &mut server]);
        assert!(world.now() < Instant::from_millis(5_000));
    }
    assert_eq!(server.app().closed, [Reason::Finished]);
    assert_eq!(server.app().stops, 1);
    assert_eq!(server.ledger().outstanding(), 0, "{}", server.ledger());
    assert_eq!(server.stack().flows.len(), 0);
}

#[test]
fn what_does_not_finish_in_time_is_reset() {
    let mut quick = host(SERVER);
    quick.config.drain = Duration::from_millis(300);
    let mut lasting = Client::new(1000);
    lasting.close = false;
    let (mut server, mut client) = pair(quick, Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    client.with(|app, cx| {
        for _ in 0..10 {
            app.open(cx);
        }
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 10
    });
    let begun = world.now();
    server.with(|_, cx| cx.stop());
    while !server.turn(world.now()).stopped {
        world.step(&mut [&mut client, &mut server]);
        assert!(world.now() < begun + SECOND);
    }
    assert!(world.now() >= begun + Duration::from_millis(300));
    assert_eq!(server.app().closed, [Reason::Aborted; 10]);
    world.settle(&mut [&mut client], SECOND / 10);
    assert_eq!(client.app().ends, [Reason::Reset; 10]);
    assert_eq!(server.ledger().outstanding(), 0, "{}", server.ledger());
    assert_eq!(client.ledger().outstanding(), 0, "{}", client.ledger());
}

#[test]
fn frames_that_another_thread_has_are_waited_for() {
    let mut lasting = Client::new(3000);
    lasting.close = false;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 1
    });
    // A disk thread gets a frame to fill; its connection ends meanwhile.
    let (mailbox, packet) = server.with(|app, cx| {
        let flow = app.accepted[0].0;
        (cx.mailbox(), cx.prepare(flow).unwrap())
    });
    client.with(|_, cx| cx.abort(flow));
    until(&mut world, &mut server, &mut client, SECOND, |s, _| {
        s.app().closed.len() == 1
    });
    assert_eq!(server.ledger().outstanding(), 1);
    server.stop();
    for _ in 0..100 {
        let now = world.now();
        assert!(!server.turn(now).stopped);
        world.advance(Duration::from_millis(1));
    }
    assert!(mailbox.send(Note::Frame(packet)).is_ok());
    for _ in 0..3 {
        server.turn(world.now());
        world.advance(Duration::from_millis(1));
    }
    assert!(server.turn(world.now()).stopped);
    assert_eq!(server.ledger().outstanding(), 0);
    assert!(mailbox.send(Note::Number(1)).is_err());
}

#[test]
fn a_frame_that_never_comes_back_does_not_hold_up_the_stop() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    let lost = server.core.pool.alloc().unwrap();
    server.stop();
    let begun = world.now();
    while !server.turn(world.now()).stopped {
        world.step(&mut [&mut server]);
        assert!(world.now() < begun + 5 * SECOND);
    }
    assert_eq!(server.ledger().outstanding(), 1);
    server.core.pool.free(lost);
}

#[test]
fn a_stopped_engine_does_nothing() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    server.stop();
    while !server.turn(world.now()).stopped {
        world.advance(Duration::from_millis(1));
    }
    client.with(|app, cx| app.open(cx));
    world.settle(&mut [&mut client, &mut server], SECOND);
    let turn = server.turn(world.now());
    assert_eq!((turn.worked, turn.next, turn.stopped), (false, None, true));
    assert_eq!(server.stack().flows.len(), 0);
}

#[test]
fn who_waits_for_its_last_frames_answers_nobody() {
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), Client::new(1));
    let mut world = World::default();
    world.settle(&mut [&mut server as &mut dyn Turns, &mut client], SECOND);
    let late = server.core.pool.alloc().unwrap();
    server.stop();
    for _ in 0..3 {
        world.step(&mut [&mut server]);
    }
    // Strays come in all the time: each answer would be a frame to wait for.
    client.with(|app, cx| app.open(cx));
    world.settle(&mut [&mut client, &mut server], SECOND / 2);
    assert_eq!(server.stack().counters().resets_stray, 0);
    assert_eq!(server.ledger().outstanding(), 1);
    server.core.pool.free(late);
    world.settle(&mut [&mut client, &mut server], SECOND / 10);
    assert!(server.turn(world.now()).stopped);
    assert_eq!(server.ledger().outstanding(), 0);
}
