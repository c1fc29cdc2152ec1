//! Kernel-bypass TCP and file transfer over AF_XDP.
//!
//! Dependencies between the modules point one way:
//! `time`, `wire`, `frame` <- `transport` <- `tcp`, `utp`, `congestion` <-
//! `stack` <- `engine` -> `link` -> `xdp`; `transfer` and `cli` sit on top.
//! `docs/architecture.md` tells what each is for.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod congestion;
pub mod engine;
#[allow(unsafe_code)]
pub mod frame;
pub mod link;
pub mod stack;
pub mod stats;
mod sync;
pub mod tcp;
pub mod time;
pub mod transfer;
pub mod transport;
pub mod utp;
pub mod wire;
#[allow(unsafe_code)]
pub mod xdp;
