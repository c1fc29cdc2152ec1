//! The raw limit of a link: frames sent or received with no protocol at all,
//! which every throughput figure is to be read beside.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::frame::Pool;
use crate::link::Link;
use crate::time;

/// Frames handed over at once.
const BURST: usize = 64;
/// Bytes of each frame that are written anew: all headers.
const HEADERS: usize = 64;

/// What moved in a time.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Rate {
    /// Frames.
    pub frames: u64,
    /// Bytes, Ethernet header included, checksum (FCS) not.
    pub bytes: u64,
    /// From the first frame to the last, in seconds.
    pub seconds: f64,
}

impl Rate {
    /// Millions of frames a second.
    #[must_use]
    pub fn mpps(&self) -> f64 {
        per_second(self.frames as f64, self.seconds) / 1e6
    }

    /// Gigabits of frames a second.
    #[must_use]
    pub fn gbps(&self) -> f64 {
        per_second(self.bytes as f64 * 8.0, self.seconds) / 1e9
    }
}

fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

/// Sends copies of `frame` (whose payload may be anything) as fast as the link
/// takes them for `duration`, and waits for the last to complete.
///
/// # Errors
///
/// What [`Link::health`] says, asked now and then.
pub fn send(
    link: &mut impl Link,
    pool: &mut Pool,
    frame: &[u8],
    duration: Duration,
) -> io::Result<Rate> {
    let headers = &frame[..frame.len().min(HEADERS)];
    let room = pool.max_packet();
    let parts = frame.len().div_ceil(room).max(1);
    let (start, mut queue) = (Instant::now(), VecDeque::with_capacity(BURST));
    let mut rate = Rate::default();
    let mut turns = 0u64;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= duration {
            rate.seconds = elapsed.as_secs_f64();
            break;
        }
        while queue.len() < BURST && pool.available() >= parts {
            let mut left = frame.len();
            while let Some(mut packet) = pool.alloc() {
                let len = left.min(room);
                packet.set_range(packet.start() as u16, len as u16);
                if left == frame.len() {
                    pool.bytes_mut(&mut packet)[..headers.len()].copy_from_slice(headers);
                }
                left -= len;
                packet.set_continues(left > 0);
                queue.push_back(pool.transmit(packet));
                if left == 0 {
                    break;
                }
            }
        }
        let before = queue.len();
        link.transmit(time::Instant::ZERO + elapsed, pool, &mut queue);
        // A link takes frames as a whole.
        rate.frames += ((before - queue.len()) / parts) as u64;
        turns += 1;
        if turns.is_multiple_of(4096) {
            link.health()?;
        }
    }
    for desc in queue {
        pool.complete(desc);
    }
    rate.bytes = rate.frames * frame.len() as u64;
    Ok(rate)
}

/// Receives and drops whatever comes until `stop` says so, looking at the ring
/// every `pace` (which is kinder to the sender's cache than looking always).
///
/// # Errors
///
/// What [`Link::health`] says, asked now and then.
pub fn receive(
    link: &mut impl Link,
    pool: &mut Pool,
    pace: Duration,
    mut stop: impl FnMut() -> bool,
) -> io::Result<Rate> {
    let mut packets = Vec::with_capacity(256);
    let start = Instant::now();
    let (mut first, mut last) = (None, Duration::ZERO);
    let mut rate = Rate::default();
    let mut idle = 0u64;
    while !stop() {
        let now = start.elapsed();
        if link.receive(time::Instant::ZERO + now, pool, &mut packets, 256) == 0 {
            idle += 1;
            if idle.is_multiple_of(1 << 16) {
                link.health()?;
            }
        } else {
            first.get_or_insert(now);
            last = now;
        }
        for packet in packets.drain(..) {
            rate.frames += u64::from(!packet.continues());
            rate.bytes += packet.len() as u64;
            pool.free(packet);
        }
        let next = now + pace;
        while start.elapsed() < next {
            std::hint::spin_loop();
        }
    }
    rate.seconds = last.saturating_sub(first.unwrap_or(last)).as_secs_f64();
    Ok(rate)
}

/// Sends every frame that comes on `input` out of `output`, which must be of
/// the same pool, until `stop` says so, looking at the ring every `pace`. The
/// Ethernet addresses stay.
///
/// # Errors
///
/// What [`Link::health`] says, asked now and then.
pub fn forward(
    input: &mut impl Link,
    output: &mut impl Link,
    pool: &mut Pool,
    pace: Duration,
    mut stop: impl FnMut() -> bool,
) -> io::Result<Rate> {
    let mut packets = Vec::with_capacity(BURST);
    let mut queue = VecDeque::with_capacity(2 * BURST);
    let start = Instant::now();
    let (mut first, mut last) = (None, Duration::ZERO);
    let mut rate = Rate::default();
    let mut turns = 0u64;
    while !stop() {
        let elapsed = start.elapsed();
        let now = time::Instant::ZERO + elapsed;
        // What does not fit the ring waits, and so does the sender then.
        if queue.len() < BURST && input.receive(now, pool, &mut packets, BURST) > 0 {
            first.get_or_insert(elapsed);
            last = elapsed;
        }
        for packet in packets.drain(..) {
            rate.frames += u64::from(!packet.continues());
            rate.bytes += packet.len() as u64;
            queue.push_back(pool.transmit(packet));
        }
        output.transmit(now, pool, &mut queue);
        turns += 1;
        if turns.is_multiple_of(1 << 16) {
            input.health()?;
            output.health()?;
        }
        let next = elapsed + pace;
        while queue.is_empty() && start.elapsed() < next {
            std::hint::spin_loop();
        }
    }
    for desc in queue {
        pool.complete(desc);
    }
    rate.seconds = last.saturating_sub(first.unwrap_or(last)).as_secs_f64();
    Ok(rate)
}
