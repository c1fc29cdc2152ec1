//! The payload of one queued packet, in the frame that it will be sent from.

use crate::frame::{Held, PACKET_START, Packet, Pool};
use crate::wire::checksum::{Sum, copy_and_sum};

/// The payload of a queued packet, as it stands in the transport's own record of
/// that: behind room for the headers, at the end of what is held.
#[derive(Debug)]
pub struct Payload<'a> {
    /// Bytes.
    pub len: &'a mut u16,
    /// Sum over them.
    pub sum: &'a mut Sum,
    /// Where they are. `None` of a packet that has no payload.
    pub held: &'a mut Option<Held>,
}

/// What [`Payload::split_off`] has cut off.
#[derive(Debug)]
pub struct Rest {
    /// Bytes.
    pub len: u16,
    /// Sum over them.
    pub sum: Sum,
    /// Where they are.
    pub held: Held,
}

impl Payload<'_> {
    /// Changes the packet, which is whole: headers and payload. `None` if there
    /// is none, or the kernel still transmits it.
    fn change<R>(
        &mut self,
        pool: &mut Pool,
        how: impl FnOnce(&mut Packet, &mut Pool) -> R,
    ) -> Option<R> {
        match pool.unhold(self.held.take()?) {
            Ok(mut packet) => {
                let result = how(&mut packet, pool);
                *self.held = Some(pool.hold(packet));
                Some(result)
            }
            Err(held) => {
                *self.held = Some(held);
                None
            }
        }
    }

    /// Copies the first of `data` behind it, up to a payload of `most` bytes, and
    /// sums them on the way. Answers how many.
    pub fn append(&mut self, data: &[u8], most: u16, pool: &mut Pool) -> u16 {
        let len = *self.len;
        let appended = self.change(pool, |packet, pool| {
            let old = packet.len();
            // Packets may have become larger than this frame has room for.
            let room = pool.max_packet().saturating_sub(old);
            let n = data
                .len()
                .min(usize::from(most.saturating_sub(len)))
                .min(room);
            packet.set_range(PACKET_START, (old + n) as u16);
            let sum = copy_and_sum(&mut pool.bytes_mut(packet)[old..], &data[..n]);
            pool.count_copy(n);
            (n as u16, sum)
        });
        let Some((n, sum)) = appended else { return 0 };
        *self.sum = if len.is_multiple_of(2) {
            self.sum.add(sum)
        } else {
            self.sum.add_odd(sum)
        };
        *self.len += n;
        n
    }

    /// Cuts off what is behind the first `at` bytes. `None` if nothing is, if there
    /// are no more than `reserve` free frames, or while the kernel transmits it.
    ///
    /// Both parts' payloads must follow their headers, so the rest moves to a
    /// new frame: the one copy that a path or a window costs which shrinks.
    pub fn split_off(&mut self, at: u16, reserve: usize, pool: &mut Pool) -> Option<Rest> {
        let len = *self.len;
        if at == 0 || at >= len {
            return None;
        }
        let (sum, rest) = self.change(pool, |first, pool| {
            let mut second = pool.alloc_above(reserve)?;
            let headers = (first.len() as u16).saturating_sub(len);
            second.set_range(PACKET_START, headers + (len - at));
            let (h, a) = (usize::from(headers), usize::from(at));
            let (from, to) = (
                &pool.bytes(first)[h..],
                &mut pool.bytes_mut(&mut second)[h..],
            );
            to.copy_from_slice(&from[a..]);
            let (sum, rest) = (Sum::of(&from[..a]), Sum::of(to));
            pool.count_copy(usize::from(len - at));
            first.set_range(PACKET_START, headers + at);
            let held = pool.hold(second);
            Some((
                sum,
                Rest {
                    len: len - at,
                    sum: rest,
                    held,
                },
            ))
        })??;
        (*self.len, *self.sum) = (at, sum);
        Some(rest)
    }

    /// Copies it into `to`, from `at` bytes into its range on; whether it could be
    /// had.
    pub fn copy_to(&mut self, to: &mut Packet, at: usize, pool: &mut Pool) -> bool {
        let len = usize::from(*self.len);
        let copied = self.change(pool, |packet, pool| {
            let bytes = pool.bytes(packet);
            pool.bytes_mut(to)[at..at + len].copy_from_slice(&bytes[bytes.len() - len..]);
            pool.count_copy(len);
        });
        copied.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Region;

    const HEADERS: usize = 54;

    /// The bytes and the sum of a payload as they should be.
    #[derive(Debug)]
    struct Queued {
        len: u16,
        sum: Sum,
        held: Option<Held>,
    }

    impl Queued {
        fn new(pool: &mut Pool, bytes: &[u8]) -> Self {
            let mut packet = pool.alloc().unwrap();
            packet.set_range(PACKET_START, (HEADERS + bytes.len()) as u16);
            pool.bytes_mut(&mut packet)[HEADERS..].copy_from_slice(bytes);
            Self {
                len: bytes.len() as u16,
                sum: Sum::of(bytes),
                held: Some(pool.hold(packet)),
            }
        }

        fn payload(&mut self) -> Payload<'_> {
            Payload {
                len: &mut self.len,
                sum: &mut self.sum,
                held: &mut self.held,
            }
        }

        /// Says what it is, and is no more.
        fn end(self, pool: &mut Pool) -> Vec<u8> {
            let packet = pool.unhold(self.held.unwrap()).unwrap();
            let bytes = pool.bytes(&packet)[HEADERS..].to_vec();
            pool.free(packet);
            assert_eq!(bytes.len(), usize::from(self.len));
            assert_eq!(self.sum.finish(), Sum::of(&bytes).finish());
            bytes
        }
    }

    fn numbers(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    #[test]
    fn what_is_appended_counts_whether_the_length_was_odd_or_even() {
        let mut pool = Pool::new(Region::anonymous(4, 2048));
        let all = numbers(400);
        for at in [0, 1, 2, 99, 100, 398] {
            let mut q = Queued::new(&mut pool, &all[..at]);
            assert_eq!(
                q.payload().append(&all[at..], 390, &mut pool),
                (390 - at.min(390)) as u16
            );
            assert_eq!(q.end(&mut pool), all[..at.max(390)]);
        }
        let mut q = Queued::new(&mut pool, &all);
        let most = pool.max_packet() - HEADERS;
        let much = numbers(3000);
        assert_eq!(
            usize::from(q.payload().append(&much, 3000, &mut pool)),
            most - 400,
            "the frame is full"
        );
        q.end(&mut pool);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn both_parts_of_a_payload_have_their_bytes_and_sums() {
        let mut pool = Pool::new(Region::anonymous(4, 2048));
        let all = numbers(1000);
        for at in [1, 2, 333, 999] {
            let mut q = Queued::new(&mut pool, &all);
            let rest = q.payload().split_off(at, 0, &mut pool).unwrap();
            let rest = Queued {
                len: rest.len,
                sum: rest.sum,
                held: Some(rest.held),
            };
            assert_eq!(q.end(&mut pool), all[..usize::from(at)]);
            assert_eq!(rest.end(&mut pool), all[usize::from(at)..]);
        }
        let mut q = Queued::new(&mut pool, &all);
        for at in [0, 1000, 1001] {
            assert!(
                q.payload().split_off(at, 0, &mut pool).is_none(),
                "nothing behind {at}"
            );
        }
        assert!(
            q.payload().split_off(5, 3, &mut pool).is_none(),
            "no frame to spare"
        );
        assert_eq!(q.end(&mut pool), all);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn what_the_kernel_transmits_stays_as_it_is() {
        let mut pool = Pool::new(Region::anonymous(4, 2048));
        let mut q = Queued::new(&mut pool, &numbers(100));
        let mut to = pool.alloc().unwrap();
        to.set_range(PACKET_START, 200);
        let desc = pool.transmit_held(q.held.as_mut().unwrap()).unwrap();
        assert_eq!(q.payload().append(&[1], 200, &mut pool), 0);
        assert!(q.payload().split_off(5, 0, &mut pool).is_none());
        assert!(!q.payload().copy_to(&mut to, 0, &mut pool));
        pool.complete(desc);
        assert!(q.payload().copy_to(&mut to, 50, &mut pool));
        assert_eq!(pool.bytes(&to)[50..150], numbers(100));
        assert_eq!(q.end(&mut pool), numbers(100));
        pool.free(to);
        assert_eq!(pool.available(), 4);
    }
}
