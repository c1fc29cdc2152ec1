//! fullbore as the host: an engine under a virtual clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fullbore::engine::sim::Host as Parts;
use fullbore::engine::{Application, Context, Engine, Flow, Reason};
use fullbore::frame::{PACKET_START, Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::stack::flow::Tuple;
use fullbore::tcp::{self, State};
use fullbore::time::Instant;

use crate::host::{Host, Standing};
use crate::kernel::{HOST_MAC, PEER_MAC};
use crate::segment::{HOST, PEER, Segment};

const PORT: u16 = 8080;
const PEER_PORT: u16 = 50_001;
/// How long a turn takes.
const TURN: Duration = Duration::from_micros(10);

#[derive(Default)]
struct Queues {
    to_host: VecDeque<Vec<u8>>,
    from_host: VecDeque<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Queues>>);

impl Link for Wire {
    fn receive(&mut self, _: Instant, pool: &mut Pool, out: &mut Vec<Packet>, max: usize) -> usize {
        let mut n = 0;
        while n < max
            && let Some(frame) = self.0.borrow_mut().to_host.pop_front()
        {
            let mut packet = pool.alloc().expect("a frame for each that comes in");
            packet.set_range(PACKET_START, frame.len() as u16);
            pool.bytes_mut(&mut packet).copy_from_slice(&frame);
            out.push(packet);
            n += 1;
        }
        n
    }

    fn transmit(&mut self, _: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        for desc in queue.drain(..) {
            let frame = pool.tx_bytes(&desc).to_vec();
            self.0.borrow_mut().from_host.push_back(frame);
            pool.complete(desc);
        }
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        Ok(())
    }
}

/// Reads nothing by itself, and remembers what it was told.
#[derive(Default)]
struct App {
    flow: Option<Flow>,
    closed: Option<Reason>,
    ended: bool,
}

impl Application for App {
    type Message = ();

    fn accept(
        &mut self,
        _: &mut Context<'_, ()>,
        flow: Flow,
        _: SocketAddr,
        _: SocketAddr,
    ) -> bool {
        self.flow = Some(flow);
        true
    }

    fn readable(&mut self, _: &mut Context<'_, ()>, _: Flow) {}

    fn peer_closed(&mut self, _: &mut Context<'_, ()>, _: Flow) {
        self.ended = true;
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, reason: Reason) {
        self.closed = Some(reason);
    }
}

/// An engine with one connection.
pub struct Simulated {
    engine: Engine<Wire, App>,
    wire: Wire,
    now: Instant,
    port: u16,
    dropped: bool,
}

impl Simulated {
    /// A host whose receive buffer is `buffer` bytes, if not the usual.
    pub fn new(buffer: Option<usize>) -> Self {
        let mut parts = Parts::new("192.0.2.1/24".parse().expect("a network"));
        parts.frames = 512;
        let mut config = tcp::Config {
            // As the kernel is set: nothing is sent again meanwhile.
            min_rto: crate::MIN_RTO,
            ..tcp::Config::default()
        };
        if let Some(n) = buffer {
            config.recv_buffer = n as u32;
        }
        parts.config.tcp = Arc::new(config);
        assert_eq!(parts.mac.0, HOST_MAC);
        let wire = Wire::default();
        let engine = parts.build(wire.clone(), App::default());
        let mut this = Self {
            engine: engine.expect("an engine"),
            wire,
            now: Instant::from_millis(1000),
            port: PORT,
            dropped: false,
        };
        this.turn();
        this
    }

    /// One turn; answers questions for the peer's Ethernet address. When
    /// something will happen next, if nothing arrives.
    fn turn(&mut self) -> Option<Instant> {
        let turn = self.engine.turn(self.now);
        let mut queues = self.wire.0.borrow_mut();
        let Queues { to_host, from_host } = &mut *queues;
        from_host.retain(|frame| {
            if frame[12..14] != [8, 6] {
                return true;
            }
            if frame[20..22] == [0, 1] && frame[38..42] == PEER.octets() {
                to_host.push_back(arp_reply(frame));
            }
            false
        });
        if turn.worked || !to_host.is_empty() {
            return Some(self.now + TURN);
        }
        turn.next.map(|next| next.max(self.now + TURN))
    }

    fn info(&self) -> Option<tcp::Info> {
        let tuple = Tuple {
            local: IpAddr::V4(HOST),
            remote: IpAddr::V4(PEER),
            local_port: self.port,
            remote_port: PEER_PORT,
        };
        let flows = &self.engine.stack().flows;
        let slot = flows.at(flows.find(&tuple)?)?;
        Some(slot.conn.info())
    }

    fn listens(&self) -> bool {
        self.engine.stack().listeners.addresses().next().is_some()
    }

    fn flow(&self) -> Flow {
        self.engine.app().flow.expect("a connection")
    }

    fn with(&mut self, call: impl FnOnce(&mut Context<'_, ()>, Flow)) {
        let flow = self.flow();
        self.engine.with(|_, cx| call(cx, flow));
        self.turn();
    }
}

fn arp_reply(question: &[u8]) -> Vec<u8> {
    let mut reply = HOST_MAC.to_vec();
    reply.extend(PEER_MAC);
    reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply.extend(PEER_MAC);
    reply.extend(PEER.octets());
    reply.extend(&question[22..32]);
    reply
}

impl Host for Simulated {
    fn ports(&self) -> (u16, u16) {
        (self.port, PEER_PORT)
    }

    fn send(&mut self, frame: &[u8]) {
        self.wire.0.borrow_mut().to_host.push_back(frame.to_vec());
    }

    fn receive(&mut self, limit: Duration) -> Option<Segment> {
        let limit = self.now + limit;
        loop {
            if let Some(frame) = self.wire.0.borrow_mut().from_host.pop_front() {
                return Some(Segment::parse(&frame).expect("a segment"));
            }
            let next = self.turn();
            if !self.wire.0.borrow().from_host.is_empty() {
                continue;
            }
            match next {
                Some(next) if next <= limit => self.now = next,
                _ => {
                    self.now = limit;
                    return None;
                }
            }
        }
    }

    fn listen(&mut self) {
        let any = SocketAddr::from(([0, 0, 0, 0], self.port));
        let result = self.engine.with(|_, cx| cx.listen(any, 16));
        result.expect("a free port");
    }

    fn connect(&mut self) {
        let peer = SocketAddr::from((PEER, PEER_PORT));
        self.port = self.engine.with(|app, cx| {
            let flow = cx.connect(peer).expect("a connection begins");
            app.flow = Some(flow);
            cx.local(flow).expect("it exists").port()
        });
    }

    fn accept(&mut self, _: Duration) -> bool {
        self.turn();
        self.engine.app().flow.is_some()
    }

    fn write(&mut self, n: usize) {
        self.with(|cx, flow| assert_eq!(cx.send(flow, &vec![b'w'; n]), n));
    }

    fn shutdown(&mut self) {
        self.with(|cx, flow| cx.shutdown(flow));
    }

    fn close(&mut self) {
        self.dropped = true;
        self.with(|cx, flow| cx.close(flow));
    }

    fn standing(&mut self) -> Standing {
        let info = self.info();
        let listening = info.is_none() && self.engine.app().flow.is_none() && self.listens();
        let state = match info {
            Some(info) => name(info.state),
            None if listening => "LISTEN",
            None => "CLOSED",
        };
        let app = self.engine.app();
        let mut standing = Standing {
            state,
            accepted: app.flow.is_some(),
            error: None,
            readable: 0,
            ended: false,
        };
        if !self.dropped {
            standing.error = app.closed.and_then(error);
            standing.readable = info.map_or(0, |i| i.recv_queue);
            standing.ended = app.ended;
        }
        standing
    }
}

const fn name(state: State) -> &'static str {
    match state {
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECEIVED",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
        State::Closed => "CLOSED",
    }
}

fn error(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Finished => None,
        Reason::Reset => Some("reset"),
        Reason::Refused => Some("refused"),
        Reason::TimedOut => Some("timed-out"),
        Reason::Unreachable => Some("unreachable"),
        Reason::Aborted => Some("aborted"),
    }
}
