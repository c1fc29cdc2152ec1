//! Two link ends joined in memory, for tests, simulation and benchmarks.
//!
//! A packet is copied out of the sender's chunk as it is transmitted, and into
//! one of the receiver's as it is received: the ends may belong to engines in
//! different threads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Link;
use super::sleep::Sleeper;
use crate::frame::{PACKET_START, Packet, Pool, TxDesc};
use crate::sync::{Arc, ArrayQueue};
use crate::time::Instant;

/// One direction.
struct Wire {
    /// Packets on their way.
    packets: ArrayQueue<Vec<u8>>,
    /// Empty buffers, used again.
    spare: ArrayQueue<Vec<u8>>,
    /// The receiver.
    sleeper: Sleeper,
}

impl Wire {
    fn new(capacity: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            packets: ArrayQueue::new(capacity),
            spare: ArrayQueue::new(capacity),
            sleeper: Sleeper::new()?,
        }))
    }
}

/// One end of a pair.
pub struct MemoryLink {
    incoming: Arc<Wire>,
    outgoing: Arc<Wire>,
    discarded: u64,
}

impl MemoryLink {
    /// Two ends, each of which can have up to `capacity` (at least one)
    /// packets on the way to the other. When that many wait, transmission
    /// stops until the other end has received some: nothing is lost.
    ///
    /// # Errors
    /// If the process has no file descriptors left.
    pub fn pair(capacity: usize) -> io::Result<(Self, Self)> {
        let a = Wire::new(capacity.max(1))?;
        let b = Wire::new(capacity.max(1))?;
        let near = Self {
            incoming: a.clone(),
            outgoing: b.clone(),
            discarded: 0,
        };
        let far = Self {
            incoming: b,
            outgoing: a,
            discarded: 0,
        };
        Ok((near, far))
    }

    /// Packets discarded: of more chunks than this end's pool had left when
    /// they were received, or sent when the other end was gone.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }
}

impl Link for MemoryLink {
    fn receive(
        &mut self,
        _now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let mut received = 0;
        while received < max && pool.available() > 0 {
            let Some(buffer) = self.incoming.packets.pop() else {
                break;
            };
            let parts = store(pool, &buffer, out);
            received += parts;
            self.discarded += u64::from(parts == 0);
            // There are never more buffers than the queue has room for.
            let _ = self.incoming.spare.push(buffer);
        }
        received
    }

    fn transmit(&mut self, _now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        // The other end holds the second reference.
        let peer_gone = Arc::strong_count(&self.outgoing) == 1;
        let mut sent = false;
        while peer_gone || !self.outgoing.packets.is_full() {
            if queue.is_empty() {
                break;
            }
            let mut buffer = self.outgoing.spare.pop().unwrap_or_default();
            buffer.clear();
            while let Some(desc) = queue.pop_front() {
                let continues = desc.continues();
                buffer.extend_from_slice(pool.tx_bytes(&desc));
                pool.complete(desc);
                if !continues {
                    break;
                }
            }
            if peer_gone {
                self.discarded += 1;
            } else {
                // Only this end pushes, so there is room.
                sent |= self.outgoing.packets.push(buffer).is_ok();
            }
        }
        if sent {
            self.outgoing.sleeper.wake();
        }
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Wire {
            packets, sleeper, ..
        } = &*self.incoming;
        if !sleeper.prepare(|| !packets.is_empty()) {
            return Ok(());
        }
        let slept = sleep(timeout, sleeper.event().as_fd(), wakers);
        sleeper.awake();
        slept
    }
}

/// Copies a frame into fresh chunks, as many as it needs, and appends them to
/// `out`. Answers how many: none if there are too few.
pub(super) fn store(pool: &mut Pool, bytes: &[u8], out: &mut Vec<Packet>) -> usize {
    let room = pool.max_packet();
    let parts = bytes.len().div_ceil(room).max(1);
    if parts > pool.available() {
        return 0;
    }
    for part in 0..parts {
        let Some(mut packet) = pool.alloc() else {
            break;
        };
        let from = part * room;
        let bytes = &bytes[from..bytes.len().min(from + room)];
        packet.set_range(PACKET_START, bytes.len() as u16);
        packet.set_continues(part + 1 < parts);
        pool.bytes_mut(&mut packet).copy_from_slice(bytes);
        out.push(packet);
    }
    parts
}

/// Sleeps on `event` and `wakers`. More than seven wakers are a bug of the
/// engine, not worth an allocation for each wait; the rest are not watched.
fn sleep(timeout: Duration, event: BorrowedFd<'_>, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
    debug_assert!(wakers.len() <= 7);
    let mut fds: [PollFd<'_>; 8] =
        std::array::from_fn(|_| PollFd::from_borrowed_fd(event, PollFlags::IN));
    let used = (wakers.len() + 1).min(fds.len());
    for (slot, waker) in fds.iter_mut().skip(1).zip(wakers) {
        *slot = PollFd::from_borrowed_fd(*waker, PollFlags::IN);
    }
    // A time too large for the system is as good as for ever.
    let timeout = Timespec::try_from(timeout).ok();
    match poll(&mut fds[..used], timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Region;
    use rustix::event::{EventfdFlags, eventfd};
    use std::os::fd::AsFd;
    use std::thread;

    const NOW: Instant = Instant::ZERO;

    fn pool(chunks: u32) -> Pool {
        Pool::new(Region::anonymous(chunks, 2048))
    }

    fn packet(pool: &mut Pool, bytes: &[u8]) -> TxDesc {
        let mut packets = Vec::new();
        assert_eq!(store(pool, bytes, &mut packets), 1);
        pool.transmit(packets.remove(0))
    }

    #[test]
    fn packets_cross_in_order_and_every_frame_comes_back() {
        let (mut a, mut b) = MemoryLink::pair(4).unwrap();
        let (mut pa, mut pb) = (pool(16), pool(16));
        let mut queue: VecDeque<_> = (0..6u8).map(|n| packet(&mut pa, &[n; 60])).collect();
        a.transmit(NOW, &mut pa, &mut queue);
        assert_eq!(queue.len(), 2, "full");
        assert_eq!(pa.ledger().tx, 2);
        let mut got = Vec::new();
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 3), 3);
        a.transmit(NOW, &mut pa, &mut queue);
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 16), 3);
        for (n, p) in got.drain(..).enumerate() {
            assert_eq!(pb.bytes(&p), [n as u8; 60]);
            assert_eq!(p.start(), usize::from(PACKET_START));
            pb.free(p);
        }
        assert_eq!((pa.ledger().pool, pb.ledger().pool), (16, 16));
        assert_eq!((a.discarded(), b.discarded()), (0, 0));
    }

    #[test]
    fn a_frame_of_several_chunks_crosses_as_one() {
        let (mut a, mut b) = MemoryLink::pair(1).unwrap();
        let mut pa = Pool::new(Region::anonymous(4, 4096));
        let mut pb = pool(6);
        let frame: Vec<u8> = (0..9000u32).map(|n| (n / 7) as u8).collect();
        let mut parts = Vec::new();
        assert_eq!(store(&mut pa, &frame, &mut parts), 3);
        let mut queue: VecDeque<_> = parts.drain(..).map(|p| pa.transmit(p)).collect();
        queue.push_back(packet(&mut pa, b"next"));
        a.transmit(NOW, &mut pa, &mut queue);
        assert_eq!(queue.len(), 1, "full");
        // The other end's chunks are smaller.
        let mut got = Vec::new();
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 1), 6);
        let continues: Vec<_> = got.iter().map(Packet::continues).collect();
        assert_eq!(continues, [true, true, true, true, true, false]);
        let bytes: Vec<u8> = got.iter().flat_map(|p| pb.bytes(p).to_vec()).collect();
        assert_eq!(bytes, frame);
        got.drain(..).for_each(|p| pb.free(p));
        a.transmit(NOW, &mut pa, &mut queue);
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 1), 1);
        assert_eq!(pb.bytes(&got[0]), b"next");
        got.drain(..).for_each(|p| pb.free(p));
        assert_eq!((pa.ledger().pool, pb.ledger().pool), (4, 6));
    }

    #[test]
    fn an_empty_pool_delays_and_a_small_pool_discards() {
        let (mut a, mut b) = MemoryLink::pair(8).unwrap();
        let mut pa = Pool::new(Region::anonymous(4, 4096));
        let mut pb = pool(1);
        let mut queue = VecDeque::new();
        for len in [3000, 100, 1792] {
            queue.push_back(packet(&mut pa, &vec![7; len]));
        }
        a.transmit(NOW, &mut pa, &mut queue);
        let mut got = Vec::new();
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 8), 1);
        assert_eq!((got[0].len(), b.discarded()), (100, 1));
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 8), 0, "no chunk left");
        pb.free(got.remove(0));
        assert_eq!(b.receive(NOW, &mut pb, &mut got, 8), 1);
        assert_eq!(got[0].len(), 1792);
        pb.free(got.remove(0));
    }

    #[test]
    fn sending_to_nobody_completes() {
        let (mut a, b) = MemoryLink::pair(1).unwrap();
        drop(b);
        let mut pa = pool(4);
        let mut queue: VecDeque<_> = (0..3).map(|_| packet(&mut pa, b"lost")).collect();
        a.transmit(NOW, &mut pa, &mut queue);
        assert!(queue.is_empty());
        assert_eq!((a.discarded(), pa.ledger().pool), (3, 4));
    }

    #[test]
    fn a_packet_or_a_waker_ends_the_wait() {
        let (mut a, mut b) = MemoryLink::pair(4).unwrap();
        let forever = Duration::from_secs(60);
        let begin = std::time::Instant::now();
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            let mut pa = pool(1);
            let desc = packet(&mut pa, b"wake");
            a.transmit(NOW, &mut pa, &mut VecDeque::from([desc]));
            a
        });
        b.wait(forever, &[]).unwrap();
        let _a = sender.join().unwrap();
        assert!(!b.incoming.packets.is_empty());
        b.wait(forever, &[]).unwrap();
        let mut pb = pool(1);
        let mut got = Vec::new();
        b.receive(NOW, &mut pb, &mut got, 1);
        pb.free(got.remove(0));

        let waker = eventfd(1, EventfdFlags::NONBLOCK).unwrap();
        b.wait(forever, &[waker.as_fd()]).unwrap();
        assert!(begin.elapsed() < forever, "none of these slept to the end");
        let begin = std::time::Instant::now();
        b.wait(Duration::from_millis(5), &[]).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(5));
    }
}
