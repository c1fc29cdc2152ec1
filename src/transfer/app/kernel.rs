//! The kernel's TCP in the place of an engine, to try the applications
//! against other programs. One thread, one loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as OsInstant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{ClientApp, ClientReport, ClientResult, FrameBlock, Port, ServerApp};
use crate::engine::Transport;
use crate::frame::{Ledger, PACKET_START, Packet, Pool, Region};
use crate::time::Instant;
use crate::transfer::client::ClientError;
use crate::transfer::disk::Completion;
use crate::wire::checksum::Sum;

const SEGMENT: usize = 1448;
const WINDOW: usize = 200 * 1024;
const SEND_BUFFER: usize = 400 * 1024;

struct Conn {
    stream: TcpStream,
    connecting: bool,
    received: VecDeque<Packet>,
    window: usize,
    to_send: VecDeque<Packet>,
    queued: usize,
    shutdown: bool,
    shut: bool,
    closed: bool,
    eof: bool,
    eof_told: bool,
    starved: bool,
}

pub(super) struct KernelPort {
    pub pool: Pool,
    conns: HashMap<u64, Conn>,
    next: u64,
    start: OsInstant,
    aborted: Vec<u64>,
    timers: BinaryHeap<Reverse<(Instant, Option<u64>, u64)>>,
    pub stopped: bool,
}

impl Port for KernelPort {
    type Flow = u64;

    fn now(&self) -> Instant {
        Instant::from_millis(1) + self.start.elapsed()
    }

    fn recv_chunk(&self, flow: u64) -> Option<&[u8]> {
        Some(self.pool.bytes(self.conns.get(&flow)?.received.front()?))
    }

    fn recv_consume(&mut self, flow: u64, n: usize) {
        let Some(conn) = self.conns.get_mut(&flow) else {
            return;
        };
        let Some(packet) = conn.received.front_mut() else {
            return;
        };
        assert!(n <= packet.len());
        packet.advance(n);
        conn.window -= n;
        if packet.is_empty()
            && let Some(packet) = conn.received.pop_front()
        {
            self.pool.free(packet);
        }
    }

    fn recv_take(&mut self, flow: u64) -> Option<Packet> {
        self.conns.get_mut(&flow)?.received.pop_front()
    }

    fn recv_release(&mut self, flow: u64, n: usize) {
        if let Some(conn) = self.conns.get_mut(&flow) {
            conn.window = conn.window.checked_sub(n).expect("released what was taken");
        }
    }

    fn send(&mut self, flow: u64, data: &[u8]) -> usize {
        let mut sent = 0;
        while sent < data.len() {
            let Some(mut packet) = self.prepare(flow) else {
                break;
            };
            packet.truncate(data.len() - sent);
            let n = packet.len();
            self.pool
                .bytes_mut(&mut packet)
                .copy_from_slice(&data[sent..sent + n]);
            sent += n;
            let sum = Sum::of(self.pool.bytes(&packet));
            self.send_packet(flow, packet, sum).expect("open");
        }
        sent
    }

    fn unsent(&self, flow: u64) -> usize {
        self.conns.get(&flow).map_or(0, |c| c.queued)
    }

    fn send_room(&self, flow: u64) -> usize {
        self.conns
            .get(&flow)
            .map_or(0, |c| SEND_BUFFER.saturating_sub(c.queued))
    }

    fn segment(&self, _: u64) -> usize {
        SEGMENT
    }

    fn close(&mut self, flow: u64) {
        if let Some(conn) = self.conns.get_mut(&flow) {
            conn.shutdown = true;
            conn.closed = true;
        }
    }

    fn prepare(&mut self, flow: u64) -> Option<Packet> {
        let conn = self.conns.get_mut(&flow)?;
        if conn.queued >= SEND_BUFFER || conn.shutdown {
            conn.starved = true;
            return None;
        }
        let Some(mut packet) = self.pool.alloc_above(64) else {
            conn.starved = true;
            return None;
        };
        packet.set_range(PACKET_START + 80, SEGMENT as u16);
        Some(packet)
    }

    fn send_packet(&mut self, flow: u64, packet: Packet, sum: Sum) -> Result<(), Packet> {
        assert!(!packet.is_empty());
        assert_eq!(
            Sum::of(self.pool.bytes(&packet)).finish(),
            sum.finish(),
            "the sum is right"
        );
        let Some(conn) = self.conns.get_mut(&flow).filter(|c| !c.shutdown) else {
            return Err(packet);
        };
        conn.queued += packet.len();
        conn.to_send.push_back(packet);
        Ok(())
    }

    fn shutdown(&mut self, flow: u64) {
        if let Some(conn) = self.conns.get_mut(&flow) {
            conn.shutdown = true;
        }
    }

    fn abort(&mut self, flow: u64) {
        self.aborted.push(flow);
    }

    fn connect(&mut self, transport: Transport, remote: SocketAddr) -> Result<u64, String> {
        if transport != Transport::Tcp {
            return Err(format!("the kernel has no {transport}"));
        }
        let family = match remote {
            SocketAddr::V4(_) => rustix::net::AddressFamily::INET,
            SocketAddr::V6(_) => rustix::net::AddressFamily::INET6,
        };
        let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None)
            .map_err(|e| e.to_string())?;
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        match rustix::net::connect(&stream, &remote) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(e) => return Err(e.to_string()),
        }
        Ok(self.add(stream, true))
    }

    fn set_nodelay(&mut self, flow: u64) {
        if let Some(conn) = self.conns.get_mut(&flow) {
            let _ = conn.stream.set_nodelay(true);
        }
    }

    fn region(&self) -> &Arc<Region> {
        self.pool.region()
    }

    fn free(&mut self, packet: Packet) {
        self.pool.free(packet);
    }

    fn set_timer(&mut self, flow: Option<u64>, token: u64, after: Duration) {
        self.timers.push(Reverse((self.now() + after, flow, token)));
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Finished,
    Reset,
    Refused,
}

/// What is common to the applications.
pub(super) trait Driven {
    fn start(&mut self, port: &mut KernelPort);
    fn accept(&mut self, port: &mut KernelPort, flow: u64, peer: SocketAddr) -> bool;
    fn connected(&mut self, port: &mut KernelPort, flow: u64);
    fn readable(&mut self, port: &mut KernelPort, flow: u64);
    fn writable(&mut self, port: &mut KernelPort, flow: u64);
    fn peer_closed(&mut self, port: &mut KernelPort, flow: u64);
    fn closed(&mut self, port: &mut KernelPort, flow: u64, ended: Ended);
    fn disk(&mut self, port: &mut KernelPort, completion: Completion<FrameBlock>);
    fn timer(&mut self, port: &mut KernelPort, flow: Option<u64>, token: u64);
    fn busy(&self) -> bool;
}

impl Driven for ServerApp<u64> {
    fn start(&mut self, _: &mut KernelPort) {}
    fn accept(&mut self, port: &mut KernelPort, flow: u64, peer: SocketAddr) -> bool {
        self.on_accept(port, flow, peer)
    }
    fn connected(&mut self, _: &mut KernelPort, _: u64) {}
    fn readable(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_readable(port, flow);
    }
    fn writable(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_writable(port, flow);
    }
    fn peer_closed(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_peer_closed(port, flow);
    }
    fn closed(&mut self, port: &mut KernelPort, flow: u64, _: Ended) {
        self.on_closed(port, flow);
    }
    fn disk(&mut self, port: &mut KernelPort, completion: Completion<FrameBlock>) {
        self.on_disk(port, completion);
    }
    fn timer(&mut self, port: &mut KernelPort, flow: Option<u64>, _: u64) {
        if let Some(flow) = flow {
            self.on_timer(port, flow);
        }
    }
    fn busy(&self) -> bool {
        self.at_disk() > 0
    }
}

impl Driven for ClientApp<u64> {
    fn start(&mut self, port: &mut KernelPort) {
        self.on_start(port);
    }
    fn accept(&mut self, _: &mut KernelPort, _: u64, _: SocketAddr) -> bool {
        false
    }
    fn connected(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_connected(port, flow);
    }
    fn readable(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_readable(port, flow);
    }
    fn writable(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_writable(port, flow);
    }
    fn peer_closed(&mut self, port: &mut KernelPort, flow: u64) {
        self.on_peer_closed(port, flow);
    }
    fn closed(&mut self, port: &mut KernelPort, flow: u64, ended: Ended) {
        self.on_closed(port, flow, &format!("{ended:?}"));
    }
    fn disk(&mut self, port: &mut KernelPort, completion: Completion<FrameBlock>) {
        self.on_disk(port, completion);
    }
    fn timer(&mut self, port: &mut KernelPort, _: Option<u64>, _: u64) {
        self.on_timer(port);
    }
    fn busy(&self) -> bool {
        self.at_disk() > 0
    }
}

/// Runs a client to its end. Answers what it came to and who has its frames.
pub(super) fn run_client(
    mut app: ClientApp<u64>,
    result: &ClientResult,
) -> (Result<ClientReport, ClientError>, Ledger) {
    let (sender, replies): (Sender<Completion<FrameBlock>>, _) = unbounded();
    app.set_mailbox(Arc::new(sender));
    let mut port = KernelPort::new(2048);
    port.run(&mut app, None, &replies, &AtomicBool::new(false));
    app.join();
    (
        result.try_recv().expect("it stops only with a result"),
        port.pool.ledger(),
    )
}

impl KernelPort {
    pub fn new(frames: u32) -> Self {
        Self {
            pool: Pool::new(Region::anonymous(frames, 2048)),
            conns: HashMap::new(),
            next: 1,
            start: OsInstant::now(),
            aborted: Vec::new(),
            timers: BinaryHeap::new(),
            stopped: false,
        }
    }

    fn add(&mut self, stream: TcpStream, connecting: bool) -> u64 {
        let flow = self.next;
        self.next += 1;
        let conn = Conn {
            stream,
            connecting,
            received: VecDeque::new(),
            window: 0,
            to_send: VecDeque::new(),
            queued: 0,
            shutdown: false,
            shut: false,
            closed: false,
            eof: false,
            eof_told: false,
            starved: false,
        };
        self.conns.insert(flow, conn);
        flow
    }

    fn remove<A: Driven>(&mut self, app: &mut A, flow: u64, ended: Ended) {
        if let Some(conn) = self.conns.remove(&flow) {
            for packet in conn.received.into_iter().chain(conn.to_send) {
                self.pool.free(packet);
            }
            if ended == Ended::Reset {
                let _ = rustix::net::sockopt::set_socket_linger(&conn.stream, Some(Duration::ZERO));
            }
            app.closed(self, flow, ended);
        }
    }

    /// Reads and writes what can be. Answers how the connection ended, if so.
    fn exchange<A: Driven>(&mut self, app: &mut A, flow: u64) -> Option<Ended> {
        let mut received = false;
        let conn = self.conns.get_mut(&flow)?;
        if conn.connecting {
            match conn.stream.take_error() {
                Ok(None) if conn.stream.peer_addr().is_ok() => {
                    conn.connecting = false;
                    app.connected(self, flow);
                }
                Ok(None) => return None,
                _ => return Some(Ended::Refused),
            }
        }
        while let Some(conn) = self.conns.get_mut(&flow) {
            if conn.window + SEGMENT > WINDOW || conn.eof {
                break;
            }
            let Some(mut packet) = self.pool.alloc_above(8) else {
                break;
            };
            packet.set_range(PACKET_START, SEGMENT as u16);
            match conn.stream.read(self.pool.bytes_mut(&mut packet)) {
                Ok(0) => conn.eof = true,
                Ok(n) => {
                    packet.truncate(n);
                    conn.window += n;
                    conn.received.push_back(packet);
                    received = true;
                    continue;
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.pool.free(packet);
                    return Some(Ended::Reset);
                }
            }
            self.pool.free(packet);
            break;
        }
        if received {
            app.readable(self, flow);
        }
        let conn = self.conns.get_mut(&flow)?;
        if conn.eof && !conn.eof_told {
            conn.eof_told = true;
            app.peer_closed(self, flow);
        }
        let conn = self.conns.get_mut(&flow)?;
        while let Some(packet) = conn.to_send.front_mut() {
            match conn.stream.write(self.pool.bytes(packet)) {
                Ok(n) => {
                    conn.queued -= n;
                    packet.advance(n);
                    if packet.is_empty()
                        && let Some(packet) = conn.to_send.pop_front()
                    {
                        self.pool.free(packet);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return Some(Ended::Reset),
            }
        }
        if conn.shutdown && !conn.shut && conn.to_send.is_empty() {
            conn.shut = true;
            let _ = conn.stream.shutdown(std::net::Shutdown::Write);
        }
        if conn.shut && (conn.eof || conn.closed) {
            return Some(Ended::Finished);
        }
        if conn.starved && conn.queued < SEND_BUFFER / 2 {
            conn.starved = false;
            app.writable(self, flow);
        }
        None
    }

    /// Runs until stopped, then until no frame is out.
    pub fn run<A: Driven>(
        &mut self,
        app: &mut A,
        listener: Option<&TcpListener>,
        replies: &Receiver<Completion<FrameBlock>>,
        stop: &AtomicBool,
    ) {
        app.start(self);
        while !self.stopped && !stop.load(Ordering::Relaxed) {
            let mut fds: Vec<PollFd<'_>> = Vec::new();
            for conn in self.conns.values() {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, !conn.eof && conn.window + SEGMENT <= WINDOW);
                flags.set(PollFlags::OUT, conn.connecting || !conn.to_send.is_empty());
                fds.push(PollFd::new(&conn.stream, flags));
            }
            if let Some(listener) = listener {
                fds.push(PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
            }
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: if replies.is_empty() { 500_000 } else { 0 },
            };
            let _ = poll(&mut fds, Some(&wait));
            drop(fds);
            while let Some(Ok((stream, peer))) = listener.map(TcpListener::accept) {
                stream.set_nonblocking(true).expect("nonblocking");
                let flow = self.add(stream, false);
                if !app.accept(self, flow, peer)
                    && let Some(conn) = self.conns.remove(&flow)
                {
                    let _ =
                        rustix::net::sockopt::set_socket_linger(&conn.stream, Some(Duration::ZERO));
                }
            }
            while let Ok(completion) = replies.try_recv() {
                app.disk(self, completion);
            }
            let flows: Vec<u64> = self.conns.keys().copied().collect();
            for flow in flows {
                if let Some(ended) = self.exchange(app, flow) {
                    self.remove(app, flow, ended);
                }
            }
            let now = self.now();
            while self
                .timers
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= now)
            {
                if let Some(Reverse((_, flow, token))) = self.timers.pop()
                    && flow.is_none_or(|f| self.conns.contains_key(&f))
                {
                    app.timer(self, flow, token);
                }
            }
            for flow in std::mem::take(&mut self.aborted) {
                self.remove(app, flow, Ended::Reset);
            }
        }
        let flows: Vec<u64> = self.conns.keys().copied().collect();
        for flow in flows {
            self.remove(app, flow, Ended::Reset);
        }
        let deadline = OsInstant::now() + Duration::from_secs(10);
        while app.busy() && OsInstant::now() < deadline {
            if let Ok(completion) = replies.recv_timeout(Duration::from_millis(10)) {
                app.disk(self, completion);
            }
        }
    }
}

/// A server in a thread, on a port of the loopback interface.
pub(super) struct KernelServer {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Ledger>>,
}

impl KernelServer {
    pub fn start(mut app: ServerApp<u64>, ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let (sender, replies): (Sender<Completion<FrameBlock>>, _) = unbounded();
        app.set_mailbox(Arc::new(sender));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut port = KernelPort::new(2048);
            port.run(&mut app, Some(&listener), &replies, &stopped);
            port.pool.ledger()
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    /// Stops it; the ledger of its frames.
    pub fn stop(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .expect("running")
            .join()
            .expect("no panic")
    }
}
