//! A node: one interface opened, and the engines on it.

mod claims;
mod error;
mod open;
mod options;
mod placement;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::engine::netlink::{Feed, KernelSync};
use crate::engine::{Ended, RunError, Waker};
use crate::link::Capture;
use crate::stack::kernel::KernelUpdate;
use crate::stats::{Board, SteeringCounters};
use crate::xdp::{AttachedMode, Interface, Steering};

use claims::SharedPorts;
pub use error::NodeError;
pub use options::{EngineOptions, NodeOptions, Own};

/// One engine as it was opened.
#[derive(Clone, Debug)]
pub struct EngineInForce {
    /// Its queues, and whether each is bound zero-copy.
    pub queues: Vec<(u32, bool)>,
    /// The core that it is pinned to.
    pub core: Option<usize>,
}

/// What was found and what is in force, for the user to read.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The interface.
    pub interface: Interface,
    /// Where the steering program runs.
    pub attached: AttachedMode,
    /// Why not in the driver, if it was to be tried.
    pub native_refusal: Option<String>,
    /// The engines.
    pub engines: Vec<EngineInForce>,
    /// Queues of the interface that no engine serves.
    pub unserved: Vec<u32>,
    /// Whether packet memory lies in huge pages.
    pub huge_pages: bool,
    /// Whether frames of the MTU take several chunks.
    pub chains: bool,
    /// Chunks of packet memory of one engine, and bytes of a chunk.
    pub memory: (u32, u32),
    /// Addresses served, with their prefixes.
    pub addresses: Vec<String>,
    /// Whether they are the kernel's too.
    pub shared: bool,
}

/// Running engines. They stop when asked, and when this is dropped.
pub struct Node {
    in_force: InForce,
    board: Board,
    steering: Steering,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<Result<Ended, RunError>>>,
    /// Engines that have stopped; their sockets may still be open.
    stopped: Arc<AtomicUsize>,
    ports: Option<SharedPorts>,
    feed: Option<Feed>,
    kernel: Option<KernelSync>,
    capture: Option<Capture>,
}

impl Node {
    /// What was found and what is in force.
    #[must_use]
    pub const fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// The engines' counters.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Verdicts of the steering program.
    #[must_use]
    pub fn steering(&self) -> SteeringCounters {
        self.steering.counters().unwrap_or_default()
    }

    /// Follows the kernel's addresses: ports are claimed on those that came
    /// and given up on those that went. To be called now and then.
    pub fn tend(&self) {
        let (Some(feed), Some(ports)) = (&self.feed, &self.ports) else {
            return;
        };
        while let Some(update) = feed.poll() {
            if let KernelUpdate::Config(config) = update {
                ports.set_addresses(&config.addresses);
            }
        }
    }

    /// Asks all engines for an orderly stop.
    pub fn stop(&self) {
        for waker in &self.wakers {
            waker.stop();
        }
    }

    /// Whether an engine has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // One that panicked is only finished.
        self.stopped.load(Ordering::Acquire) > 0 || self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits for all engines. When one failed the others are stopped.
    ///
    /// # Errors
    /// The first failure.
    pub fn join(mut self) -> Result<Vec<Ended>, NodeError> {
        let mut ended = Vec::new();
        let mut failed = None;
        let engines = self.threads.len();
        let mut attached = true;
        while !self.threads.is_empty() {
            if attached && self.stopped.load(Ordering::Acquire) == engines {
                // While they close their sockets.
                self.steering.detach();
                attached = false;
            }
            let done = self.threads.iter().position(JoinHandle::is_finished);
            let Some(i) = done else {
                std::thread::sleep(std::time::Duration::from_micros(500));
                self.tend();
                continue;
            };
            match self.threads.swap_remove(i).join() {
                Ok(Ok(end)) => ended.push(end),
                Ok(Err(error)) => failed = failed.or(Some(NodeError::Run(error))),
                Err(_) => failed = failed.or(Some(NodeError::Panicked)),
            }
            if failed.is_some() {
                self.stop();
            }
        }
        // In this order: nobody asks the kernel any more.
        self.kernel = None;
        if let Some(capture) = self.capture.take() {
            let done = capture.finish();
            failed = failed.or(done.err().map(NodeError::io("capture file")));
        }
        failed.map_or(Ok(ended), Err)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
