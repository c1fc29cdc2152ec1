//! Sends back what it receives: the smallest application.
//!
//! `cargo run --example echo -- INTERFACE [PORT]`, as root; then
//! `nc ADDRESS PORT` from another host, or from the other end of a veth pair.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use fullbore::cli::node::{Node, NodeOptions};
use fullbore::engine::{Application, Context, Flow, Reason};

struct Echo {
    port: u16,
    /// Flows whose peer has ended its stream, and is still owed bytes.
    ending: HashSet<Flow>,
}

impl Echo {
    /// Moves what is readable to where it came from, as far as there is room.
    fn pump(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        while let Some(chunk) = cx.recv_chunk(flow).map(<[u8]>::to_vec) {
            let taken = cx.send(flow, &chunk);
            cx.recv_consume(flow, taken);
            if taken < chunk.len() {
                // `writable` comes when there is room again.
                return;
            }
        }
        if self.ending.remove(&flow) {
            cx.shutdown(flow);
        }
    }
}

impl Application for Echo {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port));
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port));
        for local in [v4, v6] {
            if let Err(error) = cx.listen(local, 128) {
                eprintln!("error: {error}");
                cx.stop();
            }
        }
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.ending.insert(flow);
        self.pump(cx, flow);
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, flow: Flow, reason: Reason) {
        self.ending.remove(&flow);
        println!("{flow:?}: {reason}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(interface) = arguments.next() else {
        return Err("usage: echo INTERFACE [PORT]".into());
    };
    let port = arguments.next().map_or(Ok(7), |p| p.parse())?;
    let node = Node::start(&NodeOptions::new(interface), |_| Echo {
        port,
        ending: HashSet::new(),
    })?;
    println!("{:?}", node.in_force());
    node.join()?;
    Ok(())
}
