//! What a background flow takes of a bottleneck that it shares with CUBIC, over
//! time: simulated, or drawn from what `scripts/background` has measured.
//!
//! ```text
//! background simulate [CONTROLLER [tcp]] FILE.svg
//! background late FILE.svg
//! background plot TITLE DATA FILE.svg
//! ```
//!
//! `simulate` has two engines of fullbore under a virtual clock on a link of 20
//! Mbit/s with a round trip of 40 ms and a queue of 250 ms. A flow of uTP with the
//! controller, `ledbat` if none is named, sends all the time, or of TCP if that is
//! asked for; one of TCP with `cubic` sends from the 15th second to the 45th. `late`
//! has two flows of LEDBAT, and then two of LEDBAT++, of which the second begins
//! when the first has filled its queue. `plot` reads lines of four numbers: seconds, Mbit/s of the background
//! flow, those of the other, and milliseconds of delay.

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::engine::sim::{Host, Turns, World};
use fullbore::engine::{
    Application, ConnectOptions, Context, Engine, Flow, ListenOptions, Reason, Transport,
};
use fullbore::link::MemoryLink;
use fullbore::link::fault::{FaultLink, FaultSettings};
use fullbore::stack::route::Prefix;
use fullbore::{tcp, utp};
use plotters::prelude::*;

const MBPS: f64 = 20.0;
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// Packets: 250 ms.
const QUEUE: usize = 413;
const SAMPLE: Duration = Duration::from_millis(250);
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// A flow: over what, its controller, and when it begins and ends, in seconds.
#[derive(Clone, Copy)]
pub struct Plan(pub Transport, pub Algorithm, pub u64, pub u64);

/// One line: seconds, Mbit/s of each flow, and milliseconds of delay.
#[derive(Clone, Copy)]
pub struct Point {
    pub at: f64,
    pub rates: [f64; 2],
    pub delay: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["simulate", file] => simulated(Transport::Utp, Algorithm::Ledbat, file),
        ["simulate", controller, file] => simulated(Transport::Utp, controller.parse()?, file),
        ["simulate", controller, "tcp", file] => {
            simulated(Transport::Tcp, controller.parse()?, file)
        }
        ["late", file] => late(file),
        ["plot", title, data, file] => {
            let points = read(&std::fs::read_to_string(data)?)?;
            tell(&points);
            draw(file, &[(*title, ["background", "TCP CUBIC"], &points)])
        }
        _ => Err(
            "usage: background simulate [CONTROLLER] FILE.svg | late FILE.svg | \
                  plot TITLE DATA FILE.svg"
                .into(),
        ),
    }
}

fn simulated(over: Transport, algorithm: Algorithm, file: &str) -> Result<(), Box<dyn Error>> {
    let flows = [
        Plan(over, algorithm, 0, 60),
        Plan(Transport::Tcp, Algorithm::Cubic, 15, 45),
    ];
    let points = simulate(flows, 60)?;
    tell(&points);
    let name = match over {
        Transport::Tcp => format!("TCP {algorithm}"),
        Transport::Utp => format!("uTP {algorithm}"),
    };
    let title = format!("{name} beside CUBIC from 15 s to 45 s, 20 Mbit/s, 40 ms, simulated");
    draw(file, &[(&title, [&name, "TCP CUBIC"], &points)])
}

fn late(file: &str) -> Result<(), Box<dyn Error>> {
    let both = |algorithm| {
        let plan = |begin| Plan(Transport::Utp, algorithm, begin, 90);
        simulate([plan(0), plan(15)], 90)
    };
    let (ledbat, plus) = (both(Algorithm::Ledbat)?, both(Algorithm::LedbatPlusPlus)?);
    let names = ["first", "15 s later"];
    draw(
        file,
        &[
            (
                "Two uTP flows of LEDBAT, 20 Mbit/s, 40 ms, simulated",
                names,
                &ledbat,
            ),
            ("Two uTP flows of LEDBAT++", names, &plus),
        ],
    )
}

// -- simulation ---------------------------------------------------------------

/// Sends as much as it may on each flow, for its time.
struct Source {
    plans: [Plan; 2],
    flows: [Option<Flow>; 2],
    block: Vec<u8>,
}

impl Source {
    fn pump(&self, cx: &mut Context<'_, ()>, flow: Flow) {
        while cx.send(flow, &self.block) == self.block.len() {}
    }
}

impl Application for Source {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        for (n, plan) in (0..).zip(self.plans) {
            cx.set_timer(None, 2 * n, Duration::from_secs(plan.2));
            cx.set_timer(None, 2 * n + 1, Duration::from_secs(plan.3));
        }
    }

    fn timer(&mut self, cx: &mut Context<'_, ()>, _: Option<Flow>, token: u64) {
        let n = token as usize / 2;
        if token % 2 == 1 {
            if let Some(flow) = self.flows[n].take() {
                cx.shutdown(flow);
            }
            return;
        }
        let Plan(transport, congestion, ..) = self.plans[n];
        let options = ConnectOptions {
            transport,
            tcp: Some(Arc::new(tcp::Config {
                congestion,
                ..tcp::Config::default()
            })),
            utp: Some(Arc::new(utp::Config {
                congestion,
                ..utp::Config::default()
            })),
            ..ConnectOptions::default()
        };
        let to = SocketAddr::new(SERVER, 80 + n as u16);
        self.flows[n] = cx.connect_with(to, &options).ok();
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.pump(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        if self.flows.contains(&Some(flow)) {
            self.pump(cx, flow);
        }
    }

    fn readable(&mut self, _: &mut Context<'_, ()>, _: Flow) {}

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {}
}

/// Counts what each flow brings.
#[derive(Default)]
struct Sink {
    flows: HashMap<Flow, usize>,
    read: [u64; 2],
}

impl Application for Sink {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        for port in [80, 81] {
            for transport in [Transport::Tcp, Transport::Utp] {
                // Nobody else has it.
                let options = ListenOptions::new(transport, 8);
                let _ = cx.listen_with(SocketAddr::new(SERVER, port), options);
            }
        }
    }

    fn accept(
        &mut self,
        _: &mut Context<'_, ()>,
        flow: Flow,
        _: SocketAddr,
        at: SocketAddr,
    ) -> bool {
        self.flows.insert(flow, usize::from(at.port() - 80));
        true
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        while let Some(n) = cx.recv_chunk(flow).map(<[u8]>::len) {
            cx.recv_consume(flow, n);
            self.read[self.flows[&flow]] += n as u64;
        }
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.shutdown(flow);
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {}
}

/// Two flows on the link, for so long.
pub fn simulate(plans: [Plan; 2], seconds: u64) -> Result<Vec<Point>, Box<dyn Error>> {
    let (near, far) = MemoryLink::pair(4096)?;
    let faults: FaultSettings = format!(
        "delay={}us,out.rate={MBPS}Mbit,out.queue={QUEUE}",
        ROUND_TRIP.as_micros() / 2
    )
    .parse()?;
    let host = |ip| Prefix::new(ip, 24).map(Host::new).ok_or("an address");
    let source = Source {
        plans,
        flows: [None; 2],
        block: vec![0x5a; 64 << 10],
    };
    let mut a = host(CLIENT)?.build(FaultLink::new(near, &faults), source)?;
    let mut b = host(SERVER)?.build(far, Sink::default())?;
    let mut world = World::default();
    let begin = world.now();
    let mut points = Vec::new();
    let mut before = [0; 2];
    let mut due = SAMPLE;
    while world.now().since(begin) < Duration::from_secs(seconds) {
        let mut engines: [&mut dyn Turns; 2] = [&mut a, &mut b];
        world.step(&mut engines);
        if world.now().since(begin) >= due {
            let read = b.app().read;
            let rate = |n: usize| (read[n] - before[n]) as f64 * 8e-6 / SAMPLE.as_secs_f64();
            points.push(Point {
                at: due.as_secs_f64(),
                rates: [rate(0), rate(1)],
                delay: delay(&a),
            });
            before = read;
            due += SAMPLE;
        }
    }
    Ok(points)
}

/// The longest smoothed delay above the empty path's that a flow sees, in ms.
fn delay<L: fullbore::link::Link>(engine: &Engine<L, Source>) -> f64 {
    let flows = engine.app().flows.iter().flatten();
    let srtt = flows.filter_map(|flow| {
        let conn = &engine.stack().flows.get(*flow)?.conn;
        match (conn.tcp(), conn.utp()) {
            (Some(tcp), _) => tcp.info().srtt,
            (_, utp) => utp?.info().srtt,
        }
    });
    let above = srtt.map(|srtt| srtt.saturating_sub(ROUND_TRIP));
    above.max().unwrap_or_default().as_secs_f64() * 1e3
}

// -- plots --------------------------------------------------------------------

fn read(text: &str) -> Result<Vec<Point>, Box<dyn Error>> {
    let mut points = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let numbers: Vec<f64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let &[at, first, second, delay] = numbers.as_slice() else {
            return Err(format!("not four numbers: {line}").into());
        };
        points.push(Point {
            at,
            rates: [first, second],
            delay,
        });
    }
    Ok(points)
}

/// What the first flow takes of the path, in Mbit/s and in parts of both.
#[derive(Debug)]
pub struct Summary {
    pub alone: f64,
    /// The longest delay meanwhile, in ms.
    pub delay: f64,
    pub beside: f64,
    /// Its part while the other is there.
    pub part: f64,
    /// From 5 s after the other's end.
    pub after: f64,
}

/// `None` if there was no other.
pub fn summary(points: &[Point]) -> Option<Summary> {
    let other = |p: &&Point| p.rates[1] > 1.0;
    let begin = points.iter().find(other)?.at;
    let end = points.iter().rfind(other)?.at;
    let mean = |from: f64, to: f64, of: fn(&Point) -> f64| {
        let some = points.iter().filter(|p| p.at > from && p.at <= to);
        let some: Vec<f64> = some.map(of).collect();
        some.iter().sum::<f64>() / some.len().max(1) as f64
    };
    let (first, both) = (|p: &Point| p.rates[0], |p: &Point| p.rates[0] + p.rates[1]);
    let before = points.iter().filter(|p| p.at > 1.0 && p.at < begin - 0.5);
    Some(Summary {
        alone: mean(3.0, begin - 0.5, first),
        delay: before.map(|p| p.delay).fold(0.0, f64::max),
        beside: mean(begin, end, first),
        part: mean(begin, end, first) / mean(begin, end, both),
        after: mean(end + 5.0, f64::MAX, first),
    })
}

fn tell(points: &[Point]) {
    if let Some(s) = summary(points) {
        println!(
            "alone {:.2} Mbit/s, delay at most {:.0} ms; beside the other {:.2} Mbit/s, \
             {:.1} % of both; from 5 s after it {:.2} Mbit/s",
            s.alone,
            s.delay,
            s.beside,
            100.0 * s.part,
            s.after
        );
    }
}

type Panel<'a> = (&'a str, [&'a str; 2], &'a [Point]);

/// For each panel goodput over time, and the delay below.
fn draw(file: &str, panels: &[Panel<'_>]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(file, (900, 480 * panels.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    for (area, (title, names, points)) in area.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let (upper, lower) = area.split_vertically(300);
        let end = points.last().map_or(1.0, |p| p.at);
        let top = points.iter().flat_map(|p| p.rates).fold(1.0, f64::max) * 1.15;
        let mut chart = ChartBuilder::on(&upper)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(20)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart.configure_mesh().y_desc("goodput, Mbit/s").draw()?;
        for (n, colour) in [(0, BLUE), (1, RED)] {
            let line = points.iter().map(|p| (p.at, p.rates[n]));
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
                .label(names[n])
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        let top = points.iter().map(|p| p.delay).fold(100.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&lower)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc("queueing delay, ms")
            .draw()?;
        let line = points.iter().map(|p| (p.at, p.delay));
        chart.draw_series(LineSeries::new(line, BLACK.mix(0.8)))?;
    }
    area.present()?;
    Ok(())
}
