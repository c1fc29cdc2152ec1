//! fullbore as the host: an engine under a virtual clock, on any wire.

mod memory;
pub mod xdp;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fullbore::engine::{
    Application, ConnectOptions, Context, Engine, EngineConfig, Flow, Inbox, NoClaims, Parts,
    Reason,
};
use fullbore::frame::Pool;
use fullbore::link::Link;
use fullbore::stack::flow::Tuple;
use fullbore::stack::iface::{self, Interface, Mode};
use fullbore::tcp::{self, State};
use fullbore::time::Instant;
use fullbore::wire::eth::Mac;

use crate::host::{Host, Standing};
use crate::kernel::{HOST_MAC, PEER_MAC};
use crate::segment::{PEER, PEER_V6, Segment, ends, fold, sum};

/// Ports go round from here, so that one exchange hears nothing of another.
const FIRST_PORT: u16 = 8080;
const LAST_PORT: u16 = 49_000;
const PEER_PORT: u16 = 50_001;
/// How long a turn takes.
const TURN: Duration = Duration::from_micros(10);
/// Time between exchanges: limits on answers count by the second.
const BETWEEN: Duration = Duration::from_secs(2);

/// The wire between the peer and the engine.
pub trait Way {
    /// The engine's end.
    type Link: Link;

    /// Puts a frame on the wire to the engine.
    fn send(&mut self, frame: Vec<u8>);

    /// The next frame from the engine, if one is there.
    fn next(&mut self) -> Option<Vec<u8>>;

    /// Whether something is on its way in either direction; then it has waited
    /// a little.
    fn owes(&mut self) -> bool;

    /// What is still on its way is of no interest.
    fn forget(&mut self) {}

    /// Whether something never arrived.
    fn lost(&self) -> bool {
        false
    }
}

/// Reads nothing by itself, and remembers what it was told.
#[derive(Default)]
struct App {
    flow: Option<Flow>,
    closed: Option<Reason>,
    ended: bool,
    /// What was unread when the connection was reset.
    left: usize,
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

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let over = cx.info(flow).is_some_and(|i| i.state == State::Closed);
        if over && self.flow == Some(flow) {
            self.left = cx.recv_available(flow);
        }
    }

    fn peer_closed(&mut self, _: &mut Context<'_, ()>, flow: Flow) {
        self.ended |= self.flow == Some(flow);
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, flow: Flow, reason: Reason) {
        if self.flow == Some(flow) {
            self.closed = Some(reason);
        }
    }
}

/// An engine, with one connection at a time.
pub struct Fullbore<W: Way> {
    engine: Engine<W::Link, App>,
    way: W,
    /// Segments from the engine, not given out yet.
    heard: VecDeque<Segment>,
    now: Instant,
    v6: bool,
    port: u16,
    config: Arc<tcp::Config>,
    listener: Option<SocketAddr>,
    dropped: bool,
}

impl<W: Way> Fullbore<W> {
    fn new(way: W, link: W::Link, pool: Pool) -> Self {
        let addresses = ["192.0.2.1/24", "2001:db8::1/64"];
        let interface = Interface::new(iface::Config {
            mode: Mode::Own,
            mac: Mac(HOST_MAC),
            mtu: 1500,
            vlan: None,
            addresses: addresses.map(|a| a.parse().expect("a network")).into(),
            routes: Vec::new(),
            verify: true,
            ttl: 64,
            seed: 1,
        });
        let parts = Parts {
            link,
            pool,
            interface,
            application: App::default(),
            inbox: Inbox::new(16).expect("a mailbox"),
            claims: Box::new(NoClaims),
            feed: None,
            handover: None,
            publisher: None,
        };
        let config = EngineConfig {
            seed: [1; 32],
            ..EngineConfig::default()
        };
        Self {
            engine: Engine::new(config, parts),
            way,
            heard: VecDeque::new(),
            now: Instant::from_millis(1000),
            v6: false,
            port: FIRST_PORT,
            config: Arc::default(),
            listener: None,
            dropped: false,
        }
    }

    /// Makes an end of the exchange before, and ready for another. `buffer` is
    /// the size of the receive buffer, if not the usual.
    pub fn begin(&mut self, buffer: Option<usize>, v6: bool) {
        let listener = self.listener.take();
        self.engine.with(|app, cx| {
            if let Some(at) = listener {
                cx.unlisten(at);
            }
            if let Some(flow) = app.flow {
                cx.abort(flow);
            }
            *app = App::default();
        });
        self.turn();
        self.way.forget();
        self.now += BETWEEN;
        self.turn();
        self.heard.clear();
        let mut config = tcp::Config {
            // As the kernel is set: nothing is sent again meanwhile.
            min_rto: crate::MIN_RTO,
            ..tcp::Config::default()
        };
        if let Some(n) = buffer {
            config.recv_buffer = n as u32;
        }
        self.config = Arc::new(config);
        self.v6 = v6;
        self.dropped = false;
        self.port += 1;
        if self.port > LAST_PORT {
            self.port = FIRST_PORT;
        }
    }

    /// Whether a frame was lost, so that what was found says nothing.
    pub fn lost(&self) -> bool {
        self.way.lost()
    }

    /// One turn, and as many more at the same time as it takes for what was
    /// sent to arrive; answers questions for the peer's Ethernet address. When
    /// something will happen next, if nothing arrives.
    fn turn(&mut self) -> Option<Instant> {
        let mut turn = self.engine.turn(self.now);
        let mut worked = turn.worked;
        loop {
            while let Some(frame) = self.way.next() {
                if let Some(answer) = answer(&frame) {
                    self.way.send(answer);
                    worked = true;
                } else {
                    self.heard.extend(Segment::parse(&frame));
                }
            }
            if !self.way.owes() {
                break;
            }
            turn = self.engine.turn(self.now);
            worked |= turn.worked;
        }
        if worked {
            return Some(self.now + TURN);
        }
        turn.next.map(|next| next.max(self.now + TURN))
    }

    fn info(&self) -> Option<tcp::Info> {
        let (local, remote) = ends(self.v6);
        let tuple = Tuple {
            local,
            remote,
            local_port: self.port,
            remote_port: PEER_PORT,
        };
        let flows = &self.engine.stack().flows;
        let slot = flows.at(flows.find(&tuple)?)?;
        Some(slot.conn.tcp()?.info())
    }

    fn with(&mut self, call: impl FnOnce(&mut Context<'_, ()>, Flow)) {
        let flow = self.engine.app().flow.expect("a connection");
        self.engine.with(|_, cx| call(cx, flow));
        self.turn();
    }
}

/// The peer's answer to a question for its Ethernet address.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let mut reply = [HOST_MAC, PEER_MAC].concat();
    match (frame.get(12..14)?, frame.get(14..)?) {
        ([8, 6], arp) if arp[6..8] == [0, 1] && arp[24..28] == PEER.octets() => {
            reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
            reply.extend(PEER_MAC);
            reply.extend(PEER.octets());
            reply.extend(&arp[8..18]);
        }
        // A neighbour solicitation (RFC 4861 section 4.3).
        ([0x86, 0xdd], ip) if ip[6] == 58 && ip[40] == 135 && ip[48..64] == PEER_V6.octets() => {
            // Solicited, overriding, with the option that tells the address.
            let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
            message.extend(PEER_V6.octets());
            message.extend([2, 1]);
            message.extend(PEER_MAC);
            let addresses = [&PEER_V6.octets()[..], &ip[8..24]].concat();
            let total = sum(&addresses) + 58 + message.len() as u64 + sum(&message);
            message[2..4].copy_from_slice(&fold(total).to_be_bytes());
            reply.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
            reply.extend(addresses);
            reply.extend(message);
        }
        _ => return None,
    }
    Some(reply)
}

impl<W: Way> Host for Fullbore<W> {
    fn v6(&self) -> bool {
        self.v6
    }

    fn ports(&self) -> (u16, u16) {
        (self.port, PEER_PORT)
    }

    fn send(&mut self, frame: &[u8]) {
        self.way.send(frame.to_vec());
    }

    fn receive(&mut self, limit: Duration) -> Option<Segment> {
        let limit = self.now + limit;
        loop {
            while let Some(segment) = self.heard.pop_front() {
                // Others are what is left of earlier exchanges.
                if segment.src_port == self.port && segment.v6 == self.v6 {
                    return Some(segment);
                }
            }
            let next = self.turn();
            if !self.heard.is_empty() {
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
        let any = if self.v6 { "::" } else { "0.0.0.0" };
        let any = SocketAddr::new(any.parse().expect("an address"), self.port);
        let config = self.config.clone();
        self.engine.with(|_, cx| {
            cx.listen(any, 16).expect("a free port");
            cx.tune_listener(any, config);
        });
        self.listener = Some(any);
    }

    fn connect(&mut self) {
        let peer = SocketAddr::new(ends(self.v6).1, PEER_PORT);
        let options = ConnectOptions {
            port: Some(self.port),
            tcp: Some(self.config.clone()),
            ..ConnectOptions::default()
        };
        self.engine.with(|app, cx| {
            let flow = cx.connect_with(peer, &options);
            app.flow = Some(flow.expect("a connection begins"));
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
        let listening =
            info.is_none() && self.engine.app().flow.is_none() && self.listener.is_some();
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
            standing.readable = app.left.max(info.map_or(0, |i| i.recv_queue));
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
