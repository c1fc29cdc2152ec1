//! Packet size discovery (RFC 8899 in spirit): from packets that every path
//! takes up to what the first link does.
//!
//! A packet's number stands for its payload for ever, so that a packet which
//! turns out to be too large cannot be cut. What probes is therefore an
//! ordinary packet, padded by extensions that receivers skip. If it is lost the
//! same payload goes again without them: a probe that fails costs nothing but
//! its bytes, and no acknowledgement can be mistaken.

use crate::wire::utp::SeqNr;

/// Steps smaller than this are not worth a probe, in bytes.
const STEP: u16 = 32;
/// Probes of one size before it counts as too large (RFC 8899 section 5.1.2).
const TRIES: u8 = 3;

/// What is known of the path. Sizes are of payload in an unpadded packet.
#[derive(Clone, Copy, Debug)]
pub struct Mtu {
    /// What every path takes.
    base: u16,
    /// What this path takes.
    size: u16,
    /// What its first link takes.
    most: u16,
    /// What is too large.
    too_large: u16,
    tries: u8,
    /// The packet that probes, and its size.
    probe: Option<(SeqNr, u16)>,
}

impl Mtu {
    /// `base` and `most` in bytes of payload; the search begins at `base`, or
    /// is left out.
    pub fn new(base: u16, most: u16, search: bool) -> Self {
        let base = base.min(most);
        let size = if search { base } else { most };
        Self {
            base,
            size,
            most,
            too_large: most.saturating_add(1),
            tries: 0,
            probe: None,
        }
    }

    /// Payload of a full packet.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// What the first link takes.
    pub const fn most(&self) -> u16 {
        self.most
    }

    /// Payload of a packet that every path takes.
    pub const fn base(&self) -> u16 {
        self.base
    }

    /// The size to try next.
    pub fn next(&self) -> Option<u16> {
        if self.probe.is_some() || self.is_settled() {
            return None;
        }
        // Most paths take what their first link does.
        Some(if self.too_large > self.most {
            self.most
        } else {
            self.size + (self.too_large - self.size) / 2
        })
    }

    /// Whether nothing is left to be tried.
    pub const fn is_settled(&self) -> bool {
        if self.too_large > self.most {
            self.size >= self.most
        } else {
            self.too_large - self.size <= STEP
        }
    }

    /// Whether sizes have been found too large that could be tried again.
    pub const fn may_rise(&self) -> bool {
        self.is_settled() && self.size < self.most
    }

    /// Packet `seq` goes out padded to `size`.
    pub const fn sent(&mut self, seq: SeqNr, size: u16) {
        self.probe = Some((seq, size));
    }

    /// Whether packet `seq` is the probe that is out.
    pub fn is_probe(&self, seq: SeqNr) -> bool {
        self.probe.is_some_and(|(probe, _)| probe == seq)
    }

    /// Packet `seq` has arrived, and was sent `once`; whether packets may be
    /// larger from now on.
    pub fn arrived(&mut self, seq: SeqNr, once: bool) -> bool {
        let Some((_, size)) = self.probe.filter(|(probe, _)| *probe == seq) else {
            return false;
        };
        self.probe = None;
        // Sent again, which went without padding: nobody knows which arrived.
        if !once || size <= self.size || size > self.most {
            return false;
        }
        self.size = size;
        self.tries = 0;
        true
    }

    /// Packet `seq` was lost; whether it was the probe.
    pub fn lost(&mut self, seq: SeqNr) -> bool {
        let Some((_, size)) = self.probe.filter(|(probe, _)| *probe == seq) else {
            return false;
        };
        self.probe = None;
        self.tries += 1;
        if self.tries >= TRIES {
            self.tries = 0;
            self.too_large = self.too_large.min(size).max(self.size + 1);
        }
        true
    }

    /// What got through does so no longer: begins anew.
    pub const fn collapse(&mut self) {
        self.size = self.base;
        self.restart();
    }

    /// Sizes that were too large are tried again.
    pub const fn restart(&mut self) {
        self.too_large = self.most.saturating_add(1);
        self.tries = 0;
        self.probe = None;
    }

    /// The path takes no more than `most`; whether packets become smaller. What
    /// was said before stands.
    pub fn limit(&mut self, most: u16) -> bool {
        let most = most.min(self.most);
        self.most = most;
        self.base = self.base.min(most);
        self.too_large = self.too_large.min(most.saturating_add(1));
        let smaller = self.size > most;
        self.size = self.size.min(most);
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a path that takes `path`; answers the size found and how many
    /// probes it took.
    fn search(mtu: &mut Mtu, path: u16) -> (u16, u32) {
        let mut probes = 0;
        while let Some(size) = mtu.next() {
            let seq = SeqNr(probes as u16);
            mtu.sent(seq, size);
            assert_eq!(mtu.next(), None, "one at a time");
            if size <= path {
                assert!(mtu.arrived(seq, true));
            } else {
                assert!(mtu.lost(seq));
            }
            probes += 1;
        }
        (mtu.size(), probes)
    }

    #[test]
    fn any_path_is_found_within_a_step() {
        assert_eq!(search(&mut Mtu::new(528, 1452, true), 1452), (1452, 1));
        for path in 528..1452 {
            let mut mtu = Mtu::new(528, 1452, true);
            let (size, probes) = search(&mut mtu, path);
            assert!(size <= path && path - size < STEP, "{path}: {size}");
            assert!(probes <= 20, "{path}: {probes}");
            assert!(mtu.may_rise());
            mtu.restart();
            assert_eq!(search(&mut mtu, 1452), (1452, 1), "re-probed");
            mtu.collapse();
            assert_eq!(mtu.size(), 528);
        }
    }

    /// A probe that is out while limits come, first low, then higher.
    #[test]
    fn a_probe_between_two_limits_proves_nothing() {
        let mut mtu = Mtu::new(528, 1452, true);
        mtu.sent(SeqNr(7), 1452);
        mtu.lost(SeqNr(7));
        mtu.sent(SeqNr(8), 700);
        mtu.limit(600);
        mtu.limit(1000);
        assert!(!mtu.arrived(SeqNr(8), true));
        assert_eq!((mtu.size(), mtu.next()), (528, Some(600)));
    }

    #[test]
    fn what_proves_nothing_changes_nothing() {
        let mut mtu = Mtu::new(528, 1452, true);
        mtu.sent(SeqNr(7), 1452);
        assert!(!mtu.arrived(SeqNr(8), true) && !mtu.lost(SeqNr(6)));
        assert!(!mtu.arrived(SeqNr(7), false), "went again without padding");
        assert_eq!((mtu.size(), mtu.next()), (528, Some(1452)));
        mtu.sent(SeqNr(9), 1452);
        assert!(!mtu.limit(1000), "no larger than before");
        assert!(!mtu.arrived(SeqNr(9), true));
        assert_eq!(mtu.next(), Some(1000));
        mtu.sent(SeqNr(10), 1000);
        mtu.limit(900);
        assert!(
            mtu.lost(SeqNr(10)),
            "it was a probe, and is no sign of congestion"
        );
        mtu.limit(1200);
        assert_eq!(mtu.most(), 900, "it was limited before");
        assert_eq!(Mtu::new(528, 1452, false).next(), None, "left out");
        assert_eq!(Mtu::new(528, 300, true).size(), 300);
    }
}
