//! Other implementations as peers, between network namespaces.
//!
//! `examples/torrent` and libtorrent give each other a file. The modules of that
//! example which know nothing of a network are tested here too.

#[path = "../common/mod.rs"]
mod common;
mod torrent;

#[allow(dead_code)]
#[path = "../../examples/torrent/bencode.rs"]
mod bencode;
#[allow(dead_code)]
#[path = "../../examples/torrent/message.rs"]
mod message;
#[allow(dead_code)]
#[path = "../../examples/torrent/metainfo.rs"]
mod metainfo;
#[allow(dead_code)]
#[path = "../../examples/torrent/pieces.rs"]
mod pieces;
