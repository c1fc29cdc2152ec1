//! The server's side of one connection, without sockets, clocks or threads.
//!
//! [`ServerConn`] is shown the bytes that arrive and names what it wants done:
//! operations for a disk thread, blocks to be read, bytes and blocks to be
//! sent, and when it wants to be woken.

pub mod auth;
mod conn;
mod limits;
mod media;
mod reply;

pub use auth::{Auth, Scope};
pub use conn::{Close, Front, ReadWish, ServerConn};
pub use limits::{Admission, Admitted};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::disk::Root;
use crate::time::Instant;

/// The moment of a call: one clock for intervals, one for dates.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For intervals.
    pub at: Instant,
    /// For the `Date` field and comparisons with dates of files.
    pub wall: SystemTime,
}

/// What a server allows. One for all its connections.
pub struct Policy {
    /// The served directory.
    pub root: Arc<Root>,
    /// `PUT` is allowed.
    pub writable: bool,
    /// Directories are listed; otherwise they answer 403.
    pub listing: bool,
    /// Who may do what; without it everybody everything.
    pub auth: Option<Auth>,
    /// Largest request head in bytes.
    pub max_head: usize,
    /// Most header fields in a request, at most 128.
    pub max_fields: usize,
    /// Largest upload in bytes.
    pub max_upload: u64,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// Bytes a second that a peer has to take or give while something is to
    /// be transferred; 0 for no limit.
    pub min_rate: u64,
    /// Over which the rate is taken: a peer may pause for as long.
    pub rate_window: Duration,
    /// How long to wait for the peer to close after the last response.
    pub linger: Duration,
    /// Blocks of one response that may be read ahead of what has been sent.
    pub read_ahead: usize,
    /// Distinguishes the boundaries of multipart responses.
    pub seed: u64,
}

impl Policy {
    /// The defaults for `root`: read-only, with listings, 16 KiB of header.
    #[must_use]
    pub const fn new(root: Arc<Root>) -> Self {
        Self {
            root,
            writable: false,
            listing: true,
            auth: None,
            max_head: 16 * 1024,
            max_fields: 100,
            max_upload: u64::MAX,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            min_rate: 1024,
            rate_window: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            read_ahead: 4,
            seed: 0,
        }
    }
}

/// What happened on a connection since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests understood or refused.
    pub requests: u64,
    /// Responses 1xx to 5xx; interim ones are not counted.
    pub responses: [u64; 5],
    /// Content bytes handed over to be sent.
    pub sent: u64,
    /// Content bytes received.
    pub received: u64,
    /// Connections ended because the peer was too slow or idle.
    pub timed_out: u64,
}

#[cfg(test)]
mod tests;
