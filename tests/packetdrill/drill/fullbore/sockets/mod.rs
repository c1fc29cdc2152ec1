//! Sockets on top of an engine: descriptors, blocking, accept queues, errors.
//!
//! As thin as it can be: what a socket does is what the engine's application
//! interface does, in the words of POSIX.

mod events;
mod opening;
mod stream;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use fullbore::engine::{Context, Flow};

use super::super::target::{Call, Fd, Outcome};
use super::config::Settings;
use super::options::Options;
use super::poll::{self, Level};

type Cx<'a> = Context<'a, ()>;

/// What a call answers now; `None` while it has to wait.
type Answer = Option<Outcome>;

/// One connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// `None` once it is over.
    pub flow: Option<Flow>,
    pub connected: bool,
    /// The socket has been told so by `connect`.
    told: bool,
    pub peer_closed: bool,
    /// The error that the next call is to hear.
    pub error: Option<i32>,
    /// What had not been read when it ended.
    left: Vec<u8>,
}

impl Conn {
    fn readable(&self, cx: &Cx<'_>) -> usize {
        self.flow.map_or(self.left.len(), |f| cx.recv_available(f))
    }

    /// Takes, or looks at, up to `len` bytes.
    fn take(&mut self, cx: &mut Cx<'_>, len: usize, peek: bool) -> Vec<u8> {
        let n = len.min(self.left.len());
        match self.flow {
            Some(flow) => take(cx, flow, len, peek),
            None if peek => self.left[..n].to_vec(),
            None => self.left.drain(..n).collect(),
        }
    }
}

/// What a socket is for.
#[derive(Clone, Debug)]
pub enum Kind {
    Fresh,
    Listening {
        at: SocketAddr,
        queue: VecDeque<Flow>,
    },
    Stream(Conn),
}

/// A socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub kind: Kind,
    nonblocking: bool,
    bound: Option<SocketAddr>,
    pub read_shut: bool,
    pub write_shut: bool,
    pub options: Options,
}

impl Socket {
    fn new(nonblocking: bool, options: Options) -> Self {
        Self {
            kind: Kind::Fresh,
            nonblocking,
            bound: None,
            read_shut: false,
            write_shut: false,
            options,
        }
    }

    /// The error of a connection, which is told once.
    fn take_error(&mut self) -> Option<i32> {
        match &mut self.kind {
            Kind::Stream(conn) => conn.error.take(),
            _ => None,
        }
    }
}

/// The application: all sockets of a script.
pub struct Sockets {
    sockets: BTreeMap<Fd, Socket>,
    /// Whose a connection is: that of a descriptor, or of a listener's queue.
    owners: HashMap<Flow, Owner>,
    defaults: Settings,
}

#[derive(Clone, Debug)]
enum Owner {
    Descriptor(Fd),
    Queue(Fd, Box<Conn>),
    /// Closed by the script; what is left goes on without it.
    Nobody,
}

fn done(result: i64) -> Answer {
    Some(Outcome::of(Ok(result)))
}

fn error(number: i32) -> Answer {
    Some(Outcome::of(Err(number)))
}

impl Sockets {
    pub fn new(defaults: Settings) -> Self {
        Self {
            sockets: BTreeMap::new(),
            owners: HashMap::new(),
            defaults,
        }
    }

    /// What connections made from now on begin with.
    pub fn set_defaults(&mut self, cx: &mut Cx<'_>, defaults: Settings) {
        for socket in self.sockets.values_mut() {
            if !matches!(socket.kind, Kind::Stream(_)) {
                socket.options.rebase(&defaults);
            }
            if let Kind::Listening { at, .. } = &socket.kind {
                cx.tune_listener(*at, socket.options.config.clone().into());
            }
        }
        self.defaults = defaults;
    }

    /// The connection of a descriptor.
    pub fn flow(&self, fd: Fd) -> Option<Flow> {
        match &self.sockets.get(&fd)?.kind {
            Kind::Stream(conn) => conn.flow,
            _ => None,
        }
    }

    /// Makes a call, or tries one again that has waited. `progress` is what it
    /// has done so far; `over` tells that its time is.
    pub fn attempt(
        &mut self,
        cx: &mut Cx<'_>,
        call: &Call,
        progress: &mut usize,
        over: bool,
    ) -> Answer {
        if let Call::Socket { nonblocking, .. } = call {
            let fd = self.free();
            let options = Options::new(&self.defaults);
            self.sockets.insert(fd, Socket::new(*nonblocking, options));
            return done(fd.into());
        }
        if let Call::Poll { fds, .. } = call {
            return self.poll(cx, fds, over);
        }
        let fd = match *call {
            Call::Bind { fd, .. }
            | Call::Listen { fd, .. }
            | Call::Accept { fd, .. }
            | Call::Connect { fd, .. }
            | Call::Read { fd, .. }
            | Call::Write { fd, .. }
            | Call::Shutdown { fd, .. }
            | Call::Close { fd }
            | Call::Fcntl { fd, .. }
            | Call::Ioctl { fd, .. }
            | Call::SetOption { fd, .. }
            | Call::GetOption { fd, .. } => fd,
            Call::Socket { .. } | Call::Poll { .. } => -1,
        };
        if !self.sockets.contains_key(&fd) {
            return error(libc::EBADF);
        }
        match call {
            Call::Bind { at, .. } => self.bind(fd, *at),
            Call::Listen { backlog, .. } => self.listen(cx, fd, *backlog),
            Call::Accept { nonblocking, .. } => self.accept(cx, fd, *nonblocking),
            Call::Connect { to, .. } => self.connect(cx, fd, *to),
            Call::Read { len, flags, .. } => self.read(cx, fd, *len, *flags),
            Call::Write { data, flags, .. } => self.write(cx, fd, data, *flags, progress),
            Call::Shutdown { how, .. } => self.shutdown(cx, fd, *how),
            Call::Close { .. } => self.close(cx, fd, progress),
            Call::Fcntl {
                command, argument, ..
            } => self.fcntl(fd, *command, *argument),
            Call::Ioctl { request, .. } => self.ioctl(cx, fd, *request),
            Call::SetOption {
                level, name, value, ..
            } => {
                let socket = self.sockets.get_mut(&fd)?;
                let outcome = socket.options.set(*level, *name, value);
                match &socket.kind {
                    Kind::Stream(conn) => {
                        if let Some(flow) = conn.flow {
                            socket.options.apply(cx, flow, *level, *name);
                        }
                    }
                    Kind::Listening { at, .. } => {
                        cx.tune_listener(*at, socket.options.config.clone().into());
                    }
                    Kind::Fresh => {}
                }
                Some(outcome)
            }
            Call::GetOption { level, name, .. } => {
                let socket = self.sockets.get_mut(&fd)?;
                if (*level, *name) == (libc::SOL_SOCKET, libc::SO_ERROR) {
                    let pending = socket.take_error().unwrap_or(0);
                    return Some(Options::number(pending));
                }
                let info = match &socket.kind {
                    Kind::Stream(conn) => conn.flow.and_then(|f| cx.info(f)),
                    _ => None,
                };
                let listening = matches!(socket.kind, Kind::Listening { .. });
                Some(socket.options.get(*level, *name, info.as_ref(), listening))
            }
            Call::Socket { .. } | Call::Poll { .. } => None,
        }
    }

    fn free(&self) -> Fd {
        (3..).find(|fd| !self.sockets.contains_key(fd)).unwrap_or(3)
    }

    fn fcntl(&mut self, fd: Fd, command: i32, argument: i32) -> Answer {
        let socket = self.sockets.get_mut(&fd)?;
        match command {
            libc::F_GETFL => {
                let flag = if socket.nonblocking {
                    libc::O_NONBLOCK
                } else {
                    0
                };
                done((libc::O_RDWR | flag).into())
            }
            libc::F_SETFL => {
                socket.nonblocking = argument & libc::O_NONBLOCK != 0;
                done(0)
            }
            _ => Some(Outcome::unsupported(format!("fcntl {command}"))),
        }
    }

    fn ioctl(&mut self, cx: &mut Cx<'_>, fd: Fd, request: i64) -> Answer {
        let Kind::Stream(conn) = &self.sockets.get(&fd)?.kind else {
            return error(libc::EINVAL);
        };
        let info = conn.flow.and_then(|f| cx.info(f));
        let number = match request {
            0x541B => conn.readable(cx) as i32,
            0x5411 => info.map_or(0, |i| i.send_queue as i32),
            _ => return Some(Outcome::unsupported(format!("ioctl {request:#x}"))),
        };
        Some(Options::number(number))
    }

    fn poll(&mut self, cx: &mut Cx<'_>, fds: &[(Fd, i16)], over: bool) -> Answer {
        let mut revents = Vec::new();
        for (fd, events) in fds {
            let is = match self.sockets.get(fd) {
                None => libc::POLLNVAL,
                Some(socket) => poll::events(socket, |conn| Level {
                    readable: conn.readable(cx),
                    room: conn.flow.map_or(0, |f| cx.send_room(f)),
                }),
            };
            let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
            revents.push(is & (events | always));
        }
        let ready = revents.iter().filter(|r| **r != 0).count();
        (ready > 0 || over).then(|| Outcome {
            revents,
            ..Outcome::of(Ok(ready as i64))
        })
    }

    /// The connection and the socket of a flow.
    fn conn(&mut self, flow: Flow) -> Option<&mut Conn> {
        match self.owners.get_mut(&flow)? {
            Owner::Descriptor(fd) => match &mut self.sockets.get_mut(fd)?.kind {
                Kind::Stream(conn) => Some(conn),
                _ => None,
            },
            Owner::Queue(_, conn) => Some(conn),
            Owner::Nobody => None,
        }
    }
}

/// Whether a call answers `number` or waits.
fn wait_or(nonblocking: bool, number: i32) -> Answer {
    if nonblocking { error(number) } else { None }
}

/// Takes, or looks at, up to `len` bytes.
fn take(cx: &mut Cx<'_>, flow: Flow, len: usize, peek: bool) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < len
        && let Some(chunk) = cx.recv_chunk(flow)
    {
        let n = chunk.len().min(len - data.len());
        data.extend_from_slice(&chunk[..n]);
        if peek {
            // Only what lies together can be seen without taking it.
            break;
        }
        cx.recv_consume(flow, n);
    }
    data
}
