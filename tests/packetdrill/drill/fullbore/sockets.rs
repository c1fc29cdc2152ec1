//! Sockets on top of an engine: descriptors, blocking, accept queues, errors.
//!
//! As thin as it can be: what a socket does is what the engine's application
//! interface does, in the words of POSIX.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use fullbore::engine::{Application, ConnectError, ConnectOptions, Context, Flow, Reason};
use fullbore::tcp::State;

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

fn errno_of(reason: Reason, conn: &Conn) -> Option<i32> {
    match reason {
        Reason::Finished | Reason::Aborted => None,
        // Linux: who has heard the end of the stream hears of a broken pipe.
        Reason::Reset if conn.peer_closed => Some(libc::EPIPE),
        Reason::Reset => Some(libc::ECONNRESET),
        Reason::Refused => Some(libc::ECONNREFUSED),
        Reason::TimedOut => Some(libc::ETIMEDOUT),
        Reason::Unreachable => Some(libc::EHOSTUNREACH),
    }
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

    fn bind(&mut self, fd: Fd, at: SocketAddr) -> Answer {
        let taken = self.sockets.iter().any(|(other, s)| {
            *other != fd
                && matches!(s.kind, Kind::Listening { at: there, .. } if there.port() == at.port())
        });
        let socket = self.sockets.get_mut(&fd)?;
        match socket.bound {
            Some(_) => error(libc::EINVAL),
            None if taken => error(libc::EADDRINUSE),
            None => {
                socket.bound = Some(at);
                done(0)
            }
        }
    }

    fn listen(&mut self, cx: &mut Cx<'_>, fd: Fd, backlog: i32) -> Answer {
        let socket = self.sockets.get_mut(&fd)?;
        let at = match (&socket.kind, socket.bound) {
            (Kind::Listening { .. }, _) => return done(0),
            (Kind::Fresh, Some(at)) => at,
            _ => return error(libc::EINVAL),
        };
        let backlog = usize::try_from(backlog).unwrap_or(4096);
        if cx.listen(at, backlog).is_err() {
            return error(libc::EADDRINUSE);
        }
        cx.tune_listener(at, socket.options.config.clone().into());
        socket.kind = Kind::Listening {
            at,
            queue: VecDeque::new(),
        };
        done(0)
    }

    fn accept(&mut self, cx: &mut Cx<'_>, fd: Fd, nonblocking: bool) -> Answer {
        let new = self.free();
        let socket = self.sockets.get_mut(&fd)?;
        let Kind::Listening { queue, .. } = &mut socket.kind else {
            return error(libc::EINVAL);
        };
        let Some(flow) = queue.pop_front() else {
            return wait_or(socket.nonblocking, libc::EAGAIN);
        };
        let mut accepted = Socket::new(nonblocking, socket.options.clone());
        let owner = self.owners.insert(flow, Owner::Descriptor(new));
        if let Some(Owner::Queue(_, conn)) = owner {
            if conn.flow.is_none() {
                self.owners.remove(&flow);
            } else {
                accepted.options.inherit(cx, flow);
            }
            accepted.kind = Kind::Stream(*conn);
        }
        self.sockets.insert(new, accepted);
        done(new.into())
    }

    fn connect(&mut self, cx: &mut Cx<'_>, fd: Fd, to: SocketAddr) -> Answer {
        let socket = self.sockets.get_mut(&fd)?;
        let nonblocking = socket.nonblocking;
        match &mut socket.kind {
            Kind::Listening { .. } => error(libc::EISCONN),
            Kind::Fresh => {
                let options = ConnectOptions {
                    port: socket.bound.map(|at| at.port()),
                    tcp: Some(socket.options.config.clone().into()),
                    ..ConnectOptions::default()
                };
                let flow = match cx.connect_with(to, &options) {
                    Ok(flow) => flow,
                    Err(e) => return error(errno_of_connect(&e)),
                };
                socket.options.inherit(cx, flow);
                socket.kind = Kind::Stream(Conn {
                    flow: Some(flow),
                    connected: false,
                    told: false,
                    peer_closed: false,
                    error: None,
                    left: Vec::new(),
                });
                self.owners.insert(flow, Owner::Descriptor(fd));
                wait_or(nonblocking, libc::EINPROGRESS)
            }
            Kind::Stream(conn) => {
                if let Some(number) = conn.error.take() {
                    return error(number);
                }
                match (conn.connected, conn.flow) {
                    // The first to hear of it, as on Linux.
                    (true, Some(_)) if !conn.told => {
                        conn.told = true;
                        done(0)
                    }
                    (true, _) => error(libc::EISCONN),
                    (false, Some(_)) if nonblocking => error(libc::EALREADY),
                    (false, Some(_)) => None,
                    (false, None) => error(libc::ECONNABORTED),
                }
            }
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, fd: Fd, len: usize, flags: i32) -> Answer {
        const KNOWN: i32 = libc::MSG_DONTWAIT
            | libc::MSG_PEEK
            | libc::MSG_TRUNC
            | libc::MSG_WAITALL
            | libc::MSG_NOSIGNAL;
        if flags & !KNOWN != 0 {
            return Some(Outcome::unsupported(format!("recv flags {flags:#x}")));
        }
        let socket = self.sockets.get_mut(&fd)?;
        let waits = socket.nonblocking || flags & libc::MSG_DONTWAIT != 0;
        let Kind::Stream(conn) = &mut socket.kind else {
            return error(libc::ENOTCONN);
        };
        let readable = conn.readable(cx);
        let ended = conn.peer_closed || conn.flow.is_none() || socket.read_shut;
        let all = flags & libc::MSG_WAITALL != 0 && !ended && !waits;
        if readable > 0 && len > 0 && (!all || readable >= len) {
            let data = conn.take(cx, len, flags & libc::MSG_PEEK != 0);
            let mut outcome = Outcome::of(Ok(data.len() as i64));
            outcome.data = (flags & libc::MSG_TRUNC == 0).then_some(data);
            return Some(outcome);
        }
        if let Some(number) = conn.error.take() {
            return error(number);
        }
        if len == 0 || ended {
            return done(0);
        }
        if !conn.connected && conn.flow.is_none() {
            return error(libc::ENOTCONN);
        }
        wait_or(waits, libc::EAGAIN)
    }

    fn write(
        &mut self,
        cx: &mut Cx<'_>,
        fd: Fd,
        data: &[u8],
        flags: i32,
        progress: &mut usize,
    ) -> Answer {
        const KNOWN: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_EOR | libc::MSG_MORE;
        if flags & !KNOWN != 0 {
            return Some(Outcome::unsupported(format!("send flags {flags:#x}")));
        }
        let socket = self.sockets.get_mut(&fd)?;
        let at_once = socket.nonblocking || flags & libc::MSG_DONTWAIT != 0;
        let broken = socket.write_shut;
        let Kind::Stream(conn) = &mut socket.kind else {
            return error(libc::EPIPE);
        };
        let partly = |progress: &usize, number| match *progress {
            0 => error(number),
            n => done(n as i64),
        };
        if let Some(number) = conn.error {
            if *progress == 0 {
                conn.error = None;
            }
            return partly(progress, number);
        }
        let Some(flow) = conn.flow.filter(|_| !broken) else {
            return partly(progress, libc::EPIPE);
        };
        // Asking again for nothing would keep the engine at work.
        if conn.connected && cx.send_room(flow) > 0 {
            socket.options.more(cx, flow, flags & libc::MSG_MORE != 0);
            *progress += cx.send(flow, &data[*progress..]);
        }
        match *progress {
            n if n == data.len() => done(n as i64),
            0 => wait_or(at_once, libc::EAGAIN),
            n if at_once => done(n as i64),
            _ => None,
        }
    }

    fn shutdown(&mut self, cx: &mut Cx<'_>, fd: Fd, how: i32) -> Answer {
        let socket = self.sockets.get_mut(&fd)?;
        let flow = match &socket.kind {
            Kind::Stream(Conn {
                flow: Some(flow), ..
            }) => *flow,
            _ => return error(libc::ENOTCONN),
        };
        socket.read_shut |= how != libc::SHUT_WR;
        if how != libc::SHUT_RD {
            socket.write_shut = true;
            cx.shutdown(flow);
        }
        done(0)
    }

    fn close(&mut self, cx: &mut Cx<'_>, fd: Fd, begun: &mut usize) -> Answer {
        let socket = self.sockets.get_mut(&fd)?;
        let lingers = socket.options.linger();
        match &mut socket.kind {
            Kind::Fresh => {}
            Kind::Listening { at, queue } => {
                cx.unlisten(*at);
                for flow in std::mem::take(queue) {
                    self.owners.insert(flow, Owner::Nobody);
                    cx.abort(flow);
                }
            }
            Kind::Stream(conn) => {
                if let Some(flow) = conn.flow {
                    match lingers {
                        Some(0) => cx.abort(flow),
                        Some(_) if !socket.nonblocking => {
                            if std::mem::replace(begun, 1) == 0 {
                                cx.close(flow);
                            }
                            if lingers_still(cx, flow) {
                                return None;
                            }
                        }
                        _ => cx.close(flow),
                    }
                    self.owners.insert(flow, Owner::Nobody);
                }
            }
        }
        self.sockets.remove(&fd);
        done(0)
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

fn errno_of_connect(e: &ConnectError) -> i32 {
    match e {
        ConnectError::NoRoute(..) => libc::ENETUNREACH,
        ConnectError::NoPort(_) => libc::EADDRNOTAVAIL,
        ConnectError::TooManyFlows | ConnectError::Stopping => libc::ENOBUFS,
    }
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

/// Whether something is still to be acknowledged.
fn lingers_still(cx: &Cx<'_>, flow: Flow) -> bool {
    cx.info(flow).is_some_and(|i| {
        matches!(
            i.state,
            State::FinWait1 | State::Closing | State::LastAck | State::Established
        )
    })
}

impl Application for Sockets {
    type Message = ();

    fn accept(&mut self, _: &mut Cx<'_>, flow: Flow, _: SocketAddr, local: SocketAddr) -> bool {
        let suits = |at: &SocketAddr| {
            at.port() == local.port() && (at.ip() == local.ip() || at.ip().is_unspecified())
        };
        for (fd, socket) in &mut self.sockets {
            if let Kind::Listening { at, queue } = &mut socket.kind
                && suits(at)
            {
                queue.push_back(flow);
                let conn = Conn {
                    flow: Some(flow),
                    connected: true,
                    told: true,
                    peer_closed: false,
                    error: None,
                    left: Vec::new(),
                };
                self.owners.insert(flow, Owner::Queue(*fd, Box::new(conn)));
                return true;
            }
        }
        false
    }

    fn connected(&mut self, _: &mut Cx<'_>, flow: Flow) {
        if let Some(conn) = self.conn(flow) {
            conn.connected = true;
        }
    }

    fn readable(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        // A reset: what is not taken now is gone.
        if cx.info(flow).is_some_and(|i| i.state == State::Closed)
            && let Some(conn) = self.conn(flow)
        {
            conn.left = take(cx, flow, usize::MAX, false);
        }
    }

    fn peer_closed(&mut self, _: &mut Cx<'_>, flow: Flow) {
        if let Some(conn) = self.conn(flow) {
            conn.peer_closed = true;
        }
    }

    fn closed(&mut self, _: &mut Cx<'_>, flow: Flow, reason: Reason) {
        if let Some(conn) = self.conn(flow) {
            conn.flow = None;
            conn.error = errno_of(reason, conn);
        }
        if !matches!(self.owners.get(&flow), Some(Owner::Queue(..))) {
            self.owners.remove(&flow);
        }
    }
}
