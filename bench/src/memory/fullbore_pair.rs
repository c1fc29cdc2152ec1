//! Two engines.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fullbore::engine::sim::Host;
use fullbore::engine::{
    Application, ConnectOptions, Context, Engine, Flow, ListenOptions, Reason, Transport,
};
use fullbore::link::{Link, MemoryLink};
use fullbore::time::Instant;
use fullbore::{tcp, utp};

use super::{Pair, ROUND, Settings, Sink, Source, Wire};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 5001;
/// Rounds without a byte after which the connection counts as stuck: 10 s.
const STUCK: u32 = 1_000_000;

/// The sending program.
pub struct Sender {
    transport: Transport,
    source: Source,
    closed: bool,
}

impl Application for Sender {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let options = ConnectOptions {
            transport: self.transport,
            ..ConnectOptions::default()
        };
        let server = SocketAddr::from((SERVER, PORT));
        self.closed |= cx.connect_with(server, &options).is_err();
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.writable(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.source.pump(|bytes| cx.send(flow, bytes));
    }

    fn readable(&mut self, _: &mut Context<'_, ()>, _: Flow) {}

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {
        self.closed = true;
    }
}

/// The receiving program.
pub struct Receiver {
    transport: Transport,
    sink: Sink,
    flow: Option<Flow>,
    closed: bool,
}

impl Application for Receiver {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let options = ListenOptions::new(self.transport, 1);
        let server = SocketAddr::from((SERVER, PORT));
        self.closed |= cx.listen_with(server, options).is_err();
    }

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
        let sink = &mut self.sink;
        cx.recv_each(flow, |chunk| {
            let buffer = sink.buffer();
            let n = chunk.len().min(buffer.len());
            buffer[..n].copy_from_slice(&chunk[..n]);
            sink.took(n);
            n
        });
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {
        self.closed = true;
    }
}

/// Two engines of one thread with a connection between them.
pub struct FullborePair<L: Link> {
    now: Instant,
    sender: Engine<L, Sender>,
    receiver: Engine<L, Receiver>,
}

/// Two engines on a wire that copies once.
///
/// # Errors
/// When there are no file descriptors left, or the connection fails.
pub fn over_wire(settings: &Settings, transport: Transport) -> Result<FullborePair<Wire>, String> {
    let (near, far) = Wire::pair();
    FullborePair::new(settings, transport, near, far)
}

/// Two engines on the library's link for tests.
///
/// # Errors
/// As [`over_wire`].
pub fn over_memory_link(settings: &Settings) -> Result<FullborePair<MemoryLink>, String> {
    let (near, far) = MemoryLink::pair(512).map_err(|e| e.to_string())?;
    FullborePair::new(settings, Transport::Tcp, near, far)
}

impl<L: Link> FullborePair<L> {
    /// Two engines on the ends of a link, connected.
    ///
    /// # Errors
    /// As [`over_wire`].
    pub fn new(settings: &Settings, transport: Transport, near: L, far: L) -> Result<Self, String> {
        let tcp = Arc::new(tcp::Config {
            send_buffer: settings.buffer,
            recv_buffer: settings.buffer,
            timestamps: settings.timestamps,
            ..tcp::Config::default()
        });
        let utp = Arc::new(utp::Config {
            send_buffer: settings.buffer,
            recv_buffer: settings.buffer,
            ..utp::Config::default()
        });
        let host = |ip: Ipv4Addr| -> Result<Host, String> {
            let prefix = format!("{ip}/24").parse();
            let mut host = Host::new(prefix.map_err(|_| format!("{ip} is no address"))?);
            host.mtu = settings.mtu;
            host.config.tcp = Arc::clone(&tcp);
            host.config.utp = Arc::clone(&utp);
            Ok(host)
        };
        let fail = |e: std::io::Error| e.to_string();
        let sender = Sender {
            transport,
            source: Source::new(),
            closed: false,
        };
        let receiver = Receiver {
            transport,
            sink: Sink::new(),
            flow: None,
            closed: false,
        };
        let mut pair = Self {
            now: Instant::from_millis(1000),
            sender: host(CLIENT)?.build(near, sender).map_err(fail)?,
            receiver: host(SERVER)?.build(far, receiver).map_err(fail)?,
        };
        pair.transfer(1)?;
        Ok(pair)
    }

    /// Turns both engines once.
    #[inline]
    pub fn round(&mut self) {
        self.sender.turn(self.now);
        self.receiver.turn(self.now);
        self.now += ROUND;
    }
}

impl<L: Link> Pair for FullborePair<L> {
    fn transfer(&mut self, bytes: u64) -> Result<(), String> {
        let mut read = self.receiver.app().sink.read;
        let until = read + bytes;
        let mut still = 0;
        while read < until {
            self.round();
            let now = self.receiver.app().sink.read;
            still = if now == read { still + 1 } else { 0 };
            read = now;
            if still > STUCK || self.sender.app().closed || self.receiver.app().closed {
                return Err("the connection between the engines failed".to_owned());
            }
        }
        self.receiver.app().sink.check()
    }

    fn set_verify(&mut self, verify: bool) {
        self.receiver.with(|app, _| app.sink.set_verify(verify));
    }

    fn segments(&self) -> Option<u64> {
        let (tcp, utp) = self.receiver.stack().transport_counters();
        Some(tcp.segments_in + utp.packets_in)
    }
}
