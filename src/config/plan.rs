//! Whether the keys of a configuration go together, and the plan that comes
//! of those that do.

use super::file::{AddressMode, Attach, Bind, Cores, File, IdleStrategy, Queues, TokenScope};
use super::names::InterfaceName;
use super::units::{OrOff, size_text};
use std::time::Duration;

/// Longest that an adaptive engine spins unless `idle.spin` says otherwise.
const DEFAULT_SPIN: Duration = Duration::from_micros(50);

/// A configuration whose parts go together: plain values, nothing opened yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The interface.
    pub interface: InterfaceName,
    /// How long an engine spins before it sleeps; `None` is for ever.
    pub spin: Option<Duration>,
    /// Which requests need the token; `None` is none.
    pub token_scope: Option<TokenScope>,
    /// Everything else, as it was configured.
    pub file: File,
}

/// What one engine gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnginePlan {
    /// Its queues, at least one.
    pub queues: Vec<u32>,
    /// The core that it is pinned to, if it is.
    pub core: Option<u32>,
}

/// Keys that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The key at fault, from the top of the file: `["tcp", "min_rto"]`.
    pub key: &'static [&'static str],
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Plan {
    /// The plan for `file`.
    ///
    /// # Errors
    /// Every contradiction that there is.
    pub fn new(file: File) -> Result<Self, Vec<Contradiction>> {
        let mut found = Vec::new();
        interface(&file, &mut found);
        memory(&file, &mut found);
        addresses(&file, &mut found);
        tcp(&file, &mut found);
        utp(&file, &mut found);
        serve(&file, &mut found);
        let Some(name) = file.interface.clone() else {
            found.insert(
                0,
                contradiction(
                    &["interface"],
                    "no interface is named",
                    "add `interface = \"eth0\"`, or give --on eth0",
                ),
            );
            return Err(found);
        };
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Self {
            interface: name,
            spin: match file.idle.strategy {
                IdleStrategy::Busy => None,
                IdleStrategy::Adaptive => Some(file.idle.spin.map_or(DEFAULT_SPIN, |s| s.get())),
                IdleStrategy::Sleep => Some(Duration::ZERO),
            },
            token_scope: file
                .serve
                .token_file
                .as_ref()
                .map(|_| file.serve.token_scope.unwrap_or(TokenScope::Writes)),
            file,
        })
    }

    /// The engines, for an interface with `nic_queues` queues on a machine
    /// where the process may run on `cores`.
    ///
    /// There are as many engines as queues, or as cores if those are fewer;
    /// queues are dealt to engines in turn. With `cores = "auto"` the engines
    /// take the last of `cores`, since the first serves most interrupts.
    ///
    /// # Errors
    /// A queue that the interface does not have, or a core that is not there.
    pub fn engines(
        &self,
        nic_queues: u32,
        cores: &[u32],
    ) -> Result<Vec<EnginePlan>, Contradiction> {
        let queues: Vec<u32> = match &self.file.queues {
            Queues::All => (0..nic_queues.max(1)).collect(),
            Queues::List(list) => list.clone(),
        };
        if let Some(queue) = queues.iter().find(|&&q| q >= nic_queues) {
            let have = match nic_queues {
                1 => "1 queue: 0".to_owned(),
                n => format!("{n} queues: 0 to {}", n.saturating_sub(1)),
            };
            return Err(contradiction(
                &["queues"],
                format!("{} has no queue {queue}", self.interface),
                format!("it has {have}"),
            ));
        }
        let pins: Vec<Option<u32>> = match &self.file.cores {
            Cores::List(list) => {
                if let Some(core) = list.iter().find(|c| !cores.contains(c)) {
                    let have: Vec<_> = cores.iter().map(u32::to_string).collect();
                    return Err(contradiction(
                        &["cores"],
                        format!("there is no core {core} that this process may run on"),
                        format!("it may run on {}", have.join(", ")),
                    ));
                }
                list.iter().map(|&c| Some(c)).take(queues.len()).collect()
            }
            Cores::None => vec![None; queues.len()],
            Cores::Auto => (0..queues.len().min(cores.len().max(1)))
                .map(|n| cores.iter().rev().nth(n).copied())
                .collect(),
        };
        let mut engines: Vec<_> = pins
            .into_iter()
            .map(|core| EnginePlan {
                queues: Vec::new(),
                core,
            })
            .collect();
        let count = engines.len().max(1);
        for (n, queue) in queues.into_iter().enumerate() {
            if let Some(engine) = engines.get_mut(n % count) {
                engine.queues.push(queue);
            }
        }
        Ok(engines)
    }
}

fn contradiction(
    key: &'static [&'static str],
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Contradiction {
    Contradiction {
        key,
        message: message.into(),
        hint: Some(hint.into()),
    }
}

/// The first value that is in the list twice.
fn repeated<T: PartialEq>(list: &[T]) -> Option<&T> {
    list.iter()
        .enumerate()
        .find(|(n, v)| list[..*n].contains(v))
        .map(|(_, v)| v)
}

fn interface(file: &File, found: &mut Vec<Contradiction>) {
    let mut list = |key, list: &[u32], what: &str| {
        if list.is_empty() {
            found.push(contradiction(
                key,
                format!("no {what} is listed"),
                "list at least one",
            ));
        } else if let Some(n) = repeated(list) {
            let message = format!("{what} {n} is listed twice");
            found.push(contradiction(key, message, "list each once"));
        }
    };
    if let Queues::List(queues) = &file.queues {
        list(&["queues"], queues, "queue");
    }
    if let Cores::List(cores) = &file.cores {
        list(&["cores"], cores, "core");
    }
    if let (Queues::List(queues), Cores::List(cores)) = (&file.queues, &file.cores)
        && cores.len() > queues.len()
    {
        found.push(contradiction(
            &["cores"],
            format!("{} cores for {} queues", cores.len(), queues.len()),
            "an engine needs a queue: list at most as many cores as queues",
        ));
    }
    if file.bind == Bind::ZeroCopy && file.attach == Attach::Generic {
        found.push(contradiction(
            &["bind"],
            "zero copy needs the steering program in the driver, and `attach` is \"generic\"",
            "set attach to \"native\" or \"auto\"",
        ));
    }
    if file.idle.spin.is_some() && file.idle.strategy != IdleStrategy::Adaptive {
        found.push(contradiction(
            &["idle", "spin"],
            format!(
                "`spin` has no meaning with the strategy \"{}\"",
                file.idle.strategy
            ),
            "remove it, or set strategy to \"adaptive\"",
        ));
    }
}

fn memory(file: &File, found: &mut Vec<Contradiction>) {
    let rings = u64::from(file.rings.fill.get()) + u64::from(file.rings.tx.get());
    if file.umem.frames.get() < rings {
        found.push(contradiction(
            &["umem", "frames"],
            format!(
                "{} frames cannot fill a fill ring of {} and a transmit ring of {}",
                file.umem.frames.get(),
                file.rings.fill.get(),
                file.rings.tx.get()
            ),
            format!("use at least {rings} frames, or smaller rings"),
        ));
    }
    if let Some(level) = file.rings.fill_level
        && level.get() > u64::from(file.rings.fill.get())
    {
        found.push(contradiction(
            &["rings", "fill_level"],
            format!(
                "{} frames do not fit a fill ring of {}",
                level.get(),
                file.rings.fill.get()
            ),
            "lower it, or enlarge `fill`",
        ));
    }
    if file.rings.completion.get() < file.rings.tx.get() {
        found.push(contradiction(
            &["rings", "completion"],
            "the completion ring is smaller than the transmit ring, whose frames it takes back",
            format!("set it to {} or more", file.rings.tx.get()),
        ));
    }
}

fn addresses(file: &File, found: &mut Vec<Contradiction>) {
    let a = &file.addresses;
    match a.mode {
        AddressMode::Shared => {
            let mut meaningless = |key: &'static [&'static str], name| {
                found.push(contradiction(
                    key,
                    format!("`{name}` has no meaning with the mode \"shared\""),
                    "set mode to \"own\", or remove it",
                ));
            };
            if !a.own.is_empty() {
                meaningless(&["addresses", "own"], "own");
            }
            if !a.gateways.is_empty() {
                meaningless(&["addresses", "gateways"], "gateways");
            }
        }
        AddressMode::Own => {
            if a.own.is_empty() {
                found.push(contradiction(
                    &["addresses", "mode"],
                    "the mode \"own\" needs an address",
                    "add own = [\"192.0.2.7/24\"]",
                ));
            }
            let hosts: Vec<_> = a.own.iter().map(|c| c.address()).collect();
            if let Some(address) = repeated(&hosts) {
                found.push(contradiction(
                    &["addresses", "own"],
                    format!("{address} is listed twice"),
                    "list each once",
                ));
            }
            for gateway in &a.gateways {
                let reached = a.own.iter().any(|own| own.contains(*gateway));
                let link_local =
                    matches!(gateway, std::net::IpAddr::V6(g) if g.is_unicast_link_local());
                if hosts.contains(gateway) || !(reached || link_local) {
                    found.push(contradiction(
                        &["addresses", "gateways"],
                        if hosts.contains(gateway) {
                            format!("{gateway} is an address of our own, not a gateway")
                        } else {
                            format!("{gateway} is in the network of no address in `own`")
                        },
                        "a gateway is another host of a network that we are in",
                    ));
                }
            }
            for (family, v4) in [("IPv4", true), ("IPv6", false)] {
                if a.gateways.iter().filter(|g| g.is_ipv4() == v4).count() > 1 {
                    found.push(contradiction(
                        &["addresses", "gateways"],
                        format!("there are two {family} gateways"),
                        "list at most one of each family",
                    ));
                }
            }
        }
    }
}

fn tcp(file: &File, found: &mut Vec<Contradiction>) {
    let tcp = &file.tcp;
    if tcp.min_rto.get() > tcp.max_rto.get() {
        found.push(contradiction(
            &["tcp", "min_rto"],
            format!(
                "`min_rto` ({:?}) is above `max_rto` ({:?})",
                tcp.min_rto.get(),
                tcp.max_rto.get()
            ),
            "lower it",
        ));
    }
    if let OrOff::On(delay) = tcp.delayed_ack
        && delay.get() > tcp.min_rto.get()
    {
        found.push(contradiction(
            &["tcp", "delayed_ack"],
            format!(
                "acks delayed by {:?} make peers with our `min_rto` retransmit",
                delay.get()
            ),
            format!("set it to {:?} or less", tcp.min_rto.get()),
        ));
    }
    if !tcp.window_scale && tcp.receive_buffer.get() > 65_535 {
        found.push(contradiction(
            &["tcp", "window_scale"],
            format!(
                "without window scaling a receive buffer of {} cannot be used",
                size_text(tcp.receive_buffer.get())
            ),
            "set receive_buffer to 65535 or less, or window_scale to true",
        ));
    }
    if tcp.keepalive == OrOff::Off {
        for (key, given) in [
            (
                &["tcp", "keepalive_interval"],
                tcp.keepalive_interval.is_some(),
            ),
            (&["tcp", "keepalive_probes"], tcp.keepalive_probes.is_some()),
        ] {
            if given {
                found.push(Contradiction {
                    key,
                    message: format!("`{}` has no meaning while `keepalive` is \"off\"", key[1]),
                    hint: Some("set keepalive to a duration, or remove it".into()),
                });
            }
        }
    }
}

fn utp(file: &File, found: &mut Vec<Contradiction>) {
    let utp = &file.utp;
    if utp.min_rto.get() > utp.max_rto.get() {
        found.push(contradiction(
            &["utp", "min_rto"],
            format!(
                "`min_rto` ({:?}) is above `max_rto` ({:?})",
                utp.min_rto.get(),
                utp.max_rto.get()
            ),
            "lower it",
        ));
    }
    if utp.keepalive == OrOff::Off && utp.keepalive_probes.get() > 0 {
        found.push(contradiction(
            &["utp", "keepalive_probes"],
            "`keepalive_probes` has no meaning while `keepalive` is \"off\"",
            "set keepalive to a duration, or remove it",
        ));
    }
}

fn serve(file: &File, found: &mut Vec<Contradiction>) {
    let serve = &file.serve;
    if let Some(port) = repeated(&serve.utp_ports) {
        let message = format!("port {} is listed twice", port.get());
        found.push(contradiction(
            &["serve", "utp_ports"],
            message,
            "list each once",
        ));
    }
    if serve.ports.is_empty() && serve.utp_ports.is_empty() {
        found.push(contradiction(
            &["serve", "ports"],
            "no port is listed",
            "list at least one, here or in utp_ports",
        ));
    } else if let Some(port) = repeated(&serve.ports) {
        let message = format!("port {} is listed twice", port.get());
        found.push(contradiction(
            &["serve", "ports"],
            message,
            "list each once",
        ));
    }
    match (serve.token_scope, &serve.token_file) {
        (Some(_), None) => found.push(contradiction(
            &["serve", "token_scope"],
            "`token_scope` has no meaning without `token_file`",
            "add token_file, or remove it",
        )),
        (None | Some(TokenScope::Writes), Some(_)) if !serve.writable => {
            found.push(contradiction(
                &["serve", "token_file"],
                "the token guards writes, and nothing can be written",
                "set writable to true, or token_scope to \"all\"",
            ));
        }
        _ => {}
    }
    if file.limits.connections_per_address > file.limits.connections {
        found.push(contradiction(
            &["limits", "connections_per_address"],
            format!(
                "{} connections for one address are more than the {} for all",
                file.limits.connections_per_address.get(),
                file.limits.connections.get()
            ),
            "lower it",
        ));
    }
}
