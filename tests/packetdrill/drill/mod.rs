//! Runs packetdrill scripts: `README.md` beside this directory tells the
//! language and the rules.

pub mod ast;
pub mod constants;
pub mod parse;
pub mod target;
