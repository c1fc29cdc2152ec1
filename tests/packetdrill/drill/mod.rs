//! Runs packetdrill scripts: `README.md` beside this directory tells the
//! language and the rules.

pub mod ast;
pub mod constants;
pub mod fullbore;
pub mod linux;
pub mod parse;
pub mod python;
pub mod run;
pub mod suite;
pub mod target;
pub mod wire;
