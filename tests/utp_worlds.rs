//! Whole engines that speak uTP, in virtual time, on a wire that loses, repeats,
//! reorders, corrupts and delays, with frames that may run short. Every byte has to
//! arrive once and in order, every connection to end as it should, and every frame
//! to come back. A world follows from its seed, which a failure prints.
//!
//! `FULLBORE_UTP_WORLDS=100000` runs more of them, `FULLBORE_UTP_SEED=77` one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::engine::sim::{Host, Turns, World};
use fullbore::engine::{
    Application, ConnectOptions, Context, Flow, ListenOptions, Reason, Transport,
};
use fullbore::link::MemoryLink;
use fullbore::link::fault::{Direction, FaultLink, FaultSettings};
use fullbore::stack::route::Prefix;
use fullbore::utp;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// The first port; a dialog has one of its own.
const PORT: u16 = 1000;
/// Worlds of a run of all tests.
const WORLDS: u64 = 1500;
/// The longest that a world may take.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A byte of a stream.
fn content(dialog: usize, side: usize, at: usize) -> u8 {
    let x = (at as u32 ^ (dialog as u32) << 24 ^ (side as u32) << 30).wrapping_mul(0x9e37_79b1);
    (x >> 24) as u8 ^ (x >> 11) as u8
}

/// One end of a dialog.
#[derive(Clone, Debug, Default)]
struct End {
    /// Bytes to say and to hear.
    say: usize,
    hear: usize,
    said: usize,
    heard: usize,
    shut: bool,
    peer_shut: bool,
    closed: Option<Reason>,
}

struct Peer {
    /// 0 for the client.
    side: usize,
    ends: Vec<End>,
    /// When the client opens each.
    at: Vec<Duration>,
    config: Arc<utp::Config>,
    flows: HashMap<Flow, usize>,
    rng: Rng,
    wrong: Option<String>,
}

impl Peer {
    fn say(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let Some(&dialog) = self.flows.get(&flow) else {
            return;
        };
        let end = &mut self.ends[dialog];
        while end.said < end.say {
            let want = (1 + self.rng.below(9000) as usize).min(end.say - end.said);
            let block: Vec<u8> = (end.said..end.said + want)
                .map(|at| content(dialog, self.side, at))
                .collect();
            let taken = cx.send(flow, &block);
            end.said += taken;
            if taken < want {
                return;
            }
        }
        if !end.shut {
            end.shut = true;
            cx.shutdown(flow);
        }
    }

    fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

impl Application for Peer {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        for n in 0..self.ends.len() {
            if self.side == 0 {
                cx.set_timer(None, n as u64, self.at[n]);
            } else {
                let options = ListenOptions::new(Transport::Utp, 64);
                let at = SocketAddr::new(SERVER, PORT + n as u16);
                cx.listen_with(at, options).expect("a free port");
            }
        }
    }

    fn timer(&mut self, cx: &mut Context<'_, ()>, _: Option<Flow>, token: u64) {
        let n = token as usize;
        let options = ConnectOptions {
            transport: Transport::Utp,
            utp: Some(Arc::clone(&self.config)),
            ..ConnectOptions::default()
        };
        match cx.connect_with(SocketAddr::new(SERVER, PORT + n as u16), &options) {
            Ok(flow) => {
                self.flows.insert(flow, n);
            }
            // Frames are short.
            Err(_) => {
                cx.set_timer(None, token, Duration::from_millis(100));
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
        self.flows.insert(flow, usize::from(at.port() - PORT));
        true
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.say(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.say(cx, flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        let Some(&dialog) = self.flows.get(&flow) else {
            return;
        };
        while let Some(chunk) = cx.recv_chunk(flow) {
            let n = 1 + self.rng.below(chunk.len() as u64) as usize;
            let heard = self.ends[dialog].heard;
            let other = 1 - self.side;
            let differs = (0..n).find(|k| chunk[*k] != content(dialog, other, heard + k));
            cx.recv_consume(flow, n);
            self.ends[dialog].heard += n;
            if let Some(k) = differs {
                self.fail(format!("dialog {dialog}: a wrong byte {}", heard + k));
            }
        }
        self.say(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.readable(cx, flow);
        if let Some(&dialog) = self.flows.get(&flow) {
            self.ends[dialog].peer_shut = true;
        }
    }

    fn closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow, reason: Reason) {
        let Some(dialog) = self.flows.remove(&flow) else {
            return self.fail(format!("an unknown connection has ended: {reason}"));
        };
        let end = &mut self.ends[dialog];
        // Every question for the peer's Ethernet address was lost: tries again.
        if reason == Reason::Unreachable && self.side == 0 && end.said + end.heard == 0 {
            cx.set_timer(None, dialog as u64, Duration::from_secs(1));
            return;
        }
        let twice = end.closed.replace(reason).is_some();
        let (end, side) = (end.clone(), self.side);
        if twice {
            self.fail(format!("dialog {dialog} has ended twice"));
        } else if reason == Reason::TimedOut && end.shut && end.peer_shut && end.said == end.say {
            // The last acknowledgement was lost, and the peer has lingered: all
            // has arrived if it says so.
        } else if reason != Reason::Finished || end.heard != end.hear || !end.peer_shut {
            self.fail(format!(
                "dialog {dialog}, side {side}, ends with {reason}: {end:?}"
            ));
        }
    }
}

/// What goes wrong in one direction.
fn direction(r: &mut Rng) -> Direction {
    let part = |r: &mut Rng, most: u64| {
        if r.one_in(2) {
            0.0
        } else {
            r.below(most) as f64 / 1000.0
        }
    };
    Direction {
        loss: part(r, 120),
        duplicate: part(r, 100),
        reorder: part(r, 200),
        corrupt: part(r, 20),
        delay: Duration::from_micros(r.below(40_000)),
        jitter: Duration::from_micros(if r.one_in(2) { 0 } else { r.below(5_000) }),
        lateness: Duration::from_micros(r.below(20_000)),
        rate: r.one_in(2).then(|| 200_000 + r.below(50_000_000)),
        queue: 5 + r.below(200) as usize,
    }
}

fn config(r: &mut Rng) -> utp::Config {
    utp::Config {
        congestion: Algorithm::ALL[r.below(Algorithm::ALL.len() as u64) as usize],
        pacing: r.one_in(3),
        nodelay: r.one_in(2),
        mtu_probing: !r.one_in(3),
        recv_buffer: 3000 + r.below(200_000) as u32,
        send_buffer: 3000 + r.below(200_000) as u32,
        reorder_packets: [16, 200, 4096][r.below(3) as usize],
        initial_window: 1 + r.below(10) as u32,
        // Nobody is to give up: what ends is to have arrived.
        syn_retries: 100,
        retries: 100,
        max_rto: Duration::from_secs(10),
        accept_timeout: Duration::from_secs(600),
        ..utp::Config::default()
    }
}

/// Runs a world; what went wrong with it.
fn world(seed: u64) -> Result<(), String> {
    let mut r = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..4 {
        r.next();
    }
    let faults = FaultSettings {
        incoming: direction(&mut r),
        outgoing: direction(&mut r),
        seed: r.next(),
    };
    let dialogs = 1 + r.below(4) as usize;
    let size = |r: &mut Rng| match r.below(4) {
        0 => 0,
        1 => r.below(3_000) as usize,
        _ => r.below(80_000) as usize,
    };
    let says: Vec<[usize; 2]> = (0..dialogs).map(|_| [size(&mut r), size(&mut r)]).collect();
    let at = |r: &mut Rng| Duration::from_micros(r.below(2_000_000));
    let at: Vec<_> = (0..dialogs).map(|_| at(&mut r)).collect();
    let (near, far) = MemoryLink::pair(4096).map_err(|e| e.to_string())?;
    let mut frames = [0; 2];
    let mut host = |ip, side: usize, r: &mut Rng| {
        let prefix = Prefix::new(ip, 24).expect("an address");
        let mut host = Host::new(prefix);
        // Sometimes few: a connection may want more than there are.
        host.frames = if r.one_in(3) {
            96 + r.below(64) as u32
        } else {
            4096
        };
        frames[side] = host.frames;
        let config = Arc::new(config(r));
        host.config.utp = Arc::clone(&config);
        host.config.seed = [r.next() as u8; 32];
        let end = |says: &[usize; 2]| End {
            say: says[side],
            hear: says[1 - side],
            ..End::default()
        };
        let peer = Peer {
            side,
            ends: says.iter().map(end).collect(),
            at: at.clone(),
            config,
            flows: HashMap::new(),
            rng: r.clone(),
            wrong: None,
        };
        (host, peer)
    };
    let (a, client) = host(CLIENT, 0, &mut r);
    let (b, server) = host(SERVER, 1, &mut r);
    let mut a = a
        .build(FaultLink::new(near, &faults), client)
        .map_err(|e| e.to_string())?;
    let mut b = b.build(far, server).map_err(|e| e.to_string())?;
    let mut clock = World::default();
    let begin = clock.now();
    loop {
        let mut engines: [&mut dyn Turns; 2] = [&mut a, &mut b];
        let more = clock.step(&mut engines);
        if let Some(wrong) = a.app().wrong.as_ref().or(b.app().wrong.as_ref()) {
            return Err(wrong.clone());
        }
        let mut ends = a.app().ends.iter().chain(&b.app().ends);
        if ends.all(|e| e.closed.is_some()) {
            break;
        }
        if !more || clock.now().since(begin) > LIMIT {
            return Err(format!("no end: {:?} {:?}", a.app().ends, b.app().ends));
        }
    }
    for (n, ends) in a.app().ends.iter().zip(&b.app().ends).enumerate() {
        let finished = |end: &End| end.closed == Some(Reason::Finished);
        if !finished(ends.0) && !finished(ends.1)
            || ends.0.heard + ends.1.heard != says[n][0] + says[n][1]
        {
            return Err(format!("dialog {n}: {ends:?}"));
        }
    }
    // What lingers, and what the wire still has.
    let mut engines: [&mut dyn Turns; 2] = [&mut a, &mut b];
    clock.settle(&mut engines, Duration::from_secs(120));
    for (side, ledger) in [a.ledger(), b.ledger()].into_iter().enumerate() {
        if ledger.pool != frames[side] {
            return Err(format!("frames are missing: {ledger}"));
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn every_byte_arrives_once_and_every_frame_comes_back() {
    let seeds = match number("FULLBORE_UTP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FULLBORE_UTP_WORLDS").unwrap_or(WORLDS),
    };
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| world(seed));
        let outcome = outcome.unwrap_or_else(|_| Err("a panic, told above".into()));
        if let Err(what) = outcome {
            failed.push(format!("seed {seed}: {what}"));
        }
    }
    let first: Vec<_> = failed.iter().take(10).cloned().collect();
    assert!(
        failed.is_empty(),
        "{} worlds:\n{}",
        failed.len(),
        first.join("\n")
    );
}
