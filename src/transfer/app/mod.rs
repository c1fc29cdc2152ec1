//! Serve, get and put on an engine: what moves bytes between the machines,
//! the engine's connections and the disk threads.
//!
//! File content is copied once on its way out, from the page cache into the
//! frame that is sent: by the engine where a server finds it there, by a disk
//! thread otherwise. On its way in it is not copied at
//! all before the file system takes it: the frames that it arrived in go to
//! the disk thread and come back.

mod arrived;
mod block;
mod client;
mod engine;
mod port;
mod server;
mod start;
mod stats;

pub use block::FrameBlock;
pub use client::{ClientApp, ClientReport, ClientResult};
pub use port::Port;
pub use server::ServerApp;
pub use start::{Server, ServerError, ServerOptions};
pub use stats::{ServerStats, ServerTotals};

use crate::transfer::disk::Completion;

/// What other threads send to a transfer application.
pub enum Message {
    /// A disk thread is done with something.
    Disk(Completion<FrameBlock>),
}

#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod gather_tests;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod tests;
