//! The uTP machine alone, over a UDP socket of the kernel, with `librqbit-utp`
//! as its peer: no root, no engine, and loss that follows from a seed.
//!
//! Both ends send at once, each to its end of stream, and both check every byte.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Pool, Region};
use fullbore::time::Instant;
use fullbore::transport::{Event, Ports, Reason};
use fullbore::utp::{Config, Connection, Info, Setup, State};
use fullbore::wire::eth::Mac;
use fullbore::wire::template::{Path, Template};
use fullbore::wire::udp;
use fullbore::wire::utp::{Header, Kind, SeqNr};
use fullbore_bench::utp_peer::{Content, patient};
use librqbit_utp::{UtpSocketUdp, UtpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More than any exchange takes on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);
/// Payload of a packet on a path of 1500 bytes.
const MSS: u16 = 1500 - 20 - 8 - 20;
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What is sent, and what has to come.
#[derive(Clone)]
struct Exchange {
    ours: Content,
    theirs: Content,
    /// Packets of 1000 that are lost, each way.
    loss: u64,
    seed: u64,
    we_end_first: bool,
}

/// One connection, its frames and its socket.
struct Machine {
    conn: Connection,
    pool: Pool,
    template: Template,
    socket: UdpSocket,
    peer: SocketAddr,
    start: std::time::Instant,
    random: u64,
    loss: u64,
    lost: u64,
}

/// A frame pool and headers between any two addresses: what of them reaches the
/// socket is the payload of UDP.
fn room() -> (Pool, Template) {
    let path = Path {
        src_mac: Mac([2, 0, 0, 0, 0, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0, 2]),
        vlan: None,
        src: Ipv4Addr::new(10, 0, 0, 1).into(),
        dst: Ipv4Addr::new(10, 0, 0, 2).into(),
        ttl: 64,
        tos: 0,
    };
    let pool = Pool::new(Region::anonymous(8192, 2048));
    (pool, Template::new(&path, 17).unwrap())
}

impl Machine {
    fn new(
        socket: UdpSocket,
        peer: SocketAddr,
        exchange: &Exchange,
        begin: impl FnOnce(&Setup<'_>) -> Connection,
    ) -> Self {
        socket.set_nonblocking(true).unwrap();
        let (pool, template) = room();
        let config = Arc::new(Config::default());
        let random = exchange.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let conn = begin(&Setup {
            config: &config,
            ports: Ports {
                local: socket.local_addr().unwrap().port(),
                remote: peer.port(),
            },
            id: (random >> 20) as u16,
            // Soon to wrap.
            isn: SeqNr(u16::MAX - 200),
            clock: (random >> 30) as u32,
            mss: MSS,
            chunk: MSS,
            headroom: template.len() as u16,
            now: Instant::ZERO,
        });
        Self {
            conn,
            pool,
            template,
            socket,
            peer,
            start: std::time::Instant::now(),
            random,
            loss: exchange.loss,
            lost: 0,
        }
    }

    fn loses(&mut self) -> bool {
        // The library sends one SYN only.
        if matches!(self.conn.state(), State::SynSent | State::SynReceived) {
            return false;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let loses = self.random % 1000 < self.loss;
        self.lost += u64::from(loses);
        loses
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Hands a datagram to the connection.
    fn take(&mut self, datagram: &[u8]) {
        let header = Header::parse(datagram).expect("the peer sends uTP");
        let mut packet = self.pool.alloc().expect("a free frame");
        packet.set_range(PACKET_START, datagram.len() as u16);
        self.pool.bytes_mut(&mut packet).copy_from_slice(datagram);
        let now = self.now();
        self.conn
            .handle_packet(now, &mut self.pool, &header, packet);
    }

    /// Takes what has come; whether anything has.
    fn receive(&mut self) -> bool {
        let mut datagram = [0; 2048];
        for n in 0..32 {
            match self.socket.recv_from(&mut datagram) {
                Ok((len, from)) if from == self.peer => {
                    if !self.loses() {
                        self.take(&datagram[..len]);
                    }
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return n > 0,
                // The peer has gone: an answer by ICMP.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(e) => panic!("{e}"),
            }
        }
        true
    }

    fn transmit(&mut self) {
        let now = self.now();
        if self.conn.poll_timeout().is_some_and(|at| at <= now) {
            self.conn.handle_timeout(now, &mut self.pool);
        }
        loop {
            let next = self.conn.poll_transmit(now, &mut self.pool, &self.template);
            let Some(desc) = next else {
                let waits = self.conn.waiting_ack();
                if waits.is_some_and(|unacked| self.conn.hurry_ack(unacked)) {
                    continue;
                }
                return;
            };
            let bytes = &self.pool.tx_bytes(&desc)[self.template.len()..];
            let datagram = bytes[udp::HEADER_LEN..].to_vec();
            assert!(datagram.len() <= usize::from(MSS) + 20);
            self.pool.complete(desc);
            if !self.loses() {
                // A full socket loses it, too.
                let _ = self.socket.send_to(&datagram, self.peer);
            }
        }
    }

    /// Sends and receives all; how the connection ended.
    fn run(mut self, exchange: &Exchange) -> (Reason, Info) {
        let (mut ours, mut theirs) = (exchange.ours.clone(), exchange.theirs.clone());
        let mut block = Vec::new();
        let mut expected = vec![0; 64 << 10];
        let (mut left, mut ended) = (theirs.len(), false);
        loop {
            let came = self.receive();
            while let Some(event) = self.conn.poll_event() {
                match event {
                    Event::PeerClosed => {
                        assert_eq!(left, 0, "the stream ends too early");
                        ended = true;
                    }
                    Event::Closed(reason) => {
                        let told = format!("{reason}; {:?}, {left} to come", self.conn.info());
                        assert!(ended || left == 0, "{told}");
                        let info = self.conn.info();
                        // It acknowledges again what comes again.
                        let until = self.now() + Duration::from_millis(300);
                        while self.now() < until && !self.conn.is_done() {
                            self.receive();
                            self.transmit();
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        self.conn.release(&mut self.pool);
                        let ledger = self.pool.ledger();
                        assert_eq!(ledger.pool, ledger.total(), "{ledger}");
                        return (reason, info);
                    }
                    _ => {}
                }
            }
            while let Some(chunk) = self.conn.recv_chunk(&self.pool) {
                let n = chunk.len();
                theirs
                    .read_exact(&mut expected[..n])
                    .expect("no more than there is");
                assert!(chunk == &expected[..n], "{left} bytes before the end");
                left -= n as u64;
                self.conn.recv_consume(&mut self.pool, n);
            }
            if self.conn.state().can_send() {
                while self.conn.send_room() > 0 {
                    if block.is_empty() {
                        block.resize(64 << 10, 0);
                        let n = ours.read(&mut block).unwrap();
                        block.truncate(n);
                    }
                    if block.is_empty() {
                        // The peer sends nothing more once our stream has ended.
                        if left == 0 && (ended || exchange.we_end_first) {
                            self.conn.shutdown();
                        }
                        break;
                    }
                    let n = self.conn.send(&mut self.pool, &block);
                    block.drain(..n);
                }
            }
            self.transmit();
            self.conn.check().unwrap();
            let told = || format!("{:?}, {left} to come, seed {}", self.conn, exchange.seed);
            assert!(self.start.elapsed() < LIMIT, "{}", told());
            if !came {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
}

/// Runs `work` with a socket of the other implementation.
fn other<F>(work: impl FnOnce(Arc<UtpSocketUdp>) -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()>,
{
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let opened = UtpSocketUdp::new_udp_with_opts(HERE, patient(), Default::default());
            let work = work(opened.await.unwrap());
            let done = tokio::time::timeout(LIMIT, work).await;
            done.expect("the other implementation comes to its end");
        });
    })
}

/// The other end of the exchange.
async fn converse(stream: UtpStream, exchange: Exchange) {
    let (mut from, mut to) = stream.split();
    let sending = async {
        let mut theirs = exchange.theirs.clone();
        let mut block = vec![0; 64 << 10];
        loop {
            match theirs.read(&mut block).unwrap() {
                0 => break,
                n => to.write_all(&block[..n]).await.expect("it can send"),
            }
        }
        to.flush().await.expect("it can send to the end");
    };
    let receiving = async {
        let mut ours = exchange.ours.clone();
        let (mut block, mut expected) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut left = ours.len();
        while left > 0 {
            let n = from
                .read(&mut block)
                .await
                .unwrap_or_else(|e| panic!("{left} left: {e}"));
            assert!(n > 0, "the stream ends {left} bytes too early");
            ours.read_exact(&mut expected[..n])
                .expect("no more than there is");
            assert!(block[..n] == expected[..n], "{left} bytes before the end");
            left -= n as u64;
        }
        if exchange.we_end_first {
            assert_eq!(from.read(&mut block).await.expect("an end"), 0);
        }
    };
    tokio::join!(sending, receiving);
    to.shutdown().await.expect("it can end");
    if !exchange.we_end_first {
        assert_eq!(from.read(&mut [0]).await.expect("an end"), 0);
    }
    // The library's task sends what is left to be sent.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

impl Exchange {
    fn new(ours: u64, theirs: u64, loss: u64, seed: u64) -> Self {
        Self {
            ours: Content::new(seed, ours),
            theirs: Content::new(!seed, theirs),
            loss,
            seed,
            we_end_first: seed.is_multiple_of(2),
        }
    }

    /// We connect.
    fn out(self) {
        let (tell, told) = std::sync::mpsc::channel();
        let exchange = self.clone();
        let peer = other(move |socket| async move {
            tell.send(socket.bind_addr()).unwrap();
            let stream = socket.accept().await.unwrap();
            converse(stream, exchange).await;
        });
        let peer_address = told.recv_timeout(LIMIT).unwrap();
        let socket = UdpSocket::bind(HERE).unwrap();
        let machine = Machine::new(socket, peer_address, &self, Connection::connect);
        let (reason, info) = machine.run(&self);
        eprintln!("{reason}: {info:?}");
        peer.join().unwrap();
    }

    /// The peer connects.
    fn into(self) {
        let socket = UdpSocket::bind(HERE).unwrap();
        let here = socket.local_addr().unwrap();
        let exchange = self.clone();
        let peer = other(move |socket| async move {
            let stream = socket.connect(here).await.unwrap();
            converse(stream, exchange).await;
        });
        let mut datagram = [0; 2048];
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let (n, from) = socket.recv_from(&mut datagram).unwrap();
        let syn = Header::parse(&datagram[..n]).unwrap();
        assert_eq!(syn.kind, Kind::Syn);
        let machine = Machine::new(socket, from, &self, |setup| Connection::accept(setup, &syn));
        let (reason, info) = machine.run(&self);
        eprintln!("{reason}: {info:?}");
        peer.join().unwrap();
    }
}

#[test]
fn both_streams_are_whole_when_we_connect() {
    Exchange::new(8 << 20, 8 << 20, 0, 1).out();
}

#[test]
fn both_streams_are_whole_when_the_peer_connects() {
    Exchange::new(8 << 20, 8 << 20, 0, 2).into();
}

#[test]
fn what_is_lost_is_sent_again_when_we_connect() {
    Exchange::new(2 << 20, 0, 10, 3).out();
    Exchange::new(0, 2 << 20, 10, 4).out();
    Exchange::new(1 << 20, 1 << 20, 50, 5).out();
}

#[test]
fn what_is_lost_is_sent_again_when_the_peer_connects() {
    // Who accepts sends nothing before who connected has.
    Exchange::new(2 << 20, 100, 10, 6).into();
    Exchange::new(0, 2 << 20, 10, 7).into();
    Exchange::new(1 << 20, 1 << 20, 50, 8).into();
}
