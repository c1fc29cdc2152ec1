//! How many bytes an application may queue to be sent, and how they come into
//! the frames that they are sent from.

use super::payload::Payload;
use super::reserve;
use crate::frame::{Packet, Pool};
use crate::wire::checksum::{Sum, copy_and_sum};

/// The send buffer never limits below this, in bytes.
pub const MIN_LIMIT: u32 = 128 << 10;
/// Segments of room that are worth telling an application of that was refused
/// some.
const WORTH: usize = 16;

/// What bounds the bytes that may be queued: the send buffer, but no more than
/// the congestion window can use, and of those that have not been sent no more
/// than some, so that frames stay few and warm.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that may be queued, sent or not.
    pub limit: u32,
    /// Bytes that are.
    pub queued: u32,
    /// Bytes that may be queued and have not been sent once.
    pub unsent_limit: u32,
    /// Bytes of which that is so.
    pub unsent: u32,
    /// Payload of a full packet.
    pub mss: u16,
}

impl Room {
    /// Bytes that may be queued now.
    #[inline]
    pub fn left(&self) -> usize {
        let limit = self.limit.saturating_sub(self.queued);
        limit.min(self.unsent_limit.max(1).saturating_sub(self.unsent)) as usize
    }

    /// How many of `len` bytes may be queued now. Where there would be room for
    /// more but for what has not been sent, whole packets: who sends at once
    /// would else send the part of one each time.
    #[inline]
    pub fn takes(&self, len: usize) -> usize {
        let room = self.left();
        let mss = usize::from(self.mss);
        let unsent_limits = self.queued as usize + room < self.limit as usize;
        if len <= room || !unsent_limits {
            return len.min(room);
        }
        let tail = self.unsent as usize % mss;
        if tail + room < mss {
            return room;
        }
        room - (tail + room) % mss
    }

    /// Whether there is so much that an application which was refused some is to
    /// be told: a good part of the buffer, however small that is.
    #[inline]
    pub fn is_worth_telling(&self) -> bool {
        let most = self.limit.min(self.unsent_limit) as usize;
        let enough = (usize::from(self.mss) * WORTH).min(most / 2);
        self.left() >= enough.max(1)
    }
}

/// Packets to be sent, of one connection.
pub trait Outbox {
    /// The last packet, if it has payload, has not been sent, and may have more;
    /// and how much it may have in all.
    fn open_tail(&mut self) -> Option<(Payload<'_>, u16)>;

    /// So many bytes more are in that.
    fn extended(&mut self, bytes: u16);

    /// Queues a packet. Its range is that of its payload, and `sum` the sum over
    /// that.
    fn push(&mut self, packet: Packet, sum: Sum, pool: &mut Pool);
}

/// A frame whose range is room for the payload of one full packet, which begins
/// `start` bytes into it. `None` while frames are short.
#[inline]
pub fn payload_frame(start: u16, mss: u16, pool: &mut Pool) -> Option<Packet> {
    let mut packet = pool.alloc_above(reserve(pool))?;
    packet.set_range(start, mss);
    Some(packet)
}

/// Queues `data`, copying it into frames whose payload begins at `start`, and
/// summing it on the way. Answers how many bytes there were frames for.
#[inline]
pub fn write(
    outbox: &mut impl Outbox,
    data: &[u8],
    (start, mss): (u16, u16),
    pool: &mut Pool,
) -> usize {
    let mut left = data;
    if let Some((mut payload, most)) = outbox.open_tail() {
        let n = payload.append(data, most, pool);
        outbox.extended(n);
        left = &data[usize::from(n)..];
    }
    while !left.is_empty() {
        let Some(mut packet) = payload_frame(start, mss, pool) else {
            break;
        };
        let n = left.len().min(packet.len());
        packet.truncate(n);
        let sum = copy_and_sum(pool.bytes_mut(&mut packet), &left[..n]);
        pool.count_copy(n);
        outbox.push(packet, sum, pool);
        left = &left[n..];
    }
    data.len() - left.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Room = Room {
        limit: 10_000,
        queued: 10_000,
        unsent_limit: 4_000,
        unsent: 0,
        mss: 1_000,
    };

    #[test]
    fn the_buffer_takes_what_fits_and_the_unsent_whole_packets() {
        assert_eq!((FULL.left(), FULL.takes(5)), (0, 0));
        let by_buffer = Room {
            queued: 8_500,
            ..FULL
        };
        assert_eq!((by_buffer.left(), by_buffer.takes(9_000)), (1_500, 1_500));
        assert_eq!(by_buffer.takes(7), 7);
        let by_unsent = Room {
            queued: 1_300,
            unsent: 300,
            ..FULL
        };
        assert_eq!(by_unsent.left(), 3_700);
        assert_eq!(by_unsent.takes(9_000), 3_700, "ends with a packet");
        let by_unsent = Room {
            queued: 1_300,
            unsent: 400,
            unsent_limit: 3_900,
            ..FULL
        };
        assert_eq!(by_unsent.takes(9_000), 2_600, "3,000 with what is there");
        assert_eq!(by_unsent.takes(3_500), 3_500, "all of it");
        let little = Room {
            unsent_limit: 700,
            ..by_unsent
        };
        assert_eq!(little.takes(9_000), 300, "less than a packet");
        assert_eq!(
            Room {
                unsent_limit: 0,
                unsent: 0,
                queued: 0,
                ..FULL
            }
            .left(),
            1
        );
    }

    #[test]
    fn a_good_part_of_the_buffer_is_worth_telling() {
        assert!(!FULL.is_worth_telling());
        assert!(
            !Room {
                queued: 8_001,
                ..FULL
            }
            .is_worth_telling()
        );
        assert!(
            Room {
                queued: 8_000,
                ..FULL
            }
            .is_worth_telling(),
            "half of what may be unsent"
        );
        let small = Room { mss: 100, ..FULL };
        assert!(
            !Room {
                queued: 8_401,
                ..small
            }
            .is_worth_telling()
        );
        assert!(
            Room {
                queued: 8_400,
                ..small
            }
            .is_worth_telling(),
            "16 packets"
        );
    }
}
