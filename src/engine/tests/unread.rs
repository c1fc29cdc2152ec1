//! Applications that do not read, and pools that are small for what arrives.

use super::*;
use crate::stats::DropReason;

/// Sends back what it gets, but of the first `keep` connections reads nothing
/// before it is `open`.
struct Shelf {
    echo: Echo,
    keep: usize,
    open: bool,
}

impl Shelf {
    fn new(keep: usize) -> Self {
        Self {
            echo: Echo::new(),
            keep,
            open: false,
        }
    }

    fn reads(&self, flow: Flow) -> bool {
        self.open
            || self.echo.accepted[self.keep.min(self.echo.accepted.len())..]
                .iter()
                .any(|a| a.0 == flow)
    }

    fn open(&mut self, cx: &mut Context<'_, Note>) {
        self.open = true;
        for (flow, ..) in self.echo.accepted.clone() {
            self.echo.pump(cx, flow);
        }
    }
}

impl Application for Shelf {
    type Message = Note;

    fn start(&mut self, cx: &mut Context<'_, Note>) {
        self.echo.start(cx);
    }

    fn accept(
        &mut self,
        cx: &mut Context<'_, Note>,
        flow: Flow,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> bool {
        self.echo.accept(cx, flow, peer, local)
    }

    fn readable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        if self.reads(flow) {
            self.echo.readable(cx, flow);
        }
    }

    fn writable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        if self.reads(flow) {
            self.echo.writable(cx, flow);
        }
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.echo.pending.insert(flow, true);
        if self.reads(flow) {
            self.echo.pump(cx, flow);
        }
    }

    fn closed(&mut self, cx: &mut Context<'_, Note>, flow: Flow, reason: Reason) {
        self.echo.closed(cx, flow, reason);
    }
}

/// Steps until `done`, and sees that what is not read has not more than its
/// part of the frames.
fn watched(
    world: &mut World,
    server: &mut Node<Shelf>,
    client: &mut Node<Client>,
    limit: Duration,
    done: impl Fn(&Node<Client>) -> bool,
) {
    until(world, server, client, limit, |s, c| {
        let (ledger, chunks) = (s.ledger(), s.pool().region().chunks());
        assert!(ledger.unread <= chunks * 5 / 8, "{ledger}");
        done(c)
    });
}

/// Found by fuzzing: 64 KiB in each of a few connections that are not read
/// were all frames that there are.
#[test]
fn who_does_not_read_leaves_frames_to_the_others() {
    for (frames, keep) in [(512, 40), (64, 6), (24, 2)] {
        let mut scarce = host(SERVER);
        scarce.frames = frames;
        let mut rich = host(CLIENT);
        rich.frames = 16_384;
        let (mut server, mut client) = pair(scarce, Shelf::new(keep), rich, Client::new(64 << 10));
        let mut world = World::default();
        client.with(|app, cx| {
            for _ in 0..keep {
                app.open(cx);
            }
        });
        until(&mut world, &mut server, &mut client, 10 * SECOND, |s, c| {
            s.app().echo.accepted.len() == keep && c.app().connected == keep
        });
        let full = world.now() + 2 * SECOND;
        while world.now() < full {
            world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
        }
        assert!(server.stack().drops()[DropReason::UnreadFull] > 0);
        // Others come, have all they want, and go.
        for n in 1..=5 {
            client.with(|app, cx| app.open(cx));
            watched(&mut world, &mut server, &mut client, 60 * SECOND, |c| {
                c.app().finished == n
            });
        }
        // Nothing is lost of what had to wait.
        server.with(|app, cx| app.open(cx));
        watched(&mut world, &mut server, &mut client, 600 * SECOND, |c| {
            c.app().ends.len() == keep + 5
        });
        assert_eq!(client.app().ends, vec![Reason::Finished; keep + 5]);
        assert_eq!(server.ledger().unread, 0);
    }
}

#[test]
fn who_is_alone_has_its_whole_buffer() {
    const BUFFER: u32 = 1 << 20;
    let mut small = host(SERVER);
    small.frames = 2048;
    small.config.tcp = std::sync::Arc::new(crate::tcp::Config {
        recv_buffer: BUFFER,
        ..crate::tcp::Config::default()
    });
    let mut rich = host(CLIENT);
    rich.frames = 16_384;
    let (mut server, mut client) = pair(small, Echo::new(), rich, Client::new(16 << 20));
    let mut world = World::default();
    let flow = client.with(|app, cx| app.open(cx));
    let mut widest = 0;
    while client.app().ends.is_empty() {
        assert!(world.step(&mut [&mut server as &mut dyn Turns, &mut client]));
        let info = client.with(|_, cx| cx.info(flow));
        widest = widest.max(info.map_or(0, |i| i.snd_wnd));
    }
    assert!(widest >= BUFFER - 4096, "{widest}");
    assert_eq!(server.stack().drops()[DropReason::UnreadFull], 0);
}
