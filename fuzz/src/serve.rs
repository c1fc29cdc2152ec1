//! The server's side of an HTTP connection, with a disk that is asked at once.
//! What is answered does not depend on where the stream was cut, and is HTTP.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fullbore::time::Instant;
use fullbore::transfer::disk::{DiskError, Op, Outcome, Root};
use fullbore::transfer::http::{Framing, HeadBuffer, Method, response};
use fullbore::transfer::serve::{Close, Front, Now, Policy, ServerConn};
use tempfile::TempDir;

use super::input::Input;

/// Bytes in a block.
const BLOCK: usize = 500;
/// Steps after which a connection that goes nowhere is a defect.
const STEPS: usize = 100_000;

thread_local! {
    /// Files to be served. Nothing is ever written among them: uploads fail
    /// when they are complete.
    static DIR: TempDir = {
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join("a"), "hello, world").expect("a file");
        fs::write(dir.path().join("b"), [7; 1700]).expect("a file");
        fs::write(dir.path().join("e"), "").expect("a file");
        fs::create_dir(dir.path().join("d")).expect("a directory");
        dir
    };
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let mut cuts: Vec<usize> = (0..input.below(4)).map(|_| input.u8().into()).collect();
    cuts.sort_unstable();
    let stream = input.rest();
    let whole = serve(kind, &[stream]);
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts {
        let to = cut.clamp(from, stream.len());
        pieces.push(&stream[from..to]);
        from = to;
    }
    pieces.push(&stream[from..]);
    assert_eq!(whole, serve(kind, &pieces));
}

fn now(seconds: u64) -> Now {
    Now {
        at: Instant::from_millis(1000 * (seconds + 10)),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds),
    }
}

/// Answers, as bytes, and how the connection ended.
fn serve(kind: u8, pieces: &[&[u8]]) -> (Vec<u8>, Option<Close>) {
    let policy = DIR.with(|dir| Policy {
        writable: kind & 1 != 0,
        listing: kind & 2 != 0,
        max_head: 1000,
        max_fields: 8,
        max_upload: 3000,
        ..Policy::new(Arc::new(Root::open(dir.path()).expect("a directory")))
    });
    let mut server = Server {
        conn: ServerConn::new(Arc::new(policy), now(0)),
        sent: Vec::new(),
        close: None,
    };
    for piece in pieces {
        let mut rest = *piece;
        let mut steps = 0;
        while !rest.is_empty() {
            steps += 1;
            assert!(steps < STEPS, "no progress");
            let taken = server.conn.on_bytes(now(0), rest);
            assert!(taken.consumed <= rest.len() && taken.data.end <= taken.consumed);
            if !taken.data.is_empty() {
                let block = rest[taken.data.clone()].to_vec();
                let upload = server.conn.upload().expect("content has an upload").clone();
                let result = upload.sink().write(taken.offset, &block);
                let _ = server
                    .conn
                    .on_outcome(now(0), Outcome::Written(block, result));
            }
            rest = &rest[taken.consumed..];
            let busy = server.pump();
            if taken.consumed == 0 && !busy && !server.conn.wants_input() {
                break;
            }
        }
    }
    server.conn.on_eof();
    server.pump();
    // Whatever it waits for, it does not wait for ever.
    for minute in 1.. {
        if server.close.is_some() {
            break;
        }
        assert!(minute < 1000, "it is never over");
        server.conn.handle_timeout(now(60 * minute), 0);
        server.pump();
    }
    let _ = server.conn.on_closed();
    check_answers(&server.sent);
    (server.sent, server.close)
}

struct Server {
    conn: ServerConn<Vec<u8>>,
    sent: Vec<u8>,
    close: Option<Close>,
}

impl Server {
    /// Does everything that can be done; whether there was anything.
    fn pump(&mut self) -> bool {
        let mut any = false;
        loop {
            let mut busy = false;
            while let Some(op) = self.conn.poll_op() {
                busy = true;
                let outcome = match op {
                    Op::Commit { .. } => Some(Outcome::Committed(Err(DiskError::NotFound))),
                    other => other.run(),
                };
                if let Some(outcome) = outcome {
                    let _ = self.conn.on_outcome(now(0), outcome);
                }
            }
            while let Some(wish) = self.conn.next_read(BLOCK) {
                busy = true;
                self.conn.read_issued(wish.len);
                let mut block = vec![0; BLOCK];
                let result = wish.file.read(wish.offset, wish.len, &mut block);
                let _ = self.conn.on_outcome(now(0), Outcome::Read(block, result));
            }
            while let Some(front) = self.conn.front() {
                busy = true;
                match front {
                    Front::Bytes(bytes) => {
                        let n = bytes.len();
                        self.sent.extend_from_slice(bytes);
                        self.conn.bytes_sent(now(0), n);
                    }
                    Front::Block => {
                        let block = self.conn.take_block(now(0), Vec::len).expect("a block");
                        self.sent.extend_from_slice(&block);
                    }
                }
            }
            if let Some(close) = self.conn.poll_close() {
                self.close = Some(close);
            }
            any |= busy;
            if !busy {
                return any;
            }
        }
    }
}

/// Every answer but the last is whole. Answers to HEAD cannot be told from
/// others, so reading stops where the next head is none.
fn check_answers(mut rest: &[u8]) {
    while !rest.is_empty() {
        let mut head = HeadBuffer::new(4096);
        let Ok((n, true)) = head.push(rest) else {
            return;
        };
        let Ok(answer) = response::parse(head.bytes(), Method::Get) else {
            return;
        };
        let len = match answer.framing {
            Framing::Length(len) => len as usize,
            Framing::None => 0,
            other => panic!("never sent: {other:?}"),
        };
        rest = rest.get(n + len..).unwrap_or_default();
    }
}
