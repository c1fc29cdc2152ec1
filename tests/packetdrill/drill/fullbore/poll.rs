//! What `poll` says about a socket, by the rules of Linux's `tcp_poll`.

use super::sockets::{Conn, Kind, Socket};

const READABLE: i16 = libc::POLLIN | libc::POLLRDNORM;
const WRITABLE: i16 = libc::POLLOUT | libc::POLLWRNORM;

/// What the engine knows of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    pub readable: usize,
    pub room: usize,
}

/// All that is so, whatever was asked for.
pub fn events(socket: &Socket, level: impl Fn(&Conn) -> Level) -> i16 {
    match &socket.kind {
        Kind::Fresh => libc::POLLHUP | WRITABLE,
        Kind::Listening { queue, .. } if queue.is_empty() => 0,
        Kind::Listening { .. } => READABLE,
        Kind::Stream(conn) => {
            let level = level(conn);
            let over = conn.flow.is_none();
            let no_more_in = over || conn.peer_closed || socket.read_shut;
            let no_more_out = over || socket.write_shut;
            let mut events = 0;
            if over || (no_more_in && no_more_out) {
                events |= libc::POLLHUP;
            }
            if no_more_in {
                events |= READABLE | libc::POLLRDHUP;
            }
            if conn.connected || over {
                if level.readable > 0 {
                    events |= READABLE;
                }
                if no_more_out || level.room > 0 {
                    events |= WRITABLE;
                }
            }
            if conn.error.is_some() {
                events |= libc::POLLERR;
            }
            events
        }
    }
}
