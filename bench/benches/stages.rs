//! Each stage of the data path, next to a plain baseline: a copy of the same
//! bytes, a bare lookup in a hash table, an ordered set of deadlines.
//!
//!     cargo bench -p fullbore-bench
//!
//! Stages that change a connection are timed in batches: what has to be
//! prepared for a batch is not timed.

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

use fullbore::engine::Wheel;
use fullbore::stack::Conn;
use fullbore::stack::flow::{Phase, Slot, Tuple};
use fullbore::stack::table::FlowTable;
use fullbore::tcp::{Config, Connection, Ports, Setup};
use fullbore::time;
use fullbore::wire::checksum::{Sum, copy_and_sum};
use fullbore::wire::ip::parse_frame;
use fullbore::wire::tcp::SeqNumber;
use fullbore_bench::memory::{Pair, Settings, Stack};
use fullbore_bench::stage::{BATCH, Joined, SEGMENT};

/// Virtual time between two operations on timers.
const STEP: Duration = Duration::from_micros(10);

/// Defects of the benchmark, not of what is measured.
const BROKEN: &str = "the benchmark's connection works";

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

fn copy(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let (from, mut to) = (vec![0x5a; len], vec![0; len]);
    group.bench_function(format!("baseline: memcpy of {len} bytes"), |b| {
        b.iter(|| {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        });
    });
}

fn parse(c: &mut Criterion) {
    let mut joined = Joined::new().expect(BROKEN);
    // A whole frame as the client sends it.
    let client = &mut joined.client;
    client.conn.send(&mut client.pool, &[0x5a; SEGMENT]);
    let desc = client
        .conn
        .poll_transmit(joined.now, &mut client.pool, &client.template)
        .expect(BROKEN);
    let frame = client.pool.tx_bytes(&desc).to_vec();
    client.pool.complete(desc);
    assert_eq!(frame.len(), 1514);
    let mut group = group(c, "parse");
    group.throughput(Throughput::Elements(1));
    for (name, verify) in [("headers", false), ("headers, checksums verified", true)] {
        group.bench_function(name, |b| {
            b.iter(|| parse_frame(black_box(&frame), verify).expect(BROKEN));
        });
    }
    copy(&mut group, 54);
    copy(&mut group, frame.len());
}

fn checksum(c: &mut Criterion) {
    let mut group = group(c, "checksum");
    for len in [64, SEGMENT] {
        let (from, mut to) = (vec![0x5a; len], vec![0; len]);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("sum of {len} bytes"), |b| {
            b.iter(|| Sum::of(black_box(&from)));
        });
        group.bench_function(format!("copy and sum of {len} bytes"), |b| {
            b.iter(|| black_box(copy_and_sum(&mut to, black_box(&from))));
        });
        copy(&mut group, len);
    }
}

fn tuple(n: u32) -> Tuple {
    Tuple {
        local: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        remote: IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + n / 60_000)),
        local_port: 80,
        remote_port: 1024 + (n % 60_000) as u16,
    }
}

/// The key of the bare table: addresses and ports in 12 bytes.
fn key(t: &Tuple) -> [u8; 12] {
    let mut key = [0; 12];
    for (at, ip) in [(0, t.local), (4, t.remote)] {
        if let IpAddr::V4(ip) = ip {
            key[at..at + 4].copy_from_slice(&ip.octets());
        }
    }
    key[8..10].copy_from_slice(&t.local_port.to_be_bytes());
    key[10..].copy_from_slice(&t.remote_port.to_be_bytes());
    key
}

fn flow_lookup(c: &mut Criterion) {
    let mut group = group(c, "flow lookup");
    group.throughput(Throughput::Elements(1));
    let config = Arc::new(Config::default());
    for flows in [1u32, 1_000, 100_000] {
        let mut table = FlowTable::new(flows as usize, [7; 16], [8; 16]);
        let mut bare = HashMap::new();
        for n in 0..flows {
            let tuple = tuple(n);
            let conn = Connection::connect(&Setup {
                config: &config,
                ports: Ports {
                    local: tuple.local_port,
                    remote: tuple.remote_port,
                },
                iss: SeqNumber(n),
                ts_offset: 0,
                mss: SEGMENT as u16,
                chunk: SEGMENT as u16,
                headroom: 34,
                now: time::Instant::ZERO,
            });
            table
                .insert(Slot::new(Conn::Tcp(conn), tuple, Phase::Open))
                .expect(BROKEN);
            bare.insert(key(&tuple), n);
        }
        // In an order that no prefetcher follows.
        let order: Vec<_> = (0..flows.max(1024))
            .map(|n| tuple(n.wrapping_mul(0x9e37_79b1) % flows))
            .collect();
        let mut at = 0;
        let mut next = move || {
            at = (at + 1) % order.len();
            order[at]
        };
        let (mut again, mut once_more) = (next.clone(), next.clone());
        group.bench_function(format!("{flows} connections"), |b| {
            b.iter(|| table.find(black_box(&next())).expect(BROKEN));
        });
        group.bench_function(format!("baseline: HashMap of {flows} keys"), |b| {
            b.iter(|| *bare.get(&key(black_box(&again()))).expect(BROKEN));
        });
        // A lookup ends at the connection, not at a number.
        let records = vec![[0u64; size_of::<Slot>() / 8]; flows as usize];
        let name = format!("baseline: HashMap of {flows} keys, and a line of what it leads to");
        group.bench_function(name, |b| {
            b.iter(|| {
                let n = *bare.get(&key(black_box(&once_more()))).expect(BROKEN);
                records[n as usize][0]
            });
        });
    }
}

fn timer_wheel(c: &mut Criterion) {
    let mut group = group(c, "timer wheel");
    group.throughput(Throughput::Elements(1));
    for timers in [1u32, 10_000] {
        // What an acknowledgement does: a deadline moves to later.
        let later = |now: time::Instant, n: u32| now + Duration::from_millis(200) + STEP * n;
        let mut wheel = Wheel::new(time::Instant::ZERO);
        let mut due = Vec::new();
        let (mut now, mut n) = (time::Instant::ZERO, 0);
        group.bench_function(format!("move one of {timers} to later, expire"), |b| {
            b.iter(|| {
                now += STEP;
                n = (n + 1) % timers;
                wheel.set(n, later(now, n));
                wheel.expire(now, &mut due);
                due.clear();
            });
        });
        let mut set = BTreeSet::new();
        let mut deadlines = vec![time::Instant::FAR; timers as usize];
        let name = format!("baseline: move one of {timers} in a BTreeSet, expire");
        group.bench_function(name, |b| {
            b.iter(|| {
                now += STEP;
                n = (n + 1) % timers;
                set.remove(&(deadlines[n as usize], n));
                deadlines[n as usize] = later(now, n);
                set.insert((deadlines[n as usize], n));
                while set.first().is_some_and(|(at, _)| *at <= now) {
                    black_box(set.pop_first());
                }
            });
        });
    }
}

/// Times `work` on batches until `segments` have been handled. `work` answers
/// how long it took for how many.
fn batches(
    joined: &mut Joined,
    segments: u64,
    mut work: impl FnMut(&mut Joined) -> (Duration, u64),
) -> Duration {
    let (mut time, mut done) = (Duration::ZERO, 0);
    while done < segments {
        let (took, handled) = work(joined);
        time += took;
        done += handled;
    }
    // As many as were asked for.
    time.mul_f64(segments as f64 / done as f64)
}

/// In which order segments arrive.
#[derive(Clone, Copy)]
enum Order {
    Sent,
    Swapped,
    FrontBehind,
}

fn receive(joined: &mut Joined, order: Order) -> (Duration, u64) {
    let mut batch = joined.batch().expect(BROKEN);
    match order {
        Order::Sent => {}
        Order::Swapped => {
            for pair in batch.chunks_mut(2) {
                pair.reverse();
            }
        }
        Order::FrontBehind => batch.rotate_left(1),
    }
    let (now, server) = (joined.now, &mut joined.server);
    let start = Instant::now();
    for segment in batch {
        server.handle(now, segment);
    }
    assert_eq!(server.read(), BATCH * SEGMENT);
    let took = start.elapsed();
    joined.settle();
    (took, BATCH as u64)
}

fn segment(c: &mut Criterion) {
    let mut group = group(c, "segment");
    group.throughput(Throughput::Elements(1));
    for (name, order) in [
        ("in order", Order::Sent),
        ("out of order, pairs swapped", Order::Swapped),
        ("out of order, the first last", Order::FrontBehind),
    ] {
        let mut joined = Joined::new().expect(BROKEN);
        group.bench_function(name, |b| {
            b.iter_custom(|n| batches(&mut joined, n, |j| receive(j, order)));
        });
    }
    copy(&mut group, SEGMENT);
}

/// The client takes an acknowledgement of every two segments of a batch.
fn take_acks(joined: &mut Joined) -> (Duration, u64) {
    let batch = joined.batch().expect(BROKEN);
    let mut acks = Vec::with_capacity(BATCH);
    let Joined {
        now,
        client,
        server,
        ..
    } = joined;
    for (n, segment) in batch.into_iter().enumerate() {
        server.handle(*now, segment);
        if n % 2 == 1 {
            server.read();
            server.send_to(*now, &mut client.pool, &mut acks);
        }
    }
    let count = acks.len() as u64;
    let start = Instant::now();
    for ack in acks {
        client.handle(*now, ack);
    }
    let took = start.elapsed();
    joined.settle();
    (took, count)
}

fn ack(c: &mut Criterion) {
    let mut group = group(c, "ack");
    group.throughput(Throughput::Elements(1));
    let mut joined = Joined::new().expect(BROKEN);
    group.bench_function("of two segments", |b| {
        b.iter_custom(|n| batches(&mut joined, n, take_acks));
    });
    copy(&mut group, 54);
}

/// The client sends a batch for the first time: copied, summed, emitted.
fn send_first(joined: &mut Joined, block: &[u8]) -> (Duration, u64) {
    let (now, client) = (joined.now, &mut joined.client);
    let start = Instant::now();
    client.conn.send(&mut client.pool, block);
    let sent = client.send_to_nobody(now);
    let took = start.elapsed();
    assert_eq!(sent, BATCH);
    joined.connect().expect(BROKEN);
    (took, sent as u64)
}

/// The first half of a batch is lost; the client learns of it and sends it
/// again.
fn send_again(joined: &mut Joined) -> (Duration, u64) {
    let mut batch = joined.batch().expect(BROKEN);
    let mut acks = Vec::with_capacity(BATCH);
    let (now, client, server) = (joined.now, &mut joined.client, &mut joined.server);
    for segment in batch.drain(BATCH / 2..) {
        server.handle(now, segment);
    }
    server.send_to(now, &mut client.pool, &mut acks);
    for ack in acks {
        client.handle(now, ack);
    }
    let start = Instant::now();
    let sent = client.send_to_nobody(now);
    let took = start.elapsed();
    assert!(sent > 0);
    for segment in batch {
        segment.drop_at(server);
    }
    joined.connect().expect(BROKEN);
    (took, sent as u64)
}

fn transmit(c: &mut Criterion) {
    let mut group = group(c, "transmit");
    group.throughput(Throughput::Elements(1));
    let block = vec![0x5a; BATCH * SEGMENT];
    let mut joined = Joined::new().expect(BROKEN);
    group.bench_function("a segment, payload copied and summed", |b| {
        b.iter_custom(|n| batches(&mut joined, n, |j| send_first(j, &block)));
    });
    let mut joined = Joined::new().expect(BROKEN);
    group.bench_function("a segment again", |b| {
        b.iter_custom(|n| batches(&mut joined, n, send_again));
    });
    copy(&mut group, SEGMENT);
}

fn engine(c: &mut Criterion) {
    let mut group = group(c, "engine");
    group.throughput(Throughput::Elements(1));
    let settings = Settings::default();
    for (name, stack) in [
        ("a segment, turns of both ends, one copy", Stack::Fullbore),
        (
            "a segment, turns of both ends, memory link",
            Stack::FullboreLink,
        ),
        ("baseline: a segment, smoltcp, one copy", Stack::Smoltcp),
    ] {
        let mut pair: Box<dyn Pair> = stack.connect(&settings).expect(BROKEN);
        pair.transfer(20_000 * settings.segment()).expect(BROKEN);
        pair.set_verify(false);
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let start = Instant::now();
                pair.transfer(n * settings.segment()).expect(BROKEN);
                start.elapsed()
            });
        });
    }
    copy(&mut group, SEGMENT);
}

criterion_group!(
    stages,
    parse,
    checksum,
    flow_lookup,
    timer_wheel,
    segment,
    ack,
    transmit,
    engine
);
criterion_main!(stages);
