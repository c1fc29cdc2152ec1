//! The internet checksum (RFC 1071) in parts that can be combined.

mod wide;

use std::net::IpAddr;

/// A one's complement sum of big-endian 16-bit words, not yet complemented.
///
/// Zero has two representations, as in RFC 1071, so two sums of the same
/// bytes taken in different parts may differ as `0` and `0xffff`;
/// [`finish`](Self::finish) is what to compare.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Sum(u32); // at most 0xffff

/// Bytes an inner loop takes at a time.
const CHUNK: usize = 32;
const LANES: usize = CHUNK / 4;
/// Below so many bytes whole words are added one by one.
const SHORT: usize = 4 * CHUNK;
/// Chunks after which the 32-bit lanes are emptied: each takes at most 0xffff
/// from each chunk in either half, so 65,536 would still be safe.
const BLOCK: usize = 2048;
/// Bytes that are copied before they are summed: well inside the L1 cache.
const COPY_BLOCK: usize = 4096;

/// Folds the carries back in until 16 bits remain.
#[inline(always)]
fn fold(sum: u64) -> u32 {
    // The upper half of a number and itself with the halves exchanged is the sum of
    // the halves, with what the lower one carries.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    sum.wrapping_add(sum.rotate_left(16)) >> 16
}

/// The sum of native-endian words; a trailing odd byte is the first of its
/// word.
#[inline]
fn native_sum(bytes: &[u8]) -> u64 {
    if bytes.len() < SHORT {
        return sum_short(bytes);
    }
    wide::sum(bytes).unwrap_or_else(|| narrow_sum(bytes))
}

/// The same by registers that every processor has.
#[inline(never)]
fn narrow_sum(bytes: &[u8]) -> u64 {
    let (chunks, tail) = bytes.as_chunks::<CHUNK>();
    sum_words(tail) + chunks.chunks(BLOCK).map(sum_chunks).sum::<u64>()
}

/// Less than [`SHORT`]: headers, and small messages. Gathering lanes would take
/// longer than this.
#[inline]
fn sum_short(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    // What is carried out of the words is added up behind them.
    let (pairs, last) = words.as_chunks::<2>();
    let mut sum = 0u128;
    for [a, b] in pairs {
        sum += u128::from(u64::from_ne_bytes(*a));
        sum += u128::from(u64::from_ne_bytes(*b));
    }
    if let [word] = last {
        sum += u128::from(u64::from_ne_bytes(*word));
    }
    halves(sum as u64) + (sum >> 64) as u64 + sum_words(tail)
}

/// The sum of the two halves.
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

/// Copies less than [`SHORT`] and sums it on the way.
#[inline]
fn copy_short(dst: &mut [u8], src: &[u8]) -> u64 {
    let ((to, last), (from, tail)) = (dst.as_chunks_mut::<8>(), src.as_chunks::<8>());
    let mut sum = 0u128;
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
        sum += u128::from(u64::from_ne_bytes(*from));
    }
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    halves(sum as u64) + (sum >> 64) as u64 + sum_words(tail)
}

/// What is less than a chunk.
#[inline]
fn sum_words(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut last = [0u8; 4];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    words
        .iter()
        .chain([&last])
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum()
}

/// Up to [`BLOCK`] chunks, by registers that every processor has.
fn sum_chunks(chunks: &[[u8; CHUNK]]) -> u64 {
    // `all` gathers low + high * 2^16 modulo 2^32, `high` the high halves: the
    // low halves follow from the difference. That is one operation a vector
    // less than masking them apart.
    let mut all = [0u32; LANES];
    let mut high = [0u32; LANES];
    for chunk in chunks {
        let (words, _) = chunk.as_chunks::<4>();
        for lane in 0..LANES {
            let word = u32::from_ne_bytes(words[lane]);
            all[lane] = all[lane].wrapping_add(word);
            high[lane] = high[lane].wrapping_add(word >> 16);
        }
    }
    gather(&all, &high)
}

/// The sum that the lanes of an inner loop stand for.
#[inline(always)]
fn gather(all: &[u32; LANES], high: &[u32; LANES]) -> u64 {
    let lanes = all.iter().zip(high);
    lanes
        .map(|(all, high)| {
            let low = all.wrapping_sub(high << 16);
            u64::from(low) + u64::from(*high)
        })
        .sum()
}

impl Sum {
    /// The sum over no bytes.
    pub const ZERO: Sum = Sum(0);

    /// The sum of `bytes`. An odd last byte counts as the first of its word.
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        // The sum may be taken in either byte order and swapped at the end
        // (RFC 1071, section 2).
        Sum(u32::from((fold(native_sum(bytes)) as u16).to_be()))
    }

    /// The same of what is long as a rule: payload.
    #[inline]
    pub fn of_long(bytes: &[u8]) -> Sum {
        let sum = wide::sum(bytes).unwrap_or_else(|| narrow_sum(bytes));
        Sum(u32::from((fold(sum) as u16).to_be()))
    }

    /// The sum of one 16-bit word.
    #[inline]
    pub const fn word(word: u16) -> Sum {
        Sum(word as u32)
    }

    /// The sum of 32-bit words, or of halves of such, that have been added up.
    #[inline]
    pub(in crate::wire) fn of_words(sum: u64) -> Sum {
        Sum(fold(sum))
    }

    /// It as one 16-bit word, of which [`word`](Self::word) makes the same sum.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0 as u16
    }

    /// The sum of the two parts; `other` begins at an even offset.
    #[allow(clippy::should_implement_trait)] // one's complement is not `+`
    #[inline]
    pub const fn add(self, other: Sum) -> Sum {
        let sum = self.0 + other.0;
        Sum((sum & 0xffff) + (sum >> 16))
    }

    /// The sum of all parts, each of which begins at an even offset.
    #[inline]
    pub fn all<const PARTS: usize>(parts: [Sum; PARTS]) -> Sum {
        const { assert!(PARTS < 1 << 15) }
        let sum: u32 = parts.iter().map(|part| part.0).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        Sum((sum & 0xffff) + (sum >> 16))
    }

    /// The sum of the two parts; `other` begins at an odd offset.
    #[inline]
    pub const fn add_odd(self, other: Sum) -> Sum {
        self.add(Sum((other.0 as u16).swap_bytes() as u32))
    }

    /// The checksum: the complement, to be stored big-endian. Over bytes that
    /// hold a correct checksum it is zero.
    #[inline]
    pub const fn finish(self) -> u16 {
        !(self.0 as u16)
    }
}

/// Copies `src` to `dst` and returns the sum of what was copied, reading
/// memory once.
///
/// # Panics
/// When the lengths differ.
#[inline]
pub fn copy_and_sum(dst: &mut [u8], src: &[u8]) -> Sum {
    // Not `assert_eq`, for which both would have to be in memory.
    assert!(dst.len() == src.len(), "copy between different lengths");
    let total = if src.len() < SHORT {
        copy_short(dst, src)
    } else {
        wide::copy(dst, src).unwrap_or_else(|| narrow_copy(dst, src))
    };
    Sum(u32::from((fold(total) as u16).to_be()))
}

#[inline(never)]
fn narrow_copy(dst: &mut [u8], src: &[u8]) -> u64 {
    let blocks = dst.chunks_mut(COPY_BLOCK).zip(src.chunks(COPY_BLOCK));
    blocks
        .map(|(to, from)| {
            to.copy_from_slice(from);
            native_sum(to)
        })
        .sum()
}

/// The part of a pseudo-header that a connection keeps: addresses and protocol
/// (RFC 9293, section 3.1; RFC 8200, section 8.1).
#[inline]
pub fn pseudo_addresses(src: IpAddr, dst: IpAddr, protocol: u8) -> Sum {
    // Sums of 32-bit words fold to the sum of their halves.
    let address = |ip| match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            let word = |shift: u32| u64::from((bits >> shift) as u32);
            word(96) + word(64) + word(32) + word(0)
        }
    };
    Sum(fold(address(src) + address(dst) + u64::from(protocol)))
}

/// A whole pseudo-header; `l4_len` is the length of transport header and
/// payload, in bytes.
#[inline]
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, l4_len: usize) -> Sum {
    pseudo_addresses(src, dst, protocol).add(length(l4_len))
}

/// The length as the pseudo-header's 32-bit field.
#[inline]
pub(in crate::wire) fn length(l4_len: usize) -> Sum {
    Sum(fold(l4_len as u64))
}

/// Finishes a TCP segment: `tcp` is its header, options included, with a
/// checksum field of zero; `payload_sum` covers the payload.
///
/// # Panics
/// When `tcp` is shorter than 20 bytes.
#[inline]
pub fn fill_tcp_checksum(tcp: &mut [u8], pseudo: Sum, payload_sum: Sum) {
    let sum = Sum::of(tcp).add(pseudo).add(payload_sum);
    tcp[16..18].copy_from_slice(&sum.finish().to_be_bytes());
}

#[cfg(test)]
mod tests;
