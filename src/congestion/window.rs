//! The window that every algorithm moves.

/// Initial window in segments (RFC 6928).
pub const DEFAULT_INITIAL_WINDOW: u32 = 10;

/// Upper limit of the congestion window in bytes: the largest window that a
/// peer can advertise (RFC 7323 §2.3) is just below it.
pub const MAX_CWND: u32 = 1 << 30;

/// Bytes that RFC 6928 §2 counts for a segment when segments are larger.
const ORDINARY_SEGMENT: u32 = 1460;

/// Largest segment believed: more does not fit an IP packet.
const MAX_SMSS: u32 = 65_535;

#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Bytes, from `smss` to [`MAX_CWND`].
    pub(super) cwnd: u32,
    /// Bytes, at least two segments when set.
    pub(super) ssthresh: u32,
    /// Bytes, at least 1.
    pub(super) smss: u32,
    initial_segments: u32,
}

impl Window {
    pub(super) fn new(smss: u32, initial_segments: u32) -> Self {
        let mut window = Self {
            cwnd: 0,
            ssthresh: u32::MAX,
            smss: smss.clamp(1, MAX_SMSS),
            initial_segments: initial_segments.max(1),
        };
        window.set_cwnd(window.initial());
        window
    }

    /// The initial window in bytes: `min(n*SMSS, max(2*SMSS, n*1460))`.
    pub(super) fn initial(&self) -> u32 {
        let n = self.initial_segments;
        let ceiling = n.saturating_mul(ORDINARY_SEGMENT).max(self.smss * 2);
        n.saturating_mul(self.smss).min(ceiling).min(MAX_CWND)
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    pub(super) fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(self.smss, MAX_CWND);
    }

    /// RFC 5681 §3.1, equation 4: never below two segments.
    pub(super) fn set_ssthresh(&mut self, ssthresh: u32) {
        self.ssthresh = ssthresh.clamp(self.smss * 2, MAX_CWND);
    }

    pub(super) fn set_smss(&mut self, smss: u32) {
        self.smss = smss.clamp(1, MAX_SMSS);
        self.set_cwnd(self.cwnd);
        self.ssthresh = self.ssthresh.max(self.smss * 2);
    }

    pub(super) fn grow(&mut self, bytes: u64) {
        let grown = u64::from(self.cwnd).saturating_add(bytes);
        self.cwnd = u32::try_from(grown).unwrap_or(MAX_CWND).min(MAX_CWND);
    }

    /// Falls to `cwnd` bytes, but not below `least`, and does not return from
    /// there by slow start.
    pub(super) fn lower(&mut self, cwnd: u32, least: u32) {
        self.set_cwnd(cwnd.max(least));
        self.set_ssthresh(self.cwnd);
    }

    /// Grows by `credit`, which is in bytes times the window times `unit`, and
    /// leaves the remainder.
    pub(super) fn earn(&mut self, credit: &mut u64, unit: u64) {
        let whole = u64::from(self.cwnd) * unit;
        self.grow(*credit / whole);
        *credit %= whole;
    }

    /// Falls by `part` in 1024 of what was acknowledged, but not below `least`
    /// segments.
    pub(super) fn give_way(&mut self, acked: u32, part: u64, least: u32) {
        let acked = acked.min(self.cwnd);
        let fall = u64::from(acked) * part.min(1024) / 1024;
        let least = least.saturating_mul(self.smss).min(self.cwnd);
        // No more than what was acknowledged.
        self.lower(self.cwnd - fall as u32, least);
    }

    /// Grows by what was acknowledged, up to the threshold; returns the bytes
    /// that are left over for congestion avoidance.
    pub(super) fn slow_start(&mut self, acked: u32) -> u32 {
        let room = self.ssthresh.saturating_sub(self.cwnd);
        let used = acked.min(room);
        self.grow(u64::from(used));
        acked - used
    }
}
