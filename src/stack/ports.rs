//! Local ports: which are ours, and which a new connection gets.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use siphasher::sip::SipHasher13;

use super::flow::Tuple;
use crate::wire::ip::{PROTOCOL_TCP, PROTOCOL_UDP};

/// A protocol that has ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP, on which uTP runs.
    Udp,
}

impl Protocol {
    /// Its number in IP headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Tells whoever decides which frames come to this engine (the steering
/// program) which ports are ours. Called when listeners and outgoing
/// connections come and go, never for a packet.
pub trait PortClaims {
    /// Asks for the frames to `port`.
    ///
    /// # Errors
    /// Why they cannot be had: another program uses the port, say.
    fn claim(&mut self, protocol: Protocol, port: u16) -> io::Result<()>;

    /// Gives back what a successful [`claim`](Self::claim) got.
    fn unclaim(&mut self, protocol: Protocol, port: u16);

    /// Whether the answers of `remote` to `local` come to this engine's
    /// queue. `None` if that is not known: then engines with the same ports
    /// share them out among themselves.
    fn suits(&self, local: SocketAddr, remote: SocketAddr) -> Option<bool> {
        let _ = (local, remote);
        None
    }
}

/// For links all of whose frames are ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClaims;

impl PortClaims for NoClaims {
    fn claim(&mut self, _: Protocol, _: u16) -> io::Result<()> {
        Ok(())
    }

    fn unclaim(&mut self, _: Protocol, _: u16) {}
}

/// Ports that are tried for one connection. Each costs a look into the flow
/// table and a hash.
const TRIES: u32 = 4096;
/// Refused claims after which no more ports are tried.
const REFUSALS: u32 = 16;
const COUNTERS: usize = 16;

/// The local ports of an engine.
pub struct Ports {
    claims: Box<dyn PortClaims + Send>,
    /// How many listeners and connections use each claimed port.
    users: HashMap<(Protocol, u16), u32>,
    /// The same as bitmaps, for packets: TCP's, then UDP's.
    ours: Box<[[u64; 1024]; 2]>,
    range: RangeInclusive<u16>,
    share: (usize, usize),
    key: [u8; 16],
    counters: [u32; COUNTERS],
}

impl Ports {
    /// Ports for outgoing connections come from `range`, in an order that
    /// `key` decides. With `share`, the `n`th of `m` that have the same
    /// range, only every `m`th port is used, unless `claims` knows better.
    #[must_use]
    pub fn new(
        claims: Box<dyn PortClaims + Send>,
        range: RangeInclusive<u16>,
        share: (usize, usize),
        key: [u8; 16],
    ) -> Self {
        Self {
            claims,
            users: HashMap::new(),
            ours: Box::new([[0; 1024]; 2]),
            range,
            share,
            key,
            counters: [0; COUNTERS],
        }
    }

    /// Whether `port` is claimed.
    #[inline]
    #[must_use]
    pub fn is_ours(&self, protocol: Protocol, port: u16) -> bool {
        self.ours[protocol as usize][usize::from(port / 64)] & (1 << (port % 64)) != 0
    }

    /// Claims `port` once more.
    ///
    /// # Errors
    /// Why it is not to be had.
    pub fn claim(&mut self, protocol: Protocol, port: u16) -> io::Result<()> {
        if let Some(users) = self.users.get_mut(&(protocol, port)) {
            *users += 1;
            return Ok(());
        }
        self.claims.claim(protocol, port)?;
        self.users.insert((protocol, port), 1);
        self.ours[protocol as usize][usize::from(port / 64)] |= 1 << (port % 64);
        Ok(())
    }

    /// Gives back one [`claim`](Self::claim) of `port`.
    pub fn unclaim(&mut self, protocol: Protocol, port: u16) {
        let Some(users) = self.users.get_mut(&(protocol, port)) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.users.remove(&(protocol, port));
            self.ours[protocol as usize][usize::from(port / 64)] &= !(1 << (port % 64));
            self.claims.unclaim(protocol, port);
        }
    }

    /// Chooses and claims the port of a connection from `local` to `remote`,
    /// for which `is_taken` says whether there is such a connection already.
    ///
    /// RFC 6056 section 3.3.4: where the search begins is a keyed hash of the
    /// ends, moved on by one of a few counters.
    pub fn choose(
        &mut self,
        protocol: Protocol,
        local: IpAddr,
        remote: SocketAddr,
        is_taken: impl Fn(&Tuple) -> bool,
    ) -> Option<u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let count = u32::from(last.checked_sub(first)?) + 1;
        let offset = self.hash(0, local, remote) as u32;
        let counter = self.hash(1, local, remote) as usize % COUNTERS;
        let mut refusals = 0;
        for _ in 0..TRIES.min(count) {
            let step = offset.wrapping_add(self.counters[counter]) % count;
            self.counters[counter] = self.counters[counter].wrapping_add(1);
            let port = first + step as u16;
            let from = SocketAddr::new(local, port);
            let suits = self.claims.suits(from, remote).unwrap_or_else(|| {
                let (n, m) = self.share;
                usize::from(port) % m.max(1) == n
            });
            if !suits || is_taken(&Tuple::new(from, remote)) {
                continue;
            }
            if self.claim(protocol, port).is_ok() {
                return Some(port);
            }
            refusals += 1;
            if refusals == REFUSALS {
                break;
            }
        }
        None
    }

    fn hash(&self, tag: u8, local: IpAddr, remote: SocketAddr) -> u64 {
        let mut h = SipHasher13::new_with_key(&self.key);
        h.write_u8(tag);
        for ip in [local, remote.ip()] {
            match ip {
                IpAddr::V4(ip) => h.write(&ip.octets()),
                IpAddr::V6(ip) => h.write(&ip.octets()),
            }
        }
        h.write_u16(remote.port());
        h.finish()
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol::{Tcp, Udp};
    use super::*;
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<(bool, Protocol, u16)>>>);

    impl PortClaims for Recorder {
        fn claim(&mut self, protocol: Protocol, port: u16) -> io::Result<()> {
            if port == 22 {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            self.0.lock().unwrap().push((true, protocol, port));
            Ok(())
        }
        fn unclaim(&mut self, protocol: Protocol, port: u16) {
            self.0.lock().unwrap().push((false, protocol, port));
        }
        fn suits(&self, local: SocketAddr, _: SocketAddr) -> Option<bool> {
            Some(local.port().is_multiple_of(2))
        }
    }

    fn local() -> IpAddr {
        "10.0.0.1".parse().unwrap()
    }

    fn remote() -> SocketAddr {
        "10.0.0.2:80".parse().unwrap()
    }

    #[test]
    fn a_port_is_claimed_by_its_first_user_and_given_back_by_the_last() {
        let log = Recorder::default();
        let mut ports = Ports::new(Box::new(log.clone()), 50000..=50009, (0, 1), [1; 16]);
        for protocol in [Tcp, Udp] {
            ports.claim(protocol, 80).unwrap();
            ports.claim(protocol, 80).unwrap();
            assert!(ports.is_ours(protocol, 80));
            ports.unclaim(protocol, 80);
            assert!(ports.is_ours(protocol, 80));
            ports.unclaim(protocol, 80);
            ports.unclaim(protocol, 80);
            assert!(!ports.is_ours(protocol, 80));
            assert!(ports.claim(protocol, 22).is_err());
            assert!(!ports.is_ours(protocol, 22));
            let log = std::mem::take(&mut *log.0.lock().unwrap());
            assert_eq!(log, [(true, protocol, 80), (false, protocol, 80)]);
        }
    }

    #[test]
    fn protocols_have_ports_of_their_own() {
        let mut ports = Ports::new(Box::new(NoClaims), 50000..=50009, (0, 1), [1; 16]);
        ports.claim(Udp, 80).unwrap();
        assert!(ports.is_ours(Udp, 80) && !ports.is_ours(Tcp, 80));
        ports.claim(Tcp, 80).unwrap();
        ports.unclaim(Udp, 80);
        assert!(!ports.is_ours(Udp, 80) && ports.is_ours(Tcp, 80));
    }

    #[test]
    fn chosen_ports_are_free_suitable_and_run_out() {
        let mut ports = Ports::new(
            Box::new(Recorder::default()),
            50000..=50009,
            (0, 1),
            [1; 16],
        );
        let mut taken = HashSet::new();
        while let Some(port) =
            ports.choose(Tcp, local(), remote(), |t| taken.contains(&t.local_port))
        {
            assert!(taken.insert(port));
            assert!(ports.is_ours(Tcp, port));
        }
        let even: HashSet<u16> = (50000..=50009).filter(|p| p % 2 == 0).collect();
        assert_eq!(taken, even);
    }

    #[test]
    fn the_order_depends_on_the_key() {
        let order = |key| {
            let mut ports = Ports::new(Box::new(NoClaims), 49152..=65535, (0, 1), [key; 16]);
            ports.choose(Tcp, local(), remote(), |_| false).unwrap()
        };
        let first: HashSet<u16> = (0..8).map(order).collect();
        assert!(first.len() > 4, "{first:?}");
    }

    #[test]
    fn those_who_share_a_range_never_meet() {
        let mut all = HashSet::new();
        for n in 0..3 {
            let mut ports = Ports::new(Box::new(NoClaims), 50000..=50011, (n, 3), [0; 16]);
            let mut own = HashSet::new();
            while let Some(port) =
                ports.choose(Tcp, local(), remote(), |t| own.contains(&t.local_port))
            {
                own.insert(port);
            }
            assert_eq!(own.len(), 4);
            all.extend(own);
        }
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn an_empty_range_has_no_port() {
        #[allow(clippy::reversed_empty_ranges)]
        let mut ports = Ports::new(Box::new(NoClaims), 9..=8, (0, 1), [0; 16]);
        assert_eq!(ports.choose(Tcp, local(), remote(), |_| false), None);
    }
}
