//! How counters leave the engine thread.
//!
//! The engine owns its counters. Every so often it copies them into its place
//! on the [`Board`]; it never waits for a reader, and a reader never touches
//! what the engine increments.

use super::{
    DropCounters, EngineCounters, FrameCounters, KernelCounters, LinkCounters, StackCounters,
    SteeringCounters, TcpCounters, UtpCounters,
};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// All counters of one engine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// What the link moved.
    pub link: LinkCounters,
    /// The kernel's statistics of the engine's sockets.
    pub kernel: KernelCounters,
    /// Verdicts of the steering program on the engine's queues.
    pub steering: SteeringCounters,
    /// The loop.
    pub engine: EngineCounters,
    /// Addresses and neighbours.
    pub stack: StackCounters,
    /// TCP.
    pub tcp: TcpCounters,
    /// uTP.
    pub utp: UtpCounters,
    /// The frame ledger.
    pub frames: FrameCounters,
    /// Dropped frames by reason.
    pub drops: DropCounters,
}

impl Snapshot {
    /// Adds another engine's counters to these.
    pub fn add(&mut self, other: &Self) {
        self.link += &other.link;
        self.kernel += &other.kernel;
        self.steering += &other.steering;
        self.engine += &other.engine;
        self.stack += &other.stack;
        self.tcp += &other.tcp;
        self.utp += &other.utp;
        self.frames += &other.frames;
        self.drops += &other.drops;
    }
}

/// Where the engines' latest snapshots are read.
#[derive(Clone, Debug, Default)]
pub struct Board {
    places: Vec<Arc<Mutex<Snapshot>>>,
}

/// One engine's place on the [`Board`].
#[derive(Debug)]
pub struct Publisher {
    place: Arc<Mutex<Snapshot>>,
}

impl Board {
    /// A board with a place for each of `engines` engines.
    #[must_use]
    pub fn new(engines: usize) -> (Self, Vec<Publisher>) {
        let places: Vec<Arc<Mutex<Snapshot>>> = (0..engines).map(|_| Arc::default()).collect();
        let publishers = places
            .iter()
            .map(|p| Publisher {
                place: Arc::clone(p),
            })
            .collect();
        (Self { places }, publishers)
    }

    /// The latest snapshot of each engine.
    #[must_use]
    pub fn read(&self) -> Vec<Snapshot> {
        self.places
            .iter()
            .map(|p| p.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// The latest snapshots added up.
    #[must_use]
    pub fn total(&self) -> Snapshot {
        let mut total = Snapshot::default();
        for one in self.read() {
            total.add(&one);
        }
        total
    }
}

impl Publisher {
    /// Replaces the published snapshot, for which `fill` gets the old one to
    /// overwrite. Does nothing, and says so, while a reader holds it: the
    /// engine never waits. Not for every packet: a few times a second.
    pub fn publish(&self, fill: impl FnOnce(&mut Snapshot)) -> bool {
        match self.place.try_lock() {
            Ok(mut place) => fill(&mut place),
            Err(TryLockError::Poisoned(place)) => fill(&mut place.into_inner()),
            Err(TryLockError::WouldBlock) => return false,
        }
        true
    }

    /// Replaces the published snapshot, waiting for a reader if there is one.
    /// For the last snapshot, at shutdown.
    pub fn publish_last(&self, fill: impl FnOnce(&mut Snapshot)) {
        fill(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::DropReason;

    #[test]
    fn engines_publish_apart_and_are_summed() {
        let (board, publishers) = Board::new(2);
        for (n, p) in publishers.iter().enumerate() {
            assert!(p.publish(|s| {
                s.link.rx_frames = 10 + n as u64;
                s.drops.count(DropReason::TcpPaws);
            }));
        }
        assert_eq!(board.read()[1].link.rx_frames, 11);
        assert_eq!(board.total().link.rx_frames, 21);
        assert_eq!(board.total().drops[DropReason::TcpPaws], 2);
    }

    #[test]
    fn a_reader_never_makes_the_engine_wait() {
        let (board, publishers) = Board::new(1);
        let held = board.places[0].lock().unwrap();
        assert!(!publishers[0].publish(|_| unreachable!()));
        drop(held);
        assert!(publishers[0].publish(|s| s.engine.turns = 1));
        assert_eq!(board.total().engine.turns, 1);
    }
}
