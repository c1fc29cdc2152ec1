//! Moving chunks to and from the rings.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::socket;
use super::{BATCH, XdpLink};
use crate::frame::{PACKET_START, Pool, TxDesc};
use crate::time::Instant;

/// The fill ring is topped up when so many chunks are missing.
const FILL_BATCH: usize = 32;
/// Wake-ups in a row for one burst.
const MAX_KICKS: usize = 16;
/// At most one reminder of the fill ring in this time, if it has not changed.
const FILL_KICK_EVERY: Duration = Duration::from_micros(100);
/// No sleep is longer.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// Sleep while frames wait on the transmit ring: nothing wakes for room.
const SLEEP_PENDING: Duration = Duration::from_micros(100);
/// Sleep while completions are due: nothing wakes for them either.
const SLEEP_SENDING: Duration = Duration::from_millis(10);
/// An Ethernet header.
const MIN_FRAME: usize = 14;

impl XdpLink {
    /// Takes completions.
    pub(super) fn reap(&mut self, pool: &mut Pool) {
        let Some(rings) = &mut self.rings else { return };
        let chunk_size = self.umem.chunk_size() as usize;
        while !self.sent.is_empty() {
            // SAFETY: the descriptors are only filled in; the ring is of this
            // memory.
            let n = unsafe { rings.completion.consume(&mut self.scratch) };
            for desc in &self.scratch[..n] {
                let chunk = desc.addr() / chunk_size;
                // SAFETY: the kernel has just returned it, and it was sent
                // through this socket.
                if self.sent.remove(chunk) && unsafe { pool.complete_chunk(chunk as u32) } {
                    self.counters.tx_completed += 1;
                } else {
                    self.counters.device_errors += 1;
                }
            }
            if n < BATCH {
                break;
            }
        }
    }

    /// Makes the kernel send, again while it takes only a part of the ring.
    pub(super) fn kick(&mut self, pool: &mut Pool) {
        let mut before = u32::MAX;
        for _ in 0..MAX_KICKS {
            let Some(rings) = &mut self.rings else { return };
            let pending = rings.tx_size.saturating_sub(rings.tx.nb_free_exact());
            if pending == 0 || pending == before {
                return;
            }
            before = pending;
            self.counters.tx_kicks += 1;
            let Err(error) = socket::kick_tx(rings.fd) else {
                self.down = false;
                return;
            };
            match error.raw_os_error() {
                // Its budget is used up, or completions are waiting.
                Some(libc::EAGAIN) => self.reap(pool),
                Some(libc::EINTR) => before = u32::MAX,
                // No memory, or the device's queue is full: next turn.
                Some(libc::ENOBUFS | libc::EBUSY) => return,
                number => return self.failed(number),
            }
        }
    }

    pub(super) fn longest_sleep(&mut self) -> Duration {
        match &mut self.rings {
            Some(rings) if !self.sent.is_empty() => {
                if !self.down && rings.tx.nb_free_exact() < rings.tx_size {
                    SLEEP_PENDING
                } else {
                    SLEEP_SENDING
                }
            }
            _ => MAX_SLEEP,
        }
    }

    /// Notes an error of the device. That it is down may pass.
    fn failed(&mut self, number: Option<i32>) {
        self.counters.device_errors += 1;
        self.down = number == Some(libc::ENETDOWN);
        if !self.down {
            self.gone = number.or(Some(libc::EIO));
        }
    }

    /// Tops the fill ring up.
    pub(super) fn refill(&mut self, now: Instant, pool: &mut Pool) {
        let Some(rings) = &mut self.rings else { return };
        let missing = self.fill_target.saturating_sub(self.filled.len());
        let mut added = 0;
        if missing >= FILL_BATCH.min(self.fill_target) {
            let room = rings.fill.nb_free(missing as u32) as usize;
            let wanted = missing.min(room);
            while added < wanted {
                let mut n = 0;
                for slot in self.scratch.iter_mut().take(wanted - added) {
                    let Some(chunk) = pool.lend() else { break };
                    *slot = self.umem.descs()[chunk as usize];
                    self.filled.insert(chunk as usize);
                    n += 1;
                }
                // SAFETY: the ledger has just lent these chunks to the fill
                // ring; they are of the memory that the ring belongs to.
                let taken = unsafe { rings.fill.produce(&self.scratch[..n]) };
                if taken < n {
                    // Not reached: `nb_free` never promises too much.
                    for desc in &self.scratch[taken..n] {
                        let chunk = desc.addr() / self.umem.chunk_size() as usize;
                        self.filled.remove(chunk);
                        // SAFETY: the ring did not take it.
                        unsafe { pool.unlend(chunk as u32) };
                    }
                }
                added += taken;
                if taken < BATCH {
                    break;
                }
            }
            if added < wanted {
                self.counters.fill_starved += 1;
            }
            self.counters.fill_frames += added as u64;
        }
        if rings.fill.needs_wakeup()
            && (added > 0 || now.since(self.fill_kicked) >= FILL_KICK_EVERY)
        {
            self.fill_kicked = now;
            self.counters.fill_kicks += 1;
            match socket::kick_fill(rings.fd).map_err(|e| e.raw_os_error()) {
                Ok(()) | Err(Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)) => {}
                Err(number) => self.failed(number),
            }
        }
    }

    /// Puts up to [`BATCH`] packets on the transmit ring, as many as have
    /// room. Answers how many left `queue`.
    pub(super) fn submit(&mut self, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) -> usize {
        let Some(rings) = &mut self.rings else {
            return 0;
        };
        let wanted = queue.len().min(BATCH);
        let room = (rings.tx.nb_free(wanted as u32) as usize).min(wanted);
        let mut n = 0;
        for packet in queue.drain(..room) {
            let length = pool.tx_bytes(&packet).len();
            // The kernel takes such a descriptor and never completes it.
            if length < MIN_FRAME || length > self.umem.max_frame() as usize {
                self.counters.device_errors += 1;
                pool.complete(packet);
                continue;
            }
            let chunk = packet.chunk() as usize;
            let mut desc = self.umem.descs()[chunk];
            // SAFETY: the descriptor is of this memory, and its chunk is being
            // sent: this process has no reference to its bytes.
            let mut data = unsafe { self.umem.inner().data_mut(&mut desc) };
            if packet.start() != usize::from(PACKET_START) {
                // A driver put the received packet elsewhere, and it goes out
                // again in place.
                data.cursor().set_pos(length);
                let to = data.contents_mut().as_mut_ptr();
                let from = to.addr() - usize::from(PACKET_START) + packet.start();
                // The chunk before `data` is not part of that slice.
                let from = std::ptr::with_exposed_provenance::<u8>(from);
                // SAFETY: `tx_bytes` has checked that the source lies in the
                // chunk, and the length that the target does.
                unsafe { std::ptr::copy(from, to, length) };
            }
            data.cursor().set_pos(length);
            self.scratch[n] = desc;
            n += 1;
            self.sent.insert(chunk);
            self.counters.tx_bytes += length as u64;
        }
        // SAFETY: the ledger says that these chunks are being sent and not yet
        // on a ring; they are of the memory that the ring belongs to.
        let taken = unsafe { rings.tx.produce(&self.scratch[..n]) };
        debug_assert_eq!(taken, n, "the transmit ring had room");
        self.counters.tx_frames += taken as u64;
        room
    }
}
