//! Counters of a server, read by other threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::transfer::serve::Tally;

/// Counts what the engines of one server did. Updated by the event, never by
/// the packet.
#[derive(Debug, Default)]
pub struct ServerStats {
    connections: AtomicU64,
    open: AtomicU64,
    refused: AtomicU64,
    requests: AtomicU64,
    responses: [AtomicU64; 5],
    sent: AtomicU64,
    received: AtomicU64,
    timed_out: AtomicU64,
}

/// A reading of [`ServerStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerTotals {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections refused for want of room.
    pub refused: u64,
    /// Requests.
    pub requests: u64,
    /// Responses 2xx.
    pub ok: u64,
    /// Responses 3xx.
    pub redirected: u64,
    /// Responses 4xx.
    pub client_errors: u64,
    /// Responses 5xx.
    pub server_errors: u64,
    /// Content bytes sent.
    pub sent_bytes: u64,
    /// Content bytes received.
    pub received_bytes: u64,
    /// Connections ended because the peer was slow or idle.
    pub timed_out: u64,
}

impl ServerStats {
    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn add(&self, tally: &Tally) {
        if *tally == Tally::default() {
            return;
        }
        self.requests.fetch_add(tally.requests, Relaxed);
        for (total, n) in self.responses.iter().zip(tally.responses) {
            total.fetch_add(n, Relaxed);
        }
        self.sent.fetch_add(tally.sent, Relaxed);
        self.received.fetch_add(tally.received, Relaxed);
        self.timed_out.fetch_add(tally.timed_out, Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn totals(&self) -> ServerTotals {
        let [_, ok, redirected, client_errors, server_errors] =
            self.responses.each_ref().map(|n| n.load(Relaxed));
        ServerTotals {
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            refused: self.refused.load(Relaxed),
            requests: self.requests.load(Relaxed),
            ok,
            redirected,
            client_errors,
            server_errors,
            sent_bytes: self.sent.load(Relaxed),
            received_bytes: self.received.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
        }
    }
}
