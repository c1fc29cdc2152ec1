//! The table of exchanges: each state with each injected segment of interest.

use std::fmt;

use crate::exchange::WINDOW;
use crate::segment::{ACK, CWR, ECE, FIN, Names, PSH, RST, SYN, URG};

/// One exchange in so many runs over IPv6 as well.
const V6_SHARE: u32 = 5;

/// The state that a connection is in when the segment comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nobody listens.
    Closed,
    Listen,
    SynSent,
    /// After the peer's SYN.
    SynReceived,
    /// After SYNs that crossed.
    SynReceivedBoth,
    /// The peer connected.
    Established,
    /// The host connected.
    Connected,
    /// Established, with three segments unacknowledged.
    InFlight,
    /// Established, with payload that came early.
    Hole,
    /// Established, with payload that nobody has read.
    Received,
    /// Established, with a window that is shut.
    WindowFull,
    FinWait1,
    /// The application has given the connection back.
    FinWait1Closed,
    FinWait2,
    FinWait2Closed,
    Closing,
    TimeWait,
    CloseWait,
    LastAck,
}

/// All of them.
const STARTS: [Start; 19] = [
    Start::Closed,
    Start::Listen,
    Start::SynSent,
    Start::SynReceived,
    Start::SynReceivedBoth,
    Start::Established,
    Start::Connected,
    Start::InFlight,
    Start::Hole,
    Start::Received,
    Start::WindowFull,
    Start::FinWait1,
    Start::FinWait1Closed,
    Start::FinWait2,
    Start::FinWait2Closed,
    Start::Closing,
    Start::TimeWait,
    Start::CloseWait,
    Start::LastAck,
];

impl Start {
    /// Whether there is a connection whose windows are known.
    const fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent)
    }

    /// Whether it is worth a look without options as well.
    const fn is_basic(self) -> bool {
        matches!(
            self,
            Self::Closed
                | Self::Listen
                | Self::SynSent
                | Self::SynReceived
                | Self::Established
                | Self::InFlight
                | Self::FinWait2
                | Self::TimeWait
        )
    }

    /// Size of the host's receive buffer in this state, in bytes.
    pub const fn buffer(self) -> Option<usize> {
        match self {
            Self::WindowFull => Some(8192),
            _ => None,
        }
    }
}

/// A sequence number of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqAt {
    /// From what the host expects next.
    Next(i32),
    /// From the right edge of the host's window.
    Edge(i32),
}

/// A sequence number of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckAt {
    /// From what the peer has acknowledged.
    Una(i32),
    /// From what the host sends next.
    Next(i32),
}

/// Options of the injected segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opts {
    /// Timestamps if agreed on.
    Agreed,
    None,
    /// Those of a SYN.
    Syn,
    /// Timestamps: distance of the value from the peer's clock, of the echo
    /// from the host's last value.
    Timestamps(i32, i32),
    /// The agreed, and SACK blocks.
    Sack(Vec<(AckAt, AckAt)>),
    /// The agreed, and these bytes.
    More(Vec<u8>),
    /// These bytes.
    Raw(Vec<u8>),
}

/// The segment to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inject {
    pub flags: u8,
    pub seq: SeqAt,
    pub ack: AckAt,
    pub window: u16,
    pub payload: usize,
    pub options: Opts,
    pub offset: Option<u8>,
    pub bad_checksum: bool,
}

impl Inject {
    const fn new(flags: u8, seq: SeqAt, ack: AckAt, payload: usize) -> Self {
        Self {
            flags,
            seq,
            ack,
            window: WINDOW,
            payload,
            options: Opts::Agreed,
            offset: None,
            bad_checksum: false,
        }
    }
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub start: Start,
    /// Over IPv6.
    pub v6: bool,
    /// Without timestamps, SACK and window scaling.
    pub plain: bool,
    pub inject: Inject,
    /// What is special about the options or the header.
    label: &'static str,
}

impl fmt::Display for SeqAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(n) => write!(f, "next{n:+}"),
            Self::Edge(n) => write!(f, "edge{n:+}"),
        }
    }
}

impl fmt::Display for AckAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Una(n) => write!(f, "una{n:+}"),
            Self::Next(n) => write!(f, "next{n:+}"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &self.inject;
        let kind = match (self.plain, self.v6) {
            (false, false) => "full",
            (true, false) => "plain",
            (false, true) => "full-v6",
            (true, true) => "plain-v6",
        };
        write!(
            f,
            "{:?}/{kind}/{}/seq={}/ack={}/len={}/{}",
            self.start,
            Names(i.flags),
            i.seq,
            i.ack,
            i.payload,
            self.label
        )
    }
}

impl Case {
    /// The same exchange over IPv4.
    pub fn over_ipv4(&self) -> Self {
        Self {
            v6: false,
            ..self.clone()
        }
    }

    /// Whether this is one of the share of `1/n` of all, always the same and
    /// spread over the whole table.
    pub fn is_one_of(&self, n: u32) -> bool {
        // FNV-1a, whose upper bits are the better mixed.
        let hash = self.to_string().bytes().fold(0x811c_9dc5u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        (hash >> 8).is_multiple_of(n)
    }
}

/// Every exchange: those over IPv4, and a share of them over IPv6 again.
pub fn all() -> Vec<Case> {
    let mut cases = over_ipv4();
    let again = cases.iter().filter(|c| c.is_one_of(V6_SHARE));
    let again: Vec<Case> = again
        .map(|c| Case {
            v6: true,
            ..c.clone()
        })
        .collect();
    cases.extend(again);
    cases
}

fn over_ipv4() -> Vec<Case> {
    let mut cases = Vec::new();
    for start in STARTS {
        for plain in [false, true] {
            if plain && !start.is_basic() {
                continue;
            }
            let mut add = |inject: Inject, label| {
                let case = Case {
                    start,
                    v6: false,
                    plain,
                    inject,
                    label,
                };
                // Different tables meet in the ordinary segments.
                if !cases.contains(&case) {
                    cases.push(case);
                }
            };
            flags_by_seq(start, plain, &mut add);
            flags_by_ack(start, plain, &mut add);
            if !plain {
                timestamps(start, &mut add);
                odd_headers(start, &mut add);
            }
            if start.is_synchronized() {
                windows(&mut add);
                sack(&mut add);
            }
        }
    }
    cases
}

const FLAGS: [u8; 15] = [
    0,
    ACK,
    SYN,
    SYN | ACK,
    FIN,
    FIN | ACK,
    RST,
    RST | ACK,
    PSH | ACK,
    URG | ACK,
    SYN | FIN,
    SYN | RST,
    FIN | RST | ACK,
    ACK | ECE | CWR,
    0xff,
];
/// Those that matter most.
const MAIN_FLAGS: [u8; 6] = [0, ACK, SYN, FIN | ACK, RST, SYN | ACK];

fn flags_by_seq(start: Start, plain: bool, add: &mut impl FnMut(Inject, &'static str)) {
    let synchronized = [
        SeqAt::Next(-2000),
        SeqAt::Next(-1),
        SeqAt::Next(0),
        SeqAt::Next(100),
        SeqAt::Edge(-1),
        SeqAt::Edge(0),
        SeqAt::Edge(1000),
    ];
    let places = if start.is_synchronized() {
        &synchronized[..]
    } else {
        &synchronized[2..3]
    };
    let flags = if plain { &MAIN_FLAGS[..] } else { &FLAGS };
    for &flags in flags {
        for &seq in places {
            for payload in [0, 100] {
                if payload > 0 && !MAIN_FLAGS.contains(&flags) && flags != 0xff {
                    continue;
                }
                let mut inject = Inject::new(flags, seq, AckAt::Next(0), payload);
                if flags & SYN != 0 {
                    inject.options = Opts::Syn;
                }
                add(inject, "");
            }
        }
    }
}

fn flags_by_ack(start: Start, plain: bool, add: &mut impl FnMut(Inject, &'static str)) {
    let mut places = vec![
        AckAt::Una(-60_000),
        AckAt::Una(-1),
        AckAt::Una(0),
        AckAt::Next(0),
        AckAt::Next(1),
        AckAt::Next(1_000_000),
    ];
    if start == Start::InFlight {
        places.extend([AckAt::Una(500), AckAt::Una(1000), AckAt::Next(-1)]);
    }
    let flags: &[u8] = if plain {
        &[ACK]
    } else {
        &[ACK, SYN | ACK, FIN | ACK, RST | ACK]
    };
    for &flags in flags {
        for &ack in &places {
            for payload in [0, 100] {
                let mut inject = Inject::new(flags, SeqAt::Next(0), ack, payload);
                if flags & SYN != 0 {
                    inject.options = Opts::Syn;
                }
                add(inject, "");
            }
        }
    }
}

fn timestamps(start: Start, add: &mut impl FnMut(Inject, &'static str)) {
    let kinds = [
        (Opts::Timestamps(-1000, 0), "ts-old"),
        // As old as the last that was echoed.
        (Opts::Timestamps(-10, 0), "ts-same"),
        (Opts::Timestamps(1 << 30, 0), "ts-far-ahead"),
        (Opts::Timestamps(0, 1 << 30), "ts-echo-ahead"),
        (Opts::Timestamps(0, -(1 << 30)), "ts-echo-old"),
        (Opts::None, "ts-missing"),
    ];
    let places: &[i32] = if start.is_synchronized() {
        &[-1, 0, 100]
    } else {
        &[0]
    };
    for (options, label) in kinds {
        for flags in [ACK, FIN | ACK, RST, SYN, SYN | ACK] {
            for &at in places {
                for payload in [0, 100] {
                    let with_payload = flags == ACK;
                    if payload > 0 && !with_payload {
                        continue;
                    }
                    let mut inject = Inject::new(flags, SeqAt::Next(at), AckAt::Next(0), payload);
                    inject.options = options.clone();
                    add(inject, label);
                }
            }
        }
    }
}

fn odd_headers(start: Start, add: &mut impl FnMut(Inject, &'static str)) {
    let more = [
        (vec![254, 4, 1, 2], "option-unknown"),
        (vec![2, 4, 1, 0], "mss-late"),
        (vec![3, 3, 9, 1], "scale-late"),
        (vec![99, 0, 0, 0], "option-length-0"),
        (vec![99, 1, 0, 0], "option-length-1"),
        (vec![99, 40, 0, 0], "option-too-long"),
        (vec![5, 4, 0, 0], "sack-cut"),
        (vec![1, 1, 1, 99], "option-without-length"),
    ];
    let flags = if start.is_synchronized() { ACK } else { SYN };
    let plain = |payload| Inject::new(flags, SeqAt::Next(0), AckAt::Next(0), payload);
    for (bytes, label) in more {
        for payload in [0, 100] {
            let mut inject = plain(payload);
            inject.options = Opts::More(bytes.clone());
            add(inject, label);
        }
    }
    let raw = [
        (vec![8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "ts-length-9"),
        (vec![8, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "ts-length-11"),
        (vec![2, 3, 5, 1], "mss-length-3"),
        (vec![2, 4, 0, 0], "mss-0"),
        (vec![3, 3, 255, 1], "scale-255"),
        (vec![0, 0, 0, 0], "only-end"),
        (vec![1; 40], "only-padding"),
    ];
    for (bytes, label) in raw {
        let mut inject = plain(100);
        inject.options = Opts::Raw(bytes);
        add(inject, label);
    }
    for (offset, label) in [(0, "offset-0"), (4, "offset-4"), (15, "offset-15")] {
        for flags in [flags, RST] {
            let mut inject = plain(10);
            inject.flags = flags;
            inject.offset = Some(offset);
            add(inject, label);
        }
    }
    for flags in [flags, RST, SYN] {
        let mut inject = plain(0);
        inject.flags = flags;
        inject.bad_checksum = true;
        add(inject, "bad-checksum");
    }
}

fn windows(add: &mut impl FnMut(Inject, &'static str)) {
    for window in [0, 1, 65_535] {
        for payload in [0, 100] {
            let mut inject = Inject::new(ACK, SeqAt::Next(0), AckAt::Next(0), payload);
            inject.window = window;
            add(
                inject,
                match window {
                    0 => "window-0",
                    1 => "window-1",
                    _ => "window-most",
                },
            );
        }
    }
}

fn sack(add: &mut impl FnMut(Inject, &'static str)) {
    use AckAt::{Next, Una};
    let kinds = [
        (vec![(Una(1000), Una(2000))], "sack-middle"),
        (vec![(Una(1000), Una(3000))], "sack-tail"),
        (vec![(Una(500), Una(1500))], "sack-across"),
        (vec![(Una(-500), Una(-100))], "sack-duplicate"),
        (vec![(Una(-60_000), Una(-59_000))], "sack-ancient"),
        (vec![(Next(1000), Next(2000))], "sack-beyond"),
        (vec![(Una(2000), Una(1000))], "sack-reversed"),
        (vec![(Una(1000), Una(1000))], "sack-empty"),
        (vec![(Una(-1000), Next(1000))], "sack-around"),
        (
            vec![(Una(2000), Una(3000)), (Una(1000), Una(2000))],
            "sack-two",
        ),
    ];
    for (blocks, label) in kinds {
        let mut inject = Inject::new(ACK, SeqAt::Next(0), Una(0), 0);
        inject.options = Opts::Sack(blocks);
        add(inject, label);
    }
}

#[test]
fn every_state_flag_and_label_is_met_over_ipv6() {
    use std::collections::BTreeSet;
    let cases = all();
    let (v6, v4): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|c| c.v6);
    let share = v4.len() / v6.len();
    assert!((4..=6).contains(&share), "{} and {}", v4.len(), v6.len());
    let parts = |of: &[&Case], part: fn(&Case) -> String| -> BTreeSet<String> {
        of.iter().map(|c| part(c)).collect()
    };
    for part in [
        |c: &Case| format!("{:?} {}", c.start, c.plain),
        |c: &Case| Names(c.inject.flags).to_string(),
        |c: &Case| c.label.to_owned(),
        |c: &Case| format!("{:?}", (c.inject.seq, c.inject.payload)),
    ] {
        assert_eq!(parts(&v6, part), parts(&v4, part));
    }
}
