//! The kernel as the host: all cases share one namespace, told apart by the
//! host's port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use crate::host::{Host, Standing};
use crate::kernel::diag;
use crate::kernel::wire::Wire;
use crate::segment::{Segment, ends};

/// Ports of hosts go round from here to below those that the kernel chooses.
const FIRST_PORT: u16 = 2048;
const LAST_PORT: u16 = 49_151;
const PEER_PORT: u16 = 50_001;

/// The shared wire.
pub struct Linux {
    wire: Wire,
    takers: Mutex<HashMap<u16, Sender<Segment>>>,
    next_port: AtomicU16,
    stop: AtomicBool,
}

impl Linux {
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            takers: Mutex::default(),
            next_port: AtomicU16::new(FIRST_PORT),
            stop: AtomicBool::new(false),
        }
    }

    /// Hands segments to the cases they are for, until [`stop`](Self::stop).
    pub fn distribute(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let limit = Instant::now() + Duration::from_millis(100);
            while let Some((_, frame)) = self.wire.receive(limit) {
                let Some(segment) = Segment::parse(&frame) else {
                    continue;
                };
                let takers = self.takers.lock().expect("nobody panics with it");
                if let Some(taker) = takers.get(&segment.src_port) {
                    // A case that is over takes no more.
                    let _ = taker.send(segment);
                }
            }
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// A host at a port that was not used for long. `buffer` is the size of
    /// its receive buffer, if not the usual.
    pub fn host(&self, buffer: Option<usize>, v6: bool) -> LinuxHost<'_> {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        if port >= LAST_PORT {
            self.next_port.store(FIRST_PORT, Ordering::Relaxed);
        }
        let (sender, segments) = channel();
        let mut takers = self.takers.lock().expect("nobody panics with it");
        assert!(takers.insert(port, sender).is_none(), "a port in use");
        LinuxHost {
            linux: self,
            v6,
            port,
            segments,
            buffer,
            listener: None,
            connection: None,
            accepted: false,
        }
    }
}

/// The kernel's sockets at one port.
pub struct LinuxHost<'a> {
    linux: &'a Linux,
    v6: bool,
    port: u16,
    segments: Receiver<Segment>,
    buffer: Option<usize>,
    listener: Option<OwnedFd>,
    connection: Option<OwnedFd>,
    accepted: bool,
}

impl LinuxHost<'_> {
    fn local(&self) -> SocketAddr {
        SocketAddr::new(ends(self.v6).0, self.port)
    }

    fn remote(&self) -> SocketAddr {
        SocketAddr::new(ends(self.v6).1, PEER_PORT)
    }

    fn socket(&self) -> OwnedFd {
        let fd = rustix::net::socket_with(
            if self.v6 {
                AddressFamily::INET6
            } else {
                AddressFamily::INET
            },
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .expect("a socket");
        sockopt::set_socket_reuseaddr(&fd, true).expect("a socket's option");
        if let Some(n) = self.buffer {
            sockopt::set_socket_recv_buffer_size(&fd, n).expect("a socket's option");
        }
        rustix::net::bind(&fd, &self.local()).expect("a free port");
        fd
    }
}

impl Host for LinuxHost<'_> {
    fn v6(&self) -> bool {
        self.v6
    }

    fn ports(&self) -> (u16, u16) {
        (self.port, PEER_PORT)
    }

    fn send(&mut self, frame: &[u8]) {
        self.linux.wire.send(frame);
    }

    fn receive(&mut self, limit: Duration) -> Option<Segment> {
        match self.segments.recv_timeout(limit) {
            Ok(segment) => Some(segment),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("nobody distributes segments"),
        }
    }

    fn listen(&mut self) {
        let fd = self.socket();
        rustix::net::listen(&fd, 16).expect("a listener");
        self.listener = Some(fd);
    }

    fn connect(&mut self) {
        let fd = self.socket();
        let result = rustix::net::connect(&fd, &self.remote());
        assert_eq!(result, Err(Errno::INPROGRESS));
        self.connection = Some(fd);
        self.accepted = true;
    }

    fn accept(&mut self, limit: Duration) -> bool {
        let Some(listener) = &self.listener else {
            return false;
        };
        let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        let timeout = Timespec::try_from(limit).ok();
        poll(&mut fds, timeout.as_ref()).expect("waiting works");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(listener, flags) {
            Ok(fd) => {
                self.connection = Some(fd);
                self.accepted = true;
                true
            }
            Err(Errno::AGAIN) => false,
            // It was reset before it could be accepted.
            Err(Errno::CONNABORTED) => false,
            Err(e) => panic!("cannot accept: {e}"),
        }
    }

    fn write(&mut self, n: usize) {
        let fd = self.connection.as_ref().expect("a connection");
        let result = rustix::net::send(fd, &vec![b'w'; n], SendFlags::NOSIGNAL);
        assert_eq!(result, Ok(n), "writing {n} bytes");
    }

    fn shutdown(&mut self) {
        let fd = self.connection.as_ref().expect("a connection");
        rustix::net::shutdown(fd, Shutdown::Write).expect("a connection's end");
    }

    fn close(&mut self) {
        self.connection = None;
    }

    fn standing(&mut self) -> Standing {
        let mut state = diag::state(self.local(), self.remote());
        if state == "LISTEN" && self.accepted {
            // Of the connection nothing is left; the listener was found.
            state = "CLOSED";
        }
        if self.connection.is_none() && !self.accepted {
            self.accept(Duration::ZERO);
        }
        let mut standing = Standing {
            state,
            accepted: self.accepted,
            error: None,
            readable: 0,
            ended: false,
        };
        if let Some(fd) = &self.connection {
            let error = sockopt::socket_error(fd).expect("a socket's option");
            standing.error = error.err().map(name);
            if !matches!(state, "SYN-SENT" | "SYN-RECEIVED") {
                standing.readable = rustix::io::ioctl_fionread(fd).map_or(0, |n| n as usize);
            }
            let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::RDHUP)];
            poll(&mut fds, Some(&Timespec::default())).expect("asking works");
            standing.ended = fds[0].revents().contains(PollFlags::RDHUP);
        }
        standing
    }
}

fn name(error: Errno) -> &'static str {
    match error {
        // The kernel says EPIPE if the peer's stream had ended.
        Errno::CONNRESET | Errno::PIPE => "reset",
        Errno::CONNREFUSED => "refused",
        Errno::TIMEDOUT => "timed-out",
        Errno::HOSTUNREACH => "unreachable",
        other => panic!("an error that nobody expected: {other}"),
    }
}

impl Drop for LinuxHost<'_> {
    fn drop(&mut self) {
        if let Some(fd) = &self.connection {
            // What is left goes with a reset: nothing is sent again.
            let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
        }
        if let Ok(mut takers) = self.linux.takers.lock() {
            takers.remove(&self.port);
        }
    }
}
