//! Reading, writing and closing.

use fullbore::engine::Flow;
use fullbore::tcp::State;

use super::super::super::target::{Fd, Outcome};
use super::{Answer, Conn, Cx, Kind, Owner, Sockets, done, error, wait_or};

impl Sockets {
    pub(super) fn read(&mut self, cx: &mut Cx<'_>, fd: Fd, len: usize, flags: i32) -> Answer {
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

    pub(super) fn write(
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

    pub(super) fn shutdown(&mut self, cx: &mut Cx<'_>, fd: Fd, how: i32) -> Answer {
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

    pub(super) fn close(&mut self, cx: &mut Cx<'_>, fd: Fd, begun: &mut usize) -> Answer {
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
