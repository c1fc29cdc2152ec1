//! Listeners and their backlogs.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Flow, Transport};
use crate::time::Instant;
use crate::{tcp, utp};

/// Connections of the past that are remembered among those half open.
const SLACK: usize = 64;

/// Whom to count together: an IPv4 address, or a /64 of IPv6, which is what a
/// host can choose its addresses from.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// For how long after a cookie was sent its answer is looked for: twice the
/// 64 s that a cookie is valid at least.
const COOKIE_LIFE: Duration = Duration::from_secs(128);

/// Whether a peer that wants to connect, given first, to an own address may.
pub type Admits = Box<dyn FnMut(SocketAddr, SocketAddr) -> bool + Send>;

/// How connections are to be accepted.
pub struct ListenOptions {
    /// Over what.
    pub transport: Transport,
    /// Connections in the making at once. Beyond that TCP answers by SYN
    /// cookies, and with uTP the oldest make way.
    pub backlog: usize,
    /// Of those, the most from one address (one /64 of IPv6). With uTP only.
    pub backlog_per_address: usize,
    /// Asked about each SYN of uTP before it is answered; silence is all that
    /// a peer gets that it does not want. Whether to keep a connection that has
    /// been established is asked of the application anyway.
    pub admits: Option<Admits>,
    /// Settings of the connections over uTP, where they are not the usual ones.
    pub utp: Option<Arc<utp::Config>>,
}

impl ListenOptions {
    /// The usual ones.
    #[must_use]
    pub const fn new(transport: Transport, backlog: usize) -> Self {
        Self {
            transport,
            backlog,
            backlog_per_address: if backlog / 8 < 16 { 16 } else { backlog / 8 },
            admits: None,
            utp: None,
        }
    }
}

impl fmt::Debug for ListenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenOptions")
            .field("transport", &self.transport)
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
}

/// A port on which connections are accepted.
#[derive(Debug)]
pub struct Listener {
    id: u32,
    /// Where; the unspecified address stands for all of its family.
    pub local: SocketAddr,
    options: ListenOptions,
    /// Connections that the application has not been told of yet.
    pending: usize,
    /// The same by address, with uTP.
    sources: HashMap<IpAddr, usize>,
    /// The same in the order of their SYNs, with uTP; some are established or
    /// gone.
    pub(super) half_open: VecDeque<Flow>,
    cookies_until: Instant,
    /// Settings of its connections, where they are not the stack's.
    tcp: Option<Arc<tcp::Config>>,
}

impl Listener {
    /// Names the listener as long as it exists.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Whether as many connections are half open as may be.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.pending >= self.options.backlog
    }

    /// Over what connections are accepted.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.options.transport
    }

    /// Whether as many connections from the address of `peer` are half open as
    /// may be.
    #[must_use]
    pub fn is_address_full(&self, peer: IpAddr) -> bool {
        let pending = self.sources.get(&network(peer)).copied();
        pending.unwrap_or(0) >= self.options.backlog_per_address
    }

    /// Whether the application wants a connection from `peer`.
    pub fn wants(&mut self, peer: SocketAddr, local: SocketAddr) -> bool {
        let admits = self.options.admits.as_mut();
        admits.is_none_or(|admits| admits(peer, local))
    }

    /// Settings of its connections over uTP, where they are not the stack's.
    #[must_use]
    pub const fn utp_settings(&self) -> Option<&Arc<utp::Config>> {
        self.options.utp.as_ref()
    }

    /// The connection that makes way for one more, if one has to.
    pub(super) fn oldest(&mut self, is_half_open: impl Fn(Flow) -> bool) -> Option<Flow> {
        // Those at the front, and all of them when most are of the past.
        while self.half_open.front().is_some_and(|f| !is_half_open(*f)) {
            self.half_open.pop_front();
        }
        if self.half_open.len() > 2 * self.options.backlog + SLACK {
            self.half_open.retain(|f| is_half_open(*f));
        }
        if self.is_full() {
            self.half_open.pop_front()
        } else {
            None
        }
    }

    /// Settings of its connections, where they are not the stack's.
    #[must_use]
    pub const fn settings(&self) -> Option<&Arc<tcp::Config>> {
        self.tcp.as_ref()
    }

    /// Changes the settings of the connections to come.
    pub fn set_settings(&mut self, tcp: Arc<tcp::Config>) {
        self.tcp = Some(tcp);
    }

    /// A cookie was sent.
    pub fn sent_cookie(&mut self, now: Instant) {
        self.cookies_until = now + COOKIE_LIFE;
    }

    /// Whether a cookie sent lately may come back.
    #[must_use]
    pub fn expects_cookies(&self, now: Instant) -> bool {
        now < self.cookies_until
    }
}

/// The listeners of an engine: few, so they are searched in order.
#[derive(Debug, Default)]
pub struct Listeners {
    list: Vec<Listener>,
    next_id: u32,
}

impl Listeners {
    /// Adds a listener; `false` if there is one of this transport at this very
    /// address and port.
    pub fn add(&mut self, local: SocketAddr, mut options: ListenOptions) -> bool {
        if self.at(options.transport, local).is_some() {
            return false;
        }
        options.backlog = options.backlog.max(1);
        options.backlog_per_address = options.backlog_per_address.max(1);
        self.list.push(Listener {
            id: self.next_id,
            local,
            options,
            pending: 0,
            sources: HashMap::new(),
            half_open: VecDeque::new(),
            cookies_until: Instant::ZERO,
            tcp: None,
        });
        self.next_id = self.next_id.wrapping_add(1);
        true
    }

    /// The listener at this very address and port.
    pub fn at(&mut self, transport: Transport, local: SocketAddr) -> Option<&mut Listener> {
        let suits = |l: &&mut Listener| l.transport() == transport && l.local == local;
        self.list.iter_mut().find(suits)
    }

    /// The listener of this name.
    pub(super) fn by_id(&mut self, id: u32) -> Option<&mut Listener> {
        self.list.iter_mut().find(|l| l.id == id)
    }

    /// Removes the listener at this very address and port.
    pub fn remove(&mut self, transport: Transport, local: SocketAddr) -> Option<Listener> {
        let suits = |l: &Listener| l.transport() == transport && l.local == local;
        let at = self.list.iter().position(suits)?;
        Some(self.list.remove(at))
    }

    /// Removes any listener.
    pub fn pop(&mut self) -> Option<Listener> {
        self.list.pop()
    }

    /// The listener for packets to `local`: the one at that address before
    /// the one at all addresses.
    #[inline]
    pub fn find(&mut self, transport: Transport, local: SocketAddr) -> Option<&mut Listener> {
        let suits = |l: &Listener| {
            l.local.port() == local.port()
                && l.transport() == transport
                && l.local.is_ipv4() == local.is_ipv4()
                && (l.local.ip() == local.ip() || l.local.ip().is_unspecified())
        };
        self.list
            .iter_mut()
            .filter(|l| suits(l))
            .min_by_key(|l| l.local.ip().is_unspecified())
    }

    /// One more connection, from `peer`, is half open.
    pub fn began(&mut self, id: u32, peer: IpAddr) {
        if let Some(l) = self.by_id(id) {
            l.pending += 1;
            if l.transport() == Transport::Utp {
                *l.sources.entry(network(peer)).or_default() += 1;
            }
        }
    }

    /// A connection that [`began`](Self::began) was accepted or is gone.
    pub fn ended(&mut self, id: u32, peer: IpAddr) {
        let Some(l) = self.by_id(id) else {
            return;
        };
        l.pending = l.pending.saturating_sub(1);
        let network = network(peer);
        if let Some(n) = l.sources.get_mut(&network) {
            *n -= 1;
            if *n == 0 {
                l.sources.remove(&network);
            }
        }
    }

    /// Where there are listeners.
    pub fn addresses(&self) -> impl Iterator<Item = (Transport, SocketAddr)> + '_ {
        self.list.iter().map(|l| (l.transport(), l.local))
    }
}

#[cfg(test)]
mod tests {
    use super::Transport::{Tcp, Utp};
    use super::*;

    fn tcp(backlog: usize) -> ListenOptions {
        ListenOptions::new(Tcp, backlog)
    }

    fn at(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_exact_address_comes_first_and_families_are_apart() {
        let mut l = Listeners::default();
        assert!(l.add(at("0.0.0.0:80"), tcp(1)));
        assert!(l.add(at("10.0.0.1:80"), tcp(1)));
        assert!(!l.add(at("0.0.0.0:80"), tcp(1)));
        let mut found = |s| l.find(Tcp, at(s)).map(|l| l.local);
        assert_eq!(found("10.0.0.1:80"), Some(at("10.0.0.1:80")));
        assert_eq!(found("10.0.0.2:80"), Some(at("0.0.0.0:80")));
        assert_eq!(found("10.0.0.1:81"), None);
        assert_eq!(found("[fe80::1]:80"), None);
    }

    #[test]
    fn the_backlog_fills_and_empties() {
        let mut l = Listeners::default();
        assert!(l.add(at("0.0.0.0:80"), tcp(2)));
        let id = l.find(Tcp, at("10.0.0.1:80")).unwrap().id();
        l.began(id, at("10.0.0.9:1").ip());
        assert!(!l.find(Tcp, at("10.0.0.1:80")).unwrap().is_full());
        l.began(id, at("10.0.0.9:1").ip());
        assert!(l.find(Tcp, at("10.0.0.1:80")).unwrap().is_full());
        l.ended(id, at("10.0.0.9:1").ip());
        assert!(!l.find(Tcp, at("10.0.0.1:80")).unwrap().is_full());
        l.remove(Tcp, at("0.0.0.0:80")).unwrap();
        l.ended(id, at("10.0.0.9:1").ip());
        assert!(l.add(at("0.0.0.0:80"), tcp(2)));
        assert_ne!(l.find(Tcp, at("10.0.0.1:80")).unwrap().id(), id);
    }

    #[test]
    fn transports_are_apart_and_utp_counts_by_address() {
        let mut l = Listeners::default();
        assert!(l.add(at("0.0.0.0:80"), tcp(1)));
        let options = ListenOptions {
            backlog_per_address: 2,
            ..ListenOptions::new(Utp, 9)
        };
        assert!(l.add(at("[::]:80"), options));
        assert!(l.find(Tcp, at("[fd00::1]:80")).is_none());
        let id = l.find(Utp, at("[fd00::1]:80")).unwrap().id();
        let [a, b, other] = ["fd00::1", "fd00::2", "fd00:0:0:1::1"].map(|s| s.parse().unwrap());
        l.began(id, a);
        l.began(id, b);
        let listener = l.by_id(id).unwrap();
        assert!(listener.is_address_full(a) && listener.is_address_full(b));
        assert!(!listener.is_address_full(other));
        l.ended(id, a);
        assert!(!l.by_id(id).unwrap().is_address_full(b));
        l.ended(id, b);
        assert!(l.by_id(id).unwrap().sources.is_empty());
    }

    #[test]
    fn cookies_are_expected_for_a_while() {
        let mut l = Listeners::default();
        l.add(at("0.0.0.0:80"), tcp(1));
        let l = l.find(Tcp, at("10.0.0.1:80")).unwrap();
        let now = Instant::from_millis(1000);
        assert!(!l.expects_cookies(now));
        l.sent_cookie(now);
        assert!(l.expects_cookies(now + Duration::from_secs(100)));
        assert!(!l.expects_cookies(now + Duration::from_secs(129)));
    }
}
