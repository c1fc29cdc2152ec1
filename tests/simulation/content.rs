//! What the streams carry: bytes that follow from the place in the stream and
//! from whose stream it is, so that each byte tells whether it is where it
//! belongs.

/// One direction of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Content(u64);

impl Content {
    pub const fn new(seed: u64, dialog: usize, from_client: bool) -> Self {
        let who = (dialog as u64) << 1 | from_client as u64;
        Self(seed ^ who.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    const fn word(self, i: u64) -> u64 {
        let x = (i ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^ (x >> 29)
    }

    /// Writes the bytes from `at` on.
    pub fn fill(self, at: usize, into: &mut [u8]) {
        let mut i = 0;
        while i < into.len() {
            let bytes = self.word(((at + i) / 8) as u64).to_le_bytes();
            let from = (at + i) % 8;
            let n = (8 - from).min(into.len() - i);
            into[i..i + n].copy_from_slice(&bytes[from..from + n]);
            i += n;
        }
    }

    /// The place of the first byte that is not as it should be.
    pub fn differs(self, at: usize, bytes: &[u8]) -> Option<usize> {
        let mut i = 0;
        while i < bytes.len() {
            let word = self.word(((at + i) / 8) as u64).to_le_bytes();
            let from = (at + i) % 8;
            let n = (8 - from).min(bytes.len() - i);
            if bytes[i..i + n] != word[from..from + n] {
                let off = (0..n).find(|k| bytes[i + k] != word[from + k]);
                return Some(at + i + off.unwrap_or(0));
            }
            i += n;
        }
        None
    }
}
