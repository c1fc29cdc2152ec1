//! `fullbore bench stream` and `loss`: goodput of byte streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::args::{LossArgs, PairArgs, Sending, StreamArgs};
use super::ends::{self, End, Ends, SERVER};
use super::live::Live;
use super::report::{Conditions, Plot, Report, Series};
use crate::cli::failure::{Exit, Failure};
use crate::engine::{Application, Context, Flow, Reason, Transport};
use crate::link::FaultSettings;

const PORT: u16 = 5001;
/// Bytes given to a connection, and taken from it, at once.
const BLOCK: usize = 64 << 10;
/// How often the goodput is looked at.
const SAMPLE: Duration = Duration::from_millis(100);
/// How often the sender's connection is looked into.
const LOOK: Duration = Duration::from_millis(20);
/// Bound on opening all connections.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// What the engines tell the thread that measures.
#[derive(Default)]
struct Shared {
    /// Payload bytes received, by end.
    received: [AtomicU64; 2],
    open: AtomicU64,
    /// Of the first connection of the sender: bytes, nanoseconds, segments.
    cwnd: AtomicU64,
    srtt: AtomicU64,
    retransmits: AtomicU64,
    broken: AtomicBool,
}

/// One end of the streams.
struct Streamer {
    end: End,
    /// Those of this engine.
    connections: u64,
    sends: bool,
    transport: Transport,
    shared: Arc<Shared>,
    out: Vec<u8>,
    into: Vec<u8>,
}

impl Streamer {
    fn new(end: End, connections: u64, args: &Setup, shared: &Arc<Shared>) -> Self {
        Self {
            end,
            connections,
            sends: match args.direction {
                Sending::Up => end == End::Client,
                Sending::Down => end == End::Server,
                Sending::Both => true,
            },
            transport: args.transport,
            shared: Arc::clone(shared),
            out: (0..BLOCK).map(|n| n as u8).collect(),
            into: vec![0; BLOCK],
        }
    }

    fn opened(&self, cx: &mut Context<'_, ()>, flow: Flow) {
        if self.end == End::Client {
            self.shared.open.fetch_add(1, Ordering::Relaxed);
        }
        self.pump(cx, flow);
        if self.sends {
            cx.set_timer(Some(flow), 0, LOOK);
        }
    }

    fn pump(&self, cx: &mut Context<'_, ()>, flow: Flow) {
        if self.sends && !cx.is_stopping() {
            while cx.send(flow, &self.out) == self.out.len() {}
        }
    }
}

impl Application for Streamer {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let server = SocketAddr::from((SERVER, PORT));
        let fine = match self.end {
            End::Server => {
                let options = ends::listening(self.transport);
                cx.listen_with(server, options).is_ok()
            }
            End::Client => {
                let options = ends::connecting(self.transport);
                (0..self.connections).all(|_| cx.connect_with(server, &options).is_ok())
            }
        };
        if !fine {
            self.shared.broken.store(true, Ordering::Relaxed);
        }
    }

    fn accept(
        &mut self,
        cx: &mut Context<'_, ()>,
        flow: Flow,
        _: SocketAddr,
        _: SocketAddr,
    ) -> bool {
        self.opened(cx, flow);
        true
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.opened(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let into = &mut self.into;
        let total = cx.recv_each(flow, |chunk| {
            // Read as a program does: into memory of its own.
            let n = chunk.len().min(into.len());
            into[..n].copy_from_slice(&chunk[..n]);
            n
        });
        let received = &self.shared.received[self.end as usize];
        received.fetch_add(total as u64, Ordering::Relaxed);
    }

    fn timer(&mut self, cx: &mut Context<'_, ()>, flow: Option<Flow>, _: u64) {
        let Some((flow, info)) = flow.and_then(|f| Some((f, cx.vitals(f)?))) else {
            return;
        };
        let shared = &self.shared;
        shared.cwnd.store(info.cwnd.into(), Ordering::Relaxed);
        let srtt = info.srtt.map_or(0, |t| t.as_nanos() as u64);
        shared.srtt.store(srtt, Ordering::Relaxed);
        shared
            .retransmits
            .store(info.retransmits, Ordering::Relaxed);
        cx.set_timer(Some(flow), 0, LOOK);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.close(flow);
    }

    fn closed(&mut self, cx: &mut Context<'_, ()>, _: Flow, _: Reason) {
        if !cx.is_stopping() {
            self.shared.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// What to measure.
struct Setup {
    duration: Duration,
    warm_up: Duration,
    connections: u64,
    direction: Sending,
    transport: Transport,
}

/// What came of it.
struct Outcome {
    conditions: Conditions,
    /// Payload received by the client's and the server's end, in Gbit/s.
    gbps: [f64; 2],
    retransmits: u64,
    /// Processor time of the whole process in the measured time, in seconds.
    cpu: f64,
    bytes: u64,
    goodput: [Series; 2],
    cwnd: Series,
    srtt: Series,
}

fn measure(ends: &Ends, setup: &Setup, live: &Live) -> Result<Outcome, Failure> {
    let shared = Arc::new(Shared::default());
    let start = |end| {
        ends.start(end, &ends.node(end)?, |n| {
            Streamer::new(end, ends.part(setup.connections, n), setup, &shared)
        })
    };
    let (server, client) = (start(End::Server)?, start(End::Client)?);
    let conditions = ends.conditions([&client, &server]);
    let broken = || {
        let broken = shared.broken.load(Ordering::Relaxed);
        broken || client.has_ended() || server.has_ended()
    };
    let failed = |what: &str| Failure::new(Exit::Network, what.to_owned());
    let begin = Instant::now();
    while shared.open.load(Ordering::Relaxed) < setup.connections {
        if broken() || begin.elapsed() > OPEN_TIME {
            let what = "the connections could not be opened";
            return Err(failed(what).hint("are the two interfaces joined, and up?"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(setup.warm_up);

    let read = || [0, 1].map(|n: usize| shared.received[n].load(Ordering::Relaxed));
    let empty = |name: &str| Series {
        name: name.to_owned(),
        points: Vec::new(),
    };
    let mut goodput = [empty("server to client"), empty("client to server")];
    let (mut cwnd, mut srtt) = (
        empty("congestion window"),
        empty("smoothed round-trip time"),
    );
    let (start, cpu) = (Instant::now(), super::cpu_time());
    let first = read();
    let (mut last, mut last_at, mut last_cpu) = (first, start, cpu);
    loop {
        let left = setup.duration.saturating_sub(start.elapsed());
        if left.is_zero() || broken() {
            break;
        }
        std::thread::sleep(SAMPLE.min(left));
        let (bytes, now, cpu) = (read(), Instant::now(), super::cpu_time());
        let (at, step) = ((now - start).as_secs_f64(), (now - last_at).as_secs_f64());
        for (n, series) in goodput.iter_mut().enumerate() {
            series.points.push((at, gbps(bytes[n] - last[n], step)));
        }
        cwnd.points
            .push((at, shared.cwnd.load(Ordering::Relaxed) as f64 / 1e3));
        srtt.points
            .push((at, shared.srtt.load(Ordering::Relaxed) as f64 / 1e3));
        let total = gbps((bytes[0] - last[0]) + (bytes[1] - last[1]), step);
        live.show(&format!("{at:5.1} s  {total:6.2} Gbit/s"));
        (last, last_at, last_cpu) = (bytes, now, cpu);
    }
    live.clear();
    // Until the last look: this thread may be kept from its core behind it.
    let elapsed = (last_at - start).as_secs_f64();
    let cpu = last_cpu - cpu;
    if broken() {
        let what = "a connection broke in the middle of the measurement";
        return Err(failed(what).hint("is the other end still there?"));
    }
    let moved = [last[0] - first[0], last[1] - first[1]];
    let retransmits = shared.retransmits.load(Ordering::Relaxed);
    ends::finish([client, server])?;
    Ok(Outcome {
        conditions,
        gbps: moved.map(|bytes| gbps(bytes, elapsed)),
        retransmits,
        cpu,
        bytes: moved[0] + moved[1],
        goodput,
        cwnd,
        srtt,
    })
}

fn gbps(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        bytes as f64 * 8.0 / seconds / 1e9
    } else {
        0.0
    }
}

/// `fullbore bench stream`.
pub fn stream(args: &StreamArgs) -> Result<(), Failure> {
    let ends = Ends::new(&args.ends, args.engines.get() as usize)?;
    let setup = Setup {
        duration: args.duration.get(),
        warm_up: args.warm_up.get(),
        connections: args.connections.get(),
        direction: args.direction,
        transport: args.transport.into(),
    };
    let outcome = measure(&ends, &setup, &Live::new(&args.output))?;
    let mut report = Report::new(
        &format!("bench stream, {}", setup.transport),
        outcome.conditions,
    );
    report.conditions.add(
        "connections",
        format!("{}, {:?}", args.connections.get(), args.direction).to_lowercase(),
    );
    let up = args.direction != Sending::Down;
    let down = args.direction != Sending::Up;
    if up {
        report.figure("goodput, client to server", outcome.gbps[1], "Gbit/s");
    }
    if down {
        report.figure("goodput, server to client", outcome.gbps[0], "Gbit/s");
    }
    let gigabytes = outcome.bytes as f64 / 1e9;
    report.figure(
        "processor time of both ends",
        outcome.cpu / gigabytes.max(1e-9),
        "s/GB",
    );
    report.figure(
        "retransmitted segments of the last connection looked at",
        outcome.retransmits as f64,
        "",
    );
    let [to_client, to_server] = outcome.goodput;
    let shown = [(up, to_server), (down, to_client)];
    report.plots.push(Plot {
        title: "Goodput over time".to_owned(),
        x: "s",
        y: "Gbit/s",
        log_x: false,
        series: shown
            .into_iter()
            .filter_map(|(shown, series)| shown.then_some(series))
            .collect(),
    });
    for (title, y, series) in [
        ("Congestion window over time", "kB", outcome.cwnd),
        ("Smoothed round-trip time over time", "us", outcome.srtt),
    ] {
        report.plots.push(Plot {
            title: title.to_owned(),
            x: "s",
            y,
            log_x: false,
            series: vec![series],
        });
    }
    report.give(&args.output)
}

/// `fullbore bench loss`.
pub fn loss(args: &LossArgs) -> Result<(), Failure> {
    let live = Live::new(&args.output);
    let mut plot = Plot {
        title: "Goodput against loss rate".to_owned(),
        x: "% lost in each direction",
        y: "Mbit/s",
        log_x: false,
        series: Vec::new(),
    };
    let mut figures = Vec::new();
    let mut conditions = None;
    let mut made = args.ends.clone();
    for ms in &args.round_trips {
        let mut points = Vec::new();
        for rate in &args.rates {
            let setup = Setup {
                duration: args.duration.get(),
                // Slow start takes a dozen round trips.
                warm_up: Duration::from_secs_f64((ms * 0.012).clamp(0.2, 5.0)),
                connections: 1,
                direction: Sending::Up,
                transport: Transport::Tcp,
            };
            let text = format!("loss={rate}%,delay={}us,seed=1", (ms * 500.0) as u64);
            let faults: FaultSettings = text
                .parse()
                .map_err(|e| Failure::new(Exit::Usage, format!("{text}: {e}")))?;
            let pair = PairArgs {
                fault: Some(faults),
                ..made.clone()
            };
            let ends = Ends::new(&pair, 1)?;
            // The pair stays for the points that follow.
            if made.veth {
                made.veth = false;
                made.a = ends.name(End::Client).parse().ok();
                made.b = ends.name(End::Server).parse().ok();
            }
            let outcome = measure(&ends, &setup, &live)?;
            let mbps = outcome.gbps[1] * 1e3;
            points.push((*rate, mbps));
            figures.push((format!("loss {rate} %, round trip {ms} ms"), mbps));
            conditions.get_or_insert(outcome.conditions);
        }
        plot.series.push(Series {
            name: format!("{ms} ms"),
            points,
        });
    }
    let mut report = Report::new("bench loss, TCP", conditions.unwrap_or_default());
    for (name, mbps) in figures {
        report.figure(name, mbps, "Mbit/s");
    }
    report.plots.push(plot);
    report.give(&args.output)
}
