//! The machine with a synchronous disk, a virtual clock and no network.

mod connections;
mod downloads;
mod refusals;
mod uploads;

use super::*;
use crate::transfer::disk::Outcome;
use crate::transfer::http::digest::{Algorithm, Digest, Digests};
use crate::transfer::http::{Method, Response, response};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tempfile::TempDir;

/// Bytes in a block.
const BLOCK: usize = 1000;

struct Server {
    conn: ServerConn<Vec<u8>>,
    dir: TempDir,
    time: Duration,
    /// Everything that was sent.
    sent: Vec<u8>,
    closed: Option<Close>,
    /// The peer takes nothing.
    stuck: bool,
}

fn sha256(content: &[u8]) -> Digest {
    Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(content))
}

fn policy(dir: &TempDir) -> Policy {
    Policy {
        writable: true,
        ..Policy::new(Arc::new(Root::open(dir.path()).unwrap()))
    }
}

fn served() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.txt"), "hello, world").unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    fs::write(dir.path().join("big"), big()).unwrap();
    fs::create_dir(dir.path().join("sub dir")).unwrap();
    dir
}

fn big() -> Vec<u8> {
    (0..100_000u32).map(|i| (i * 31 % 253) as u8).collect()
}

impl Server {
    fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let dir = served();
        let mut policy = policy(&dir);
        change(&mut policy);
        let conn = ServerConn::new(Arc::new(policy), at(Duration::ZERO));
        Self {
            conn,
            dir,
            time: Duration::ZERO,
            sent: Vec::new(),
            closed: None,
            stuck: false,
        }
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    fn now(&self) -> Now {
        at(self.time)
    }

    /// Shows bytes and does everything that follows.
    fn feed(&mut self, input: &[u8]) {
        let mut rest = input;
        loop {
            let taken = self.conn.on_bytes(self.now(), rest);
            if !taken.data.is_empty() {
                let block = rest[taken.data.clone()].to_vec();
                let upload = self.conn.upload().expect("content has an upload").clone();
                let result = upload.sink().write(taken.offset, &block);
                assert!(
                    self.conn
                        .on_outcome(self.now(), Outcome::Written(block, result))
                        .is_some()
                );
            }
            rest = &rest[taken.consumed..];
            self.pump();
            if rest.is_empty() || taken.consumed == 0 && !self.conn.wants_input() {
                return;
            }
        }
    }

    fn pump(&mut self) {
        loop {
            let mut busy = false;
            while let Some(op) = self.conn.poll_op() {
                busy = true;
                if let Some(outcome) = op.run() {
                    assert!(self.conn.on_outcome(self.now(), outcome).is_none());
                }
            }
            while let Some(wish) = self.conn.next_read(BLOCK) {
                busy = true;
                self.conn.read_issued(wish.len);
                let mut block = vec![0; BLOCK];
                let result = wish.file.read(wish.offset, wish.len, &mut block);
                self.conn
                    .on_outcome(self.now(), Outcome::Read(block, result));
            }
            while !self.stuck
                && let Some(front) = self.conn.front()
            {
                busy = true;
                match front {
                    Front::Bytes(bytes) => {
                        let n = bytes.len().min(77);
                        self.sent.extend_from_slice(&bytes[..n]);
                        self.conn.bytes_sent(at(self.time), n);
                    }
                    Front::Block => {
                        let block = self.conn.take_block(at(self.time), Vec::len).unwrap();
                        self.sent.extend_from_slice(&block);
                    }
                }
            }
            if let Some(close) = self.conn.poll_close() {
                self.closed = Some(close);
            }
            if !busy {
                return;
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.time += time;
        self.conn.handle_timeout(at(self.time), 0);
        self.pump();
    }

    /// The responses so far, to requests with `method`.
    fn responses(&mut self, method: Method) -> Vec<(Response, Vec<u8>)> {
        let mut out = Vec::new();
        let mut rest = &self.sent[..];
        while !rest.is_empty() {
            let end = rest
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("a whole head")
                + 4;
            let head = response::parse(&rest[..end], method).expect("a good head");
            let len = match head.framing {
                crate::transfer::http::Framing::Length(n) => n as usize,
                _ => 0,
            };
            out.push((head, rest[end..end + len].to_vec()));
            rest = &rest[end + len..];
        }
        self.sent.clear();
        out
    }

    fn get(&mut self, target: &str, fields: &str) -> (Response, Vec<u8>) {
        self.feed(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        self.responses(Method::Get).pop().expect("a response")
    }

    fn put(&mut self, target: &str, fields: &str, content: &[u8]) -> Response {
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{fields}\r\n",
            content.len()
        );
        self.feed(&[head.as_bytes(), content].concat());
        self.responses(Method::Put).pop().expect("a response").0
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.path().join(name)).ok()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn at(time: Duration) -> Now {
    Now {
        at: Instant::from_millis(1000) + time,
        wall: SystemTime::now() + Duration::from_secs(10) + time,
    }
}
