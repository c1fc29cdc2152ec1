//! How connections begin: listeners, opens, and settings that change.

use std::net::SocketAddr;
use std::time::Duration;

use fullbore::engine::{ConnectError, Flow, Reason};

use super::{Cx, OPEN, PORT, Peer};
use crate::plan::MUTUAL;

/// How long before an open that was refused is tried again.
const AGAIN: Duration = Duration::from_millis(300);

impl Peer {
    /// Changes settings of an open connection.
    pub(super) fn tune(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        let seconds = Duration::from_secs;
        match self.rng.below(24) {
            0 => cx.set_cork(flow, true),
            1 => cx.set_cork(flow, false),
            2 => cx.set_nodelay(flow, true),
            3 => cx.set_nodelay(flow, false),
            4 => cx.set_max_segment(flow, self.rng.range(1, 2000) as u16),
            5 => {
                // Only where a failure by it is expected.
                let book = self.book.borrow();
                let tcp = &book.plan.hosts[self.host].tcp;
                if tcp.keepalive.is_some() {
                    let idle = self.rng.range(1, 20);
                    cx.set_keepalive(flow, Some(seconds(idle)), seconds(2), 9);
                }
                if tcp.user_timeout.is_some() {
                    let longest = self.rng.range(1, 60);
                    cx.set_user_timeout(flow, Some(seconds(longest)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn open(&mut self, cx: &mut Cx<'_>, dialog: usize, side: usize) {
        let (server, addr, port) = {
            let book = self.book.borrow();
            let d = book.dialog(dialog);
            let server = if side == 0 { d.server } else { d.client };
            let port = if d.mutual { MUTUAL } else { PORT };
            (server, book.plan.address(server).0, port)
        };
        let outcome = cx.connect(SocketAddr::new(addr, port));
        let mut book = self.book.borrow_mut();
        match outcome {
            Ok(flow) => {
                let local = cx.local(flow).unwrap_or(SocketAddr::new(addr, 0));
                if side == 0 {
                    book.open(cx.now(), dialog, local);
                }
                drop(book);
                self.begin(cx, flow, dialog, side);
            }
            Err(_) if book.stopping => {
                book.entries[dialog].opened = Some(cx.now());
                book.end(cx.now(), dialog, side).gone = Some((Reason::Aborted, cx.now()));
            }
            Err(error) => {
                let lasting = matches!(error, ConnectError::NoRoute(..));
                if lasting && book.plan.is_pristine([self.host, server]) {
                    book.fail(format!("dialog {dialog} cannot be opened: {error}"));
                }
                cx.set_timer(None, OPEN + (dialog * 2 + side) as u64, AGAIN);
            }
        }
    }

    pub(super) fn any(&self) -> SocketAddr {
        if self.book.borrow().plan.v6 {
            SocketAddr::from(([0u16; 8], PORT))
        } else {
            SocketAddr::from(([0u8; 4], PORT))
        }
    }

    pub(super) fn listen(&self, cx: &mut Cx<'_>) {
        let stopping = self.book.borrow().stopping;
        if let Err(error) = cx.listen(self.any(), self.backlog)
            && !stopping
        {
            self.fail(&error.to_string());
        }
    }
}
