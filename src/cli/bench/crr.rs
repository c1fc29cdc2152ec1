//! `fullbore bench crr`: connections opened, used once and closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::args::CrrArgs;
use super::ends::{self, End, Ends, SERVER};
use super::live::Live;
use super::report::{Plot, Report, Series};
use crate::cli::failure::{Exit, Failure};
use crate::engine::{Application, Context, Flow, Reason, Transport};

const PORT: u16 = 5003;
const SAMPLE: Duration = Duration::from_millis(100);
/// Local ports of the client. Each connection of the server's end stays in
/// TIME-WAIT, and its ports are used again from there (RFC 6191).
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;
/// Connections of the server's end, those in TIME-WAIT included.
const MAX_FLOWS: usize = 200_000;

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

struct Client {
    shared: Arc<Shared>,
    transport: Transport,
    concurrency: u64,
    /// Connections to be opened.
    missing: u64,
}

impl Client {
    fn open(&mut self, cx: &mut Context<'_, ()>) {
        while self.missing > 0 && !cx.is_stopping() {
            if cx
                .connect_with((SERVER, PORT).into(), &ends::connecting(self.transport))
                .is_err()
            {
                // No port or no frame is free: when the next has closed.
                break;
            }
            self.missing -= 1;
        }
    }
}

impl Application for Client {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        self.missing = self.concurrency;
        self.open(cx);
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.send(flow, &[1]);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.recv_consume(flow, 1);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.close(flow);
    }

    fn closed(&mut self, cx: &mut Context<'_, ()>, _: Flow, reason: Reason) {
        let count = if reason == Reason::Finished {
            &self.shared.done
        } else {
            &self.shared.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.missing += 1;
        if !self.shared.stop.load(Ordering::Relaxed) {
            self.open(cx);
        }
    }
}

struct Server {
    transport: Transport,
}

impl Application for Server {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let _ = cx.listen_with((SERVER, PORT).into(), ends::listening(self.transport));
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.recv_consume(flow, 1);
        cx.send(flow, &[2]);
        cx.shutdown(flow);
    }

    fn accept(&mut self, _: &mut Context<'_, ()>, _: Flow, _: SocketAddr, _: SocketAddr) -> bool {
        true
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {}
}

/// `fullbore bench crr`.
pub fn crr(args: &CrrArgs) -> Result<(), Failure> {
    let ends = Ends::new(&args.ends, args.engines.get() as usize)?;
    let shared = Arc::new(Shared::default());
    let transport = Transport::from(args.transport);
    let mut options = ends.node(End::Server)?;
    options.engine.max_flows = MAX_FLOWS;
    let server = ends.start(End::Server, &options, |_| Server { transport })?;
    let mut options = ends.node(End::Client)?;
    options.engine.ports = PORTS;
    options.engine.max_flows = MAX_FLOWS;
    let client = |n| Client {
        shared: Arc::clone(&shared),
        transport,
        concurrency: ends.part(args.concurrency.get(), n),
        missing: 0,
    };
    let client = ends.start(End::Client, &options, client)?;
    let mut report = Report::new(
        &format!("bench crr, {transport}"),
        ends.conditions([&client, &server]),
    );
    let at_once = args.concurrency.get().to_string();
    report.conditions.add("connections at once", at_once);
    let live = Live::new(&args.output);
    std::thread::sleep(SAMPLE);
    let (start, first) = (Instant::now(), shared.done.load(Ordering::Relaxed));
    let (mut last, mut last_at) = (first, start);
    let mut points = Vec::new();
    while start.elapsed() < args.duration.get() && !client.has_ended() {
        std::thread::sleep(SAMPLE);
        let (done, now) = (shared.done.load(Ordering::Relaxed), Instant::now());
        let rate = (done - last) as f64 / (now - last_at).as_secs_f64();
        let at = (now - start).as_secs_f64();
        points.push((at, rate));
        live.show(&format!("{at:5.1} s  {rate:9.0} /s"));
        (last, last_at) = (done, now);
    }
    live.clear();
    let seconds = start.elapsed().as_secs_f64();
    shared.stop.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(20));
    ends::finish([client, server])?;
    if last == first {
        return Err(Failure::new(Exit::Network, "no connection was made")
            .hint("are the two interfaces joined, and up?"));
    }
    report.figure("connections", (last - first) as f64 / seconds, "/s");
    let failed = shared.failed.load(Ordering::Relaxed);
    report.figure("connections that failed", failed as f64, "");
    report.plots.push(Plot {
        title: "Connections over time".to_owned(),
        x: "s",
        y: "/s",
        log_x: false,
        series: vec![Series {
            name: "connections".to_owned(),
            points,
        }],
    });
    report.give(&args.output)
}
