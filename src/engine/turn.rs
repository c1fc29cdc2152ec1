//! An engine and one turn of it.

use std::collections::VecDeque;

use super::core::{AppTimers, Core};
use super::handover::{Handover, What};
use super::netlink::Feed;
use super::stop::Life;
use super::{Application, Context, EngineConfig, Flow, Inbox, PortClaims, Wheel};
use crate::frame::{Packet, Pool, TxDesc};
use crate::link::Link;
use crate::stack::flow::Phase;
use crate::stack::iface::Interface;
use crate::stack::output::Left;
use crate::stack::{self, Stack, Tell};
use crate::stats::{EngineCounters, Publisher, Snapshot};
use crate::time::Instant;
use crate::transport;

/// Messages taken in a turn.
const MESSAGES: usize = 256;
/// Calls of the application in a turn: an application that makes events
/// faster than they are told must not keep the engine from the link.
const CALLS: usize = 4096;
/// Segments of one connection before the next one's turn.
const BURST: usize = 16;
/// How far ahead connections whose timers are due are loaded.
const AHEAD: usize = 4;
/// Connections about to send whose timers are loaded before the first is looked
/// at.
const SOON: usize = 64;
/// Connections that send in a turn of which their frames go first, and the rest
/// of the work for them comes behind.
const FEW: usize = 4;
/// Frames taken from other engines in a turn.
const HANDED: usize = 64;
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
    parts: Vec<Packet>,
    pub(super) tx: VecDeque<TxDesc>,
    due: Vec<u32>,
    /// Connections that have sent what they had, and for which not all is done.
    sent: Vec<u32>,
    /// Connections whose deadlines may have changed, and those.
    to_arm: Vec<(u32, Option<Instant>)>,
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

    /// Receives a batch; answers how many packets and bytes.
    fn receive(&mut self, now: Instant) -> (usize, usize) {
        let core = &mut self.core;
        // Unless some have been found since the last turn.
        if self.rx.is_empty() {
            self.link
                .receive(now, &mut core.pool, &mut self.rx, self.config.batch);
        }
        if let [packet] = self.rx.as_slice()
            && !packet.continues()
            && self.parts.is_empty()
            && !self.life.is_reclaiming()
            && let Some(packet) = self.rx.pop()
        {
            // Nothing to look ahead at.
            let (bytes, tx) = (packet.len(), &mut self.tx);
            match &self.handover {
                Some(handover) => core.receive_in_ring(packet, tx, handover, handover.others()),
                None => {
                    let _ = core.stack.receive(now, &mut core.pool, packet, tx, false);
                }
            }
            return (1, bytes);
        }
        let bytes = self.rx.iter().map(Packet::len).sum();
        let received = (self.rx.len(), bytes);
        if self.life.is_reclaiming() {
            // Nobody is left to answer, and each answer would be one more
            // frame to wait for.
            for packet in self.rx.drain(..) {
                core.pool.free(packet);
            }
            return received;
        }
        let tx = &mut self.tx;
        let mut rx = self.rx.drain(..);
        let mut foresight = core.stack.begin_foresight(&core.pool, rx.as_slice());
        while let Some(packet) = rx.next() {
            if let Some(foresight) = &mut foresight {
                core.stack.foresee(foresight, &core.pool, rx.as_slice());
            }
            if packet.continues() || !self.parts.is_empty() {
                if core.gather(packet, &mut self.parts) {
                    core.receive_gathered(&mut self.parts, tx, self.handover.as_ref());
                }
                continue;
            }
            let head = core.stack.begin_run(&core.pool, &packet, rx.as_slice());
            match &self.handover {
                Some(handover) => core.receive_in_ring(packet, tx, handover, handover.others()),
                None => {
                    // With nobody to pass it on to, nothing comes back.
                    let _ = core.stack.receive(now, &mut core.pool, packet, tx, false);
                }
            }
            if let Some(head) = head {
                let taken = core.stack.receive_run(&mut core.pool, &head, &mut rx);
                if let Some(foresight) = &mut foresight {
                    core.stack
                        .pass_over(foresight, &core.pool, taken, rx.as_slice());
                }
            }
        }
        received
    }

    /// Tells the application of the few frames that have come, and sends what it
    /// says to that, before anything else that a turn has to do: somebody may wait
    /// for it.
    #[inline]
    fn answer(&mut self, now: Instant) {
        if self.life != Life::Running {
            return;
        }
        self.tell();
        let queued = self.core.stack.queued().len();
        if queued > FEW || !self.tx.is_empty() {
            return;
        }
        for _ in 0..queued {
            let Some(index) = self.core.stack.poll_answer() else {
                break;
            };
            self.send_of(now, index, true);
        }
        if self.tx.is_empty() {
            return;
        }
        self.link.transmit(now, &mut self.core.pool, &mut self.tx);
        for &index in &self.sent {
            self.wheel.prefetch(index);
        }
    }

    /// Takes frames that came in at other engines.
    fn take_handed(&mut self, now: Instant) -> bool {
        let Some(handover) = &self.handover else {
            return false;
        };
        let core = &mut self.core;
        let reclaiming = self.life.is_reclaiming();
        let mut taken = 0;
        while taken < HANDED
            && !handover.is_empty()
            && let Some(moved) = handover.pop()
        {
            taken += 1;
            if reclaiming {
                continue;
            }
            match moved.what {
                What::Frame(frame) => {
                    core.copy_in(&frame, &mut self.parts);
                    if self.parts.len() > 1 {
                        let parts = &mut self.parts;
                        core.receive_chain_in_ring(parts, &mut self.tx, handover, moved.hops);
                    } else if let Some(packet) = self.parts.pop() {
                        core.receive_in_ring(packet, &mut self.tx, handover, moved.hops);
                    }
                }
                What::Report(report) => {
                    if !core.stack.report(now, &mut core.pool, &report) {
                        core.pass_report(handover, report, moved.hops);
                    }
                }
            }
        }
        taken > 0
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

    /// Gathers what is to be sent and gives it to the link.
    pub(super) fn send(&mut self, now: Instant) {
        let stack = &self.core.stack;
        for index in stack.queued().take(SOON) {
            self.wheel.prefetch(index);
        }
        // Somebody may wait for a few; of many, each would only wait for what is
        // done again for the others.
        let hurry = stack.queued().len() <= FEW;
        while self.tx.len() < self.config.tx_queue
            && let Some(index) = self.core.stack.poll_output()
        {
            self.send_of(now, index, hurry);
        }
        // Called with an empty queue as well: completions are taken.
        self.link.transmit(now, &mut self.core.pool, &mut self.tx);
        let waiting = self.tx.len();
        self.send_rest(now);
        if self.tx.len() > waiting {
            self.link.transmit(now, &mut self.core.pool, &mut self.tx);
        }
        // Timers can wait, the peer does not have to.
        for (index, next) in self.to_arm.drain(..) {
            arm(&mut self.core.stack, &mut self.wheel, index, next);
        }
    }

    /// Gathers what the connection at `index` has to send.
    #[inline]
    fn send_of(&mut self, now: Instant, index: u32, hurry: bool) {
        let (stack, pool) = (&mut self.core.stack, &mut self.core.pool);
        let budget = BURST.min(self.config.tx_queue.saturating_sub(self.tx.len()));
        match stack.transmit(now, pool, index, budget, &mut self.tx, hurry) {
            Left::More => {}
            Left::Sent => self.sent.push(index),
            Left::Gone => self.wheel.cancel(index),
            Left::Idle(next) => self.to_arm.push((index, next)),
        }
    }

    /// What nobody waits for: the end of the work for connections that have
    /// sent all they had, and what the interface itself sends.
    fn send_rest(&mut self, now: Instant) {
        while let Some(index) = self.sent.pop() {
            self.send_of(now, index, false);
        }
        let core = &mut self.core;
        // Nor is anything announced by who only waits for its frames.
        while self.tx.len() < self.config.tx_queue
            && !self.life.is_reclaiming()
            && let Some(desc) = core.stack.iface.poll_transmit(now, &mut core.pool)
        {
            self.tx.push_back(desc);
        }
        // What was sent may have raised questions to the kernel.
        while let Some(request) = core.stack.iface.poll_request() {
            if let Some(feed) = &self.feed {
                feed.request(request);
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

/// Sets the connection's deadline in the wheel, if it has changed.
#[inline]
fn arm(stack: &mut Stack, wheel: &mut Wheel, index: u32, next: Option<Instant>) {
    let next = next.unwrap_or(Instant::FAR);
    let Some(slot) = stack.flows.at_mut(index) else {
        return;
    };
    if slot.armed == next {
        return;
    }
    slot.armed = next;
    if next == Instant::FAR {
        wheel.cancel(index);
    } else {
        wheel.set(index, next);
    }
}
