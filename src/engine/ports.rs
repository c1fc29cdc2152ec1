//! Keeps the kernel from giving our ports to other programs while it and
//! we share an address.
//!
//! A kernel socket is bound to the port and never listens: other programs are
//! refused the port, and the kernel does not choose it for its own
//! connections. The frames themselves go to us before the kernel sees them. A
//! datagram that reaches the kernel in spite of that waits in a buffer as small
//! as there can be, instead of being answered by an ICMP error.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use super::Protocol;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Attempts to find one port that is free on every address.
const EPHEMERAL_TRIES: usize = 128;

/// Why a port could not be reserved.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Some program has it already.
    #[error(
        "{protocol} port {port} of {addr} is in use by another program; \
         `ss -{}np 'sport = :{port}'` shows which", flag(*protocol)
    )]
    InUse {
        /// The protocol.
        protocol: Protocol,
        /// The address.
        addr: IpAddr,
        /// The port.
        port: u16,
    },
    /// Ports below 1024 need a privilege.
    #[error("{protocol} port {port} needs root or CAP_NET_BIND_SERVICE")]
    Denied {
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// The kernel does not have the address.
    #[error("the kernel has no address {addr}, so no port {port} of it can be reserved")]
    NoAddress {
        /// The address.
        addr: IpAddr,
        /// The port.
        port: u16,
    },
    /// Another error of the operating system.
    #[error("{protocol} port {port} of {addr} cannot be reserved: {error}")]
    Io {
        /// The protocol.
        protocol: Protocol,
        /// The address.
        addr: IpAddr,
        /// The port.
        port: u16,
        /// What the operating system says.
        error: io::Error,
    },
}

/// A port of some addresses that is ours until this is dropped.
#[derive(Debug)]
pub struct PortReservation {
    port: u16,
    _sockets: Vec<OwnedFd>,
}

impl PortReservation {
    /// Reserves `port` of each address in `addresses`; `scope` is the index of
    /// the interface, for link-local ones. To be called in the interface's
    /// network namespace.
    ///
    /// # Errors
    /// See [`PortError`]; then nothing is reserved.
    pub fn new(
        protocol: Protocol,
        addresses: &[IpAddr],
        scope: u32,
        port: u16,
    ) -> Result<Self, PortError> {
        let sockets = addresses.iter().map(|addr| {
            let (socket, _) = bind(protocol, *addr, scope, port)?;
            Ok(socket)
        });
        Ok(Self {
            port,
            _sockets: sockets.collect::<Result<_, _>>()?,
        })
    }

    /// Reserves a TCP port that the kernel chooses from its range for outgoing
    /// connections (`net.ipv4.ip_local_port_range`).
    ///
    /// # Errors
    /// See [`PortError`]; all ports of the range may be taken.
    pub fn ephemeral(addr: IpAddr, scope: u32) -> Result<Self, PortError> {
        let (socket, port) = bind(Protocol::Tcp, addr, scope, 0)?;
        Ok(Self {
            port,
            _sockets: vec![socket],
        })
    }

    /// As [`ephemeral`](Self::ephemeral), with a port that `accept` agrees to:
    /// one whose answers come in by the right queue, say.
    ///
    /// # Errors
    /// See [`PortError`]; `InUse` with port 0 when none was found.
    pub fn ephemeral_where(
        addr: IpAddr,
        scope: u32,
        accept: impl Fn(u16) -> bool,
    ) -> Result<Self, PortError> {
        // Those refused are kept for now, or they would be chosen again.
        let mut refused = Vec::new();
        for _ in 0..EPHEMERAL_TRIES {
            let candidate = Self::ephemeral(addr, scope)?;
            if accept(candidate.port) {
                return Ok(candidate);
            }
            refused.push(candidate);
        }
        Err(PortError::InUse {
            protocol: Protocol::Tcp,
            addr,
            port: 0,
        })
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// The option by which `ss` shows who has a port.
const fn flag(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "lt",
        Protocol::Udp => "lu",
    }
}

fn bind(
    protocol: Protocol,
    addr: IpAddr,
    scope: u32,
    port: u16,
) -> Result<(OwnedFd, u16), PortError> {
    let outcome = match try_bind(protocol, addr, scope, port, false) {
        // Perhaps only connections of the kernel in TIME-WAIT are in the way:
        // they do not matter, and a second attempt passes them.
        Err(Errno::ADDRINUSE) if port != 0 && protocol == Protocol::Tcp => {
            try_bind(protocol, addr, scope, port, true)
        }
        outcome => outcome,
    };
    outcome.map_err(|error| match error {
        Errno::ADDRINUSE => PortError::InUse {
            protocol,
            addr,
            port,
        },
        Errno::ACCESS | Errno::PERM => PortError::Denied { protocol, port },
        Errno::ADDRNOTAVAIL => PortError::NoAddress { addr, port },
        error => PortError::Io {
            protocol,
            addr,
            port,
            error: error.into(),
        },
    })
}

fn try_bind(
    protocol: Protocol,
    addr: IpAddr,
    scope: u32,
    port: u16,
    reuse: bool,
) -> Result<(OwnedFd, u16), Errno> {
    let family = match addr {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    match protocol {
        Protocol::Tcp => sockopt::set_socket_reuseaddr(&socket, reuse)?,
        // The kernel takes its least instead.
        Protocol::Udp => sockopt::set_socket_recv_buffer_size(&socket, 0)?,
    }
    let to = match addr {
        IpAddr::V4(_) => SocketAddr::new(addr, port),
        IpAddr::V6(ip) => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            let scope = if ip.is_unicast_link_local() { scope } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
        }
    };
    rustix::net::bind(&socket, &to)?;
    let bound = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_reserved_port_is_nobody_elses_until_dropped() {
        let mine = PortReservation::ephemeral(LOCAL, 0).unwrap();
        let port = mine.port();
        // std sets SO_REUSEADDR, which must not help.
        let error = TcpListener::bind((LOCAL, port)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = PortReservation::new(Protocol::Tcp, &[LOCAL], 0, port).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("port {port} of 127.0.0.1"))
        );
        // Nobody accepts there.
        assert!(TcpStream::connect((LOCAL, port)).is_err());
        drop(mine);
        drop(TcpListener::bind((LOCAL, port)).unwrap());
    }

    #[test]
    fn a_udp_port_is_reserved_apart_from_tcps() {
        let tcp = PortReservation::ephemeral(LOCAL, 0).unwrap();
        let port = tcp.port();
        let Ok(udp) = PortReservation::new(Protocol::Udp, &[LOCAL], 0, port) else {
            return; // another program's
        };
        let error = UdpSocket::bind((LOCAL, port)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = PortReservation::new(Protocol::Udp, &[LOCAL], 0, port).unwrap_err();
        assert!(error.to_string().contains("UDP port"), "{error}");
        assert!(error.to_string().contains("ss -lunp"), "{error}");
        // What arrives there in spite of all is not answered.
        let sender = UdpSocket::bind((LOCAL, 0)).unwrap();
        sender.connect((LOCAL, port)).unwrap();
        sender.send(b"x").unwrap();
        sender.send(b"y").unwrap();
        drop(udp);
        drop(UdpSocket::bind((LOCAL, port)).unwrap());
    }

    #[test]
    fn a_port_with_a_listener_is_refused_by_name() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = PortReservation::new(Protocol::Tcp, &[LOCAL], 0, port).unwrap_err();
        assert!(matches!(error, PortError::InUse { port: p, .. } if p == port));
    }

    #[test]
    fn connections_in_time_wait_do_not_keep_a_port() {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(listener);
        drop(server); // closes first: TIME-WAIT is at its port
        drop(client);
        std::thread::sleep(std::time::Duration::from_millis(50));
        PortReservation::new(Protocol::Tcp, &[LOCAL], 0, addr.port()).unwrap();
    }

    #[test]
    fn an_address_that_is_not_there_is_named() {
        let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
        let error = PortReservation::new(Protocol::Tcp, &[addr], 0, 8080).unwrap_err();
        assert!(matches!(error, PortError::NoAddress { .. }), "{error}");
        assert!(error.to_string().contains("192.0.2.99"));
    }

    #[test]
    fn a_filter_chooses_among_ports() {
        // The kernel prefers one parity, so the lowest bit is left alone.
        let mine = PortReservation::ephemeral_where(LOCAL, 0, |p| p / 2 % 4 == 0);
        assert_eq!(mine.unwrap().port() / 2 % 4, 0);
        assert!(PortReservation::ephemeral_where(LOCAL, 0, |_| false).is_err());
    }

    #[test]
    fn both_families_can_have_the_same_port() {
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let port = match PortReservation::ephemeral(v6, 0) {
            Ok(mine) => mine.port(),
            Err(PortError::NoAddress { .. }) => return, // no IPv6 here
            Err(error) => panic!("{error}"),
        };
        let both = PortReservation::new(Protocol::Tcp, &[LOCAL, v6], 0, port).unwrap();
        assert_eq!(both.port(), port);
    }
}
