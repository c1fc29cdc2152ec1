//! A wire in memory: what is sent is there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Packet, Pool, Region, TxDesc};
use fullbore::link::Link;
use fullbore::time::Instant;

use super::{Fullbore, Way};

#[derive(Default)]
struct Queues {
    to_host: VecDeque<Vec<u8>>,
    from_host: VecDeque<Vec<u8>>,
}

#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<Queues>>);

impl Link for Memory {
    fn receive(&mut self, _: Instant, pool: &mut Pool, out: &mut Vec<Packet>, max: usize) -> usize {
        let mut n = 0;
        while n < max
            && let Some(frame) = self.0.borrow_mut().to_host.pop_front()
        {
            let mut packet = pool.alloc().expect("a frame for each that comes in");
            packet.set_range(PACKET_START, frame.len() as u16);
            pool.bytes_mut(&mut packet).copy_from_slice(&frame);
            out.push(packet);
            n += 1;
        }
        n
    }

    fn transmit(&mut self, _: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        for desc in queue.drain(..) {
            let frame = pool.tx_bytes(&desc).to_vec();
            self.0.borrow_mut().from_host.push_back(frame);
            pool.complete(desc);
        }
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        Ok(())
    }
}

impl Way for Memory {
    type Link = Self;

    fn send(&mut self, frame: Vec<u8>) {
        self.0.borrow_mut().to_host.push_back(frame);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.0.borrow_mut().from_host.pop_front()
    }

    fn owes(&mut self) -> bool {
        false
    }
}

impl Fullbore<Memory> {
    /// A host of its own for one exchange.
    pub fn in_memory(buffer: Option<usize>, v6: bool) -> Self {
        let wire = Memory::default();
        let pool = Pool::new(Region::anonymous(512, 2048));
        let mut this = Self::new(wire.clone(), wire, pool);
        this.begin(buffer, v6);
        this
    }
}
