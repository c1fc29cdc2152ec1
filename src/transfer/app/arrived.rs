//! Content on its way from a connection into blocks.

use super::Port;
use super::block::{FrameBlock, Runs};
use crate::transfer::Taken;

/// Bytes in the largest packet.
pub(super) const LARGEST: u64 = u16::MAX as u64;

/// What a chunk of received bytes came to.
#[derive(Default)]
pub(super) struct Sifted {
    /// Bytes that are dealt with.
    pub consumed: usize,
    /// Where among them content lies.
    pub runs: Runs,
    /// Offset of the first of it in its file.
    pub offset: u64,
}

/// Shows a chunk to a machine until it has taken all of it, or takes no more. The
/// content of one chunk must follow on itself.
pub(super) fn sift(chunk: &[u8], mut show: impl FnMut(&[u8]) -> Taken) -> Sifted {
    let mut sifted = Sifted::default();
    while let Some(rest) = chunk.get(sifted.consumed..).filter(|r| !r.is_empty()) {
        let at = sifted.consumed;
        let taken = show(rest);
        if !taken.data.is_empty() {
            if sifted.runs.is_empty() {
                sifted.offset = taken.offset;
            }
            let run = at + taken.data.start..at + taken.data.end;
            sifted.runs.push(run);
        }
        sifted.consumed += taken.consumed;
        if taken.consumed == 0 {
            break;
        }
    }
    sifted
}

/// Moves the content of the chunk that is next on a connection into `block`: as the
/// packet it came in, unless it is better copied.
pub(super) fn take<P: Port>(port: &mut P, flow: P::Flow, block: &mut FrameBlock, from: Sifted) {
    let whole = port
        .recv_chunk(flow)
        .is_some_and(|chunk| chunk.len() == from.consumed);
    if whole
        && !from.runs.is_chopped()
        && let Some(packet) = port.recv_take(flow)
    {
        block.push(packet, from.runs);
    } else if let Some(chunk) = port.recv_chunk(flow) {
        let copy = from.runs.copy(chunk);
        block.push_copy(copy);
        port.recv_consume(flow, from.consumed);
    }
}

/// Moves packets that have arrived into `block`, as long as they are sure to be
/// among the `plain` bytes of content that come next, and it is not full. Answers
/// how many bytes.
pub(super) fn take_plain<P: Port>(
    port: &mut P,
    flow: P::Flow,
    block: &mut FrameBlock,
    plain: u64,
) -> u64 {
    let mut left = plain;
    while left > LARGEST
        && !block.is_full()
        && let Some(packet) = port.recv_take(flow)
    {
        left -= block.push_whole(packet) as u64;
    }
    plain - left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes chunks of a digit that says how many bytes of content follow, up to a
    /// full stop.
    fn show(offset: &mut u64, bytes: &[u8]) -> Taken {
        let n = match bytes.first() {
            Some(digit @ b'0'..=b'9') => usize::from(digit - b'0'),
            _ => return Taken::none(0),
        };
        let at = *offset;
        *offset += n as u64;
        Taken {
            consumed: 1 + n,
            data: 1..1 + n,
            offset: at,
        }
    }

    #[test]
    fn content_is_found_wherever_it_lies() {
        let mut offset = 100;
        let chunk = b"03abc2de";
        let sifted = sift(chunk, |bytes| show(&mut offset, bytes));
        assert_eq!(sifted.consumed, chunk.len());
        assert_eq!(sifted.runs.copy(chunk), b"abcde");
        assert_eq!((sifted.offset, offset), (100, 105));
    }

    #[test]
    fn what_is_not_taken_stays() {
        let mut offset = 0;
        let chunk = b"1a.1b";
        let sifted = sift(chunk, |bytes| show(&mut offset, bytes));
        assert_eq!(sifted.consumed, 2);
        assert_eq!(sifted.runs.copy(chunk), b"a");
        let nothing = sift(b".", |bytes| show(&mut offset, bytes));
        assert!(nothing.runs.is_empty() && nothing.consumed == 0);
        assert_eq!(sift(b"", |_| panic!("nothing to show")).consumed, 0);
    }
}
