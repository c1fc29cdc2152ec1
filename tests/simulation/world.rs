//! A world from its first turn to the last frame.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fullbore::engine::sim::Host;
use fullbore::engine::{Engine, EngineConfig, Handover, Inbox, Reason};
use fullbore::stack::flow::Tuple;
use fullbore::time::Instant;

use crate::app::Peer;
use crate::book::Book;
use crate::handshake::refusals;
use crate::line::Line;
use crate::network::{Attached, Network, Sabotage};
use crate::nic::Nic;
use crate::plan::{Plan, START};
use crate::rng::Rng;
use crate::rules::Memory;
use crate::trace::Trace;

/// Turns after which a world is taken to run in circles.
const MAX_TURNS: u64 = 30_000_000;
/// Virtual time after which it is taken to have no end.
const MAX_TIME: Duration = Duration::from_secs(48 * 3600);
/// What every connection that is over must have been forgotten in.
const AFTERMATH: Duration = Duration::from_secs(400);
/// How often stalls are looked for, in virtual time.
const LOOK: Duration = Duration::from_secs(1);
/// A handshake may take all its retransmissions.
const HANDSHAKE: Duration = Duration::from_secs(400);

/// Counters of uTP, and what they are called among those of TCP.
const UTP: [(&str, &str); 11] = [
    ("accepted", "utp_accepted"),
    ("resets_received", "utp_resets_received"),
    ("resets_sent", "utp_resets_sent"),
    ("timed_out", "utp_timed_out"),
    ("fast_retransmits", "utp_fast_retransmits"),
    ("timeouts", "utp_timeouts"),
    ("mtu_probes", "utp_mtu_probes"),
    ("black_holes", "utp_black_holes"),
    ("window_probes", "utp_window_probes"),
    ("keepalives", "utp_keepalives"),
    ("out_of_order", "utp_out_of_order"),
];

/// What a world came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub turns: u64,
    pub packets: u64,
    pub virtual_seconds: u64,
    /// The same for the same world.
    pub digest: u64,
    /// Counters of the engines: what happened, and how often.
    pub reached: BTreeMap<&'static str, u64>,
}

struct Node {
    engine: Engine<Nic, Peer>,
    host: usize,
    /// When it is to turn next.
    wake: Instant,
    memory: Memory,
    stopped: bool,
}

struct World {
    plan: Rc<Plan>,
    network: Rc<RefCell<Network>>,
    book: Rc<RefCell<Book>>,
    nodes: Vec<Node>,
    now: Instant,
    next_look: Instant,
    turns: u64,
    sample: u64,
    /// The clock has moved without a turn.
    silent: bool,
    stopping: bool,
}

/// Runs the world.
///
/// # Errors
/// The rule that it broke.
pub fn run(plan: Plan, trace: Trace) -> Result<Report, String> {
    let mut world = World::new(plan, trace);
    world.live()?;
    world.end()?;
    let network = world.network.borrow();
    Ok(Report {
        turns: world.turns,
        packets: network.packets,
        virtual_seconds: world.now.since(START).as_secs(),
        digest: network.trace.digest ^ world.turns,
        reached: world.reached(),
    })
}

impl World {
    fn new(plan: Plan, trace: Trace) -> Self {
        let plan = Rc::new(plan);
        let mut next = 0;
        let mut attached = Vec::new();
        for (i, host) in plan.hosts.iter().enumerate() {
            let rng = |n| Rng::new(plan.seed, 16 + 4 * i as u64 + n);
            attached.push(Attached {
                mac: [2, 0, 0, 0, 0, i as u8 + 1],
                mtu: host.mtu,
                stations: (next..next + host.engines).collect(),
                up: Line::new(host.up.clone(), rng(0)),
                down: Line::new(host.down.clone(), rng(1)),
            });
            next += host.engines;
        }
        let mut network = Network::new(attached, next, Rng::new(plan.seed, 2), trace);
        network.sabotage = plan.sabotage;
        let book = Rc::new(RefCell::new(Book::new(Rc::clone(&plan))));
        let mut world = Self {
            network: Rc::new(RefCell::new(network)),
            book,
            nodes: Vec::new(),
            now: START,
            next_look: START + LOOK,
            turns: 0,
            silent: false,
            stopping: false,
            sample: if plan
                .dialogs
                .iter()
                .any(|d| d.sides.iter().any(|s| s.total > 50_000))
            {
                16
            } else {
                2
            },
            plan,
        };
        for host in 0..world.plan.hosts.len() {
            world.add(host);
        }
        world
    }

    /// The engines of a host.
    fn add(&mut self, host: usize) {
        let plan = Rc::clone(&self.plan);
        let h = &plan.hosts[host];
        let inboxes: Vec<Inbox<()>> = (0..h.engines)
            .map(|_| Inbox::new(1).expect("a file descriptor"))
            .collect();
        let wakers: Vec<_> = inboxes.iter().map(|i| i.waker().clone()).collect();
        let mut rings = Handover::ring(&wakers, 64);
        let mut keys = Rng::new(plan.seed, 1000 + host as u64);
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&keys.next().to_le_bytes());
        }
        for (i, inbox) in inboxes.into_iter().enumerate() {
            let (addr, prefix) = plan.address(host);
            let address = format!("{addr}/{prefix}").parse().expect("an address");
            let mut base = Host::new(address);
            base.mtu = h.mtu;
            base.frames = h.frames;
            base.handover = if h.engines > 1 {
                Some(rings.remove(0))
            } else {
                None
            };
            base.config = EngineConfig {
                tcp: Arc::new(h.tcp.clone()),
                utp: Arc::new(h.utp.clone()),
                max_flows: h.max_flows,
                batch: h.batch,
                tx_queue: h.tx_queue,
                ports: h.ports.clone(),
                seed,
                drain: Duration::from_secs(3),
                ..EngineConfig::default()
            };
            let number = self.nodes.len();
            let mut opens = Vec::new();
            for (d, dialog) in plan.dialogs.iter().enumerate() {
                let here = d % h.engines == i;
                if here && dialog.client == host {
                    opens.push((d, 0));
                }
                if here && dialog.server == host && dialog.mutual {
                    opens.push((d, 1));
                }
            }
            let rng = Rng::new(plan.seed, 2000 + number as u64);
            let app = Peer::new(Rc::clone(&self.book), host, opens, rng);
            let nic = Nic::new(Rc::clone(&self.network), number, host, h.rings.clone());
            self.nodes.push(Node {
                engine: base.build_with(nic, app, inbox),
                host,
                wake: START,
                memory: Memory::new(plan.seed.wrapping_add(number as u64)),
                stopped: false,
            });
        }
    }

    fn reached(&self) -> BTreeMap<&'static str, u64> {
        let mut reached = BTreeMap::new();
        for node in &self.nodes {
            let stack = node.engine.stack();
            let (tcp, utp) = stack.transport_counters();
            let mut counters = tcp.fields();
            counters.extend(utp.fields().into_iter().filter_map(|(name, n)| {
                let (_, known) = UTP.iter().find(|(theirs, _)| *theirs == name)?;
                Some((*known, n))
            }));
            counters.push(("handed_over", node.engine.counters().handed_over));
            counters.extend(stack.drops().occurred().iter().map(|d| (d.0.name(), d.1)));
            for (name, n) in counters {
                *reached.entry(name).or_default() += n;
            }
        }
        reached
    }

    /// Until every dialog is over, or engines are stopped.
    fn live(&mut self) -> Result<(), String> {
        let stop_at = self.plan.stop_after.map(|after| START + after);
        loop {
            if stop_at.is_some_and(|at| self.now >= at) {
                self.book.borrow_mut().stopping = true;
                return Ok(());
            }
            if self.book.borrow().is_done() {
                return Ok(());
            }
            self.step()?;
            if self.now >= self.next_look {
                self.next_look = self.now + LOOK;
                self.look_for_stalls()?;
            }
        }
    }

    /// The aftermath, the stop, and what is left then.
    fn end(&mut self) -> Result<(), String> {
        if !self.book.borrow().stopping {
            self.judge()?;
            let until = self.now + AFTERMATH;
            while self.now < until && self.nodes.iter().any(|n| n.wake < until) {
                self.step()?;
            }
            self.now = self.now.max(until);
            let mutual = self.plan.dialogs.iter().any(|d| d.mutual);
            if let Some(attempt) = self.network.borrow().handshakes.unanswered(mutual) {
                return Err(format!(
                    "a SYN was neither refused nor answered: {attempt:?}"
                ));
            }
            for (i, node) in self.nodes.iter().enumerate() {
                let left = node.engine.stack().flows.len();
                if left > 0 {
                    return Err(format!("engine {i} keeps {left} connections that are over"));
                }
                self.balanced(i)?;
            }
        }
        self.stopping = true;
        for node in &mut self.nodes {
            node.engine.stop();
            node.wake = self.now;
        }
        let until = self.now + Duration::from_secs(600);
        while !self.nodes.iter().all(|n| n.stopped) {
            if self.now > until {
                return Err("an engine does not stop".into());
            }
            self.step()?;
        }
        for i in 0..self.nodes.len() {
            self.balanced(i)?;
        }
        if self.plan.stop_after.is_some() {
            self.judge()?;
        }
        Ok(())
    }

    fn judge(&self) -> Result<(), String> {
        let handshakes = &self.network.borrow().handshakes;
        self.book.borrow().judge(handshakes)
    }

    fn balanced(&self, node: usize) -> Result<(), String> {
        let ledger = self.nodes[node].engine.ledger();
        if ledger.outstanding() > 0 {
            return Err(format!("engine {node} has not all frames back: {ledger}"));
        }
        Ok(())
    }

    /// The engine that is due first turns.
    fn step(&mut self) -> Result<(), String> {
        let due = |n: &(usize, &Node)| (n.1.stopped, n.1.wake);
        let Some((i, node)) = self.nodes.iter().enumerate().min_by_key(due) else {
            return Err("no engines".into());
        };
        if node.wake == Instant::FAR {
            return self.nothing_happens();
        }
        self.silent = false;
        self.now = self.now.max(node.wake);
        let h = &self.plan.hosts[node.host];
        let (now, turn_time, host) = (self.now, h.turn, node.host);
        let node = &mut self.nodes[i];
        let before = refusals(&node.engine.stack().drops());
        let turn = node.engine.turn(now);
        node.stopped = turn.stopped;
        self.turns += 1;
        let busy = now + turn_time;
        node.wake = if turn.worked {
            busy
        } else {
            turn.next.map_or(Instant::FAR, |next| next.max(busy))
        };
        if self.plan.sabotage == Some(Sabotage::DeadTimers) && self.turns > 40 {
            let arrival = self.network.borrow().next_arrival(i);
            node.wake = arrival.map_or(now + MAX_TIME * 2, |next| next.max(busy));
        }
        let checked = node.memory.check(now, &node.engine, &turn, self.sample);
        checked.map_err(|rule| format!("engine {i} at {now:?}: {rule}"))?;
        self.account(now, i, host, before);
        self.wake_others(i, host, turn.worked, busy);
        self.failures()?;
        if self.turns > MAX_TURNS {
            return Err(format!("turns without end{}", self.connections()));
        }
        if self.now.since(START) > MAX_TIME {
            return Err(format!("no end: {:#?}", self.book.borrow().entries));
        }
        Ok(())
    }

    /// Each SYN that an engine received in this turn has begun a connection,
    /// was answered without one, or was refused and counted.
    fn account(&self, now: Instant, node: usize, host: usize, before: u64) {
        let mut network = self.network.borrow_mut();
        let network = &mut *network;
        if network.syns[node].is_empty() {
            return;
        }
        let drops = self.nodes[node].engine.stack().drops();
        let mut refused = refusals(&drops) - before;
        for at in network.syns[node].drain(..) {
            let attempt = network.handshakes.attempt(at);
            let tuple = Tuple::new(attempt.server, attempt.client);
            let mut engines = self.nodes.iter().filter(|n| n.host == host);
            let taken = engines.any(|n| n.engine.stack().find(&tuple).is_some());
            if !taken && attempt.answers == 0 && refused > 0 {
                attempt.refused += 1;
                refused -= 1;
                continue;
            }
            attempt.heard.get_or_insert(now);
        }
    }

    /// No engine waits for anything: fine only if somebody's peer has left
    /// without a word.
    fn nothing_happens(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.silent, true) {
            let entries = &self.book.borrow().entries;
            return Err(format!("nothing will ever happen again: {entries:#?}"));
        }
        self.now += HANDSHAKE + Duration::from_secs(3600);
        self.look_for_stalls()
    }

    /// Whoever was sent something wakes for it, unless its host is asleep.
    fn wake_others(&mut self, me: usize, host: usize, worked: bool, busy: Instant) {
        let network = self.network.borrow();
        for (i, node) in self.nodes.iter_mut().enumerate() {
            if i != me
                && let Some(due) = network.next_arrival(i)
            {
                node.wake = node.wake.min(due.max(self.now));
            }
            // A neighbour may have been handed a frame.
            if i != me && node.host == host && worked {
                node.wake = node.wake.min(busy);
            }
            // Who stops is given its frames back while it looks.
            for (from, to) in &self.plan.hosts[node.host].asleep {
                if !self.stopping && (*from..*to).contains(&node.wake) {
                    node.wake = *to;
                }
            }
        }
    }

    fn failures(&self) -> Result<(), String> {
        let mut failed = self.network.borrow_mut().failure.take();
        failed = failed.or_else(|| self.book.borrow_mut().failure.take());
        failed.map_or(Ok(()), Err)
    }

    /// A connection that can make progress has to (within a bound).
    fn look_for_stalls(&mut self) -> Result<(), String> {
        for dialog in 0..self.plan.dialogs.len() {
            let Some(moved) = self.book.borrow().pending(dialog) else {
                continue;
            };
            let d = &self.plan.dialogs[dialog];
            let hosts = [d.client, d.server];
            let mut since = moved.max(self.undisturbed_since(hosts));
            for host in hosts {
                since = since.max(self.book.borrow().willing_since(self.now, host));
            }
            let established = self.book.borrow().entries[dialog].ends[1].established;
            let bound = if established {
                self.bound(hosts, d.utp)
            } else {
                HANDSHAKE.max(self.bound(hosts, d.utp))
            };
            if self.now.since(since) > bound {
                self.stalled(dialog, bound)?;
            }
        }
        Ok(())
    }

    fn undisturbed_since(&self, hosts: [usize; 2]) -> Instant {
        let mut network = self.network.borrow_mut();
        let mut since = network.disturbed(self.now, hosts[0], hosts[1]);
        for host in hosts {
            let h = &self.plan.hosts[host];
            let spans = h.asleep.iter().chain(&h.rings.stuck);
            for (from, to) in spans.filter(|(from, _)| *from <= self.now) {
                let _ = from;
                since = since.max((*to).min(self.now));
            }
        }
        since
    }

    /// How long two hosts may be without progress while nothing is wrong.
    fn bound(&self, hosts: [usize; 2], utp: bool) -> Duration {
        let max_rto = hosts.map(|h| {
            let host = &self.plan.hosts[h];
            if utp {
                host.utp.max_rto.max(host.utp.window_probe)
            } else {
                host.tcp.max_rto
            }
        });
        let max_rto = max_rto[0].max(max_rto[1]);
        let mut queued = Duration::ZERO;
        for h in hosts.map(|h| &self.plan.hosts[h]) {
            for (_, c) in h.up.iter().chain(&h.down) {
                if let Some((rate, queue)) = c.rate {
                    let bits = queue as u64 * 1514 * 8;
                    queued = queued.max(Duration::from_nanos(bits * 1_000_000_000 / rate));
                }
            }
        }
        let lossy = self.plan.loss(hosts) > 0 || !queued.is_zero();
        let tries = if lossy { 18 } else { 1 };
        max_rto * tries + queued * 4 + Duration::from_secs(15)
    }

    fn stalled(&mut self, dialog: usize, bound: Duration) -> Result<(), String> {
        let ends = self.book.borrow().entries[dialog].ends.clone();
        let d = &self.plan.dialogs[dialog];
        // Over uTP some never answer the last packets of an end, which may then
        // be taken for answered.
        let silent = d.utp && self.plan.loss([d.client, d.server]) > 0;
        let left = |end: &crate::book::End| {
            end.gone
                .is_some_and(|(reason, _)| silent || reason != Reason::Finished)
        };
        // Who has heard nothing of its peer's departure may wait for ever.
        if left(&ends[0]) || left(&ends[1]) || !ends[1].established {
            for node in &mut self.nodes {
                node.engine.with(|app, cx| app.put_down(cx, dialog));
                node.wake = self.now;
            }
            return Ok(());
        }
        let state = self.connections();
        Err(format!(
            "dialog {dialog} has stalled for {bound:?}: {ends:#?}{state}"
        ))
    }

    /// Every connection and ledger, for people.
    fn connections(&self) -> String {
        let mut what = String::new();
        for node in &self.nodes {
            let flows = &node.engine.stack().flows;
            for slot in flows.indices().filter_map(|i| flows.at(i)) {
                what += &format!("\n{:?} {:#?}", slot.tuple, slot.conn);
            }
            what += &format!("\n{}", node.engine.ledger());
        }
        what
    }
}
