//! The thread that has the file: engines must not wait for a disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use fullbore::engine::{Flow, Mailbox};

use crate::message::Block;
use crate::metainfo::Metainfo;

/// What it is asked. As many as peers may have waiting, times peers.
pub enum Job {
    /// A block for a peer.
    Read(Flow, Block),
    /// A piece that has come: hash it, and keep it if it is right.
    Store(u32, Vec<u8>),
}

/// What it answers, to the engine that asked.
pub enum Done {
    Read(Flow, Block, io::Result<Vec<u8>>),
    /// Whether it was right.
    Stored(u32, io::Result<bool>),
}

/// Opens the file, and makes it as long as it has to be.
pub fn open(path: &Path, info: &Metainfo) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    if file.metadata()?.len() != info.length {
        file.set_len(info.length)?;
    }
    Ok(file)
}

/// Which pieces of the file are right.
pub fn check(file: &File, info: &Metainfo) -> io::Result<Vec<bool>> {
    let mut piece = vec![0; info.piece_length as usize];
    let mut have = Vec::with_capacity(info.hashes.len());
    for index in 0..info.pieces() {
        let data = &mut piece[..info.length_of(index) as usize];
        file.read_exact_at(data, info.offset_of(index))?;
        have.push(info.is_piece(index, data));
    }
    Ok(have)
}

/// Does jobs until nobody can give any.
pub fn work(file: &File, info: &Arc<Metainfo>, jobs: &Receiver<Job>, answers: &Mailbox<Done>) {
    while let Ok(job) = jobs.recv() {
        let mut answer = match job {
            Job::Read(flow, block) => Done::Read(flow, block, read(file, info, block)),
            Job::Store(piece, data) => Done::Stored(piece, store(file, info, piece, &data)),
        };
        // The engine takes all that are there in each turn.
        while let Err(back) = answers.send(answer) {
            if answers.is_closed() {
                return;
            }
            answer = back;
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn read(file: &File, info: &Metainfo, block: Block) -> io::Result<Vec<u8>> {
    let mut data = vec![0; block.length as usize];
    file.read_exact_at(
        &mut data,
        info.offset_of(block.piece) + u64::from(block.begin),
    )?;
    Ok(data)
}

fn store(file: &File, info: &Metainfo, piece: u32, data: &[u8]) -> io::Result<bool> {
    if !info.is_piece(piece, data) {
        return Ok(false);
    }
    file.write_all_at(data, info.offset_of(piece))?;
    Ok(true)
}
