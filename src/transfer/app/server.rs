//! A server on one engine.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use slab::Slab;

use super::arrived;
use super::block::{self, FRAMES, FrameBlock};
use super::start::{Begun, Server};
use super::{Port, ServerStats};
use crate::time::Instant;
use crate::transfer::disk::{Completion, DiskError, Mailbox, Op, Outcome, Pool, Tag, Upload};
use crate::transfer::serve::{Admission, Admitted, Close, Front, Now, Policy, ServerConn};

/// Content on its way to an upload.
struct Filling {
    upload: Arc<Upload>,
    offset: u64,
    block: FrameBlock,
}

struct Conn<F> {
    /// Unlike the place in the slab, never used again.
    id: u64,
    flow: F,
    peer: IpAddr,
    machine: ServerConn<FrameBlock>,
    filling: Option<Filling>,
    /// Blocks of what came on it that the disk has.
    writing: u32,
    armed: Option<Instant>,
    /// The peer has sent all it will.
    eof: bool,
}

/// A server on one engine.
pub struct ServerApp<F> {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) listen_utp: Vec<SocketAddr>,
    pub(super) backlog: usize,
    pub(super) backlog_utp: usize,
    inline_reads: bool,
    policy: Arc<Policy>,
    disk: Arc<Pool<FrameBlock>>,
    admission: Arc<Mutex<Admission>>,
    stats: Arc<ServerStats>,
    begun: Arc<Begun>,
    mailbox: Option<Arc<dyn Mailbox<FrameBlock>>>,
    conns: Slab<Conn<F>>,
    by_flow: HashMap<F, usize>,
    next_id: u64,
    at_disk: usize,
    stopping: bool,
}

impl Server {
    /// An application for one engine. `mailbox` leads back to that engine;
    /// an engine's own can be had later, see [`ServerApp`].
    #[must_use]
    pub fn app<F: Copy + Eq + Hash>(&self) -> ServerApp<F> {
        ServerApp {
            listen: self.options.listen.clone(),
            listen_utp: self.options.listen_utp.clone(),
            backlog: self.options.backlog,
            backlog_utp: self.options.backlog_utp,
            inline_reads: self.options.inline_reads,
            policy: self.policy.clone(),
            disk: self.disk.clone(),
            admission: self.admission.clone(),
            stats: self.stats.clone(),
            begun: self.begun.clone(),
            mailbox: None,
            conns: Slab::new(),
            by_flow: HashMap::new(),
            next_id: 0,
            at_disk: 0,
            stopping: false,
        }
    }
}

fn now<P: Port>(port: &P) -> Now {
    Now {
        at: port.now(),
        wall: SystemTime::now(),
    }
}

impl<F: Copy + Eq + Hash> ServerApp<F> {
    /// Sets where disk threads post their answers. Must come first.
    pub fn set_mailbox(&mut self, mailbox: Arc<dyn Mailbox<FrameBlock>>) {
        self.mailbox = Some(mailbox);
    }

    /// This engine listens.
    pub(super) fn listening(&self) {
        self.begun.listening.fetch_add(1, Ordering::AcqRel);
    }

    /// This engine cannot listen.
    pub(super) fn failed(&self, why: String) {
        let _ = self.begun.failure.set(why);
    }

    /// Blocks that disk threads have: their frames are still out.
    #[must_use]
    pub const fn at_disk(&self) -> usize {
        self.at_disk
    }

    /// A connection has been accepted. `false` to reset it.
    pub fn on_accept<P: Port<Flow = F>>(
        &mut self,
        port: &mut P,
        flow: F,
        peer: SocketAddr,
    ) -> bool {
        let peer = peer.ip();
        let admitted = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .opened(peer);
        let policy = self.policy.clone();
        let machine = match admitted {
            Admitted::Yes => ServerConn::new(policy, now(port)),
            Admitted::Refuse(refusal) => {
                self.stats.refused();
                ServerConn::refusing(policy, refusal, now(port))
            }
            Admitted::Reset => {
                self.stats.refused();
                return false;
            }
        };
        self.stats.opened();
        port.set_nodelay(flow);
        let id = self.next_id;
        self.next_id += 1;
        let index = self.conns.insert(Conn {
            id,
            flow,
            peer,
            machine,
            filling: None,
            writing: 0,
            armed: None,
            eof: false,
        });
        self.by_flow.insert(flow, index);
        self.arm(port, index);
        true
    }

    /// Bytes have arrived.
    pub fn on_readable<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        if let Some(&index) = self.by_flow.get(&flow) {
            self.drive(port, index);
        }
    }

    /// There is room to send.
    pub fn on_writable<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        if let Some(&index) = self.by_flow.get(&flow) {
            self.drive(port, index);
        }
    }

    /// The peer will send no more.
    pub fn on_peer_closed<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        if let Some(&index) = self.by_flow.get(&flow) {
            if let Some(conn) = self.conns.get_mut(index) {
                conn.eof = true;
            }
            self.drive(port, index);
        }
    }

    /// The connection is over.
    pub fn on_closed<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        let Some(index) = self.by_flow.remove(&flow) else {
            return;
        };
        let Some(mut conn) = self.conns.try_remove(index) else {
            return;
        };
        self.admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed(conn.peer);
        self.stats.closed();
        for block in conn.machine.on_closed() {
            block::give_back(port, block);
        }
        if let Some(filling) = conn.filling.take() {
            block::give_back(port, filling.block);
        }
        self.stats.add(&conn.machine.take_tally());
        let tag = Tag {
            conn: conn.id,
            serial: u64::MAX,
        };
        while let Some(op) = conn.machine.poll_op() {
            // Only what needs no answer is of interest now.
            if matches!(op, Op::Discard(_))
                && let Some(mailbox) = &self.mailbox
            {
                let _ = self.disk.submit(tag, op, mailbox);
            }
        }
    }

    /// A disk thread is done with something.
    pub fn on_disk<P: Port<Flow = F>>(&mut self, port: &mut P, completion: Completion<FrameBlock>) {
        let Completion { tag, outcome } = completion;
        if matches!(outcome, Outcome::Read(..) | Outcome::Written(..)) {
            self.at_disk = self.at_disk.saturating_sub(1);
        }
        let index = tag.serial as usize;
        let now = now(port);
        match self.conns.get_mut(index).filter(|c| c.id == tag.conn) {
            Some(conn) => {
                if matches!(outcome, Outcome::Written(..)) {
                    conn.writing = conn.writing.saturating_sub(1);
                }
                if let Some(block) = conn.machine.on_outcome(now, outcome) {
                    port.recv_release(conn.flow, block.window());
                    block::give_back(port, block);
                }
                self.drive(port, index);
            }
            None => match outcome {
                Outcome::Read(block, _) | Outcome::Written(block, _) => {
                    block::give_back(port, block)
                }
                Outcome::Created(Ok(upload)) => {
                    if let Some(mailbox) = &self.mailbox {
                        let _ = self.disk.submit(tag, Op::Discard(upload), mailbox);
                    }
                }
                _ => {}
            },
        }
    }

    /// A timer set with token 0 for `flow` is due.
    pub fn on_timer<P: Port<Flow = F>>(&mut self, port: &mut P, flow: F) {
        let Some(&index) = self.by_flow.get(&flow) else {
            return;
        };
        let now = now(port);
        if let Some(conn) = self.conns.get_mut(index) {
            conn.armed = None;
            conn.machine.handle_timeout(now, port.unsent(flow));
        }
        self.drive(port, index);
    }

    /// No connection is accepted any more; those that wait for a request end.
    pub fn on_stopping<P: Port<Flow = F>>(&mut self, port: &mut P) {
        self.stopping = true;
        let indices: Vec<_> = self.conns.iter().map(|(index, _)| index).collect();
        for index in indices {
            if let Some(conn) = self.conns.get_mut(index) {
                conn.machine.finish_soon();
            }
            self.drive(port, index);
        }
    }

    /// Does all that can be done for a connection now.
    fn drive<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) {
        loop {
            let took = self.take_input(port, index);
            self.submit_ops(port, index);
            self.read_ahead(port, index);
            let gave = self.give_output(port, index);
            if !took && !gave {
                break;
            }
        }
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        self.stats.add(&conn.machine.take_tally());
        let flow = conn.flow;
        match conn.machine.poll_close() {
            Some(Close::Shutdown) => port.shutdown(flow),
            Some(Close::Abort) => return port.abort(flow),
            None => {}
        }
        self.arm(port, index);
    }

    fn arm<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        let Some(at) = conn.machine.poll_timeout() else {
            return;
        };
        if conn.armed.is_none_or(|armed| at < armed) {
            conn.armed = Some(at);
            port.set_timer(Some(conn.flow), 0, at.since(port.now()));
        }
    }

    /// Shows what has arrived. Answers whether any of it was taken.
    fn take_input<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) -> bool {
        let now = now(port);
        let mut any = false;
        loop {
            any |= self.take_plain(port, index);
            let Some(conn) = self.conns.get_mut(index) else {
                break;
            };
            let flow = conn.flow;
            let Some(chunk) = port.recv_chunk(flow) else {
                if conn.eof {
                    conn.machine.on_eof();
                }
                break;
            };
            let upload = conn.machine.upload().cloned();
            // A request's content begins only when its file exists, so one chunk
            // has the content of one upload at most.
            let sifted = arrived::sift(chunk, |bytes| conn.machine.on_bytes(now, bytes));
            if sifted.consumed == 0 {
                break;
            }
            any = true;
            let Some(upload) = upload.filter(|_| !sifted.runs.is_empty()) else {
                port.recv_consume(flow, sifted.consumed);
                continue;
            };
            let filling = conn.filling.get_or_insert_with(|| Filling {
                upload,
                offset: sifted.offset,
                block: FrameBlock::received(port.region().clone()),
            });
            arrived::take(port, flow, &mut filling.block, sifted);
            if filling.block.is_full() {
                self.flush(port, index);
            }
        }
        // What is not full waits while the disk has enough to do, but the last
        // goes there before the upload is completed.
        let waits = |c: &Conn<F>| c.writing >= block::AHEAD && c.machine.upload().is_some();
        if !self.conns.get(index).is_some_and(waits) {
            self.flush(port, index);
        }
        any
    }

    /// Takes what is content of an upload without a look at it. Answers whether
    /// there was any.
    fn take_plain<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) -> bool {
        let mut any = false;
        while let Some(conn) = self.conns.get_mut(index) {
            let flow = conn.flow;
            let Some((upload, offset, plain)) = conn.machine.plain() else {
                break;
            };
            if plain <= arrived::LARGEST || port.recv_chunk(flow).is_none() {
                break;
            }
            let filling = conn.filling.get_or_insert_with(|| Filling {
                upload: upload.clone(),
                offset,
                block: FrameBlock::received(port.region().clone()),
            });
            let taken = arrived::take_plain(port, flow, &mut filling.block, plain);
            conn.machine.pass(taken);
            any |= taken > 0;
            if !filling.block.is_full() {
                break;
            }
            self.flush(port, index);
        }
        any
    }

    /// Sends a block of received content to the disk.
    fn flush<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        let Some(Filling {
            upload,
            offset,
            block,
        }) = conn.filling.take()
        else {
            return;
        };
        conn.writing += 1;
        self.submit(
            port,
            index,
            Op::Upload {
                upload,
                offset,
                block,
            },
        );
    }

    fn submit_ops<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) {
        while let Some(op) = self.conns.get_mut(index).and_then(|c| c.machine.poll_op()) {
            if self.inline_reads
                && let Op::Lookup { root, path } = &op
                && let Some(found) = root.lookup_cached(path)
            {
                let now = now(port);
                if let Some(conn) = self.conns.get_mut(index) {
                    conn.machine.on_outcome(now, Outcome::Found(found));
                }
                continue;
            }
            self.submit(port, index, op);
        }
    }

    /// Hands a request to a disk thread; when too many are waiting, answers it
    /// as the disk would.
    fn submit<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize, op: Op<FrameBlock>) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        let Some(mailbox) = &self.mailbox else { return };
        let tag = Tag {
            conn: conn.id,
            serial: index as u64,
        };
        let has_block = matches!(op, Op::Read { .. } | Op::Upload { .. });
        let Err(op) = self.disk.submit(tag, op, mailbox) else {
            self.at_disk += usize::from(has_block);
            return;
        };
        let error = DiskError::Exhausted;
        let outcome = match op {
            Op::Lookup { .. } => Outcome::Found(Err(error)),
            Op::List { .. } => Outcome::Listed(Err(error)),
            Op::Digest { .. } => Outcome::Digest(Err(error)),
            Op::Create { .. } => Outcome::Created(Err(error)),
            Op::Commit { .. } => Outcome::Committed(Err(error)),
            Op::Read { block, .. } => Outcome::Read(block, Err(error)),
            Op::Upload { block, .. } | Op::Write { block, .. } => {
                Outcome::Written(block, Err(error))
            }
            Op::Discard(_) | Op::Task(_) => return,
        };
        let now = now(port);
        if let Some(block) = conn.machine.on_outcome(now, outcome) {
            port.recv_release(conn.flow, block.window());
            block::give_back(port, block);
        }
    }

    /// Asks for blocks as long as there is room to send them.
    fn read_ahead<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) {
        while let Some(conn) = self.conns.get_mut(index) {
            let flow = conn.flow;
            let max = FRAMES * port.segment(flow);
            let Some(wish) = conn.machine.next_read(max) else {
                return;
            };
            let (ahead, reading) = (conn.machine.read_ahead(), conn.machine.is_reading());
            let Some((mut block, len)) = block::prepare(port, flow, wish.len, ahead) else {
                return;
            };
            conn.machine.read_issued(len);
            // Blocks have to come in order: not before one that the disk reads.
            if self.inline_reads
                && !reading
                && let Ok(Some(got)) = wish.file.read_cached(wish.offset, len, &mut block)
            {
                let now = now(port);
                if let Some(block) = conn.machine.on_outcome(now, Outcome::Read(block, Ok(got))) {
                    block::give_back(port, block);
                }
                continue;
            }
            let op = Op::Read {
                file: wish.file,
                offset: wish.offset,
                len,
                block,
            };
            self.submit(port, index, op);
        }
    }

    /// Sends what is ready. Answers whether anything was sent.
    fn give_output<P: Port<Flow = F>>(&mut self, port: &mut P, index: usize) -> bool {
        let Some(conn) = self.conns.get_mut(index) else {
            return false;
        };
        let now = now(port);
        let flow = conn.flow;
        let mut any = false;
        while let Some(front) = conn.machine.front() {
            match front {
                Front::Bytes(bytes) => {
                    let n = port.send(flow, bytes);
                    let all = n == bytes.len();
                    conn.machine.bytes_sent(now, n);
                    any |= n > 0;
                    if !all {
                        break;
                    }
                }
                Front::Block => {
                    let Some(block) = conn.machine.take_block(now, FrameBlock::content) else {
                        break;
                    };
                    any = true;
                    block::send(port, flow, block);
                }
            }
        }
        any
    }
}
