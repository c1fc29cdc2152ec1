//! Own addresses made known, and defended.

use std::net::IpAddr;

use super::{ANNOUNCE_INTERVAL, Event, Interface};
use crate::stack::route::Prefix;
use crate::time::Instant;
use crate::wire::eth::Mac;

impl Interface {
    /// The address to announce now, if it is time.
    pub(super) fn next_announcement(&mut self, now: Instant) -> Option<IpAddr> {
        if let Some(own) = self.defend.take() {
            return Some(own);
        }
        if now < self.announce_at {
            return None;
        }
        let own = self.addresses.get(self.announced).map(Prefix::addr);
        self.announced += 1;
        if own.is_none() {
            self.announced = 0;
            self.announcements = self.announcements.saturating_sub(1);
            self.announce_at = match self.announcements {
                0 => Instant::FAR,
                _ => now + ANNOUNCE_INTERVAL,
            };
        }
        own
    }

    /// Somebody else claims one of our addresses: we say that it is ours, now
    /// and then, and leave the rest to the operator.
    pub(in crate::stack) fn conflict(&mut self, now: Instant, addr: IpAddr, mac: Mac) {
        // Some switches send our own broadcasts back to us.
        if mac != self.mac && self.limits.defend.take(now) {
            self.defend = Some(addr);
            self.event(Event::Conflict { addr, mac });
        }
    }
}
