//! What comes of the answers from the disk.

use std::sync::Arc;

use super::{Out, Receiving, ServerConn, State, expected_digests};
use crate::transfer::disk::{Block, DiskError, Found, Op, Outcome, Upload};
use crate::transfer::http::target::{Path, Target};
use crate::transfer::http::{Body, Framing, Method, Refusal, Status, digest, fields};
use crate::transfer::serve::Now;
use crate::transfer::serve::reply::{self, Reply};

impl<B: Block> ServerConn<B> {
    /// The next operation for a disk thread.
    pub fn poll_op(&mut self) -> Option<Op<B>> {
        self.ops.pop_front()
    }

    /// Takes the answer to an operation; gives back a block that is of no use
    /// any more.
    pub fn on_outcome(&mut self, now: Now, outcome: Outcome<B>) -> Option<B> {
        match outcome {
            Outcome::Found(result) => self.on_found(now, result),
            Outcome::Listed(result) => {
                if let State::Listing(method, json) = self.state {
                    let reply = match result {
                        Ok(text) => reply::listing(text, json, method, now, self.keep_alive),
                        Err(e) => self.disk_reply(e, method, now),
                    };
                    self.respond(now, reply);
                }
            }
            Outcome::Digest(result) => {
                if let State::Digesting(request, file, mut digests) =
                    std::mem::replace(&mut self.state, State::Closed)
                {
                    // A wish, not a condition: without it the file is sent.
                    if let Ok(digest) = result {
                        digests.insert(digest);
                    }
                    let keep = self.keep_alive;
                    let reply = reply::file(&self.policy, &request, &file, digests, now, keep);
                    self.respond(now, reply);
                }
            }
            Outcome::Created(result) => self.on_created(now, result),
            Outcome::Committed(result) => {
                if matches!(self.state, State::Committing) {
                    let reply = match result {
                        Ok(stored) => reply::stored(&stored, now, self.keep_alive),
                        Err(e) => self.disk_reply(e, Method::Put, now),
                    };
                    self.respond(now, reply);
                }
            }
            Outcome::Read(block, result) => return self.on_read(now, block, result),
            Outcome::Written(block, result) => {
                self.on_written(now, result);
                return Some(block);
            }
            Outcome::Task(_) => {}
        }
        None
    }

    pub(super) fn disk_reply(&self, error: DiskError, method: Method, now: Now) -> Reply {
        let refusal = reply::disk_refusal(error, method == Method::Put);
        reply::refuse(&self.policy, refusal, method, now, self.keep_alive)
    }

    pub(super) fn on_found(&mut self, now: Now, result: Result<Found, DiskError>) {
        let State::Lookup(request) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        let method = request.method;
        match result {
            Ok(Found::File(file, digests)) => {
                let file = Arc::new(file);
                let wanted = request
                    .want_repr_digest
                    .as_deref()
                    .and_then(digest::wanted)
                    .filter(|&algorithm| digests.get(algorithm).is_none());
                if let Some(algorithm) = wanted {
                    let op = Op::Digest {
                        root: self.policy.root.clone(),
                        file: file.clone(),
                        algorithm,
                    };
                    self.wait(State::Digesting(request, file, digests), op);
                } else {
                    let keep = self.keep_alive;
                    let reply = reply::file(&self.policy, &request, &file, digests, now, keep);
                    self.respond(now, reply);
                }
            }
            Ok(Found::Directory(dir)) => {
                let path = match &request.target {
                    Target::Path(path) => path.clone(),
                    Target::Server => Path::default(),
                };
                if !self.policy.listing {
                    let refusal = Refusal::new(Status::FORBIDDEN, "directories are not listed");
                    let reply = reply::refuse(&self.policy, refusal, method, now, self.keep_alive);
                    self.respond(now, reply);
                } else if path.is_directory() {
                    let json = request.accept.as_deref().is_some_and(fields::prefers_json);
                    self.wait(State::Listing(method, json), Op::List { dir, path, json });
                } else {
                    let reply = reply::redirect(&path, method, now, self.keep_alive);
                    self.respond(now, reply);
                }
            }
            Err(e) => {
                let reply = self.disk_reply(e, method, now);
                self.respond(now, reply);
            }
        }
    }

    pub(super) fn on_created(&mut self, now: Now, result: Result<Arc<Upload>, DiskError>) {
        let State::Creating(request) = std::mem::replace(&mut self.state, State::Closed) else {
            if let Ok(upload) = result {
                self.ops.push_back(Op::Discard(upload));
            }
            return;
        };
        match result {
            Ok(upload) => {
                if request.expect_continue && request.framing != Framing::Length(0) {
                    self.out.push_back(Out::Bytes {
                        data: reply::proceed(upload.algorithm(), now),
                        sent: 0,
                    });
                }
                let expected = expected_digests(&request).unwrap_or_default();
                let body = Body::new(request.framing);
                self.start_window(now.at);
                self.state = State::Receiving(Box::new(Receiving {
                    upload,
                    body,
                    expected,
                    received: 0,
                    written: 0,
                }));
                self.finish_upload(now); // there may be nothing to come
            }
            Err(e) => self.refuse_request(now, &request, reply::disk_refusal(e, true)),
        }
    }

    pub(super) fn on_written(&mut self, now: Now, result: Result<u64, DiskError>) {
        let State::Receiving(receiving) = &mut self.state else {
            return;
        };
        match result {
            Ok(n) => {
                receiving.written += n;
                self.finish_upload(now);
            }
            Err(e) => self.drop_upload(now, reply::disk_refusal(e, true)),
        }
    }
}
