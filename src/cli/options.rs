//! What a plan comes to for the parts that do the work.

use super::failure::{Exit, Failure};
use super::node::{EngineOptions, NodeOptions, Own};
use crate::config::{
    self, AddressMode, Attach, Bind, Congestion, Ecn, HugePages, IdleStrategy, MtuProbing, OrOff,
    Plan, RxChecksum, TokenScope,
};
use crate::congestion::Algorithm;
use crate::engine::{EngineConfig, Idle};
use crate::stack::route::{Prefix, Route};
use crate::transfer::app::ServerOptions;
use crate::transfer::serve::Scope;
use crate::xdp::{
    self, AttachMode, BindMode, Interface, LinkOptions, SteeringOptions, UmemOptions, VlanPolicy,
    XdpError,
};
use crate::{tcp, utp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a queue that another process is just giving up.
const QUEUE_WAIT: Duration = Duration::from_secs(2);

impl From<XdpError> for Failure {
    fn from(error: XdpError) -> Self {
        Self::new(Exit::Interface, error)
    }
}

/// The node of `plan`. Looks at the interface, which has to exist, for its
/// queues, and at the cores that this process may run on.
pub fn node(plan: &Plan) -> Result<NodeOptions, Failure> {
    let interface = Interface::read(plan.interface.as_str())?;
    let engines = plan.engines(interface.rx_queues, &cores()).map_err(|c| {
        let failure = Failure::new(Exit::Interface, c.message);
        c.hint.map_or(failure.clone(), |hint| failure.hint(hint))
    })?;
    let file = &plan.file;
    if let Some(mtu) = file.mtu
        && mtu.get() > u64::from(interface.mtu)
    {
        return Err(Failure::new(
            Exit::Interface,
            format!(
                "an MTU of {} is above that of {}, {}",
                mtu.get(),
                plan.interface,
                interface.mtu
            ),
        )
        .hint(format!(
            "lower it, or `ip link set {} mtu {}`",
            plan.interface,
            mtu.get()
        )));
    }
    let rings = &file.rings;
    Ok(NodeOptions {
        engines: engines
            .into_iter()
            .map(|e| EngineOptions {
                queues: e.queues,
                core: e.core.map(|c| c as usize),
            })
            .collect(),
        steering: SteeringOptions {
            mode: attach(file.attach),
            vlan: match file.vlan {
                None => VlanPolicy::Untagged,
                Some(id) => VlanPolicy::Only(small(id.get())),
            },
            take_all: false,
        },
        umem: UmemOptions {
            chunks: small(file.umem.frames.get()),
            chunk_size: file.umem.chunk.get(),
            huge_pages: match file.huge_pages {
                HugePages::Require => xdp::HugePages::Require,
                HugePages::Try => xdp::HugePages::Try,
                HugePages::Off => xdp::HugePages::Off,
            },
            fill_ring: rings.fill.get(),
            completion_ring: rings.completion.get(),
        },
        link: LinkOptions {
            bind: bind(file.bind),
            rx_ring: rings.rx.get(),
            tx_ring: rings.tx.get(),
            fill: rings.fill_level.map(|level| small(level.get())),
            queue_wait: QUEUE_WAIT,
        },
        own: (file.addresses.mode == AddressMode::Own).then(|| own(&file.addresses)),
        mtu: file.mtu.map(|mtu| small(mtu.get())),
        vlan: file.vlan.map(|id| small(id.get())),
        verify: file.rx_checksum == RxChecksum::Verify,
        engine: EngineConfig {
            tcp: Arc::new(tcp(&file.tcp)),
            utp: Arc::new(utp(&file.utp)),
            max_flows: small(file.limits.connections.get()),
            seed: seed()?,
            drain: file.limits.drain.get(),
            idle: match file.idle.strategy {
                IdleStrategy::Busy => Idle::Busy,
                IdleStrategy::Adaptive => Idle::Adaptive {
                    spin: plan.spin.unwrap_or(Duration::ZERO),
                },
                IdleStrategy::Sleep => Idle::Sleep,
            },
            pace: file
                .idle
                .pace
                .on()
                .map_or(Duration::ZERO, config::Span::get),
            ..EngineConfig::default()
        },
        pcap: file.pcap.clone(),
        faults: file.fault,
        ..NodeOptions::new(plan.interface.as_str().to_owned())
    })
}

/// The server of `plan` for the directory `dir`.
pub fn server(plan: &Plan, dir: PathBuf) -> Result<ServerOptions, Failure> {
    let file = &plan.file;
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let mut options = ServerOptions::new(dir);
    let at = |ports: &[config::Count<1, 65_535>]| {
        ports
            .iter()
            .flat_map(|port| any.map(|ip| SocketAddr::new(ip, small(port.get()))))
            .collect()
    };
    options.listen = at(&file.serve.ports);
    options.listen_utp = at(&file.serve.utp_ports);
    options.backlog = small(file.tcp.backlog.get());
    options.backlog_utp = small(file.utp.backlog.get());
    options.writable = file.serve.writable;
    options.token_file.clone_from(&file.serve.token_file);
    options.token_scope = match plan.token_scope {
        Some(TokenScope::All) => Scope::Everything,
        Some(TokenScope::Writes) | None => Scope::Writes,
    };
    options.disk.io_threads = small(file.serve.disk_threads.get());
    options.max_head = small(file.limits.header_size.get());
    options.max_upload = file
        .limits
        .upload_size
        .on()
        .map_or(u64::MAX, config::Size::get);
    options.max_connections = small(file.limits.connections.get());
    options.max_connections_per_address = small(file.limits.connections_per_address.get());
    options.header_timeout = file.limits.header_timeout.get();
    options.idle_timeout = file.limits.idle_timeout.get();
    options.min_rate = file.limits.min_rate.on().map_or(0, config::Size::get);
    options.rate_window = file.limits.rate_window.get();
    let seed = seed()?;
    options.seed = u64::from_le_bytes([
        seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7],
    ]);
    Ok(options)
}

/// Where the steering program is to run.
pub const fn attach(attach: Attach) -> AttachMode {
    match attach {
        Attach::Native => AttachMode::Native,
        Attach::Generic => AttachMode::Generic,
        Attach::Auto => AttachMode::Auto,
    }
}

/// How sockets are to share memory with the driver.
pub const fn bind(bind: Bind) -> BindMode {
    match bind {
        Bind::ZeroCopy => BindMode::ZeroCopy,
        Bind::Copy => BindMode::Copy,
        Bind::Auto => BindMode::Auto,
    }
}

/// The congestion controller.
pub const fn algorithm(congestion: Congestion) -> Algorithm {
    match congestion {
        Congestion::Reno => Algorithm::Reno,
        Congestion::Cubic => Algorithm::Cubic,
        Congestion::Tolerant => Algorithm::Tolerant,
        Congestion::Westwood => Algorithm::Westwood,
        Congestion::Ledbat => Algorithm::Ledbat,
        Congestion::LedbatPlusPlus => Algorithm::LedbatPlusPlus,
    }
}

fn own(addresses: &config::Addresses) -> Own {
    let anywhere = |v4| {
        let ip = if v4 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        Prefix::new(ip, 0)
    };
    Own {
        addresses: addresses
            .own
            .iter()
            .filter_map(|a| Prefix::new(a.address(), a.prefix()))
            .collect(),
        routes: addresses
            .gateways
            .iter()
            .filter_map(|g| Some(Route::new(anywhere(g.is_ipv4())?, Some(*g))))
            .collect(),
    }
}

fn tcp(tcp: &config::Tcp) -> tcp::Config {
    let default = tcp::Config::default();
    tcp::Config {
        pacing: tcp.pacing,
        congestion: algorithm(tcp.congestion),
        delay_target: tcp.delay_target.map(config::Span::get),
        initial_window: small(tcp.initial_window.get()),
        recv_buffer: small(tcp.receive_buffer.get()),
        send_buffer: small(tcp.send_buffer.get()),
        window_scaling: tcp.window_scale,
        timestamps: tcp.timestamps,
        sack: tcp.sack,
        ecn: match tcp.ecn {
            Ecn::Off => tcp::Ecn::Off,
            Ecn::Accept => tcp::Ecn::Accept,
            Ecn::Request => tcp::Ecn::Request,
        },
        syn_cookies: tcp.syn_cookies,
        nodelay: tcp.no_delay,
        mtu_probing: match tcp.mtu_probing {
            MtuProbing::Off => tcp::MtuProbing::Off,
            MtuProbing::BlackHole => tcp::MtuProbing::BlackHole,
            MtuProbing::On => tcp::MtuProbing::On,
        },
        max_segment: tcp.max_segment.map(|n| small(n.get())),
        defer_accept: tcp.defer_accept.on().map(config::Span::get),
        delayed_ack: match tcp.delayed_ack {
            OrOff::On(delay) => delay.get(),
            OrOff::Off => Duration::ZERO,
        },
        ack_segments: small(tcp.ack_segments.get()),
        unsent_buffer: small(tcp.unsent_buffer.get()),
        min_rto: tcp.min_rto.get(),
        max_rto: tcp.max_rto.get(),
        retries: small(tcp.retries.get()),
        orphan_retries: small(tcp.orphan_retries.get()),
        slow_start_after_idle: tcp.slow_start_after_idle,
        challenge_acks: small(tcp.challenge_acks.get()),
        syn_retries: small(tcp.syn_retries.get()),
        synack_retries: small(tcp.synack_retries.get()),
        user_timeout: tcp.user_timeout.on().map(config::Span::get),
        keepalive: tcp.keepalive.on().map(config::Span::get),
        keepalive_interval: tcp
            .keepalive_interval
            .map_or(default.keepalive_interval, config::Span::get),
        keepalive_probes: tcp
            .keepalive_probes
            .map_or(default.keepalive_probes, |n| small(n.get())),
        time_wait: tcp.time_wait.get(),
        fin_wait_2: tcp.fin_wait_2.get(),
    }
}

fn utp(utp: &config::Utp) -> utp::Config {
    utp::Config {
        congestion: algorithm(utp.congestion),
        delay_target: utp.delay_target.map(config::Span::get),
        pacing: utp.pacing,
        initial_window: small(utp.initial_window.get()),
        recv_buffer: small(utp.receive_buffer.get()),
        send_buffer: small(utp.send_buffer.get()),
        unsent_buffer: small(utp.unsent_buffer.get()),
        max_packets: small(utp.max_packets.get()),
        reorder_packets: small(utp.reorder_packets.get()),
        max_payload: utp.max_payload.map(|n| small(n.get())),
        mtu_probing: utp.mtu_probing,
        mtu_raise: utp.mtu_raise.get(),
        nodelay: utp.no_delay,
        delayed_ack: match utp.delayed_ack {
            OrOff::On(delay) => delay.get(),
            OrOff::Off => Duration::ZERO,
        },
        ack_packets: small(utp.ack_packets.get()),
        challenge_acks: small(utp.challenge_acks.get()),
        initial_rto: utp.initial_rto.get(),
        min_rto: utp.min_rto.get(),
        max_rto: utp.max_rto.get(),
        syn_timeout: utp.syn_timeout.get(),
        syn_retries: small(utp.syn_retries.get()),
        accept_timeout: utp.accept_timeout.get(),
        retries: small(utp.retries.get()),
        user_timeout: utp.user_timeout.on().map(config::Span::get),
        window_probe: utp.window_probe.get(),
        keepalive: utp.keepalive.on().map(config::Span::get),
        keepalive_interval: None,
        keepalive_probes: small(utp.keepalive_probes.get()),
        linger: utp.linger.get(),
        fin_wait: utp.fin_wait.get(),
    }
}

/// A number that the configuration has bounded already, in a smaller type.
fn small<T: TryFrom<u64> + Bounded>(n: u64) -> T {
    T::try_from(n).unwrap_or(T::MOST)
}

trait Bounded {
    const MOST: Self;
}

macro_rules! bounded {
    ($($t:ty)+) => { $(impl Bounded for $t { const MOST: Self = Self::MAX; })+ };
}
bounded!(u8 u16 u32 usize);

/// Cores that this process may run on, in order.
pub fn cores() -> Vec<u32> {
    let mut cores: Vec<u32> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|core| u32::try_from(core.id).ok())
        .collect();
    cores.sort_unstable();
    cores
}

/// What all secrets come from: the operating system's entropy.
pub fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    let file = std::fs::File::open("/dev/urandom");
    file.and_then(|mut f| std::io::Read::read_exact(&mut f, &mut seed))
        .map_err(|e| Failure::new(Exit::Failed, format!("/dev/urandom cannot be read: {e}")))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn plan(text: &str) -> Plan {
        let text = format!("interface = \"lo\"\n{text}");
        Source::parse(std::path::Path::new("f.toml"), text)
            .unwrap()
            .plan()
            .unwrap()
    }

    #[test]
    fn the_defaults_of_a_configuration_are_those_of_tcp() {
        let ours = tcp(&config::Tcp::default());
        let theirs = tcp::Config {
            nodelay: true,
            ..tcp::Config::default()
        };
        assert_eq!(ours, theirs);
    }

    #[test]
    fn the_defaults_of_a_configuration_are_those_of_utp() {
        let ours = utp(&config::Utp::default());
        let theirs = utp::Config {
            nodelay: true,
            ..utp::Config::default()
        };
        assert_eq!(ours, theirs);
    }

    #[test]
    fn own_addresses_bring_their_default_route() {
        let plan = plan(
            "[addresses]\nmode = \"own\"\nown = [\"192.0.2.7/24\", \"2001:db8::7/64\"]\n\
             gateways = [\"192.0.2.1\"]",
        );
        let own = own(&plan.file.addresses);
        assert_eq!(own.addresses.len(), 2);
        assert_eq!(own.routes.len(), 1);
    }

    #[test]
    fn a_server_listens_on_every_port_of_both_families() {
        let text = "[serve]\nports = [80, 8080]\nutp_ports = [6881]";
        let options = server(&plan(text), ".".into()).unwrap();
        let [v4, v6] = &options.listen_utp[..] else {
            panic!("{:?}", options.listen_utp);
        };
        assert_eq!((v4.port(), v6.port(), v6.is_ipv6()), (6881, 6881, true));
        let ports: Vec<_> = options
            .listen
            .iter()
            .map(|a| (a.is_ipv4(), a.port()))
            .collect();
        assert_eq!(
            ports,
            [(true, 80), (false, 80), (true, 8080), (false, 8080)]
        );
    }
}
