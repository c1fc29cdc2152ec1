//! HTTP/1.1 over a byte stream: serve, get and put files.

pub mod app;
pub mod client;
pub mod disk;
pub mod http;
pub mod serve;

use std::ops::Range;

/// What became of bytes that a job or a connection was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes that are dealt with. Fewer than shown: call again, unless it is
    /// 0, then the rest has to wait.
    pub consumed: usize,
    /// Where among them content lies that is to be written; may be empty.
    pub data: Range<usize>,
    /// Offset of that content in the file.
    pub offset: u64,
}

impl Taken {
    /// So many bytes without content.
    const fn none(consumed: usize) -> Self {
        Self {
            consumed,
            data: 0..0,
            offset: 0,
        }
    }
}
