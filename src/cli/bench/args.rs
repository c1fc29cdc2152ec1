//! The command line of `fullbore bench`.

use crate::config::{Attach, Bind, Congestion, Count, IdleStrategy, InterfaceName, Span};
use crate::engine::Transport;
use crate::link::FaultSettings;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// How long to measure: 100 ms to an hour.
pub type Duration = Span<100_000, 3_600_000_000>;

/// The measurements.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// The raw limit of AF_XDP: frames sent on one interface as fast as they
    /// go, and counted and dropped on another.
    Raw(RawArgs),
    /// Counts and drops what arrives on an interface.
    RxDrop(OneArgs),
    /// Sends on an interface as fast as it takes frames.
    TxOnly(OneArgs),
    /// Sends every frame that arrives on one interface out of the other.
    Forward(ForwardArgs),
    /// The limit of a transport without a protocol: a windowed source and
    /// sink over the same rings, with cumulative acknowledgements.
    Ceiling(CeilingArgs),
    /// Goodput of byte streams between two interfaces.
    Stream(StreamArgs),
    /// Latency of requests and responses between two interfaces.
    Rr(RrArgs),
    /// Connections opened, used once and closed, a second.
    Crr(CrrArgs),
    /// Memory of connections, and what their number costs each packet: in
    /// memory, without an interface.
    Many(ManyArgs),
    /// Goodput against loss rate and round-trip time.
    Loss(LossArgs),
}

/// The two ends of a measurement.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ends")]
pub struct PairArgs {
    /// Make a veth pair in a network namespace of its own, which ends with
    /// this process.
    #[arg(long, conflicts_with_all = ["a", "b"], required_unless_present_all = ["a", "b"])]
    pub veth: bool,
    /// The interface of the client's end.
    #[arg(long, value_name = "INTERFACE", requires = "b")]
    pub a: Option<InterfaceName>,
    /// The interface of the server's end.
    #[arg(long, value_name = "INTERFACE", requires = "a")]
    pub b: Option<InterfaceName>,
    /// The network namespace of the server's interface, if not this one.
    #[arg(long, value_name = "NAME", requires = "b")]
    pub b_netns: Option<String>,
    /// Bytes of the largest IP packet. With --veth also the pair's MTU.
    #[arg(long, default_value = "1500", value_name = "BYTES")]
    pub mtu: Count<576, 65_535>,
    /// Where the steering programs run.
    #[arg(long, default_value = "auto")]
    pub attach: Attach,
    /// How the sockets share memory with the drivers.
    #[arg(long, default_value = "auto")]
    pub bind: Bind,
    /// What an engine does when there is nothing to do.
    #[arg(long, default_value = "adaptive")]
    pub idle: IdleStrategy,
    /// Cores of the client's and the server's engine. Default: the first and
    /// the last that this process may run on.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub cores: Vec<usize>,
    /// The congestion controller. Default: that of the transport.
    #[arg(long)]
    pub congestion: Option<Congestion>,
    /// Faults at the client's end, such as loss=1%,delay=10ms,seed=7.
    #[arg(long, value_name = "SPEC")]
    pub fault: Option<FaultSettings>,
}

/// What to do with the outcome.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Report")]
pub struct OutputArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write a report with plots: one file that needs no other.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No live line.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `fullbore bench raw`.
#[derive(Clone, Debug, Args)]
pub struct RawArgs {
    /// The interface to send on.
    #[arg(long, value_name = "INTERFACE")]
    pub tx: InterfaceName,
    /// The interface to receive on.
    #[arg(long, value_name = "INTERFACE")]
    pub rx: InterfaceName,
    /// The network namespace of the receiving interface, if not this one.
    #[arg(long, value_name = "NAME")]
    pub rx_netns: Option<String>,
    /// Bytes of each frame, Ethernet header included.
    #[arg(long, default_value = "1514", value_name = "BYTES")]
    pub frame: Count<60, 65_549>,
    /// How long to measure.
    #[arg(long, default_value = "3s")]
    pub duration: Duration,
    /// Where the steering programs run.
    #[arg(long, default_value = "auto")]
    pub attach: Attach,
    /// How the sockets share memory with the drivers.
    #[arg(long, default_value = "auto")]
    pub bind: Bind,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `fullbore bench rx-drop` and `tx-only`.
#[derive(Clone, Debug, Args)]
pub struct OneArgs {
    /// The interface.
    #[arg(long, value_name = "INTERFACE")]
    pub on: InterfaceName,
    /// Its receive queue.
    #[arg(long, default_value = "0")]
    pub queue: u32,
    /// Bytes of each frame that is sent, Ethernet header included.
    #[arg(long, default_value = "1514", value_name = "BYTES")]
    pub frame: Count<60, 65_549>,
    /// How long to measure.
    #[arg(long, default_value = "10s")]
    pub duration: Duration,
    /// Where the steering program runs.
    #[arg(long, default_value = "auto")]
    pub attach: Attach,
    /// How the socket shares memory with the driver.
    #[arg(long, default_value = "auto")]
    pub bind: Bind,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Arguments of `fullbore bench forward`.
#[derive(Clone, Debug, Args)]
pub struct ForwardArgs {
    /// The interface to receive on.
    #[arg(long = "in", value_name = "INTERFACE")]
    pub from: InterfaceName,
    /// The interface to send on.
    #[arg(long = "out", value_name = "INTERFACE")]
    pub to: InterfaceName,
    /// How long to measure.
    #[arg(long, default_value = "10s")]
    pub duration: Duration,
    /// Where the steering programs run.
    #[arg(long, default_value = "auto")]
    pub attach: Attach,
    /// How the sockets share memory with the drivers.
    #[arg(long, default_value = "auto")]
    pub bind: Bind,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Arguments of `fullbore bench ceiling`.
#[derive(Clone, Debug, Args)]
pub struct CeilingArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ends: PairArgs,
    /// How long to measure.
    #[arg(long, default_value = "5s")]
    pub duration: Duration,
    /// Frames on the way at most.
    #[arg(long, default_value = "1024", value_name = "FRAMES")]
    pub window: Count<2, 4096>,
    /// Frames that one acknowledgement answers.
    #[arg(long, default_value = "32", value_name = "FRAMES")]
    pub ack_every: Count<1, 1024>,
    /// Neither copy nor sum the payload.
    #[arg(long)]
    pub no_copy: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Which end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sending {
    /// The client.
    Up,
    /// The server.
    Down,
    /// Both.
    Both,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// uTP.
    Utp,
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Tcp => Self::Tcp,
            Carrier::Utp => Self::Utp,
        }
    }
}

/// Arguments of `fullbore bench stream`.
#[derive(Clone, Debug, Args)]
pub struct StreamArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ends: PairArgs,
    /// How long to measure, after the warm-up.
    #[arg(long, default_value = "5s")]
    pub duration: Duration,
    /// Time before the measurement, in which windows grow.
    #[arg(long, default_value = "500ms")]
    pub warm_up: Duration,
    /// Connections at once.
    #[arg(long, default_value = "1", value_name = "N")]
    pub connections: Count<1, 10_000>,
    /// Engines of each end, each with a queue of its own. With --veth the pair
    /// gets as many queues. --cores then names the first core of each end.
    #[arg(long, default_value = "1", value_name = "N")]
    pub engines: Count<1, 64>,
    /// Which end sends.
    #[arg(long, default_value = "up")]
    pub direction: Sending,
    /// What carries the bytes.
    #[arg(long, default_value = "tcp")]
    pub transport: Carrier,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Arguments of `fullbore bench rr`.
#[derive(Clone, Debug, Args)]
pub struct RrArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ends: PairArgs,
    /// How long to measure.
    #[arg(long, default_value = "5s")]
    pub duration: Duration,
    /// Connections at once.
    #[arg(long, default_value = "1", value_name = "N")]
    pub connections: Count<1, 10_000>,
    /// Bytes of a request.
    #[arg(long, default_value = "64", value_name = "BYTES")]
    pub request: Count<1, 65_536>,
    /// Bytes of a response.
    #[arg(long, default_value = "64", value_name = "BYTES")]
    pub response: Count<1, 65_536>,
    /// Requests a second over all connections, sent when they are due whether
    /// or not answers have come, and timed from when they were due. Default:
    /// the next request when the answer has come.
    #[arg(long, value_name = "N")]
    pub rate: Option<Count<1, 10_000_000>>,
    /// What carries the bytes.
    #[arg(long, default_value = "tcp")]
    pub transport: Carrier,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Arguments of `fullbore bench crr`.
#[derive(Clone, Debug, Args)]
pub struct CrrArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ends: PairArgs,
    /// How long to measure.
    #[arg(long, default_value = "5s")]
    pub duration: Duration,
    /// Connections at once.
    #[arg(long, default_value = "64", value_name = "N")]
    pub concurrency: Count<1, 10_000>,
    /// What carries the bytes.
    #[arg(long, default_value = "tcp")]
    pub transport: Carrier,
    /// Engines of each end, each with a queue of its own. With --veth the pair
    /// gets as many queues. --cores then names the first core of each end.
    #[arg(long, default_value = "1", value_name = "N")]
    pub engines: Count<1, 64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Arguments of `fullbore bench many`.
#[derive(Clone, Debug, Args)]
pub struct ManyArgs {
    /// Connections, in steps from 1 to this number.
    #[arg(long, default_value = "100000", value_name = "N")]
    pub connections: Count<1, 1_000_000>,
    /// Connections that have an exchange at the same time, where there are as
    /// many; without it is measured, too.
    #[arg(long, default_value = "64", value_name = "N")]
    pub at_once: Count<1, 1024>,
    /// Only the first and the last step, and that of as many connections as
    /// have exchanges at the same time.
    #[arg(long)]
    pub ends: bool,
    /// Requests and answers timed in each step.
    #[arg(long, default_value = "200000", value_name = "N")]
    pub exchanges: Count<1000, 100_000_000>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Arguments of `fullbore bench loss`.
#[derive(Clone, Debug, Args)]
pub struct LossArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ends: PairArgs,
    /// How long to measure each point.
    #[arg(long, default_value = "5s")]
    pub duration: Duration,
    /// Loss rates in percent, in each direction.
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,1,3")]
    pub rates: Vec<f64>,
    /// Round-trip times in milliseconds.
    #[arg(long, value_delimiter = ',', default_value = "1,20,100")]
    pub round_trips: Vec<f64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
