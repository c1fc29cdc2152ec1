//! Many connections at once, and what becomes of them at rest.

use super::*;
use crate::stats::TcpCounters;

/// Opens connections, and sends what it is asked to.
#[derive(Default)]
struct Asker {
    flows: Vec<Flow>,
    answers: usize,
}

impl Application for Asker {
    type Message = ();

    fn connected(&mut self, _: &mut Context<'_, ()>, flow: Flow) {
        self.flows.push(flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let n = cx.recv_available(flow);
        cx.recv_consume(flow, n);
        self.answers += n;
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, reason: Reason) {
        panic!("closed: {reason}");
    }
}

const FLOWS: usize = 600;

/// Opens connections, uses them in rounds and lets them rest; answers what the
/// server's have counted after each round.
fn rounds(settle: bool) -> Vec<TcpCounters> {
    let mut host_of_client = host(CLIENT);
    host_of_client.config.max_flows = FLOWS;
    let (mut server, mut client) =
        pair(host(SERVER), Echo::new(), host_of_client, Asker::default());
    let mut world = World::default();
    let (mut counted, mut kept) = (Vec::new(), false);
    for n in 0..FLOWS {
        client.with(|_, cx| cx.connect(at(SERVER, 80)).unwrap());
        if n % 50 == 49 {
            world.settle(&mut [&mut server, &mut client], SECOND);
        }
    }
    until(&mut world, &mut server, &mut client, SECOND, |_, c| {
        c.app().flows.len() == FLOWS
    });
    for round in 0..12 {
        client.with(|app, cx| {
            // All of them in a batch, then some, in no order.
            let some = if round == 0 { FLOWS } else { 40 * round };
            for n in 0..some {
                let flow = app.flows[(n * 7919 + round) % FLOWS];
                assert_eq!(cx.send(flow, &[7]), 1);
            }
        });
        for step in 0..400 {
            if settle && step % 7 == round {
                server.core.stack.flows.settle();
            }
            world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
            let stack = server.stack();
            let mut all = stack.flows.indices().filter_map(|i| stack.flows.at(i));
            kept |= round == 0 && all.any(|s| s.conn.has_slack());
        }
        assert!(kept, "in use, memory is kept");
        counted.push(server.stack().tcp_counters());
    }
    world.settle(&mut [&mut server, &mut client], 11 * SECOND);
    for node in [server.stack(), client.stack()] {
        for index in node.flows.indices() {
            let conn = node.flows.at(index).unwrap().conn.tcp().unwrap();
            assert!(!conn.has_slack(), "at rest it keeps what it has no use for");
        }
        assert_eq!(node.rest_timeout(), None);
    }
    counted.push(server.stack().tcp_counters());
    counted
}

#[test]
fn what_is_settled_is_neither_lost_nor_counted_twice() {
    let (often, never) = (rounds(true), rounds(false));
    assert_eq!(often, never);
    let last = often.last().unwrap();
    assert_eq!(last.bytes_in, 600 + (1..12).map(|n| 40 * n).sum::<u64>());
    assert_eq!(last.bytes_acked, last.bytes_in);
    assert!(
        often
            .windows(2)
            .all(|w| w[0].segments_in <= w[1].segments_in)
    );
}
