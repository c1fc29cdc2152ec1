//! The two rtnetlink requests that are needed before anything else runs: what
//! is this device, and why does its driver refuse an XDP program.
//!
//! They are asked over a socket rather than read from `/sys`, because `/sys`
//! may show another network namespace than the one the process is in.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the kernel says of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LinkInfo {
    /// Receive queues that the device was made with.
    pub(super) rx_queues: u32,
    /// The attached XDP program.
    pub(super) program: Option<u32>,
}

const HEADER: usize = size_of::<libc::nlmsghdr>();
const IFINFO: usize = 16;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Do not replace a program that is there.
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Asks for the device with this index.
pub(super) fn link_info(ifindex: u32) -> io::Result<LinkInfo> {
    let reply = request(libc::RTM_GETLINK, 0, ifindex, &[])?;
    let mut info = LinkInfo::default();
    for (kind, value) in attributes(reply.get(IFINFO..).unwrap_or_default()) {
        match kind {
            IFLA_NUM_RX_QUEUES => info.rx_queues = word(value).unwrap_or(0),
            IFLA_XDP => {
                for (kind, value) in attributes(value) {
                    if kind == IFLA_XDP_PROG_ID {
                        info.program = word(value).filter(|&id| id != 0);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(info)
}

/// Tries to attach a program the old way, only to hear the refusal in words:
/// creating a BPF link returns nothing but an error number. Should it succeed
/// after all, the program is taken off again.
pub(super) fn refusal(ifindex: u32, program: BorrowedFd<'_>, flags: u32) -> Option<String> {
    match set_program(ifindex, program.as_raw_fd(), flags) {
        Ok(()) => {
            let _ = set_program(ifindex, -1, flags);
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

fn set_program(ifindex: u32, fd: i32, flags: u32) -> io::Result<()> {
    let flags = if fd < 0 {
        flags
    } else {
        flags | XDP_FLAGS_UPDATE_IF_NOEXIST
    };
    let mut xdp = Vec::new();
    push_attribute(&mut xdp, IFLA_XDP_FD, &fd.to_ne_bytes());
    push_attribute(&mut xdp, IFLA_XDP_FLAGS, &flags.to_ne_bytes());
    let mut body = Vec::new();
    push_attribute(&mut body, IFLA_XDP | libc::NLA_F_NESTED as u16, &xdp);
    request(libc::RTM_SETLINK, libc::NLM_F_ACK as u16, ifindex, &body).map(drop)
}

fn push_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len();
    to.extend_from_slice(&(length as u16).to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The attributes of a message, as far as they are well formed.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, value))
    })
}

fn word(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// Sends one request about one device and returns the reply's body.
fn request(kind: u16, flags: u16, ifindex: u32, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = HEADER + IFINFO + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend_from_slice(&1u32.to_ne_bytes());
    message.extend_from_slice(&0u32.to_ne_bytes());
    // struct ifinfomsg: family, padding, type, index, flags, change.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&ifindex.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(attributes);

    let socket = open()?;
    // SAFETY: the pointer and length describe `message`, which outlives the call.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut buffer = vec![0u8; 64 << 10];
    // SAFETY: the pointer and length describe `buffer`, which nothing else uses.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    buffer.truncate(received);
    parse_reply(&buffer)
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked below.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let timeout = libc::timeval {
        tv_sec: 5,
        tv_usec: 0,
    };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
    // Refusals in words, and without the request quoted back.
    let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &1i32);
    let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1i32);
    Ok(socket)
}

fn set_option<T>(socket: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn parse_reply(reply: &[u8]) -> io::Result<Vec<u8>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "short netlink reply");
    let kind = reply
        .get(4..6)
        .and_then(|b| b.try_into().ok())
        .ok_or_else(short)?;
    let body = reply.get(HEADER..).ok_or_else(short)?;
    if i32::from(u16::from_ne_bytes(kind)) != libc::NLMSG_ERROR {
        return Ok(body.to_vec());
    }
    let code = i32::from_ne_bytes(
        body.get(..4)
            .and_then(|b| b.try_into().ok())
            .ok_or_else(short)?,
    );
    if code == 0 {
        return Ok(Vec::new());
    }
    // struct nlmsgerr: the code and the header of the request.
    let words = attributes(body.get(4 + HEADER..).unwrap_or_default())
        .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
        .map(|(_, text)| {
            String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned()
        });
    let error = io::Error::from_raw_os_error(code.saturating_neg());
    Err(match words {
        Some(words) if !words.is_empty() => {
            io::Error::new(error.kind(), format!("{words} ({error})"))
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found() {
        assert_eq!(link_info(1).unwrap().program, None);
        assert!(link_info(1).unwrap().rx_queues >= 1);
    }

    #[test]
    fn an_unknown_device_is_an_error() {
        assert_eq!(
            link_info(0x7fff_fff0).unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
    }

    #[test]
    fn attributes_stop_at_the_first_malformed_one() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 7, &[1, 2, 3]);
        push_attribute(&mut bytes, 8, &[4]);
        let good: Vec<_> = attributes(&bytes).collect();
        assert_eq!(good, [(7, &[1u8, 2, 3][..]), (8, &[4][..])]);
        bytes[0] = 2;
        assert_eq!(attributes(&bytes).count(), 0);
        bytes[0] = 200;
        assert_eq!(attributes(&bytes).count(), 0);
    }

    #[test]
    fn a_refusal_carries_the_words_of_the_kernel() {
        let mut reply = vec![0; HEADER];
        reply[4] = libc::NLMSG_ERROR as u8;
        reply.extend_from_slice(&(-libc::EOPNOTSUPP).to_ne_bytes());
        reply.extend_from_slice(&[0; HEADER]);
        push_attribute(&mut reply, NLMSGERR_ATTR_MSG, b"no such mode\0");
        let error = parse_reply(&reply).unwrap_err().to_string();
        assert!(error.starts_with("no such mode ("), "{error}");
        assert!(parse_reply(&reply[..10]).is_err());
    }
}
