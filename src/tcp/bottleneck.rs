//! A bottleneck that flows share, under virtual time.

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
pub struct Path {
    /// Bits a second.
    pub rate: u64,
    /// Packets that wait for it at most.
    pub queue: usize,
    pub round_trip: Duration,
    /// Up to that much more, by chance, for each packet.
    pub jitter: Duration,
    /// Packets lost by chance, of a thousand.
    pub loss: u64,
    /// What takes it is paced.
    pub pacing: bool,
    /// Segments that one acknowledgement may answer.
    pub acks: u8,
}

impl Path {
    /// `rate` in Mbit/s, and a queue of that part of a round trip.
    pub fn new(mbps: u64, millis: u64, queue: f64) -> Self {
        let round_trip = Duration::from_millis(millis);
        let pipe = mbps as f64 * 1e6 * round_trip.as_secs_f64() / 8.0 / FRAME as f64;
        Self {
            rate: mbps * 1_000_000,
            queue: ((pipe * queue) as usize).max(2),
            round_trip,
            jitter: Duration::ZERO,
            loss: 0,
            pacing: false,
            acks: Config::default().ack_segments,
        }
    }
}

pub struct Flow {
    a: End,
    b: End,
    begins: Instant,
    /// Has nothing more to send.
    ended: bool,
    received: u64,
    /// Times at which anything was sent with payload, and how many packets.
    bursts: (u64, u64),
    last_due: [Instant; 2],
}

/// Flows of a bottleneck.
pub struct Bottleneck {
    pub now: Instant,
    path: Path,
    rng: Rng,
    pub flows: Vec<Flow>,
    busy_until: Instant,
    departures: VecDeque<Instant>,
    wire: BTreeMap<(Instant, u64), (usize, bool, Vec<u8>)>,
    count: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// Sum of what packets waited, and how many there were.
    waited: (Duration, u32),
    /// The longest wait since [`longest_wait`](Self::longest_wait).
    longest: Duration,
}

impl Bottleneck {
    /// Each flow with its controller and when it begins.
    pub fn new(seed: u64, path: Path, flows: &[(Algorithm, Duration)]) -> Self {
        let now = Instant::from_millis(10_000);
        let mut rng = Rng::new(seed);
        let flows = flows
            .iter()
            .map(|(congestion, after)| {
                let config = Config {
                    congestion: *congestion,
                    pacing: path.pacing,
                    ack_segments: path.acks,
                    ..Config::default()
                };
                let mut a = End::new(config.clone(), 1, 2, 8192);
                a.to_send = vec![0x5a; 1 << 16];
                Flow {
                    a,
                    b: End::new(config, 2, 1, 8192),
                    // Not in step with anything.
                    begins: now + *after + Duration::from_micros(rng.below(20_000)),
                    ended: false,
                    received: 0,
                    bursts: (0, 0),
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
            longest: Duration::ZERO,
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
            let wait = start.since(self.now);
            self.longest = self.longest.max(wait);
            self.waited.0 += wait;
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
        if end.sent == end.to_send.len() && !f.ended {
            end.sent = 0;
        }
        end.app(self.now);
        let packets = end.collect(self.now);
        end.log.clear();
        end.ecn.clear();
        end.events.clear();
        f.received += std::mem::take(&mut end.received).len() as u64;
        if from_a && !packets.is_empty() {
            f.bursts = (f.bursts.0 + 1, f.bursts.1 + packets.len() as u64);
        }
        for bytes in packets {
            self.put(flow, from_a, bytes);
        }
    }

    pub fn run(&mut self, time: Duration) {
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
    pub fn goodput(&mut self, time: Duration) -> Vec<f64> {
        let received = |s: &Self| s.flows.iter().map(|f| f.received).collect::<Vec<_>>();
        let before = received(self);
        self.run(time);
        let mbps = |(a, b): (u64, u64)| (a - b) as f64 * 8e-6 / time.as_secs_f64();
        received(self).into_iter().zip(before).map(mbps).collect()
    }

    /// The longest that a packet has waited since this was asked last.
    pub fn longest_wait(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }

    /// The packets that a flow has sent at once, on average.
    pub fn burst(&self, flow: usize) -> f64 {
        let (times, packets) = self.flows[flow].bursts;
        packets as f64 / times as f64
    }

    /// A flow has nothing more to send, but for what waits already.
    pub fn end(&mut self, flow: usize) {
        self.flows[flow].ended = true;
    }

    pub fn finish(self) {
        for f in self.flows {
            f.a.finish();
            f.b.finish();
        }
    }
}

pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|x| x * x).sum();
    sum * sum / (shares.len() as f64 * squares)
}
