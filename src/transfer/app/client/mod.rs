//! A get or a put on one engine.

mod receive;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};

use self::receive::Filling;
use super::Port;
use super::block::{self, FRAMES, FrameBlock};
use crate::engine::Transport;
use crate::time::Instant;
use crate::transfer::client::{
    Action, ClientError, Get, GetOptions, GetReport, Key, Loss, Progress, Put, PutOptions,
    PutReport,
};
use crate::transfer::disk::{Completion, DiskError, Mailbox, Op, Outcome, Pool, PoolConfig, Tag};
use crate::transfer::serve::Front;

/// What a client came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientReport {
    /// A get.
    Get(GetReport),
    /// A put.
    Put(PutReport),
}

/// The result of a client, from its engine's thread.
pub type ClientResult = Receiver<Result<ClientReport, ClientError>>;

enum Job {
    Get(Box<Get>),
    Put(Box<Put<FrameBlock>>),
}

struct Conn<F> {
    flow: F,
    /// Never used again.
    id: u64,
    filling: Option<Filling>,
    /// Blocks of what came on it that the disk has.
    writing: u32,
}

/// How soon to look again when a deadline has passed and nothing was to be
/// done about it.
const FLOOR: std::time::Duration = std::time::Duration::from_millis(5);

/// A get or a put on one engine. It stops the engine when it is done.
pub struct ClientApp<F> {
    job: Job,
    transport: Transport,
    addresses: Vec<SocketAddr>,
    next_address: usize,
    disk: Pool<FrameBlock>,
    mailbox: Option<Arc<dyn Mailbox<FrameBlock>>>,
    conns: BTreeMap<Key, Conn<F>>,
    by_flow: HashMap<F, Key>,
    next_id: u64,
    at_disk: usize,
    armed: Option<Instant>,
    result: Sender<Result<ClientReport, ClientError>>,
    reported: bool,
}

impl<F: Copy + Eq + Hash> ClientApp<F> {
    /// Fetches a file from one of `addresses`.
    ///
    /// # Errors
    /// For what is wrong on this machine.
    pub fn get(
        options: GetOptions,
        addresses: Vec<SocketAddr>,
        progress: Arc<Progress>,
    ) -> Result<(Self, ClientResult), ClientError> {
        let transport = options.url.transport();
        let get = Get::new(options, progress, Instant::ZERO)?;
        Self::new(Job::Get(Box::new(get)), transport, addresses)
    }

    /// Uploads a file to one of `addresses`.
    ///
    /// # Errors
    /// For what is wrong on this machine.
    pub fn put(
        options: PutOptions,
        addresses: Vec<SocketAddr>,
        progress: Arc<Progress>,
    ) -> Result<(Self, ClientResult), ClientError> {
        let transport = options.url.transport();
        let put = Put::new(options, progress, Instant::ZERO)?;
        Self::new(Job::Put(Box::new(put)), transport, addresses)
    }

    fn new(
        job: Job,
        transport: Transport,
        addresses: Vec<SocketAddr>,
    ) -> Result<(Self, ClientResult), ClientError> {
        if addresses.is_empty() {
            return Err(ClientError::Unreachable("the host has no address".into()));
        }
        let config = PoolConfig {
            io_threads: 1,
            slow_threads: 1,
            queue: 1024,
        };
        let disk = Pool::start(&config)
            .map_err(|e| ClientError::Local(format!("cannot start the disk threads: {e}")))?;
        let (sender, receiver) = bounded(1);
        let app = Self {
            job,
            transport,
            addresses,
            next_address: 0,
            disk,
            mailbox: None,
            conns: BTreeMap::new(),
            by_flow: HashMap::new(),
            next_id: 0,
            at_disk: 0,
            armed: None,
            result: sender,
            reported: false,
        };
        Ok((app, receiver))
    }

    /// Sets where disk threads post their answers. Must come first.
    pub fn set_mailbox(&mut self, mailbox: Arc<dyn Mailbox<FrameBlock>>) {
        self.mailbox = Some(mailbox);
    }

    /// Blocks that disk threads have.
    #[must_use]
    pub const fn at_disk(&self) -> usize {
        self.at_disk
    }

    /// Ends the disk threads after what they have been given, and lets go of
    /// all files.
    pub fn join(self) {
        let Self { job, disk, .. } = self;
        drop(job);
        disk.stop();
    }

    /// The engine runs.
    pub fn on_start<P: Port<Flow = F>>(&mut self, port: &mut P) {
        self.drive(port);
    }

    /// A connection has come about.
    pub fn on_connected<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        let Some(&key) = self.by_flow.get(&flow) else {
            return;
        };
        port.set_nodelay(flow);
        let now = port.now();
        match &mut self.job {
            Job::Get(get) => get.on_connected(key, now),
            Job::Put(put) => put.on_connected(now),
        }
        self.drive(port);
    }

    /// Bytes have arrived.
    pub fn on_readable<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        if let Some(&key) = self.by_flow.get(&flow) {
            self.take_input(port, key);
        }
        self.drive(port);
    }

    /// There is room to send.
    pub fn on_writable<P: Port<Flow = F>>(&mut self, port: &mut P, _flow: F) {
        self.drive(port);
    }

    /// The server will send no more.
    pub fn on_peer_closed<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        if let Some(&key) = self.by_flow.get(&flow) {
            self.take_input(port, key);
            if self.forget(port, key) {
                port.close(flow);
                self.lost(port, key, Loss::Ended);
            }
        }
        self.drive(port);
    }

    /// A connection is over, and why.
    pub fn on_closed<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F, why: &str) {
        if let Some(&key) = self.by_flow.get(&flow)
            && self.forget(port, key)
        {
            self.next_address += 1;
            self.lost(port, key, Loss::Broken(why.to_owned()));
        }
        self.drive(port);
    }

    /// A disk thread is done with something.
    pub fn on_disk<P: Port<Flow = F>>(&mut self, port: &mut P, completion: Completion<FrameBlock>) {
        let Completion { tag, outcome } = completion;
        match outcome {
            Outcome::Written(block, result) => {
                self.at_disk = self.at_disk.saturating_sub(1);
                self.written(port, tag, block, result);
            }
            Outcome::Read(block, result) => {
                self.at_disk = self.at_disk.saturating_sub(1);
                let rest = match &mut self.job {
                    Job::Put(put) => put.on_read(tag.serial, block, result),
                    Job::Get(_) => Some(block),
                };
                if let Some(block) = rest {
                    block::give_back(port, block);
                }
            }
            Outcome::Task(result) => match &mut self.job {
                Job::Get(get) => get.on_task(result),
                Job::Put(put) => put.on_task(result),
            },
            _ => {}
        }
        self.drive(port);
    }

    fn written<P: Port<Flow = F>>(
        &mut self,
        port: &mut P,
        tag: Tag,
        block: FrameBlock,
        result: Result<u64, DiskError>,
    ) {
        if let Job::Get(get) = &mut self.job {
            get.on_written(block.content() as u64, result);
        }
        let key = tag.serial as Key;
        if let Some(conn) = self.conns.get_mut(&key).filter(|c| c.id == tag.conn) {
            conn.writing = conn.writing.saturating_sub(1);
            port.recv_release(conn.flow, block.window());
            self.flush_soon(port, key);
        }
        block::give_back(port, block);
    }

    /// The timer is due.
    pub fn on_timer<P: Port<Flow = F>>(&mut self, port: &mut P) {
        self.armed = None;
        let now = port.now();
        match &mut self.job {
            Job::Get(get) => get.handle_timeout(now),
            Job::Put(put) => put.handle_timeout(now),
        }
        self.drive(port);
    }

    /// The user, or the engine, wants it to end.
    pub fn on_stopping<P: Port<Flow = F>>(&mut self, port: &mut P) {
        match &mut self.job {
            Job::Get(get) => get.interrupt(),
            Job::Put(put) => put.interrupt(),
        }
        self.drive(port);
    }

    fn lost<P: Port<Flow = F>>(&mut self, port: &P, key: Key, loss: Loss) {
        let now = port.now();
        match &mut self.job {
            Job::Get(get) => get.on_lost(key, now, loss),
            Job::Put(put) => put.on_lost(now, loss),
        }
    }

    /// Takes a connection off the books, after what came on it has gone to
    /// the disk. Answers whether it was on them.
    fn forget<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key) -> bool {
        self.flush(port, key);
        match self.conns.remove(&key) {
            Some(conn) => {
                self.by_flow.remove(&conn.flow);
                true
            }
            None => false,
        }
    }

    /// Does all that can be done now.
    fn drive<P: Port<Flow = F>>(&mut self, port: &mut P) {
        let now = port.now();
        loop {
            let action = match &mut self.job {
                Job::Get(get) => get.poll_action(now),
                Job::Put(put) => put.poll_action(now),
            };
            match action {
                Some(Action::Connect(key)) => self.connect(port, key),
                Some(Action::Abort(key)) => {
                    let flow = self.conns.get(&key).map(|c| c.flow);
                    if let Some(flow) = flow {
                        self.forget(port, key);
                        port.close(flow);
                    }
                }
                Some(Action::Disk(op)) => self.submit(port, Tag { conn: 0, serial: 0 }, op),
                None => {
                    if !self.send(port) {
                        break;
                    }
                }
            }
        }
        self.report(port);
        self.arm(port);
    }

    fn connect<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key) {
        let Some(&address) = self.addresses.get(self.next_address % self.addresses.len()) else {
            return;
        };
        match port.connect(self.transport, address) {
            Ok(flow) => {
                self.next_id += 1;
                self.by_flow.insert(flow, key);
                self.conns.insert(
                    key,
                    Conn {
                        flow,
                        id: self.next_id,
                        filling: None,
                        writing: 0,
                    },
                );
            }
            Err(why) => {
                self.next_address += 1;
                self.lost(port, key, Loss::Broken(why));
            }
        }
    }

    fn submit<P: Port<Flow = F>>(&mut self, port: &mut P, tag: Tag, op: Op<FrameBlock>) {
        let Some(mailbox) = &self.mailbox else { return };
        let has_block = matches!(op, Op::Read { .. } | Op::Write { .. });
        let Err(op) = self.disk.submit(tag, op, mailbox) else {
            self.at_disk += usize::from(has_block);
            return;
        };
        // There are a few blocks for each connection: the queue takes them.
        let error = Err(DiskError::Exhausted);
        match (op, &mut self.job) {
            (Op::Read { block, .. }, Job::Put(put)) => {
                let rest = put.on_read(tag.serial, block, error);
                if let Some(block) = rest {
                    block::give_back(port, block);
                }
            }
            (Op::Write { block, .. }, _) => {
                self.written(port, tag, block, Err(DiskError::Exhausted))
            }
            (_, Job::Get(get)) => get.on_task(Err("too much waits for the disk".into())),
            (_, Job::Put(put)) => put.on_task(Err("too much waits for the disk".into())),
        }
    }

    /// Sends what is ready on all connections. Answers whether anything was.
    fn send<P: Port<Flow = F>>(&mut self, port: &mut P) -> bool {
        let now = port.now();
        let mut any = false;
        match &mut self.job {
            Job::Get(get) => {
                for (&key, conn) in &self.conns {
                    let bytes = get.out(key);
                    if !bytes.is_empty() {
                        let n = port.send(conn.flow, bytes);
                        get.advance(key, now, n);
                        any |= n > 0;
                    }
                }
            }
            Job::Put(put) => {
                while let Some(block) = put.take_spare() {
                    block::give_back(port, block);
                }
                let Some(conn) = self.conns.values().next() else {
                    return false;
                };
                let flow = conn.flow;
                while let Some(front) = put.front() {
                    match front {
                        Front::Bytes(bytes) => {
                            let n = port.send(flow, bytes);
                            let all = n == bytes.len();
                            put.bytes_sent(now, n);
                            any |= n > 0;
                            if !all {
                                break;
                            }
                        }
                        Front::Block => {
                            let Some(block) = put.take_block(now, FrameBlock::content) else {
                                break;
                            };
                            any = true;
                            block::send(port, flow, block);
                        }
                    }
                }
                self.read_ahead(port, flow);
            }
        }
        any
    }

    fn read_ahead<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        let max = FRAMES * port.segment(flow);
        while let Job::Put(put) = &mut self.job {
            let Some((serial, wish)) = put.next_read(max) else {
                return;
            };
            let Some((block, len)) = block::prepare(port, flow, wish.len, put.read_ahead()) else {
                return;
            };
            put.read_issued(len);
            let op = Op::Read {
                file: wish.file,
                offset: wish.offset,
                len,
                block,
            };
            self.submit(port, Tag { conn: 0, serial }, op);
        }
    }

    fn report<P: Port<Flow = F>>(&mut self, port: &mut P) {
        if self.reported {
            return;
        }
        let result = match &self.job {
            Job::Get(get) => get.outcome().map(|o| o.clone().map(ClientReport::Get)),
            Job::Put(put) => put.outcome().map(|o| o.clone().map(ClientReport::Put)),
        };
        let Some(result) = result else { return };
        self.reported = true;
        let _ = self.result.try_send(result);
        let keys: Vec<Key> = self.conns.keys().copied().collect();
        for key in keys {
            if let Some(flow) = self.conns.get(&key).map(|c| c.flow) {
                self.forget(port, key);
                port.close(flow);
            }
        }
        port.stop();
    }

    fn arm<P: Port<Flow = F>>(&mut self, port: &mut P) {
        let at = match &self.job {
            Job::Get(get) => get.poll_timeout(),
            Job::Put(put) => put.poll_timeout(),
        };
        let now = port.now();
        let Some(at) = at.map(|at| at.max(now + FLOOR)) else {
            return;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            port.set_timer(None, 0, at.since(now));
        }
    }
}
