//! What has arrived out of order: packets that wait in place until those
//! before them are there.
//!
//! What was reported in a selective acknowledgement is never dropped: libutp
//! forgets it.

use std::collections::VecDeque;

use super::check::hold;
use crate::frame::{Packet, Pool};

/// Longest selective acknowledgement that is sent, in bytes: 1024 packets.
pub const MAX_SACK: usize = 128;

/// Packets ahead of the next one in order.
#[derive(Debug, Default)]
pub struct Early {
    /// Place `i` is for the packet after the next, plus `i`.
    ring: VecDeque<Option<Packet>>,
    count: u32,
    bytes: u32,
}

impl Early {
    /// Whether nothing waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Packets that wait.
    #[inline]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether place `i` is taken.
    pub fn has(&self, i: usize) -> bool {
        self.ring.get(i).is_some_and(Option::is_some)
    }

    /// Puts a packet in place `i`, which is free.
    pub fn put(&mut self, i: usize, packet: Packet) {
        if i >= self.ring.len() {
            self.ring.resize_with(i + 1, || None);
        }
        self.count += 1;
        self.bytes += packet.len() as u32;
        self.ring[i] = Some(packet);
    }

    /// The next packet has arrived: answers the one after it, if that is
    /// there, and moves all places by one.
    #[inline]
    pub fn advance(&mut self) -> Option<Packet> {
        let packet = self.ring.pop_front()??;
        self.count -= 1;
        self.bytes -= packet.len() as u32;
        Some(packet)
    }

    /// Frees what waits from place `i` on: the stream ends before it.
    pub fn cut(&mut self, i: usize, pool: &mut Pool) {
        while self.ring.len() > i {
            if let Some(Some(w)) = self.ring.pop_back() {
                self.count -= 1;
                self.bytes -= w.len() as u32;
                pool.free(w);
            }
        }
        while let Some(None) = self.ring.back() {
            self.ring.pop_back();
        }
    }

    /// Writes the bits of a selective acknowledgement, and answers their
    /// length in bytes: a multiple of four, as little as reaches the last
    /// packet that waits.
    pub fn report(&self, bits: &mut [u8; MAX_SACK]) -> usize {
        let places = self.ring.len().min(MAX_SACK * 8);
        let len = places.div_ceil(32) * 4;
        bits[..len].fill(0);
        for (i, _) in self
            .ring
            .iter()
            .take(places)
            .enumerate()
            .filter(|(_, w)| w.is_some())
        {
            bits[i / 8] |= 1 << (i % 8);
        }
        len
    }

    /// Frees everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.cut(0, pool);
    }

    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        let there = self.ring.iter().flatten();
        hold!(
            there.clone().count() == self.len(),
            "packets that wait out of order add up"
        );
        hold!(
            there.map(|w| w.len()).sum::<usize>() == self.bytes(),
            "bytes that wait out of order add up"
        );
        hold!(
            !matches!(self.ring.back(), Some(None)),
            "the ring ends with a packet"
        );
        Ok(())
    }

    /// Whether memory is kept for packets of which there are none.
    pub fn has_slack(&self) -> bool {
        self.is_empty() && self.ring.capacity() > 0
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        if self.is_empty() {
            self.ring = VecDeque::new();
        }
    }
}
