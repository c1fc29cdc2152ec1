//! Where connections are kept: places that never move, in blocks that double
//! in size, so that a place is found from its index by a little arithmetic.

use crate::frame::{prefer_huge_pages, prefetch};

/// Places in the first block, as a power of two.
const FIRST_BITS: u32 = 6;

/// Values in numbered places. The place that was left last is taken first.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// The nth has 2^n times as many places as the first.
    blocks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

/// Block and place in it.
#[inline]
const fn place(index: u32) -> (usize, usize) {
    let n = index as u64 + (1 << FIRST_BITS);
    let bits = n.ilog2();
    ((bits - FIRST_BITS) as usize, (n - (1 << bits)) as usize)
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// One more than the largest index in use so far.
    pub(super) const fn places(&self) -> u32 {
        (self.len + self.free.len()) as u32
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (block, at) = place(index);
        self.blocks.get(block)?.get(at)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (block, at) = place(index);
        self.blocks.get_mut(block)?.get_mut(at)?.as_mut()
    }

    /// The value at `index` is going to be used soon.
    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        let (block, at) = place(index);
        if let Some(place) = self.blocks.get(block).and_then(|b| b.get(at)) {
            prefetch(place);
        }
    }

    /// Puts a value into a free place: which one.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let (block, at) = place(index);
            self.blocks[block][at] = Some(value);
            return index;
        }
        let index = (self.len - 1) as u32;
        let (block, _) = place(index);
        if block == self.blocks.len() {
            let mut places = Vec::with_capacity(1 << (block as u32 + FIRST_BITS));
            prefer_huge_pages(places.spare_capacity_mut());
            self.blocks.push(places);
        }
        self.blocks[block].push(Some(value));
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let (block, at) = place(index);
        let value = self.blocks.get_mut(block)?.get_mut(at)?.take()?;
        self.free.push(index);
        self.len -= 1;
        Some(value)
    }

    /// All values, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = self.blocks.iter().flatten();
        (0..)
            .zip(places)
            .filter_map(|(i, v)| Some((i, v.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_without_gaps() {
        let (mut block, mut at) = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), (block, at));
            at += 1;
            if at == 1 << (block as u32 + FIRST_BITS) {
                (block, at) = (block + 1, 0);
            }
        }
        let (block, at) = place(u32::MAX);
        assert!(block <= 26 && at < 1 << 32);
    }

    #[test]
    fn values_stay_where_they_are() {
        let mut slots = Slots::new();
        assert_eq!((slots.get(0), slots.places()), (None, 0));
        for n in 0..1000 {
            assert_eq!(slots.insert(n), n);
        }
        let fifth = std::ptr::from_ref(slots.get(5).unwrap());
        assert_eq!(slots.remove(700), Some(700));
        assert_eq!(slots.remove(20), Some(20));
        assert_eq!((slots.remove(20), slots.remove(5000)), (None, None));
        assert_eq!((slots.len(), slots.places()), (998, 1000));
        assert_eq!(slots.insert(2020), 20, "the last one left");
        assert_eq!(slots.insert(2700), 700);
        for n in 1000..9000 {
            assert_eq!(slots.insert(n), n);
        }
        assert_eq!(std::ptr::from_ref(slots.get(5).unwrap()), fifth);
        *slots.get_mut(5).unwrap() = 55;
        slots.remove(6);
        let found: Vec<_> = slots.iter().filter(|(i, v)| i != *v).collect();
        assert_eq!(found, [(5, &55), (20, &2020), (700, &2700)]);
        assert_eq!(slots.iter().count(), 8999);
        slots.prefetch(6);
        slots.prefetch(u32::MAX);
    }
}
