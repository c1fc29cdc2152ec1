//! The kernel's state of a connection, asked by its addresses and ports
//! through sock_diag(7): it knows those without a file descriptor as well.

use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const HEADER: usize = 16;
const REQUEST: usize = 56;

/// Names of the kernel's states, by number.
const STATES: [&str; 13] = [
    "?",
    "ESTABLISHED",
    "SYN-SENT",
    "SYN-RECEIVED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "CLOSED",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECEIVED",
];

/// The state of the socket at `local` that is connected to `remote`, by the
/// RFC's name; of a listener there if no such one exists.
pub fn state(local: SocketAddr, remote: SocketAddr) -> &'static str {
    let fd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )
    .expect("a netlink socket");
    let mut m = Vec::with_capacity(HEADER + REQUEST);
    m.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    m.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    m.extend(NLM_F_REQUEST.to_ne_bytes());
    m.extend([0; 8]);
    // inet_diag_req_v2: family, protocol, no extensions, all states.
    let family = if local.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    m.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    m.extend(u32::MAX.to_ne_bytes());
    m.extend(local.port().to_be_bytes());
    m.extend(remote.port().to_be_bytes());
    for address in [local.ip(), remote.ip()] {
        match address {
            IpAddr::V4(address) => {
                m.extend(address.octets());
                m.extend([0; 12]);
            }
            IpAddr::V6(address) => m.extend(address.octets()),
        }
    }
    // Any device, any cookie.
    m.extend([0; 4]);
    m.extend([0xff; 8]);
    rustix::net::send(&fd, &m, SendFlags::empty()).expect("the kernel is asked");
    let mut answer = [0; 1024];
    let (n, _) = rustix::net::recv(&fd, &mut answer[..], RecvFlags::empty()).expect("its answer");
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    if kind == NLMSG_ERROR {
        // ENOENT, the only one that a well-formed question meets.
        let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        assert_eq!(code, -libc::ENOENT, "the kernel refused to tell a state");
        return "CLOSED";
    }
    assert!(n > HEADER + 2, "an answer of {n} bytes");
    STATES.get(usize::from(answer[HEADER + 1])).unwrap_or(&"?")
}
