//! Both ends of one connection in one thread, joined by a wire in memory.
//!
//! Every stack gets the same work: the sending program copies a block into
//! its socket again and again, the receiving one copies what comes out of its
//! socket into memory of its own, IPv4 and TCP checksums are computed and
//! verified in software at both ends, and the wire copies each frame once from
//! the sender's memory into the receiver's, as the kernel does for AF_XDP in
//! copy mode. Time is virtual and moves by [`ROUND`] with each round of turns,
//! so that a run is the same sequence of instructions each time.

mod floor;
mod fullbore_pair;
mod messages;
mod smoltcp_pair;
mod wire;

use std::time::Duration;

use clap::ValueEnum;
use fullbore::engine::Transport;
use rustix::time::{ClockId, clock_gettime};

pub use floor::FloorPair;
pub use fullbore_pair::FullborePair;
pub use messages::Messages;
pub use smoltcp_pair::SmoltcpPair;
pub use wire::Wire;

/// Virtual time that a turn of both ends takes.
pub const ROUND: Duration = Duration::from_micros(10);
/// Bytes that the programs give to, and take from, a socket at once.
pub const BLOCK: usize = 64 << 10;

/// What is the same for all stacks.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Send and receive buffers, in bytes.
    pub buffer: u32,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Whether segments carry timestamps (RFC 7323), which take 12 bytes of
    /// payload.
    pub timestamps: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            buffer: 256 << 10,
            mtu: 1500,
            timestamps: false,
        }
    }
}

impl Settings {
    /// Payload of a full segment, in bytes.
    #[must_use]
    pub fn segment(&self) -> u64 {
        u64::from(self.mtu) - if self.timestamps { 52 } else { 40 }
    }
}

/// Both ends of an established connection.
pub trait Pair {
    /// Turns both ends until the receiving program has read `bytes` more.
    ///
    /// # Errors
    /// When the connection breaks, stands still, or delivers wrong bytes.
    fn transfer(&mut self, bytes: u64) -> Result<(), String>;

    /// Whether the receiving program compares what it reads with what was
    /// sent. It does at first.
    fn set_verify(&mut self, verify: bool);

    /// Data segments that arrived so far, as far as the stack tells.
    fn segments(&self) -> Option<u64> {
        None
    }
}

/// The stacks to choose from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Stack {
    /// Two engines, and the wire that copies once.
    Fullbore,
    /// The same with uTP: as many bytes in packets that carry 8 fewer.
    FullboreUtp,
    /// Two engines over the library's memory link, which is made for ends in
    /// different threads: two copies and two queues.
    FullboreLink,
    /// Two smoltcp interfaces, and a wire that copies once.
    Smoltcp,
    /// Two smoltcp interfaces that hand over their buffers: no wire exists
    /// that does this between two memories.
    SmoltcpHandOver,
    /// Copies and sums without a protocol.
    Floor,
}

impl Stack {
    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fullbore => "fullbore",
            Self::FullboreUtp => "fullbore-utp",
            Self::FullboreLink => "fullbore-link",
            Self::Smoltcp => "smoltcp",
            Self::SmoltcpHandOver => "smoltcp-hand-over",
            Self::Floor => "floor",
        }
    }

    /// A pair of ends with an established connection.
    ///
    /// # Errors
    /// When that fails.
    pub fn connect(self, settings: &Settings) -> Result<Box<dyn Pair>, String> {
        Ok(match self {
            Self::Fullbore => Box::new(fullbore_pair::over_wire(settings, Transport::Tcp)?),
            Self::FullboreUtp => Box::new(fullbore_pair::over_wire(settings, Transport::Utp)?),
            Self::FullboreLink => Box::new(fullbore_pair::over_memory_link(settings)?),
            Self::Smoltcp => Box::new(SmoltcpPair::new(settings, true)?),
            Self::SmoltcpHandOver => Box::new(SmoltcpPair::new(settings, false)?),
            Self::Floor => Box::new(FloorPair::new(settings)),
        })
    }
}

/// What a full segment costs both ends together, in nanoseconds of this
/// thread's processor time, on a fresh connection after `warm_up` segments.
///
/// # Errors
/// When the connection breaks.
pub fn cost(stack: Stack, settings: &Settings, warm_up: u64, segments: u64) -> Result<f64, String> {
    let mut pair = stack.connect(settings)?;
    pair.transfer(warm_up * settings.segment())?;
    pair.set_verify(false);
    let begin = processor_time();
    pair.transfer(segments * settings.segment())?;
    Ok((processor_time() - begin) / segments as f64)
}

/// Processor time of this thread in nanoseconds: on a machine that does other
/// things as well it says more than the time of day.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The sending program's position in an endless repetition of one block.
struct Source {
    block: Vec<u8>,
    at: usize,
}

impl Source {
    fn new() -> Self {
        Self {
            block: block(),
            at: 0,
        }
    }

    /// Gives the stack what it takes. `send` answers how much that was.
    fn pump(&mut self, mut send: impl FnMut(&[u8]) -> usize) {
        loop {
            let part = &self.block[self.at..];
            let wanted = part.len();
            let taken = send(part);
            self.at = (self.at + taken) % self.block.len();
            if taken < wanted {
                return;
            }
        }
    }
}

/// The receiving program.
struct Sink {
    into: Vec<u8>,
    read: u64,
    verify: Option<Vec<u8>>,
    wrong: bool,
}

impl Sink {
    fn new() -> Self {
        Self {
            into: vec![0; BLOCK],
            read: 0,
            verify: Some(block()),
            wrong: false,
        }
    }

    /// Where to copy to.
    fn buffer(&mut self) -> &mut [u8] {
        &mut self.into
    }

    /// `n` bytes have been copied into the buffer.
    fn took(&mut self, n: usize) {
        if let Some(block) = &self.verify {
            let at = (self.read % BLOCK as u64) as usize;
            let first = n.min(BLOCK - at);
            self.wrong |= self.into[..first] != block[at..at + first];
            self.wrong |= self.into[first..n] != block[..n - first];
        }
        self.read += n as u64;
    }

    fn set_verify(&mut self, verify: bool) {
        self.verify = verify.then(block);
    }

    fn check(&self) -> Result<(), String> {
        if self.wrong {
            return Err("the bytes that arrived are not those that were sent".to_owned());
        }
        Ok(())
    }
}

/// What is sent: 64 KiB without a period that could hide a misplaced segment.
fn block() -> Vec<u8> {
    (0..BLOCK as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_moves_every_byte() {
        for stack in Stack::value_variants() {
            for timestamps in [false, true] {
                let settings = Settings {
                    timestamps,
                    ..Settings::default()
                };
                let mut pair = stack.connect(&settings).unwrap();
                let bytes = 2000 * settings.segment();
                pair.transfer(bytes).unwrap();
                let first = pair.segments();
                pair.transfer(bytes).unwrap();
                if let (Some(first), Some(then)) = (first, pair.segments()) {
                    let segments = then - first;
                    assert!(
                        (1950..=2050).contains(&segments),
                        "{segments} segments of {} bytes",
                        settings.segment()
                    );
                }
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_noticed() {
        let mut sink = Sink::new();
        let bytes = block();
        sink.buffer().copy_from_slice(&bytes);
        sink.took(BLOCK - 10);
        sink.buffer()[..10].copy_from_slice(&bytes[BLOCK - 10..]);
        sink.buffer()[10..20].copy_from_slice(&bytes[..10]);
        sink.took(20);
        assert!(sink.check().is_ok());
        sink.buffer()[..10].copy_from_slice(&bytes[11..21]);
        sink.took(10);
        assert!(sink.check().is_err());
    }
}
