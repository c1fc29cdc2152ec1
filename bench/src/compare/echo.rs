//! The raw round trip of AF_XDP: a frame of the size that a segment with 64
//! bytes has goes to the other end, which sends it back as it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fullbore::frame::Pool;
use fullbore::link::Link;
use fullbore::time;
use fullbore::xdp::{
    Interface, LinkOptions, Steering, SteeringOptions, Umem, UmemOptions, XdpLink,
};

use super::place::{DEVICE, Place, both};
use super::{Figures, kernel, latencies};

/// Ethernet, IPv4 and TCP with timestamps, and 64 bytes.
const FRAME: usize = 14 + 20 + 32 + kernel::MESSAGE;
/// An EtherType for local experiments (IEEE 802): nobody answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// A frame that has not come back by then was lost.
const LOST: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 1000;

struct End {
    link: XdpLink,
    pool: Pool,
    queue: VecDeque<fullbore::frame::TxDesc>,
    arrived: Vec<fullbore::frame::Packet>,
    begin: Instant,
}

impl End {
    fn open() -> Result<Self, String> {
        let fail = |e: &dyn std::fmt::Display| e.to_string();
        let interface = Interface::read(DEVICE).map_err(|e| fail(&e))?;
        let options = SteeringOptions {
            take_all: true,
            ..SteeringOptions::default()
        };
        let steering = Steering::attach(&interface, options).map_err(|e| fail(&e))?;
        let (umem, mut pool) = Umem::new(&UmemOptions::default()).map_err(|e| fail(&e))?;
        let options = LinkOptions::default();
        let link = XdpLink::open(&Arc::new(umem), &mut pool, &steering, 0, &options)
            .map_err(|e| fail(&e))?;
        Ok(Self {
            link,
            pool,
            queue: VecDeque::new(),
            arrived: Vec::new(),
            begin: Instant::now(),
        })
    }

    fn now(&self) -> time::Instant {
        time::Instant::ZERO + self.begin.elapsed()
    }

    fn receive(&mut self) -> usize {
        let now = self.now();
        self.link
            .receive(now, &mut self.pool, &mut self.arrived, 64)
    }

    fn transmit(&mut self) {
        let now = self.now();
        self.link.transmit(now, &mut self.pool, &mut self.queue);
    }

    fn close(mut self) {
        for packet in self.arrived.drain(..) {
            self.pool.free(packet);
        }
        for desc in self.queue.drain(..) {
            self.pool.complete(desc);
        }
        self.link.drain(&mut self.pool, Duration::from_secs(1));
        self.link.close(&mut self.pool);
    }
}

/// Latency of a frame there and back, both ends spinning.
///
/// # Errors
/// The interface cannot be used.
pub fn echo(place: &Place, duration: Duration) -> Result<Figures, String> {
    let stop = AtomicBool::new(false);
    let ((), figures) = both(
        place,
        |ready| {
            let mut end = End::open()?;
            ready();
            while !stop.load(Ordering::Relaxed) {
                if end.receive() > 0 {
                    let End {
                        arrived,
                        queue,
                        pool,
                        ..
                    } = &mut end;
                    queue.extend(arrived.drain(..).map(|packet| pool.transmit(packet)));
                    end.transmit();
                }
            }
            end.close();
            Ok(())
        },
        || {
            let asked = ask(duration);
            stop.store(true, Ordering::Relaxed);
            asked
        },
    )?;
    Ok(figures)
}

fn ask(duration: Duration) -> Result<Figures, String> {
    let mut end = End::open()?;
    let mut frame = [0x5a; FRAME];
    frame[..6].fill(0xff);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    let mut histogram = latencies::histogram();
    let (mut begin, mut count, mut lost) = (Instant::now(), 0u64, 0u32);
    let spent = latencies::Spent::new();
    while count < WARM_UP || begin.elapsed() < duration {
        let mut packet = end.pool.alloc().ok_or("no frame is free")?;
        packet.set_range(packet.start() as u16, FRAME as u16);
        end.pool.bytes_mut(&mut packet).copy_from_slice(&frame);
        let asked = Instant::now();
        let desc = end.pool.transmit(packet);
        end.queue.push_back(desc);
        end.transmit();
        while end.receive() == 0 && asked.elapsed() < LOST {
            std::hint::spin_loop();
        }
        if end.arrived.is_empty() {
            lost += 1;
            if lost > 5 {
                return Err("the frames do not come back".to_owned());
            }
            continue;
        }
        for packet in end.arrived.drain(..) {
            end.pool.free(packet);
        }
        count += 1;
        if count < WARM_UP {
            begin = Instant::now();
        } else {
            kernel::record(&mut histogram, asked);
        }
    }
    let processors = spent.processors();
    end.close();
    Ok(latencies::figures(&histogram, processors))
}
