//! The inner loops for processors with AVX2: 32 bytes at a time.
//!
//! Elsewhere, and where there is too little to sum, these answer `None`.

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{copy, sum};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn sum(_: &[[u8; super::CHUNK]]) -> Option<u64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn copy(_: &mut [u8], _: &[u8]) -> Option<u64> {
    None
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::__m256i;

    use pulp::NullaryFnOnce;
    use pulp::x86::V3;

    use crate::wire::checksum::{BLOCK, CHUNK, gather, sum_words};

    /// Chunks from which finding out what the processor can do is worth it.
    const WORTH: usize = 4;

    /// The sum of up to [`BLOCK`] chunks.
    #[inline]
    pub(in crate::wire::checksum) fn sum(chunks: &[[u8; CHUNK]]) -> Option<u64> {
        if chunks.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        Some(simd.vectorize(SumChunks { simd, chunks }))
    }

    /// Copies `src` to `dst`, which are of one length. The sum of what was
    /// copied, which is read only once.
    #[inline]
    pub(in crate::wire::checksum) fn copy(dst: &mut [u8], src: &[u8]) -> Option<u64> {
        if src.len() < WORTH * CHUNK {
            return None;
        }
        let simd = V3::try_new()?;
        let (to, to_tail) = dst.as_chunks_mut::<CHUNK>();
        let (from, tail) = src.as_chunks::<CHUNK>();
        to_tail.copy_from_slice(tail);
        let mut total = sum_words(tail);
        for (to, from) in to.chunks_mut(BLOCK).zip(from.chunks(BLOCK)) {
            total += simd.vectorize(CopyChunks { simd, to, from });
        }
        Some(total)
    }

    /// Low halves and high halves, as in `sum_chunks`; two of each, so that one
    /// addition need not wait for another.
    struct Lanes {
        simd: V3,
        all: [__m256i; 2],
        high: [__m256i; 2],
    }

    impl Lanes {
        #[inline(always)]
        fn new(simd: V3) -> Self {
            let zero = [pulp::cast([0u8; CHUNK]); 2];
            Self {
                simd,
                all: zero,
                high: zero,
            }
        }

        #[inline(always)]
        fn add<const WAY: usize>(&mut self, words: __m256i) {
            let v = self.simd.avx2;
            let high = v._mm256_srli_epi32::<16>(words);
            self.all[WAY] = v._mm256_add_epi32(self.all[WAY], words);
            self.high[WAY] = v._mm256_add_epi32(self.high[WAY], high);
        }

        #[inline(always)]
        fn finish(self) -> u64 {
            let v = self.simd.avx2;
            let [all, other_all] = self.all;
            let [high, other_high] = self.high;
            gather(
                &pulp::cast(v._mm256_add_epi32(all, other_all)),
                &pulp::cast(v._mm256_add_epi32(high, other_high)),
            )
        }
    }

    struct SumChunks<'a> {
        simd: V3,
        chunks: &'a [[u8; CHUNK]],
    }

    impl NullaryFnOnce for SumChunks<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let mut lanes = Lanes::new(self.simd);
            let (pairs, odd) = self.chunks.as_chunks::<2>();
            for [first, second] in pairs {
                lanes.add::<0>(pulp::cast(*first));
                lanes.add::<1>(pulp::cast(*second));
            }
            for chunk in odd {
                lanes.add::<0>(pulp::cast(*chunk));
            }
            lanes.finish()
        }
    }

    struct CopyChunks<'a> {
        simd: V3,
        to: &'a mut [[u8; CHUNK]],
        from: &'a [[u8; CHUNK]],
    }

    impl NullaryFnOnce for CopyChunks<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let mut lanes = Lanes::new(self.simd);
            for (to, from) in self.to.iter_mut().zip(self.from) {
                let words: __m256i = pulp::cast(*from);
                *to = pulp::cast(words);
                lanes.add::<0>(words);
            }
            lanes.finish()
        }
    }
}
