//! The command line.

use super::bench::BenchCommand;
use crate::config::{
    AddressMode, Attach, Bind, Cidr, Congestion, Cores, Count, Error, File, HugePages,
    IdleStrategy, InterfaceName, Queues, RxChecksum, Source, StatsFormat,
};
use crate::link::FaultSettings;
use crate::transfer::http::digest::Algorithm;
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// TCP and file transfer over AF_XDP, past the kernel.
#[derive(Debug, Parser)]
#[command(name = "fullbore", version, about, after_help = super::failure::EXIT_CODES_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory over HTTP.
    Serve(ServeArgs),
    /// Fetch a file.
    Get(GetArgs),
    /// Send a file.
    Put(PutArgs),
    /// Say whether a configuration is valid, without touching the interface.
    Check {
        /// The configuration.
        #[arg(required = true)]
        config: Vec<PathBuf>,
    },
    /// List the network interfaces and what is known of them.
    Interfaces,
    /// Measure what the machine can do.
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// How to use the interface. What is not given comes from the configuration,
/// or is the default.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Interface")]
pub struct InterfaceArgs {
    /// The network interface.
    #[arg(long = "on", value_name = "INTERFACE")]
    pub on: Option<InterfaceName>,
    /// A configuration file; see configs/example.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Receive queues to take: "all", or numbers such as 0,1. Default: all.
    #[arg(long)]
    pub queues: Option<Queues>,
    /// Cores to pin the engines to: "auto", "none", or numbers such as 2,3.
    #[arg(long)]
    pub cores: Option<Cores>,
    /// An address of our own that the kernel does not have; may be repeated.
    /// Default: the interface's addresses, shared with the kernel.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub address: Vec<Cidr>,
    /// The gateway to use with --address; may be repeated for the other family.
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub gateway: Vec<IpAddr>,
    /// Where the steering program runs.
    #[arg(long)]
    pub attach: Option<Attach>,
    /// How the sockets share memory with the driver.
    #[arg(long)]
    pub bind: Option<Bind>,
    /// Huge pages for the frames.
    #[arg(long)]
    pub huge_pages: Option<HugePages>,
    /// What to do when there is nothing to do.
    #[arg(long)]
    pub idle: Option<IdleStrategy>,
    /// Whether received checksums are verified.
    #[arg(long)]
    pub rx_checksum: Option<RxChecksum>,
    /// The congestion controller.
    #[arg(long)]
    pub congestion: Option<Congestion>,
    /// Bytes of the largest IP packet. Default: the interface's MTU.
    #[arg(long)]
    pub mtu: Option<Count<576, 65_535>>,
    /// 802.1Q tag of every frame.
    #[arg(long)]
    pub vlan: Option<Count<1, 4094>>,
    /// Write every frame to this file, for Wireshark.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Inject faults, such as loss=1%,delay=10ms,seed=7.
    #[arg(long, value_name = "SPEC")]
    pub fault: Option<FaultSettings>,
    /// Print statistics once a second: "line" on standard error, or "json" on
    /// standard output.
    #[arg(long, value_name = "FORMAT")]
    pub stats: Option<StatsFormat>,
}

impl InterfaceArgs {
    /// The configuration file if one is named, with the flags laid over it.
    ///
    /// # Errors
    /// The file is not valid.
    pub fn source(&self) -> Result<Source, Error> {
        let mut source = match &self.config {
            Some(path) => Source::read(path)?,
            None => Source::default(),
        };
        self.lay_over(&mut source.file);
        Ok(source)
    }

    fn lay_over(&self, file: &mut File) {
        macro_rules! set {
            ($($flag:ident => $key:expr),+ $(,)?) => {
                $(if let Some(value) = &self.$flag { $key = value.clone(); })+
            };
        }
        macro_rules! set_optional {
            ($($flag:ident => $key:expr),+ $(,)?) => {
                $(if let Some(value) = &self.$flag { $key = Some(value.clone()); })+
            };
        }
        set! {
            queues => file.queues, cores => file.cores, attach => file.attach, bind => file.bind,
            huge_pages => file.huge_pages, rx_checksum => file.rx_checksum,
            congestion => file.tcp.congestion, stats => file.stats.format,
        }
        set_optional! {
            on => file.interface, mtu => file.mtu, vlan => file.vlan, pcap => file.pcap,
            fault => file.fault,
        }
        if let Some(strategy) = self.idle {
            file.idle.strategy = strategy;
            if strategy != IdleStrategy::Adaptive {
                file.idle.spin = None;
            }
        }
        if !self.address.is_empty() {
            file.addresses.mode = AddressMode::Own;
            file.addresses.own.clone_from(&self.address);
            file.addresses.gateways.clone_from(&self.gateway);
        }
    }
}

/// Arguments of `fullbore serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The directory to serve.
    pub dir: Option<PathBuf>,
    /// TCP port to listen on; may be repeated. Default: 80.
    #[arg(long)]
    pub port: Vec<Count<1, 65_535>>,
    /// UDP port to serve on over uTP as well; may be repeated.
    #[arg(long, value_name = "PORT")]
    pub utp: Vec<Count<1, 65_535>>,
    /// Allow PUT.
    #[arg(long)]
    pub writable: bool,
    /// A file whose first line is the bearer token that PUT needs.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub interface: InterfaceArgs,
}

/// Arguments of `fullbore get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to fetch: http://host[:port]/path, or utp:// for HTTP over uTP.
    pub url: String,
    /// Where to put it; "-" is standard output. Default: the URL's last part.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Connections to use at once, each for a range of the file.
    #[arg(short = 'j', long, value_name = "N", default_value = "1")]
    pub connections: Count<1, 64>,
    /// Start anew even if part of the file is there.
    #[arg(long)]
    pub no_resume: bool,
    /// The only digest to use: "blake3" or "sha-256". Default: BLAKE3 where the
    /// server knows it, else SHA-256.
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm)]
    pub digest: Option<Algorithm>,
    /// Attempts after a connection that failed or was lost, with growing
    /// pauses; those that made progress do not count.
    #[arg(long, value_name = "N", default_value = "5")]
    pub retries: Count<0, 1_000_000>,
    /// A file whose first line is the bearer token to send.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// No progress bar.
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub interface: InterfaceArgs,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let known = Algorithm::ALL.into_iter().find(|a| a.key() == text);
    known.ok_or_else(|| "it is neither \"blake3\" nor \"sha-256\"".to_owned())
}

/// Arguments of `fullbore put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The file to send; "-" is standard input.
    pub file: PathBuf,
    /// Where to: http://host[:port]/path, or utp:// for HTTP over uTP.
    pub url: String,
    /// The only digest to use: "blake3" or "sha-256". Default: BLAKE3 where the
    /// server knows it, else SHA-256.
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm)]
    pub digest: Option<Algorithm>,
    /// Attempts after a connection that failed or was lost, with growing
    /// pauses; those that made progress do not count.
    #[arg(long, value_name = "N", default_value = "5")]
    pub retries: Count<0, 1_000_000>,
    /// A file whose first line is the bearer token to send.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// No progress bar.
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub interface: InterfaceArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.toml");
        std::fs::write(
            &path,
            "interface = \"eth7\"\nmtu = 1400\n[idle]\nspin = \"1ms\"\n",
        )
        .unwrap();
        let line = format!(
            "fullbore serve /srv --config {} --on eth1 --queues 0,1 --cores 2,3 --idle busy \
             --address 192.0.2.7/24 --gateway 192.0.2.1 --congestion reno --stats json",
            path.display()
        );
        let Command::Serve(args) = parse(&line).unwrap().command else {
            panic!()
        };
        let file = args.interface.source().unwrap().file;
        assert_eq!(file.interface.as_ref().unwrap().as_str(), "eth1");
        assert_eq!(file.mtu.unwrap().get(), 1400);
        assert_eq!(file.queues, Queues::List(vec![0, 1]));
        assert_eq!(file.cores, Cores::List(vec![2, 3]));
        assert_eq!(
            (file.idle.strategy, file.idle.spin),
            (IdleStrategy::Busy, None)
        );
        assert_eq!(file.addresses.mode, AddressMode::Own);
        assert_eq!(file.addresses.gateways.len(), 1);
        assert_eq!(file.tcp.congestion, Congestion::Reno);
        assert_eq!(file.stats.format, StatsFormat::Json);
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_is_expected() {
        for (line, expected) in [
            ("fullbore serve . --on a/b", "an interface name"),
            ("fullbore serve . --on e --port 0", "from 1 to 65535"),
            ("fullbore serve . --on e --utp 65536", "from 1 to 65535"),
            (
                "fullbore serve . --on e --address 192.0.2.0/24",
                "a host's address",
            ),
            (
                "fullbore serve . --on e --fault los=1%",
                "did you mean `loss`?",
            ),
            ("fullbore serve . --on e --queues x", "queue numbers"),
            ("fullbore serve . --on e --attach nativ", "native"),
            ("fullbore serve . --on e --gateway 192.0.2.1", "--address"),
            ("fullbore get http://a/ -j 0", "from 1 to 64"),
            ("fullbore check", "<CONFIG>"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
