//! Digests of content that comes piece by piece.

use sha2::{Digest as _, Sha256};

use crate::transfer::http::digest::{Algorithm, Digest};

/// BLAKE3 is fed by this much, from a multiple of it on: several chunks then go
/// through wide registers at once. What comes in smaller pieces is gathered.
const GROUP: usize = 64 * 1024;

/// Works out one digest or both.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    sha256: Option<Sha256>,
    blake3: Option<Blake3>,
}

impl Hasher {
    /// Of nothing yet, by these algorithms.
    #[must_use]
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut hasher = Self::default();
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
                Algorithm::Blake3 => hasher.blake3 = Some(Blake3::default()),
            }
        }
        hasher
    }

    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.blake3 {
            hasher.update(bytes);
        }
    }

    /// The digest of what has come, if `algorithm` is one of its own.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        match algorithm {
            Algorithm::Sha256 => {
                let hasher = self.sha256.as_ref()?;
                Some(Digest::sha256(hasher.clone().finalize()))
            }
            Algorithm::Blake3 => Some(Digest::blake3(self.blake3.as_ref()?.finalize())),
        }
    }
}

/// BLAKE3, and the part of a group that has come.
#[derive(Clone, Debug, Default)]
struct Blake3 {
    hasher: Box<blake3::Hasher>,
    waiting: Vec<u8>,
}

impl Blake3 {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.waiting.is_empty() && bytes.len() >= GROUP {
                let (groups, rest) = bytes.split_at(bytes.len() - bytes.len() % GROUP);
                self.hasher.update(groups);
                bytes = rest;
                continue;
            }
            if self.waiting.is_empty() {
                self.waiting.reserve(GROUP);
            }
            let room = GROUP - self.waiting.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.waiting.extend_from_slice(now);
            bytes = rest;
            if self.waiting.len() == GROUP {
                self.hasher.update(&self.waiting);
                self.waiting.clear();
            }
        }
    }

    fn finalize(&self) -> blake3::Hash {
        if self.waiting.is_empty() {
            return self.hasher.finalize();
        }
        let mut last = self.hasher.clone();
        last.update(&self.waiting);
        last.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    /// From the test vectors of the algorithm's authors, whose input is this.
    #[test]
    fn blake3_is_what_its_authors_say() {
        for (len, first) in [
            (0, [0xaf, 0x13, 0x49, 0xb9]),
            (1, [0x2d, 0x3a, 0xde, 0xdf]),
            (1024, [0x42, 0x21, 0x47, 0x39]),
            (102_400, [0xbc, 0x3e, 0x3d, 0x41]),
        ] {
            let mut hasher = Hasher::new(&[Algorithm::Blake3]);
            hasher.update(&content(len));
            let digest = hasher.digest(Algorithm::Blake3).unwrap();
            assert_eq!(digest.bytes[..4], first, "{len}");
            assert_eq!(hasher.digest(Algorithm::Sha256), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn pieces_make_the_whole(pieces in prop::collection::vec(0usize..150_000, 0..6)) {
            let whole = content(pieces.iter().sum());
            let mut hasher = Hasher::new(&Algorithm::ALL);
            let mut rest = &whole[..];
            for len in pieces {
                let (piece, after) = rest.split_at(len);
                hasher.update(piece);
                // Asking does not disturb.
                let _ = hasher.digest(Algorithm::Blake3);
                rest = after;
            }
            prop_assert_eq!(
                hasher.digest(Algorithm::Blake3),
                Some(Digest::blake3(blake3::hash(&whole)))
            );
            prop_assert_eq!(
                hasher.digest(Algorithm::Sha256),
                Some(Digest::sha256(Sha256::digest(&whole)))
            );
        }
    }
}
