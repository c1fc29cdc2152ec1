//! How far a transfer has come, for whoever draws the bar.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared between a job and its observer; updated by the batch.
#[derive(Debug)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    resumed: AtomicU64,
    retries: AtomicU64,
    phase: AtomicU64,
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Working out the digest of the file to upload.
    Hashing,
    /// Opening a connection, or waiting to try again.
    Connecting,
    /// Content flows.
    Transferring,
    /// All content is there; its digest, or the server's answer, is not.
    Finishing,
}

/// A reading of [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressView {
    /// Size of the file in bytes, once it is known.
    pub total: Option<u64>,
    /// Bytes that are there, or sent.
    pub done: u64,
    /// Bytes of them from an earlier attempt.
    pub resumed: u64,
    /// Connections lost so far.
    pub retries: u64,
    /// What goes on.
    pub phase: Phase,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            total: AtomicU64::new(u64::MAX),
            done: AtomicU64::default(),
            resumed: AtomicU64::default(),
            retries: AtomicU64::default(),
            phase: AtomicU64::new(Phase::Connecting as u64),
        }
    }
}

impl Progress {
    /// The state now.
    #[must_use]
    pub fn view(&self) -> ProgressView {
        let total = self.total.load(Relaxed);
        let phases = [
            Phase::Hashing,
            Phase::Connecting,
            Phase::Transferring,
            Phase::Finishing,
        ];
        let phase = self.phase.load(Relaxed);
        ProgressView {
            total: (total != u64::MAX).then_some(total),
            done: self.done.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            retries: self.retries.load(Relaxed),
            phase: phases
                .into_iter()
                .find(|p| *p as u64 == phase)
                .unwrap_or(Phase::Connecting),
        }
    }

    pub(super) fn set_total(&self, total: u64) {
        self.total.store(total, Relaxed);
    }

    pub(super) fn set_done(&self, done: u64) {
        self.done.store(done, Relaxed);
    }

    pub(super) fn set_resumed(&self, resumed: u64) {
        self.resumed.store(resumed, Relaxed);
    }

    pub(super) fn lost(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u64, Relaxed);
    }
}
