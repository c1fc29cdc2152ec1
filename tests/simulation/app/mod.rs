//! The application of every engine: does what the scripts say, and looks at
//! every byte.

mod open;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fullbore::engine::{Application, Context, Flow, Reason, Transport};
use fullbore::frame::Packet;
use fullbore::wire::checksum::Sum;

use crate::book::{Book, NAMES};
use crate::content::Content;
use crate::network::Sabotage;
use crate::plan::{MUTUAL, START};
use crate::rng::Rng;
use crate::script::{Finish, Read, Side, Write};

const PORT: u16 = 80;
/// A dialog over uTP has a port of its own, from here on: several connections
/// may come from one port.
const UTP_PORT: u16 = 1000;

const FREE: u64 = 1;
const READ: u64 = 2;
const WRITE: u64 = 3;
const ABORT: u64 = 4;
const LISTEN: u64 = 5;
const UNLISTEN: u64 = 6;
const OPEN: u64 = 1 << 32;

type Cx<'a> = Context<'a, ()>;

/// An end of a dialog at its engine.
struct Stream {
    flow: Flow,
    dialog: usize,
    /// 0 is the client's.
    side: usize,
    said: usize,
    heard: usize,
    shut: bool,
    eof: bool,
    asleep: bool,
    writes_later: bool,
    held: Vec<Packet>,
}

pub struct Peer {
    book: Rc<RefCell<Book>>,
    host: usize,
    backlog: usize,
    /// Dialogs that this engine opens, and which side it is then.
    opens: Vec<(usize, usize)>,
    streams: Vec<Option<Stream>>,
    /// Frames of connections that are gone.
    orphans: Vec<Packet>,
    rng: Rng,
    scratch: Vec<u8>,
    sabotage: Option<Sabotage>,
}

impl Peer {
    pub fn new(book: Rc<RefCell<Book>>, host: usize, opens: Vec<(usize, usize)>, rng: Rng) -> Self {
        let plan = Rc::clone(&book.borrow().plan);
        Self {
            book,
            host,
            backlog: plan.hosts[host].backlog,
            opens,
            streams: Vec::new(),
            orphans: Vec::new(),
            rng,
            scratch: vec![0; 8192],
            sabotage: plan.sabotage,
        }
    }

    /// Ends what is left of a dialog whose other end is gone: nobody can know
    /// that without keepalive.
    pub fn put_down(&mut self, cx: &mut Cx<'_>, dialog: usize) {
        let of = |s: &&Stream| s.dialog == dialog;
        if let Some(s) = self.streams.iter().flatten().find(of) {
            self.book
                .borrow_mut()
                .end(cx.now(), dialog, s.side)
                .put_down = true;
            cx.abort(s.flow);
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>, flow: Flow, dialog: usize, side: usize) {
        let at = flow.index();
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        let stream = Stream {
            flow,
            dialog,
            side,
            said: 0,
            heard: 0,
            shut: false,
            eof: false,
            asleep: false,
            writes_later: false,
            held: Vec::new(),
        };
        if self.streams[at].replace(stream).is_some() {
            self.fail("a place is used twice");
        }
        self.tune(cx, flow);
        let finish = self.script(dialog, side).finish;
        if let Finish::AbortAfter(time) = finish {
            cx.set_timer(Some(flow), ABORT, time);
        }
    }

    fn fail(&self, what: &str) {
        self.book
            .borrow_mut()
            .fail(format!("host {}: {what}", self.host));
    }

    fn script(&self, dialog: usize, side: usize) -> Side {
        self.book.borrow().dialog(dialog).sides[side].clone()
    }

    /// Takes a stream out while it is worked on.
    fn take(&mut self, flow: Flow) -> Option<Stream> {
        let slot = self.streams.get_mut(flow.index())?;
        slot.take_if(|s| s.flow == flow)
    }

    fn work(&mut self, cx: &mut Cx<'_>, flow: Flow, read: bool) {
        let Some(mut s) = self.take(flow) else { return };
        let script = self.script(s.dialog, s.side);
        let alive = (!read || self.read(cx, &mut s, &script)) && self.write(cx, &mut s, &script);
        if alive {
            self.finish(cx, &mut s, &script);
        }
        self.streams[flow.index()] = Some(s);
    }

    /// Whether an abort was due, and done.
    fn aborts(&mut self, cx: &mut Cx<'_>, s: &Stream, script: &Side) -> bool {
        let wrong = self.sabotage == Some(Sabotage::WrongAbort) && s.heard > 500;
        match script.finish {
            Finish::AbortAt(at) if s.said + s.heard >= at => {}
            _ if wrong => {}
            _ => return false,
        }
        cx.abort(s.flow);
        true
    }

    fn write(&mut self, cx: &mut Cx<'_>, s: &mut Stream, script: &Side) -> bool {
        let mute = script.answers && !s.eof;
        let content = self.content(s, true);
        while s.said < script.total && !s.writes_later && !mute {
            let left = script.total - s.said;
            let style = match script.write {
                Write::Mixed => self.rng.pick(&[Write::Bulk, Write::Bytes, Write::Frames]),
                style => style,
            };
            let want = match style {
                Write::Bytes => 1,
                _ => 1 + self.rng.skewed(8191) as usize,
            };
            let want = want.min(left);
            let taken = if style == Write::Frames {
                self.send_frame(cx, s, content, want)
            } else {
                content.fill(s.said, &mut self.scratch[..want]);
                let taken = cx.send(s.flow, &self.scratch[..want]);
                s.said += taken;
                taken == want
            };
            self.note_said(cx, s, s.said < script.total);
            if self.aborts(cx, s, script) {
                return false;
            }
            if self.rng.one_in(16) {
                self.tune(cx, s.flow);
            }
            let (one_in, most) = script.write_pause;
            if one_in > 0 && self.rng.one_in(one_in) {
                s.writes_later = true;
                cx.set_timer(Some(s.flow), WRITE, self.rng.time(most));
            }
            if !taken {
                break;
            }
        }
        let wants = s.said < script.total && !s.writes_later && !mute;
        self.note_said(cx, s, wants);
        true
    }

    /// Sends in a frame of ours; whether there was one.
    fn send_frame(&mut self, cx: &mut Cx<'_>, s: &mut Stream, c: Content, want: usize) -> bool {
        let Some(mut packet) = cx.prepare(s.flow) else {
            return false;
        };
        packet.truncate(want);
        let n = packet.len();
        let into = cx.bytes_mut(&mut packet);
        c.fill(s.said, into);
        let sum = Sum::of(into);
        if let Err(packet) = cx.send_packet(s.flow, packet, sum) {
            cx.free(packet);
            return false;
        }
        s.said += n;
        true
    }

    fn note_said(&mut self, cx: &Cx<'_>, s: &Stream, wants: bool) {
        let mut book = self.book.borrow_mut();
        let end = &mut book.entries[s.dialog].ends[s.side];
        if end.said != s.said || (wants && !end.wants) {
            end.moved = cx.now();
        }
        end.said = s.said;
        end.wants = wants;
    }

    fn content(&self, s: &Stream, own: bool) -> Content {
        let seed = self.book.borrow().plan.seed;
        Content::new(seed, s.dialog, (s.side == 0) == own)
    }

    /// Reads what there is; `false` when that ended the connection.
    fn read(&mut self, cx: &mut Cx<'_>, s: &mut Stream, script: &Side) -> bool {
        let content = self.content(s, false);
        let total = self.script(s.dialog, 1 - s.side).total;
        while !s.asleep
            && let Some(chunk) = cx.recv_chunk(s.flow)
        {
            let n = chunk.len();
            if let Some(at) = content.differs(s.heard, chunk) {
                let who = NAMES[s.side];
                self.fail(&format!(
                    "dialog {}: the {who} reads a wrong byte {at}",
                    s.dialog
                ));
                return false;
            }
            if s.eof && cx.recv_available(s.flow) + s.heard > total {
                self.fail("bytes behind the end");
            }
            let style = match script.read {
                Read::Mixed => self.rng.pick(&[Read::Eager, Read::Parts, Read::Frames]),
                Read::Bytes if total > 3000 => Read::Parts,
                style => style,
            };
            s.heard += match style {
                Read::Bytes => self.consume(cx, s, 1),
                Read::Parts => {
                    let part = 1 + self.rng.below(n as u64) as usize;
                    self.consume(cx, s, part)
                }
                Read::Frames => self.keep(cx, s, script),
                _ => self.consume(cx, s, n),
            };
            self.book.borrow_mut().end(cx.now(), s.dialog, s.side).heard = s.heard;
            if self.aborts(cx, s, script) {
                return false;
            }
            let (one_in, most) = script.read_pause;
            if one_in > 0 && self.rng.one_in(one_in) {
                s.asleep = true;
                self.book.borrow_mut().not_willing(self.host);
                cx.set_timer(Some(s.flow), READ, self.rng.time(most));
            }
        }
        if s.heard > total {
            self.fail(&format!("dialog {}: more bytes than were sent", s.dialog));
        }
        true
    }

    /// Reads `n` bytes: how many it took them for.
    fn consume(&mut self, cx: &mut Cx<'_>, s: &Stream, n: usize) -> usize {
        match self.sabotage {
            Some(Sabotage::LostByte) if s.heard > 300 => {
                cx.recv_consume(s.flow, n);
                n.saturating_sub(1)
            }
            Some(Sabotage::TwiceHeard) if s.heard > 300 && n > 1 => {
                cx.recv_consume(s.flow, n / 2);
                n
            }
            _ => {
                cx.recv_consume(s.flow, n);
                n
            }
        }
    }

    /// Takes the frame, to another thread as it were.
    fn keep(&mut self, cx: &mut Cx<'_>, s: &mut Stream, script: &Side) -> usize {
        let Some(packet) = cx.recv_take(s.flow) else {
            self.fail("there was a chunk and is no packet");
            return 0;
        };
        let n = packet.len();
        if self.sabotage == Some(Sabotage::LeakedFrame) {
            cx.recv_release(s.flow, n);
            // Dropped, it is lost to its pool.
            return n;
        }
        if s.held.is_empty() {
            self.book.borrow_mut().not_willing(self.host);
            cx.set_timer(Some(s.flow), FREE, script.keep);
        }
        s.held.push(packet);
        n
    }

    fn give_back(&mut self, cx: &mut Cx<'_>, s: &mut Stream) {
        if !s.held.is_empty() {
            self.book.borrow_mut().willing(cx.now(), self.host);
        }
        for packet in s.held.drain(..) {
            cx.recv_release(s.flow, packet.len());
            cx.free(packet);
        }
    }

    /// Ends the own stream when it is time.
    fn finish(&mut self, cx: &mut Cx<'_>, s: &mut Stream, script: &Side) {
        if s.shut || s.said < script.total {
            return;
        }
        let heard_all = s.eof && cx.recv_available(s.flow) == 0;
        match script.finish {
            Finish::AfterPeer if !s.eof => return,
            Finish::Close if !heard_all => return,
            Finish::Close | Finish::CloseUnread => cx.close(s.flow),
            _ => cx.shutdown(s.flow),
        }
        s.shut = true;
        self.book.borrow_mut().end(cx.now(), s.dialog, s.side).shut = true;
    }
}

impl Application for Peer {
    type Message = ();

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.listen(cx);
        for (dialog, side) in self.opens.clone() {
            let mut at = self.book.borrow().dialog(dialog).at;
            if side == 1 {
                at += self.rng.skewed_time(Duration::from_millis(50));
            }
            cx.set_timer(None, OPEN + (dialog * 2 + side) as u64, at);
        }
        for (from, _) in &self.book.borrow().plan.hosts[self.host].away {
            cx.set_timer(None, UNLISTEN, from.since(START));
        }
    }

    fn accept(&mut self, cx: &mut Cx<'_>, flow: Flow, peer: SocketAddr, at: SocketAddr) -> bool {
        let mut book = self.book.borrow_mut();
        let dialog = match at.port().checked_sub(UTP_PORT) {
            Some(dialog) if at.port() < MUTUAL => Some(usize::from(dialog)),
            _ => book.accepted(peer),
        };
        let Some(dialog) = dialog else {
            book.fail(format!("a connection from {peer} that nobody opened"));
            return false;
        };
        let refused = book.dialog(dialog).refused;
        let end = book.end(cx.now(), dialog, 1);
        if end.gone.is_some() {
            // A late copy of the acknowledgement of a cookie.
            return false;
        }
        if end.established {
            book.fail(format!("dialog {dialog} was accepted twice"));
            return false;
        }
        end.established = true;
        if refused {
            end.gone = Some((Reason::Aborted, cx.now()));
            end.put_down = true;
            return false;
        }
        drop(book);
        self.begin(cx, flow, dialog, 1);
        self.work(cx, flow, false);
        true
    }

    fn connected(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        if let Some(Some(s)) = self.streams.get(flow.index()) {
            let mut book = self.book.borrow_mut();
            book.end(cx.now(), s.dialog, s.side).established = true;
        }
        self.work(cx, flow, false);
    }

    fn readable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        self.work(cx, flow, true);
    }

    fn writable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        self.work(cx, flow, false);
    }

    fn peer_closed(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        if let Some(Some(s)) = self.streams.get_mut(flow.index()) {
            let twice = std::mem::replace(&mut s.eof, true);
            let mut book = self.book.borrow_mut();
            book.end(cx.now(), s.dialog, s.side).eof = true;
            let total = book.dialog(s.dialog).sides[1 - s.side].total;
            // Whoever ends a stream has said all: the rest abort.
            if twice || s.heard + cx.recv_available(flow) != total {
                book.fail(format!("dialog {}: a wrong end of the stream", s.dialog));
            }
        }
        self.work(cx, flow, true);
    }

    fn closed(&mut self, cx: &mut Cx<'_>, flow: Flow, reason: Reason) {
        let Some(mut s) = self.take(flow) else {
            self.fail("an unknown connection has ended");
            return;
        };
        let mut book = self.book.borrow_mut();
        if s.asleep {
            book.willing(cx.now(), self.host);
        }
        if !s.held.is_empty() {
            book.willing(cx.now(), self.host);
            let keep = book.dialog(s.dialog).sides[s.side].keep;
            cx.set_timer(None, FREE, keep);
            self.orphans.append(&mut s.held);
        }
        let end = book.end(cx.now(), s.dialog, s.side);
        if end.gone.replace((reason, cx.now())).is_some() {
            let d = s.dialog;
            book.fail(format!("dialog {d}: ended twice"));
        }
    }

    fn timer(&mut self, cx: &mut Cx<'_>, flow: Option<Flow>, token: u64) {
        let Some(flow) = flow else {
            match token {
                OPEN.. => {
                    let which = (token - OPEN) as usize;
                    self.open(cx, which / 2, which % 2);
                }
                LISTEN => self.listen(cx),
                UNLISTEN => {
                    cx.unlisten(self.any(PORT));
                    for port in self.utp_ports() {
                        cx.unlisten_with(Transport::Utp, self.any(port));
                    }
                    let (from, to) = self.book.borrow().plan.hosts[self.host].away[0];
                    cx.set_timer(None, LISTEN, to.since(from));
                }
                _ => {
                    for packet in self.orphans.drain(..) {
                        cx.free(packet);
                    }
                }
            }
            return;
        };
        match token {
            FREE => {
                if let Some(mut s) = self.take(flow) {
                    self.give_back(cx, &mut s);
                    self.streams[flow.index()] = Some(s);
                }
            }
            READ => {
                if let Some(Some(s)) = self.streams.get_mut(flow.index()) {
                    s.asleep = false;
                    self.book.borrow_mut().willing(cx.now(), self.host);
                }
                self.work(cx, flow, true);
            }
            WRITE => {
                if let Some(Some(s)) = self.streams.get_mut(flow.index()) {
                    s.writes_later = false;
                }
                self.work(cx, flow, false);
            }
            _ => cx.abort(flow),
        }
    }
}
