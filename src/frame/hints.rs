//! Hints about memory, to the processor and to the kernel. They change nothing
//! that can be read.

/// Bytes that the processor loads at once.
pub const LINE: usize = 64;

/// Has the processor begin to load all of `at`, which is going to be read or
/// written soon: a few lines of it are loaded at the same time, in place of one
/// after the other when each is needed.
#[inline(always)]
pub fn prefetch<T>(at: &T) {
    let first = std::ptr::from_ref(at).cast::<u8>();
    let mut offset = 0;
    while offset < size_of::<T>().max(1) {
        prefetch_line(first.wrapping_add(offset));
        offset += LINE;
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint that neither reads nor writes, and that ignores addresses
    // that cannot be read; every x86-64 processor has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn prefetch_line(_: *const u8) {}

/// Asks the kernel to back `memory` by huge pages where it can, best before
/// anything has been written to it: fewer translations of addresses that are
/// used in no order. A refusal changes nothing but that.
pub fn prefer_huge_pages<T>(memory: &mut [T]) {
    /// Below this there is hardly a whole huge page in it.
    const WORTH: usize = 8 << 20;
    let (at, len) = (memory.as_mut_ptr() as usize, size_of_val(memory));
    if len < WORTH {
        return;
    }
    // SAFETY: it asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page) = usize::try_from(page).ok().filter(|&page| page > 0) else {
        return;
    };
    let first = at.next_multiple_of(page);
    let inside = (at + len - first) / page * page;
    let start = memory
        .as_mut_ptr()
        .cast::<u8>()
        .wrapping_add(first - at)
        .cast();
    // SAFETY: whole pages inside `memory`, which is borrowed for this; the
    // advice changes how they are backed, never what is in them.
    let _ = unsafe { libc::madvise(start, inside, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes() {
        let mut large: Vec<u64> = Vec::with_capacity((9 << 20) / 8);
        prefer_huge_pages(large.spare_capacity_mut());
        large.resize(large.capacity(), 7);
        prefetch(&large[5]);
        prefetch(&[large[0]; 40]);
        assert!(large.iter().all(|&n| n == 7));
        prefer_huge_pages::<u64>(&mut []);
    }
}
