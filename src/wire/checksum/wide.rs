//! The inner loops for processors with AVX2: 32 bytes at a time.
//!
//! Elsewhere, and where there is too little to sum, these answer `None`.

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{copy, sum};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn sum(_: &[u8]) -> Option<u64> {
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

    use crate::wire::checksum::{BLOCK, CHUNK, sum_words};

    /// Bytes from which finding out what the processor can do is worth it.
    const WORTH: usize = 4 * CHUNK;
    /// Chunks that one step of the loops takes.
    const STEP: usize = 4;

    /// The sum of native-endian words.
    #[inline]
    pub(in crate::wire::checksum) fn sum(bytes: &[u8]) -> Option<u64> {
        if bytes.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        Some(simd.vectorize(SumBytes { simd, bytes }))
    }

    /// Copies `src` to `dst`, which are of one length. The sum of what was
    /// copied, which is read only once.
    #[inline]
    pub(in crate::wire::checksum) fn copy(dst: &mut [u8], src: &[u8]) -> Option<u64> {
        if src.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        Some(simd.vectorize(CopyBytes { simd, dst, src }))
    }

    /// Low halves and high halves, as in `sum_chunks`; two of each, so that one
    /// addition need not wait for another.
    struct Lanes {
        simd: V3,
        all: [__m256i; 2],
        high: [__m256i; 2],
    }

    /// Ones behind zeros: from `n` on, what keeps the last `n` bytes of a chunk.
    const LAST: [u8; 2 * CHUNK] = {
        let mut mask = [0; 2 * CHUNK];
        let mut i = CHUNK;
        while i < 2 * CHUNK {
            mask[i] = 0xff;
            i += 1;
        }
        mask
    };

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

        /// What is behind the last whole chunk of `bytes`, which has one. What
        /// of that cannot be taken into the lanes.
        #[inline(always)]
        fn add_tail(&mut self, bytes: &[u8]) -> u64 {
            let tail = bytes.len() % CHUNK;
            match (bytes.last_chunk::<CHUNK>(), LAST[tail..].first_chunk()) {
                // Words have to begin where they do in the chunks.
                (Some(last), Some(mask)) if tail % 2 == 0 => {
                    let (last, mask) = (pulp::cast(*last), pulp::cast::<[u8; CHUNK], _>(*mask));
                    self.add::<0>(self.simd.avx2._mm256_and_si256(last, mask));
                    0
                }
                _ => sum_words(&bytes[bytes.len() - tail..]),
            }
        }

        /// The sum that the lanes stand for, of [`BLOCK`] chunks and a tail at
        /// most: less than 2^32, since half a word counts 0xffff at most.
        #[inline(always)]
        fn finish(self) -> u64 {
            const { assert!((BLOCK + 1) * (CHUNK / 2) < (u32::MAX / 0xffff) as usize) }
            let v = self.simd.avx2;
            let [all, other_all] = self.all;
            let [high, other_high] = self.high;
            let all = v._mm256_add_epi32(all, other_all);
            let high = v._mm256_add_epi32(high, other_high);
            let low = v._mm256_sub_epi32(all, v._mm256_slli_epi32::<16>(high));
            let lanes: [u32; CHUNK / 4] = pulp::cast(v._mm256_add_epi32(low, high));
            u64::from(lanes.iter().fold(0u32, |sum, lane| sum.wrapping_add(*lane)))
        }
    }

    struct SumBytes<'a> {
        simd: V3,
        bytes: &'a [u8],
    }

    impl NullaryFnOnce for SumBytes<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let mut total = 0;
            let mut blocks = self.bytes.as_chunks::<CHUNK>().0.chunks(BLOCK);
            while let Some(block) = blocks.next() {
                let mut lanes = Lanes::new(self.simd);
                let (steps, rest) = block.as_chunks::<STEP>();
                for [a, b, c, d] in steps {
                    lanes.add::<0>(pulp::cast(*a));
                    lanes.add::<1>(pulp::cast(*b));
                    lanes.add::<0>(pulp::cast(*c));
                    lanes.add::<1>(pulp::cast(*d));
                }
                for chunk in rest {
                    lanes.add::<0>(pulp::cast(*chunk));
                }
                if blocks.len() == 0 {
                    total += lanes.add_tail(self.bytes);
                }
                total += lanes.finish();
            }
            total
        }
    }

    struct CopyBytes<'a> {
        simd: V3,
        dst: &'a mut [u8],
        src: &'a [u8],
    }

    /// Copies a chunk; what it was.
    #[inline(always)]
    fn copied(to: &mut [u8; CHUNK], from: &[u8; CHUNK]) -> __m256i {
        let words: __m256i = pulp::cast(*from);
        *to = pulp::cast(words);
        words
    }

    impl NullaryFnOnce for CopyBytes<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let mut total = 0;
            // The tail first, with what is before it in its chunk.
            if let (Some(to), Some(from)) = (self.dst.last_chunk_mut(), self.src.last_chunk()) {
                copied(to, from);
            }
            let mut to = self.dst.as_chunks_mut::<CHUNK>().0.chunks_mut(BLOCK);
            let mut from = self.src.as_chunks::<CHUNK>().0.chunks(BLOCK);
            while let (Some(to), Some(block)) = (to.next(), from.next()) {
                let mut lanes = Lanes::new(self.simd);
                let (to, to_rest) = to.as_chunks_mut::<STEP>();
                let (steps, rest) = block.as_chunks::<STEP>();
                for ([p, q, r, s], [a, b, c, d]) in to.iter_mut().zip(steps) {
                    lanes.add::<0>(copied(p, a));
                    lanes.add::<1>(copied(q, b));
                    lanes.add::<0>(copied(r, c));
                    lanes.add::<1>(copied(s, d));
                }
                for (to, chunk) in to_rest.iter_mut().zip(rest) {
                    lanes.add::<0>(copied(to, chunk));
                }
                if from.len() == 0 {
                    total += lanes.add_tail(self.src);
                }
                total += lanes.finish();
            }
            total
        }
    }
}
