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
    /// Chunks that one step of the loops takes: a segment of 1448 bytes is five
    /// steps and five chunks.
    const STEP: usize = 8;
    /// Words of a chunk.
    const WORDS: usize = CHUNK / 2;
    /// Bytes that the lanes take.
    const MOST: usize = BLOCK * CHUNK;

    /// The sum of native-endian words.
    #[inline]
    pub(in crate::wire::checksum) fn sum(bytes: &[u8]) -> Option<u64> {
        if bytes.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        if is_block(bytes) {
            return Some(simd.vectorize(SumBlock { simd, block: bytes }));
        }
        Some(sum_blocks(simd, bytes))
    }

    /// The same of more than a block, or with an odd byte.
    #[inline(never)]
    fn sum_blocks(simd: V3, bytes: &[u8]) -> u64 {
        let (words, odd) = bytes.split_at(bytes.len() & !1);
        let blocks = words.chunks(MOST);
        let sums = blocks.map(|block| simd.vectorize(SumBlock { simd, block }));
        sums.sum::<u64>() + sum_odd(odd)
    }

    /// Copies `src` to `dst`, which are of one length. The sum of what was
    /// copied, which is read only once.
    #[inline]
    pub(in crate::wire::checksum) fn copy(dst: &mut [u8], src: &[u8]) -> Option<u64> {
        if src.len() < WORTH {
            return None;
        }
        let simd = V3::try_new()?;
        if is_block(src) {
            return Some(simd.vectorize(CopyBlock {
                simd,
                to: dst,
                from: src,
            }));
        }
        Some(copy_blocks(simd, dst, src))
    }

    /// The same of more than a block, or with an odd byte.
    #[inline(never)]
    fn copy_blocks(simd: V3, dst: &mut [u8], src: &[u8]) -> u64 {
        let (words, odd) = src.split_at(src.len() & !1);
        let (to_words, to_odd) = dst.split_at_mut(words.len());
        to_odd.copy_from_slice(odd);
        let mut total = sum_odd(odd);
        for (to, from) in to_words.chunks_mut(MOST).zip(words.chunks(MOST)) {
            total += simd.vectorize(CopyBlock { simd, to, from });
        }
        total
    }

    /// Whether the inner loops take all of it at once, as they do a packet.
    #[inline(always)]
    const fn is_block(bytes: &[u8]) -> bool {
        bytes.len() <= MOST && bytes.len().is_multiple_of(2)
    }

    /// The word that begins with the last byte, if there is one.
    #[inline(always)]
    fn sum_odd(odd: &[u8]) -> u64 {
        odd.first()
            .map_or(0, |last| u64::from(u16::from_ne_bytes([*last, 0])))
    }

    /// Words less 2^15 as signed numbers, which there is one operation to add to
    /// a lane in pairs; what they are less by is added at the end. Two sets of
    /// lanes, so that one addition need not wait for another.
    struct Lanes {
        simd: V3,
        sums: [__m256i; 2],
        half: __m256i,
        ones: __m256i,
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
            Self {
                simd,
                sums: [pulp::cast([0u8; CHUNK]); 2],
                half: pulp::cast([1u16 << 15; WORDS]),
                ones: pulp::cast([1u16; WORDS]),
            }
        }

        #[inline(always)]
        fn add<const WAY: usize>(&mut self, words: __m256i) {
            let v = self.simd.avx2;
            let less = v._mm256_xor_si256(words, self.half);
            let pairs = v._mm256_madd_epi16(less, self.ones);
            self.sums[WAY] = v._mm256_add_epi32(self.sums[WAY], pairs);
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

        /// The sum that the lanes stand for, to which `bytes` bytes were added:
        /// [`BLOCK`] chunks and a tail at most. It is less than 2^32, since a
        /// word counts 0xffff at most, so that what wraps on the way does not
        /// matter.
        #[inline(always)]
        fn finish(self, bytes: usize) -> u64 {
            const { assert!((BLOCK + 1) * WORDS < (u32::MAX / 0xffff) as usize) }
            let (v, w) = (self.simd.avx2, self.simd.sse2);
            let [one, other] = self.sums;
            let lanes = v._mm256_add_epi32(one, other);
            let low = self.simd.avx._mm256_castsi256_si128(lanes);
            let four = w._mm_add_epi32(low, v._mm256_extracti128_si256::<1>(lanes));
            let two = w._mm_add_epi32(four, w._mm_shuffle_epi32::<0b01_00_11_10>(four));
            let sum = w._mm_add_epi32(two, w._mm_shuffle_epi32::<0b10_11_00_01>(two));
            let less = ((bytes / CHUNK + 1) * WORDS) << 15;
            let sum = w._mm_cvtsi128_si32(sum).cast_unsigned();
            u64::from(sum.wrapping_add(less as u32))
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
            let (steps, rest) = chunks.as_chunks::<STEP>();
            for step in steps {
                add(&mut lanes, step);
            }
            // What is less than a step in halves, so that nothing is left to count.
            let (four, rest) = some::<4>(rest);
            if let Some(chunks) = four {
                add(&mut lanes, chunks);
            }
            let (two, rest) = some::<2>(rest);
            if let Some(chunks) = two {
                add(&mut lanes, chunks);
            }
            if let (Some(chunk), _) = some::<1>(rest) {
                add(&mut lanes, chunk);
            }
            lanes.add_tail(self.block);
            lanes.finish(self.block.len())
        }
    }

    /// The first `N` chunks, if there are as many, and the rest.
    #[inline(always)]
    fn some<const N: usize>(chunks: &[[u8; CHUNK]]) -> (Option<&[[u8; CHUNK]; N]>, &[[u8; CHUNK]]) {
        match chunks.split_first_chunk() {
            Some((some, rest)) => (Some(some), rest),
            None => (None, chunks),
        }
    }

    /// Adds chunks, in turn to either set of lanes.
    #[inline(always)]
    fn add<const N: usize>(lanes: &mut Lanes, chunks: &[[u8; CHUNK]; N]) {
        for (at, chunk) in chunks.iter().enumerate() {
            let words = pulp::cast(*chunk);
            if at % 2 == 0 {
                lanes.add::<0>(words);
            } else {
                lanes.add::<1>(words);
            }
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

    /// As [`add`], copied.
    #[inline(always)]
    fn add_copied<const N: usize>(
        lanes: &mut Lanes,
        to: &mut [[u8; CHUNK]; N],
        from: &[[u8; CHUNK]; N],
    ) {
        for (at, (to, from)) in to.iter_mut().zip(from).enumerate() {
            let words = copied(to, from);
            if at % 2 == 0 {
                lanes.add::<0>(words);
            } else {
                lanes.add::<1>(words);
            }
        }
    }

    /// As [`add_copied`], of the first `N` chunks of both if there are as many. The
    /// rest of both.
    #[inline(always)]
    fn add_some<'a, const N: usize>(
        lanes: &mut Lanes,
        to: &'a mut [[u8; CHUNK]],
        from: &'a [[u8; CHUNK]],
    ) -> (&'a mut [[u8; CHUNK]], &'a [[u8; CHUNK]]) {
        if from.len() < N || to.len() < N {
            return (to, from);
        }
        let ((to, to_rest), (from, from_rest)) = (to.split_at_mut(N), from.split_at(N));
        if let (Ok(to), Ok(from)) = (to.try_into(), from.try_into()) {
            add_copied::<N>(lanes, to, from);
        }
        (to_rest, from_rest)
    }

    impl NullaryFnOnce for CopyBlock<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let from = self.from;
            // Known to be of one length from here on.
            let Some(to) = self.to.get_mut(..from.len()) else {
                return 0;
            };
            let (Some(to_last), Some(last)) = (to.last_chunk_mut(), from.last_chunk()) else {
                to.copy_from_slice(from);
                return short(from);
            };
            // The tail first, with what is before it in its chunk.
            copied(to_last, last);
            let (to, _) = to.as_chunks_mut::<CHUNK>();
            let (chunks, _) = from.as_chunks::<CHUNK>();
            let mut lanes = Lanes::new(self.simd);
            let (to_steps, to) = to.as_chunks_mut::<STEP>();
            let (steps, chunks) = chunks.as_chunks::<STEP>();
            for (to, step) in to_steps.iter_mut().zip(steps) {
                add_copied(&mut lanes, to, step);
            }
            let (to, chunks) = add_some::<4>(&mut lanes, to, chunks);
            let (to, chunks) = add_some::<2>(&mut lanes, to, chunks);
            add_some::<1>(&mut lanes, to, chunks);
            lanes.add_tail(from);
            lanes.finish(from.len())
        }
    }
}
