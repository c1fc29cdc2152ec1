//! A set of chunk numbers.

/// Which chunks of a memory the kernel has through one ring. A bit each, so
/// that what the kernel returns is checked at little cost.
#[derive(Debug)]
pub(super) struct ChunkSet {
    words: Box<[u64]>,
    len: usize,
}

impl ChunkSet {
    /// An empty set of numbers below `chunks`.
    pub(super) fn new(chunks: usize) -> Self {
        Self {
            words: vec![0; chunks.div_ceil(64)].into_boxed_slice(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn insert(&mut self, chunk: usize) {
        if let Some(word) = self.words.get_mut(chunk / 64) {
            let bit = 1 << (chunk % 64);
            self.len += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Answers whether it was there.
    #[inline]
    pub(super) fn remove(&mut self, chunk: usize) -> bool {
        let Some(word) = self.words.get_mut(chunk / 64) else {
            return false;
        };
        let bit = 1 << (chunk % 64);
        let there = *word & bit != 0;
        *word &= !bit;
        self.len -= usize::from(there);
        there
    }

    /// Empties the set.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = u32> {
        self.len = 0;
        self.words.iter_mut().enumerate().flat_map(|(index, word)| {
            let bits = std::mem::take(word);
            (0..64)
                .filter(move |bit| bits >> bit & 1 == 1)
                .map(move |bit| index as u32 * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_and_out_once() {
        let mut set = ChunkSet::new(130);
        for chunk in [0, 63, 64, 129, 129, 100_000] {
            set.insert(chunk);
        }
        assert_eq!(set.len(), 4);
        assert!(set.remove(63) && !set.remove(63) && !set.remove(100_000) && !set.remove(1));
        assert_eq!(set.drain().collect::<Vec<_>>(), [0, 64, 129]);
        assert!(set.is_empty() && !set.remove(0));
    }
}
