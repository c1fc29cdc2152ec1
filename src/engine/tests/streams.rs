//! One way streams: how they are acknowledged, and how much waits to be sent.

use super::*;

/// Sends `bytes` when its connection opens, and notes how much it could give at
/// once.
struct Source {
    left: usize,
    flow: Option<Flow>,
    most_unsent: usize,
}

impl Source {
    fn pump(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        let block = [7; 10_000];
        let mut given = 0;
        while self.left > 0 {
            let n = cx.send(flow, &block[..block.len().min(self.left)]);
            if n == 0 {
                break;
            }
            self.left -= n;
            given += n;
        }
        self.most_unsent = self.most_unsent.max(given);
    }
}

impl Application for Source {
    type Message = Note;

    fn start(&mut self, cx: &mut Context<'_, Note>) {
        self.flow = Some(cx.connect(at(SERVER, 80)).unwrap());
    }

    fn connected(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn readable(&mut self, _: &mut Context<'_, Note>, _: Flow) {}

    fn closed(&mut self, _: &mut Context<'_, Note>, _: Flow, reason: Reason) {
        panic!("closed: {reason:?}");
    }
}

/// Reads whatever comes.
#[derive(Default)]
struct Drain {
    read: usize,
}

impl Application for Drain {
    type Message = Note;

    fn start(&mut self, cx: &mut Context<'_, Note>) {
        cx.listen(at("0.0.0.0", 80), 8).unwrap();
    }

    fn accept(&mut self, _: &mut Context<'_, Note>, _: Flow, _: SocketAddr, _: SocketAddr) -> bool {
        true
    }

    fn readable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.read += cx.recv_each(flow, <[u8]>::len);
    }

    fn closed(&mut self, _: &mut Context<'_, Note>, _: Flow, _: Reason) {}
}

fn stream(bytes: usize, batch: usize) -> (Node<Drain>, Node<Source>, World) {
    let source = Source {
        left: bytes,
        flow: None,
        most_unsent: 0,
    };
    let mut near = host(SERVER);
    near.config.batch = batch;
    let (mut server, mut client) = pair(near, Drain::default(), host(CLIENT), source);
    let mut world = World::default();
    until(&mut world, &mut server, &mut client, 10 * SECOND, |s, _| {
        s.app().read == bytes
    });
    (server, client, world)
}

/// Small batches are answered together while they follow each other, and the
/// last of them as soon as none follows.
#[test]
fn acknowledgements_of_a_stream_are_stretched_and_none_is_forgotten() {
    const BYTES: usize = 4 << 20;
    let (mut server, mut client, mut world) = stream(BYTES, 4);
    let tcp = server.stack().tcp_counters();
    let segments = (BYTES / 1448) as u64;
    assert!(tcp.segments_in >= segments);
    // One for each batch of four would be a quarter.
    assert!(tcp.segments_out < segments / 10, "{tcp:?}");
    let acked = |c: &Node<Source>| {
        let flow = c.app().flow.unwrap();
        c.stack()
            .flows
            .get(flow)
            .unwrap()
            .conn
            .tcp()
            .unwrap()
            .info()
            .unacked
            == 0
    };
    // Long before the timer of delayed acknowledgements, but for what is no
    // more than one segment.
    until(
        &mut world,
        &mut server,
        &mut client,
        Duration::from_millis(41),
        |_, c| acked(c),
    );
    assert_eq!(client.stack().tcp_counters().retransmits, 0);
}

/// Whoever writes is asked for more when it can leave soon, not long before.
#[test]
fn little_waits_to_be_sent() {
    let (_, client, _) = stream(4 << 20, 64);
    let most = client.app().most_unsent;
    assert!((64 << 10..=256 << 10).contains(&most), "{most}");
}
