//! The disk threads.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};

use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::block::Block;
use super::file::OpenFile;
use super::root::{Found, Root};
use super::sink::Sink;
use super::upload::{Stored, Upload};
use super::{DiskError, list};
use crate::transfer::http::Request;
use crate::transfer::http::digest::{Algorithm, Digest};
use crate::transfer::http::target::Path;

/// Whose request it was; the disk threads only hand it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The connection. Requests with one number are served in order, by one
    /// thread.
    pub conn: u64,
    /// The request within the connection.
    pub serial: u64,
}

/// Something to do.
pub enum Op<B> {
    /// Open what `path` names.
    Lookup {
        /// The served directory.
        root: Arc<Root>,
        /// What to open.
        path: Path,
    },
    /// List a directory.
    List {
        /// The directory.
        dir: OwnedFd,
        /// The path that names it.
        path: Path,
        /// JSON instead of HTML.
        json: bool,
    },
    /// Work out a file's digest.
    Digest {
        /// The served directory, which remembers it.
        root: Arc<Root>,
        /// The file.
        file: Arc<OpenFile>,
        /// By which algorithm.
        algorithm: Algorithm,
    },
    /// Fill a block.
    Read {
        /// From where.
        file: Arc<OpenFile>,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: usize,
        /// What to fill.
        block: B,
    },
    /// Prepare an upload.
    Create {
        /// The served directory.
        root: Arc<Root>,
        /// The request, for its path and its preconditions.
        request: Box<Request>,
        /// Its length, if known.
        length: Option<u64>,
    },
    /// Write a block of an upload.
    Upload {
        /// The upload.
        upload: Arc<Upload>,
        /// Where the block goes.
        offset: u64,
        /// The content.
        block: B,
    },
    /// Make an upload a file.
    Commit {
        /// The upload.
        upload: Arc<Upload>,
        /// Its size in bytes.
        size: u64,
        /// Digests that its content must have.
        expected: Vec<Digest>,
    },
    /// Drop an upload; freeing a large file takes time.
    Discard(Arc<Upload>),
    /// Write a block.
    Write {
        /// Where to.
        sink: Arc<Sink>,
        /// Where the block goes.
        offset: u64,
        /// The content.
        block: B,
    },
    /// Anything else.
    Task(Box<dyn FnOnce() -> TaskResult + Send>),
}

/// What a [`Op::Task`] answers: an error is one line for the user.
pub type TaskResult = Result<TaskValue, String>;

/// The value of a [`Op::Task`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskValue {
    /// Done.
    Done,
    /// Done, with a digest.
    Digest(Digest),
    /// A digest is not what it should be; a line about that.
    Mismatch(String),
}

/// How it went.
pub enum Outcome<B> {
    /// Of [`Op::Lookup`].
    Found(Result<Found, DiskError>),
    /// Of [`Op::List`].
    Listed(Result<Vec<u8>, DiskError>),
    /// Of [`Op::Digest`].
    Digest(Result<Digest, DiskError>),
    /// Of [`Op::Read`]: how many bytes came.
    Read(B, Result<usize, DiskError>),
    /// Of [`Op::Create`].
    Created(Result<Arc<Upload>, DiskError>),
    /// Of [`Op::Upload`] and [`Op::Write`]: how many bytes went.
    Written(B, Result<u64, DiskError>),
    /// Of [`Op::Commit`].
    Committed(Result<Stored, DiskError>),
    /// Of [`Op::Task`].
    Task(TaskResult),
}

impl<B: Block> Op<B> {
    /// Does it, here and now. `None` for what has no answer.
    pub fn run(self) -> Option<Outcome<B>> {
        Some(match self {
            Self::Lookup { root, path } => Outcome::Found(root.lookup(&path)),
            Self::List { dir, path, json } => Outcome::Listed(list::list(&dir, &path, json)),
            Self::Digest {
                root,
                file,
                algorithm,
            } => Outcome::Digest(file.digest(&root.digests, algorithm)),
            Self::Read {
                file,
                offset,
                len,
                mut block,
            } => {
                let result = file.read(offset, len, &mut block);
                Outcome::Read(block, result)
            }
            Self::Create {
                root,
                request,
                length,
            } => Outcome::Created(Upload::create(&root, &request, length).map(Arc::new)),
            Self::Upload {
                upload,
                offset,
                block,
            } => {
                let result = upload.sink().write(offset, &block);
                Outcome::Written(block, result)
            }
            Self::Write {
                sink,
                offset,
                block,
            } => {
                let result = sink.write(offset, &block);
                Outcome::Written(block, result)
            }
            Self::Commit {
                upload,
                size,
                expected,
            } => Outcome::Committed(upload.commit(size, &expected)),
            Self::Discard(_) => return None,
            Self::Task(task) => Outcome::Task(task()),
        })
    }

    /// Whether it may take so long that reads should not queue behind it.
    const fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::List { .. }
                | Self::Digest { .. }
                | Self::Commit { .. }
                | Self::Discard(_)
                | Self::Task(_)
        )
    }
}

/// An answer on its way to an engine.
pub struct Completion<B> {
    /// Whose request it was.
    pub tag: Tag,
    /// How it went.
    pub outcome: Outcome<B>,
}

/// The way back to one engine. `post` may wait for room: it is called on disk
/// threads.
pub trait Mailbox<B>: Send + Sync {
    /// Hands over an answer. `false`, and the answer is lost, if the engine is
    /// gone.
    fn post(&self, completion: Completion<B>) -> bool;
}

/// A crossbeam sender, for tests and for programs without an engine.
impl<B: Send> Mailbox<B> for Sender<Completion<B>> {
    fn post(&self, completion: Completion<B>) -> bool {
        self.send(completion).is_ok()
    }
}

struct Job<B> {
    tag: Tag,
    op: Op<B>,
    reply_to: Arc<dyn Mailbox<B>>,
}

/// How many threads, and how much may wait for them.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Threads that read and write; at least 1.
    pub io_threads: usize,
    /// Threads for digests, syncing and listings; at least 1.
    pub slow_threads: usize,
    /// Requests that may wait for one thread; at least 1.
    pub queue: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            io_threads: 1,
            slow_threads: 2,
            queue: 1024,
        }
    }
}

/// The way to a thread that reads and writes.
struct Lane<B> {
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job<B>>>,
    thread: Thread,
}

impl<B> Drop for Lane<B> {
    fn drop(&mut self) {
        // In this order: the thread finds that nothing more can come.
        self.jobs = None;
        self.thread.unpark();
    }
}

/// The disk threads of a process, shared by its engines.
pub struct Pool<B> {
    io: Vec<Lane<B>>,
    slow: Sender<Job<B>>,
    threads: Vec<JoinHandle<()>>,
}

impl<B: Block> Pool<B> {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(config: &PoolConfig) -> io::Result<Self> {
        let mut threads = Vec::new();
        let mut spawn = |name: String, work: fn(&Receiver<Job<B>>), jobs: Receiver<Job<B>>| {
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || work(&jobs))?;
            let handle = thread.thread().clone();
            threads.push(thread);
            Ok::<_, io::Error>(handle)
        };
        let mut io = Vec::new();
        for i in 0..config.io_threads.max(1) {
            let (sender, receiver) = bounded(config.queue.max(1));
            let thread = spawn(format!("disk-{i}"), work_alone, receiver)?;
            io.push(Lane {
                jobs: Some(sender),
                thread,
            });
        }
        let (slow, receiver) = bounded(config.queue.max(1));
        for i in 0..config.slow_threads.max(1) {
            spawn(format!("disk-slow-{i}"), work, receiver.clone())?;
        }
        Ok(Self { io, slow, threads })
    }

    /// Hands a request to a thread; never waits.
    ///
    /// # Errors
    /// The request itself, when too many are waiting.
    pub fn submit(&self, tag: Tag, op: Op<B>, reply_to: &Arc<dyn Mailbox<B>>) -> Result<(), Op<B>> {
        let (lane, thread) = if op.is_slow() {
            (Some(&self.slow), None)
        } else {
            // There is at least one; the remainder is below the length.
            let lane = &self.io[(tag.conn % self.io.len() as u64) as usize];
            (lane.jobs.as_ref(), Some(&lane.thread))
        };
        let Some(lane) = lane else { return Err(op) };
        let job = Job {
            tag,
            op,
            reply_to: reply_to.clone(),
        };
        lane.try_send(job).map_err(|e| match e {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job.op,
        })?;
        if let Some(thread) = thread {
            thread.unpark();
        }
        Ok(())
    }

    /// Ends the threads after what they have been given.
    pub fn stop(self) {
        let Self { io, slow, threads } = self;
        drop((io, slow));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Of a thread that others share the lane with.
fn work<B: Block>(jobs: &Receiver<Job<B>>) {
    for job in jobs {
        job.run();
    }
}

/// Of the only thread of a lane, who is unparked for each request. Waiting by
/// `recv` would first give the processor up several times, in vain if it is free
/// and long before the thread's turn if it is not.
fn work_alone<B: Block>(jobs: &Receiver<Job<B>>) {
    loop {
        match jobs.try_recv() {
            Ok(job) => job.run(),
            Err(TryRecvError::Empty) => std::thread::park(),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

impl<B: Block> Job<B> {
    fn run(self) {
        let Self { tag, op, reply_to } = self;
        if let Some(outcome) = op.run() {
            // An engine that is gone needs no answer.
            let _ = reply_to.post(Completion { tag, outcome });
        }
    }
}
