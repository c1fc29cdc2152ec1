//! fullbore as a target: a whole engine under a virtual clock, with sockets on
//! top and the runner at the other end of its wire.

mod config;
mod info;
mod options;
mod poll;
mod sockets;
mod wire;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use fullbore::engine::Engine;
use fullbore::engine::sim::Host;
use fullbore::time::Instant;

use super::target::{Call, CallId, Ends, Fd, Info, Outcome, Plan, Target};
use sockets::Sockets;
use wire::{End, Shared};

/// When a script begins; not zero, where arithmetic on times could hide.
const BEGIN: Instant = Instant::from_millis(10_000);
/// Turns at one instant: what one event leads to is done by then.
const TURNS: usize = 256;

/// See the module's own words.
pub struct Fullbore {
    plan: Plan,
    config: config::Settings,
    now: Instant,
    engine: Option<Engine<End, Sockets>>,
    wire: Rc<RefCell<Shared>>,
    pending: Vec<Pending>,
    answers: BTreeMap<CallId, (Duration, Outcome)>,
    calls: u64,
    /// What has been sent and not been taken.
    sent: VecDeque<(Duration, Vec<u8>)>,
}

/// A call on a blocking socket.
struct Pending {
    id: CallId,
    call: Call,
    progress: usize,
    /// When `poll` gives up.
    until: Option<Instant>,
}

impl Fullbore {
    /// A target for one script.
    pub fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            config: config::Settings::default(),
            now: BEGIN,
            engine: None,
            wire: Rc::default(),
            pending: Vec::new(),
            answers: BTreeMap::new(),
            calls: 0,
            sent: VecDeque::new(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.since(BEGIN)
    }

    /// The engine, made when it is first needed: settings come before.
    fn engine(&mut self) -> &mut Engine<End, Sockets> {
        let (plan, ends) = (&self.plan, self.ends());
        let (wire, config) = (&self.wire, &self.config);
        self.engine.get_or_insert_with(|| {
            let prefix = if plan.v6 { 64 } else { 24 };
            let local = format!("{}/{prefix}", ends.local);
            let mut host = Host::new(local.parse().expect("the address is valid"));
            host.mtu = plan.mtu;
            host.frames = 4096;
            host.config.tcp = config.tcp.clone().into();
            let end = End::new(Rc::clone(wire), ends.remote);
            host.build(end, Sockets::new(config.clone()))
                .expect("an engine needs one file descriptor")
        })
    }

    /// Turns the engine until it has nothing more to do at this instant, and
    /// answers when it wants the next turn.
    fn settle(&mut self) -> Option<Instant> {
        let now = self.now;
        for _ in 0..TURNS {
            let turn = self.engine().turn(now);
            let sent = std::mem::take(&mut self.wire.borrow_mut().sent);
            let at = self.elapsed();
            self.sent
                .extend(sent.into_iter().map(|packet| (at, packet)));
            let answered = self.retry();
            let waits = !self.wire.borrow().arriving.is_empty();
            if !turn.worked && !answered && !waits {
                return turn.next;
            }
        }
        Some(now)
    }

    /// Tries the calls that wait; whether one has its answer now.
    fn retry(&mut self) -> bool {
        let (now, at) = (self.now, self.elapsed());
        let mut pending = std::mem::take(&mut self.pending);
        let before = pending.len();
        pending.retain_mut(|p| {
            let Pending {
                call,
                progress,
                until,
                ..
            } = p;
            let over = until.is_some_and(|until| until <= now);
            let outcome = self
                .engine()
                .with(|sockets, cx| sockets.attempt(cx, call, progress, over));
            let Some(outcome) = outcome else { return true };
            self.answers.insert(p.id, (at, outcome));
            false
        });
        let answered = pending.len() < before;
        self.pending = pending;
        answered
    }
}

impl Target for Fullbore {
    fn name(&self) -> &'static str {
        "fullbore"
    }

    fn offers(&self, need: &str) -> bool {
        need == "virtual-time"
    }

    fn ends(&self) -> Ends {
        let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
        if self.plan.v6 {
            Ends {
                local: ip("2001:db8::1"),
                remote: ip("2001:db8::2"),
            }
        } else {
            Ends {
                local: ip("192.0.2.1"),
                remote: ip("192.0.2.2"),
            }
        }
    }

    fn configure(&mut self, name: &str, value: &str) -> bool {
        let known = self.config.set(name, value);
        if known && let Some(engine) = &mut self.engine {
            let settings = self.config.clone();
            engine.with(|sockets, cx| sockets.set_defaults(cx, settings));
        }
        known
    }

    fn now(&mut self) -> Duration {
        self.elapsed()
    }

    fn advance(&mut self, until: Duration) {
        let until = BEGIN + until;
        let (sent, answers) = (self.sent.len(), self.answers.len());
        loop {
            let next = self.settle();
            if self.sent.len() > sent || self.answers.len() > answers || self.now >= until {
                return;
            }
            let calls = self.pending.iter().filter_map(|p| p.until);
            let next = calls.chain(next).min().unwrap_or(until);
            // The engine may want a turn sooner than it has anything to do.
            let soon = self.now + Duration::from_micros(1);
            self.now = next.max(soon).min(until);
        }
    }

    fn inject(&mut self, packet: &[u8]) {
        self.engine();
        let frame = self.engine().link().frame(packet);
        self.wire.borrow_mut().arriving.push_back(frame);
    }

    fn capture(&mut self) -> Option<(Duration, Vec<u8>)> {
        self.sent.pop_front()
    }

    fn call(&mut self, call: &Call) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        // What has arrived by now is seen by the call.
        self.settle();
        let until = match call {
            Call::Poll {
                timeout: Some(timeout),
                ..
            } => Some(self.now + *timeout),
            _ => None,
        };
        self.pending.push(Pending {
            id,
            call: call.clone(),
            progress: 0,
            until,
        });
        self.retry();
        self.settle();
        id
    }

    fn finished(&mut self, id: CallId) -> Option<(Duration, Outcome)> {
        self.answers.remove(&id)
    }

    fn info(&mut self, fd: Fd) -> Option<Info> {
        self.settle();
        self.engine()
            .with(|sockets, cx| Some(info::of(&cx.info(sockets.flow(fd)?)?)))
    }
}
