//! Connections of the kernel's TCP, opened, used once and closed: one byte
//! there, one back, and the server closes.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::{Errno, read, write};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, ipproto, listen,
    socket_with,
};

use super::Figures;
use super::place::{Place, Side, both};

const PORT: u16 = 5003;
const BACKLOG: i32 = 4096;
const WARM_UP: Duration = Duration::from_millis(100);
/// How often an end that hears nothing looks whether it is over.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// What stands for the listener among the events.
const LISTENER: u64 = u64::MAX;

fn text(e: Errno) -> String {
    e.to_string()
}

fn socket() -> Result<OwnedFd, String> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags,
        Some(ipproto::TCP),
    )
    .map_err(text)
}

/// Sockets that are waited for.
struct Poll {
    epoll: OwnedFd,
    sockets: HashMap<RawFd, OwnedFd>,
    events: Vec<epoll::Event>,
}

impl Poll {
    fn new() -> Result<Self, String> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(text)?,
            sockets: HashMap::new(),
            events: Vec::with_capacity(256),
        })
    }

    fn add(&mut self, socket: OwnedFd, flags: EventFlags) -> Result<(), String> {
        let fd = socket.as_raw_fd();
        let data = EventData::new_u64(fd as u64);
        epoll::add(&self.epoll, &socket, data, flags).map_err(text)?;
        self.sockets.insert(fd, socket);
        Ok(())
    }

    /// The descriptors with news.
    fn wait(&mut self) -> Result<Vec<u64>, String> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&LOOK)) {
            Ok(_) | Err(Errno::INTR) => {
                Ok(self.events.iter().map(|event| event.data.u64()).collect())
            }
            Err(e) => Err(text(e)),
        }
    }
}

/// Reads one byte: whether it came, or `None` when the peer has closed.
fn read_byte(socket: &OwnedFd) -> Result<Option<bool>, String> {
    let mut byte = [0; 16];
    match read(socket, &mut byte[..]) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(true)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Some(false)),
        Err(e) => Err(text(e)),
    }
}

fn serve(ready: &dyn Fn(), stop: &AtomicBool) -> Result<(), String> {
    let mut poll = Poll::new()?;
    let listener = socket()?;
    set_socket_reuseaddr(&listener, true).map_err(text)?;
    bind(&listener, &SocketAddrV4::new(Side::Server.address(), PORT)).map_err(text)?;
    listen(&listener, BACKLOG).map_err(text)?;
    let data = EventData::new_u64(LISTENER);
    epoll::add(&poll.epoll, listener.as_fd(), data, EventFlags::IN).map_err(text)?;
    ready();
    while !stop.load(Ordering::Relaxed) {
        for which in poll.wait()? {
            if which == LISTENER {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                while let Ok(socket) = accept_with(&listener, flags) {
                    poll.add(socket, EventFlags::IN)?;
                }
                continue;
            }
            let fd = which as RawFd;
            let Some(socket) = poll.sockets.get(&fd) else {
                continue;
            };
            match read_byte(socket) {
                Ok(Some(false)) => continue,
                Ok(Some(true)) => {
                    // What fails here fails at the client, which counts it.
                    let _ = write(socket, &[2]);
                }
                Ok(None) | Err(_) => {}
            }
            poll.sockets.remove(&fd);
        }
    }
    Ok(())
}

fn open(poll: &mut Poll) -> Result<(), String> {
    let socket = socket()?;
    let to = SocketAddrV4::new(Side::Server.address(), PORT);
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(e) => return Err(text(e)),
    }
    poll.add(socket, EventFlags::OUT)
}

fn ask(at_once: u64, done: &AtomicU64, stop: &AtomicBool) -> Result<(), String> {
    match ask_until(at_once, done, stop) {
        // The server may have stopped first, and reset what was open.
        Err(_) if stop.load(Ordering::Relaxed) => Ok(()),
        asked => asked,
    }
}

fn ask_until(at_once: u64, done: &AtomicU64, stop: &AtomicBool) -> Result<(), String> {
    let mut poll = Poll::new()?;
    for _ in 0..at_once {
        open(&mut poll)?;
    }
    // Those whose byte has been sent wait for the answer.
    let mut asked = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        for which in poll.wait()? {
            let fd = which as RawFd;
            let Some(socket) = poll.sockets.get(&fd) else {
                continue;
            };
            if asked.insert(fd, ()).is_none() {
                write(socket, &[1]).map_err(text)?;
                let data = EventData::new_u64(which);
                epoll::modify(&poll.epoll, socket, data, EventFlags::IN).map_err(text)?;
                continue;
            }
            let closed = loop {
                match read_byte(socket)? {
                    Some(true) => {}
                    Some(false) => break false,
                    None => break true,
                }
            };
            if closed {
                asked.remove(&fd);
                poll.sockets.remove(&fd);
                done.fetch_add(1, Ordering::Relaxed);
                open(&mut poll)?;
            }
        }
    }
    Ok(())
}

/// Connections a second with so many at once.
///
/// # Errors
/// What the operating system says.
pub fn crr(place: &Place, at_once: u64, duration: Duration) -> Result<Figures, String> {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let ((), rate) = both(
        place,
        |ready| serve(ready, &stop),
        || {
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| ask(at_once, &done, &stop));
                std::thread::sleep(WARM_UP);
                let (begin, first) = (Instant::now(), done.load(Ordering::Relaxed));
                while begin.elapsed() < duration && !asking.is_finished() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                let seconds = begin.elapsed().as_secs_f64();
                let count = done.load(Ordering::Relaxed) - first;
                stop.store(true, Ordering::Relaxed);
                asking
                    .join()
                    .map_err(|_| "the client panicked".to_owned())??;
                Ok(count as f64 / seconds)
            })
        },
    )?;
    Ok(vec![("connections", rate)])
}
