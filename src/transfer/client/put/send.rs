//! The request and its content.

use super::{Front, Out, Put, READ_AHEAD, ReadWish};
use crate::time::Instant;
use crate::transfer::client::ClientError;
use crate::transfer::client::progress::Phase;
use crate::transfer::disk::{Block, DiskError};
use crate::transfer::http::chunk_out;

impl<B: Block> Put<B> {
    /// The connection has come about.
    pub fn on_connected(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            link.x.connected = true;
            link.x.active = now;
            self.progress.enter(Phase::Transferring);
        }
    }

    /// What is to be sent next.
    #[must_use]
    pub fn front(&self) -> Option<Front<'_>> {
        let link = self.link.as_ref()?;
        let head = link.x.out();
        if !head.is_empty() {
            return Some(Front::Bytes(head));
        }
        if !link.x.connected || !link.proceed {
            return None;
        }
        match link.out.front()? {
            Out::Bytes(bytes, sent) => Some(Front::Bytes(bytes.get(*sent..).unwrap_or_default())),
            Out::Pending(_) => None,
            Out::Block(..) => Some(Front::Block),
        }
    }

    /// `n` of the bytes that [`front`](Self::front) showed have been sent.
    pub fn bytes_sent(&mut self, now: Instant, n: usize) {
        let Some(link) = &mut self.link else { return };
        if !link.x.out().is_empty() {
            return link.x.advance(now, n);
        }
        if let Some(Out::Bytes(bytes, sent)) = link.out.front_mut() {
            *sent += n;
            link.x.active = now;
            if *sent >= bytes.len() {
                link.out.pop_front();
                self.sent();
            }
        }
    }

    /// Takes the block at the front to send it; `len` are its bytes.
    pub fn take_block(&mut self, now: Instant, len: impl FnOnce(&B) -> usize) -> Option<B> {
        let link = self.link.as_mut()?;
        if !matches!(link.out.front(), Some(Out::Block(..))) {
            return None;
        }
        let Some(Out::Block(block, _)) = link.out.pop_front() else {
            return None;
        };
        link.blocks = link.blocks.saturating_sub(1);
        link.x.active = now;
        let done = self.progress.view().done + len(&block) as u64;
        self.progress.set_done(done);
        self.sent();
        Some(block)
    }

    pub(super) fn sent(&mut self) {
        if self
            .link
            .as_ref()
            .is_some_and(|l| l.ended && l.out.is_empty())
        {
            self.progress.enter(Phase::Finishing);
        }
    }

    /// A block to read ahead, of at most `max` bytes; with the number to give
    /// to [`on_read`](Self::on_read).
    #[must_use]
    pub fn next_read(&self, max: usize) -> Option<(u64, ReadWish)> {
        let link = self
            .link
            .as_ref()
            .filter(|l| l.x.connected && !l.ended && l.final_response.is_none())
            // Until then it is not known how to hash it.
            .filter(|l| l.proceed || !self.chunked)?;
        // How much comes from a stream is known when it has come.
        if link.blocks >= if self.size.is_some() { READ_AHEAD } else { 1 } {
            return None;
        }
        let left = self.size.map_or(u64::MAX, |s| s - link.read.min(s));
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(max);
        let wish = ReadWish {
            file: self.file.clone(),
            offset: link.read,
            len,
        };
        (len > 0).then_some((self.serial, wish))
    }

    /// The block that [`next_read`](Self::next_read) asked for is on its way,
    /// with `len` bytes of it.
    pub fn read_issued(&mut self, len: usize) {
        let Some(link) = &mut self.link else { return };
        link.blocks += 1;
        if let Some(size) = self.size {
            if self.chunked {
                link.out
                    .push_back(Out::Bytes(chunk_out::before(len, link.chunks == 0), 0));
                link.chunks += 1;
            }
            link.read += len as u64;
            if !self.chunked && link.read >= size {
                link.ended = true;
            }
        }
        link.out.push_back(Out::Pending(len));
    }

    /// Bytes asked for and not yet taken to be sent.
    #[must_use]
    pub fn read_ahead(&self) -> usize {
        let blocks = self.link.iter().flat_map(|l| &l.out);
        blocks
            .map(|o| {
                if let Out::Pending(n) | Out::Block(_, n) = o {
                    *n
                } else {
                    0
                }
            })
            .sum()
    }

    /// A block has been read. Gives back one that is of no use.
    pub fn on_read(
        &mut self,
        serial: u64,
        block: B,
        result: Result<usize, DiskError>,
    ) -> Option<B> {
        if serial != self.serial {
            return Some(block);
        }
        let Some(link) = &mut self.link else {
            return Some(block);
        };
        let got = match result {
            Ok(got) => got,
            Err(e) => {
                self.fail(ClientError::Local(format!("cannot read the file: {e}")));
                return Some(block);
            }
        };
        let Some(at) = link.out.iter().position(|o| matches!(o, Out::Pending(_))) else {
            return Some(block);
        };
        let Some(Out::Pending(want)) = link.out.remove(at) else {
            return Some(block);
        };
        // Asked for at the end alone: a disk thread that hashes the next block
        // would have to be waited for.
        match self.size {
            Some(_) if got != want => {
                self.fail(ClientError::Local(
                    "the file became shorter while it was read".into(),
                ));
                return Some(block);
            }
            Some(size) => {
                link.out.insert(at, Out::Block(block, got));
                let whole =
                    link.read >= size && !link.out.iter().any(|o| matches!(o, Out::Pending(_)));
                if self.chunked && whole {
                    let digest = self.file.hashed();
                    link.out.push_back(Out::Bytes(
                        chunk_out::end(link.chunks == 0, digest.as_ref()),
                        0,
                    ));
                    link.ended = true;
                    self.digest = digest;
                }
            }
            None if got == 0 => {
                let digest = self.file.hashed();
                link.out.push_back(Out::Bytes(
                    chunk_out::end(link.chunks == 0, digest.as_ref()),
                    0,
                ));
                link.ended = true;
                link.blocks = 0;
                self.digest = digest;
                self.size = Some(link.read);
                return Some(block);
            }
            None => {
                link.out
                    .push_back(Out::Bytes(chunk_out::before(got, link.chunks == 0), 0));
                link.out.push_back(Out::Block(block, got));
                link.chunks += 1;
                link.read += got as u64;
            }
        }
        None
    }
}
