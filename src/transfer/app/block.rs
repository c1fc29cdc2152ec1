//! Blocks made of frames.

use std::ops::Range;
use std::sync::Arc;

use super::Port;
use crate::frame::{Packet, Region};
use crate::transfer::disk::Block;
use crate::wire::checksum::{Sum, copy_and_sum};

/// Frames in one block to be sent: about 90 KiB of content at an MTU of 1500, so
/// that it is in the cache when it leaves.
pub const FRAMES: usize = 64;

/// Frames of which a block that has arrived is full: about 250 KiB, so that a disk
/// thread that has too much to do is called four thousand times a second at 10
/// Gbit/s.
pub const FULL: usize = 180;

/// Blocks that keep a disk busy: while it has as many of a connection, the next
/// waits until it is full. Without that a disk slower than the network would be
/// given ever more blocks of a few frames each, more than its queue takes.
pub const AHEAD: u32 = 2;

/// Runs of content in one frame; a frame that a peer chopped into more is
/// copied out.
const MAX_RUNS: usize = 8;

/// Runs of content in what arrived. Most frames have one, which takes no memory
/// of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    first: Range<usize>,
    more: Vec<Range<usize>>,
}

impl Runs {
    /// Adds a run behind the others; an empty one is none.
    pub fn push(&mut self, run: Range<usize>) {
        if self.first.is_empty() {
            self.first = run;
        } else if !run.is_empty() {
            self.more.push(run);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Bytes in all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.iter().map(Range::len).sum()
    }

    /// Whether there are so many in one frame that it is better copied.
    #[must_use]
    pub const fn is_chopped(&self) -> bool {
        self.more.len() >= MAX_RUNS
    }

    fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        let first = Some(&self.first).filter(|run| !run.is_empty());
        first.into_iter().chain(&self.more)
    }

    /// A copy of them out of `bytes`.
    #[must_use]
    pub fn copy(&self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.bytes());
        for run in self.iter() {
            copy.extend_from_slice(bytes.get(run.clone()).unwrap_or_default());
        }
        copy
    }
}

enum Piece {
    /// All of the packet's range is content.
    Whole(Packet),
    /// Content lies in these runs of the packet's range.
    Frame(Packet, Runs),
    /// Content of a frame that could not be taken.
    Copy(Vec<u8>),
}

/// Frames to be filled from a file, or with content for one.
pub struct FrameBlock {
    region: Arc<Region>,
    packets: Vec<Packet>,
    sums: Vec<Sum>,
    pieces: Vec<Piece>,
    content: usize,
    window: usize,
}

impl FrameBlock {
    /// A block of packets to be filled, each up to its present range.
    #[must_use]
    pub const fn to_send(region: Arc<Region>, packets: Vec<Packet>) -> Self {
        Self {
            region,
            packets,
            sums: Vec::new(),
            pieces: Vec::new(),
            content: 0,
            window: 0,
        }
    }

    /// An empty block for content that has arrived.
    #[must_use]
    pub fn received(region: Arc<Region>) -> Self {
        let mut block = Self::to_send(region, Vec::new());
        block.pieces.reserve(FULL);
        block
    }

    /// Adds a packet with content in some runs of its range.
    pub fn push(&mut self, packet: Packet, runs: Runs) {
        self.window += packet.len();
        self.content += runs.bytes();
        self.pieces.push(Piece::Frame(packet, runs));
    }

    /// Adds a packet of content. Answers how much it is.
    pub fn push_whole(&mut self, packet: Packet) -> usize {
        let len = packet.len();
        self.window += len;
        self.content += len;
        self.pieces.push(Piece::Whole(packet));
        len
    }

    /// Adds a copy of content.
    pub fn push_copy(&mut self, content: Vec<u8>) {
        self.content += content.len();
        self.pieces.push(Piece::Copy(content));
    }

    /// Whether the block should be written before more is added.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.pieces.len() >= FULL
    }

    /// Bytes of content, whether filled or received.
    #[must_use]
    pub const fn content(&self) -> usize {
        self.content
    }

    /// Bytes that count against the receive window while the block exists.
    #[must_use]
    pub const fn window(&self) -> usize {
        self.window
    }

    /// The filled packets with their sums, then those that stayed empty.
    pub fn into_filled(self) -> impl Iterator<Item = (Packet, Option<Sum>)> {
        let mut sums = self.sums.into_iter();
        self.packets
            .into_iter()
            .map(move |packet| (packet, sums.next()))
    }

    /// All packets, to be freed.
    pub fn into_packets(self) -> impl Iterator<Item = Packet> {
        let pieces = self.pieces.into_iter().filter_map(|piece| match piece {
            Piece::Whole(packet) | Piece::Frame(packet, _) => Some(packet),
            Piece::Copy(_) => None,
        });
        self.packets.into_iter().chain(pieces)
    }
}

impl Block for FrameBlock {
    fn fill(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        self.sums.clear();
        self.sums.reserve(self.packets.len());
        self.content = 0;
        for packet in &mut self.packets {
            packet.truncate(rest.len());
            if packet.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(packet.len());
            let sum = copy_and_sum(self.region.bytes_mut(packet), now);
            self.sums.push(sum);
            self.content += now.len();
            rest = later;
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| {
            let (bytes, runs, whole): (&[u8], _, &[u8]) = match piece {
                Piece::Whole(packet) => (&[], None, self.region.bytes(packet)),
                Piece::Frame(packet, runs) => (self.region.bytes(packet), Some(runs), &[]),
                Piece::Copy(copy) => (&[], None, copy),
            };
            let runs = runs.into_iter().flat_map(Runs::iter);
            let runs = runs.filter_map(move |run| bytes.get(run.clone()));
            runs.chain(Some(whole).filter(|whole| !whole.is_empty()))
        })
    }
}

/// Frames for `want` bytes of content, [`FRAMES`] at most, and how many bytes
/// fit; `ahead` bytes of the connection are in blocks already. `None` when it
/// is better to wait: for those, or until the application is told of room.
pub(super) fn prepare<P: Port>(
    port: &mut P,
    flow: P::Flow,
    want: usize,
    ahead: usize,
) -> Option<(FrameBlock, usize)> {
    // The room is for what the connection can send soon. Blocks that are on
    // their way will take it; when they are there this is asked again.
    if ahead > 0 && ahead >= port.send_room(flow) {
        return None;
    }
    let mut packets = Vec::with_capacity(FRAMES);
    let mut room = 0;
    let mut short = false;
    while room < want && packets.len() < FRAMES {
        let Some(packet) = port.prepare(flow) else {
            short = true;
            break;
        };
        room += packet.len();
        packets.push(packet);
    }
    let block = FrameBlock::to_send(port.region().clone(), packets);
    // A small block costs a disk thread as much as a large one.
    if room == 0 || (short && ahead > 0 && block.packets.len() < FRAMES / 4) {
        give_back(port, block);
        return None;
    }
    Some((block, room.min(want)))
}

/// Sends the filled frames of a block.
pub(super) fn send<P: Port>(port: &mut P, flow: P::Flow, block: FrameBlock) {
    for (packet, sum) in block.into_filled() {
        let rest = match sum {
            Some(sum) => port.send_packet(flow, packet, sum).err(),
            None => Some(packet),
        };
        if let Some(packet) = rest {
            port.free(packet);
        }
    }
}

/// Frees the frames of a block.
pub(super) fn give_back<P: Port>(port: &mut P, block: FrameBlock) {
    for packet in block.into_packets() {
        port.free(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pool;

    fn packets(pool: &mut Pool, n: usize) -> Vec<Packet> {
        (0..n)
            .map(|_| {
                let mut packet = pool.alloc().expect("a free frame");
                packet.set_range(300, 100);
                packet
            })
            .collect()
    }

    #[test]
    fn filled_packets_carry_their_sums() {
        let mut pool = Pool::new(Region::anonymous(8, 2048));
        let packets = packets(&mut pool, 4);
        let mut block = FrameBlock::to_send(pool.region().clone(), packets);
        let content: Vec<u8> = (0..250).map(|i| i as u8).collect();
        block.fill(&content);
        assert_eq!(block.content(), 250);
        let mut got = Vec::new();
        for (packet, sum) in block.into_filled() {
            assert_eq!(
                sum,
                (!packet.is_empty()).then(|| Sum::of(pool.bytes(&packet)))
            );
            got.extend_from_slice(pool.bytes(&packet));
            pool.free(packet);
        }
        assert_eq!(got, content);
        assert_eq!(pool.ledger().outstanding(), 0);
    }

    #[test]
    fn short_reads_leave_empty_packets() {
        let mut pool = Pool::new(Region::anonymous(8, 2048));
        let packets = packets(&mut pool, 3);
        let mut block = FrameBlock::to_send(pool.region().clone(), packets);
        block.fill(&[1; 100]);
        let lengths: Vec<_> = block
            .into_filled()
            .map(|(packet, sum)| {
                let len = packet.len();
                pool.free(packet);
                (len, sum.is_some())
            })
            .collect();
        // The last one keeps a range nobody filled, and has no sum.
        assert_eq!(lengths.iter().filter(|l| l.1).count(), 1);
        assert_eq!(lengths[0].0, 100);
    }

    #[test]
    fn received_content_in_runs() {
        let mut pool = Pool::new(Region::anonymous(8, 2048));
        let mut packet = packets(&mut pool, 1).remove(0);
        pool.bytes_mut(&mut packet)
            .copy_from_slice(&[b"3\r\nabc\r\n2\r\nde".to_vec(), vec![0; 87]].concat());
        let mut block = FrameBlock::received(pool.region().clone());
        let mut runs = Runs::default();
        assert!(runs.is_empty());
        for run in [3..3, 3..6, 7..7, 11..13] {
            runs.push(run);
        }
        assert_eq!((runs.bytes(), runs.is_empty()), (5, false));
        assert_eq!(runs.copy(pool.bytes(&packet)), b"abcde");
        assert!(!runs.is_chopped());
        block.push(packet, runs);
        block.push_copy(b"fg".to_vec());
        let mut whole = pool.alloc().expect("a free frame");
        whole.set_range(300, 2);
        pool.bytes_mut(&mut whole).copy_from_slice(b"hi");
        assert_eq!(block.push_whole(whole), 2);
        assert_eq!((block.content(), block.window()), (9, 102));
        let written: Vec<u8> = block.pieces().flatten().copied().collect();
        assert_eq!(written, b"abcdefghi");
        for packet in block.into_packets() {
            pool.free(packet);
        }
        assert_eq!(pool.ledger().outstanding(), 0);
    }
}
