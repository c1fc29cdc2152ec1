//! System calls as scripts write them.

use std::io::Error;
use std::mem::size_of;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::target::{Call, Fd, OptionValue, Outcome};

/// Largest value of an option that is a string.
const TEXT: usize = 64;

/// The result of a call, or the error's number.
fn result(value: i64) -> Result<i64, i32> {
    if value >= 0 {
        Ok(value)
    } else {
        Err(Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Makes a call unless it would last.
pub fn at_once(call: &Call) -> Option<Outcome> {
    match call {
        Call::Accept { fd, .. } if blocks(*fd) && !ready(*fd, libc::POLLIN) => None,
        Call::Connect { fd, .. } if blocks(*fd) => None,
        Call::Read { fd, flags, .. } if flags & libc::MSG_DONTWAIT == 0 && blocks(*fd) => {
            // All of it at once, or not at all.
            let waits = flags & libc::MSG_WAITALL != 0 || !ready(*fd, libc::POLLIN);
            (!waits).then(|| make(call))
        }
        Call::Write { fd, data, flags } if flags & libc::MSG_DONTWAIT == 0 && blocks(*fd) => {
            write_at_once(*fd, data, *flags)
        }
        Call::Close { fd } if lingers(*fd) => None,
        Call::Poll { fds, timeout } => {
            let outcome = poll(fds, Some(Duration::ZERO));
            let over = outcome.result != Ok(0) || *timeout == Some(Duration::ZERO);
            over.then_some(outcome)
        }
        _ => Some(make(call)),
    }
}

/// Writes what fits. A blocking call that does not fit at once is left to a
/// thread, before anything is written: only a first try that wrote nothing
/// can be repeated.
fn write_at_once(fd: Fd, data: &[u8], flags: i32) -> Option<Outcome> {
    let mut free = 0;
    let mut queued: libc::c_int = 0;
    if let Some(OptionValue::Int(size)) = get(fd, libc::SOL_SOCKET, libc::SO_SNDBUF).value {
        // SAFETY: the request writes one int, which outlives the call.
        unsafe { libc::ioctl(fd, libc::TIOCOUTQ as _, &mut queued) };
        free = (size / 4 - queued).max(0) as usize;
    }
    (ready(fd, libc::POLLOUT) && data.len() <= free.max(1)).then(|| send(fd, data, flags))
}

/// Descriptors that a call is about.
pub fn descriptors(call: &Call) -> Vec<Fd> {
    match call {
        Call::Poll { fds, .. } => fds.iter().map(|(fd, _)| *fd).collect(),
        Call::Socket { .. } => Vec::new(),
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
        | Call::GetOption { fd, .. } => vec![*fd],
    }
}

/// Makes a call, however long it lasts.
pub fn make(call: &Call) -> Outcome {
    match call {
        Call::Socket { v6, nonblocking } => socket(*v6, *nonblocking),
        Call::Bind { fd, at } => {
            let (address, len) = address(*at);
            // SAFETY: `address` outlives the call, and its size is given.
            Outcome::of(result(i64::from(unsafe {
                libc::bind(*fd, std::ptr::from_ref(&address).cast(), len)
            })))
        }
        Call::Connect { fd, to } => {
            let (address, len) = address(*to);
            // SAFETY: `address` outlives the call, and its size is given.
            Outcome::of(result(i64::from(unsafe {
                libc::connect(*fd, std::ptr::from_ref(&address).cast(), len)
            })))
        }
        Call::Listen { fd, backlog } => {
            // SAFETY: no memory is involved.
            Outcome::of(result(i64::from(unsafe { libc::listen(*fd, *backlog) })))
        }
        Call::Accept { fd, nonblocking } => {
            let flags = libc::SOCK_CLOEXEC | if *nonblocking { libc::SOCK_NONBLOCK } else { 0 };
            let (none, len) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: the peer's address is not asked for.
            Outcome::of(result(i64::from(unsafe {
                libc::accept4(*fd, none, len, flags)
            })))
        }
        Call::Read { fd, len, flags } => read(*fd, *len, *flags),
        Call::Write { fd, data, flags } => send(*fd, data, *flags),
        Call::Shutdown { fd, how } => {
            // SAFETY: no memory is involved.
            Outcome::of(result(i64::from(unsafe { libc::shutdown(*fd, *how) })))
        }
        Call::Close { fd } => Outcome::of(close(*fd)),
        Call::Fcntl {
            fd,
            command,
            argument,
        } => {
            // SAFETY: scripts use commands with a number only.
            Outcome::of(result(i64::from(unsafe {
                libc::fcntl(*fd, *command, *argument)
            })))
        }
        Call::Poll { fds, timeout } => poll(fds, *timeout),
        Call::Ioctl { fd, request } => {
            let mut value: libc::c_int = 0;
            // SAFETY: these requests write one int, which outlives the call.
            let answer = unsafe { libc::ioctl(*fd, *request as _, &mut value) };
            Outcome {
                value: Some(OptionValue::Int(value)),
                ..Outcome::of(result(i64::from(answer)))
            }
        }
        Call::SetOption {
            fd,
            level,
            name,
            value,
        } => set(*fd, *level, *name, value),
        Call::GetOption { fd, level, name } => get(*fd, *level, *name),
    }
}

fn socket(v6: bool, nonblocking: bool) -> Outcome {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind =
        libc::SOCK_STREAM | libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no memory is involved.
    Outcome::of(result(i64::from(unsafe { libc::socket(family, kind, 0) })))
}

fn read(fd: Fd, len: usize, flags: i32) -> Outcome {
    let mut buffer = vec![0u8; len];
    // SAFETY: the buffer is as long as is said, and outlives the call.
    let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), len, flags) };
    let result = result(n as i64);
    let thrown_away = flags & libc::MSG_TRUNC != 0;
    buffer.truncate(result.map_or(0, |n| n as usize));
    Outcome {
        data: (!thrown_away && result.is_ok()).then_some(buffer),
        ..Outcome::of(result)
    }
}

fn send(fd: Fd, data: &[u8], flags: i32) -> Outcome {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the data are as long as is said, and outlive the call.
    let n = unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) };
    Outcome::of(result(n as i64))
}

/// Closes a descriptor.
pub fn close(fd: Fd) -> Result<i64, i32> {
    // SAFETY: it is one of the script's; no Rust object owns it.
    result(i64::from(unsafe { libc::close(fd) }))
}

/// Ends whatever waits for something on `fd`.
pub fn let_go(fd: Fd) {
    set(
        fd,
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        &OptionValue::Linger(1, 0),
    );
    // SAFETY: no memory is involved.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

fn poll(fds: &[(Fd, i16)], timeout: Option<Duration>) -> Outcome {
    let mut list: Vec<libc::pollfd> = fds
        .iter()
        .map(|&(fd, events)| libc::pollfd {
            // A negative one would be passed over: one that is not open is
            // meant.
            fd: if fd < 0 { i32::MAX } else { fd },
            events,
            revents: 0,
        })
        .collect();
    let timeout = timeout.map_or(-1, |t| t.as_millis().min(i32::MAX as u128) as i32);
    // SAFETY: the list is as long as is said, and outlives the call.
    let n = unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout) };
    Outcome {
        revents: list.iter().map(|p| p.revents).collect(),
        ..Outcome::of(result(i64::from(n)))
    }
}

fn ready(fd: Fd, events: i16) -> bool {
    // An error is an answer as well.
    poll(&[(fd, events)], Some(Duration::ZERO)).result != Ok(0)
}

fn blocks(fd: Fd) -> bool {
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_NONBLOCK == 0
}

fn lingers(fd: Fd) -> bool {
    let answer = get(fd, libc::SOL_SOCKET, libc::SO_LINGER);
    blocks(fd) && matches!(answer.value, Some(OptionValue::Linger(1.., 1..)))
}

/// Chooses the congestion controller of a socket.
pub fn set_congestion(fd: Fd, name: &str) -> Outcome {
    let value = OptionValue::Text(name.to_owned());
    set(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, &value)
}

fn set(fd: Fd, level: i32, name: i32, value: &OptionValue) -> Outcome {
    let bytes = match value {
        OptionValue::Int(n) => n.to_ne_bytes().to_vec(),
        OptionValue::Linger(on, seconds) => [on.to_ne_bytes(), seconds.to_ne_bytes()].concat(),
        OptionValue::Text(text) => text.as_bytes().to_vec(),
    };
    let len = bytes.len() as libc::socklen_t;
    // SAFETY: the bytes are as many as is said, and outlive the call.
    let answer = unsafe { libc::setsockopt(fd, level, name, bytes.as_ptr().cast(), len) };
    Outcome::of(result(i64::from(answer)))
}

fn get(fd: Fd, level: i32, name: i32) -> Outcome {
    let mut bytes = [0u8; TEXT];
    let mut len = TEXT as libc::socklen_t;
    // SAFETY: there is room for as many bytes as is said.
    let answer = unsafe { libc::getsockopt(fd, level, name, bytes.as_mut_ptr().cast(), &mut len) };
    let int =
        |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let value = match (level, name) {
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
            let text: Vec<u8> = bytes.iter().copied().take_while(|b| *b != 0).collect();
            OptionValue::Text(String::from_utf8_lossy(&text).into_owned())
        }
        (libc::SOL_SOCKET, libc::SO_LINGER) => OptionValue::Linger(int(0), int(4)),
        _ => OptionValue::Int(int(0)),
    };
    Outcome {
        value: (answer == 0).then_some(value),
        ..Outcome::of(result(i64::from(answer)))
    }
}

fn address(at: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let len = match at {
        SocketAddr::V4(at) => {
            let plain = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: at.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(at.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for all kinds.
            unsafe {
                std::ptr::from_mut(&mut storage)
                    .cast::<libc::sockaddr_in>()
                    .write(plain)
            };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(at) => {
            let plain = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: at.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: at.ip().octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: the storage is large enough and aligned for all kinds.
            unsafe {
                std::ptr::from_mut(&mut storage)
                    .cast::<libc::sockaddr_in6>()
                    .write(plain)
            };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}
