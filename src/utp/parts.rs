//! What a connection remembers besides its two halves.

use super::Reason;
use crate::time::Instant;

/// What is owed to the peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckState {
    /// An acknowledgement is due at the end of this batch.
    pub now: bool,
    /// Payload bytes received since the last acknowledgement.
    pub unacked: u32,
    /// Payload bytes received in order since the stream last paused or came
    /// out of order, as far as that can be counted.
    pub run: u32,
    /// Acknowledgements still to be sent without delay.
    pub quick: u8,
    /// They are for what came out of order, or again: packets get lost.
    pub lossy: bool,
    /// Acknowledgements that follow the next at once: one for each packet out
    /// of order, for who counts them.
    pub more: u8,
    /// How often the last may still be repeated if nothing comes.
    pub repeats: u8,
    /// Largest payload received: what the peer's packets look like.
    pub rcv_mss: u16,
    /// Rate limit of answers to what is not believed.
    pub challenges: u8,
    pub challenge_since: Instant,
}

/// Packets to be sent out of the ordinary order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// A SYN.
    pub syn: bool,
    /// A RESET: the connection was aborted.
    pub reset: bool,
    /// An acknowledgement of what was acknowledged before: a keepalive.
    pub keepalive: bool,
    /// A packet more, since nothing is heard of those that are out.
    pub tail_probe: bool,
    /// One packet, into a window too small for it.
    pub force: bool,
    /// The first packet, whatever the congestion window says: a time-out.
    pub first_again: bool,
    /// The last packet although it is not full.
    pub push: bool,
    /// New data has gone out since output was last polled to its end.
    pub sent_new: bool,
}

/// Events not yet polled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    pub connected: bool,
    pub readable: bool,
    pub writable: bool,
    pub peer_closed: bool,
    pub closed: Option<Reason>,
    pub closed_told: bool,
}

/// Repair of losses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// Acknowledgement of the packet before this number ends it; the window
    /// does not go down again before.
    pub point: Option<crate::wire::utp::SeqNr>,
    /// It began with a time-out.
    pub by_timeout: bool,
    /// Acknowledgements in a row that repeat the last, without selective ones.
    pub duplicates: u8,
    /// Where the last repair ended, until more is acknowledged: repeated
    /// acknowledgements of that are echoes of what it sent again (as in RFC 6582
    /// section 3.2).
    pub recover: Option<crate::wire::utp::SeqNr>,
}
