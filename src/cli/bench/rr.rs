//! `fullbore bench rr`: latency of requests and responses.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::args::RrArgs;
use super::ends::{self, End, Ends, SERVER};
use super::live::Live;
use super::report::{Plot, Report, Series};
use crate::cli::failure::{Exit, Failure};
use crate::engine::{Application, Context, Flow, Reason, Transport};

const PORT: u16 = 5002;
const SAMPLE: Duration = Duration::from_millis(100);
const OPEN_TIME: Duration = Duration::from_secs(10);
/// Requests before the measurement, in which caches fill.
const WARM_UP: u64 = 1000;
/// Answers that are noted at once at most.
const TAKEN: usize = 1024;
/// Longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// Latencies in nanoseconds.
fn histogram() -> Histogram<u64> {
    // The bounds are constants that the crate takes.
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    broken: AtomicBool,
    /// No more requests.
    enough: AtomicBool,
    outcome: Mutex<Option<Latencies>>,
}

/// What the client measured.
struct Latencies {
    answers: Histogram<u64>,
    /// How late requests left that were due at a certain time.
    lateness: Histogram<u64>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// One connection of the client.
#[derive(Default)]
struct Asked {
    flow: Option<Flow>,
    /// When the requests without answer were made, or were due.
    at: VecDeque<Instant>,
    /// Bytes of requests that the connection did not take yet.
    unsent: usize,
    /// Bytes of the answer to the oldest that have come.
    got: usize,
}

struct Client {
    transport: Transport,
    shared: Arc<Shared>,
    connections: Vec<Asked>,
    /// Which connection a flow is, by the flow's place.
    by_flow: Vec<usize>,
    request: Vec<u8>,
    response: usize,
    /// Time between two requests of the open loop, and when the next is due.
    every: Option<Duration>,
    due: Option<Instant>,
    next: usize,
    warm_up: u64,
    latencies: Latencies,
    /// Answers that came in this turn and are not in the histogram, in
    /// nanoseconds: noted while nobody waits for it.
    taken: Vec<u64>,
    /// Some of them came in this turn.
    fresh: bool,
}

impl Client {
    fn new(args: &RrArgs, shared: &Arc<Shared>) -> Self {
        let many = args.connections.get() as usize;
        Self {
            transport: args.transport.into(),
            shared: Arc::clone(shared),
            connections: (0..many).map(|_| Asked::default()).collect(),
            by_flow: Vec::new(),
            request: vec![0x5a; args.request.get() as usize],
            response: args.response.get() as usize,
            every: args
                .rate
                .map(|rate| Duration::from_secs_f64(1.0 / rate.get() as f64)),
            due: None,
            next: 0,
            warm_up: WARM_UP,
            latencies: Latencies {
                answers: histogram(),
                lateness: histogram(),
                first: None,
                last: None,
            },
            taken: Vec::with_capacity(TAKEN),
            fresh: false,
        }
    }

    /// Asks on connection `n`; the answer is timed from `at`.
    fn ask(&mut self, cx: &mut Context<'_, ()>, n: usize, at: Instant) {
        let asked = &mut self.connections[n];
        asked.at.push_back(at);
        asked.unsent += self.request.len();
        self.push(cx, n);
    }

    fn push(&mut self, cx: &mut Context<'_, ()>, n: usize) {
        let asked = &mut self.connections[n];
        let Some(flow) = asked.flow else { return };
        while asked.unsent > 0 {
            let most = asked.unsent.min(self.request.len());
            let taken = cx.send(flow, &self.request[..most]);
            asked.unsent -= taken;
            if taken < most {
                break;
            }
        }
    }

    /// Which connection `flow` is.
    fn number(&self, flow: Flow) -> Option<usize> {
        let n = *self.by_flow.get(flow.index())?;
        (self.connections.get(n)?.flow == Some(flow)).then_some(n)
    }

    /// Notes the answer to what was asked at `at`; the time that it is.
    fn record(&mut self, at: Instant) -> Instant {
        let now = Instant::now();
        if self.warm_up > 0 {
            self.warm_up -= 1;
            return now;
        }
        let latencies = &mut self.latencies;
        latencies.first.get_or_insert(at);
        latencies.last = Some(now);
        self.taken.push((now - at).as_nanos() as u64);
        self.fresh = true;
        if self.taken.len() == TAKEN {
            self.note();
        }
        now
    }

    /// Puts what was taken into the histogram.
    fn note(&mut self) {
        // Nobody else counts, and an addition would be a barrier.
        let done = self.shared.done.load(Ordering::Relaxed) + self.taken.len() as u64;
        self.shared.done.store(done, Ordering::Relaxed);
        for nanos in self.taken.drain(..) {
            self.latencies.answers.saturating_record(nanos);
        }
    }

    fn give(&mut self) {
        self.note();
        let empty = Latencies {
            answers: histogram(),
            lateness: histogram(),
            first: None,
            last: None,
        };
        let latencies = std::mem::replace(&mut self.latencies, empty);
        if let Ok(mut outcome) = self.shared.outcome.lock() {
            outcome.get_or_insert(latencies);
        }
    }
}

impl Application for Client {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        for n in 0..self.connections.len() {
            match cx.connect_with((SERVER, PORT).into(), &ends::connecting(self.transport)) {
                Ok(flow) => {
                    self.connections[n].flow = Some(flow);
                    let places = self.by_flow.len().max(flow.index() + 1);
                    self.by_flow.resize(places, usize::MAX);
                    self.by_flow[flow.index()] = n;
                }
                Err(_) => self.shared.broken.store(true, Ordering::Relaxed),
            }
        }
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.set_nodelay(flow, true);
        if self.every.is_some() {
            self.due.get_or_insert_with(Instant::now);
        } else if let Some(n) = self.number(flow) {
            self.ask(cx, n, Instant::now());
        }
    }

    fn turn(&mut self, cx: &mut Context<'_, ()>) {
        // Not before the next request has gone.
        if !std::mem::take(&mut self.fresh) && !self.taken.is_empty() {
            self.note();
        }
        let (Some(every), Some(mut due)) = (self.every, self.due) else {
            return;
        };
        let now = Instant::now();
        while due <= now && !self.shared.enough.load(Ordering::Relaxed) {
            if self.warm_up == 0 {
                let late = (now - due).as_nanos() as u64;
                self.latencies.lateness.saturating_record(late);
            }
            let n = self.next;
            self.next = (n + 1) % self.connections.len();
            self.ask(cx, n, due);
            due += every;
        }
        if self.due != Some(due) {
            self.due = Some(due);
            cx.set_timer(None, 0, due.saturating_duration_since(now));
        }
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let Some(n) = self.number(flow) else {
            return;
        };
        self.connections[n].got += cx.recv_each(flow, <[u8]>::len);
        while self.connections[n].got >= self.response {
            let asked = &mut self.connections[n];
            asked.got -= self.response;
            let Some(at) = asked.at.pop_front() else {
                break;
            };
            let now = self.record(at);
            if self.every.is_none() && !self.shared.enough.load(Ordering::Relaxed) {
                self.ask(cx, n, now);
            }
        }
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        if let Some(n) = self.number(flow) {
            self.push(cx, n);
        }
    }

    fn stopping(&mut self, cx: &mut Context<'_, ()>) {
        self.give();
        for connection in &self.connections {
            if let Some(flow) = connection.flow {
                cx.abort(flow);
            }
        }
    }

    fn closed(&mut self, cx: &mut Context<'_, ()>, _: Flow, _: Reason) {
        if !cx.is_stopping() {
            self.shared.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// Answers every `request` bytes with `response` bytes.
struct Server {
    transport: Transport,
    request: usize,
    response: Vec<u8>,
    /// By the connection's place: bytes of the current request, and of answers
    /// to send.
    flows: Vec<(usize, usize)>,
}

impl Server {
    fn push(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let Some((_, unsent)) = self.flows.get_mut(flow.index()) else {
            return;
        };
        while *unsent > 0 {
            let most = (*unsent).min(self.response.len());
            let taken = cx.send(flow, &self.response[..most]);
            *unsent -= taken;
            if taken < most {
                break;
            }
        }
    }
}

impl Application for Server {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let _ = cx.listen_with((SERVER, PORT).into(), ends::listening(self.transport));
    }

    fn accept(
        &mut self,
        cx: &mut Context<'_, ()>,
        flow: Flow,
        _: SocketAddr,
        _: SocketAddr,
    ) -> bool {
        cx.set_nodelay(flow, true);
        let places = self.flows.len().max(flow.index() + 1);
        self.flows.resize(places, (0, 0));
        self.flows[flow.index()] = (0, 0);
        true
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let total = cx.recv_each(flow, <[u8]>::len);
        if let Some((got, unsent)) = self.flows.get_mut(flow.index()) {
            *got += total;
            while *got >= self.request {
                *got -= self.request;
                *unsent += self.response.len();
            }
        }
        self.push(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.push(cx, flow);
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {}
}

/// `fullbore bench rr`.
pub fn rr(args: &RrArgs) -> Result<(), Failure> {
    let ends = Ends::new(&args.ends, 1)?;
    let shared = Arc::new(Shared::default());
    let transport = Transport::from(args.transport);
    let server = |_| Server {
        transport,
        request: args.request.get() as usize,
        response: vec![0xa5; args.response.get() as usize],
        flows: Vec::new(),
    };
    let server = ends.start(End::Server, &ends.node(End::Server)?, server)?;
    let client = |_| Client::new(args, &shared);
    let client = ends.start(End::Client, &ends.node(End::Client)?, client)?;
    let mut report = Report::new(
        &format!("bench rr, {transport}"),
        ends.conditions([&client, &server]),
    );
    let live = Live::new(&args.output);
    let done = || shared.done.load(Ordering::Relaxed);
    let broken = || shared.broken.load(Ordering::Relaxed) || client.has_ended();
    let begin = Instant::now();
    while done() == 0 {
        if broken() || begin.elapsed() > OPEN_TIME {
            let what = "the connections could not be opened";
            return Err(
                Failure::new(Exit::Network, what).hint("are the two interfaces joined, and up?")
            );
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (start, cpu) = (Instant::now(), super::cpu_time());
    let mut last = done();
    while start.elapsed() < args.duration.get() && !broken() {
        std::thread::sleep(SAMPLE);
        let now = done();
        let rate = (now - last) as f64 / SAMPLE.as_secs_f64();
        last = now;
        live.show(&format!(
            "{:5.1} s  {rate:9.0} /s",
            start.elapsed().as_secs_f64()
        ));
    }
    live.clear();
    shared.enough.store(true, Ordering::Relaxed);
    let cpu = (super::cpu_time() - cpu) / start.elapsed().as_secs_f64();
    if broken() {
        return Err(Failure::new(
            Exit::Network,
            "a connection broke in the middle of the measurement",
        ));
    }
    // Answers on their way still count.
    std::thread::sleep(Duration::from_millis(20));
    ends::finish([client, server])?;
    let outcome = shared.outcome.lock().ok().and_then(|mut o| o.take());
    let Some(latencies) = outcome else {
        return Err(Failure::new(Exit::Failed, "the client measured nothing"));
    };
    report.conditions.add(
        "requests",
        format!(
            "{} bytes, answers {} bytes, {} connections, {}",
            args.request.get(),
            args.response.get(),
            args.connections.get(),
            args.rate.map_or_else(
                || "the next when the answer has come".to_owned(),
                |rate| format!("{} a second, timed from when they were due", rate.get())
            )
        ),
    );
    let time = match (latencies.first, latencies.last) {
        (Some(first), Some(last)) => (last - first).as_secs_f64(),
        _ => 0.0,
    };
    let answers = &latencies.answers;
    report.figure("answers", answers.len() as f64 / time.max(1e-9), "/s");
    for percent in PERCENTILES {
        let nanos = answers.value_at_percentile(percent) as f64;
        report.figure(format!("latency p{percent}"), nanos / 1e3, "us");
    }
    report.figure("latency, longest", answers.max() as f64 / 1e3, "us");
    if args.rate.is_some() {
        let late = latencies.lateness.value_at_percentile(99.0) as f64;
        report.figure("requests left late, p99", late / 1e3, "us");
    }
    report.figure("processors in use, both ends", cpu, "");
    report.plots.push(Plot {
        title: "Latency by the share of answers that took longer".to_owned(),
        x: "1 / share that took longer",
        y: "us",
        log_x: true,
        series: vec![Series {
            name: "latency".to_owned(),
            points: answers
                .iter_quantiles(5)
                .filter(|step| step.quantile_iterated_to() < 1.0)
                .map(|step| {
                    let longer = 1.0 - step.quantile_iterated_to();
                    (1.0 / longer, step.value_iterated_to() as f64 / 1e3)
                })
                .collect(),
        }],
    });
    report.give(&args.output)
}
