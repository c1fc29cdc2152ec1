//! Fetching a file: over several connections if wanted, going on where an
//! earlier attempt stopped, checked against the server's digest.

mod events;
mod plan;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Instant;
use crate::transfer::client::exchange::Exchange;
use crate::transfer::client::local::Local;
use crate::transfer::client::progress::Progress;
use crate::transfer::client::{Action, ClientError, Key, Loss, Patience, Url};
use crate::transfer::disk::pool::TaskResult;
use crate::transfer::disk::{Op, Sink};
use crate::transfer::http::digest::{Algorithm, Digest, Digests, WANT_ANY};
use crate::transfer::http::{ByteRange, Response};

/// Where the content goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file; while it is incomplete it is called `.part`.
    File(PathBuf),
    /// Standard output. Always one connection; nothing can be taken back.
    Stdout,
}

/// What to do about the server's digest of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Check it if the server has one.
    IfOffered,
    /// Fail if it has none.
    Require,
    /// Do not ask.
    Skip,
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct GetOptions {
    /// What.
    pub url: Url,
    /// Where to.
    pub output: Output,
    /// Connections at once, at least 1.
    pub connections: usize,
    /// Go on with what an earlier attempt left.
    pub resume: bool,
    /// Check the digest.
    pub verify: Verify,
    /// The only algorithm to accept. Without it BLAKE3 is asked for, and
    /// SHA-256 taken from servers that do not know it.
    pub digest: Option<Algorithm>,
    /// A bearer token.
    pub token: Option<String>,
    /// How often and how long to try.
    pub patience: Patience,
}

impl GetOptions {
    /// The defaults: one connection, resuming, checking.
    #[must_use]
    pub fn new(url: Url, output: Output) -> Self {
        Self {
            url,
            output,
            connections: 1,
            resume: true,
            verify: Verify::IfOffered,
            digest: None,
            token: None,
            patience: Patience::default(),
        }
    }
}

/// A successful get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetReport {
    /// Size of the file in bytes.
    pub size: u64,
    /// Bytes that did not have to be fetched again.
    pub resumed: u64,
    /// A digest of the file.
    pub digest: Digest,
    /// The server gave the same one.
    pub verified: bool,
    /// Connections lost on the way.
    pub retries: u32,
}

/// Identifies one state of the server's file.
#[derive(Clone, Debug, Default)]
struct Known {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Known {
    /// A value for `If-Range`: only a strong validator will do.
    fn if_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|e| !e.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Content,
    Digest,
}

struct Link {
    x: Exchange,
    role: Role,
    /// A request has been sent and its response is not complete.
    busy: bool,
    /// A range was asked for.
    ranged: bool,
    start: u64,
    /// Next byte to come.
    pos: u64,
    /// End of what was asked for; `u64::MAX` for the unknown end of the file.
    end: u64,
    /// The response is an error; what it says.
    error: Option<(Response, Vec<u8>)>,
}

/// The first range asked for when several connections are wanted and the size
/// is not known yet, in bytes.
const PROBE: u64 = 1 << 20;
/// Smallest and largest range asked for at a time.
const PIECE: std::ops::RangeInclusive<u64> = (1 << 20)..=(256 << 20);
/// How often the parts that are there are written down.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// For the server to work out a digest.
const DIGEST_PATIENCE: Duration = Duration::from_secs(600);
/// How often a get begins again because the server's file has changed.
const MAX_RESTARTS: u32 = 3;
/// Bytes kept of an error's explanation.
const MAX_TEXT: usize = 300;

/// A get in progress.
pub struct Get {
    options: GetOptions,
    progress: Arc<Progress>,
    sink: Arc<Sink>,
    local: Option<Local>,
    known: Option<Known>,
    size: Option<u64>,
    todo: VecDeque<ByteRange>,
    links: Vec<Option<Link>>,
    /// Bytes that are in the file.
    done: u64,
    resumed: u64,
    /// Bytes on their way to the disk.
    writing: u64,
    expected: Option<Digest>,
    asked_digest: bool,
    attempts: u32,
    retries: u32,
    restarts: u32,
    last_loss: String,
    not_before: Instant,
    saved_at: Instant,
    saved_done: u64,
    saving: bool,
    restarting: bool,
    resetting: bool,
    finishing: bool,
    outcome: Option<Result<GetReport, ClientError>>,
    aborts: Vec<Key>,
}

impl Get {
    /// Opens the local file; connects when it is polled.
    ///
    /// # Errors
    /// [`ClientError::Local`] for what is wrong on this machine.
    pub fn new(
        options: GetOptions,
        progress: Arc<Progress>,
        now: Instant,
    ) -> Result<Self, ClientError> {
        let mut options = options;
        options.connections = options.connections.clamp(1, 64);
        let (local, sink, saved) = match &options.output {
            Output::File(path) => {
                let (local, sink, saved) =
                    Local::open(path, &options.url.to_string(), options.resume)?;
                (Some(local), sink, saved)
            }
            Output::Stdout => {
                options.connections = 1;
                let stdout = rustix::io::dup(std::io::stdout()).map_err(|e| {
                    ClientError::Local(format!("cannot write standard output: {e}"))
                })?;
                (None, Arc::new(Sink::stream(stdout)), None)
            }
        };
        let mut get = Self {
            options,
            progress,
            sink,
            local,
            known: None,
            size: None,
            todo: VecDeque::new(),
            links: Vec::new(),
            done: 0,
            resumed: 0,
            writing: 0,
            expected: None,
            asked_digest: false,
            attempts: 0,
            retries: 0,
            restarts: 0,
            last_loss: String::new(),
            not_before: now,
            saved_at: now,
            saved_done: 0,
            saving: false,
            restarting: false,
            resetting: false,
            finishing: false,
            outcome: None,
            aborts: Vec::new(),
        };
        get.hash();
        if let Some(saved) = saved {
            get.go_on_with(saved);
        }
        Ok(get)
    }

    /// The one to check against among the server's digests.
    fn pick(&self, digests: &Digests) -> Option<Digest> {
        match self.options.digest {
            Some(only) => digests.get(only),
            None => digests.iter().next(),
        }
    }

    /// The algorithm to use before the server has named one.
    fn algorithm(&self) -> Algorithm {
        self.options.digest.unwrap_or(Algorithm::Blake3)
    }

    /// The value of `Want-Repr-Digest`.
    fn want(&self) -> &'static str {
        self.options.digest.map_or(WANT_ANY, Algorithm::want)
    }

    /// Has the sink work out the digest that will be needed: the server's, if
    /// that is known, or a guess. A wrong guess means that the file is read
    /// again; a stream cannot be, so there it is both.
    fn hash(&self) {
        match self.expected {
            Some(expected) => self.sink.hash_by(&[expected.algorithm]),
            None if self.local.is_none()
                && self.options.digest.is_none()
                && self.options.verify != Verify::Skip =>
            {
                self.sink.hash_by(&Algorithm::ALL);
            }
            None => self.sink.hash_by(&[self.algorithm()]),
        }
    }

    /// The sink that content goes to.
    #[must_use]
    pub const fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let links = self.links.iter().flatten().map(|l| self.deadline(l)).min();
        let idle = self.count(Role::Content) == 0 && !self.restarting && !self.is_complete();
        let retry = idle.then_some(self.not_before);
        let save = (self.done != self.saved_done).then(|| self.saved_at + SAVE_EVERY);
        [links, retry, save].into_iter().flatten().min()
    }

    fn deadline(&self, link: &Link) -> Instant {
        let patience = &self.options.patience;
        link.x.active
            + match (link.x.connected, link.role) {
                (false, _) => patience.connect,
                (true, Role::Content) if link.pos > link.start => patience.idle,
                (true, Role::Content) => patience.answer,
                (true, Role::Digest) => DIGEST_PATIENCE,
            }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for key in 0..self.links.len() {
            let late = self.links[key]
                .as_ref()
                .is_some_and(|l| self.deadline(l) <= now);
            // A slow disk of ours is not the server's fault.
            if late && self.writing == 0 {
                self.aborts.push(key);
                self.on_lost(key, now, Loss::Broken("no answer in time".into()));
            }
        }
    }

    /// The user wants it to end: what is there is written down.
    pub fn interrupt(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        let hint = if self.save_now() {
            "; the same command goes on from here"
        } else {
            ""
        };
        self.fail(ClientError::Interrupted(hint.into()));
    }

    /// Writes down what is there, on this thread: only when it is over.
    fn save_now(&self) -> bool {
        let Some((local, mut saved)) = self.saved().filter(|_| !self.restarting) else {
            return false;
        };
        saved.parts = self
            .sink
            .written()
            .iter()
            .map(|p| (p.start, p.end))
            .collect();
        local.save(&saved).is_ok()
    }

    fn fail(&mut self, error: ClientError) {
        if self.outcome.is_none() {
            self.outcome = Some(Err(error));
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Result<GetReport, ClientError>> {
        self.outcome.as_ref()
    }
}

fn link_idle(link: Option<&mut Link>) {
    if let Some(link) = link {
        link.busy = false;
    }
}

fn task<B>(run: impl FnOnce() -> TaskResult + Send + 'static) -> Action<B> {
    Action::Disk(Op::Task(Box::new(run)))
}
