//! `fullbore bench many`: what connections cost, in memory and in time, when
//! there are many.
//!
//! Times are those of the processor: other work on the machine does not count.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::time::ClockId;

use super::args::ManyArgs;
use super::live::Live;
use super::report::{Conditions, Plot, Report, Series};
use crate::cli::failure::{Exit, Failure};
use crate::engine::sim::{Host, Turns, World};
use crate::engine::{Application, Context, Engine, Flow, Reason};
use crate::frame::{LINE, prefer_huge_pages, prefetch};
use crate::link::MemoryLink;
use crate::stack::flow::SLOT_BUDGET;
use crate::tcp;

/// The server's ports: a client has one connection from each of its own ports
/// to each of these.
const PORTS: std::ops::Range<u16> = 1000..1032;
/// Connections that are opened at once.
const OPENING: usize = 256;
/// Longest delay of an acknowledgement: as many exchanges as happen meanwhile
/// keep a frame each at the server.
const DELAYED_ACK: Duration = Duration::from_micros(500);
/// Bound on opening the connections of a step, in virtual time.
const OPEN_TIME: Duration = Duration::from_secs(600);
/// Bound on the answers to a round of requests, in virtual time.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How far ahead the next connections are loaded, where they are known.
const AHEAD: usize = 6;
/// Measurements of which the median is told.
const PARTS: usize = 5;
/// Virtual time for connections to come to rest.
const REST: Duration = Duration::from_secs(12);

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
        if self.server.is_some() {
            self.answers += 1;
        } else if cx.send(flow, &[1]) == 0 {
            // There is no frame: `writable` follows.
            return;
        }
        cx.recv_consume(flow, n);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        if self.server.is_none() && cx.recv_available(flow) > 0 {
            self.readable(cx, flow);
        }
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {
        self.failed = true;
    }
}

type Machine = Engine<MemoryLink, Peer>;

/// Packets in a pool.
const FRAMES: u32 = 4096;

/// Two engines for so many connections; `frames` are the server's.
fn machines(connections: usize, frames: u32) -> Result<(Machine, Machine), Failure> {
    let io = |e: std::io::Error| Failure::new(Exit::Failed, format!("an engine: {e}"));
    let (near, far) = MemoryLink::pair(1024).map_err(io)?;
    let host = |address: &str, frames| -> Result<Host, Failure> {
        let address = address
            .parse()
            .map_err(|e| Failure::new(Exit::Failed, format!("{address}: {e}")))?;
        let mut host = Host::new(address);
        host.frames = frames;
        host.config.max_flows = connections + OPENING;
        host.config.ports = 1024..=65535;
        // Sooner than usual: what is sent has its frame until then.
        host.config.tcp = Arc::new(tcp::Config {
            delayed_ack: DELAYED_ACK,
            ..tcp::Config::default()
        });
        Ok(host)
    };
    let server = host("10.0.0.1/8", frames)?;
    let client = host("10.0.0.2/8", FRAMES)?;
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

/// Processor time that this thread has had, in seconds. Asked of the C library,
/// whose clocks also work under valgrind.
fn processor() -> f64 {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    time.map_or(0.0, |t| Duration::from(t).as_secs_f64())
}

/// Connections in no order that a cache or a prefetcher could follow.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) as usize * n) >> 31
    }
}

/// Packets that both ends have sent.
fn packets((client, server): &(Machine, Machine)) -> u64 {
    let of = |m: &Machine| m.stack().tcp_counters().segments_out;
    of(client) + of(server)
}

/// Nanoseconds of processor time that a packet of an exchange takes, both ends,
/// over the first `active` connections in no order, `at_once` of them in each
/// round: the median of some parts. Acknowledgements that do not ride on an
/// answer are packets, too: there are more of them the more connections are active.
fn exchange(
    pair: &mut (Machine, Machine),
    world: &mut World,
    active: usize,
    at_once: usize,
    exchanges: u64,
) -> Result<f64, Failure> {
    let mut random = Random(active as u64);
    let mut parts = [0.0; PARTS];
    for part in &mut parts {
        let before = packets(pair);
        let some = exchanges / PARTS as u64;
        let nanos = time_exchanges(pair, world, (active, at_once), some, &mut random)?;
        *part = nanos / (packets(pair) - before) as f64;
    }
    parts.sort_unstable_by(f64::total_cmp);
    Ok(parts[PARTS / 2])
}

fn time_exchanges(
    (client, server): &mut (Machine, Machine),
    world: &mut World,
    (active, at_once): (usize, usize),
    exchanges: u64,
    random: &mut Random,
) -> Result<f64, Failure> {
    let mut chosen: Vec<Flow> = Vec::with_capacity(at_once);
    let rounds = exchanges.div_ceil(at_once as u64).max(1);
    let start = processor();
    for _ in 0..rounds {
        let wanted = client.app().answers + at_once as u64;
        client.with(|app, cx| {
            // Different ones: each has its own part to choose from.
            let part = active / at_once;
            chosen.clear();
            chosen.extend((0..at_once).map(|n| app.flows[n * part + random.below(part)]));
            for (n, &flow) in chosen.iter().enumerate() {
                if let Some(&soon) = chosen.get(n + AHEAD) {
                    cx.foresee(soon);
                }
                app.failed |= cx.send(flow, &[1]) == 0;
            }
        });
        let end = world.now() + ANSWER_TIME;
        while client.app().answers < wanted {
            world.step(&mut [client as &mut dyn Turns, server]);
            if client.app().failed || server.app().failed || world.now() > end {
                let why = format!("{active} connections: requests found no answer");
                return Err(Failure::new(Exit::Failed, why));
            }
        }
    }
    Ok((processor() - start) * 1e9)
}

/// As much memory as a connection has.
#[derive(Clone)]
#[repr(align(64))]
struct Place([u64; SLOT_BUDGET / 8]);

/// Nanoseconds that it takes to use all lines of the memory of one connection
/// of `places`, in no order, and no more than that: what the machine asks for,
/// whatever a program does with them. `ahead` are known before.
fn bare(places: usize, ahead: usize, times: u64) -> f64 {
    let mut memory: Vec<Place> = Vec::with_capacity(places);
    prefer_huge_pages(memory.spare_capacity_mut());
    memory.resize(places, Place([0; SLOT_BUDGET / 8]));
    let mut random = Random(places as u64);
    let mut next = VecDeque::from_iter((0..ahead).map(|_| random.below(places)));
    let start = processor();
    let mut zero = 0;
    for _ in 0..times {
        // Nobody can tell before what comes behind it.
        next.push_back(random.below(places) ^ zero);
        if let Some(soon) = next.back() {
            prefetch(&memory[*soon]);
        }
        let at = next.pop_front().unwrap_or(0);
        let mut sum = 0;
        for line in memory[at].0.chunks_mut(LINE / 8) {
            line[0] += 1;
            sum += line[1];
        }
        zero = std::hint::black_box(sum as usize);
    }
    (processor() - start) * 1e9 / times as f64
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut words = status.split_whitespace();
    words.find(|&word| word == "VmRSS:");
    let kib = words.next().and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Resident bytes beyond `empty` for each end of all connections, at rest.
fn at_rest(pair: &mut (Machine, Machine), world: &mut World, all: usize, empty: u64) -> f64 {
    let (client, server) = pair;
    world.settle(&mut [client as &mut dyn Turns, server], REST);
    resident().saturating_sub(empty) as f64 / (all - 1) as f64 / 2.0
}

/// `fullbore bench many`.
pub fn many(args: &ManyArgs) -> Result<(), Failure> {
    let most = args.connections.get() as usize;
    let at_once = (args.at_once.get() as usize).min(most);
    let live = Live::new(&args.output);
    let mut report = Report::new("bench many, TCP over memory", Conditions::of_machine());
    let exchanges = args.exchanges.get();
    for (name, value) in [
        ("both ends", "in one thread".to_owned()),
        ("times", "of the processor, both ends together".to_owned()),
        (
            "exchanges",
            format!("{exchanges} a step, 1 byte each way, over all connections in random order"),
        ),
    ] {
        report.conditions.add(name, value);
    }
    let mut pair = machines(most, FRAMES)?;
    let mut world = World::default();
    let (mut alone, mut batches) = (Vec::new(), Vec::new());
    let mut steps: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 10))
        .take_while(|n| *n < most && !args.ends)
        .chain([1, at_once, most])
        .collect();
    steps.sort_unstable();
    steps.dedup();
    let (mut empty, mut before) = (0, 0);
    for step in steps {
        live.show(&format!("{step} connections"));
        let start = processor();
        fill(&mut pair, &mut world, step)?;
        if step == 1 {
            // Everything that is needed whatever the number is there now.
            exchange(&mut pair, &mut world, 1, 1, exchanges / 10)?;
            empty = resident();
        } else if step > 1000 {
            let rate = (step - before) as f64 / (processor() - start);
            let name = format!("connections opened, up to {step}, both ends in one thread");
            report.figure(name, rate, "/s");
        }
        before = step;
        if step == most && most > 1 {
            let bytes = at_rest(&mut pair, &mut world, most, empty);
            report.figure("memory of an idle connection, each end", bytes, "bytes");
            for few in [1, at_once] {
                let nanos = exchange(&mut pair, &mut world, few, few, exchanges)?;
                let name = format!("a packet, {few} active among {most} connections");
                report.figure(name, nanos, "ns");
                let of_few = |(n, without): &(f64, f64)| (*n == few as f64).then_some(*without);
                if let Some(without) = batches.iter().chain(&alone).find_map(of_few) {
                    report.figure(
                        format!("{few} active: slower with idle connections than without"),
                        (nanos / without - 1.0) * 100.0,
                        "%",
                    );
                }
            }
        }
        let nanos = exchange(&mut pair, &mut world, step, 1, exchanges)?;
        report.figure(
            format!("a packet, {step} connections, one exchange at a time"),
            nanos,
            "ns",
        );
        alone.push((step as f64, nanos));
        if step >= at_once {
            let nanos = exchange(&mut pair, &mut world, step, at_once, exchanges)?;
            let name = format!("a packet, {step} connections, {at_once} exchanges at a time");
            report.figure(name, nanos, "ns");
            batches.push((step as f64, nanos));
        }
    }
    live.clear();
    if most > 1 {
        let bytes = at_rest(&mut pair, &mut world, most, empty);
        let name = "memory of a connection at rest again, each end";
        report.figure(name, bytes, "bytes");
    }
    drop(pair);
    for (ahead, how) in [(0, "one at a time"), (AHEAD, "six ahead")] {
        let [one, all] = [1, 2 * most].map(|places| bare(places, ahead, exchanges));
        report.figure(
            format!(
                "the machine: memory of one of {} ends in no order, beyond that of one, {how}",
                2 * most
            ),
            all - one,
            "ns",
        );
    }
    for (what, points) in [("one at a time", &alone), ("many at a time", &batches)] {
        if let [(fewest, first), .., (_, last)] = points[..] {
            report.figure(
                format!("slower than with {fewest} connections, {what}"),
                (last / first - 1.0) * 100.0,
                "%",
            );
        }
    }
    let series = |name: &str, points| Series {
        name: name.to_owned(),
        points,
    };
    report.plots.push(Plot {
        title: "Processor time of a packet against the number of connections".to_owned(),
        x: "connections",
        y: "ns",
        log_x: true,
        series: vec![
            series("one at a time", alone),
            series("many at a time", batches),
        ],
    });
    report.give(&args.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_frames_answers_later() {
        let mut pair = machines(300, 48).unwrap();
        let mut world = World::default();
        fill(&mut pair, &mut world, 300).unwrap();
        exchange(&mut pair, &mut world, 300, 64, 2000).unwrap();
        assert!(pair.0.app().answers >= 2000);
    }
}
