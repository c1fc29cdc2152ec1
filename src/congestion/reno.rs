//! Additive increase, multiplicative decrease (RFC 5681, RFC 3465).

use super::Signal;
use super::window::Window;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reno {
    /// Acknowledged bytes not yet turned into growth, below one window.
    credit: u32,
}

impl Reno {
    /// One segment for each window acknowledged (RFC 3465 §2.1).
    pub(super) fn grow(&mut self, window: &mut Window, acked: u32) {
        let credit = self.credit.saturating_add(acked);
        let windows = credit / window.cwnd;
        self.credit = credit % window.cwnd;
        window.grow(u64::from(windows) * u64::from(window.smss));
    }

    pub(super) fn restart(&mut self) {
        self.credit = 0;
    }

    /// Half of `used` after a loss, four fifths after a mark (RFC 8511 §3).
    pub(super) fn back_off(&mut self, used: u32, signal: Signal) -> u32 {
        self.credit = 0;
        match signal {
            Signal::Loss | Signal::Timeout => used / 2,
            Signal::Ecn => used - used / 5,
        }
    }
}
