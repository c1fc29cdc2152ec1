//! What a client does with what arrives: content goes to the disk in blocks.

use std::hash::Hash;
use std::sync::Arc;

use super::{ClientApp, Job};
use crate::frame::Region;
use crate::transfer::Taken;
use crate::transfer::app::Port;
use crate::transfer::app::arrived::{self, Sifted};
use crate::transfer::app::block::{self, FrameBlock};
use crate::transfer::client::Key;
use crate::transfer::disk::{Op, Tag};

/// Content on its way to the disk.
pub(super) struct Filling {
    offset: u64,
    /// Offset of what belongs behind it.
    next: u64,
    block: FrameBlock,
}

impl Filling {
    /// What is gathered, beginning with content at `offset` if there is nothing.
    fn of<'a>(filling: &'a mut Option<Self>, offset: u64, region: &Arc<Region>) -> &'a mut Self {
        filling.get_or_insert_with(|| Self {
            offset,
            next: offset,
            block: FrameBlock::received(region.clone()),
        })
    }
}

impl<F: Copy + Eq + Hash> ClientApp<F> {
    /// Shows what has arrived on a connection.
    pub(super) fn take_input<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key) {
        let now = port.now();
        loop {
            self.take_plain(port, key);
            let Some(conn) = self.conns.get(&key) else {
                break;
            };
            let flow = conn.flow;
            let Some(chunk) = port.recv_chunk(flow) else {
                break;
            };
            let len = chunk.len();
            let mut sifted = match &mut self.job {
                Job::Get(get) => arrived::sift(chunk, |bytes| get.on_bytes(key, now, bytes)),
                Job::Put(put) => {
                    arrived::sift(chunk, |bytes| Taken::none(put.on_bytes(now, bytes)))
                }
            };
            // What a job has no use for now it never will.
            sifted.consumed = len;
            if sifted.runs.is_empty() {
                port.recv_consume(flow, len);
            } else {
                self.collect(port, key, sifted);
            }
        }
        self.flush_soon(port, key);
    }

    /// Takes what is content without a look at it.
    fn take_plain<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key) {
        let now = port.now();
        loop {
            let Job::Get(get) = &mut self.job else { return };
            let Some((offset, plain)) = get.plain(key) else {
                return;
            };
            let Some(conn) = self.conns.get_mut(&key) else {
                return;
            };
            let flow = conn.flow;
            if plain <= arrived::LARGEST || port.recv_chunk(flow).is_none() {
                return;
            }
            if conn.filling.as_ref().is_some_and(|f| f.next != offset) {
                self.flush(port, key);
                continue;
            }
            let filling = Filling::of(&mut conn.filling, offset, port.region());
            let taken = arrived::take_plain(port, flow, &mut filling.block, plain);
            filling.next += taken;
            get.pass(key, now, taken);
            if !filling.block.is_full() {
                return;
            }
            self.flush(port, key);
        }
    }

    /// Adds the packet that is next on a connection to its block. All its content is
    /// of one response: the next was not even asked for.
    fn collect<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key, from: Sifted) {
        let follows = |f: &Filling| f.next == from.offset;
        let conn = self.conns.get(&key);
        if conn.is_some_and(|c| c.filling.as_ref().is_some_and(|f| !follows(f))) {
            self.flush(port, key);
        }
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let filling = Filling::of(&mut conn.filling, from.offset, port.region());
        filling.next += from.runs.bytes() as u64;
        arrived::take(port, conn.flow, &mut filling.block, from);
        if filling.block.is_full() {
            self.flush(port, key);
        }
    }

    /// Sends a block that is not full to the disk unless that has enough to
    /// do: then more goes with it.
    pub(super) fn flush_soon<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key) {
        if self
            .conns
            .get(&key)
            .is_some_and(|c| c.writing < block::AHEAD)
        {
            self.flush(port, key);
        }
    }

    /// Sends what has been gathered to the disk.
    pub(super) fn flush<P: Port<Flow = F>>(&mut self, port: &mut P, key: Key) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let tag = Tag {
            conn: conn.id,
            serial: key as u64,
        };
        let (Some(Filling { offset, block, .. }), Job::Get(get)) = (conn.filling.take(), &self.job)
        else {
            return;
        };
        conn.writing += 1;
        let sink = get.sink().clone();
        self.submit(
            port,
            tag,
            Op::Write {
                sink,
                offset,
                block,
            },
        );
    }
}
