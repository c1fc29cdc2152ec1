//! A wire between two interfaces on which things go wrong.
//!
//! Takes every frame that either interface receives, through AF_XDP, and sends
//! it out of the other, with the loss, duplication, reordering, corruption,
//! delay and rate limit asked for. `scripts/impaired` puts it between two
//! namespaces to compare transports.
//!
//! ```text
//! wire IFACE_A IFACE_B [FAULTS]
//! wire veth-a veth-b loss=1%,dup=1%,reorder=5%,corrupt=0.1%,delay=10ms
//! ```
//!
//! Settings hold for both directions; with `out.` before them from A to B
//! only, with `in.` from B to A. Ends on SIGINT or SIGTERM and says what it did.

use std::collections::VecDeque;
use std::error::Error;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fullbore::frame::{PACKET_START, Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::link::fault::{Direction, FaultCounters, FaultLink, FaultSettings};
use fullbore::time::Instant;
use fullbore::xdp::{
    Interface, LinkOptions, Steering, SteeringOptions, Umem, UmemOptions, XdpLink,
};

const BURST: usize = 256;
/// Frames that wait for the link before no more are received.
const MAX_WAITING: usize = 1024;
/// Pause after a pass that moved something, so that the kernel can work on a
/// few frames at once; small beside any delay worth emulating.
const PAUSE: Duration = Duration::from_micros(20);
/// Longest sleep; signals are looked for in between.
const MAX_SLEEP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (a, b, faults) = match arguments.as_slice() {
        [a, b] => (a, b, ""),
        [a, b, faults] => (a, b, faults.as_str()),
        _ => {
            eprintln!("usage: wire IFACE_A IFACE_B [FAULTS, as in loss=1%,delay=10ms]");
            return ExitCode::from(2);
        }
    };
    match run(a, b, faults) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An interface, and the frames on their way out of it.
struct End {
    link: FaultLink<XdpLink>,
    queue: VecDeque<TxDesc>,
}

impl End {
    fn open(
        name: &str,
        umem: &Arc<Umem>,
        pool: &mut Pool,
        outgoing: Direction,
        seed: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let options = SteeringOptions {
            take_all: true,
            ..SteeringOptions::default()
        };
        let steering = Steering::attach(&Interface::read(name)?, options)?;
        let options = LinkOptions {
            fill: Some(1024),
            ..LinkOptions::default()
        };
        let link = XdpLink::open(umem, pool, &steering, 0, &options)?;
        // Each direction is impaired where it leaves, and only there.
        let settings = FaultSettings {
            incoming: Direction::default(),
            outgoing,
            seed,
        };
        Ok(Self {
            link: FaultLink::new(link, &settings),
            queue: VecDeque::with_capacity(MAX_WAITING + BURST),
        })
    }

    fn next_event(&self) -> Option<Instant> {
        self.link.next_event()
    }
}

fn run(a: &str, b: &str, faults: &str) -> Result<(), Box<dyn Error>> {
    let faults: FaultSettings = faults.parse()?;
    let (umem, mut pool) = Umem::new(&UmemOptions {
        chunks: 16_384,
        ..UmemOptions::default()
    })?;
    let umem = Arc::new(umem);
    let mut a = End::open(a, &umem, &mut pool, faults.incoming, !faults.seed)?;
    let mut b = End::open(b, &umem, &mut pool, faults.outgoing, faults.seed)?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    eprintln!("wire: ready");
    let start = std::time::Instant::now();
    let mut received = Vec::with_capacity(BURST);
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::ZERO + start.elapsed();
        let moved = forward(now, &mut pool, &mut a, &mut b, &mut received)
            + forward(now, &mut pool, &mut b, &mut a, &mut received);
        if moved > 0 {
            std::thread::sleep(PAUSE);
            continue;
        }
        a.link.health()?;
        b.link.health()?;
        let next = a.next_event().into_iter().chain(b.next_event()).min();
        let sleep = next.map_or(MAX_SLEEP, |at| at.since(now).clamp(PAUSE, MAX_SLEEP));
        let End { link, .. } = &mut a;
        link.wait(sleep, &[b.link.inner().as_fd()])?;
    }
    report("A to B", b.link.outgoing());
    report("B to A", a.link.outgoing());
    // When that is near the time that passed, the wire was the bottleneck.
    let busy = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    eprintln!(
        "wire: {:.1} s of processor time in {:.1} s",
        busy.tv_sec as f64 + busy.tv_nsec as f64 / 1e9,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Moves a burst from one interface to the other; answers how many frames.
fn forward(
    now: Instant,
    pool: &mut Pool,
    from: &mut End,
    to: &mut End,
    received: &mut Vec<Packet>,
) -> usize {
    if to.queue.len() < MAX_WAITING {
        from.link.receive(now, pool, received, BURST);
    }
    let moved = received.len();
    for mut packet in received.drain(..) {
        // Where every driver seen so far puts it.
        if packet.start() == usize::from(PACKET_START) {
            to.queue.push_back(pool.transmit(packet));
        } else {
            packet.truncate(0);
            pool.free(packet);
        }
    }
    to.link.transmit(now, pool, &mut to.queue);
    moved
}

fn report(direction: &str, counted: &FaultCounters) {
    eprintln!(
        "wire: {direction}: {} packets, {} lost, {} dropped by a full queue, {} duplicated, \
         {} reordered, {} corrupted",
        counted.packets,
        counted.lost,
        counted.overflowed,
        counted.duplicated,
        counted.reordered,
        counted.corrupted
    );
}
