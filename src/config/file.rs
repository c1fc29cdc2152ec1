//! The keys of a configuration, as they are in the file.
//!
//! Each value is valid by itself; whether they go together is for
//! [`super::plan`] to check. `configs/example.toml` tells what each means.

use super::names::{Cidr, InterfaceName};
use super::units::{Count, OrOff, RingSize, Size, Span};
use crate::link::FaultSettings;
use clap::ValueEnum;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::net::IpAddr;
use std::path::PathBuf;

macro_rules! choice {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.to_possible_value() {
                    Some(value) => f.write_str(value.get_name()),
                    None => Ok(()),
                }
            }
        }
    )+};
}

choice! {
    /// Where the steering program runs.
    Attach {
        /// In the driver; refused if the driver cannot.
        Native,
        /// In the kernel's general receive path, on any driver.
        Generic,
        /// In the driver if it can, else generic.
        Auto,
    }
    /// How the sockets share memory with the driver.
    Bind {
        /// The NIC reads and writes the frames itself; refused if it cannot.
        ZeroCopy,
        /// The kernel copies each frame.
        Copy,
        /// Zero copy if the driver can, else copy.
        Auto,
    }
    /// Whether the frames' memory is in huge pages.
    HugePages {
        /// Yes, or it is an error.
        Require,
        /// If there are any.
        Try,
        /// No.
        Off,
    }
    /// Whether received checksums are verified.
    RxChecksum {
        /// Every one.
        Verify,
        /// None: the NIC has done it, or the wire is memory.
        Trust,
    }
    /// What an engine does when there is nothing to do.
    IdleStrategy {
        /// Spins: the least latency, and a core all for itself.
        Busy,
        /// Spins for a while, then sleeps until a frame or a deadline comes.
        Adaptive,
        /// Sleeps at once.
        Sleep,
    }
    /// Whose addresses fullbore uses.
    AddressMode {
        /// The interface's own, beside the kernel.
        Shared,
        /// Addresses that the kernel does not have.
        Own,
    }
    /// The congestion controller.
    Congestion {
        /// NewReno.
        Reno,
        /// CUBIC.
        Cubic,
        /// CUBIC that backs off less for a loss that comes without a queue.
        Tolerant,
        /// Westwood+.
        Westwood,
        /// LEDBAT: gives way to everything else.
        Ledbat,
        /// LEDBAT++: and shares with its like.
        #[serde(rename = "ledbat++")]
        #[value(name = "ledbat++")]
        LedbatPlusPlus,
    }
    /// Whether congestion marks are used.
    Ecn {
        /// No.
        Off,
        /// When the peer asks.
        Accept,
        /// Outgoing connections ask too.
        Request,
    }
    /// Whether the size of segments is found out by trying.
    MtuProbing {
        /// No.
        Off,
        /// When large segments vanish.
        BlackHole,
        /// From the start.
        On,
    }
    /// Which requests need the token.
    TokenScope {
        /// Those that write.
        Writes,
        /// Every request.
        All,
    }
    /// How statistics are printed.
    StatsFormat {
        /// Not at all.
        Off,
        /// A line for people.
        Line,
        /// A JSON object a line.
        Json,
    }
}

/// The queues of the interface that fullbore takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queues {
    /// As many as the interface has.
    All,
    /// These.
    List(Vec<u32>),
}

/// The cores that the engines are pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// One for each engine, chosen at start.
    Auto,
    /// None: the engines run wherever the scheduler puts them.
    None,
    /// These, one engine each.
    List(Vec<u32>),
}

/// A word, or a list of numbers.
fn word_or_list(text: &str) -> Option<Vec<u32>> {
    text.split(',')
        .map(|n| n.trim().parse().ok().filter(|&n| n <= MAX_INDEX))
        .collect()
}

/// Highest queue or core number that is believed.
const MAX_INDEX: u32 = 4095;
const QUEUES: &str = "\"all\" or a list of queue numbers, such as [0, 1]";
const CORES: &str = "\"auto\", \"none\" or a list of core numbers, such as [2, 3]";

impl std::str::FromStr for Queues {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "all" => Ok(Self::All),
            _ => word_or_list(s)
                .map(Self::List)
                .ok_or_else(|| "expected \"all\" or queue numbers, such as 0,1".into()),
        }
    }
}

impl std::str::FromStr for Cores {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => word_or_list(s)
                .map(Self::List)
                .ok_or_else(|| "expected \"auto\", \"none\" or core numbers, such as 2,3".into()),
        }
    }
}

struct WordOrList<T>(&'static str, fn(&str) -> Option<T>, fn(Vec<u32>) -> T);

impl<'de, T> de::Visitor<'de> for WordOrList<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<T, E> {
        (self.1)(v).ok_or_else(|| E::invalid_value(de::Unexpected::Str(v), &self))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut list = Vec::new();
        while let Some(n) = seq.next_element::<Count<0, { MAX_INDEX as u64 }>>()? {
            #[allow(clippy::cast_possible_truncation)]
            list.push(n.get() as u32);
        }
        Ok((self.2)(list))
    }
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(WordOrList(
            QUEUES,
            |w| (w == "all").then_some(Self::All),
            Self::List,
        ))
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let word = |w: &str| match w {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => None,
        };
        d.deserialize_any(WordOrList(CORES, word, Self::List))
    }
}

/// One hour in microseconds.
const HOUR: u64 = 3_600_000_000;
/// One second in microseconds.
const SECOND: u64 = 1_000_000;
/// One millisecond in microseconds.
const MS: u64 = 1_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A whole configuration: one interface.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // configs/example.toml tells what each key means
pub struct File {
    pub interface: Option<InterfaceName>,
    pub queues: Queues,
    pub cores: Cores,
    pub attach: Attach,
    pub bind: Bind,
    pub huge_pages: HugePages,
    pub rx_checksum: RxChecksum,
    pub mtu: Option<Count<576, 65_535>>,
    pub vlan: Option<Count<1, 4094>>,
    pub pcap: Option<PathBuf>,
    #[serde(deserialize_with = "faults")]
    pub fault: Option<FaultSettings>,
    pub umem: Umem,
    pub rings: Rings,
    pub idle: Idle,
    pub addresses: Addresses,
    pub tcp: Tcp,
    pub utp: Utp,
    pub serve: Serve,
    pub limits: Limits,
    pub stats: Stats,
}

impl Default for File {
    fn default() -> Self {
        Self {
            interface: None,
            queues: Queues::All,
            cores: Cores::Auto,
            attach: Attach::Auto,
            bind: Bind::Auto,
            huge_pages: HugePages::Try,
            rx_checksum: RxChecksum::Verify,
            mtu: None,
            vlan: None,
            pcap: None,
            fault: None,
            umem: Umem::default(),
            rings: Rings::default(),
            idle: Idle::default(),
            addresses: Addresses::default(),
            tcp: Tcp::default(),
            utp: Utp::default(),
            serve: Serve::default(),
            limits: Limits::default(),
            stats: Stats::default(),
        }
    }
}

/// Faults have a notation of their own, and errors that name its parts.
fn faults<'de, D: Deserializer<'de>>(d: D) -> Result<Option<FaultSettings>, D::Error> {
    String::deserialize(d)?
        .parse()
        .map(Some)
        .map_err(de::Error::custom)
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $default:expr,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[allow(missing_docs)] // configs/example.toml tells what each key means
        pub struct $name { $(pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }
    )+};
}

/// A chunk's size: 2048 or 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// Bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl super::units::Scalar for ChunkSize {
    fn expecting() -> String {
        "2048 or 4096".into()
    }
    fn from_int(n: i64) -> Option<Self> {
        matches!(n, 2048 | 4096).then_some(Self(if n == 2048 { 2048 } else { 4096 }))
    }
}
super::units::scalar!([] ChunkSize);

const fn ring(n: u32) -> RingSize {
    match RingSize::new(n) {
        Some(size) => size,
        None => panic!("not the size of a ring"),
    }
}

table! {
    /// The frames' memory of one engine.
    Umem {
        frames: Count<256, 1_048_576> = Count::clamped(16_384),
        chunk: ChunkSize = ChunkSize(2048),
    }
    /// Sizes of the rings of one queue.
    Rings {
        fill: RingSize = ring(2048),
        fill_level: Option<Count<64, 32_768>> = None,
        rx: RingSize = ring(2048),
        tx: RingSize = ring(2048),
        completion: RingSize = ring(2048),
    }
    /// What an engine does when there is nothing to do.
    Idle {
        strategy: IdleStrategy = IdleStrategy::Adaptive,
        spin: Option<Span<0, { 10 * SECOND }>> = None,
        pace: OrOff<Span<1, { MS }>> = OrOff::On(Span::micros(10)),
    }
    /// Whose addresses fullbore uses.
    Addresses {
        mode: AddressMode = AddressMode::Shared,
        own: Vec<Cidr> = Vec::new(),
        gateways: Vec<IpAddr> = Vec::new(),
    }
    /// TCP.
    Tcp {
        congestion: Congestion = Congestion::Tolerant,
        delay_target: Option<Span<{ MS }, { 100 * MS }>> = None,
        pacing: bool = false,
        initial_window: Count<1, 100> = Count::clamped(10),
        send_buffer: Size<{ 4 * KIB }, { GIB }> = Size::clamped(4 * MIB),
        unsent_buffer: Size<{ 4 * KIB }, { GIB }> = Size::clamped(256 * KIB),
        receive_buffer: Size<{ 4 * KIB }, { GIB }> = Size::clamped(4 * MIB),
        window_scale: bool = true,
        timestamps: bool = true,
        sack: bool = true,
        ecn: Ecn = Ecn::Accept,
        delayed_ack: OrOff<Span<{ MS }, { 500 * MS }>> = OrOff::On(Span::micros(40 * MS)),
        ack_segments: Count<2, 255> = Count::clamped(32),
        no_delay: bool = true,
        mtu_probing: MtuProbing = MtuProbing::Off,
        max_segment: Option<Count<88, 65_495>> = None,
        defer_accept: OrOff<Span<{ 100 * MS }, { HOUR }>> = OrOff::Off,
        keepalive: OrOff<Span<{ SECOND }, { 24 * HOUR }>> = OrOff::Off,
        keepalive_interval: Option<Span<{ SECOND }, { HOUR }>> = None,
        keepalive_probes: Option<Count<1, 100>> = None,
        user_timeout: OrOff<Span<{ SECOND }, { 24 * HOUR }>> = OrOff::Off,
        min_rto: Span<{ MS }, { 60 * SECOND }> = Span::micros(200 * MS),
        max_rto: Span<{ SECOND }, { 300 * SECOND }> = Span::micros(120 * SECOND),
        retries: Count<1, 100> = Count::clamped(15),
        orphan_retries: Count<1, 100> = Count::clamped(8),
        slow_start_after_idle: bool = true,
        challenge_acks: Count<1, 255> = Count::clamped(10),
        syn_retries: Count<0, 20> = Count::clamped(7),
        synack_retries: Count<0, 20> = Count::clamped(5),
        syn_cookies: bool = true,
        backlog: Count<1, 65_536> = Count::clamped(1024),
        time_wait: Span<{ SECOND }, { 240 * SECOND }> = Span::micros(60 * SECOND),
        fin_wait_2: Span<{ SECOND }, { HOUR }> = Span::micros(60 * SECOND),
    }
    /// uTP.
    Utp {
        congestion: Congestion = Congestion::Ledbat,
        delay_target: Option<Span<{ MS }, { 100 * MS }>> = None,
        pacing: bool = false,
        initial_window: Count<1, 100> = Count::clamped(10),
        send_buffer: Size<{ 4 * KIB }, { GIB }> = Size::clamped(4 * MIB),
        unsent_buffer: Size<{ 4 * KIB }, { GIB }> = Size::clamped(256 * KIB),
        receive_buffer: Size<{ 4 * KIB }, { GIB }> = Size::clamped(4 * MIB),
        max_packets: Count<16, 16_384> = Count::clamped(4096),
        reorder_packets: Count<16, 16_384> = Count::clamped(4096),
        max_payload: Option<Count<150, 65_487>> = None,
        mtu_probing: bool = true,
        mtu_raise: Span<{ SECOND }, { 24 * HOUR }> = Span::micros(600 * SECOND),
        no_delay: bool = true,
        delayed_ack: OrOff<Span<{ MS }, { 500 * MS }>> = OrOff::On(Span::micros(40 * MS)),
        ack_packets: Count<2, 255> = Count::clamped(32),
        challenge_acks: Count<1, 255> = Count::clamped(10),
        initial_rto: Span<{ 100 * MS }, { 60 * SECOND }> = Span::micros(SECOND),
        min_rto: Span<{ MS }, { 60 * SECOND }> = Span::micros(500 * MS),
        max_rto: Span<{ SECOND }, { 300 * SECOND }> = Span::micros(60 * SECOND),
        syn_timeout: Span<{ 100 * MS }, { 60 * SECOND }> = Span::micros(3 * SECOND),
        syn_retries: Count<0, 20> = Count::clamped(2),
        accept_timeout: Span<{ SECOND }, { 300 * SECOND }> = Span::micros(10 * SECOND),
        retries: Count<1, 100> = Count::clamped(6),
        user_timeout: OrOff<Span<{ SECOND }, { 24 * HOUR }>> = OrOff::Off,
        window_probe: Span<{ 100 * MS }, { HOUR }> = Span::micros(15 * SECOND),
        keepalive: OrOff<Span<{ SECOND }, { 24 * HOUR }>> = OrOff::Off,
        keepalive_probes: Count<0, 100> = Count::clamped(0),
        linger: Span<{ 100 * MS }, { 240 * SECOND }> = Span::micros(10 * SECOND),
        fin_wait: Span<{ SECOND }, { HOUR }> = Span::micros(60 * SECOND),
        backlog: Count<1, 65_536> = Count::clamped(1024),
    }
    /// The HTTP server.
    Serve {
        root: Option<PathBuf> = None,
        ports: Vec<Count<1, 65_535>> = vec![Count::clamped(80)],
        utp_ports: Vec<Count<1, 65_535>> = Vec::new(),
        writable: bool = false,
        token_file: Option<PathBuf> = None,
        token_scope: Option<TokenScope> = None,
        disk_threads: Count<1, 64> = Count::clamped(1),
    }
    /// Bounds on what peers can ask for.
    Limits {
        connections: Count<1, 1_000_000> = Count::clamped(16_384),
        connections_per_address: Count<1, 1_000_000> = Count::clamped(1024),
        header_size: Size<{ KIB }, { MIB }> = Size::clamped(16 * KIB),
        header_timeout: Span<{ 100 * MS }, { HOUR }> = Span::micros(10 * SECOND),
        idle_timeout: Span<{ 100 * MS }, { 24 * HOUR }> = Span::micros(60 * SECOND),
        upload_size: OrOff<Size<0, { 1 << 50 }>> = OrOff::Off,
        min_rate: OrOff<Size<1, { GIB }>> = OrOff::On(Size::clamped(KIB)),
        rate_window: Span<{ SECOND }, { HOUR }> = Span::micros(30 * SECOND),
        drain: Span<{ 100 * MS }, { HOUR }> = Span::micros(10 * SECOND),
    }
    /// What is printed.
    Stats {
        format: StatsFormat = StatsFormat::Off,
        interval: Span<{ 10 * MS }, { HOUR }> = Span::micros(SECOND),
    }
}
