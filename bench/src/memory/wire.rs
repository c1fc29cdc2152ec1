//! A wire between two engines of one thread that copies each frame once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Packet, Pool, Region, TxDesc};
use fullbore::link::Link;
use fullbore::time::Instant;

/// Packets that the receiving end keeps ready to be filled.
const READY: usize = 512;

/// One direction: as the rings of an AF_XDP socket.
#[derive(Default)]
struct Lane {
    /// The receiver's memory, once it has been heard of.
    region: Option<Arc<Region>>,
    /// Packets of the receiver to be filled.
    ready: Vec<Packet>,
    /// Those that were.
    arrived: VecDeque<Packet>,
}

/// One end of the wire. A transmission copies the frame into a packet that
/// the other end has made ready, and is complete.
pub struct Wire {
    incoming: Rc<RefCell<Lane>>,
    outgoing: Rc<RefCell<Lane>>,
}

impl Wire {
    /// Two ends.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (a, b) = (Rc::<RefCell<Lane>>::default(), Rc::default());
        let near = Self {
            incoming: Rc::clone(&a),
            outgoing: Rc::clone(&b),
        };
        let far = Self {
            incoming: b,
            outgoing: a,
        };
        (near, far)
    }
}

impl Link for Wire {
    fn receive(
        &mut self,
        _now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let mut lane = self.incoming.borrow_mut();
        if lane.region.is_none() {
            lane.region = Some(Arc::clone(pool.region()));
        }
        let n = max.min(lane.arrived.len());
        out.extend(lane.arrived.drain(..n));
        while lane.ready.len() + lane.arrived.len() < READY
            && let Some(packet) = pool.alloc()
        {
            lane.ready.push(packet);
        }
        n
    }

    fn transmit(&mut self, _now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        if queue.is_empty() {
            return;
        }
        let Lane {
            region,
            ready,
            arrived,
        } = &mut *self.outgoing.borrow_mut();
        let Some(region) = region else { return };
        while !queue.is_empty()
            && let Some(mut packet) = ready.pop()
            && let Some(desc) = queue.pop_front()
        {
            packet.set_range(PACKET_START, desc.len() as u16);
            region
                .bytes_mut(&mut packet)
                .copy_from_slice(pool.tx_bytes(&desc));
            arrived.push_back(packet);
            pool.complete(desc);
        }
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        // Both ends share a thread: there is nobody to wait for.
        Ok(())
    }
}
