//! What each fuzz target does with its bytes. The targets of cargo-fuzz call
//! these functions, and so does `tests/fuzz_corpus.rs` of fullbore, which
//! includes this file: no target can rot.
//!
//! A function panics when something is wrong, and takes any bytes.

pub mod connection;
pub mod cookie;
mod datagrams;
mod end;
pub mod fields;
pub mod http;
mod input;
pub mod packetdrill;
pub mod pair;
pub mod serve;
pub mod settings;
pub mod stack;
pub mod toml;
pub mod utp;
mod utp_end;
pub mod utp_pair;
pub mod utp_wire;
pub mod wire;

/// What is done with an input.
pub type Target = fn(&[u8]);

/// Every target: its name, which is that of its corpus too, and its function.
pub const TARGETS: &[(&str, Target)] = &[
    ("connection", connection::run),
    ("cookie", cookie::run),
    ("fields", fields::run),
    ("http", http::run),
    ("packetdrill", packetdrill::run),
    ("pair", pair::run),
    ("serve", serve::run),
    ("settings", settings::run),
    ("stack", stack::run),
    ("toml", toml::run),
    ("utp", utp::run),
    ("utp_pair", utp_pair::run),
    ("utp_wire", utp_wire::run),
    ("wire", wire::run),
];
