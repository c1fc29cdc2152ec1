//! A script as the parser leaves it: plain data, no meaning attached yet.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// A whole script.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Where it came from, for reports.
    pub path: PathBuf,
    /// What its directive comments say; see [`Meta`].
    pub meta: Meta,
    /// `--name=value` lines at the top; the value is empty without `=`.
    pub options: Vec<(String, String)>,
    /// What happens, in order.
    pub events: Vec<Event>,
}

/// What the comments of a script say to the runner rather than to a reader.
///
/// A directive is a comment line `# name: value`. It may stand anywhere; by
/// custom at the top.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// `# linux: REASON`: as written this is what the RFCs, or fullbore, say,
    /// and Linux is known to do otherwise.
    pub linux: Option<String>,
    /// `# fullbore: REASON`: fullbore is known to do otherwise. Run and
    /// counted as skipped; a script that passes all the same is an error.
    pub fullbore: Option<String>,
    /// `# needs: WORD...`: what a target must offer, or the script is skipped.
    /// `virtual-time` for scripts too long for a real clock.
    pub needs: BTreeSet<String>,
    /// `# exact: segments`: segments must have the boundaries of the script.
    pub exact_segments: bool,
    /// `# fails: TEXT`: the script must fail, with TEXT in the report. For
    /// tests of the runner.
    pub fails: Vec<String>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Line of its first character, from 1.
    pub line: usize,
    /// Its source, on one line.
    pub text: String,
    /// The only target that runs it, by name: between `# if NAME` (or
    /// `# else`) and `# end`.
    pub only: Only,
    /// At what time.
    pub when: When,
    /// What.
    pub action: Action,
}

/// Which targets an event is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Only {
    /// All.
    #[default]
    Everyone,
    /// The named one.
    This(String),
    /// All but the named one.
    Not(String),
}

impl Only {
    /// Whether a target of this name runs the event.
    pub fn allows(&self, target: &str) -> bool {
        match self {
            Only::Everyone => true,
            Only::This(name) => name == target,
            Only::Not(name) => name != target,
        }
    }
}

/// The time of an event.
///
/// `relative` times count from the event before: from the time that the script
/// gave it, or from when it happened if that was `*` or a range, or a long timer
/// that was late by a real clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct When {
    /// `+`.
    pub relative: bool,
    /// Which times are right.
    pub span: Span,
}

/// Which times are right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// `t`.
    At(Duration),
    /// `a~b`.
    Range(Duration, Duration),
    /// `*`.
    Any,
    /// `a...b`: a call made at `a` that returns at `b`. Both count from the
    /// same origin.
    Blocking(Duration, Duration),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A packet from the peer, or one expected from the target.
    Packet(Packet),
    /// A system call.
    Call(Call),
    /// A backtick shell command.
    Shell(String),
    /// A `%{ }%` block.
    Code(String),
}

/// From whom a packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `<`: from the peer to the target.
    In,
    /// `>`: from the target to the peer.
    Out,
}

/// A packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// From whom.
    pub direction: Direction,
    /// `[conn N]`: of which connection; an extension of the language.
    pub conn: Option<u32>,
    /// `[ect0]` and so on: the two bits in the IP header.
    pub ecn: Option<Ecn>,
    /// `[tos 0x10]`: the whole byte.
    pub tos: Option<u8>,
    /// `[ttl 64]`.
    pub ttl: Option<u8>,
    /// The rest.
    pub body: Body,
}

/// The ECN field of the IP header (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// `noecn`: 0.
    None,
    /// `ect0`: 2.
    Ect0,
    /// `ect1`: 1.
    Ect1,
    /// `ect01`: 1 or 2.
    Ect01,
    /// `ce`: 3.
    Ce,
}

/// What is in a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Segment),
    /// An ICMP error.
    Icmp(Icmp),
}

/// The bits of the TCP header: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR from
/// bit 0 up, and AE at bit 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

#[allow(missing_docs)] // the RFC's names
impl Flags {
    pub const FIN: Flags = Flags(0x001);
    pub const SYN: Flags = Flags(0x002);
    pub const RST: Flags = Flags(0x004);
    pub const PSH: Flags = Flags(0x008);
    pub const ACK: Flags = Flags(0x010);
    pub const URG: Flags = Flags(0x020);
    pub const ECE: Flags = Flags(0x040);
    pub const CWR: Flags = Flags(0x080);
    pub const AE: Flags = Flags(0x100);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl std::fmt::Display for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LETTERS: [(Flags, char); 9] = [
            (Flags::SYN, 'S'),
            (Flags::FIN, 'F'),
            (Flags::RST, 'R'),
            (Flags::PSH, 'P'),
            (Flags::URG, 'U'),
            (Flags::ECE, 'E'),
            (Flags::CWR, 'W'),
            (Flags::AE, 'A'),
            (Flags::ACK, '.'),
        ];
        if self.0 == 0 {
            return f.write_str("-");
        }
        for (flag, letter) in LETTERS {
            if self.has(flag) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// A TCP segment; sequence numbers count from the initial ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Control bits.
    pub flags: Flags,
    /// First sequence number.
    pub seq: u32,
    /// Payload in bytes.
    pub len: u32,
    /// Acknowledgement number.
    pub ack: Option<u32>,
    /// Window field, as on the wire.
    pub win: Option<u16>,
    /// Urgent pointer.
    pub urg: Option<u16>,
    /// Options; `None` for `<...>`: any.
    pub options: Option<Vec<TcpOption>>,
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the RFCs' names
pub enum TcpOption {
    Eol,
    Nop,
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    Sack(Vec<(u32, u32)>),
    Timestamps {
        val: u32,
        ecr: u32,
    },
    Other {
        kind: u8,
        data: Vec<u8>,
    },
    /// `raw 1309...`: bytes as they are, of an unknown or malformed option. Only
    /// to be sent; an extension of the language.
    Raw(Vec<u8>),
}

/// An ICMP error.
#[derive(Clone, Debug, PartialEq)]
pub struct Icmp {
    /// Type, by its name.
    pub kind: String,
    /// Code, by its name.
    pub code: Option<String>,
    /// MTU that it reports.
    pub mtu: Option<u32>,
    /// First sequence number and payload length of the segment it quotes.
    pub quoted: Option<(u32, u32)>,
}

/// A system call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Name.
    pub name: String,
    /// Arguments.
    pub args: Vec<Arg>,
    /// What it answers.
    pub result: Expected,
}

/// The answer that a call should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `...`.
    Any,
    /// A number.
    Value(i64),
    /// `-1 ENAME`: the error's number and name.
    Error(i32, String),
}

/// An argument. Constants are numbers by now.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// `...`: anything.
    Any,
    /// A number.
    Int(i64),
    /// A quoted string.
    Str(String),
    /// `[a, b]`.
    List(Vec<Arg>),
    /// `{name=value, ...}`; a field without name has an empty one.
    Struct(Vec<(String, Arg)>),
}

impl Arg {
    /// The number that this is, or that a list of one holds.
    pub fn int(&self) -> Option<i64> {
        match self {
            Arg::Int(n) => Some(*n),
            Arg::List(items) => match items.as_slice() {
                [one] => one.int(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The field of a struct.
    pub fn field(&self, name: &str) -> Option<&Arg> {
        match self {
            Arg::Struct(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, a)| a),
            _ => None,
        }
    }
}
