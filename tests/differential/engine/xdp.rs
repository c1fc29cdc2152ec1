//! A real wire: the engine on an AF_XDP socket at one end of a veth pair, the
//! peer with a packet socket at the other.
//!
//! The clock is virtual here as well, and stands still until what was sent has
//! come out at the other end. So a busy machine makes an exchange slow, never
//! another one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fullbore::frame::{Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::time::Instant;
use fullbore::xdp::{AttachMode, Interface, LinkOptions, Steering, SteeringOptions, Umem, XdpLink};

use super::{Fullbore, Way};
use crate::common::ends::MEMORY;
use crate::kernel::{self, DEVICE};
use crate::segment::{self, Segment, ends};

/// The kernel's own address on the device that fullbore's addresses are on.
const KERNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// How long a frame may take over the wire. One that was lost comes never.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Queues {
    /// Sent by the peer, not received by the engine.
    to_host: VecDeque<Vec<u8>>,
    /// Sent by the engine, not seen at the other end.
    from_host: VecDeque<Vec<u8>>,
}

/// The link, and what has gone through it.
pub struct Tap {
    link: XdpLink,
    queues: Rc<RefCell<Queues>>,
}

impl Link for Tap {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = out.len();
        let n = self.link.receive(now, pool, out, max);
        let mut queues = self.queues.borrow_mut();
        for packet in &out[before..] {
            let wanted = queues.to_host.front();
            if wanted.is_some_and(|frame| frame[..] == *pool.bytes(packet)) {
                queues.to_host.pop_front();
            }
        }
        n
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        let bytes = |desc| pool.tx_bytes(desc).to_vec();
        let mut frames: Vec<Vec<u8>> = queue.iter().map(bytes).collect();
        self.link.transmit(now, pool, queue);
        frames.truncate(frames.len() - queue.len());
        self.queues.borrow_mut().from_host.extend(frames);
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.link.wait(timeout, wakers)
    }
}

/// The peer's end.
pub struct Veth {
    wire: kernel::wire::Wire,
    queues: Rc<RefCell<Queues>>,
    /// Seen at the peer's end, not given out.
    seen: VecDeque<Vec<u8>>,
    waits_since: Option<std::time::Instant>,
    lost: bool,
}

impl Way for Veth {
    type Link = Tap;

    fn send(&mut self, frame: Vec<u8>) {
        self.wire.send(&frame);
        self.queues.borrow_mut().to_host.push_back(frame);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some((_, frame)) = self.wire.receive(std::time::Instant::now()) {
            let mut queues = self.queues.borrow_mut();
            if queues.from_host.front() == Some(&frame) {
                queues.from_host.pop_front();
                self.seen.push_back(frame);
            } else {
                // The kernel has an address here too, but none of these.
                let of_ours = Segment::parse(&frame).is_some();
                assert!(!of_ours || self.lost, "not what was sent: {frame:02x?}");
            }
        }
        self.seen.pop_front()
    }

    fn owes(&mut self) -> bool {
        let queues = self.queues.borrow();
        if self.lost || (queues.to_host.is_empty() && queues.from_host.is_empty()) {
            self.waits_since = None;
            return false;
        }
        let since = *self.waits_since.get_or_insert_with(std::time::Instant::now);
        self.lost = since.elapsed() >= PATIENCE;
        std::thread::sleep(Duration::from_micros(20));
        !self.lost
    }

    fn forget(&mut self) {
        *self.queues.borrow_mut() = Queues::default();
        self.seen.clear();
        self.lost = false;
    }

    fn lost(&self) -> bool {
        self.lost
    }
}

/// How the namespace for it is made.
pub fn settings() -> kernel::Settings {
    kernel::Settings::new((KERNEL, 24), segment::PEER)
}

impl Fullbore<Veth> {
    /// Frames that the socket has received and sent.
    pub fn frames(&self) -> (u64, u64) {
        let counters = self.engine.link().link.counters();
        (counters.rx_frames, counters.tx_frames)
    }

    /// A host for one exchange after the other, in this thread's namespace,
    /// which was made with [`settings`].
    pub fn on_xdp(wire: kernel::wire::Wire) -> Self {
        let options = SteeringOptions {
            mode: AttachMode::Native,
            ..SteeringOptions::default()
        };
        let device = Interface::read(DEVICE).expect("the device");
        let steering = Steering::attach(&device, options).expect("the steering program");
        for v6 in [false, true] {
            steering.own_address(ends(v6).0).expect("an address");
        }
        let (umem, mut pool) = Umem::new(&MEMORY).expect("memory");
        let link = LinkOptions::default();
        let link = XdpLink::open(&Arc::new(umem), &mut pool, &steering, 0, &link);
        let queues = Rc::<RefCell<Queues>>::default();
        let tap = Tap {
            link: link.expect("an AF_XDP socket"),
            queues: queues.clone(),
        };
        let veth = Veth {
            wire,
            queues,
            seen: VecDeque::new(),
            waits_since: None,
            lost: false,
        };
        Self::new(veth, tap, pool)
    }
}
