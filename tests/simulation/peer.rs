//! Both ends of the simulated connections. What each sends and how it behaves
//! follows from the world's seed and the client's port, so that each end can
//! check the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fullbore::engine::{Application, Context, Flow, Reason};
use fullbore::frame::Packet;
use fullbore::tcp::Info;
use fullbore::wire::checksum::Sum;

const PORT: u16 = 80;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to `n - 1`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// What is to happen on one connection.
#[derive(Clone, Debug)]
pub struct Plan {
    key: u64,
    up: usize,
    down: usize,
    /// Bytes after which the client aborts.
    pub abort_at: Option<usize>,
    /// The readers look only now and then.
    slow: bool,
}

impl Plan {
    pub fn of(seed: u64, port: u16) -> Self {
        let mut rng = Rng::new(seed ^ u64::from(port) << 40);
        let size = |rng: &mut Rng| match rng.below(4) {
            0 => rng.below(3),
            1 => rng.below(5_000),
            2 => rng.below(60_000),
            _ => rng.below(400_000),
        } as usize;
        let (up, down) = (size(&mut rng), size(&mut rng));
        let aborts = rng.below(10) == 0 && down > 0;
        Self {
            key: rng.next(),
            up,
            down,
            abort_at: aborts.then(|| rng.below(down as u64) as usize),
            slow: rng.below(5) == 0,
        }
    }

    /// The byte at `at` of the stream that goes `up`, or down.
    fn byte(&self, up: bool, at: usize) -> u8 {
        let x = (at as u64 / 8) ^ self.key ^ u64::from(up);
        (x.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * (at % 8))) as u8
    }
}

/// How connections ended, by the client's port.
#[derive(Debug, Default)]
pub struct Log {
    pub client: Vec<(u16, Reason)>,
    pub server: Vec<(u16, Reason)>,
}

#[derive(Debug)]
struct Stream {
    plan: Plan,
    port: u16,
    sent: usize,
    got: usize,
    shut: bool,
    ended: bool,
    asleep: bool,
    held: Vec<Packet>,
}

/// The application of both engines.
#[derive(Debug)]
pub struct Peer {
    seed: u64,
    log: Rc<RefCell<Log>>,
    is_client: bool,
    /// Connections that the client has yet to open.
    to_open: usize,
    streams: HashMap<Flow, Stream>,
    rng: Rng,
}

const FREE: u64 = 1;
const READ: u64 = 2;
const OPEN: u64 = 3;

type Cx<'a> = Context<'a, ()>;

impl Peer {
    pub fn server(seed: u64, log: Rc<RefCell<Log>>) -> Self {
        Self {
            seed,
            log,
            is_client: false,
            to_open: 0,
            streams: HashMap::new(),
            rng: Rng::new(seed ^ 1),
        }
    }

    pub fn client(seed: u64, log: Rc<RefCell<Log>>, flows: usize) -> Self {
        Self {
            is_client: true,
            to_open: flows,
            rng: Rng::new(seed ^ 2),
            ..Self::server(seed, log)
        }
    }

    /// Whether everything was opened and has ended.
    pub fn is_done(&self) -> bool {
        self.to_open == 0 && self.streams.is_empty()
    }

    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// A look into the connections that are left.
    pub fn infos(&self, cx: &Cx<'_>) -> Vec<(u16, Option<Info>)> {
        self.streams
            .iter()
            .map(|(flow, s)| (s.port, cx.info(*flow)))
            .collect()
    }

    fn begin(&mut self, flow: Flow, port: u16) {
        let stream = Stream {
            plan: Plan::of(self.seed, port),
            port,
            sent: 0,
            got: 0,
            shut: false,
            ended: false,
            asleep: false,
            held: Vec::new(),
        };
        assert!(self.streams.insert(flow, stream).is_none());
    }

    fn pump(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        let is_client = self.is_client;
        let Some(s) = self.streams.get_mut(&flow) else {
            return;
        };
        let total = if is_client { s.plan.up } else { s.plan.down };
        while s.sent < total {
            let want = (1 + self.rng.below(6000) as usize).min(total - s.sent);
            let bytes = |n: usize| (s.sent..s.sent + n).map(|i| s.plan.byte(is_client, i));
            if self.rng.below(2) == 0 {
                let data: Vec<u8> = bytes(want).collect();
                let taken = cx.send(flow, &data);
                s.sent += taken;
                if taken < want {
                    return;
                }
            } else {
                let Some(mut packet) = cx.prepare(flow) else {
                    return;
                };
                packet.truncate(want);
                let n = packet.len();
                let into = cx.bytes_mut(&mut packet);
                for (to, from) in into.iter_mut().zip(bytes(n)) {
                    *to = from;
                }
                let sum = Sum::of(into);
                if let Err(packet) = cx.send_packet(flow, packet, sum) {
                    cx.free(packet);
                    return;
                }
                s.sent += n;
            }
        }
        if !s.shut {
            s.shut = true;
            cx.shutdown(flow);
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        let is_client = self.is_client;
        let Some(s) = self.streams.get_mut(&flow) else {
            return;
        };
        while let Some(chunk) = cx.recv_chunk(flow) {
            let n = chunk.len();
            for (i, byte) in chunk.iter().enumerate() {
                let expected = s.plan.byte(!is_client, s.got + i);
                assert_eq!(*byte, expected, "port {}, byte {}", s.port, s.got + i);
            }
            if is_client && s.plan.abort_at.is_some_and(|at| s.got + n > at) {
                cx.abort(flow);
                return;
            }
            match self.rng.below(8) {
                0 => {
                    // To another thread, as it were.
                    let packet = cx.recv_take(flow).expect("there was a chunk");
                    assert_eq!(packet.len(), n);
                    s.held.push(packet);
                    let after = Duration::from_micros(self.rng.below(20_000));
                    cx.set_timer(Some(flow), FREE, after);
                    s.got += n;
                }
                1 => {
                    let part = 1 + self.rng.below(n as u64) as usize;
                    cx.recv_consume(flow, part);
                    s.got += part;
                }
                _ => {
                    cx.recv_consume(flow, n);
                    s.got += n;
                }
            }
            if s.plan.slow && self.rng.below(16) == 0 {
                s.asleep = true;
                let after = Duration::from_micros(self.rng.below(50_000));
                cx.set_timer(Some(flow), READ, after);
                return;
            }
        }
        let total = if is_client { s.plan.down } else { s.plan.up };
        assert!(s.got <= total);
        if s.ended {
            assert_eq!(
                s.got,
                total,
                "port {} ended early at the {}: {:?}, {:?}",
                s.port,
                if is_client { "client" } else { "server" },
                s.plan,
                cx.info(flow)
            );
        }
    }
}

impl Application for Peer {
    type Message = ();

    fn start(&mut self, cx: &mut Cx<'_>) {
        if self.is_client {
            cx.set_timer(None, OPEN, Duration::ZERO);
        } else {
            let any = SocketAddr::from(([0, 0, 0, 0], PORT));
            cx.listen(any, 1 + self.rng.below(8) as usize)
                .expect("a free port");
        }
    }

    fn accept(&mut self, cx: &mut Cx<'_>, flow: Flow, peer: SocketAddr, _: SocketAddr) -> bool {
        self.begin(flow, peer.port());
        self.pump(cx, flow);
        true
    }

    fn connected(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn readable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        if self.streams.get(&flow).is_some_and(|s| !s.asleep) {
            self.read(cx, flow);
        }
    }

    fn writable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        let Some(s) = self.streams.get_mut(&flow) else {
            return;
        };
        assert!(!s.ended, "ended twice");
        s.ended = true;
        if !s.asleep {
            self.read(cx, flow);
        }
    }

    fn closed(&mut self, cx: &mut Cx<'_>, flow: Flow, reason: Reason) {
        let s = self.streams.remove(&flow).expect("a known flow");
        let plan = &s.plan;
        let (sends, gets) = if self.is_client {
            (plan.up, plan.down)
        } else {
            (plan.down, plan.up)
        };
        if reason == Reason::Finished {
            assert_eq!((s.sent, s.got), (sends, gets), "port {}", s.port);
        }
        for packet in s.held {
            cx.free(packet);
        }
        let mut log = self.log.borrow_mut();
        let ends = if self.is_client {
            &mut log.client
        } else {
            &mut log.server
        };
        ends.push((s.port, reason));
    }

    fn timer(&mut self, cx: &mut Cx<'_>, flow: Option<Flow>, token: u64) {
        match (token, flow) {
            (FREE, Some(flow)) => {
                if let Some(s) = self.streams.get_mut(&flow) {
                    for packet in s.held.drain(..) {
                        cx.recv_release(flow, packet.len());
                        cx.free(packet);
                    }
                }
            }
            (READ, Some(flow)) => {
                if let Some(s) = self.streams.get_mut(&flow) {
                    s.asleep = false;
                }
                self.read(cx, flow);
            }
            _ => {
                self.to_open -= 1;
                let server = SocketAddr::from(([10, 1, 0, 1], PORT));
                let flow = cx.connect(server).expect("a connection");
                let port = cx.local(flow).expect("it was opened").port();
                self.begin(flow, port);
                if self.to_open > 0 {
                    let after = Duration::from_micros(self.rng.below(30_000));
                    cx.set_timer(None, OPEN, after);
                }
            }
        }
    }
}
