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
    /// Delayed acknowledgement, and the batch that could not be sent.
    Ack,
    /// Keepalive (RFC 9293 section 3.8.4).
    Keepalive,
    /// End of TIME-WAIT, of a wait for the peer's FIN, or of one for the first
    /// bytes of a peer that has connected.
    Close,
    /// Reordering window of RACK (RFC 8985 section 6.2).
    Reorder,
    /// Zero-window probe, and the override of the silly-window rule
    /// (RFC 9293 sections 3.8.6.1 and 3.8.6.2.1).
    Persist,
    /// A frame that could not be had or was still with the kernel: try again.
    Retry,
    /// A partial segment has been held back long enough.
    Cork,
    /// Larger segments are to be tried again (RFC 8899 section 5.1.1).
    Raise,
}

const COUNT: usize = 10;
/// From [`Timer::Reorder`] on: what few connections have.
const RARE: usize = 5;

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

/// One deadline for each [`Timer`]; [`Instant::FAR`] for those not armed. Those
/// of the second half have memory once one of them has been armed.
#[derive(Clone, Debug)]
pub struct Timers {
    usual: [Instant; COUNT - RARE],
    rare: Option<Box<[Instant; RARE]>>,
}

const NONE: [Instant; RARE] = [Instant::FAR; RARE];

impl Timers {
    pub const fn new() -> Self {
        Self {
            usual: [Instant::FAR; COUNT - RARE],
            rare: None,
        }
    }

    #[inline]
    pub fn set(&mut self, timer: Timer, at: Instant) {
        match self.usual.get_mut(timer as usize) {
            Some(deadline) => *deadline = at,
            None => self.rare.get_or_insert_with(|| Box::new(NONE))[timer as usize % RARE] = at,
        }
    }

    #[inline]
    pub fn stop(&mut self, timer: Timer) {
        match (self.usual.get_mut(timer as usize), &mut self.rare) {
            (Some(deadline), _) => *deadline = Instant::FAR,
            (None, Some(rare)) => rare[timer as usize % RARE] = Instant::FAR,
            (None, None) => {}
        }
    }

    /// Nothing is in flight any more.
    #[inline]
    pub fn stop_sending(&mut self) {
        self.usual[Timer::Rto as usize] = Instant::FAR;
        self.usual[Timer::Probe as usize] = Instant::FAR;
        self.stop(Timer::Reorder);
    }

    pub fn stop_all(&mut self) {
        *self = Self::new();
    }

    #[inline]
    pub fn is_set(&self, timer: Timer) -> bool {
        self.get(timer) != Instant::FAR
    }

    #[inline]
    pub fn get(&self, timer: Timer) -> Instant {
        match (self.usual.get(timer as usize), &self.rare) {
            (Some(&deadline), _) => deadline,
            (None, Some(rare)) => rare[timer as usize % RARE],
            (None, None) => Instant::FAR,
        }
    }

    pub fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.get(timer) <= now && self.is_set(timer)
    }

    /// The nearest deadline.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        let usual = self.usual.iter().copied().min()?;
        let rare = self.rare.iter().flat_map(|r| r.iter()).copied().min();
        let at = rare.map_or(usual, |rare| usual.min(rare));
        (at != Instant::FAR).then_some(at)
    }

    /// Whether memory is kept for timers of which none is armed.
    pub fn has_slack(&self) -> bool {
        self.rare.as_deref() == Some(&NONE)
    }

    /// Gives that memory back.
    pub fn trim(&mut self) {
        if self.has_slack() {
            self.rare = None;
        }
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

    #[test]
    fn each_has_its_own_place() {
        let mut t = Timers::new();
        for (n, timer) in (1..).zip(ALL) {
            assert!(!t.is_set(timer), "{timer:?}");
            t.stop(timer);
            t.set(timer, Instant::from_millis(n));
            assert_eq!(t.next(), Some(Instant::from_millis(1)));
        }
        for (n, timer) in (1..).zip(ALL) {
            assert_eq!(t.get(timer), Instant::from_millis(n), "{timer:?}");
            t.trim();
            assert_eq!(t.next(), Some(Instant::from_millis(n)));
            t.stop(timer);
        }
        assert_eq!((t.next(), t.has_slack()), (None, false), "trimmed before");
        t.set(Timer::Cork, Instant::ZERO);
        assert!(!t.has_slack(), "in use");
        t.stop_all();
        t.set(Timer::Raise, Instant::ZERO);
        t.stop(Timer::Raise);
        assert!(t.has_slack());
        t.trim();
        assert!(!t.has_slack());
    }
}
