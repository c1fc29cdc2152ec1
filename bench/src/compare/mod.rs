//! fullbore next to other stacks: in turn, in one run, on one veth pair.

pub mod crr;
pub mod echo;
pub mod kernel;
pub mod latencies;
pub mod own;
pub mod place;
mod plots;
pub mod report;
pub mod smoltcp_wire;
pub mod transfer;
pub mod utp;

use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::memory::{self, Settings, Stack};
use crate::sample::Sample;
use kernel::Waiting;
use place::{Place, Wire};
use transfer::{Client, Content, Server};

/// What one run of a contestant came to: figures by name.
pub type Figures = Vec<(&'static str, f64)>;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Group {
    /// Goodput of one stream.
    Stream,
    /// Goodput of several streams, by the number of engines.
    Engines,
    /// Goodput of one stream over uTP, and the processor time that it takes.
    Utp,
    /// Latency of 64 bytes there and back.
    Rr,
    /// Processor time of an engine that has nothing to do.
    Idle,
    /// Connections a second.
    Crr,
    /// Transfer of a file.
    Transfer,
    /// Both ends in one thread, over memory.
    Memory,
}

impl Group {
    /// Above its table.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Stream => "One stream",
            Self::Engines => "Eight streams, by engines at each end",
            Self::Utp => "One stream over uTP",
            Self::Rr => "64 bytes there and back",
            Self::Idle => "Nothing to do",
            Self::Crr => "Connections: one byte there, one back, closed",
            Self::Transfer => "One file",
            Self::Memory => "Both ends in one thread, over memory",
        }
    }

    /// For files and machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Engines => "engines",
            Self::Utp => "utp",
            Self::Rr => "rr",
            Self::Idle => "idle",
            Self::Crr => "crr",
            Self::Transfer => "transfer",
            Self::Memory => "memory",
        }
    }

    /// Of all its figures but those that name their own.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Stream | Self::Engines | Self::Utp | Self::Transfer => "Gbit/s",
            Self::Rr => "us",
            Self::Idle => "ms a second",
            Self::Crr => "connections/s",
            Self::Memory => "ns a segment",
        }
    }
}

/// How long and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds, in each of which every contestant runs once.
    pub runs: usize,
    /// Of each measurement that has a duration.
    pub duration: Duration,
    /// Before it, for streams.
    pub warm_up: Duration,
    /// Bytes of the file that is transferred.
    pub file: u64,
    /// Full segments of a run over memory.
    pub segments: u64,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// What to compare.
    pub groups: Vec<Group>,
}

/// Who is compared.
#[derive(Clone, Copy, Debug)]
enum Who {
    FullboreStream,
    /// With its processor time, over this transport.
    FullboreCost(&'static str),
    LibrqbitUtp,
    KernelStream(Wire),
    SmoltcpStream,
    RawStream,
    Ceiling,
    FullboreEngines(u32),
    FullboreRr(&'static str),
    FullboreIdle(&'static str),
    KernelRr(Waiting),
    RawEcho,
    FullboreCrr(u64),
    KernelCrr(u64),
    Fetch(Server, Client),
    Send(Client),
    Memory(Stack),
}

struct Contestant {
    group: Group,
    name: &'static str,
    who: Who,
}

/// All there are. The first of a group is what the others are compared with.
const CONTESTANTS: &[Contestant] = &{
    use Group as G;
    use Who as W;
    const fn one(group: Group, name: &'static str, who: Who) -> Contestant {
        Contestant { group, name, who }
    }
    [
        one(
            G::Stream,
            "kernel TCP, same wire",
            W::KernelStream(Wire::Plain),
        ),
        one(G::Stream, "fullbore", W::FullboreStream),
        one(
            G::Stream,
            "kernel TCP, GRO at the receiver",
            W::KernelStream(Wire::Gro),
        ),
        one(
            G::Stream,
            "kernel TCP as it comes",
            W::KernelStream(Wire::AsItComes),
        ),
        one(G::Stream, "smoltcp, AF_PACKET", W::SmoltcpStream),
        one(G::Stream, "transport without a protocol", W::Ceiling),
        one(G::Stream, "raw AF_XDP limit, whole frames", W::RawStream),
        one(G::Utp, "librqbit-utp, buffers of 8 MiB", W::LibrqbitUtp),
        one(G::Utp, "fullbore, uTP", W::FullboreCost("utp")),
        one(G::Utp, "fullbore, TCP", W::FullboreCost("tcp")),
        one(G::Engines, "fullbore, one", W::FullboreEngines(1)),
        one(
            G::Engines,
            "fullbore, two on two queues",
            W::FullboreEngines(2),
        ),
        one(
            G::Rr,
            "kernel TCP, spinning",
            W::KernelRr(Waiting::Spinning),
        ),
        one(G::Rr, "fullbore, spinning", W::FullboreRr("busy")),
        one(G::Rr, "fullbore, adaptive", W::FullboreRr("adaptive")),
        one(
            G::Rr,
            "kernel TCP, blocking",
            W::KernelRr(Waiting::Blocking),
        ),
        one(G::Rr, "raw AF_XDP echo", W::RawEcho),
        one(G::Idle, "fullbore, busy", W::FullboreIdle("busy")),
        one(G::Idle, "fullbore, adaptive", W::FullboreIdle("adaptive")),
        one(G::Idle, "fullbore, sleep", W::FullboreIdle("sleep")),
        one(G::Crr, "kernel TCP, 64 at once", W::KernelCrr(64)),
        one(G::Crr, "fullbore, 64 at once", W::FullboreCrr(64)),
        one(G::Crr, "kernel TCP, one at a time", W::KernelCrr(1)),
        one(G::Crr, "fullbore, one at a time", W::FullboreCrr(1)),
        one(
            G::Transfer,
            "nginx to curl",
            W::Fetch(Server::Nginx, Client::Curl),
        ),
        one(
            G::Transfer,
            "fullbore serve to fullbore get, digest verified",
            W::Fetch(Server::Fullbore, Client::Fullbore),
        ),
        one(
            G::Transfer,
            "fullbore serve to curl",
            W::Fetch(Server::Fullbore, Client::Curl),
        ),
        one(
            G::Transfer,
            "fullbore put to fullbore serve, digest verified",
            W::Send(Client::Fullbore),
        ),
        one(
            G::Transfer,
            "curl to fullbore serve, digest computed",
            W::Send(Client::Curl),
        ),
        one(G::Memory, "smoltcp", W::Memory(Stack::Smoltcp)),
        one(G::Memory, "fullbore", W::Memory(Stack::Fullbore)),
        one(G::Memory, "fullbore, uTP", W::Memory(Stack::FullboreUtp)),
        one(
            G::Memory,
            "smoltcp, buffers handed over",
            W::Memory(Stack::SmoltcpHandOver),
        ),
        one(
            G::Memory,
            "fullbore, memory link",
            W::Memory(Stack::FullboreLink),
        ),
        one(
            G::Memory,
            "the copies and sums alone",
            W::Memory(Stack::Floor),
        ),
    ]
};

/// What came of one contestant.
pub struct Row {
    /// What was compared.
    pub group: Group,
    /// Who it was.
    pub name: &'static str,
    /// By figure.
    pub figures: Vec<(&'static str, Sample)>,
    /// Why there is nothing, or less than there should be.
    pub missing: Option<String>,
    /// Whether that is a failure, and not only a program that is not there.
    pub failed: bool,
}

/// What came of all.
pub struct Outcome {
    /// In the order of the contestants.
    pub rows: Vec<Row>,
    /// What the interface was found to be.
    pub interface: Option<String>,
    /// Offloads of the driver as it comes.
    pub defaults: String,
}

impl Who {
    const fn wire(self) -> Option<Wire> {
        match self {
            Self::KernelStream(wire) => Some(wire),
            Self::FullboreEngines(_) => Some(Wire::TwoQueues),
            Self::Memory(_) => None,
            _ => Some(Wire::Plain),
        }
    }

    /// A program that is not there.
    fn lacks(self) -> Option<&'static str> {
        let needed = match self {
            Self::Fetch(server, client) => [server.needs(), client.needs()],
            Self::Send(client) => [None, client.needs()],
            _ => return None,
        };
        needed
            .into_iter()
            .flatten()
            .find(|program| !transfer::is_there(program))
    }
}

/// Compares. `tell` is told of each step.
///
/// # Errors
/// When the place cannot be made. What fails later is in the outcome.
pub fn run(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Outcome, String> {
    let place = Place::new(plan.mtu)?;
    let defaults = place.defaults()?;
    let wanted = CONTESTANTS
        .iter()
        .filter(|one| plan.groups.contains(&one.group));
    let mut entries: Vec<(&Contestant, Row)> = wanted
        .map(|one| {
            let lacks = one.who.lacks();
            let row = Row {
                group: one.group,
                name: one.name,
                figures: Vec::new(),
                missing: lacks.map(|program| format!("{program} is not there")),
                failed: false,
            };
            (one, row)
        })
        .collect();
    let content = if plan.groups.contains(&Group::Transfer) {
        Some(Content::new(plan.file)?)
    } else {
        None
    };
    let mut interface = None;
    for round in 1..=plan.runs {
        for (one, row) in &mut entries {
            // What is not there, or has failed, is not tried again.
            if row.missing.is_some() {
                continue;
            }
            let begin = Instant::now();
            let came = measure(&place, plan, one.who, content.as_ref(), &mut interface);
            let said = match &came {
                Ok(figures) => figures
                    .iter()
                    .map(|(name, value)| format!("{name} {}", report::plain(*value)))
                    .collect::<Vec<_>>()
                    .join(", "),
                Err(e) => format!("FAILED: {e}"),
            };
            tell(&format!(
                "round {round} of {}: {}, {}: {said} {} ({:.1} s)",
                plan.runs,
                one.group.name(),
                one.name,
                one.group.unit(),
                begin.elapsed().as_secs_f64()
            ));
            match came {
                Ok(figures) => add(row, figures),
                Err(e) => {
                    row.missing = Some(e);
                    row.failed = true;
                }
            }
        }
    }
    Ok(Outcome {
        rows: entries.into_iter().map(|(_, row)| row).collect(),
        interface,
        defaults,
    })
}

fn add(row: &mut Row, figures: Figures) {
    for (name, value) in figures {
        match row.figures.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sample)) => sample.push(value),
            None => row.figures.push((name, [value].into_iter().collect())),
        }
    }
}

fn measure(
    place: &Place,
    plan: &Plan,
    who: Who,
    content: Option<&Content>,
    interface: &mut Option<String>,
) -> Result<Figures, String> {
    if let Some(wire) = who.wire() {
        place.wire(wire)?;
    }
    let (warm_up, duration) = (plan.warm_up, plan.duration);
    match who {
        Who::FullboreStream => {
            let (figures, found) = own::stream(place, warm_up, duration)?;
            *interface = found.or(interface.take());
            Ok(figures)
        }
        Who::FullboreCost(transport) => own::cost(place, transport, warm_up, duration),
        Who::LibrqbitUtp => utp::librqbit(place, warm_up, duration),
        Who::KernelStream(_) => kernel::stream(place, warm_up, duration),
        Who::SmoltcpStream => smoltcp_wire::stream(place, warm_up, duration),
        Who::RawStream => own::raw(place, duration),
        Who::Ceiling => own::ceiling(place, duration),
        Who::FullboreEngines(engines) => own::engines(place, engines, warm_up, duration),
        Who::FullboreRr(idle) => own::rr(place, idle, duration),
        Who::FullboreIdle(idle) => own::idle(place, idle, duration),
        Who::KernelRr(waiting) => kernel::rr(place, waiting, duration),
        Who::RawEcho => echo::echo(place, duration),
        Who::FullboreCrr(at_once) => own::crr(place, at_once, duration),
        Who::KernelCrr(at_once) => crr::crr(place, at_once, duration),
        Who::Fetch(server, client) => {
            let content = content.ok_or("there is no file")?;
            transfer::fetch(place, server, client, content)
        }
        Who::Send(client) => {
            let content = content.ok_or("there is no file")?;
            transfer::send(place, client, content)
        }
        Who::Memory(stack) => {
            let settings = Settings::default();
            memory::cost(stack, &settings, plan.segments / 10, plan.segments)
                .map(|nanos| vec![("cost", nanos)])
        }
    }
}
