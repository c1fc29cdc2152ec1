//! An engine and one turn of it.

use std::collections::VecDeque;

use super::core::{AppTimers, Core};
use super::handover::Handover;
use super::netlink::Feed;
use super::send::FEW;
use super::stop::Life;
use super::{Application, Context, EngineConfig, Flow, Inbox, PortClaims, Wheel};
use crate::frame::{Packet, Pool, TxDesc};
use crate::link::Link;
use crate::stack::flow::Phase;
use crate::stack::iface::Interface;
use crate::stack::{self, Stack, Tell};
use crate::stats::{EngineCounters, Publisher, Snapshot};
use crate::time::Instant;
use crate::transport;

/// Messages taken in a turn.
const MESSAGES: usize = 256;
/// Calls of the application in a turn: an application that makes events
/// faster than they are told must not keep the engine from the link.
const CALLS: usize = 4096;
/// How far ahead connections whose timers are due are loaded.
const AHEAD: usize = 4;
/// How soon to look again when the transmit ring is full.
const TX_RETRY: std::time::Duration = std::time::Duration::from_micros(50);
/// How often the counters are published.
const PUBLISH: std::time::Duration = std::time::Duration::from_millis(100);

/// What an engine is made of.
pub struct Parts<L, A: Application> {
    /// Where packets come from and go to.
    pub link: L,
    /// The link's packets.
    pub pool: Pool,
    /// Addresses, neighbours and routes.
    pub interface: Interface,
    /// What runs on it.
    pub application: A,
    /// Its messages.
    pub inbox: Inbox<A::Message>,
    /// Who is told which ports are ours.
    pub claims: Box<dyn PortClaims + Send>,
    /// News of the kernel, in shared address mode.
    pub feed: Option<Feed>,
    /// The other engines of the interface.
    pub handover: Option<Handover>,
    /// Where the counters are published.
    pub publisher: Option<Publisher>,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Whether anything happened.
    pub worked: bool,
    /// Packets received.
    pub received: usize,
    /// Bytes in them.
    pub received_bytes: usize,
    /// When the next turn is wanted, if nothing arrives before.
    pub next: Option<Instant>,
    /// The engine has stopped: no further turn does anything.
    pub stopped: bool,
}

/// Runs the connections of one queue of an interface, and the application on
/// top of them, on whatever thread calls it.
///
/// [`turn`](Self::turn) is the whole of it: it never blocks and takes the time
/// as an argument. [`run`](Self::run) calls it until the engine is stopped.
pub struct Engine<L, A: Application> {
    pub(super) link: L,
    pub(super) app: A,
    pub(super) core: Core<A::Message>,
    pub(super) config: EngineConfig,
    pub(super) feed: Option<Feed>,
    pub(super) handover: Option<Handover>,
    publisher: Option<Publisher>,
    published: Instant,
    pub(super) wheel: Wheel,
    pub(super) rx: Vec<Packet>,
    /// The parts of a received frame that is longer than a chunk.
    pub(super) parts: Vec<Packet>,
    pub(super) tx: VecDeque<TxDesc>,
    due: Vec<u32>,
    /// Connections that have sent what they had, and for which not all is done.
    pub(super) sent: Vec<u32>,
    /// Connections whose deadlines may have changed, and those.
    pub(super) to_arm: Vec<(u32, Option<Instant>)>,
    pub(super) life: Life,
}

impl<L: Link, A: Application> Engine<L, A> {
    /// An engine that has not run yet.
    pub fn new(config: EngineConfig, parts: Parts<L, A>) -> Self {
        let share = parts.handover.as_ref().map_or((0, 1), Handover::share);
        let stack = Stack::new(
            parts.interface,
            stack::Config {
                tcp: config.tcp.clone(),
                utp: config.utp.clone(),
                max_flows: config.max_flows,
                ports: config.ports.clone(),
                claims: parts.claims,
                share,
                seed: config.seed,
                max_frame: parts.pool.max_packet(),
            },
        );
        Self {
            link: parts.link,
            app: parts.application,
            core: Core {
                now: Instant::ZERO,
                pool: parts.pool,
                stack,
                inbox: parts.inbox,
                timers: AppTimers::new(),
                starved: VecDeque::new(),
                feeding: false,
                stop_asked: false,
                counters: EngineCounters::default(),
            },
            feed: parts.feed,
            handover: parts.handover,
            publisher: parts.publisher,
            published: Instant::ZERO,
            wheel: Wheel::new(Instant::ZERO),
            rx: Vec::with_capacity(config.batch),
            parts: Vec::new(),
            tx: VecDeque::with_capacity(config.tx_queue),
            due: Vec::new(),
            sent: Vec::with_capacity(FEW),
            to_arm: Vec::new(),
            life: Life::New,
            config,
        }
    }

    /// The application.
    #[must_use]
    pub const fn app(&self) -> &A {
        &self.app
    }

    /// The link.
    #[must_use]
    pub const fn link(&self) -> &L {
        &self.link
    }

    /// The packets' pool.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.core.pool
    }

    /// The stack.
    #[must_use]
    pub const fn stack(&self) -> &Stack {
        &self.core.stack
    }

    /// The loop's counters.
    #[must_use]
    pub const fn counters(&self) -> &EngineCounters {
        &self.core.counters
    }

    /// Calls into the application from outside a turn: for tests and for
    /// drivers that have no use for messages. What it asks for happens in the
    /// next turn.
    pub fn with<R>(&mut self, call: impl FnOnce(&mut A, &mut Context<'_, A::Message>) -> R) -> R {
        let Self { app, core, .. } = self;
        call(app, &mut Context { core })
    }

    /// Begins an orderly stop with the next turn.
    pub const fn stop(&mut self) {
        self.core.stop_asked = true;
    }

    /// Everything that is due at `now`: receives a batch, lets connections and
    /// the application have it, and sends what came of it.
    pub fn turn(&mut self, now: Instant) -> Turn {
        if self.life == Life::Stopped {
            return Turn {
                worked: false,
                received: 0,
                received_bytes: 0,
                next: None,
                stopped: true,
            };
        }
        self.core.now = now;
        self.core.counters.turns += 1;
        if self.life == Life::New {
            self.life = Life::Running;
            self.exchange(now);
            self.with(|app, cx| app.start(cx));
        }
        let (received, received_bytes) = self.receive(now);
        let mut worked = received > 0;
        if (1..=FEW).contains(&received) {
            self.answer(now);
        }
        self.core.stack.relieve(&mut self.core.pool);
        worked |= self.take_handed(now);
        worked |= self.take_messages();
        self.exchange(now);
        worked |= self.expire(now);
        self.begin_stop(now);
        worked |= self.tell() || !self.tx.is_empty();
        self.with(A::turn);
        self.feed_starved();
        self.core.stack.hurry_acks();
        self.send(now);
        self.go_on_stopping(now);
        if !worked {
            self.core.counters.idle_turns += 1;
        }
        self.publish(now);
        Turn {
            worked,
            received,
            received_bytes,
            next: self.next_turn(now),
            stopped: self.life == Life::Stopped,
        }
    }

    fn take_messages(&mut self) -> bool {
        let mut taken = 0;
        // Looking is free, taking is a barrier that waits for all stores.
        while taken < MESSAGES
            && !self.core.inbox.is_empty()
            && let Some(message) = self.core.inbox.pop()
        {
            taken += 1;
            self.core.counters.messages_in += 1;
            self.with(|app, cx| app.message(cx, message));
        }
        taken > 0
    }

    /// Handles the timers that are due: connections', interface's and the
    /// application's.
    fn expire(&mut self, now: Instant) -> bool {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        let core = &mut self.core;
        let mut expired = due.drain(..);
        while let Some(index) = expired.next() {
            if let Some(&soon) = expired.as_slice().get(AHEAD) {
                core.stack.flows.prefetch(soon);
            }
            core.counters.timers += 1;
            if let Some(slot) = core.stack.flows.at_mut(index) {
                slot.armed = Instant::FAR;
                slot.conn.handle_timeout(now, &mut core.pool);
                core.stack.touch(index);
            }
        }
        drop(expired);
        if core.stack.iface.poll_timeout().is_some_and(|t| t <= now) {
            core.stack.iface.handle_timeout(now);
        }
        core.stack.retry_routes();
        core.stack.trim(now);
        core.timers.expire(now, &mut due);
        let worked = !due.is_empty();
        for index in due.drain(..) {
            let Some((flow, token)) = self.core.timers.take(index) else {
                continue;
            };
            self.core.counters.timers += 1;
            if flow.is_none_or(|f| self.core.stack.flows.get(f).is_some()) {
                self.with(|app, cx| app.timer(cx, flow, token));
            }
        }
        self.due = due;
        worked
    }

    /// Takes news of the kernel's view of the interface.
    fn exchange(&mut self, now: Instant) {
        if let Some(feed) = &self.feed {
            feed.exchange(now, &mut self.core.stack.iface);
        }
    }

    /// Tells the application what happened.
    pub(super) fn tell(&mut self) -> bool {
        let mut calls = 0;
        while calls < CALLS
            && let Some((flow, tell)) = self.core.stack.poll_event()
        {
            calls += 1;
            self.call(flow, tell);
        }
        calls > 0 || self.core.stack.has_work()
    }

    pub(super) fn call(&mut self, flow: Flow, tell: Tell) {
        let Self { app, core, .. } = self;
        let cx = &mut Context { core };
        match tell {
            Tell::Accept { peer, local } => {
                if !app.accept(cx, flow, peer, local) {
                    core.stack.drop_silently(&mut core.pool, flow);
                }
            }
            Tell::Connected => app.connected(cx, flow),
            Tell::Readable => app.readable(cx, flow),
            Tell::Writable => app.writable(cx, flow),
            Tell::PeerClosed => app.peer_closed(cx, flow),
            Tell::Closed(reason) => app.closed(cx, flow, reason),
        }
    }

    /// Frames are there again: those that were refused some may go on.
    fn feed_starved(&mut self) {
        // One frame is enough: whoever waits may be what holds up the others.
        let enough = transport::reserve(&self.core.pool);
        for _ in 0..self.core.starved.len() {
            if self.core.pool.available() <= enough {
                return;
            }
            let Some(flow) = self.core.starved.pop_front() else {
                return;
            };
            let Some(slot) = self.core.stack.flows.get_mut(flow) else {
                continue;
            };
            slot.starved = false;
            if slot.phase == Phase::Open && slot.conn.wants_room() {
                self.core.feeding = true;
                self.call(flow, Tell::Writable);
                self.core.feeding = false;
            }
        }
    }

    fn next_turn(&self, now: Instant) -> Option<Instant> {
        if self.life == Life::Stopped {
            return None;
        }
        let core = &self.core;
        let handed = self.handover.as_ref().is_some_and(|h| !h.is_empty());
        let asked = core.stop_asked && self.life == Life::Running;
        if asked || handed || !core.inbox.is_empty() {
            return Some(now);
        }
        let busy = if !self.tx.is_empty() {
            Some(now + TX_RETRY)
        } else if core.stack.has_work() {
            Some(now)
        } else {
            None
        };
        [
            busy,
            self.wheel.next_deadline(),
            core.timers.next(),
            core.stack.iface.poll_timeout(),
            core.stack.rest_timeout(),
            self.link.next_event(),
            self.life.next(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn publish(&mut self, now: Instant) {
        let Some(publisher) = &self.publisher else {
            return;
        };
        let (core, link) = (&self.core, &self.link);
        let fill = |s: &mut Snapshot| {
            core.fill(s);
            s.link = link.counters();
            s.kernel = link.kernel_counters();
        };
        if self.life == Life::Stopped {
            publisher.publish_last(fill);
        } else if now.since(self.published) >= PUBLISH && publisher.publish(fill) {
            self.published = now;
            self.core.stack.flows.settle();
        }
    }
}
