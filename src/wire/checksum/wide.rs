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
    /// Bytes that the lanes take.
    const MOST: usize = BLOCK * CHUNK;

    /// The sum of native-endian words.
    #[inline]
    pub(in crate::wire::checksum) fn sum(bytes: &[u8]) -> Option<u64> {
        if bytes.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        let (words, odd) = bytes.split_at(bytes.len() & !1);
        let mut total = sum_odd(odd);
        for block in words.chunks(MOST) {
            total += simd.vectorize(SumBlock { simd, block });
        }
        Some(total)
    }

    /// Copies `src` to `dst`, which are of one length. The sum of what was
    /// copied, which is read only once.
    #[inline]
    pub(in crate::wire::checksum) fn copy(dst: &mut [u8], src: &[u8]) -> Option<u64> {
        if src.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        let (words, odd) = src.split_at(src.len() & !1);
        let (to_words, to_odd) = dst.split_at_mut(words.len());
        let mut total = sum_odd(odd);
        for (to, from) in to_odd.iter_mut().zip(odd) {
            *to = *from;
        }
        for (to, from) in to_words.chunks_mut(MOST).zip(words.chunks(MOST)) {
            total += simd.vectorize(CopyBlock { simd, to, from });
        }
        Some(total)
    }

    /// The word that begins with the last byte, if there is one.
    #[inline(always)]
    fn sum_odd(odd: &[u8]) -> u64 {
        odd.first()
            .map_or(0, |last| u64::from(u16::from_ne_bytes([*last, 0])))
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

        /// What is behind the last whole chunk of `bytes`, which are of an even
        /// length and at least a chunk.
        #[inline(always)]
        fn add_tail(&mut self, bytes: &[u8]) {
            let tail = bytes.len() % CHUNK;
            if let (Some(last), Some(mask)) = (bytes.last_chunk(), LAST[tail..].first_chunk()) {
                let (last, mask) = (
                    pulp::cast::<[u8; CHUNK], _>(*last),
                    pulp::cast::<[u8; CHUNK], _>(*mask),
                );
                self.add::<0>(self.simd.avx2._mm256_and_si256(last, mask));
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

    /// Up to [`MOST`] bytes, an even number.
    struct SumBlock<'a> {
        simd: V3,
        block: &'a [u8],
    }

    impl NullaryFnOnce for SumBlock<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let (chunks, rest) = self.block.as_chunks::<CHUNK>();
            if chunks.is_empty() {
                return short(rest);
            }
            let mut lanes = Lanes::new(self.simd);
            let (steps, chunks) = chunks.as_chunks::<STEP>();
            for [a, b, c, d] in steps {
                lanes.add::<0>(pulp::cast(*a));
                lanes.add::<1>(pulp::cast(*b));
                lanes.add::<0>(pulp::cast(*c));
                lanes.add::<1>(pulp::cast(*d));
            }
            for chunk in chunks {
                lanes.add::<0>(pulp::cast(*chunk));
            }
            lanes.add_tail(self.block);
            lanes.finish()
        }
    }

    /// The same, copied. Both are of one length.
    struct CopyBlock<'a> {
        simd: V3,
        to: &'a mut [u8],
        from: &'a [u8],
    }

    /// What is left of more than a block.
    #[cold]
    #[inline(never)]
    fn short(bytes: &[u8]) -> u64 {
        sum_words(bytes)
    }

    /// Copies a chunk; what it was.
    #[inline(always)]
    fn copied(to: &mut [u8; CHUNK], from: &[u8; CHUNK]) -> __m256i {
        let words: __m256i = pulp::cast(*from);
        *to = pulp::cast(words);
        words
    }

    impl NullaryFnOnce for CopyBlock<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            // The tail first, with what is before it in its chunk.
            if let (Some(to), Some(from)) = (self.to.last_chunk_mut(), self.from.last_chunk()) {
                copied(to, from);
            }
            let (to, to_rest) = self.to.as_chunks_mut::<CHUNK>();
            let (chunks, rest) = self.from.as_chunks::<CHUNK>();
            if chunks.is_empty() {
                to_rest.copy_from_slice(rest);
                return short(rest);
            }
            let mut lanes = Lanes::new(self.simd);
            let (to, to_chunks) = to.as_chunks_mut::<STEP>();
            let (steps, chunks) = chunks.as_chunks::<STEP>();
            for ([p, q, r, s], [a, b, c, d]) in to.iter_mut().zip(steps) {
                lanes.add::<0>(copied(p, a));
                lanes.add::<1>(copied(q, b));
                lanes.add::<0>(copied(r, c));
                lanes.add::<1>(copied(s, d));
            }
            for (to, chunk) in to_chunks.iter_mut().zip(chunks) {
                lanes.add::<0>(copied(to, chunk));
            }
            lanes.add_tail(self.from);
            lanes.finish()
        }
    }
}
