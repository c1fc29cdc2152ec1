//! How a socket comes to listen or to have a connection.

use std::collections::VecDeque;
use std::net::SocketAddr;

use fullbore::engine::{ConnectError, ConnectOptions};

use super::super::super::target::Fd;
use super::{Answer, Conn, Cx, Kind, Owner, Socket, Sockets, done, error, wait_or};

impl Sockets {
    pub(super) fn bind(&mut self, fd: Fd, at: SocketAddr) -> Answer {
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

    pub(super) fn listen(&mut self, cx: &mut Cx<'_>, fd: Fd, backlog: i32) -> Answer {
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

    pub(super) fn accept(&mut self, cx: &mut Cx<'_>, fd: Fd, nonblocking: bool) -> Answer {
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

    pub(super) fn connect(&mut self, cx: &mut Cx<'_>, fd: Fd, to: SocketAddr) -> Answer {
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
}

fn errno_of_connect(e: &ConnectError) -> i32 {
    match e {
        ConnectError::NoRoute(..) => libc::ENETUNREACH,
        ConnectError::NoPort(_) => libc::EADDRNOTAVAIL,
        ConnectError::TooManyFlows | ConnectError::Stopping => libc::ENOBUFS,
    }
}
