//! A set of chunk numbers.

/// Which chunks of a memory the kernel has through one ring. A byte each, which
/// takes less to look at than a bit.
#[derive(Debug)]
pub(super) struct ChunkSet {
    there: Box<[bool]>,
    len: usize,
}

impl ChunkSet {
    /// An empty set of numbers below `chunks`.
    pub(super) fn new(chunks: usize) -> Self {
        Self {
            there: vec![false; chunks].into_boxed_slice(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// To put several in.
    #[inline]
    pub(super) fn changes(&mut self) -> Changes<'_> {
        Changes {
            there: &mut self.there,
            before: &mut self.len,
            added: 0,
        }
    }

    /// Empties the set.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = u32> {
        self.len = 0;
        let all = self.there.iter_mut().enumerate();
        all.filter_map(|(chunk, there)| std::mem::take(there).then_some(chunk as u32))
    }
}

/// Changes of a set that are counted at their end, so that a loop has no more to
/// write than the chunks themselves.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    there: &'a mut [bool],
    before: &'a mut usize,
    /// Modulo 2^64, as more can be taken out than put in.
    added: usize,
}

impl Changes<'_> {
    /// Puts a number in; one that the set is not for is left out.
    #[inline]
    pub(super) fn insert(&mut self, chunk: usize) {
        if let Some(there) = self.there.get_mut(chunk) {
            self.added = self.added.wrapping_add(usize::from(!*there));
            *there = true;
        }
    }

    /// Answers whether it was there.
    #[inline]
    pub(super) fn remove(&mut self, chunk: usize) -> bool {
        match self.there.get_mut(chunk) {
            Some(there) if *there => {
                *there = false;
                self.added = self.added.wrapping_sub(1);
                true
            }
            _ => false,
        }
    }
}

impl Drop for Changes<'_> {
    #[inline]
    fn drop(&mut self) {
        *self.before = self.before.wrapping_add(self.added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_and_out_once() {
        let mut set = ChunkSet::new(130);
        let mut changes = set.changes();
        for chunk in [0, 63, 64, 129, 129, 100_000] {
            changes.insert(chunk);
        }
        drop(changes);
        assert_eq!(set.len(), 4);
        let mut changes = set.changes();
        assert!(changes.remove(63) && !changes.remove(63));
        assert!(!changes.remove(100_000) && !changes.remove(1));
        drop(changes);
        assert_eq!(set.len(), 3);
        assert_eq!(set.drain().collect::<Vec<_>>(), [0, 64, 129]);
        assert!(set.is_empty() && !set.changes().remove(0));
    }
}
