//! Engines against each other over links in memory, under a virtual clock.

mod connections;
mod jumbo;
mod listening;
mod many;
mod messages;
mod stopping;
mod streams;
mod unread;
mod utp;
mod waking;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::sim::{Host, Turns, World};
use super::*;
use crate::frame::Packet;
use crate::link::MemoryLink;
use crate::time::Instant;

const SERVER: &str = "10.0.0.1";
const CLIENT: &str = "10.0.0.2";

fn host(ip: &str) -> Host {
    Host::new(format!("{ip}/24").parse().unwrap())
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

type Node<A> = Engine<MemoryLink, A>;

/// A server and a client, joined.
fn pair<A: Application, B: Application>(
    server: Host,
    a: A,
    client: Host,
    b: B,
) -> (Node<A>, Node<B>) {
    let (near, far) = MemoryLink::pair(1024).unwrap();
    (
        server.build(near, a).unwrap(),
        client.build(far, b).unwrap(),
    )
}

/// Steps until `done`, which must happen within `limit`.
fn until<A: Application, B: Application>(
    world: &mut World,
    a: &mut Node<A>,
    b: &mut Node<B>,
    limit: Duration,
    mut done: impl FnMut(&Node<A>, &Node<B>) -> bool,
) {
    let end = world.now() + limit;
    while !done(a, b) {
        assert!(world.now() < end, "not done after {limit:?}");
        world.step(&mut [&mut *a as &mut dyn Turns, &mut *b]);
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Sends back what it gets, and closes when the peer does.
struct Echo {
    listen: SocketAddr,
    transport: Transport,
    backlog: usize,
    accept: bool,
    accepted: Vec<(Flow, SocketAddr, SocketAddr)>,
    closed: Vec<Reason>,
    timers: Vec<u64>,
    messages: Vec<Note>,
    stops: usize,
    pending: HashMap<Flow, bool>,
}

/// What the tests' applications are sent.
enum Note {
    Number(u32),
    Frame(Packet),
}

impl Echo {
    fn new() -> Self {
        Self {
            listen: at("0.0.0.0", 80),
            transport: Transport::Tcp,
            backlog: 128,
            accept: true,
            accepted: Vec::new(),
            closed: Vec::new(),
            timers: Vec::new(),
            messages: Vec::new(),
            stops: 0,
            pending: HashMap::new(),
        }
    }

    fn pump(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        while let Some(chunk) = cx.recv_chunk(flow) {
            let chunk = chunk.to_vec();
            let sent = cx.send(flow, &chunk);
            cx.recv_consume(flow, sent);
            if sent < chunk.len() {
                return;
            }
        }
        if self.pending.get(&flow) == Some(&true) {
            cx.shutdown(flow);
        }
    }
}

impl Application for Echo {
    type Message = Note;

    fn start(&mut self, cx: &mut Context<'_, Note>) {
        let options = ListenOptions::new(self.transport, self.backlog);
        cx.listen_with(self.listen, options).unwrap();
    }

    fn accept(
        &mut self,
        _: &mut Context<'_, Note>,
        flow: Flow,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> bool {
        self.accepted.push((flow, peer, local));
        self.pending.insert(flow, false);
        self.accept
    }

    fn readable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.pending.insert(flow, true);
        self.pump(cx, flow);
    }

    fn closed(&mut self, _: &mut Context<'_, Note>, flow: Flow, reason: Reason) {
        assert!(
            self.pending.remove(&flow).is_some(),
            "{flow:?} closed twice"
        );
        self.closed.push(reason);
    }

    fn message(&mut self, cx: &mut Context<'_, Note>, message: Note) {
        match message {
            Note::Frame(packet) => cx.free(packet),
            other => self.messages.push(other),
        }
    }

    fn timer(&mut self, _: &mut Context<'_, Note>, _: Option<Flow>, token: u64) {
        self.timers.push(token);
    }

    fn stopping(&mut self, _: &mut Context<'_, Note>) {
        self.stops += 1;
    }
}

/// Opens connections, sends `bytes` on each, checks that they come back,
/// closes.
struct Client {
    server: SocketAddr,
    options: ConnectOptions,
    bytes: usize,
    /// Whether to close after the echo; otherwise the connection stays.
    close: bool,
    flows: HashMap<Flow, (usize, usize)>,
    connected: usize,
    finished: usize,
    ends: Vec<Reason>,
    timers: Vec<(Option<Flow>, u64)>,
    stops: usize,
}

impl Client {
    fn new(bytes: usize) -> Self {
        Self {
            server: at(SERVER, 80),
            options: ConnectOptions::default(),
            bytes,
            close: true,
            flows: HashMap::new(),
            connected: 0,
            finished: 0,
            ends: Vec::new(),
            timers: Vec::new(),
            stops: 0,
        }
    }

    fn open(&mut self, cx: &mut Context<'_, Note>) -> Flow {
        let flow = cx.connect_with(self.server, &self.options).unwrap();
        self.flows.insert(flow, (0, 0));
        flow
    }

    fn byte(flow: Flow, at: usize) -> u8 {
        (at * 7 + at / 251 + flow.index() * 31) as u8
    }

    fn push(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        let (sent, _) = self.flows.get_mut(&flow).unwrap();
        while *sent < self.bytes {
            let n = (self.bytes - *sent).min(5000);
            let data: Vec<u8> = (*sent..*sent + n).map(|i| Self::byte(flow, i)).collect();
            let taken = cx.send(flow, &data);
            *sent += taken;
            if taken < n {
                break;
            }
        }
    }
}

impl Application for Client {
    type Message = Note;

    fn connected(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.connected += 1;
        self.push(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        self.push(cx, flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, Note>, flow: Flow) {
        while let Some(chunk) = cx.recv_chunk(flow) {
            let n = chunk.len();
            let (_, got) = self.flows.get_mut(&flow).unwrap();
            for (i, byte) in chunk.iter().enumerate() {
                assert_eq!(*byte, Self::byte(flow, *got + i), "byte {}", *got + i);
            }
            *got += n;
            cx.recv_consume(flow, n);
        }
        let (_, got) = self.flows[&flow];
        assert!(got <= self.bytes);
        if got == self.bytes {
            self.finished += 1;
            if self.close {
                cx.shutdown(flow);
            }
        }
    }

    fn closed(&mut self, cx: &mut Context<'_, Note>, flow: Flow, reason: Reason) {
        assert!(self.flows.remove(&flow).is_some(), "{flow:?} closed twice");
        assert_eq!(cx.peer(flow), None);
        self.ends.push(reason);
    }

    fn timer(&mut self, _: &mut Context<'_, Note>, flow: Option<Flow>, token: u64) {
        self.timers.push((flow, token));
    }

    fn stopping(&mut self, _: &mut Context<'_, Note>) {
        self.stops += 1;
    }
}
