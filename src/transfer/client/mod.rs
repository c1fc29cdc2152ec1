//! The client's side: fetch and upload files, without sockets, clocks or
//! threads.
//!
//! A job ([`Get`] or [`Put`]) names what it wants done: connections to open,
//! bytes and blocks to send, operations for a disk thread. It survives lost
//! connections and ends with a report or a [`ClientError`].

mod error;
mod exchange;
pub mod get;
mod local;
pub mod progress;
pub mod put;
mod url;

pub use error::ClientError;
pub use get::{Get, GetOptions, GetReport, Output, Verify};
pub use progress::{Progress, ProgressView};
pub use put::{Announce, Put, PutOptions, PutReport, Source};
pub use url::{Url, UrlError};

use std::time::Duration;

use super::disk::Op;

/// One of a job's connections.
pub type Key = usize;

/// Something a job wants done.
pub enum Action<B> {
    /// Open a connection.
    Connect(Key),
    /// Reset a connection; nothing more is to be said about it.
    Abort(Key),
    /// Have a disk thread do something; the answer belongs to the job.
    Disk(Op<B>),
}

/// How a connection was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The peer ended its stream; what it sent before was complete.
    Ended,
    /// The connection broke, or never came about.
    Broken(String),
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts after a loss without any progress in between.
    pub retries: u32,
    /// First pause; it doubles with each attempt up to 30 s.
    pub pause: Duration,
    /// For a connection to come about.
    pub connect: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// Without a byte once content flows. A server that was killed is silent:
    /// its kernel answers only when it is spoken to.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retries: 5,
            pause: Duration::from_millis(500),
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// The pause before attempt number `attempt`, counted from 1.
    fn pause_before(&self, attempt: u32) -> Duration {
        let factor = 1u32 << attempt.saturating_sub(1).min(10);
        self.pause
            .saturating_mul(factor)
            .min(Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests;
