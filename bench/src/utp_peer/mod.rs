//! A peer that speaks uTP by `librqbit-utp`, another implementation than ours:
//! an HTTP server and client like `fullbore serve --utp`, `get` and `put`, and
//! the two ends of a stream that is measured.
//!
//! Each prints a line of JSON for each transfer: `bytes`, `seconds`, `gbps`,
//! `cpu_seconds` of this process, and the `sha256` of what it carried unless it
//! was asked not to look at it.

mod content;
mod http;
mod stream;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use librqbit_dualstack_sockets::{BindOpts, UdpSocket};
use librqbit_utp::{SocketOpts, UtpSocketUdp};
use rustix::net::sockopt;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

pub use content::{Content, sha256_of_file};

/// The name under which another program here becomes this one.
pub const NAME: &str = "utp_peer";

#[derive(Parser)]
#[command(name = NAME)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    socket: SocketArgs,
}

/// How the socket is made.
#[derive(Args)]
struct SocketArgs {
    /// MiB of the UDP socket's buffers, each way; 0 leaves them as they are.
    #[arg(long, global = true, default_value_t = 8)]
    buffers: usize,
    /// MiB of a connection's buffers, each way.
    #[arg(long, global = true, default_value_t = 1)]
    stream_buffers: usize,
    /// Bytes of the largest IP packet.
    #[arg(long, global = true, default_value_t = 1500)]
    mtu: u16,
    /// Threads of the runtime.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Serve content made from a seed, and take what is sent.
    Serve {
        /// Where.
        listen: SocketAddr,
        /// End after so many connections.
        #[arg(long)]
        connections: Option<u64>,
    },
    /// Fetch a path.
    Get {
        /// From which server.
        server: SocketAddr,
        /// Which path, such as `/file`.
        path: String,
    },
    /// Send content made from a seed.
    Put {
        /// To which server.
        server: SocketAddr,
        /// To which path.
        path: String,
        /// How much.
        #[arg(long)]
        bytes: u64,
        /// What.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Take a stream to its end.
    Sink {
        /// Where.
        listen: SocketAddr,
        /// Milliseconds before the rate is measured.
        #[arg(long, default_value_t = 500)]
        warm_up: u64,
    },
    /// Send for a time.
    Source {
        /// To where.
        sink: SocketAddr,
        /// Milliseconds.
        #[arg(long, default_value_t = 3500)]
        duration: u64,
    },
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = match cli.socket.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let result = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(run(&cli)),
        Err(e) => Err(e.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<(), String> {
    let ephemeral = |remote: SocketAddr| match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let open = |at| cli.socket.open(at);
    match &cli.command {
        Command::Serve {
            listen,
            connections,
        } => {
            let socket = open(*listen)?;
            eprintln!("serving {listen}");
            let mut left = connections.unwrap_or(u64::MAX);
            while left > 0 {
                let stream = socket.accept().await.map_err(|e| e.to_string())?;
                // One after the other: a transfer has the process for itself.
                if let Err(e) = http::serve(stream).await {
                    eprintln!("error: {e}");
                }
                left -= 1;
            }
            settle().await;
            Ok(())
        }
        Command::Get { server, path } => {
            let stream = connect(&open(ephemeral(*server))?, *server).await?;
            say(&http::get(stream, path).await?);
            settle().await;
            Ok(())
        }
        Command::Put {
            server,
            path,
            bytes,
            seed,
        } => {
            let stream = connect(&open(ephemeral(*server))?, *server).await?;
            say(&http::put(stream, path, Content::new(*seed, *bytes)).await?);
            settle().await;
            Ok(())
        }
        Command::Sink { listen, warm_up } => {
            let socket = open(*listen)?;
            eprintln!("waiting at {listen}");
            let stream = socket.accept().await.map_err(|e| e.to_string())?;
            say(&stream::sink(stream, Duration::from_millis(*warm_up)).await?);
            settle().await;
            Ok(())
        }
        Command::Source { sink, duration } => {
            let stream = connect(&open(ephemeral(*sink))?, *sink).await?;
            say(&stream::source(stream, Duration::from_millis(*duration)).await?);
            settle().await;
            Ok(())
        }
    }
}

/// Settings for a wire that loses.
#[must_use]
pub fn patient() -> SocketOpts {
    SocketOpts {
        // It takes a probe of the path's MTU whose acknowledgements get lost (of
        // one retransmission, by default) for one that was too large, and sends
        // its number again with fewer bytes: the streams differ then.
        mtu_probe_max_retransmissions: Some(8),
        max_retransmissions: NonZeroUsize::new(10),
        remote_inactivity_timeout: Some(Duration::from_secs(60)),
        ..SocketOpts::default()
    }
}

impl SocketArgs {
    fn open(&self, at: SocketAddr) -> Result<Arc<UtpSocketUdp>, String> {
        let fail = |e: &dyn std::fmt::Display| format!("{at}: {e}");
        let options = BindOpts {
            request_dualstack: false,
            reuseport: false,
            device: None,
        };
        let socket = UdpSocket::bind_udp(at, options).map_err(|e| fail(&e))?;
        if self.buffers > 0 {
            // Past the limit of the system, which root may.
            let inner = socket.socket();
            sockopt::set_socket_recv_buffer_size_force(inner, self.buffers << 20)
                .and_then(|()| {
                    sockopt::set_socket_send_buffer_size_force(inner, self.buffers << 20)
                })
                .map_err(|e| fail(&e))?;
        }
        if at.is_ipv4() {
            let never = sockopt::Ipv4PathMtuDiscovery::DO;
            sockopt::set_ip_mtu_discover(socket.socket(), never).map_err(|e| fail(&e))?;
        }
        let buffer = (self.stream_buffers << 20).try_into().ok();
        let options = SocketOpts {
            link_mtu: usize::from(self.mtu).try_into().ok(),
            vsock_rx_bufsize_bytes: buffer,
            vsock_tx_bufsize_bytes_max: buffer,
            ..patient()
        };
        UtpSocketUdp::new_with_opts(socket, Default::default(), options).map_err(|e| fail(&e))
    }
}

async fn connect(
    socket: &Arc<UtpSocketUdp>,
    to: SocketAddr,
) -> Result<librqbit_utp::UtpStream, String> {
    // The library sends one SYN, which may get lost.
    for _ in 0..5 {
        let limit = Duration::from_secs(2);
        match tokio::time::timeout(limit, socket.connect(to)).await {
            Ok(stream) => return stream.map_err(|e| format!("{to}: {e}")),
            Err(_) => eprintln!("{to} does not answer"),
        }
    }
    Err(format!("{to} did not answer"))
}

/// Lets the library's tasks end their streams.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn say(report: &Value) {
    println!("{report}");
}

/// What a transfer took.
struct Meter {
    begin: Instant,
    cpu: f64,
}

impl Meter {
    fn start() -> Self {
        Self {
            begin: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    fn report(&self, bytes: u64, digest: Option<[u8; 32]>) -> Value {
        let seconds = self.begin.elapsed().as_secs_f64();
        json!({
            "bytes": bytes,
            "seconds": seconds,
            "gbps": bytes as f64 * 8.0 / seconds.max(1e-9) / 1e9,
            "cpu_seconds": cpu_seconds() - self.cpu,
            "sha256": digest.map(|d| content::hex(&d)),
        })
    }
}

/// Processor time of this process, in the kernel and outside.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
