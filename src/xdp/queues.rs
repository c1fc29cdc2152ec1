//! Several queues of one interface served by one engine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::XdpLink;
use crate::frame::{Packet, Pool, TxDesc};
use crate::link::Link;
use crate::stats::{KernelCounters, LinkCounters};
use crate::time::Instant;

/// Links over the same packet memory as one: packets are received from each
/// in turn and sent through the first that has room.
#[derive(Debug)]
pub struct Queues {
    links: Vec<XdpLink>,
    /// The link that is asked first next time.
    turn: usize,
}

impl Queues {
    /// `links`, of which there must be at least one for anything to happen.
    #[must_use]
    pub const fn new(links: Vec<XdpLink>) -> Self {
        Self { links, turn: 0 }
    }

    /// The links.
    #[must_use]
    pub fn links(&self) -> &[XdpLink] {
        &self.links
    }

    /// Closes all of them; see [`XdpLink::close`].
    pub fn close(self, pool: &mut Pool) {
        for link in self.links {
            link.close(pool);
        }
    }
}

impl Link for Queues {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        if let [link] = &mut self.links[..] {
            return link.receive(now, pool, out, max);
        }
        let mut received = 0;
        for i in 0..self.links.len() {
            let at = (self.turn + i) % self.links.len();
            received += self.links[at].receive(now, pool, out, max - received);
        }
        self.turn = self.turn.wrapping_add(1);
        received
    }

    fn is_quiet(&self) -> bool {
        self.links.iter().all(Link::is_quiet)
    }

    fn room(&self) -> usize {
        // All may come to one of them.
        self.links.iter().map(Link::room).min().unwrap_or(0)
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        // All are called, since each takes its own completions back.
        for link in &mut self.links {
            link.transmit(now, pool, queue);
        }
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some((first, rest)) = self.links.split_first_mut() else {
            return Ok(());
        };
        if rest.is_empty() {
            return first.wait(timeout, wakers);
        }
        // Before a sleep, not for a packet.
        let all: Vec<BorrowedFd<'_>> = wakers
            .iter()
            .copied()
            .chain(rest.iter().map(AsFd::as_fd))
            .collect();
        first.wait(timeout, &all)
    }

    fn counters(&self) -> LinkCounters {
        let mut sum = LinkCounters::default();
        for link in &self.links {
            sum += link.counters();
        }
        sum
    }

    fn kernel_counters(&self) -> KernelCounters {
        let mut sum = KernelCounters::default();
        for link in &self.links {
            sum += &Link::kernel_counters(link);
        }
        sum
    }

    fn health(&mut self) -> io::Result<()> {
        self.links.iter_mut().try_for_each(Link::health)
    }
}
