//! The deadlines of one connection.

use crate::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Timer {
    /// Retransmission time-out (RFC 6298).
    Rto,
    /// Tail loss probe (RFC 8985 section 7).
    Probe,
    /// Reordering window of RACK (RFC 8985 section 6.2).
    Reorder,
    /// Delayed acknowledgement, and the batch that could not be sent.
    Ack,
    /// Zero-window probe, and the override of the silly-window rule
    /// (RFC 9293 sections 3.8.6.1 and 3.8.6.2.1).
    Persist,
    /// A frame that could not be had or was still with the kernel: try again.
    Retry,
    /// Keepalive (RFC 9293 section 3.8.4).
    Keepalive,
    /// End of TIME-WAIT, of a wait for the peer's FIN, or of one for the first
    /// bytes of a peer that has connected.
    Close,
    /// A partial segment has been held back long enough.
    Cork,
    /// Larger segments are to be tried again (RFC 8899 section 5.1.1).
    Raise,
}

const COUNT: usize = 10;

/// All timers, in the order in which those due at once are handled.
pub const ALL: [Timer; COUNT] = [
    Timer::Close,
    Timer::Reorder,
    Timer::Probe,
    Timer::Rto,
    Timer::Persist,
    Timer::Keepalive,
    Timer::Cork,
    Timer::Raise,
    Timer::Retry,
    Timer::Ack,
];

/// One deadline for each [`Timer`]; [`Instant::FAR`] for those not armed.
#[derive(Clone, Debug)]
pub struct Timers([Instant; COUNT]);

impl Timers {
    pub const fn new() -> Self {
        Self([Instant::FAR; COUNT])
    }

    pub const fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    pub const fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = Instant::FAR;
    }

    pub const fn stop_all(&mut self) {
        self.0 = [Instant::FAR; COUNT];
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize] != Instant::FAR
    }

    pub const fn get(&self, timer: Timer) -> Instant {
        self.0[timer as usize]
    }

    pub fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.0[timer as usize] <= now && self.is_set(timer)
    }

    /// The nearest deadline.
    pub fn next(&self) -> Option<Instant> {
        let at = self.0.iter().copied().min()?;
        (at != Instant::FAR).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_deadline_is_next() {
        let mut t = Timers::new();
        assert_eq!(t.next(), None);
        t.set(Timer::Rto, Instant::from_millis(9));
        t.set(Timer::Ack, Instant::from_millis(4));
        assert_eq!(t.next(), Some(Instant::from_millis(4)));
        assert!(t.is_due(Timer::Ack, Instant::from_millis(4)));
        t.stop(Timer::Ack);
        assert!(!t.is_due(Timer::Ack, Instant::FAR));
        assert_eq!(t.next(), Some(Instant::from_millis(9)));
    }
}
