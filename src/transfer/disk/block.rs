//! Buffers that travel between the engine and a disk thread.

/// A group of buffers that is moved to a disk thread and back.
///
/// The engine's blocks are made of frames; tests use `Vec<u8>`.
pub trait Block: Send + 'static {
    /// Takes a copy of `bytes` as its content: no more than it was made for, fewer
    /// where the file has ended. What a transport wants to know about them
    /// (lengths, checksums) is worked out while they are copied.
    fn fill(&mut self, bytes: &[u8]);

    /// The content to write, in this order.
    fn pieces(&self) -> impl Iterator<Item = &[u8]>;
}

impl Block for Vec<u8> {
    fn fill(&mut self, bytes: &[u8]) {
        self.clear();
        self.extend_from_slice(bytes);
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.as_slice())
    }
}
