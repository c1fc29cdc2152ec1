//! Flows that share a bottleneck, and flows on a path that loses by chance,
//! under virtual time. CUBIC as RFC 9438 has it stands for other people's TCP.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::testing::{End, Rng};
use super::{Config, Connection};
use crate::congestion::Algorithm;
use crate::time::Instant;

/// Bytes of a full frame.
const FRAME: u64 = 1514;

/// The path that all flows take; packets the other way only take their time.
#[derive(Clone, Copy)]
struct Path {
    /// Bits a second.
    rate: u64,
    /// Packets that wait for it at most.
    queue: usize,
    round_trip: Duration,
    /// Up to that much more, by chance, for each packet.
    jitter: Duration,
    /// Packets lost by chance, of a thousand.
    loss: u64,
    /// What takes it is paced.
    pacing: bool,
}

impl Path {
    /// `rate` in Mbit/s, and a queue of that part of a round trip.
    fn new(mbps: u64, millis: u64, queue: f64) -> Self {
        let round_trip = Duration::from_millis(millis);
        let pipe = mbps as f64 * 1e6 * round_trip.as_secs_f64() / 8.0 / FRAME as f64;
        Self {
            rate: mbps * 1_000_000,
            queue: ((pipe * queue) as usize).max(2),
            round_trip,
            jitter: Duration::ZERO,
            loss: 0,
            pacing: false,
        }
    }
}

struct Flow {
    a: End,
    b: End,
    begins: Instant,
    received: u64,
    last_due: [Instant; 2],
}

/// Flows of a bottleneck.
struct Bottleneck {
    now: Instant,
    path: Path,
    rng: Rng,
    flows: Vec<Flow>,
    busy_until: Instant,
    departures: VecDeque<Instant>,
    wire: BTreeMap<(Instant, u64), (usize, bool, Vec<u8>)>,
    count: u64,
    /// Packets that found the queue full.
    overflowed: u64,
    /// Sum of what packets waited, and how many there were.
    waited: (Duration, u32),
}

impl Bottleneck {
    /// Each flow with its controller and when it begins.
    fn new(seed: u64, path: Path, flows: &[(Algorithm, Duration)]) -> Self {
        let now = Instant::from_millis(10_000);
        let mut rng = Rng::new(seed);
        let flows = flows
            .iter()
            .map(|(congestion, after)| {
                let config = Config {
                    congestion: *congestion,
                    pacing: path.pacing,
                    ..Config::default()
                };
                let mut a = End::new(config.clone(), 1, 2, 8192);
                a.to_send = vec![0x5a; 1 << 16];
                Flow {
                    a,
                    b: End::new(config, 2, 1, 8192),
                    // Not in step with anything.
                    begins: now + *after + Duration::from_micros(rng.below(20_000)),
                    received: 0,
                    last_due: [now; 2],
                }
            })
            .collect();
        Self {
            now,
            path,
            rng,
            flows,
            busy_until: now,
            departures: VecDeque::new(),
            wire: BTreeMap::new(),
            count: 0,
            overflowed: 0,
            waited: (Duration::ZERO, 0),
        }
    }

    fn put(&mut self, flow: usize, from_a: bool, bytes: Vec<u8>) {
        let p = self.path;
        let mut at = self.now;
        if from_a {
            if self.rng.chance(p.loss) {
                return;
            }
            while self.departures.front().is_some_and(|d| *d <= self.now) {
                self.departures.pop_front();
            }
            if self.departures.len() >= p.queue {
                self.overflowed += 1;
                return;
            }
            let frame = bytes.len() as u64 + 34;
            let start = self.busy_until.max(self.now);
            self.busy_until = start + Duration::from_nanos(frame * 8_000_000_000 / p.rate);
            self.departures.push_back(self.busy_until);
            self.waited.0 += start.since(self.now);
            self.waited.1 += 1;
            at = self.busy_until;
        }
        let jitter = Duration::from_nanos(self.rng.below(p.jitter.as_nanos() as u64 + 1));
        at += p.round_trip / 2 + jitter;
        let last = &mut self.flows[flow].last_due[usize::from(from_a)];
        *last = at.max(*last);
        self.count += 1;
        self.wire.insert((*last, self.count), (flow, from_a, bytes));
    }

    /// All that an end has to say now.
    fn poll(&mut self, flow: usize, from_a: bool) {
        let f = &mut self.flows[flow];
        let end = if from_a { &mut f.a } else { &mut f.b };
        if end.sent == end.to_send.len() {
            end.sent = 0;
        }
        end.app(self.now);
        let packets = end.collect(self.now);
        end.log.clear();
        end.ecn.clear();
        end.events.clear();
        f.received += std::mem::take(&mut end.received).len() as u64;
        for bytes in packets {
            self.put(flow, from_a, bytes);
        }
    }

    fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        loop {
            let mut next = self.wire.keys().next().map_or(limit, |k| k.0);
            for f in &self.flows {
                if f.a.conn.is_none() {
                    next = next.min(f.begins);
                }
                for end in [&f.a, &f.b] {
                    let at = end.conn.as_ref().and_then(Connection::poll_timeout);
                    next = at.map_or(next, |at| next.min(at));
                }
            }
            if next >= limit {
                self.now = limit;
                return;
            }
            self.now = self.now.max(next);
            self.step();
        }
    }

    fn step(&mut self) {
        for n in 0..self.flows.len() {
            let f = &mut self.flows[n];
            if f.a.conn.is_none() && f.begins <= self.now {
                let port = 4000 + n as u16;
                f.a.conn = Some(Connection::connect(&f.a.setup(self.now, port, 80)));
                self.poll(n, true);
            }
            for from_a in [true, false] {
                let f = &mut self.flows[n];
                let end = if from_a { &mut f.a } else { &mut f.b };
                if let Some(c) = &mut end.conn
                    && c.poll_timeout().is_some_and(|at| at <= self.now)
                {
                    c.handle_timeout(self.now, &mut end.pool);
                    self.poll(n, from_a);
                }
            }
        }
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (n, from_a, bytes) = entry.remove();
            let f = &mut self.flows[n];
            let end = if from_a { &mut f.b } else { &mut f.a };
            end.deliver(self.now, &bytes);
            self.poll(n, !from_a);
        }
    }

    /// Payload that arrived in `time`, in Mbit/s, by flow.
    fn goodput(&mut self, time: Duration) -> Vec<f64> {
        let received = |s: &Self| s.flows.iter().map(|f| f.received).collect::<Vec<_>>();
        let before = received(self);
        self.run(time);
        let mbps = |(a, b): (u64, u64)| (a - b) as f64 * 8e-6 / time.as_secs_f64();
        received(self).into_iter().zip(before).map(mbps).collect()
    }

    fn finish(self) {
        for f in self.flows {
            f.a.finish();
            f.b.finish();
        }
    }
}

fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|x| x * x).sum();
    sum * sum / (shares.len() as f64 * squares)
}

const SEC: Duration = Duration::from_secs(1);

/// Goodput of one flow alone in Mbit/s, after slow start.
fn alone(seed: u64, path: Path, congestion: Algorithm) -> f64 {
    let mut b = Bottleneck::new(seed, path, &[(congestion, Duration::ZERO)]);
    b.run(2 * SEC);
    let goodput = b.goodput(10 * SEC)[0];
    b.finish();
    goodput
}

/// Goodput of CUBIC and another, with what waited and how many overflowed.
/// The second may come later.
fn shared(path: Path, other: Algorithm, late: [u32; 2]) -> (Vec<f64>, u64) {
    let flows = [(Algorithm::Cubic, SEC * late[0]), (other, SEC * late[1])];
    let mut b = Bottleneck::new(7, path, &flows);
    b.run(SEC * late[0].max(late[1]));
    let goodput = b.goodput(20 * SEC);
    let overflowed = b.overflowed;
    b.finish();
    (goodput, overflowed)
}

#[test]
fn loss_by_chance_costs_less_than_half_of_what_it_costs_cubic() {
    for jitter in [0, 1000] {
        let mut path = Path::new(500, 20, 1.0);
        path.loss = 10;
        path.jitter = Duration::from_micros(jitter);
        let sum = |congestion| {
            (1..=3)
                .map(|seed| alone(seed, path, congestion))
                .sum::<f64>()
        };
        let (cubic, tolerant) = (sum(Algorithm::Cubic), sum(Algorithm::Tolerant));
        assert!(
            cubic > 15.0 && tolerant > 2.0 * cubic,
            "seeds 1 to 3, jitter {jitter} us: cubic {cubic:.1}, tolerant {tolerant:.1} Mbit/s in all"
        );
    }
}

/// Flows that begin together: packet by packet the same. When the second comes
/// later, its slow start can make the queue appear and overflow within a round
/// trip, which may be forgiven once.
#[test]
fn beside_cubic_at_a_queue_it_is_cubic() {
    for (mbps, queue) in [(20, 0.5), (20, 1.0), (20, 4.0), (50, 0.5), (50, 1.0)] {
        for late in [[0, 0], [5, 0], [0, 5]] {
            let path = Path::new(mbps, 20, queue);
            let cubic = shared(path, Algorithm::Cubic, late);
            let tolerant = shared(path, Algorithm::Tolerant, late);
            let place = format!("{mbps} Mbit/s, queue {queue}, late {late:?}");
            assert!(cubic.1 > 20, "{place}: the queue is never full: {cubic:?}");
            if late == [0, 0] {
                assert_eq!(cubic, tolerant, "{place}");
            }
            let indices = (jain(&cubic.0), jain(&tolerant.0));
            assert!(indices.1 > indices.0 - 0.05, "{place}: {indices:.3?}");
        }
    }
}

/// A queue of six hundredths of a round trip.
#[test]
fn beside_cubic_at_a_very_short_queue_it_is_not_far_from_fair() {
    for jitter in [0, 500] {
        let mut path = Path::new(100, 20, 0.06);
        path.jitter = Duration::from_micros(jitter);
        for late in [[0, 0], [5, 0], [0, 5]] {
            let (shares, _) = shared(path, Algorithm::Tolerant, late);
            let index = jain(&shares);
            let bound = if jitter == 0 { 0.95 } else { 0.8 };
            assert!(
                index > bound,
                "jitter {jitter} us, late {late:?}: {shares:.1?}, index {index:.3}"
            );
        }
    }
}

/// What short queues let through in the first seconds, in Mbit/s: slow start
/// in bursts ends by what they cannot hold.
#[test]
fn pacing_lets_slow_start_through_short_queues() {
    for (mbps, millis) in [(100, 20), (50, 50)] {
        let begin = |pacing| {
            let mut path = Path::new(mbps, millis, 0.1);
            path.pacing = pacing;
            let mut b = Bottleneck::new(3, path, &[(Algorithm::Tolerant, Duration::ZERO)]);
            let goodput = b.goodput(2 * SEC)[0];
            b.finish();
            goodput
        };
        let (burst, paced) = (begin(false), begin(true));
        assert!(
            paced > 1.3 * burst,
            "{mbps} Mbit/s, {millis} ms: {burst:.1} in bursts, {paced:.1} paced"
        );
    }
}

/// At most a millisecond's worth or two segments leave at once, and the window
/// is used all the same.
#[test]
fn a_paced_flow_sends_no_bursts_and_fills_its_window() {
    let config = Config {
        pacing: true,
        ..Config::default()
    };
    let mut p = super::testing::Pair::connected(config.clone(), config);
    p.a.to_send = vec![0; 2_000_000];
    let begin = p.now;
    let first = p.a.log.len();
    assert!(p.run_until(10 * SEC, |p| p.b.received.len() == 2_000_000));
    // 10 ms, from ten segments on: nine doublings.
    let took = p.now.since(begin);
    assert!(took < Duration::from_millis(250), "{took:?}");
    let (mut at, mut burst, mut most_early) = (begin, 0, 0);
    for (when, _, len) in &p.a.log[first..] {
        if *when != at {
            (at, burst) = (*when, 0);
        }
        burst += usize::from(*len > 0);
        if at.since(begin) < Duration::from_millis(25) {
            most_early = most_early.max(burst);
        }
    }
    // Windows of up to 40 segments in 10 ms, at twice their pace: eight in a
    // millisecond, and one begun.
    assert!((2..=9).contains(&most_early), "{most_early} at once");
    p.finish();
}
