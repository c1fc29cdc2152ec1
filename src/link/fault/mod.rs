//! A link on which things go wrong: loss, duplication, reordering, corruption,
//! delay and a rate limit, the same each time for the same seed.
//!
//! Packets that cannot pass at once wait in buffers of the wrapper, not in
//! chunks of the pool: a delay of many packets takes no frame from the engine,
//! and corruption never touches a frame that may have to be sent again.

mod line;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Link;
use super::memory::store;
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::{KernelCounters, LinkCounters};
use crate::time::Instant;
pub use line::FaultCounters;
use line::{Line, Verdict};
pub use settings::{Direction, FaultSettingError, FaultSettings};

/// Descriptors taken from the engine before the link below is asked to send
/// them.
const BURST: usize = 256;

/// Any link, with faults.
pub struct FaultLink<L> {
    inner: L,
    incoming: Line,
    outgoing: Line,
    /// Received just now, not yet judged, or released and not yet on their
    /// way. Empty between calls.
    arrived: Vec<Packet>,
    /// The bytes of a frame of several chunks.
    gathered: Vec<u8>,
    /// Judged, and not yet taken by the link below.
    ready: VecDeque<TxDesc>,
}

impl<L: Link> FaultLink<L> {
    /// Puts faults on `inner`.
    pub fn new(inner: L, settings: &FaultSettings) -> Self {
        Self {
            inner,
            // Distinct streams: what happens one way tells nothing of the other.
            incoming: Line::new(settings.incoming, settings.seed),
            outgoing: Line::new(settings.outgoing, !settings.seed),
            arrived: Vec::new(),
            gathered: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// What has happened to received packets.
    #[must_use]
    pub const fn incoming(&self) -> &FaultCounters {
        &self.incoming.counters
    }

    /// What has happened to transmitted packets.
    #[must_use]
    pub const fn outgoing(&self) -> &FaultCounters {
        &self.outgoing.counters
    }

    /// The link below.
    #[must_use]
    pub const fn inner(&self) -> &L {
        &self.inner
    }

    /// Turns packets that are due into descriptors, while there are chunks.
    fn release_outgoing(&mut self, now: Instant, pool: &mut Pool) {
        while self.ready.len() < BURST && pool.available() > 0 {
            let parts = &mut self.arrived;
            let released = self.outgoing.release(now, |bytes| {
                store(pool, bytes, parts);
                Some(())
            });
            if !released {
                break;
            }
            for packet in self.arrived.drain(..) {
                self.ready.push_back(pool.transmit(packet));
            }
        }
    }

    /// Judges packets from the front of `queue`, up to a burst.
    fn judge_outgoing(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        while self.ready.len() < BURST {
            let Some(first) = queue.front() else { break };
            let parts = 1 + queue.iter().take_while(|desc| desc.continues()).count();
            let verdict = if parts == 1 {
                self.outgoing.judge(now, pool.tx_bytes(first))
            } else {
                self.gathered.clear();
                for desc in queue.iter().take(parts) {
                    self.gathered.extend_from_slice(pool.tx_bytes(desc));
                }
                self.outgoing.judge(now, &self.gathered)
            };
            for desc in queue.drain(..parts.min(queue.len())) {
                match verdict {
                    Verdict::Pass => self.ready.push_back(desc),
                    Verdict::Taken => pool.complete(desc),
                }
            }
        }
    }

    /// Judges what has arrived; what passes is appended to `out`.
    fn judge_incoming(&mut self, now: Instant, pool: &mut Pool, out: &mut Vec<Packet>) {
        let mut arrived = self.arrived.drain(..);
        while let Some(first) = arrived.next() {
            let begin = out.len();
            let mut continues = first.continues();
            out.push(first);
            while continues && let Some(packet) = arrived.next() {
                continues = packet.continues();
                out.push(packet);
            }
            let verdict = if let [packet] = &out[begin..] {
                self.incoming.judge(now, pool.bytes(packet))
            } else {
                self.gathered.clear();
                for packet in &out[begin..] {
                    self.gathered.extend_from_slice(pool.bytes(packet));
                }
                self.incoming.judge(now, &self.gathered)
            };
            if verdict == Verdict::Taken {
                for packet in out.drain(begin..) {
                    pool.free(packet);
                }
            }
        }
    }
}

impl<L: Link> Link for FaultLink<L> {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = out.len();
        let end = before.saturating_add(max);
        // What was held back comes first, and again after what has arrived,
        // some of which may be due.
        for arrival in [true, false] {
            while out.len() < end && pool.available() > 0 {
                let released = self.incoming.release(now, |bytes| {
                    store(pool, bytes, out);
                    Some(())
                });
                if !released {
                    break;
                }
            }
            if arrival && out.len() < end {
                self.inner
                    .receive(now, pool, &mut self.arrived, end - out.len());
                self.judge_incoming(now, pool, out);
            }
        }
        out.len() - before
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        loop {
            self.release_outgoing(now, pool);
            self.judge_outgoing(now, pool, queue);
            self.release_outgoing(now, pool);
            self.inner.transmit(now, pool, &mut self.ready);
            if queue.is_empty() || !self.ready.is_empty() {
                break;
            }
        }
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn next_event(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            // The link below was full: try again at once.
            return Some(Instant::ZERO);
        }
        [
            self.inner.next_event(),
            self.incoming.next_due(),
            self.outgoing.next_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.inner.wait(timeout, wakers)
    }

    fn counters(&self) -> LinkCounters {
        self.inner.counters()
    }

    fn kernel_counters(&self) -> KernelCounters {
        self.inner.kernel_counters()
    }

    fn health(&mut self) -> io::Result<()> {
        self.inner.health()
    }
}
