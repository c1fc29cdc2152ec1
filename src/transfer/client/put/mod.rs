//! Uploading a file, or what comes in on standard input.

mod answer;
mod send;

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Instant;
use crate::transfer::client::exchange::Exchange;
use crate::transfer::client::progress::{Phase, Progress};
use crate::transfer::client::{Action, ClientError, Key, Patience, Url};
use crate::transfer::disk::cache::DigestCache;
use crate::transfer::disk::pool::TaskValue;
use crate::transfer::disk::{Block, Op, OpenFile};
use crate::transfer::http::digest::{Algorithm, Digest, WANT_ANY};
use crate::transfer::http::fields::HeadWriter;
use crate::transfer::http::{Method, Response, chunk_out};
use crate::transfer::serve::{Front, ReadWish};

/// What to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input. Cannot be tried again after a loss.
    Stdin,
}

/// How the server is told the content's digest, which it checks before the
/// file becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// In the head: the file is read twice. Servers know its size beforehand.
    Head,
    /// Behind the content, in a trailer: the file is read once. Standard input
    /// is always sent like this.
    Trailer,
    /// In the head for files up to 64 MiB, else in a trailer.
    Auto,
    /// Not at all.
    Never,
}

/// How to upload.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Where to; a URL that ends in a slash gets the file's name.
    pub url: Url,
    /// What.
    pub source: Source,
    /// Where the digest goes.
    pub announce: Announce,
    /// The algorithm. Without it a digest in the head is SHA-256, one in a
    /// trailer BLAKE3 if the server says that it knows that.
    pub digest: Option<Algorithm>,
    /// A bearer token.
    pub token: Option<String>,
    /// How often and how long to try.
    pub patience: Patience,
}

impl PutOptions {
    /// The defaults.
    #[must_use]
    pub fn new(url: Url, source: Source) -> Self {
        Self {
            url,
            source,
            announce: Announce::Auto,
            digest: None,
            token: None,
            patience: Patience::default(),
        }
    }
}

/// A successful put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// Content bytes.
    pub size: u64,
    /// There was no such file before.
    pub created: bool,
    /// Their digest, if it was worked out.
    pub digest: Option<Digest>,
    /// The server has worked out the same.
    pub verified: bool,
    /// Connections lost on the way.
    pub retries: u32,
}

enum Out<B> {
    Bytes(Vec<u8>, usize),
    Pending(usize),
    Block(B, usize),
}

struct Link<B> {
    x: Exchange,
    /// Content may be sent.
    proceed: bool,
    out: VecDeque<Out<B>>,
    /// Next byte of the file to read.
    read: u64,
    blocks: usize,
    chunks: u64,
    /// The end of the content is in `out` or gone.
    ended: bool,
    final_response: Option<Response>,
    text: Vec<u8>,
}

/// Up to this size a digest goes into the head with [`Announce::Auto`].
const HEAD_DIGEST: u64 = 64 << 20;
/// For `100 Continue`, before content is sent without it.
const CONTINUE: Duration = Duration::from_secs(1);
/// For the answer after the last byte: the server syncs the file.
const ANSWER: Duration = Duration::from_secs(300);
/// Blocks read ahead.
const READ_AHEAD: usize = 4;
/// Bytes kept of an error's explanation.
const MAX_TEXT: usize = 300;
/// The one connection.
const KEY: Key = 0;

/// A put in progress.
pub struct Put<B> {
    options: PutOptions,
    progress: Arc<Progress>,
    file: Arc<OpenFile>,
    size: Option<u64>,
    chunked: bool,
    digest: Option<Digest>,
    hashing: Option<bool>,
    link: Option<Link<B>>,
    /// Distinguishes reads of one attempt from those of the next.
    serial: u64,
    attempts: u32,
    retries: u32,
    not_before: Instant,
    outcome: Option<Result<PutReport, ClientError>>,
    abort: bool,
    spare: Vec<B>,
}

impl<B: Block> Put<B> {
    /// Opens the source; connects when it is polled.
    ///
    /// # Errors
    /// [`ClientError::Local`] for what is wrong on this machine.
    pub fn new(
        options: PutOptions,
        progress: Arc<Progress>,
        now: Instant,
    ) -> Result<Self, ClientError> {
        let mut options = options;
        let local = |what: &str, e: &dyn std::fmt::Display| {
            ClientError::Local(format!("cannot read {what}: {e}"))
        };
        let file = match &options.source {
            Source::File(path) => {
                let name = path.display().to_string();
                if let Some(last) = path.file_name() {
                    options.url = options.url.join_name(last.as_encoded_bytes());
                }
                let file = File::open(path).map_err(|e| local(&name, &e))?;
                OpenFile::new(OwnedFd::from(file)).map_err(|e| local(&name, &e))?
            }
            Source::Stdin => {
                let fd =
                    rustix::io::dup(std::io::stdin()).map_err(|e| local("standard input", &e))?;
                OpenFile::stream(fd).map_err(|e| local("standard input", &e))?
            }
        };
        if options.url.target().ends_with('/') {
            let text = format!(
                "{} names a directory: add the name that the file is to have",
                options.url
            );
            return Err(ClientError::Local(text));
        }
        let size = (options.source != Source::Stdin).then_some(file.meta().size);
        let trailer = match options.announce {
            Announce::Head | Announce::Never => false,
            Announce::Trailer => true,
            Announce::Auto => size.is_some_and(|s| s > HEAD_DIGEST),
        };
        let hash_first = size.is_some() && !trailer && options.announce != Announce::Never;
        if let Some(size) = size {
            progress.set_total(size);
        }
        Ok(Self {
            chunked: trailer || size.is_none(),
            options,
            progress,
            file: Arc::new(file),
            size,
            digest: None,
            hashing: hash_first.then_some(false),
            link: None,
            serial: 0,
            attempts: 0,
            retries: 0,
            not_before: now,
            outcome: None,
            abort: false,
            spare: Vec::new(),
        })
    }

    /// The URL, with the file's name if that was missing.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.options.url
    }

    /// The next thing to do.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action<B>> {
        if std::mem::take(&mut self.abort) {
            return Some(Action::Abort(KEY));
        }
        if self.outcome.is_some() {
            return None;
        }
        match self.hashing {
            Some(true) => return None,
            Some(false) => {
                self.hashing = Some(true);
                self.progress.enter(Phase::Hashing);
                let (file, algorithm) = (self.file.clone(), self.algorithm(None));
                return Some(Action::Disk(Op::Task(Box::new(move || {
                    match file.digest(&DigestCache::default(), algorithm) {
                        Ok(digest) => Ok(TaskValue::Digest(digest)),
                        Err(e) => Err(format!("cannot read the file: {e}")),
                    }
                }))));
            }
            None => {}
        }
        if self.link.is_some() || now < self.not_before {
            return None;
        }
        self.progress.enter(Phase::Connecting);
        self.progress.set_done(0);
        self.serial += 1;
        let mut x = Exchange::new(now);
        x.request(Method::Put, self.head());
        let mut out = VecDeque::new();
        if self.chunked && self.size == Some(0) {
            self.start_hashing(None);
            self.digest = self.file.hashed();
            out.push_back(Out::Bytes(chunk_out::end(true, self.digest.as_ref()), 0));
        }
        self.link = Some(Link {
            x,
            proceed: self.size == Some(0),
            out,
            read: 0,
            blocks: 0,
            chunks: 0,
            ended: self.size == Some(0),
            final_response: None,
            text: Vec::new(),
        });
        Some(Action::Connect(KEY))
    }

    /// The algorithm to use for a server that wants `wanted`.
    fn algorithm(&self, wanted: Option<Algorithm>) -> Algorithm {
        let fallback = wanted.unwrap_or(Algorithm::Sha256);
        self.options.digest.unwrap_or(fallback)
    }

    /// Has what will be read worked out for the trailer, if there is to be one.
    /// Comes before anything of this attempt is read.
    fn start_hashing(&mut self, wanted: Option<Algorithm>) {
        if !self.chunked || self.options.announce == Announce::Never {
            return;
        }
        let algorithm = self.algorithm(wanted);
        match self.file.again() {
            Ok(file) => self.file = Arc::new(file.hashing(algorithm)),
            Err(e) => self.fail(ClientError::Local(format!("cannot read the file: {e}"))),
        }
    }

    fn head(&self) -> Vec<u8> {
        let url = &self.options.url;
        let mut head = HeadWriter::request(Method::Put, url.target())
            .field("Host", &url.authority())
            .field(
                "User-Agent",
                concat!("fullbore/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(token) = &self.options.token {
            head.add("Authorization", &format!("Bearer {token}"));
        }
        match self.size {
            Some(size) if !self.chunked => head.add("Content-Length", &size.to_string()),
            _ => {
                head.add("Transfer-Encoding", "chunked");
                if self.options.announce != Announce::Never {
                    head.add("Trailer", "Repr-Digest");
                    let want = self.options.digest.map_or(WANT_ANY, Algorithm::want);
                    head.add("Want-Repr-Digest", want);
                }
            }
        }
        if let Some(digest) = &self.digest {
            head.add("Repr-Digest", &digest.to_string());
        }
        if self.size != Some(0) {
            head.add("Expect", "100-continue");
        }
        head.finish()
    }

    /// The user wants it to end.
    pub fn interrupt(&mut self) {
        self.fail(ClientError::Interrupted(
            "; the server keeps nothing of an incomplete upload".into(),
        ));
    }

    fn fail(&mut self, error: ClientError) {
        if let Some(mut link) = self.link.take() {
            self.keep(&mut link);
            self.abort = true;
        }
        if self.outcome.is_none() {
            self.outcome = Some(Err(error));
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Result<PutReport, ClientError>> {
        self.outcome.as_ref()
    }
}
