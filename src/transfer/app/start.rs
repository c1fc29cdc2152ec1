//! What the engines of one server share, and how it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::{FrameBlock, ServerStats};
use crate::transfer::disk::root::RootError;
use crate::transfer::disk::{Pool, PoolConfig, Root};
use crate::transfer::serve::auth::TokenError;
use crate::transfer::serve::{Admission, Auth, Policy, Scope};

/// How to serve a directory.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The directory.
    pub dir: PathBuf,
    /// Where to listen; the unspecified address stands for all own ones.
    pub listen: Vec<SocketAddr>,
    /// The same over uTP.
    pub listen_utp: Vec<SocketAddr>,
    /// Handshakes half open at once.
    pub backlog: usize,
    /// The same over uTP.
    pub backlog_utp: usize,
    /// `PUT` is allowed.
    pub writable: bool,
    /// Directories are listed.
    pub listing: bool,
    /// A file of one line with the bearer token that is asked for.
    pub token_file: Option<PathBuf>,
    /// What the token is asked for.
    pub token_scope: Scope,
    /// Largest request head, bytes.
    pub max_head: usize,
    /// Most header fields in a request, at most 128.
    pub max_fields: usize,
    /// Largest upload, bytes.
    pub max_upload: u64,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address (one /64 of IPv6).
    pub max_connections_per_address: usize,
    /// For a request's head to arrive.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// Bytes a second that a peer has to take or give; 0 for no limit.
    pub min_rate: u64,
    /// Over which the rate is taken.
    pub rate_window: Duration,
    /// Disk threads.
    pub disk: PoolConfig,
    /// Read what is in the page cache, or in a file system in memory, on the
    /// engine's own thread. Saves the way to a disk thread and back; costs the
    /// engine the copy.
    pub inline_reads: bool,
    /// Makes the boundaries of multipart responses hard to guess.
    pub seed: u64,
}

impl ServerOptions {
    /// The defaults: read-only, port 80 of all addresses.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            listen: vec![
                SocketAddr::from(([0, 0, 0, 0], 80)),
                SocketAddr::from(([0; 16], 80)),
            ],
            listen_utp: Vec::new(),
            backlog: 1024,
            backlog_utp: 1024,
            writable: false,
            listing: true,
            token_file: None,
            token_scope: Scope::Writes,
            max_head: 16 * 1024,
            max_fields: 100,
            max_upload: u64::MAX,
            max_connections: 4096,
            max_connections_per_address: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            min_rate: 1024,
            rate_window: Duration::from_secs(30),
            disk: PoolConfig::default(),
            inline_reads: true,
            seed: 0,
        }
    }
}

/// A server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The directory.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The token file.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The disk threads.
    #[error("cannot start the disk threads: {0}")]
    Threads(std::io::Error),
}

/// What the engines of one server share: directory, policy, disk threads,
/// limits, counters.
pub struct Server {
    pub(super) options: ServerOptions,
    pub(super) policy: Arc<Policy>,
    pub(super) disk: Arc<Pool<FrameBlock>>,
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) stats: Arc<ServerStats>,
    pub(super) begun: Arc<Begun>,
}

/// How the engines' applications began.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) listening: AtomicUsize,
    pub(super) failure: OnceLock<String>,
}

impl Server {
    /// Opens the directory and starts the disk threads.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let root = Arc::new(Root::open(&options.dir)?);
        let auth = match &options.token_file {
            Some(path) => Some(Auth::from_file(path, options.token_scope)?),
            None => None,
        };
        let policy = Policy {
            writable: options.writable,
            listing: options.listing,
            auth,
            max_head: options.max_head,
            max_fields: options.max_fields,
            max_upload: options.max_upload,
            header_timeout: options.header_timeout,
            idle_timeout: options.idle_timeout,
            min_rate: options.min_rate,
            rate_window: options.rate_window,
            seed: options.seed,
            ..Policy::new(root)
        };
        let disk = Arc::new(Pool::start(&options.disk).map_err(ServerError::Threads)?);
        let admission =
            Admission::new(options.max_connections, options.max_connections_per_address);
        Ok(Self {
            options,
            policy: Arc::new(policy),
            disk,
            admission: Arc::new(Mutex::new(admission)),
            stats: Arc::default(),
            begun: Arc::default(),
        })
    }

    /// How many engines listen.
    #[must_use]
    pub fn listening(&self) -> usize {
        self.begun.listening.load(Ordering::Acquire)
    }

    /// Why an engine cannot listen, if one cannot: one line for the user. It
    /// has stopped then.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.begun.failure.get().map(String::as_str)
    }

    /// The counters of all engines.
    #[must_use]
    pub const fn stats(&self) -> &Arc<ServerStats> {
        &self.stats
    }
}
