//! Whole engines under a virtual clock over a wire on which everything goes
//! wrong: every byte is checked, every connection must end as it should, and
//! every frame must come back.
//!
//! A failure prints the seed of its world. `FULLBORE_SIM_SEED=n` replays that
//! one; `FULLBORE_SIM_RUNS=n` tries so many instead of the usual few.

mod peer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::engine::sim::{Host, Turns, World};
use fullbore::engine::{Engine, Reason};
use fullbore::link::{FaultLink, FaultSettings, MemoryLink};
use fullbore::tcp;

use peer::{Log, Peer, Rng};

const RUNS: u64 = 200;
/// Virtual time by which a world must have come to its end.
const LIMIT: Duration = Duration::from_secs(3600);

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn streams_survive_bad_wires() {
    let seeds = match env("FULLBORE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("FULLBORE_SIM_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| world(seed));
        if let Err(panic) = outcome {
            eprintln!("replay with FULLBORE_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// How bad this world's wire is.
fn faults(rng: &mut Rng) -> FaultSettings {
    let percent = |rng: &mut Rng, most: u64| rng.below(most * 100 + 1) as f64 / 100.0;
    let bad = rng.below(4) != 0;
    let text = if bad {
        format!(
            "loss={}%,dup={}%,reorder={}%,corrupt={}%,delay={}us,jitter={}us,late={}us,seed={}",
            percent(rng, 4),
            percent(rng, 3),
            percent(rng, 8),
            percent(rng, 1),
            rng.below(20_000),
            rng.below(2000),
            rng.below(8000),
            rng.next()
        )
    } else {
        format!("delay={}us,seed={}", rng.below(30_000), rng.next())
    };
    let text = if rng.below(3) == 0 {
        format!(
            "{text},rate={}Mbit,queue={}",
            5 + rng.below(200),
            20 + rng.below(500)
        )
    } else {
        text
    };
    text.parse().expect("a valid fault setting")
}

fn settings(rng: &mut Rng) -> tcp::Config {
    tcp::Config {
        congestion: match rng.below(3) {
            0 => Algorithm::Reno,
            1 => Algorithm::Westwood,
            _ => Algorithm::Cubic,
        },
        recv_buffer: 1 << (14 + rng.below(8)),
        send_buffer: 1 << (14 + rng.below(8)),
        window_scaling: rng.below(4) != 0,
        timestamps: rng.below(4) != 0,
        sack: rng.below(4) != 0,
        nodelay: rng.below(2) == 0,
        // A peer whose reset was lost is found out.
        keepalive: Some(Duration::from_secs(20)),
        keepalive_interval: Duration::from_secs(5),
        keepalive_probes: 8,
        ..tcp::Config::default()
    }
}

fn world(seed: u64) {
    let mut rng = Rng::new(seed);
    let (near, far) = MemoryLink::pair(256).expect("a pair of links");
    let faults = faults(&mut rng);
    let log = Rc::new(RefCell::new(Log::default()));
    let mut host = |address: &str| {
        let mut host = Host::new(address.parse().expect("an address"));
        host.frames = 512 + 512 * rng.below(8) as u32;
        host.mtu = 576 + rng.below(925) as u16;
        host.config.tcp = Arc::new(settings(&mut rng));
        host.config.batch = 1 + rng.below(64) as usize;
        host.config.tx_queue = 16 + rng.below(200) as usize;
        host
    };
    let (server_host, client_host) = (host("10.1.0.1/16"), host("10.1.0.2/16"));
    let flows = 1 + rng.below(12) as usize;
    let server = Peer::server(seed, log.clone());
    let client = Peer::client(seed, log.clone(), flows);
    let mut server = server_host
        .build(FaultLink::new(near, &faults), server)
        .expect("an engine");
    let mut client = client_host.build(far, client).expect("an engine");

    let mut clock = World::default();
    let end = clock.now() + LIMIT;
    while !(client.app().is_done() && server.app().is_idle()) {
        clock.step(&mut [&mut server as &mut dyn Turns, &mut client]);
        if clock.now() >= end {
            let left = client.with(|app, cx| app.infos(cx));
            let right = server.with(|app, cx| app.infos(cx));
            panic!("not done: {left:#?}\n{right:#?}\n{faults}");
        }
    }
    for (port, end) in &log.borrow().client {
        let plan = peer::Plan::of(seed, *port);
        let expected = if plan.abort_at.is_some() {
            Reason::Aborted
        } else {
            Reason::Finished
        };
        assert_eq!(*end, expected, "client's port {port}, {plan:?}, {faults}");
    }
    for (port, end) in &log.borrow().server {
        let plan = peer::Plan::of(seed, *port);
        let fine = match end {
            // An abort may come after both ends were done but for reading.
            Reason::Finished => true,
            Reason::Reset | Reason::TimedOut => plan.abort_at.is_some(),
            _ => false,
        };
        assert!(fine, "server's {port} {end:?}, {plan:?}, {faults}");
    }
    server.stop();
    client.stop();
    let end = clock.now() + Duration::from_secs(60);
    while !(stopped(&mut server, &clock) && stopped(&mut client, &clock)) {
        clock.step(&mut [&mut server as &mut dyn Turns, &mut client]);
        assert!(clock.now() < end, "not stopped");
    }
    for ledger in [server.ledger(), client.ledger()] {
        assert_eq!(ledger.outstanding(), 0, "{ledger}");
    }
}

fn stopped<L: fullbore::link::Link>(engine: &mut Engine<L, Peer>, clock: &World) -> bool {
    engine.is_stopping() && engine.turn(clock.now()).stopped
}
