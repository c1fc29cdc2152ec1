//! What is known of one peer, and what it is to be sent.

use std::collections::VecDeque;

use fullbore::engine::{Context, Flow};

use crate::disk::Done;
use crate::message::{Block, HANDSHAKE, Message};
use crate::pieces::{Fetch, Pieces};

/// Blocks that a peer is asked for ahead.
const PIPELINE: usize = 256;
/// Requests of a peer that wait; who asks for more is left.
const MAX_REQUESTS: usize = 4096;
/// Blocks that are read for a peer, or wait to be sent to it.
pub const MAX_AHEAD: usize = 32;

/// A peer.
pub struct Peer {
    /// Bytes that are no whole message yet.
    pub input: Vec<u8>,
    pub shook_hands: bool,
    /// Which pieces it has.
    pub has: Vec<bool>,
    /// It answers no requests for now.
    pub chokes: bool,
    /// It was told that it has something of interest.
    pub told_interest: bool,
    fetches: VecDeque<Fetch>,
    asked: usize,
    requests: VecDeque<Block>,
    reading: usize,
    out: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that have been sent.
    sent: usize,
}

impl Peer {
    /// A peer of which nothing is known, to which `handshake` is sent.
    pub fn new(handshake: [u8; HANDSHAKE], pieces: usize) -> Self {
        Self {
            input: Vec::new(),
            shook_hands: false,
            has: vec![false; pieces],
            chokes: true,
            told_interest: false,
            fetches: VecDeque::new(),
            asked: 0,
            requests: VecDeque::new(),
            reading: 0,
            out: VecDeque::from([handshake.to_vec()]),
            sent: 0,
        }
    }

    /// Has a message sent.
    pub fn tell(&mut self, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.out.push_back(bytes);
    }

    /// Sends as much as there is room for.
    pub fn flush(&mut self, cx: &mut Context<'_, Done>, flow: Flow) {
        while let Some(bytes) = self.out.front() {
            self.sent += cx.send(flow, &bytes[self.sent..]);
            if self.sent < bytes.len() {
                // `writable` comes when there is room again.
                return;
            }
            self.sent = 0;
            self.out.pop_front();
        }
    }

    // -- what it is asked for ------------------------------------------------

    /// Asks for as many blocks as may be on their way.
    pub fn ask(&mut self, pieces: &mut Pieces, length_of: impl Fn(u32) -> u32) {
        while !self.chokes && self.asked < PIPELINE {
            let next = self.fetches.iter_mut().find_map(Fetch::ask);
            let Some(block) = next else {
                let Some(piece) = pieces.pick(&self.has) else {
                    return;
                };
                self.fetches.push_back(Fetch::new(piece, length_of(piece)));
                continue;
            };
            self.asked += 1;
            self.tell(&Message::Request(block));
        }
    }

    /// What was asked for will not come.
    pub fn choked(&mut self) {
        self.chokes = true;
        let forgotten: usize = self.fetches.iter_mut().map(Fetch::forget).sum();
        self.asked -= forgotten;
    }

    /// A block has come: the piece, if it is whole now.
    pub fn fill(&mut self, piece: u32, begin: u32, data: &[u8]) -> Option<Fetch> {
        let index = self.fetches.iter().position(|fetch| fetch.piece == piece)?;
        if !self.fetches[index].fill(begin, data) {
            // Perhaps asked for before it choked.
            return None;
        }
        self.asked -= 1;
        if self.fetches[index].is_whole() {
            self.fetches.remove(index)
        } else {
            None
        }
    }

    /// The pieces that it has begun to send.
    pub fn begun(&self) -> impl Iterator<Item = u32> {
        self.fetches.iter().map(|fetch| fetch.piece)
    }

    // -- what it asks for ------------------------------------------------------

    /// It asks for a block; `false` if it has asked for too many.
    pub fn request(&mut self, block: Block) -> bool {
        self.requests.push_back(block);
        self.requests.len() <= MAX_REQUESTS
    }

    /// It has changed its mind.
    pub fn cancel(&mut self, block: Block) {
        self.requests.retain(|known| *known != block);
    }

    /// The next block to be read for it, if it is time to.
    pub fn next_read(&mut self) -> Option<Block> {
        if self.reading + self.out.len() >= MAX_AHEAD {
            return None;
        }
        let block = self.requests.pop_front()?;
        self.reading += 1;
        Some(block)
    }

    /// A block has been read for it.
    pub fn read(&mut self, block: Block, data: &[u8]) {
        self.reading -= 1;
        self.tell(&Message::Piece {
            piece: block.piece,
            begin: block.begin,
            data,
        });
    }
}
