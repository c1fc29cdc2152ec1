//! What no stack can do without: the copies and sums alone.

use fullbore::wire::checksum::{Sum, copy_and_sum};

use super::{Pair, Settings, Sink, Source};

/// Segments in a round: so few that their memory stays in a first-level cache of
/// 48 KiB. With 64 of them it takes 1.4 times as long.
const BATCH: usize = 8;
/// Bytes of headers before the payload: Ethernet, IPv4, TCP.
const HEADERS: usize = 14 + 20 + 20;
/// Memory of a frame.
const CHUNK: usize = 2048;

/// Memory of two ends, with no protocol between them: the sending program's
/// bytes are copied and summed in one pass, the wire copies the frame, the
/// receiver sums what came and the receiving program copies it.
pub struct FloorPair {
    source: Source,
    sink: Sink,
    payload: usize,
    near: Vec<u8>,
    far: Vec<u8>,
    sums: [Sum; BATCH],
    segments: u64,
}

impl FloorPair {
    /// Two ends.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            source: Source::new(),
            sink: Sink::new(),
            payload: settings.segment() as usize,
            near: vec![0; BATCH * CHUNK],
            far: vec![0; BATCH * CHUNK],
            sums: [Sum::ZERO; BATCH],
            segments: 0,
        }
    }

    fn round(&mut self) -> Result<(), String> {
        let (end, payload) = (HEADERS + self.payload, HEADERS..HEADERS + self.payload);
        for (frame, sum) in self.near.chunks_exact_mut(CHUNK).zip(&mut self.sums) {
            let into = &mut frame[payload.clone()];
            let mut at = 0;
            *sum = Sum::ZERO;
            // In two parts where the program's block ends within the segment.
            self.source.pump(|bytes| {
                let n = bytes.len().min(into.len() - at);
                let part = copy_and_sum(&mut into[at..at + n], &bytes[..n]);
                *sum = match at % 2 {
                    0 => sum.add(part),
                    _ => sum.add_odd(part),
                };
                at += n;
                n
            });
        }
        for (from, to) in self
            .near
            .chunks_exact(CHUNK)
            .zip(self.far.chunks_exact_mut(CHUNK))
        {
            to[..end].copy_from_slice(&from[..end]);
        }
        for (frame, sum) in self.far.chunks_exact(CHUNK).zip(&self.sums) {
            let payload = &frame[payload.clone()];
            if Sum::of(payload).add(Sum::word(!sum.get())).finish() != 0 {
                return Err("a sum is wrong".to_owned());
            }
            self.sink.buffer()[..payload.len()].copy_from_slice(payload);
            self.sink.took(payload.len());
        }
        self.segments += BATCH as u64;
        self.sink.check()
    }
}

impl Pair for FloorPair {
    fn transfer(&mut self, bytes: u64) -> Result<(), String> {
        let end = self.sink.read + bytes;
        while self.sink.read < end {
            self.round()?;
        }
        Ok(())
    }

    fn set_verify(&mut self, verify: bool) {
        self.sink.set_verify(verify);
    }

    fn segments(&self) -> Option<u64> {
        Some(self.segments)
    }
}
