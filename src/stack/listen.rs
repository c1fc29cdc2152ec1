//! Listeners and their backlogs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::tcp;
use crate::time::Instant;

/// For how long after a cookie was sent its answer is looked for: twice the
/// 64 s that a cookie is valid at least.
const COOKIE_LIFE: Duration = Duration::from_secs(128);

/// A port on which connections are accepted.
#[derive(Debug)]
pub struct Listener {
    id: u32,
    /// Where; the unspecified address stands for all of its family.
    pub local: SocketAddr,
    backlog: usize,
    /// Connections that the application has not been told of yet.
    pending: usize,
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

    /// Whether a SYN is to be answered by a cookie.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.pending >= self.backlog
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
    /// Adds a listener; `false` if there is one at this very address and
    /// port.
    pub fn add(&mut self, local: SocketAddr, backlog: usize) -> bool {
        if self.list.iter().any(|l| l.local == local) {
            return false;
        }
        self.list.push(Listener {
            id: self.next_id,
            local,
            backlog: backlog.max(1),
            pending: 0,
            cookies_until: Instant::ZERO,
            tcp: None,
        });
        self.next_id = self.next_id.wrapping_add(1);
        true
    }

    /// The listener at this very address and port.
    pub fn at(&mut self, local: SocketAddr) -> Option<&mut Listener> {
        self.list.iter_mut().find(|l| l.local == local)
    }

    /// Removes the listener at this very address and port.
    pub fn remove(&mut self, local: SocketAddr) -> Option<Listener> {
        let at = self.list.iter().position(|l| l.local == local)?;
        Some(self.list.remove(at))
    }

    /// Removes any listener.
    pub fn pop(&mut self) -> Option<Listener> {
        self.list.pop()
    }

    /// The listener for segments to `local`: the one at that address before
    /// the one at all addresses.
    #[inline]
    pub fn find(&mut self, local: SocketAddr) -> Option<&mut Listener> {
        let suits = |l: &Listener| {
            l.local.port() == local.port()
                && l.local.is_ipv4() == local.is_ipv4()
                && (l.local.ip() == local.ip() || l.local.ip().is_unspecified())
        };
        self.list
            .iter_mut()
            .filter(|l| suits(l))
            .min_by_key(|l| l.local.ip().is_unspecified())
    }

    /// One more connection is half open.
    pub fn began(&mut self, id: u32) {
        if let Some(l) = self.list.iter_mut().find(|l| l.id == id) {
            l.pending += 1;
        }
    }

    /// A connection that [`began`](Self::began) was accepted or is gone.
    pub fn ended(&mut self, id: u32) {
        if let Some(l) = self.list.iter_mut().find(|l| l.id == id) {
            l.pending = l.pending.saturating_sub(1);
        }
    }

    /// Where there are listeners.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.list.iter().map(|l| l.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_exact_address_comes_first_and_families_are_apart() {
        let mut l = Listeners::default();
        assert!(l.add(at("0.0.0.0:80"), 1));
        assert!(l.add(at("10.0.0.1:80"), 1));
        assert!(!l.add(at("0.0.0.0:80"), 1));
        let mut found = |s| l.find(at(s)).map(|l| l.local);
        assert_eq!(found("10.0.0.1:80"), Some(at("10.0.0.1:80")));
        assert_eq!(found("10.0.0.2:80"), Some(at("0.0.0.0:80")));
        assert_eq!(found("10.0.0.1:81"), None);
        assert_eq!(found("[fe80::1]:80"), None);
    }

    #[test]
    fn the_backlog_fills_and_empties() {
        let mut l = Listeners::default();
        assert!(l.add(at("0.0.0.0:80"), 2));
        let id = l.find(at("10.0.0.1:80")).unwrap().id();
        l.began(id);
        assert!(!l.find(at("10.0.0.1:80")).unwrap().is_full());
        l.began(id);
        assert!(l.find(at("10.0.0.1:80")).unwrap().is_full());
        l.ended(id);
        assert!(!l.find(at("10.0.0.1:80")).unwrap().is_full());
        l.remove(at("0.0.0.0:80")).unwrap();
        l.ended(id);
        assert!(l.add(at("0.0.0.0:80"), 2));
        assert_ne!(l.find(at("10.0.0.1:80")).unwrap().id(), id);
    }

    #[test]
    fn cookies_are_expected_for_a_while() {
        let mut l = Listeners::default();
        l.add(at("0.0.0.0:80"), 1);
        let l = l.find(at("10.0.0.1:80")).unwrap();
        let now = Instant::from_millis(1000);
        assert!(!l.expects_cookies(now));
        l.sent_cookie(now);
        assert!(l.expects_cookies(now + Duration::from_secs(100)));
        assert!(!l.expects_cookies(now + Duration::from_secs(129)));
    }
}
