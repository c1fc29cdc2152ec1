//! The application: one torrent, and its peers.

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fullbore::engine::{Application, Context, Flow, Reason, Transport};
use fullbore::stack::{ConnectOptions, ListenOptions};

use crate::disk::{self, Done, Job};
use crate::message::{self, Broken, HANDSHAKE, Message};
use crate::metainfo::{Hash, Metainfo};
use crate::peer::Peer;
use crate::pieces::Pieces;

/// Before a peer that was lost, or not there, is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often each peer hears something, as it might think us gone.
const ALIVE: Duration = Duration::from_secs(90);

/// What to do.
pub struct Settings {
    pub info: Arc<Metainfo>,
    pub peer_id: Hash,
    /// What carries the connections.
    pub transport: Transport,
    /// Port to listen on.
    pub listen: Option<u16>,
    /// Whom to connect to.
    pub peers: Vec<SocketAddr>,
    /// Whether to stop when every piece is there.
    pub until_complete: bool,
}

/// One torrent.
pub struct Torrent {
    settings: Settings,
    pieces: Pieces,
    peers: HashMap<Flow, Peer>,
    /// Those that were connected to, by number in the settings.
    ours: HashMap<Flow, usize>,
    file: Option<File>,
    jobs: Option<Sender<Job>>,
    /// Why it could not go on, for `main` to tell.
    failure: Arc<Mutex<Option<String>>>,
}

type Cx<'a> = Context<'a, Done>;

impl Torrent {
    /// A torrent whose `file` has the pieces that `have` says.
    pub fn new(
        settings: Settings,
        file: File,
        have: &[bool],
        failure: Arc<Mutex<Option<String>>>,
    ) -> Self {
        Self {
            pieces: Pieces::new(have),
            settings,
            peers: HashMap::new(),
            ours: HashMap::new(),
            file: Some(file),
            jobs: None,
            failure,
        }
    }

    fn fail(&self, cx: &mut Cx<'_>, why: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(why);
        }
        cx.stop();
    }

    fn job(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread is there for as long as this is.
            let _ = jobs.send(job);
        }
    }

    fn connect(&mut self, cx: &mut Cx<'_>, number: usize) {
        let options = ConnectOptions {
            transport: self.settings.transport,
            ..ConnectOptions::default()
        };
        match cx.connect_with(self.settings.peers[number], &options) {
            Ok(flow) => {
                self.ours.insert(flow, number);
            }
            Err(error) => {
                eprintln!("{}: {error}", self.settings.peers[number]);
                cx.set_timer(None, number as u64, RETRY);
            }
        }
    }

    fn add(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        let Settings { info, peer_id, .. } = &self.settings;
        let handshake = message::handshake(&info.info_hash, peer_id);
        let mut peer = Peer::new(handshake, info.hashes.len());
        peer.tell(&Message::Bitfield(&self.pieces.bitfield()));
        // Whoever may ask: there is no rationing here.
        peer.tell(&Message::Unchoke);
        peer.flush(cx, flow);
        self.peers.insert(flow, peer);
        cx.set_timer(Some(flow), 0, ALIVE);
    }

    /// Takes all that can be read.
    fn read(&mut self, cx: &mut Cx<'_>, flow: Flow) -> Result<(), Broken> {
        let Some(peer) = self.peers.get_mut(&flow) else {
            return Ok(());
        };
        let mut input = std::mem::take(&mut peer.input);
        while let Some(chunk) = cx.recv_chunk(flow) {
            input.extend_from_slice(chunk);
            let n = chunk.len();
            let taken = self.handle(cx, flow, &input)?;
            input.drain(..taken);
            cx.recv_consume(flow, n);
        }
        if let Some(peer) = self.peers.get_mut(&flow) {
            peer.input = input;
            peer.ask(&mut self.pieces, |piece| {
                self.settings.info.length_of(piece)
            });
            peer.flush(cx, flow);
        }
        self.feed(flow);
        Ok(())
    }

    /// Handles each whole message in `input`: how many bytes those are.
    fn handle(&mut self, cx: &mut Cx<'_>, flow: Flow, input: &[u8]) -> Result<usize, Broken> {
        let Some(peer) = self.peers.get_mut(&flow) else {
            return Ok(input.len());
        };
        let mut at = 0;
        if !peer.shook_hands {
            let Some(handshake) = input.first_chunk::<HANDSHAKE>() else {
                return Ok(0);
            };
            message::check_handshake(handshake, &self.settings.info.info_hash)?;
            peer.shook_hands = true;
            at = HANDSHAKE;
        }
        // The longest there is: all bits, or a block.
        let longest = (peer.has.len() / 8 + 16).max(message::BLOCK as usize + 16);
        while let Some((message, taken)) = Message::read(&input[at..], longest)? {
            self.on_message(cx, flow, &message)?;
            at += taken;
        }
        Ok(at)
    }

    fn on_message(
        &mut self,
        cx: &mut Cx<'_>,
        flow: Flow,
        message: &Message<'_>,
    ) -> Result<(), Broken> {
        let Some(peer) = self.peers.get_mut(&flow) else {
            return Ok(());
        };
        match *message {
            Message::Choke => peer.choked(),
            Message::Unchoke => peer.chokes = false,
            Message::Have(piece) => match peer.has.get_mut(piece as usize) {
                Some(has) => *has = true,
                None => return Err(Broken("a piece that does not exist")),
            },
            Message::Bitfield(bits) => {
                if bits.len() != peer.has.len().div_ceil(8) {
                    return Err(Broken("bits of another number of pieces"));
                }
                for (index, has) in peer.has.iter_mut().enumerate() {
                    *has |= bits[index / 8] & (0x80 >> (index % 8)) != 0;
                }
            }
            Message::Request(block) => {
                let within = block.begin.checked_add(block.length);
                let length = self.settings.info.length_of(block.piece);
                if !self.pieces.has(block.piece) || within.is_none_or(|end| end > length) {
                    return Err(Broken("a block that is not here"));
                }
                if !peer.request(block) {
                    return Err(Broken("too many requests"));
                }
            }
            Message::Cancel(block) => peer.cancel(block),
            Message::Piece { piece, begin, data } => {
                if let Some(fetch) = peer.fill(piece, begin, data) {
                    self.pieces.fetched(piece);
                    self.job(Job::Store(piece, fetch.into_data()));
                }
            }
            Message::Interested | Message::NotInterested | Message::Other => {}
        }
        let news = matches!(message, Message::Have(_) | Message::Bitfield(_));
        if news && let Some(peer) = self.peers.get_mut(&flow) {
            if !peer.told_interest && self.pieces.wants_any(&peer.has) {
                peer.told_interest = true;
                peer.tell(&Message::Interested);
            }
            peer.flush(cx, flow);
        }
        Ok(())
    }

    /// Has the next blocks read that a peer has asked for.
    fn feed(&mut self, flow: Flow) {
        while let Some(block) = self.peers.get_mut(&flow).and_then(Peer::next_read) {
            self.job(Job::Read(flow, block));
        }
    }

    fn stored(&mut self, cx: &mut Cx<'_>, piece: u32, right: bool) {
        if !right {
            // From whichever peer: it is fetched again.
            eprintln!("piece {piece} is not what it should be");
            self.pieces.failed(piece);
        } else {
            self.pieces.verified(piece);
            for (&flow, peer) in &mut self.peers {
                peer.tell(&Message::Have(piece));
                peer.flush(cx, flow);
            }
            if self.pieces.is_complete() {
                println!("complete");
                if self.settings.until_complete {
                    for &flow in self.peers.keys() {
                        cx.shutdown(flow);
                    }
                    cx.stop();
                }
                return;
            }
        }
        for (&flow, peer) in &mut self.peers {
            peer.ask(&mut self.pieces, |piece| {
                self.settings.info.length_of(piece)
            });
            peer.flush(cx, flow);
        }
    }
}

impl Application for Torrent {
    type Message = Done;

    fn start(&mut self, cx: &mut Cx<'_>) {
        let (jobs, queue) = channel();
        self.jobs = Some(jobs);
        if let Some(file) = self.file.take() {
            let (info, answers) = (Arc::clone(&self.settings.info), cx.mailbox());
            // Ends when `jobs` is dropped.
            std::thread::spawn(move || disk::work(&file, &info, &queue, &answers));
        }
        if let Some(port) = self.settings.listen {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            for local in [v4, v6] {
                let options = ListenOptions::new(self.settings.transport, 64);
                if let Err(error) = cx.listen_with(local, options) {
                    return self.fail(cx, format!("listening at {local}: {error}"));
                }
            }
            eprintln!("listening on port {port}");
        }
        for number in 0..self.settings.peers.len() {
            self.connect(cx, number);
        }
    }

    fn accept(&mut self, cx: &mut Cx<'_>, flow: Flow, _: SocketAddr, _: SocketAddr) -> bool {
        self.add(cx, flow);
        true
    }

    fn connected(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        self.add(cx, flow);
    }

    fn readable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        if let Err(Broken(why)) = self.read(cx, flow) {
            eprintln!("{:?}: {why}", cx.peer(flow));
            cx.abort(flow);
        }
    }

    fn writable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        if let Some(peer) = self.peers.get_mut(&flow) {
            peer.flush(cx, flow);
        }
        self.feed(flow);
    }

    fn peer_closed(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        cx.shutdown(flow);
    }

    fn closed(&mut self, cx: &mut Cx<'_>, flow: Flow, reason: Reason) {
        if let Some(peer) = self.peers.remove(&flow) {
            for piece in peer.begun() {
                self.pieces.failed(piece);
            }
        }
        if let Some(number) = self.ours.remove(&flow)
            && !self.pieces.is_complete()
        {
            eprintln!("{}: {reason}", self.settings.peers[number]);
            cx.set_timer(None, number as u64, RETRY);
        }
    }

    fn message(&mut self, cx: &mut Cx<'_>, done: Done) {
        match done {
            Done::Read(flow, block, Ok(data)) => {
                if let Some(peer) = self.peers.get_mut(&flow) {
                    peer.read(block, &data);
                    peer.flush(cx, flow);
                }
                self.feed(flow);
            }
            Done::Stored(piece, Ok(right)) => self.stored(cx, piece, right),
            Done::Read(.., Err(e)) | Done::Stored(_, Err(e)) => {
                self.fail(cx, format!("the file: {e}"))
            }
        }
    }

    fn timer(&mut self, cx: &mut Cx<'_>, flow: Option<Flow>, token: u64) {
        match flow {
            // To connect again.
            None => self.connect(cx, token as usize),
            Some(flow) => {
                if let Some(peer) = self.peers.get_mut(&flow) {
                    peer.tell(&Message::Other);
                    peer.flush(cx, flow);
                    cx.set_timer(Some(flow), 0, ALIVE);
                }
            }
        }
    }
}
