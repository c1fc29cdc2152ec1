//! What the test suite reads: packetdrill scripts, the statements of Python in
//! them, and packets.

#![allow(dead_code)] // most of the runner is of no use here

#[path = "../../tests/packetdrill/drill/ast.rs"]
mod ast;
#[path = "../../tests/packetdrill/drill/constants.rs"]
mod constants;
#[path = "../../tests/packetdrill/drill/parse/mod.rs"]
mod parse;
#[path = "../../tests/packetdrill/drill/python.rs"]
mod python;
#[path = "../../tests/packetdrill/drill/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use parse::ParseError;

pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else {
        return;
    };
    if kind == 0 {
        packet(bytes);
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if kind == 1 {
        let names = BTreeMap::from([("tcpi_state", 1), ("tcpi_snd_cwnd", 10)]);
        let _ = python::run(text, &names);
        return;
    }
    match parse::parse(Path::new("f.pkt"), text) {
        Ok(script) => {
            // Twice the same, and no more events than there is text for.
            let again = parse::parse(Path::new("f.pkt"), text);
            assert_eq!(again.as_ref(), Ok(&script));
            assert!(script.events.len() <= text.len());
        }
        Err(ParseError::Syntax { line, message }) => check(line, &message, text),
        Err(ParseError::Unsupported { line, what }) => check(line, &what, text),
    }
}

fn check(line: usize, message: &str, text: &str) {
    let lines = text.split('\n').count();
    assert!(
        (1..=lines).contains(&line),
        "line {line} of {lines}: {message}"
    );
    assert!(!message.is_empty());
}

fn packet(bytes: &[u8]) {
    let Ok(packet) = wire::Packet::parse(bytes) else {
        return;
    };
    // Written again it is the same, whatever padding its options had.
    if let Ok(written) = packet.emit() {
        assert_eq!(wire::Packet::parse(&written), Ok(packet));
    }
}
