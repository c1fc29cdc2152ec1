//! Mailboxes, timers and the real loop.

use super::*;
use std::sync::mpsc;

#[test]
fn timers_fire_once_in_time_and_not_for_closed_flows() {
    let mut lasting = Client::new(10);
    lasting.close = false;
    let (mut server, mut client) = pair(host(SERVER), Echo::new(), host(CLIENT), lasting);
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().finished == 1
    });
    let start = world.now();
    let cancelled = client.with(|_, cx| {
        cx.set_timer(None, 1, Duration::from_millis(5));
        cx.set_timer(Some(flow), 2, Duration::from_millis(10));
        cx.set_timer(Some(flow), 3, Duration::from_millis(400));
        cx.set_timer(None, 5, Duration::from_millis(500));
        cx.set_timer(None, 4, Duration::from_millis(20))
    });
    client.with(|_, cx| cx.cancel_timer(cancelled));
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        !c.app().timers.is_empty()
    });
    let late = world.now().since(start + Duration::from_millis(5));
    assert!(late < Duration::from_millis(1), "{late:?}");
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().timers.len() == 2
    });
    client.with(|_, cx| {
        cx.abort(flow);
        // Its index is in use again, its generation is not.
        cx.cancel_timer(cancelled);
    });
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().timers.len() == 3
    });
    assert_eq!(client.app().timers, [(None, 1), (Some(flow), 2), (None, 5)]);
}

#[test]
fn messages_arrive_and_a_full_mailbox_says_so() {
    let mut small = host(SERVER);
    small.mailbox = 4;
    let (mut server, mut client) = pair(small, Echo::new(), host(CLIENT), Client::new(1));
    let mailbox = server.with(|_, cx| cx.mailbox());
    for n in 0..4 {
        assert!(mailbox.send(Note::Number(n)).is_ok());
    }
    assert!(mailbox.send(Note::Number(4)).is_err());
    let mut world = World::default();
    world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    let numbers: Vec<u32> = server
        .app()
        .messages
        .iter()
        .map(|m| match *m {
            Note::Number(n) => n,
            Note::Frame(_) => unreachable!("no frame was sent"),
        })
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert!(mailbox.send(Note::Number(4)).is_ok());
}

/// The engines run on threads of their own, asleep unless woken.
#[test]
fn sleeping_engines_serve_wake_and_stop() {
    for idle in [
        Idle::Sleep,
        Idle::Adaptive {
            spin: Duration::from_micros(50),
        },
    ] {
        let (near, far) = MemoryLink::pair(1024).unwrap();
        let clock = Clock::new();
        let (wakers, woken) = mpsc::channel();
        let (ended, ends) = mpsc::channel();
        let wakers2 = wakers.clone();
        let ended2 = ended.clone();
        let server = spawn("fb-server".into(), Some(0), move || {
            let mut h = host(SERVER);
            h.config.idle = idle;
            let inbox = Inbox::new(8).unwrap();
            let mut engine = h.build_with(near, Echo::new(), inbox);
            wakers.send(engine.with(|_, cx| cx.mailbox())).unwrap();
            let end = engine.run(clock)?;
            ended.send((engine.app().closed.len(), end)).unwrap();
            Ok(())
        })
        .unwrap();
        let mut server_box = woken.recv().unwrap();
        let client = spawn("fb-client".into(), None, move || {
            let mut h = host(CLIENT);
            h.config.idle = idle;
            let inbox = Inbox::new(8).unwrap();
            let mut engine = h.build_with(far, Client::new(100_000), inbox);
            engine.with(|app, cx| {
                app.open(cx);
                app.open(cx)
            });
            wakers2.send(engine.with(|_, cx| cx.mailbox())).unwrap();
            let end = engine.run(clock)?;
            assert_eq!(engine.app().ends, [Reason::Finished; 2]);
            ended2.send((engine.app().ends.len(), end)).unwrap();
            Ok(())
        })
        .unwrap();
        let client_box = woken.recv().unwrap();
        // Both transfers take milliseconds; the engines then sleep.
        std::thread::sleep(Duration::from_millis(500));
        server_box.send(Note::Number(1)).ok().unwrap();
        client_box.waker().stop();
        client.join().unwrap().unwrap();
        server_box = {
            server_box.waker().stop();
            server_box
        };
        server.join().unwrap().unwrap();
        assert!(server_box.is_closed());
        for _ in 0..2 {
            let (closed, end) = ends.recv().unwrap();
            assert_eq!(closed, 2);
            assert_eq!(end.ledger.outstanding(), 0, "{}", end.ledger);
        }
    }
}

#[test]
fn a_core_that_does_not_exist_is_an_error() {
    let thread = spawn("fb-nowhere".into(), Some(100_000), || Ok(())).unwrap();
    let error = thread.join().unwrap().unwrap_err();
    assert!(
        matches!(error, RunError::NotPinned { core: 100_000, .. }),
        "{error}"
    );
}
