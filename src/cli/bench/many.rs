//! `fullbore bench many`: what idle connections cost, in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::args::ManyArgs;
use super::live::Live;
use super::report::{Conditions, Plot, Report, Series};
use crate::cli::failure::{Exit, Failure};
use crate::engine::sim::{Host, Turns, World};
use crate::engine::{Application, Context, Engine, Flow, Reason};
use crate::link::MemoryLink;

/// The server's ports: a client has one connection from each of its own ports
/// to each of these.
const PORTS: std::ops::Range<u16> = 1000..1032;
/// Connections that are opened at once.
const OPENING: usize = 256;
/// Bound on opening the connections of a step, in virtual time.
const OPEN_TIME: Duration = Duration::from_secs(600);

/// One end: the client asks with a byte, the server answers with one.
struct Peer {
    server: Option<SocketAddr>,
    flows: Vec<Flow>,
    opening: usize,
    wanted: usize,
    answers: u64,
    failed: bool,
}

impl Peer {
    const fn new(server: Option<SocketAddr>) -> Self {
        Self {
            server,
            flows: Vec::new(),
            opening: 0,
            wanted: 0,
            answers: 0,
            failed: false,
        }
    }

    fn open(&mut self, cx: &mut Context<'_, ()>) {
        let Some(server) = self.server else { return };
        while self.opening < OPENING && self.flows.len() + self.opening < self.wanted {
            let n = (self.flows.len() + self.opening) as u16 % PORTS.len() as u16;
            let to = SocketAddr::new(server.ip(), PORTS.start + n);
            if cx.connect(to).is_err() {
                self.failed = true;
                return;
            }
            self.opening += 1;
        }
    }
}

impl Application for Peer {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        if self.server.is_none() {
            for port in PORTS {
                let any = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
                self.failed |= cx.listen(any, 4 * OPENING).is_err();
            }
        }
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.opening -= 1;
        self.flows.push(flow);
        self.open(cx);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let n = cx.recv_available(flow);
        cx.recv_consume(flow, n);
        if self.server.is_none() {
            cx.send(flow, &[1]);
        } else {
            self.answers += 1;
        }
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {
        self.failed = true;
    }
}

type Machine = Engine<MemoryLink, Peer>;

fn machines(connections: usize) -> Result<(Machine, Machine), Failure> {
    let io = |e: std::io::Error| Failure::new(Exit::Failed, format!("an engine: {e}"));
    let (near, far) = MemoryLink::pair(1024).map_err(io)?;
    let host = |address: &str| -> Result<Host, Failure> {
        let address = address
            .parse()
            .map_err(|e| Failure::new(Exit::Failed, format!("{address}: {e}")))?;
        let mut host = Host::new(address);
        host.config.max_flows = connections + OPENING;
        host.config.ports = 1024..=65535;
        Ok(host)
    };
    let server = host("10.0.0.1/8")?;
    let client = host("10.0.0.2/8")?;
    let to = SocketAddr::from(([10, 0, 0, 1], 0));
    Ok((
        client.build(near, Peer::new(Some(to))).map_err(io)?,
        server.build(far, Peer::new(None)).map_err(io)?,
    ))
}

/// Opens connections until there are `wanted`.
fn fill(
    (client, server): &mut (Machine, Machine),
    world: &mut World,
    wanted: usize,
) -> Result<(), Failure> {
    client.with(|app, cx| {
        app.wanted = wanted;
        app.open(cx);
    });
    let end = world.now() + OPEN_TIME;
    while client.app().flows.len() < wanted {
        world.step(&mut [client as &mut dyn Turns, server]);
        if client.app().failed || server.app().failed || world.now() > end {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} connections were opened, no more",
                    client.app().flows.len()
                ),
            ));
        }
    }
    world.settle(
        &mut [client as &mut dyn Turns, server],
        Duration::from_secs(1),
    );
    Ok(())
}

/// Nanoseconds that an exchange takes, both ends, when the first `active`
/// connections have one in turn.
fn exchange(
    (client, server): &mut (Machine, Machine),
    world: &mut World,
    active: usize,
    exchanges: u64,
) -> f64 {
    let start = Instant::now();
    let before = client.app().answers;
    for n in 0..exchanges {
        client.with(|app, cx| {
            // Far from each other in memory.
            let which = n as usize * 7919 % active.min(app.flows.len());
            cx.send(app.flows[which], &[1]);
        });
        while client.app().answers - before <= n {
            world.step(&mut [client as &mut dyn Turns, server]);
        }
    }
    start.elapsed().as_nanos() as f64 / exchanges as f64
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|s| s.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// `fullbore bench many`.
pub fn many(args: &ManyArgs) -> Result<(), Failure> {
    let most = args.connections.get() as usize;
    let live = Live::new(&args.output);
    let mut report = Report::new("bench many, TCP over memory", Conditions::of_machine());
    report
        .conditions
        .add("both ends", "in one thread".to_owned());
    let exchanges = args.exchanges.get();
    let line = format!(
        "{exchanges} a step, 1 byte each way, over {} connections in turn",
        args.active.get()
    );
    report.conditions.add("exchanges", line);
    let mut pair = machines(most)?;
    let mut world = World::default();
    let mut points = Vec::new();
    let mut steps: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 10))
        .take_while(|n| *n < most)
        .collect();
    steps.push(most);
    let (mut empty, mut opened, mut time) = (0, 0, 0.0);
    for step in steps {
        live.show(&format!("{step} connections"));
        let start = Instant::now();
        fill(&mut pair, &mut world, step)?;
        if step == 1 {
            // Everything that is needed whatever the number is there now.
            exchange(&mut pair, &mut world, 1, exchanges / 10);
            empty = resident();
        } else {
            opened = step;
            time = start.elapsed().as_secs_f64();
        }
        let active = (args.active.get() as usize).min(step);
        let nanos = exchange(&mut pair, &mut world, active, exchanges);
        report.figure(format!("exchange with {step} connections"), nanos, "ns");
        points.push((step as f64, nanos));
    }
    live.clear();
    if opened > 1 {
        let bytes = resident().saturating_sub(empty) as f64 / (opened - 1) as f64 / 2.0;
        report.figure("memory of a connection's end", bytes, "bytes");
        let last = opened - opened / 10;
        let rate = last as f64 / time.max(1e-9);
        report.figure("connections opened, both ends", rate, "/s");
    }
    if let [(_, first), .., (_, last)] = points[..] {
        report.figure(
            "slower than with one connection",
            (last / first - 1.0) * 100.0,
            "%",
        );
    }
    report.plots.push(Plot {
        title: "Time of an exchange against the number of connections".to_owned(),
        x: "connections",
        y: "ns",
        log_x: true,
        series: vec![Series {
            name: "exchange".to_owned(),
            points,
        }],
    });
    report.give(&args.output)
}
