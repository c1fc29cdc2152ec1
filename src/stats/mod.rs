//! Counters, drop reasons and their exporters.
//!
//! Every counter is a plain `u64` that one engine thread owns and increments.
//! Other threads see them only as a [`Snapshot`] that the engine publishes at
//! intervals; see [`publish`].

mod counters;
mod drop;
mod publish;
mod report;

pub use counters::{
    EngineCounters, FrameCounters, KernelCounters, LinkCounters, StackCounters, SteeringCounters,
    TcpCounters, UtpCounters,
};
pub use drop::{DropCounters, DropReason};
pub use publish::{Board, Publisher, Snapshot};
pub use report::{Format, Reporter, with_unit};
