//! `fullbore bench ceiling`: what a transport without a protocol would reach.
//!
//! A source with a window of frames, and a sink that answers every so many of
//! them with one cumulative acknowledgement, over the same rings as TCP. Each
//! frame is copied and summed once at each end, unless asked not to. Whatever
//! a transport costs, it costs beyond this.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::args::CeilingArgs;
use super::ends::{End, Ends, pin};
use super::live::Live;
use super::report::Report;
use crate::cli::failure::{Exit, Failure};
use crate::frame::{PACKET_START, Pool};
use crate::link::Link;
use crate::time;
use crate::wire::checksum::{Sum, copy_and_sum};
use crate::xdp::{Interface, Steering, Umem, XdpLink};

/// An EtherType for local experiments (IEEE 802): nobody answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb6];
/// Ethernet header, then what TCP and IPv4 would take. The number of the
/// frame, or of the last one received, lies behind the Ethernet header.
const HEADERS: usize = 14 + 20 + 32;
const NUMBER: std::ops::Range<usize> = 14..22;
const BURST: usize = 64;
/// How often the sink looks at its ring.
const PACE: Duration = Duration::from_micros(5);
/// When no acknowledgement has come for so long, frames were lost.
const STALL: Duration = Duration::from_millis(20);
/// Memory that payload is copied from and to: about what a cache holds.
const BUFFER: usize = 64 << 10;

struct Sent {
    frames: u64,
    seconds: f64,
    stalls: u64,
}

fn open(ends: &Ends, end: End) -> Result<(XdpLink, Pool), Failure> {
    let interface = Interface::read(ends.name(end))?;
    let steering = Steering::attach(&interface, ends.steering(true))?;
    let (umem, mut pool) = Umem::new(&ends.umem())?;
    let link = XdpLink::open(
        &std::sync::Arc::new(umem),
        &mut pool,
        &steering,
        0,
        &ends.link(),
    )?;
    Ok((link, pool))
}

fn header(number: u64) -> [u8; HEADERS] {
    let mut header = [0; HEADERS];
    header[..6].fill(0xff);
    header[12..14].copy_from_slice(&ETHERTYPE);
    header[NUMBER].copy_from_slice(&number.to_be_bytes());
    header
}

/// The number in a frame of ours.
fn number(bytes: &[u8]) -> Option<u64> {
    let number = bytes.get(NUMBER)?.try_into().ok()?;
    (bytes[12..14] == ETHERTYPE).then(|| u64::from_be_bytes(number))
}

/// What is copied where, and what comes of the sums: so that they are made.
struct Buffer {
    bytes: Vec<u8>,
    at: usize,
    sum: Sum,
}

impl Buffer {
    fn new() -> Self {
        Self {
            bytes: (0..BUFFER).map(|n| n as u8).collect(),
            at: 0,
            sum: Sum::ZERO,
        }
    }

    fn next(&mut self, len: usize) -> std::ops::Range<usize> {
        if self.at + len > self.bytes.len() {
            self.at = 0;
        }
        let range = self.at..self.at + len;
        self.at = range.end;
        range
    }
}

/// Frames from the source, until the time is over.
fn source(
    link: &mut impl Link,
    pool: &mut Pool,
    args: &CeilingArgs,
    payload: usize,
) -> std::io::Result<Sent> {
    let mut buffer = Buffer::new();
    let mut queue = VecDeque::with_capacity(BURST);
    let mut acks = Vec::with_capacity(BURST);
    let (mut una, mut nxt, mut stalls, mut frames) = (0u64, 0u64, 0, 0);
    let start = Instant::now();
    let mut heard = Duration::ZERO;
    let mut turns = 0u64;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= args.duration.get() {
            break;
        }
        let now = time::Instant::ZERO + elapsed;
        link.receive(now, pool, &mut acks, BURST);
        for ack in acks.drain(..) {
            if let Some(upto) = number(pool.bytes(&ack))
                && upto > una
                && upto <= nxt
            {
                frames += upto - una;
                una = upto;
                heard = elapsed;
            }
            pool.free(ack);
        }
        if elapsed - heard > STALL {
            // What was on the way is lost, and does not count.
            stalls += 1;
            una = nxt;
            heard = elapsed;
        }
        let room = pool.max_packet();
        let parts = (HEADERS + payload).div_ceil(room);
        while queue.len() < BURST && nxt - una < args.window.get() && pool.available() >= parts {
            nxt += 1;
            let (mut left, mut at) = (HEADERS + payload, HEADERS);
            while let Some(mut packet) = pool.alloc() {
                let len = left.min(room);
                left -= len;
                packet.set_range(PACKET_START, len as u16);
                packet.set_continues(left > 0);
                let bytes = pool.bytes_mut(&mut packet);
                if at > 0 {
                    bytes[..at].copy_from_slice(&header(nxt));
                }
                if !args.no_copy {
                    let range = buffer.next(len - at);
                    let sum = copy_and_sum(&mut bytes[at..], &buffer.bytes[range]);
                    buffer.sum = buffer.sum.add(sum);
                }
                queue.push_back(pool.transmit(packet));
                if left == 0 {
                    break;
                }
                at = 0;
            }
        }
        link.transmit(now, pool, &mut queue);
        turns += 1;
        if turns.is_multiple_of(1 << 16) {
            link.health()?;
        }
    }
    for desc in queue {
        pool.complete(desc);
    }
    std::hint::black_box(buffer.sum.finish());
    Ok(Sent {
        frames,
        seconds: start.elapsed().as_secs_f64(),
        stalls,
    })
}

/// Takes frames and acknowledges them until told to stop.
fn sink(
    link: &mut impl Link,
    pool: &mut Pool,
    args: &CeilingArgs,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = Buffer::new();
    let mut packets = Vec::with_capacity(256);
    let mut queue = VecDeque::with_capacity(BURST);
    let (mut last, mut acked) = (0u64, 0u64);
    let (mut in_frame, mut ours) = (false, None);
    let start = Instant::now();
    let mut idle = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let elapsed = start.elapsed();
        let now = time::Instant::ZERO + elapsed;
        let received = link.receive(now, pool, &mut packets, 256);
        for packet in packets.drain(..) {
            let bytes = pool.bytes(&packet);
            let at = if in_frame { 0 } else { HEADERS };
            if !in_frame {
                ours = number(bytes);
                last = last.max(ours.unwrap_or(0));
            }
            if ours.is_some() && !args.no_copy && bytes.len() > at {
                let range = buffer.next(bytes.len() - at);
                let sum = copy_and_sum(&mut buffer.bytes[range], &bytes[at..]);
                buffer.sum = buffer.sum.add(sum);
            }
            in_frame = packet.continues();
            pool.free(packet);
        }
        // The rest of a burst is answered when nothing more comes.
        let due = last - acked >= args.ack_every.get() || (received == 0 && last > acked);
        if due
            && queue.is_empty()
            && let Some(mut packet) = pool.alloc()
        {
            packet.set_range(PACKET_START, HEADERS as u16);
            pool.bytes_mut(&mut packet).copy_from_slice(&header(last));
            queue.push_back(pool.transmit(packet));
            acked = last;
        }
        link.transmit(now, pool, &mut queue);
        if received == 0 {
            idle += 1;
            if idle.is_multiple_of(1 << 16) {
                link.health()?;
            }
        }
        while start.elapsed() < elapsed + PACE {
            std::hint::spin_loop();
        }
    }
    for desc in queue {
        pool.complete(desc);
    }
    std::hint::black_box(buffer.sum.finish());
    Ok(())
}

/// `fullbore bench ceiling`.
pub fn ceiling(args: &CeilingArgs) -> Result<(), Failure> {
    let ends = Ends::new(&args.ends, 1)?;
    // Before this thread is pinned, which hides the other cores.
    let mut report = Report::new("bench ceiling", super::report::Conditions::of_machine());
    let payload = args.ends.mtu.get() as usize + 14 - HEADERS;
    let stop = AtomicBool::new(false);
    let failed = |name: &str, e: &dyn std::fmt::Display| {
        Failure::new(Exit::Interface, format!("{name}: {e}"))
    };
    let live = Live::new(&args.output);
    live.show("measuring");
    let sent = std::thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let receiver = scope.spawn(|| {
            // Given up when this thread ends, whatever it ends with.
            let ready = ready;
            ends.within(End::Server, || {
                pin(ends.core(End::Server));
                let (mut link, mut pool) = open(&ends, End::Server)?;
                let _ = ready.send(());
                let done = sink(&mut link, &mut pool, args, &stop);
                link.close(&mut pool);
                done.map_err(|e| failed(ends.name(End::Server), &e))
            })
        });
        let sent = is_ready.recv().ok().map(|()| {
            pin(ends.core(End::Client));
            let (mut link, mut pool) = open(&ends, End::Client)?;
            let sent = source(&mut link, &mut pool, args, payload);
            link.drain(&mut pool, Duration::from_secs(1));
            link.close(&mut pool);
            sent.map_err(|e| failed(ends.name(End::Client), &e))
        });
        stop.store(true, Ordering::Relaxed);
        let received = receiver.join();
        received
            .map_err(|_| Failure::new(Exit::Failed, "the sink panicked, a defect of fullbore"))??;
        sent.unwrap_or_else(|| Err(Failure::new(Exit::Failed, "the sink ended early")))
    })?;
    live.clear();
    let work = if args.no_copy {
        "neither copied nor summed"
    } else {
        "copied and summed at both ends"
    };
    report
        .conditions
        .add("payload", format!("{payload} bytes a frame, {work}"));
    report
        .conditions
        .add("MTU", format!("{} bytes", args.ends.mtu.get()));
    report.conditions.add(
        "window",
        format!(
            "{} frames, an acknowledgement every {}",
            args.window.get(),
            args.ack_every.get()
        ),
    );
    let bits = sent.frames as f64 * payload as f64 * 8.0;
    report.figure("payload", bits / sent.seconds / 1e9, "Gbit/s");
    report.figure("frames", sent.frames as f64 / sent.seconds / 1e6, "Mpps");
    report.figure("times that frames were lost", sent.stalls as f64, "");
    report.give(&args.output)
}
