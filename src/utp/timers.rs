//! The deadlines of one connection.

use crate::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Timer {
    /// End of a linger, of a wait for the peer's FIN, or of one for the first
    /// packet after a SYN.
    Close,
    /// Retransmission time-out, of a SYN as well.
    Rto,
    /// What was overtaken has had the time to arrive.
    Reorder,
    /// Nothing was acknowledged for two round trips: the end of what was sent
    /// may be lost.
    Probe,
    /// The peer's window has been too small for long.
    Persist,
    /// Keepalive.
    Keepalive,
    /// Who accepted may not have heard that its answer arrived.
    Hello,
    /// A partial packet has been held back long enough.
    Cork,
    /// Larger packets are to be tried again.
    Raise,
    /// A frame that could not be had or was still with the kernel, or new data
    /// that waits for its pace: try again.
    Retry,
    /// Delayed acknowledgement.
    Ack,
}

const COUNT: usize = 11;

/// All timers, in the order in which those due at once are handled.
pub const ALL: [Timer; COUNT] = [
    Timer::Close,
    Timer::Reorder,
    Timer::Probe,
    Timer::Rto,
    Timer::Persist,
    Timer::Keepalive,
    Timer::Hello,
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

    #[inline]
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    #[inline]
    pub fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = Instant::FAR;
    }

    pub fn stop_all(&mut self) {
        *self = Self::new();
    }

    #[inline]
    pub fn get(&self, timer: Timer) -> Instant {
        self.0[timer as usize]
    }

    #[inline]
    pub fn is_set(&self, timer: Timer) -> bool {
        self.get(timer) != Instant::FAR
    }

    pub fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.get(timer) <= now && self.is_set(timer)
    }

    /// The nearest deadline.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        let at = self.0.iter().copied().min()?;
        (at != Instant::FAR).then_some(at)
    }
}
