//! What the engine tells of connections.

use std::net::SocketAddr;

use fullbore::engine::{Application, Flow, Reason};
use fullbore::tcp::State;

use super::{Conn, Cx, Kind, Owner, Sockets, take};

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
