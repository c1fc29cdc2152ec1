//! The run-to-completion loop and what applications see of it.

mod app;
mod clock;
mod config;
mod context;
mod core;
mod gate;
mod handover;
mod mailbox;
pub mod netlink;
pub mod ports;
mod receive;
mod ring;
mod run;
mod send;
pub mod sim;
mod stop;
mod turn;
mod waker;
mod wheel;

#[cfg(test)]
mod tests;

pub use self::core::TimerId;
pub use crate::stack::ports::{NoClaims, PortClaims, Protocol};
pub use crate::stack::{
    ConnectError, ConnectOptions, Flow, ListenError, ListenOptions, Transport, Vitals,
};
pub use crate::transport::Reason;
pub use app::Application;
pub use clock::Clock;
pub use config::{EngineConfig, Idle};
pub use context::Context;
pub use handover::Handover;
pub use mailbox::{Inbox, Mailbox};
pub use run::{Ended, RunError, spawn};
pub use turn::{Engine, Parts, Turn};
pub use waker::Waker;
pub use wheel::Wheel;
