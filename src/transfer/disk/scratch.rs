//! Memory in which content lies together on its way between a file and the
//! pieces that it travels in.
//!
//! One copy more, of what is in the cache, costs less than what the kernel takes
//! for each piece of a vectored read or write, and hashes want long runs.

use std::cell::Cell;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `len` bytes of memory of this thread, of any content.
pub fn with<R>(len: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut memory = SCRATCH.take();
    if memory.len() < len {
        memory.resize(len, 0);
    }
    let result = work(&mut memory[..len]);
    SCRATCH.set(memory);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_asked_for_and_may_be_asked_for_within() {
        let lengths = with(10, |outer| {
            outer.fill(1);
            let inner = with(20, |inner| {
                inner.fill(2);
                inner.len()
            });
            assert_eq!(outer, [1; 10]);
            (outer.len(), inner)
        });
        assert_eq!(lengths, (10, 20));
        assert_eq!(with(0, |none| none.len()), 0);
    }
}
