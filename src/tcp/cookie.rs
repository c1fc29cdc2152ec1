//! SYN cookies (RFC 4987 section 3.6): the state of a handshake in the
//! sequence number and timestamp of a SYN-ACK, so that a flood of SYNs costs
//! no memory.
//!
//! The sequence number carries an age of 64 s steps (5 bits), an index of
//! MSS (3 bits) and a 24-bit keyed hash; the low bits of the timestamp carry
//! the window scale and whether SACK and ECN were offered.

use std::hash::Hasher;
use std::net::SocketAddr;

use super::connection::default_mss;
use super::ecn;
use super::isn::keyed;
use super::recv::{syn_window, window_shift};
use super::{Config, Ecn};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, Options, SeqNumber, Timestamps};

/// The MSS values that a cookie can carry: from the smallest that a peer may
/// have, since none may be sent more than it takes (RFC 9293 section 3.7.1).
const MSS_TABLE: [u16; 8] = [88, 536, 1220, 1300, 1400, 1440, 1460, 8900];
/// A cookie lives for one to two steps of this length.
const STEP_SECS: u64 = 64;
/// Bits of the timestamp used: 4 for the scale (15: none), 1 for SACK, 1 for
/// ECN.
const TS_BITS: u32 = 6;
const NO_SCALE: u32 = 15;

/// What a cookie brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Largest payload that the peer accepts, rounded down.
    pub mss: u16,
    /// Window scale that the peer offered.
    pub window_scale: Option<u8>,
    /// Whether the peer offered SACK.
    pub sack_permitted: bool,
    /// Whether congestion marks were agreed on.
    pub ecn: bool,
    /// Offset of our timestamp clock that continues the SYN-ACK's value.
    pub ts_offset: Option<u32>,
}

impl Decoded {
    /// The options that the peer's SYN had, as far as they are known.
    pub(super) fn options(&self, ack: &Header) -> Options {
        Options {
            mss: Some(self.mss),
            window_scale: self.window_scale,
            sack_permitted: self.sack_permitted,
            timestamps: ack.options.timestamps,
            ..Options::default()
        }
    }
}

/// Makes and checks cookies.
#[derive(Clone)]
pub struct Cookies {
    key: [u8; 16],
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies") // the key is a secret
    }
}

impl Cookies {
    /// Cookies under the secret `key`.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    fn hash(&self, local: SocketAddr, remote: SocketAddr, irs: SeqNumber, low: u32) -> u32 {
        let mut h = keyed(&self.key, 2, local, remote);
        h.write_u32(irs.0);
        h.write_u32(low);
        h.finish() as u32 & 0x00ff_ffff
    }

    /// The SYN-ACK that answers `syn` without keeping anything. `template`
    /// has the options that a full answer would have; the timestamp value
    /// and sequence number are replaced.
    #[must_use]
    pub fn syn_ack(
        &self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        syn: &Header,
        ours: &Offer,
    ) -> Header {
        let theirs = syn.options.mss.unwrap_or(default_mss(remote.is_ipv6()));
        let index = MSS_TABLE
            .iter()
            .rposition(|m| *m <= theirs.min(ours.mss))
            .unwrap_or(0) as u32;
        let age = (now.as_millis() / 1000 / STEP_SECS) as u32 & 0x1f;
        let low = age << 3 | index;
        let iss = SeqNumber(low << 24 | self.hash(local, remote, syn.seq, low));
        let marks = ours.ecn && syn.flags.contains(ecn::SETUP);
        let timestamps = syn.options.timestamps.filter(|_| ours.timestamps).map(|t| {
            let scale = syn
                .options
                .window_scale
                .map_or(NO_SCALE, |s| u32::from(s.min(14)));
            let bits = scale | u32::from(syn.options.sack_permitted) << 4 | u32::from(marks) << 5;
            let val = (now.as_millis() as u32) & !((1 << TS_BITS) - 1) | bits;
            Timestamps { val, ecr: t.val }
        });
        let carried = timestamps.is_some();
        Header {
            src_port: local.port(),
            dst_port: remote.port(),
            seq: iss,
            ack: syn.seq + 1,
            flags: if carried && marks {
                Flags::SYN | Flags::ACK | Flags::ECE
            } else {
                Flags::SYN | Flags::ACK
            },
            window: ours.window,
            urgent: 0,
            options: Options {
                mss: Some(ours.mss),
                // Only what can be remembered may be promised.
                window_scale: (carried && syn.options.window_scale.is_some())
                    .then_some(ours.window_scale)
                    .flatten(),
                sack_permitted: carried && syn.options.sack_permitted && ours.sack,
                timestamps,
                ..Options::default()
            },
        }
    }

    /// Checks the cookie in the segment that completes a handshake. `None`
    /// if it is forged or too old.
    #[must_use]
    pub fn decode(
        &self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        ack: &Header,
    ) -> Option<Decoded> {
        let cookie = (ack.ack - 1).0;
        let low = cookie >> 24;
        let age = (now.as_millis() / 1000 / STEP_SECS) as u32 & 0x1f;
        if age.wrapping_sub(low >> 3) & 0x1f > 1 {
            return None;
        }
        if self.hash(local, remote, ack.seq - 1, low) != cookie & 0x00ff_ffff {
            return None;
        }
        let mut decoded = Decoded {
            mss: MSS_TABLE[(low & 7) as usize],
            window_scale: None,
            sack_permitted: false,
            ecn: false,
            ts_offset: None,
        };
        if let Some(t) = ack.options.timestamps {
            let scale = t.ecr & 0xf;
            decoded.window_scale = (scale != NO_SCALE).then_some(scale as u8);
            decoded.sack_permitted = t.ecr & 0x10 != 0;
            decoded.ecn = t.ecr & 0x20 != 0;
            // Our clock goes on from the value sent, rounded up past it.
            decoded.ts_offset = Some(1 << TS_BITS);
        }
        Some(decoded)
    }
}

/// What our side offers in a SYN-ACK.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Our largest payload, without options.
    pub mss: u16,
    /// Our window shift, if we scale.
    pub window_scale: Option<u8>,
    /// Whether we accept SACK.
    pub sack: bool,
    /// Whether we use timestamps.
    pub timestamps: bool,
    /// Whether we use congestion marks.
    pub ecn: bool,
    /// Our window field, never scaled in a SYN-ACK.
    pub window: u16,
}

impl Offer {
    /// What a connection with these settings offers on a path with `mss`.
    #[must_use]
    pub fn new(config: &Config, mss: u16) -> Self {
        Self {
            mss,
            window_scale: config
                .window_scaling
                .then(|| window_shift(config.recv_buffer)),
            sack: config.sack,
            timestamps: config.timestamps,
            ecn: config.ecn != Ecn::Off,
            window: syn_window(config.recv_buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (SocketAddr, SocketAddr) {
        (
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:4000".parse().unwrap(),
        )
    }

    const OFFER: Offer = Offer {
        mss: 1460,
        window_scale: Some(7),
        sack: true,
        timestamps: true,
        ecn: true,
        window: 0xffff,
    };

    fn syn() -> Header {
        Header {
            src_port: 4000,
            dst_port: 80,
            seq: SeqNumber(0xffff_fff0),
            flags: Flags::SYN,
            options: Options {
                mss: Some(1448),
                window_scale: Some(9),
                sack_permitted: true,
                timestamps: Some(Timestamps { val: 5, ecr: 0 }),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    fn ack_of(s: &Header, syn: &Header) -> Header {
        Header {
            seq: syn.seq + 1,
            ack: s.seq + 1,
            flags: Flags::ACK,
            options: Options {
                timestamps: s
                    .options
                    .timestamps
                    .map(|t| Timestamps { val: 6, ecr: t.val }),
                ..Options::default()
            },
            ..*syn
        }
    }

    #[test]
    fn a_cookie_brings_the_options_back() {
        let (l, r) = ends();
        let c = Cookies::new([3; 16]);
        let now = Instant::from_millis(1_000_000);
        let s = c.syn_ack(now, l, r, &syn(), &OFFER);
        assert_eq!(s.options.window_scale, Some(7));
        let d = c.decode(now, l, r, &ack_of(&s, &syn())).unwrap();
        assert_eq!(
            (d.mss, d.window_scale, d.sack_permitted),
            (1440, Some(9), true)
        );
    }

    #[test]
    fn without_timestamps_nothing_is_promised_that_cannot_be_kept() {
        let (l, r) = ends();
        let c = Cookies::new([3; 16]);
        let mut plain = syn();
        plain.options.timestamps = None;
        let s = c.syn_ack(Instant::ZERO, l, r, &plain, &OFFER);
        assert_eq!(
            (s.options.window_scale, s.options.sack_permitted),
            (None, false)
        );
        let d = c.decode(Instant::ZERO, l, r, &ack_of(&s, &plain)).unwrap();
        assert_eq!((d.window_scale, d.sack_permitted), (None, false));
    }

    #[test]
    fn a_cookie_assumes_the_default_mss_of_the_family() {
        let c = Cookies::new([3; 16]);
        let mut plain = syn();
        plain.options.mss = None;
        let six = (
            "[fd00::1]:80".parse().unwrap(),
            "[fd00::2]:4000".parse().unwrap(),
        );
        for ((l, r), mss) in [(ends(), 536), (six, 1220)] {
            let s = c.syn_ack(Instant::ZERO, l, r, &plain, &OFFER);
            let d = c.decode(Instant::ZERO, l, r, &ack_of(&s, &plain)).unwrap();
            assert_eq!(d.mss, mss);
        }
    }

    #[test]
    fn marks_are_agreed_on_where_a_timestamp_carries_that() {
        let (l, r) = ends();
        let c = Cookies::new([3; 16]);
        let mut syn = Header {
            flags: Flags::SYN | Flags::ECE | Flags::CWR,
            ..syn()
        };
        let echoes = |syn: &Header, ours: &Offer| {
            let s = c.syn_ack(Instant::ZERO, l, r, syn, ours);
            let d = c.decode(Instant::ZERO, l, r, &ack_of(&s, syn)).unwrap();
            assert_eq!(s.flags.contains(Flags::ECE), d.ecn);
            d.ecn
        };
        assert!(echoes(&syn, &OFFER));
        assert!(!echoes(
            &syn,
            &Offer {
                ecn: false,
                ..OFFER
            }
        ));
        syn.options.timestamps = None;
        assert!(!echoes(&syn, &OFFER));
    }

    #[test]
    fn the_window_offered_is_the_configured_one() {
        let (l, r) = ends();
        let small = Config {
            recv_buffer: 5000,
            ..Config::default()
        };
        let s =
            Cookies::new([3; 16]).syn_ack(Instant::ZERO, l, r, &syn(), &Offer::new(&small, 1460));
        assert_eq!(s.window, 5000);
        assert_eq!(Offer::new(&Config::default(), 1460).window, 0xffff);
    }

    #[test]
    fn forged_and_old_cookies_are_refused() {
        let (l, r) = ends();
        let c = Cookies::new([3; 16]);
        let now = Instant::from_millis(10_000);
        let ack = ack_of(&c.syn_ack(now, l, r, &syn(), &OFFER), &syn());
        assert!(c.decode(now, l, r, &ack).is_some());
        let mut forged = ack;
        forged.ack += 1;
        assert_eq!(c.decode(now, l, r, &forged), None);
        let mut other = ack;
        other.seq += 1;
        assert_eq!(c.decode(now, l, r, &other), None);
        assert_eq!(c.decode(now, r, l, &ack), None);
        assert_eq!(c.decode(Instant::from_millis(200_000), l, r, &ack), None);
    }

    #[test]
    fn the_window_is_the_one_that_the_connection_begins_with() {
        for (buffer, window) in [(1, 2048), (20_000, 20_000), (4 << 20, 0xffff)] {
            let config = Config {
                recv_buffer: buffer,
                ..Config::default()
            };
            let (local, remote) = ends();
            let offer = Offer::new(&config, 1460);
            let cookies = Cookies::new([7; 16]);
            let answer = cookies.syn_ack(Instant::ZERO, local, remote, &syn(), &offer);
            assert_eq!(answer.window, window);
            let mut begun = crate::tcp::recv::Receive::new(buffer, true);
            begun.start(syn().seq);
            assert_eq!(begun.advertise(1460, true), window);
        }
    }

    /// Found by the simulation, seed 434.
    #[test]
    fn no_peer_is_sent_more_than_it_takes() {
        let (l, r) = ends();
        let c = Cookies::new([9; 16]);
        for mss in (88..1600).step_by(3) {
            let mut syn = syn();
            syn.options.mss = Some(mss);
            let s = c.syn_ack(Instant::ZERO, l, r, &syn, &OFFER);
            let d = c.decode(Instant::ZERO, l, r, &ack_of(&s, &syn)).unwrap();
            assert!(d.mss <= mss && d.mss >= mss / 7, "{} for {mss}", d.mss);
        }
    }
}
