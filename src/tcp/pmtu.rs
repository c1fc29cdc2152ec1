//! The largest segment that the path takes: what the network reports
//! (RFC 1191, RFC 8201), and what is found out by trying (RFC 4821, RFC 8899).
//!
//! All sizes here are payload without options, as in the MSS option.

use std::time::Duration;

use super::Reason;
use super::State;
use super::connection::{Connection, MIN_MSS, TIMESTAMPS_LEN};
use super::loss::Phase;
use super::timers::Timer;
use super::undo::Frto;
use crate::frame::{Pool, TxDesc};
use crate::time::Instant;
use crate::wire::tcp::SeqNumber;
use crate::wire::template::Template;

/// Whether the largest segment that the path takes is found out by trying.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum MtuProbing {
    /// No: reports of routers alone lower it.
    #[default]
    Off,
    /// Once large segments seem to vanish without a report.
    BlackHole,
    /// From the start, beginning with a size that nearly every path takes.
    On,
}

/// Time-outs in a row of a large segment after which it goes in parts (RFC
/// 4821 section 7.7; Linux: 3).
const BLACK_HOLE_TIMEOUTS: u8 = 3;
/// Where the search begins over IPv4: BASE_PLPMTU, as Linux has it.
const BASE_V4: u16 = 1024;
/// Nothing smaller is tried over IPv4: every host takes packets of 576 bytes.
const MIN_V4: u16 = 536;
/// IPv6 has no links with less than 1280 bytes, so no search below.
const BASE_V6: u16 = 1220;
/// The search ends when it is known this closely.
const STEP: u16 = 16;
/// Time until larger segments are tried again: PMTU_RAISE_TIMER of RFC 8899
/// section 5.1.1, and RFC 8201 section 4.
const RAISE: Duration = Duration::from_secs(600);
/// Full segments that follow a probe, so that its loss shows.
const FOLLOWERS: u32 = 5;
/// Reports of less than this, options subtracted, are lies.
const MIN_REPORTED: u16 = 256;

/// A segment that is larger than those known to get through.
#[derive(Clone, Copy, Debug)]
struct Probe {
    from: SeqNumber,
    end: SeqNumber,
    size: u16,
}

/// What is known of the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PathMtu {
    /// What the link and both ends allow.
    most: u16,
    /// What segments have now.
    used: u16,
    /// Smallest size that did not get through, or above `most`.
    too_large: u16,
    /// The size is to be found out.
    searching: bool,
    probe: Option<Probe>,
    /// A probe is wanted as soon as it can be sent.
    pub wanted: bool,
    /// Payload of the probe that is being sent; 0 otherwise.
    pub sending: u16,
}

impl PathMtu {
    /// The next size to try.
    const fn next_size(&self) -> Option<u16> {
        if !self.searching || self.used >= self.most {
            None
        } else if self.too_large > self.most {
            Some(self.most)
        } else if self.too_large - self.used <= STEP {
            None
        } else {
            Some(self.used + (self.too_large - self.used) / 2)
        }
    }

    fn want(&mut self) {
        self.wanted = self.probe.is_none() && self.next_size().is_some();
    }

    /// Forgets what did not get through: paths change.
    fn search_anew(&mut self) {
        self.searching = self.used < self.most;
        self.too_large = self.most + 1;
        self.want();
    }

    /// Whether a probe is in flight.
    #[inline]
    pub const fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// The size in use, if the path is what limits it.
    pub const fn limit(&self) -> Option<u16> {
        if self.used < self.most {
            Some(self.used)
        } else {
            None
        }
    }
}

impl Connection {
    const fn options_len(&self) -> u16 {
        if self.ts.is_some() { TIMESTAMPS_LEN } else { 0 }
    }

    /// Both ends have said what they take: `size`. The search is among what
    /// fits a chunk; longer segments are glued from several when it is over.
    pub(super) fn begin_search(&mut self, whole: u16) {
        let size = self.chunk_size(whole);
        self.mtu = PathMtu {
            most: size,
            used: size,
            too_large: size + 1,
            ..PathMtu::default()
        };
        if self.config.mtu_probing == MtuProbing::On {
            let (base, _) = self.floors();
            self.mtu.used = size.min(base);
            self.mtu.search_anew();
        }
        self.snd.mss = self.mtu.used - self.options_len();
        self.snd.wire = if self.mtu.used == size {
            whole - self.options_len()
        } else {
            self.snd.mss
        };
    }

    /// What of a segment of `whole` bytes a chunk is to take: all that it can,
    /// for fewer chunks cost less than fewer segments; but equal parts where
    /// more than a fifth of the segment would be left unused.
    fn chunk_size(&self, whole: u16) -> u16 {
        if whole <= self.chunk {
            return whole;
        }
        let options = self.options_len();
        let (all, each) = (whole - options, self.chunk - options);
        let parts = all / each;
        if u32::from(parts * each) * 5 >= u32::from(all) * 4 {
            self.chunk
        } else {
            all / (parts + 1) + options
        }
    }

    /// The payload that a received chunk is expected to bring.
    pub(super) const fn payload_of_chunk(&self) -> u32 {
        if self.mss <= self.chunk {
            self.mss as u32
        } else {
            (self.mss / self.mss.div_ceil(self.chunk)) as u32
        }
    }

    /// Payload of the longest segment sent, in bytes: one chunk's or more.
    #[must_use]
    pub const fn longest_segment(&self) -> usize {
        self.snd.wire as usize
    }

    /// Where a search begins, and where it does not go below.
    const fn floors(&self) -> (u16, u16) {
        if self.is_ipv6() {
            (BASE_V6, BASE_V6)
        } else {
            (BASE_V4, MIN_V4)
        }
    }

    fn use_size(&mut self, size: u16) {
        self.mtu.used = size;
        self.snd.mss = size.saturating_sub(self.options_len()).max(1);
        // Nothing longer is known to get through.
        self.snd.wire = self.snd.mss;
        self.cc.set_smss(u32::from(self.snd.mss));
    }

    /// Caps the size of segments.
    pub(super) fn cap_size(&mut self, most: u16) {
        let most = most.max(MIN_MSS);
        self.snd.wire = self
            .snd
            .wire
            .min(most.saturating_sub(self.options_len()).max(1));
        if most < self.mtu.most {
            self.mtu.most = most;
            self.mtu.too_large = self.mtu.too_large.min(most + 1);
            if most < self.mtu.used {
                self.use_size(most);
            }
            self.mtu.want();
        }
    }

    /// A router says that packets must be smaller: `mss` is the largest
    /// payload, without options, that fits. `quoted` is the sequence number
    /// in its report, which must be one in flight (RFC 5927 section 7).
    ///
    /// What was too large goes again at once, in parts. That the path is
    /// narrow does not mean that it is full: the window stays as it is
    /// (RFC 1191 section 6.5, RFC 8201 section 5.4).
    pub fn handle_path_mtu(&mut self, now: Instant, mss: u16, quoted: SeqNumber) {
        self.settle_answer();
        let payload = mss.saturating_sub(self.options_len());
        if !self.is_in_flight(quoted) || !self.state.is_synchronized() || payload < MIN_REPORTED {
            return;
        }
        if let Some(probe) = self.mtu.probe
            && probe.size > mss
            && probe.from.le(quoted)
            && quoted.lt(probe.end)
        {
            self.mtu.probe = None;
            self.mtu.too_large = self.mtu.too_large.min(mss + 1);
        } else if payload >= self.snd.wire {
            return;
        }
        // Of those that were glued none can have got through, and nearly all
        // were if any could be.
        let glued = self.snd.wire > self.snd.mss;
        if payload < self.snd.mss {
            self.mtu.too_large = mss + 1;
            self.use_size(mss);
        } else if glued {
            self.snd.wire = payload;
        }
        for i in 0..self.snd.sent_count() {
            let lost = |s: &super::send::Segment| s.len > payload || (glued && s.len > 0);
            if self.snd.get(i).is_some_and(lost) {
                self.snd.mark_lost(i);
            }
        }
        self.resend_without_reduction();
        self.settle_search(now);
    }

    /// What is marked lost was too large, or a probe: it goes again, and the
    /// window stays.
    fn resend_without_reduction(&mut self) {
        if self.recovery.is_open() && self.snd.lost() > 0 {
            self.recovery.phase = Phase::Loss {
                point: self.snd.nxt,
            };
            self.recovery.forget_undo();
            self.recovery.frto = Frto::No;
            self.recovery.unreduced = true;
            self.timers.stop(Timer::Probe);
        }
    }

    /// Goes on with the search, or leaves it until the path may have changed.
    fn settle_search(&mut self, now: Instant) {
        self.mtu.want();
        if self.mtu.probe.is_some() || self.mtu.wanted {
            return;
        }
        self.mtu.searching = false;
        if self.mtu.used < self.mtu.most && self.config.mtu_probing != MtuProbing::Off {
            self.timers.set(Timer::Raise, now + RAISE);
        }
    }

    /// Larger segments may get through by now.
    pub(super) fn raise_timeout(&mut self) {
        self.mtu.search_anew();
    }

    /// A time-out: the path may swallow large segments without a word (RFC
    /// 4821 section 7.7, RFC 8899 section 4.3).
    pub(super) fn suspect_black_hole(&mut self) {
        self.mtu.probe = None;
        self.mtu.want();
        if self.config.mtu_probing != MtuProbing::Off {
            self.snd.wire = self.snd.mss;
        }
        if self.config.mtu_probing == MtuProbing::Off
            || !self.timeouts.is_multiple_of(BLACK_HOLE_TIMEOUTS)
        {
            return;
        }
        let (base, least) = self.floors();
        let size = if self.mtu.used > base { base } else { least };
        let options = self.options_len();
        let vanished = self.snd.first().is_some_and(|s| s.len + options > size);
        if !vanished || size >= self.mtu.used {
            return;
        }
        self.use_size(size);
        self.counters.rare().black_holes += 1;
        // If it was the whole path that was down, the first probe shows it.
        self.mtu.search_anew();
    }

    /// Whether a probe could be sent now or soon, and its outcome would show
    /// (RFC 4821 sections 7.4 and 7.6). Then it is waited for, for a window
    /// that is always full would never have room.
    #[cold]
    pub(super) fn mtu_probe_is_due(&self) -> bool {
        let Some(needed) = self.mtu_probe_needs() else {
            return false;
        };
        let unsent = self.snd.tail().distance(self.snd.nxt).max(0) as u32;
        self.recovery.is_open()
            && self.snd.sacked() == 0
            && self.recovery.dup_acks == 0
            && self.timeouts == 0
            && unsent >= needed
            && self.snd.wnd >= needed
            && self.cc.cwnd() >= needed
    }

    /// Bytes of a probe and of what has to follow it.
    fn mtu_probe_needs(&self) -> Option<u32> {
        let len = self.mtu.next_size()? - self.options_len();
        Some(u32::from(len) + FOLLOWERS * u32::from(self.snd.mss))
    }

    /// Whether the windows have no room for a probe yet; what is in flight
    /// will bring it.
    pub(super) fn mtu_probe_has_to_wait(&self) -> bool {
        let needed = self.mtu_probe_needs().unwrap_or(0);
        let len = u32::from(self.mtu.next_size().unwrap_or(0));
        let edge = self.snd.una + self.snd.wnd;
        let usable = edge.distance(self.snd.nxt).max(0) as u32;
        let in_flight = self.in_flight();
        in_flight > 0 && (usable < needed || in_flight.saturating_add(len) > self.cc.cwnd())
    }

    /// A probe in place of the next segments.
    #[cold]
    pub(super) fn send_mtu_probe(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        let size = self.mtu.next_size()?;
        let len = size - self.options_len();
        let i = self.snd.sent_count();
        let headers = self.payload_start() - crate::frame::PACKET_START;
        if !self.snd.merge(i, len, headers, pool) {
            return None;
        }
        let from = self.snd.nxt;
        self.mtu.sending = len;
        let desc = self.send_segment(now, i, pool, t);
        self.mtu.sending = 0;
        if desc.is_some() {
            let end = self.snd.nxt;
            self.mtu.probe = Some(Probe { from, end, size });
            self.mtu.wanted = false;
            self.counters.rare().mtu_probes += 1;
        }
        desc
    }

    /// Segment `seq` was sent again: whether it got through the first time
    /// will not be known.
    pub(super) fn forget_mtu_probe(&mut self, seq: SeqNumber) {
        if self
            .mtu
            .probe
            .is_some_and(|p| p.from.le(seq) && seq.lt(p.end))
        {
            self.mtu.probe = None;
            self.mtu.want();
        }
    }

    /// Everything before SND.UNA has arrived.
    pub(super) fn mtu_probe_acked(&mut self, now: Instant) {
        let Some(probe) = self.mtu.probe.filter(|p| self.snd.una.ge(p.end)) else {
            return;
        };
        self.mtu.probe = None;
        self.use_size(probe.size);
        self.settle_search(now);
    }

    /// Losses were found. If it is the probe alone, it was too large, and
    /// nothing else is the matter (RFC 4821 section 7.6.1).
    pub(super) fn judge_mtu_probe(&mut self, now: Instant) {
        let Some(probe) = self.mtu.probe else { return };
        let i = self.snd.index_of(probe.from);
        let Some(len) = self.snd.get(i).filter(|s| s.lost).map(|s| u32::from(s.len)) else {
            return;
        };
        self.mtu.probe = None;
        if self.snd.lost() == len {
            self.mtu.too_large = probe.size;
            self.resend_without_reduction();
        }
        self.settle_search(now);
    }

    /// A router says that the peer cannot be reached. Only a handshake ends
    /// by that (RFC 5461 section 4).
    pub fn handle_unreachable(&mut self, pool: &mut Pool, quoted: SeqNumber) {
        if self.state == State::SynSent && self.is_in_flight(quoted) {
            self.end(Reason::Unreachable, pool);
        }
    }

    fn is_in_flight(&self, seq: SeqNumber) -> bool {
        self.snd.una.le(seq) && seq.lt(self.snd.nxt)
    }
}
