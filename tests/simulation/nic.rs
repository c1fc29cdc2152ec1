//! An engine's rings on the wire.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use fullbore::frame::{Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::time::Instant;

use crate::network::Network;

/// What the rings are like.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Frames that wait to be received before more are lost.
    pub rx: usize,
    /// Frames in transmission at most.
    pub tx: usize,
    /// How long a transmission takes to be completed.
    pub complete: Duration,
    /// Spans in which nothing is taken for transmission nor completed.
    pub stuck: Vec<(Instant, Instant)>,
}

pub struct Nic {
    network: Rc<RefCell<Network>>,
    station: usize,
    host: usize,
    rings: Rings,
    sending: VecDeque<(Instant, TxDesc)>,
    /// The bytes so far of a frame of several chunks.
    parts: Vec<u8>,
    blocked_until: Instant,
}

impl Nic {
    pub fn new(network: Rc<RefCell<Network>>, station: usize, host: usize, rings: Rings) -> Self {
        Self {
            network,
            station,
            host,
            rings,
            sending: VecDeque::new(),
            parts: Vec::new(),
            blocked_until: Instant::ZERO,
        }
    }

    fn is_stuck(&mut self, now: Instant) -> bool {
        self.rings.stuck.retain(|(_, until)| *until > now);
        let begun = self.rings.stuck.iter().filter(|(from, _)| *from <= now);
        self.blocked_until = begun.map(|(_, until)| *until).max().unwrap_or(now);
        self.blocked_until > now
    }
}

impl Link for Nic {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let limits = (max, self.rings.rx);
        self.network
            .borrow_mut()
            .receive(now, self.station, pool, out, limits)
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        if self.is_stuck(now) {
            return;
        }
        while let Some((due, _)) = self.sending.front() {
            if *due > now {
                break;
            }
            if let Some((_, desc)) = self.sending.pop_front() {
                pool.complete(desc);
            }
        }
        while (self.sending.len() < self.rings.tx || !self.parts.is_empty())
            && let Some(desc) = queue.pop_front()
        {
            // A frame of several chunks goes as a whole.
            if desc.continues() || !self.parts.is_empty() {
                self.parts.extend_from_slice(pool.tx_bytes(&desc));
            }
            if !desc.continues() {
                let mut network = self.network.borrow_mut();
                if self.parts.is_empty() {
                    network.send(now, self.host, pool.tx_bytes(&desc));
                } else {
                    network.send(now, self.host, &self.parts);
                    self.parts.clear();
                }
            }
            if self.rings.complete.is_zero() {
                pool.complete(desc);
            } else {
                self.sending.push_back((now + self.rings.complete, desc));
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.network.borrow().next_arrival(self.station);
        let completion = self.sending.front().map(|(due, _)| *due);
        let completion = completion.map(|due| due.max(self.blocked_until));
        arrival.into_iter().chain(completion).min()
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        Ok(())
    }
}
