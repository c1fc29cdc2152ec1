//! A world, as it follows from its seed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::tcp::{self, Ecn};
use fullbore::time::Instant;
use fullbore::utp;

use crate::line::{Condition, Loss};
use crate::network::Sabotage;
use crate::nic::Rings;
use crate::rng::Rng;
use crate::script::Dialog;

/// When every world begins.
pub const START: Instant = Instant::from_millis(1000);

/// One host.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// Engines that share its address.
    pub engines: usize,
    pub mtu: u16,
    pub frames: u32,
    pub tcp: tcp::Config,
    pub utp: utp::Config,
    pub batch: usize,
    pub tx_queue: usize,
    pub max_flows: usize,
    pub backlog: usize,
    pub ports: RangeInclusive<u16>,
    pub rings: Rings,
    /// How long a turn in which something happened takes.
    pub turn: Duration,
    /// Spans in which nobody listens.
    pub away: Vec<(Instant, Instant)>,
    /// Spans in which the host does not run: its clock jumps forward.
    pub asleep: Vec<(Instant, Instant)>,
    pub up: Vec<(Instant, Condition)>,
    pub down: Vec<(Instant, Condition)>,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub v6: bool,
    pub hosts: Vec<HostPlan>,
    pub dialogs: Vec<Dialog>,
    /// Engines are stopped after so long, whatever goes on.
    pub stop_after: Option<Duration>,
    pub sabotage: Option<Sabotage>,
}

/// What sort of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Small,
    Star,
    Bulk,
    Large,
    Churn,
    Queues,
    Mutual,
}

/// The port of those that open to each other.
pub const MUTUAL: u16 = 50_000;

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let kind = match rng.below(100) {
            0..45 => Kind::Small,
            45..65 => Kind::Star,
            65..82 => Kind::Bulk,
            82..84 => Kind::Large,
            84..92 => Kind::Churn,
            92..94 => Kind::Mutual,
            _ => Kind::Queues,
        };
        let clients = match kind {
            Kind::Star => rng.range(2, 4),
            Kind::Churn | Kind::Queues => rng.range(1, 2),
            _ => 1,
        } as usize;
        let (dialogs, most) = match kind {
            Kind::Small => (rng.range(1, 3), 20_000),
            Kind::Star => (rng.range(2, 8), 30_000),
            Kind::Bulk => (rng.range(1, 2), 250_000),
            Kind::Large => (1, 1_500_000),
            Kind::Churn => (rng.range(8, 30), 3_000),
            Kind::Queues => (rng.range(2, 8), 30_000),
            Kind::Mutual => (1, 20_000),
        };
        let reuse = kind == Kind::Churn && rng.one_in(2);
        let bad = !rng.one_in(4);
        let v6 = rng.one_in(4);
        let hosts = (0..=clients)
            .map(|i| {
                let bad = bad && (i == 0 || rng.one_in(2));
                let mut host = HostPlan::draw(&mut rng, bad, v6);
                if kind == Kind::Queues && (i == 0 || rng.one_in(2)) {
                    host.engines = rng.range(2, 3) as usize;
                }
                if kind == Kind::Mutual {
                    host.ports = MUTUAL..=MUTUAL;
                    host.away.clear();
                }
                if reuse {
                    host.away.clear();
                    host.ports = 50_000..=50_000 + rng.below(4) as u16;
                    host.tcp.timestamps = true;
                }
                host
            })
            .collect::<Vec<_>>();
        let hosts = with_long_frames(hosts, seed);
        let rude = !reuse && rng.one_in(2);
        let most = most.min(hosts.iter().map(HostPlan::enough).min().unwrap_or(most));
        let dialogs = (0..dialogs)
            .map(|_| {
                let client = 1 + rng.below(clients as u64) as usize;
                // Both may open, and the server's role moves.
                let ends = if rng.one_in(8) && !reuse {
                    (0, client)
                } else {
                    (client, 0)
                };
                let mut dialog = Dialog::draw(&mut rng, ends, most, rude);
                if kind == Kind::Mutual {
                    (dialog.client, dialog.server) = (1, 0);
                    (dialog.mutual, dialog.refused) = (true, false);
                }
                dialog
            })
            .collect();
        let (hosts, dialogs) = if kind == Kind::Mutual {
            (hosts, dialogs)
        } else {
            with_utp(hosts, dialogs, seed)
        };
        Self {
            seed,
            v6,
            hosts,
            dialogs,
            stop_after: rng
                .one_in(20)
                .then(|| rng.skewed_time(Duration::from_secs(10))),
            sabotage: None,
        }
    }

    /// The address of a host, and the length of its network's prefix.
    pub fn address(&self, host: usize) -> (IpAddr, u8) {
        let last = host as u8 + 1;
        if self.v6 {
            (
                Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, last.into()).into(),
                64,
            )
        } else {
            (Ipv4Addr::new(10, 1, 0, last).into(), 16)
        }
    }

    /// Every condition of the lines of two hosts.
    fn conditions(&self, hosts: [usize; 2]) -> impl Iterator<Item = &Condition> {
        hosts.into_iter().flat_map(|h| {
            let host = &self.hosts[h];
            host.up.iter().chain(&host.down).map(|(_, c)| c)
        })
    }

    /// Whether nothing can get lost between two hosts: no excuses.
    pub fn is_pristine(&self, hosts: [usize; 2]) -> bool {
        self.loss(hosts) == 0
            && !self.is_harsh(hosts)
            && self
                .conditions(hosts)
                .all(|c| c.rate.is_none() && c.mtu >= 1500)
            && hosts.iter().all(|h| {
                let h = &self.hosts[*h];
                h.asleep.is_empty()
                    && h.away.is_empty()
                    && h.rings.stuck.is_empty()
                    && h.frames >= 256
            })
    }

    /// The worst mean loss between two hosts, in millionths, both ways.
    pub fn loss(&self, hosts: [usize; 2]) -> u32 {
        let worst = |lines: &[(Instant, Condition)]| {
            let of = |c: &Condition| c.loss.mean() + c.corrupt;
            lines.iter().map(|(_, c)| of(c)).max().unwrap_or(0)
        };
        hosts
            .iter()
            .map(|h| worst(&self.hosts[*h].up) + worst(&self.hosts[*h].down))
            .sum()
    }

    /// The same of a connection over uTP. Large packets that are on their way
    /// when that becomes narrow are lost for good.
    pub fn is_harsh_for_utp(&self, hosts: [usize; 2]) -> bool {
        let narrows = |lines: &[(Instant, Condition)]| {
            let mut pairs = lines.windows(2);
            pairs.any(|pair| pair[1].1.mtu < pair[0].1.mtu)
        };
        self.is_harsh(hosts)
            || hosts.iter().any(|h| {
                let h = &self.hosts[*h];
                let utp = &h.utp;
                let few = h.max_flows < 64 || h.frames < 192;
                few || utp.user_timeout.is_some()
                    || (utp.keepalive.is_some() && utp.keepalive_probes > 0)
                    || narrows(&h.up)
                    || narrows(&h.down)
            })
    }

    /// Whether a connection between two hosts may fail without anybody's
    /// fault.
    pub fn is_harsh(&self, hosts: [usize; 2]) -> bool {
        let awful = |c: &Condition| !c.up || matches!(c.loss, Loss::Bursts { .. });
        self.loss(hosts) > 120_000
            || self.conditions(hosts).any(awful)
            || hosts.iter().any(|h| {
                let h = &self.hosts[*h];
                let nap = |(from, to): &(Instant, Instant)| to.since(*from).as_secs() > 0;
                let tcp = &h.tcp;
                // Room made in TIME-WAIT, and silence while cookies are out.
                let forgetful = h.max_flows < 64 && tcp.syn_cookies;
                forgetful
                    || h.frames < 128
                    || h.asleep.iter().any(nap)
                    || tcp.user_timeout.is_some()
                    || tcp.keepalive.is_some()
            })
    }
}

/// Gives some hosts an MTU of several chunks, where every way takes such frames
/// and there are frames enough. Drawn apart, so that seeds keep their worlds.
fn with_long_frames(mut hosts: Vec<HostPlan>, seed: u64) -> Vec<HostPlan> {
    let mut rng = Rng::new(seed, 3000);
    let wide = |host: &HostPlan| {
        let mut all = host.up.iter().chain(&host.down);
        host.frames >= 512 && all.all(|(_, c)| c.mtu >= LONG)
    };
    if rng.one_in(3) && hosts.iter().all(wide) {
        for host in &mut hosts {
            if rng.one_in(2) {
                host.mtu = rng.pick(&[3000, 4500, LONG, LONG]);
            }
        }
    }
    hosts
}

/// Has some dialogs of some worlds be over uTP. Drawn apart, so that seeds keep
/// their worlds.
fn with_utp(
    mut hosts: Vec<HostPlan>,
    mut dialogs: Vec<Dialog>,
    seed: u64,
) -> (Vec<HostPlan>, Vec<Dialog>) {
    let mut rng = Rng::new(seed, 3001);
    let some = rng.below(6);
    let mut over = || match some {
        0 => true,
        1 => rng.one_in(2),
        _ => false,
    };
    for dialog in &mut dialogs {
        dialog.utp = over();
    }
    if dialogs.iter().all(|d| !d.utp) {
        return (hosts, dialogs);
    }
    let narrow = |host: &HostPlan| {
        let mut ways = host.up.iter().chain(&host.down);
        ways.any(|(_, c)| c.mtu < 1500)
    };
    let wide = !hosts.iter().any(narrow) && hosts.iter().all(|h| h.mtu == hosts[0].mtu);
    for host in &mut hosts {
        host.utp = utp_settings(&mut rng, wide);
    }
    for dialog in dialogs.iter_mut().filter(|d| d.utp) {
        let buffers = [dialog.client, dialog.server].map(|h| hosts[h].utp.send_buffer);
        let most = buffers[0].min(buffers[1]) as usize * 300;
        for side in &mut dialog.sides {
            side.total = side.total.min(most);
        }
    }
    (hosts, dialogs)
}

/// `wide`: every way takes the largest packets that hosts send.
fn utp_settings(rng: &mut Rng, wide: bool) -> utp::Config {
    let seconds = Duration::from_secs;
    utp::Config {
        congestion: rng.pick(&Algorithm::ALL),
        pacing: rng.one_in(3),
        initial_window: rng.pick(&[1, 2, 4, 10, 10]),
        recv_buffer: 500 + rng.skewed(1 << 20) as u32,
        send_buffer: 500 + rng.skewed(1 << 20) as u32,
        unsent_buffer: rng.pick(&[1000, 16 << 10, 256 << 10]),
        max_packets: rng.pick(&[4, 64, 1024, 4096]),
        reorder_packets: rng.pick(&[16, 200, 1024, 4096]),
        max_payload: rng.one_in(16).then(|| rng.range(1, 1400) as u16),
        mtu_probing: !wide || !rng.one_in(3),
        nodelay: rng.one_in(2),
        delayed_ack: Duration::from_millis(rng.pick(&[0, 1, 40, 40, 200])),
        min_rto: Duration::from_millis(rng.pick(&[50, 200, 500, 500, 1000])),
        max_rto: seconds(rng.pick(&[5, 10, 60])),
        // Whoever gives up is to be at fault.
        retries: 20,
        syn_retries: rng.pick(&[2, 6]),
        keepalive: rng.one_in(8).then(|| seconds(rng.range(1, 30))),
        keepalive_probes: rng.pick(&[0, 5]),
        user_timeout: rng.one_in(30).then(|| seconds(rng.range(1, 60))),
        window_probe: seconds(rng.pick(&[1, 15])),
        linger: seconds(rng.pick(&[10, 30])),
        ..utp::Config::default()
    }
}

/// The largest packets that ways take.
const LONG: u16 = 9000;

impl HostPlan {
    /// Bytes that do not take for ever through its smallest bottleneck.
    fn enough(&self) -> u64 {
        let windows = self.up.iter().filter_map(|(_, c)| c.clamp);
        let window = windows.min().map_or(u32::MAX, u32::from);
        u64::from(window.min(self.tcp.send_buffer.max(1))) * 300
    }

    fn draw(rng: &mut Rng, bad: bool, v6: bool) -> Self {
        let odd = rng.one_in(3);
        let smallest = if v6 { 1280 } else { 576 };
        let mut spans = |n: u64, most: Duration| -> Vec<(Instant, Instant)> {
            (0..rng.below(n))
                .map(|_| {
                    let from = START + rng.skewed_time(Duration::from_secs(20));
                    (from, from + rng.skewed_time(most))
                })
                .collect()
        };
        let away = if odd {
            spans(2, Duration::from_secs(5))
        } else {
            Vec::new()
        };
        let (asleep, stuck) = if odd {
            (
                spans(3, Duration::from_secs(60)),
                spans(3, Duration::from_millis(60)),
            )
        } else {
            (Vec::new(), Vec::new())
        };
        let down_bad = bad && rng.one_in(2);
        Self {
            engines: 1,
            mtu: if odd {
                rng.range(smallest, 1500) as u16
            } else {
                1500
            },
            frames: match rng.below(6) {
                0 => 24 + rng.below(100) as u32,
                1 => 128 + rng.below(128) as u32,
                _ => 512,
            },
            tcp: settings(rng),
            utp: utp::Config::default(),
            batch: rng.range(1, 64) as usize,
            tx_queue: rng.range(8, 128) as usize,
            max_flows: if rng.one_in(10) { 4 } else { 1024 },
            backlog: if rng.one_in(4) { 1 } else { 64 },
            ports: 49152..=65535,
            rings: Rings {
                rx: rng.pick(&[32, 256, 4096]),
                tx: rng.pick(&[1, 16, 256, 256]),
                complete: if odd {
                    rng.skewed_time(Duration::from_millis(5))
                } else {
                    Duration::ZERO
                },
                stuck,
            },
            turn: Duration::from_micros(rng.pick(&[1, 5, 20, 100])),
            away,
            asleep,
            up: line(rng, bad, smallest as u16),
            down: line(rng, down_bad, smallest as u16),
        }
    }
}

/// Conditions of a line, the first from the start.
fn line(rng: &mut Rng, bad: bool, smallest: u16) -> Vec<(Instant, Condition)> {
    let delay = if rng.one_in(20) {
        rng.skewed_time(Duration::from_millis(800))
    } else {
        rng.skewed_time(Duration::from_millis(60))
    };
    let mut c = Condition {
        delay,
        jitter: rng.time(delay / 4),
        late: Duration::from_micros(rng.skewed(30_000)),
        ..Condition::default()
    };
    let some = |rng: &mut Rng, n: u64, most: u64| {
        if rng.one_in(n) {
            rng.skewed(most) as u32
        } else {
            0
        }
    };
    c.duplicate = some(rng, 3, 100_000);
    c.reorder = some(rng, 3, 300_000);
    c.mark = some(rng, 4, 200_000);
    if rng.one_in(8) {
        c.rate = Some((100_000 << rng.below(12), rng.range(4, 300) as usize));
    }
    if rng.one_in(16) {
        c.clamp = Some(rng.skewed(4000).max(1) as u16);
    }
    if rng.one_in(6) {
        c.mtu = rng.range(smallest.into(), 1500) as u16;
    }
    if bad {
        c.loss = loss(rng);
        c.corrupt = some(rng, 3, 20_000);
    }
    let mut all = vec![(START, c)];
    if !rng.one_in(3) {
        return all;
    }
    let mut at = START;
    for _ in 0..rng.range(1, 3) {
        at += rng.skewed_time(Duration::from_secs(10));
        let usual = c;
        match rng.below(5) {
            0 => c.mtu = rng.range(smallest.into(), 1500) as u16,
            1 => c.delay = rng.skewed_time(Duration::from_millis(200)),
            2 => c.rate = Some((100_000 << rng.below(12), rng.range(4, 300) as usize)),
            3 if bad => c.loss = loss(rng),
            _ if bad => {
                c.up = false;
                all.push((at, c));
                at += rng.skewed_time(Duration::from_secs(240));
                c = usual;
            }
            _ => c.duplicate = 200_000,
        }
        all.push((at, c));
    }
    all
}

fn loss(rng: &mut Rng) -> Loss {
    match rng.below(4) {
        0 => Loss::Bursts {
            enter: rng.skewed(30_000) as u32,
            leave: rng.range(100_000, 900_000) as u32,
            inside: rng.range(300_000, 1_000_000) as u32,
        },
        1 => Loss::Even(rng.below(300_000) as u32),
        _ => Loss::Even(rng.skewed(100_000) as u32),
    }
}

fn settings(rng: &mut Rng) -> tcp::Config {
    let seconds = Duration::from_secs;
    let keepalive = rng.one_in(8);
    tcp::Config {
        congestion: rng.pick(&Algorithm::ALL),
        initial_window: rng.pick(&[1, 2, 4, 10, 10]),
        recv_buffer: rng.skewed(1 << 21) as u32,
        send_buffer: rng.skewed(1 << 21) as u32,
        window_scaling: !rng.one_in(4),
        timestamps: !rng.one_in(4),
        sack: !rng.one_in(4),
        syn_cookies: !rng.one_in(3),
        nodelay: rng.one_in(2),
        delayed_ack: Duration::from_millis(rng.pick(&[1, 40, 40, 200, 499])),
        min_rto: Duration::from_millis(rng.pick(&[10, 200, 200, 1000])),
        max_rto: seconds(rng.pick(&[2, 10, 60, 120])),
        time_wait: seconds(rng.pick(&[10, 60])),
        ecn: rng.pick(&[Ecn::Off, Ecn::Accept, Ecn::Request, Ecn::Request]),
        max_segment: rng.one_in(16).then(|| rng.range(1, 1500) as u16),
        defer_accept: rng.one_in(16).then(|| rng.skewed_time(seconds(3))),
        keepalive: keepalive.then(|| seconds(rng.range(1, 30))),
        keepalive_interval: seconds(rng.range(1, 10)),
        user_timeout: rng.one_in(30).then(|| seconds(rng.range(1, 60))),
        ..tcp::Config::default()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "world {} ({})",
            self.seed,
            if self.v6 { "IPv6" } else { "IPv4" }
        )?;
        for (i, h) in self.hosts.iter().enumerate() {
            writeln!(f, "host {i} at {}: {h:#?}", self.address(i).0)?;
        }
        for (i, d) in self.dialogs.iter().enumerate() {
            writeln!(f, "dialog {i}: {d:?}")?;
        }
        if let Some(after) = self.stop_after {
            writeln!(f, "engines are stopped after {after:?}")?;
        }
        if let Some(sabotage) = self.sabotage {
            writeln!(f, "defect built in: {sabotage:?}")?;
        }
        Ok(())
    }
}
