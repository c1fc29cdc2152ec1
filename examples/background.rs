//! What a background flow takes of a bottleneck that it shares with CUBIC, over
//! time: simulated, or drawn from what `scripts/background` has measured.
//!
//! ```text
//! background simulate [CONTROLLER] FILE.svg
//! background late FILE.svg
//! background plot TITLE DATA FILE.svg
//! ```
//!
//! `simulate` has two engines of fullbore under a virtual clock on a link of 20
//! Mbit/s with a round trip of 40 ms and a queue of 250 ms. A flow with the
//! controller, `ledbat` if none is named, sends all the time; one with `cubic`
//! sends from the 15th second to the 45th. `late` has two flows of LEDBAT, and
//! then two of LEDBAT++, of which the second begins when the first has filled its
//! queue. `plot` reads lines of four numbers: seconds, Mbit/s of the background
//! flow, those of the other, and milliseconds of delay.

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::engine::sim::{Host, Turns, World};
use fullbore::engine::{Application, ConnectOptions, Context, Engine, Flow, Reason};
use fullbore::link::MemoryLink;
use fullbore::link::fault::{FaultLink, FaultSettings};
use fullbore::stack::route::Prefix;
use fullbore::tcp;
use plotters::prelude::*;

const MBPS: f64 = 20.0;
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// Packets: 250 ms.
const QUEUE: usize = 413;
const SAMPLE: Duration = Duration::from_millis(250);
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// A flow: its controller, and when it begins and ends, in seconds.
#[derive(Clone, Copy)]
struct Plan(Algorithm, u64, u64);

/// One line: seconds, Mbit/s of each flow, and milliseconds of delay.
#[derive(Clone, Copy)]
struct Point {
    at: f64,
    rates: [f64; 2],
    delay: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["simulate", file] => simulated(Algorithm::Ledbat, file),
        ["simulate", controller, file] => simulated(controller.parse()?, file),
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

fn simulated(algorithm: Algorithm, file: &str) -> Result<(), Box<dyn Error>> {
    let flows = [Plan(algorithm, 0, 60), Plan(Algorithm::Cubic, 15, 45)];
    let points = simulate(flows, 60)?;
    tell(&points);
    let title = format!("{algorithm} beside CUBIC from 15 s to 45 s, 20 Mbit/s, 40 ms, simulated");
    draw(file, &[(&title, [algorithm.name(), "TCP CUBIC"], &points)])
}

fn late(file: &str) -> Result<(), Box<dyn Error>> {
    let both = |algorithm| simulate([Plan(algorithm, 0, 90), Plan(algorithm, 15, 90)], 90);
    let (ledbat, plus) = (both(Algorithm::Ledbat)?, both(Algorithm::LedbatPlusPlus)?);
    let names = ["first", "15 s later"];
    draw(
        file,
        &[
            (
                "Two flows of LEDBAT, 20 Mbit/s, 40 ms, simulated",
                names,
                &ledbat,
            ),
            ("Two flows of LEDBAT++", names, &plus),
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
            cx.set_timer(None, 2 * n, Duration::from_secs(plan.1));
            cx.set_timer(None, 2 * n + 1, Duration::from_secs(plan.2));
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
        let options = ConnectOptions {
            tcp: Some(Arc::new(tcp::Config {
                congestion: self.plans[n].0,
                ..tcp::Config::default()
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
            // Nobody else has it.
            let _ = cx.listen(SocketAddr::new(SERVER, port), 8);
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

fn simulate(plans: [Plan; 2], seconds: u64) -> Result<Vec<Point>, Box<dyn Error>> {
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
    let srtt = flows.filter_map(|flow| engine.stack().flows.get(*flow)?.conn.tcp()?.info().srtt);
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

/// What the flow takes alone, beside the other and from 5 s after it.
fn tell(points: &[Point]) {
    let beside = |p: &&Point| p.rates[1] > 1.0;
    let Some(begin) = points.iter().find(beside).map(|p| p.at) else {
        return;
    };
    let end = points.iter().rfind(beside).map_or(begin, |p| p.at);
    let mean = |from: f64, to: f64, of: fn(&Point) -> f64| {
        let some: Vec<f64> = points
            .iter()
            .filter(|p| p.at > from && p.at <= to)
            .map(of)
            .collect();
        some.iter().sum::<f64>() / some.len().max(1) as f64
    };
    let most = |from: f64, to: f64| {
        let some = points.iter().filter(|p| p.at > from && p.at <= to);
        some.map(|p| p.delay).fold(0.0, f64::max)
    };
    let (first, both) = (|p: &Point| p.rates[0], |p: &Point| p.rates[0] + p.rates[1]);
    let part = |from, to| 100.0 * mean(from, to, first) / mean(from, to, both);
    println!(
        "alone {:.2} Mbit/s, delay at most {:.0} ms; beside the other {:.2} Mbit/s, {:.1} %; \
         from 5 s after it {:.2} Mbit/s, {:.1} % of what it had alone",
        mean(3.0, begin, first),
        most(1.0, begin),
        mean(begin, end, first),
        part(begin, end),
        mean(end + 5.0, f64::MAX, first),
        100.0 * mean(end + 5.0, f64::MAX, first) / mean(3.0, begin, first),
    );
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
