//! Bytes that follow from a seed.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// A stream of bytes, made as it is read.
#[derive(Clone, Debug)]
pub struct Content {
    seed: u64,
    length: u64,
    offset: u64,
}

impl Content {
    /// `length` bytes of the stream that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64, length: u64) -> Self {
        Self {
            seed,
            length,
            offset: 0,
        }
    }

    /// How many bytes there are in all.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// SHA-256 of all of it.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut all = Self::new(self.seed, self.length);
        let mut block = vec![0; 1 << 16];
        let mut hash = Sha256::new();
        loop {
            // It never fails.
            match all.read(&mut block) {
                Ok(n) if n > 0 => hash.update(&block[..n]),
                _ => return hash.finalize().into(),
            }
        }
    }
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        let n = left.min(into.len());
        let mut filled = 0;
        while filled < n {
            let word = mixed(self.seed ^ (self.offset / 8)).to_le_bytes();
            let from = (self.offset % 8) as usize;
            let part = (8 - from).min(n - filled);
            into[filled..filled + part].copy_from_slice(&word[from..from + part]);
            filled += part;
            self.offset += part as u64;
        }
        Ok(n)
    }
}

/// Every bit of `x` in every bit of what comes out.
const fn mixed(x: u64) -> u64 {
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 29)
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            return Ok(hex(&hash.finalize().into()));
        }
        hash.update(&block[..n]);
    }
}

pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_however_it_is_read() {
        let mut whole = Vec::new();
        Content::new(7, 10_001).read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len(), 10_001);
        let mut again = Content::new(7, 10_001);
        let mut parts = Vec::new();
        for size in (1..).take(400) {
            let mut part = vec![0; size % 37 + 1];
            let n = again.read(&mut part).unwrap();
            parts.extend_from_slice(&part[..n]);
        }
        assert_eq!(parts, whole[..parts.len()]);
        assert_ne!(whole[..5000], whole[5000..10_000]);
        let direct: [u8; 32] = Sha256::digest(&whole).into();
        assert_eq!(Content::new(7, 10_001).sha256(), direct);
        assert_ne!(Content::new(8, 10_001).sha256(), direct);
    }
}
