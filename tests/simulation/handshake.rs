//! What became of each SYN. A handshake that times out is nobody's fault only
//! if the wire shows why: each try was lost, or refused for a reason that was
//! counted, or what answered it was lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use fullbore::stats::{DropCounters, DropReason};
use fullbore::time::Instant;

use crate::packet::{ACK, CWR, ECE, RST, SYN, Segment};

/// RFC 9293 section 3.8.3, MUST-23: for so long a SYN is tried at least.
const LEAST: Duration = Duration::from_secs(180);
/// RFC 6298 section 2.1: the first time-out of a SYN.
const FIRST: Duration = Duration::from_secs(1);

/// One connection that somebody wants to open.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub client: SocketAddr,
    pub server: SocketAddr,
    iss: u32,
    /// The one before between the same two ends.
    before: Option<usize>,
    /// When its SYN was sent first, and how often it was sent.
    first: Instant,
    tries: u32,
    /// The last try asked for congestion marks: a reset has it try without
    /// (RFC 3168 section 6.1.1.1).
    asks: bool,
    /// Copies of the SYN that an engine has received, how many of them it
    /// refused, for a reason that it counted, and when it took the first.
    arrived: u32,
    pub refused: u32,
    pub heard: Option<Instant>,
    /// What its server's end has said since; of that, SYN-ACKs and resets that
    /// answer the SYN, and when the first of these was received.
    spoken: u32,
    pub answers: u32,
    answered: Option<Instant>,
}

/// What a frame that waits for an engine is to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Syn(usize),
    Answer(usize),
    Reset(usize),
}

/// All of a world.
#[derive(Debug, Default)]
pub struct Handshakes {
    attempts: Vec<Attempt>,
    /// The last attempt between two ends.
    latest: HashMap<(SocketAddr, SocketAddr), usize>,
}

impl Handshakes {
    /// A host sends a segment.
    pub fn sent(&mut self, now: Instant, s: &Segment) -> Option<Note> {
        let ends = (
            SocketAddr::new(s.src, s.sport),
            SocketAddr::new(s.dst, s.dport),
        );
        if !s.has(SYN) || s.has(ACK) {
            let latest = *self.latest.get(&(ends.1, ends.0))?;
            return self.said(latest, s);
        }
        let known = self.latest.get(&ends).copied();
        let at = known
            .filter(|&at| self.attempts[at].iss == s.seq)
            .unwrap_or(self.attempts.len());
        if at == self.attempts.len() {
            self.latest.insert(ends, at);
            self.attempts.push(Attempt {
                client: ends.0,
                server: ends.1,
                iss: s.seq,
                before: known,
                first: now,
                tries: 0,
                asks: false,
                arrived: 0,
                refused: 0,
                heard: None,
                spoken: 0,
                answers: 0,
                answered: None,
            });
        }
        let attempt = &mut self.attempts[at];
        attempt.tries += 1;
        attempt.asks = s.has(ECE) && s.has(CWR);
        Some(Note::Syn(at))
    }

    /// The server's end says something to that of the latest attempt: perhaps
    /// the answer to it, or to an earlier one.
    fn said(&mut self, latest: usize, s: &Segment) -> Option<Note> {
        let answers = s.has(ACK) && (s.has(SYN) || s.has(RST));
        let mut next = Some(latest);
        while let Some(at) = next {
            let attempt = &mut self.attempts[at];
            next = attempt.before;
            attempt.spoken += u32::from(attempt.arrived > 0);
            if answers && s.ack == attempt.iss.wrapping_add(1) {
                attempt.answers += 1;
                return Some(if s.has(RST) {
                    Note::Reset(at)
                } else {
                    Note::Answer(at)
                });
            }
        }
        None
    }

    /// An engine has received a frame.
    pub fn received(&mut self, now: Instant, note: Note) {
        match note {
            Note::Syn(at) => self.attempts[at].arrived += 1,
            Note::Reset(at) if self.attempts[at].asks => {
                // Once more from the beginning.
                let attempt = &mut self.attempts[at];
                (attempt.spoken, attempt.answers, attempt.heard) = (0, 0, None);
            }
            Note::Answer(at) | Note::Reset(at) => {
                self.attempts[at].answered.get_or_insert(now);
            }
        }
    }

    pub fn attempt(&mut self, at: usize) -> &mut Attempt {
        &mut self.attempts[at]
    }

    /// The first SYN that was taken and to which nothing was said. One that
    /// met a SYN which still waits for its way, as a listener's answer never
    /// does, is `mutual`.
    pub fn unanswered(&self, mutual: bool) -> Option<&Attempt> {
        let way = |a: &Attempt| !mutual || self.latest.contains_key(&(a.server, a.client));
        let of = |a: &&Attempt| a.heard.is_some() && a.spoken == 0 && way(a);
        self.attempts.iter().find(of)
    }

    /// Whether what the wire saw explains that the connection from `client`,
    /// opened at `opened`, timed out at `gone` before it was established.
    /// `max_rto` is that of a client which no user time-out cuts short;
    /// `within`: how long an answer may take from one engine to another;
    /// `reliable`: nothing is lost on the way.
    ///
    /// # Errors
    /// Why it does not.
    pub fn excuse(
        &self,
        client: SocketAddr,
        (opened, gone): (Instant, Instant),
        max_rto: Option<Duration>,
        within: Duration,
        reliable: bool,
    ) -> Result<(), String> {
        let of = |a: &&Attempt| a.client == client && (opened..=gone).contains(&a.first);
        let Some(a) = self.attempts.iter().rev().find(of) else {
            return if reliable {
                Err("it never sent a SYN".into())
            } else {
                Ok(())
            };
        };
        let tried = gone.since(opened);
        let rule = if max_rto.is_some_and(|most| tried < longest(most).min(LEAST)) {
            "it was given up early (RFC 9293 3.8.3)"
        } else if a.answered.is_some_and(|at| at + within <= gone) {
            "it was answered"
        } else if reliable && a.refused == 0 {
            "nothing was lost nor refused"
        } else {
            return Ok(());
        };
        Err(format!("{rule}: {a:?}"))
    }
}

/// How long eight tries last, each time-out twice the one before: three
/// minutes, unless none may be longer than `most`. An acknowledgement from
/// before may cut the first short (RFC 9293 section 3.5.1).
fn longest(most: Duration) -> Duration {
    (1..8).map(|n| (FIRST * (1 << n)).min(most)).sum()
}

/// SYNs that an engine has refused, for whatever reason.
pub fn refusals(drops: &DropCounters) -> u64 {
    const REASONS: [DropReason; 6] = [
        DropReason::TcpPortClosed,
        DropReason::TcpFlagsInvalid,
        DropReason::TcpBacklogFull,
        DropReason::FlowTableFull,
        DropReason::NoRoute,
        DropReason::TxRingFull,
    ];
    REASONS.iter().map(|reason| drops[*reason]).sum()
}
