//! Server and client on engines of ours, joined by a wire in memory. The
//! clock is the real one, because the disk threads are real.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant as OsInstant};

use tempfile::TempDir;

use super::{ClientApp, ClientReport, ClientResult, Server, ServerApp, ServerOptions};
use crate::engine::sim::Host;
use crate::engine::{Engine, Flow};
use crate::link::fault::Direction;
use crate::link::{FaultLink, FaultSettings, MemoryLink};
use crate::time::Instant;
use crate::transfer::client::{ClientError, GetOptions, Output, Patience, PutOptions, Source, Url};

type Wire = FaultLink<MemoryLink>;

const SERVER: &str = "10.0.0.1:80";

struct Setting {
    dir: TempDir,
    content: Vec<u8>,
}

impl Setting {
    fn new(len: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let content: Vec<u8> = (0..len as u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("root/file"), &content).unwrap();
        Self { dir, content }
    }

    fn holds(&self, name: &str) -> bool {
        std::fs::read(self.dir.path().join(name)).is_ok_and(|c| c == self.content)
    }
}

fn host(ip: &str) -> Host {
    let mut host = Host::new(format!("{ip}/24").parse().unwrap());
    host.mailbox = 1024;
    host
}

/// Lets a server of `root` and a client run until both have stopped.
fn run(
    root: &Path,
    faults: Direction,
    change: impl FnOnce(&mut ServerOptions),
    (app, result): (ClientApp<Flow>, ClientResult),
) -> Result<ClientReport, ClientError> {
    let mut options = ServerOptions::new(root.to_owned());
    options.listen = vec![SERVER.parse().unwrap()];
    options.writable = true;
    change(&mut options);
    let server = Server::start(options).unwrap();
    let (near, far) = MemoryLink::pair(1024).unwrap();
    let settings = |seed| FaultSettings {
        incoming: faults,
        outgoing: Direction::default(),
        seed,
    };
    let mut a: Engine<Wire, ServerApp<Flow>> = host("10.0.0.1")
        .build(FaultLink::new(near, &settings(7)), server.app())
        .unwrap();
    let mut b: Engine<Wire, ClientApp<Flow>> = host("10.0.0.2")
        .build(FaultLink::new(far, &settings(8)), app)
        .unwrap();
    let start = OsInstant::now();
    loop {
        let now = Instant::from_millis(1000) + start.elapsed();
        let (x, y) = (a.turn(now), b.turn(now));
        if y.stopped {
            a.stop();
            if x.stopped {
                break;
            }
        }
        if !x.worked && !y.worked {
            std::thread::sleep(Duration::from_micros(20));
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it ends");
    }
    for ledger in [a.ledger(), b.ledger()] {
        assert_eq!(ledger.outstanding(), 0, "{ledger}");
    }
    assert_eq!(server.stats().totals().open, 0);
    result.try_recv().expect("it stops only with a result")
}

fn get(to: &Path, n: usize) -> (ClientApp<Flow>, ClientResult) {
    let url = Url::parse(&format!("http://{SERVER}/file")).unwrap();
    let mut options = GetOptions::new(url, Output::File(to.to_owned()));
    options.connections = n;
    ClientApp::get(options, addresses(), Arc::default()).unwrap()
}

fn put(from: &Path) -> (ClientApp<Flow>, ClientResult) {
    let url = Url::parse(&format!("http://{SERVER}/up")).unwrap();
    let options = PutOptions::new(url, Source::File(from.to_owned()));
    ClientApp::put(options, addresses(), Arc::default()).unwrap()
}

fn addresses() -> Vec<SocketAddr> {
    vec![SERVER.parse().unwrap()]
}

#[test]
fn both_ways_over_a_good_wire() {
    let s = Setting::new(40_000_003);
    let root = s.dir.path().join("root");
    for (n, inline) in [(1, false), (4, false), (1, true)] {
        let to = s.dir.path().join("out");
        let got = run(
            &root,
            Direction::default(),
            |o| o.inline_reads = inline,
            get(&to, n),
        );
        match got {
            Ok(ClientReport::Get(r)) => assert!(r.verified && r.size == 40_000_003, "{r:?}"),
            other => panic!("{other:?}"),
        }
        assert!(s.holds("out"));
        std::fs::remove_file(to).unwrap();
    }
    match run(&root, Direction::default(), |_| {}, put(&root.join("file"))) {
        Ok(ClientReport::Put(r)) => assert!(r.verified && r.created, "{r:?}"),
        other => panic!("{other:?}"),
    }
    assert!(s.holds("root/up"));
}

#[test]
fn both_ways_over_a_bad_wire() {
    let s = Setting::new(8_000_003);
    let root = s.dir.path().join("root");
    let faults = Direction {
        loss: 0.01,
        duplicate: 0.01,
        reorder: 0.05,
        corrupt: 0.001,
        delay: Duration::from_millis(2),
        ..Direction::default()
    };
    let to = s.dir.path().join("out");
    let got = run(&root, faults, |_| {}, get(&to, 3));
    assert!(
        matches!(&got, Ok(ClientReport::Get(r)) if r.verified && r.retries == 0),
        "{got:?}"
    );
    assert!(s.holds("out"));
    let put = run(&root, faults, |_| {}, put(&root.join("file")));
    assert!(
        matches!(&put, Ok(ClientReport::Put(r)) if r.verified),
        "{put:?}"
    );
    assert!(s.holds("root/up"));
}

#[test]
fn a_port_that_nobody_listens_on() {
    let s = Setting::new(10);
    let url = Url::parse("http://10.0.0.1:81/file").unwrap();
    let mut options = GetOptions::new(url, Output::File(s.dir.path().join("out")));
    options.patience = Patience {
        retries: 1,
        pause: Duration::from_millis(5),
        ..Patience::default()
    };
    let client = ClientApp::get(
        options,
        vec!["10.0.0.1:81".parse().unwrap()],
        Arc::default(),
    )
    .unwrap();
    let error = run(
        &s.dir.path().join("root"),
        Direction::default(),
        |_| {},
        client,
    )
    .unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "cannot connect to 10.0.0.1:81: connection refused"
    );
}
