//! The part of an engine that its application sees, through
//! [`Context`](super::Context).

use std::collections::VecDeque;
use std::time::Duration;

use slab::Slab;

use super::{Inbox, Wheel};
use crate::frame::Pool;
use crate::stack::{Flow, Stack};
use crate::stats::{EngineCounters, Snapshot};
use crate::time::Instant;

pub(super) struct Core<M> {
    pub now: Instant,
    pub pool: Pool,
    pub stack: Stack,
    pub inbox: Inbox<M>,
    pub timers: AppTimers,
    /// Flows whose application was refused a frame while they had room.
    pub starved: VecDeque<Flow>,
    /// One of them is being told that there are frames again.
    pub feeding: bool,
    pub stop_asked: bool,
    pub counters: EngineCounters,
}

impl<M> Core<M> {
    /// Writes the counters into a snapshot.
    pub(super) fn fill(&self, snapshot: &mut Snapshot) {
        let ledger = self.pool.ledger();
        snapshot.engine = self.counters;
        snapshot.stack = self.stack.counters();
        (snapshot.tcp, snapshot.utp) = self.stack.transport_counters();
        snapshot.tcp.payload_bytes_copied = self.pool.copied();
        snapshot.drops = self.stack.drops();
        snapshot.frames.total = u64::from(ledger.total());
        snapshot.frames.pool = u64::from(ledger.pool);
        snapshot.frames.fill = u64::from(ledger.fill);
        snapshot.frames.engine = u64::from(ledger.engine);
        snapshot.frames.unread = u64::from(ledger.unread);
        snapshot.frames.tx = u64::from(ledger.tx);
        snapshot.frames.send_queue = u64::from(ledger.queue);
        snapshot.frames.tx_and_send_queue = u64::from(ledger.queue_tx);
    }
}

/// A timer set with [`Context::set_timer`](super::Context::set_timer).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

struct AppTimer {
    generation: u32,
    flow: Option<Flow>,
    token: u64,
}

/// The timers of the application.
pub(super) struct AppTimers {
    wheel: Wheel,
    timers: Slab<AppTimer>,
    generation: u32,
}

impl AppTimers {
    pub fn new() -> Self {
        Self {
            wheel: Wheel::new(Instant::ZERO),
            timers: Slab::new(),
            generation: 0,
        }
    }

    pub fn set(
        &mut self,
        now: Instant,
        flow: Option<Flow>,
        token: u64,
        after: Duration,
    ) -> TimerId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.timers.insert(AppTimer {
            generation,
            flow,
            token,
        }) as u32;
        self.wheel.set(index, now + after);
        TimerId { index, generation }
    }

    pub fn cancel(&mut self, timer: TimerId) {
        let index = timer.index as usize;
        if self
            .timers
            .get(index)
            .is_some_and(|t| t.generation == timer.generation)
        {
            self.timers.remove(index);
            self.wheel.cancel(timer.index);
        }
    }

    /// Appends the timers that are due to `due`.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        self.wheel.expire(now, due);
    }

    /// Takes a due timer: whose and which. `None` if it was cancelled since.
    pub fn take(&mut self, index: u32) -> Option<(Option<Flow>, u64)> {
        let timer = self.timers.try_remove(index as usize)?;
        Some((timer.flow, timer.token))
    }

    pub fn next(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }
}
