//! Benchmarks of fullbore's stages, and comparisons with other stacks.
//!
//! What fullbore is compared with is a dependency of this crate alone.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod compare;
pub mod memory;
pub mod sample;
pub mod stage;
pub mod utp_peer;
