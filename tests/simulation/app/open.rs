//! How connections begin: listeners, opens, and settings that change.

use std::net::SocketAddr;
use std::time::Duration;

use fullbore::engine::{ConnectError, ConnectOptions, Flow, ListenOptions, Reason, Transport};

use super::{Cx, OPEN, PORT, Peer, UTP_PORT};
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
                let host = &book.plan.hosts[self.host];
                let (keepalive, user_timeout) = if cx.transport(flow) == Some(Transport::Utp) {
                    (host.utp.keepalive, host.utp.user_timeout)
                } else {
                    (host.tcp.keepalive, host.tcp.user_timeout)
                };
                if keepalive.is_some() {
                    let idle = self.rng.range(1, 20);
                    cx.set_keepalive(flow, Some(seconds(idle)), seconds(2), 9);
                }
                if user_timeout.is_some() {
                    let longest = self.rng.range(1, 60);
                    cx.set_user_timeout(flow, Some(seconds(longest)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn open(&mut self, cx: &mut Cx<'_>, dialog: usize, side: usize) {
        let (server, addr, options) = {
            let book = self.book.borrow();
            let d = book.dialog(dialog);
            let server = if side == 0 { d.server } else { d.client };
            let port = match d {
                d if d.mutual => MUTUAL,
                d if d.utp => UTP_PORT + dialog as u16,
                _ => PORT,
            };
            let options = ConnectOptions {
                transport: if d.utp {
                    Transport::Utp
                } else {
                    Transport::Tcp
                },
                ..ConnectOptions::default()
            };
            (
                server,
                SocketAddr::new(book.plan.address(server).0, port),
                options,
            )
        };
        let outcome = cx.connect_with(addr, &options);
        let mut book = self.book.borrow_mut();
        match outcome {
            Ok(flow) => {
                let local = cx.local(flow).unwrap_or(addr);
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

    pub(super) fn any(&self, port: u16) -> SocketAddr {
        if self.book.borrow().plan.v6 {
            SocketAddr::from(([0u16; 8], port))
        } else {
            SocketAddr::from(([0u8; 4], port))
        }
    }

    /// The ports of the dialogs over uTP that this host serves.
    pub(super) fn utp_ports(&self) -> Vec<u16> {
        let book = self.book.borrow();
        let dialogs = book.plan.dialogs.iter().enumerate();
        let here = dialogs.filter(|(_, d)| d.utp && d.server == self.host);
        here.map(|(n, _)| UTP_PORT + n as u16).collect()
    }

    pub(super) fn listen(&self, cx: &mut Cx<'_>) {
        let stopping = self.book.borrow().stopping;
        let mut outcome = cx.listen(self.any(PORT), self.backlog);
        for port in self.utp_ports() {
            let options = ListenOptions::new(Transport::Utp, self.backlog);
            outcome = outcome.and(cx.listen_with(self.any(port), options));
        }
        if let Err(error) = outcome
            && !stopping
        {
            self.fail(&error.to_string());
        }
    }
}
