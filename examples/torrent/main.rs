//! A minimal BitTorrent peer: fetches and gives one torrent of one file.
//!
//! An application with more to it than an echo: connections both ways, a disk
//! thread that answers by the mailbox, memory that is bounded for each peer, and
//! hashes that are checked.
//!
//! ```text
//! torrent make FILE > FILE.torrent
//! torrent run --on INTERFACE FILE.torrent FILE [--utp] [--listen PORT]
//!     [--peer ADDRESS:PORT]...
//! ```
//!
//! What FILE has already is checked, what it lacks is fetched. No tracker and no
//! other way to find peers, no rationing, and none of the protocol's extensions.

mod app;
mod bencode;
mod disk;
mod message;
mod metainfo;
mod peer;
mod pieces;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Parser, Subcommand};
use fullbore::cli::node::{Node, NodeOptions};
use fullbore::engine::{Idle, Transport};
use fullbore::link::FaultSettings;

use app::{Settings, Torrent};
use metainfo::Metainfo;

/// A minimal BitTorrent peer over AF_XDP.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Describe a file: the torrent goes to standard output.
    Make {
        /// The file.
        file: PathBuf,
        /// Bytes of a piece.
        #[arg(long, default_value_t = 256 << 10)]
        piece: u32,
    },
    /// Give what is there, fetch what is not.
    Run(Box<Run>),
}

#[derive(clap::Args)]
struct Run {
    /// The network interface.
    #[arg(long)]
    on: String,
    /// The torrent.
    torrent: PathBuf,
    /// The file that it describes; made if it is not there.
    file: PathBuf,
    /// Over uTP, not TCP.
    #[arg(long)]
    utp: bool,
    /// Wait for peers on this port.
    #[arg(long)]
    listen: Option<u16>,
    /// Connect to this peer; may be repeated.
    #[arg(long)]
    peer: Vec<SocketAddr>,
    /// Inject faults, such as loss=1%,delay=10ms,seed=7.
    #[arg(long)]
    fault: Option<FaultSettings>,
    /// End when the file is complete.
    #[arg(long)]
    until_complete: bool,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Make { file, piece } => Metainfo::make(&file, piece)
            .and_then(|text| std::io::stdout().write_all(&text))
            .map_err(Into::into),
        Command::Run(args) => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Run) -> Result<(), Box<dyn Error>> {
    let info = Arc::new(Metainfo::parse(&std::fs::read(&args.torrent)?)?);
    let file = disk::open(&args.file, &info)?;
    let have = disk::check(&file, &info)?;
    let count = have.iter().filter(|have| **have).count();
    eprintln!("{count} of {} pieces are here", have.len());

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut peer_id = *b"-FB0100-000000000000";
    for (byte, digit) in peer_id[8..]
        .iter_mut()
        .rev()
        .zip(std::process::id().to_string().bytes())
    {
        *byte = digit;
    }
    let settings = Settings {
        info,
        peer_id,
        transport: if args.utp {
            Transport::Utp
        } else {
            Transport::Tcp
        },
        listen: args.listen,
        peers: args.peer.clone(),
        until_complete: args.until_complete,
    };
    if settings.until_complete && count == have.len() {
        println!("complete");
        return Ok(());
    }
    let failure = Arc::new(Mutex::new(None));
    let mut torrent = Some(Torrent::new(settings, file, &have, Arc::clone(&failure)));
    let mut options = NodeOptions::new(args.on.clone());
    options.engine.idle = Idle::Sleep;
    options.faults = args.fault;
    let node = Node::start(&options, |_| torrent.take().expect("there is one engine"))?;
    while !node.has_ended() {
        if stop.load(Ordering::Relaxed) {
            node.stop();
        }
        node.tend();
        std::thread::sleep(Duration::from_millis(10));
    }
    node.join()?;
    let failed = failure.lock().ok().and_then(|mut failure| failure.take());
    failed.map_or(Ok(()), |why| Err(why.into()))
}
