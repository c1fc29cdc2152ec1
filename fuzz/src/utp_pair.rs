//! Two uTP connections and a network that does with their packets what the input
//! says. When it has said everything the network works, and what was written
//! has to arrive: all of it, once, in order.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use fullbore::time::Instant;
use fullbore::utp::{Config, Reason, State};
use fullbore::wire::utp::{Header, Kind, SeqNr};

use super::input::Input;
use super::utp_end::{End, MOST, Start, config, content};

/// Actions taken from one input.
const STEPS: usize = 400;
/// The longest that the network misbehaves: shorter than anybody's patience. A FIN
/// that is all that is left goes for the last time after 7.5 s.
const BAD_TIME: Duration = Duration::from_secs(5);
/// How long the rest may take, and how many rounds.
const GOOD_TIME: Duration = Duration::from_secs(4000);
const ROUNDS: usize = 100_000;
/// Most that an end writes, and least.
const MOST_WRITTEN: u32 = 100_000;
const LEAST_WRITTEN: u32 = 5000;

pub fn run(data: &[u8]) {
    let mut i = Input::new(data);
    let mut pair = Pair::new(&mut i);
    let begin = pair.now;
    for _ in 0..STEPS {
        if i.is_empty() || pair.now.since(begin) > BAD_TIME {
            break;
        }
        pair.step(&mut i);
        pair.settle();
    }
    pair.heal();
}

/// Whether every packet is shown: for looking into a failure.
static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FULLBORE_FUZZ_TRACE").is_some());

/// An end, once it is there, and how it will begin.
struct Side {
    end: Option<End>,
    config: Config,
    isn: SeqNr,
    /// Bytes read of the other's stream.
    read: u32,
}

impl Side {
    fn start(&self, me: u8, peer: u8, now: Instant) -> Start {
        Start {
            config: self.config.clone(),
            chunks: 256,
            isn: self.isn,
            me,
            peer,
            now,
        }
    }

    /// What was read has to be what the stream has next.
    fn check(&mut self, bytes: &[u8]) {
        for (at, b) in (self.read..).zip(bytes) {
            assert_eq!(*b, content(at), "byte {at} of the stream");
        }
        self.read += bytes.len() as u32;
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.end.as_ref().and_then(|e| e.conn.poll_timeout())
    }

    fn is_over(&self) -> bool {
        self.end.as_ref().is_some_and(|e| {
            e.closed.is_some() && matches!(e.conn.state(), State::Closed | State::Lingering)
        })
    }
}

struct Pair {
    sides: [Side; 2],
    /// Packets on their way to each side.
    wires: [VecDeque<Vec<u8>>; 2],
    now: Instant,
}

impl Pair {
    fn new(i: &mut Input<'_>) -> Self {
        let mut side = || Side {
            // Nobody gives up while the network misbehaves.
            config: Config {
                user_timeout: None,
                keepalive_probes: 0,
                syn_retries: 20,
                retries: 20,
                accept_timeout: GOOD_TIME,
                ..config(i)
            },
            // Numbers wrap soon.
            isn: SeqNr(u16::MAX - u16::from(i.u8())),
            end: None,
            read: 0,
        };
        let mut sides = [side(), side()];
        let now = Instant::from_millis(10_000);
        sides[0].end = Some(End::connect(sides[0].start(1, 2, now), i.u16()));
        let mut pair = Self {
            sides,
            wires: Default::default(),
            now,
        };
        pair.settle();
        pair
    }

    fn settle(&mut self) {
        for from in 0..2 {
            if let Some(end) = &mut self.sides[from].end {
                let sent = end.settle(self.now);
                self.wires[1 - from].extend(sent);
            }
        }
    }

    fn deliver(&mut self, to: usize, bytes: &[u8]) {
        let header = Header::parse(bytes).expect("ends send what is valid");
        let side = &mut self.sides[to];
        if *TRACE {
            let state = side.end.as_ref().map(|e| e.conn.state());
            let len = bytes.len() - usize::from(header.len);
            eprintln!(
                "{:?} to {to} in {state:?}: {header:?}, {len} bytes",
                self.now
            );
        }
        match &mut side.end {
            Some(end) => {
                end.datagram(self.now, bytes);
            }
            None if header.kind == Kind::Syn => {
                side.end = Some(End::accept(side.start(2, 1, self.now), &header));
            }
            None => {}
        }
    }

    fn step(&mut self, i: &mut Input<'_>) {
        let op = i.u8();
        let at = usize::from(op >> 7);
        if op % 32 < 20 {
            return self.network(i, op, at);
        }
        let side = &mut self.sides[at];
        let Some(end) = &mut side.end else {
            return self.wait();
        };
        match op % 32 {
            20 | 21 => {
                let n = u32::from(i.u16()).min(MOST_WRITTEN.saturating_sub(end.written));
                end.write(n as usize);
            }
            22 => {
                let n = u32::from(i.u16() % (MOST + 1));
                end.write_frame(n.min(MOST_WRITTEN.saturating_sub(end.written)) as usize);
            }
            23 => {
                let read = end.read(usize::from(i.u16()));
                side.check(&read);
            }
            24 => {
                let taken = end.take();
                side.check(&taken);
            }
            25 => end.give_back(),
            // Who shuts down before there is an answer has given up.
            26 if op & 0x60 == 0x60 && end.conn.state() != State::SynSent => end.conn.shutdown(),
            26 => end.complete(i.below(16)),
            27 => {
                end.slow = i.bool();
                if !end.slow {
                    end.complete(usize::MAX);
                }
            }
            28 if op & 32 != 0 => end.hog(i.below(32)),
            28 => end.unhog(),
            29 if op & 32 != 0 => end.conn.limit_payload(i.u16(), &mut end.pool),
            29 => end.conn.set_nodelay(op & 64 != 0),
            _ => self.wait(),
        }
    }

    /// What the network does to packets that wait for it.
    fn network(&mut self, i: &mut Input<'_>, op: u8, at: usize) {
        let waiting = self.wires[at].len();
        match op % 32 {
            0..=8 => {
                if let Some(packet) = self.wires[at].pop_front() {
                    self.deliver(at, &packet);
                }
            }
            9 | 10 if waiting > 0 => {
                // Out of order.
                let n = i.below(waiting.min(256));
                if let Some(packet) = self.wires[at].remove(n) {
                    self.deliver(at, &packet);
                }
            }
            11 if waiting > 0 => {
                // Twice, or more often.
                let n = i.below(waiting.min(256));
                let packet = self.wires[at][n].clone();
                self.deliver(at, &packet);
            }
            12 | 13 if waiting > 0 => {
                self.wires[at].remove(i.below(waiting.min(256)));
            }
            14 => {
                // A burst is lost.
                let n = i.below(32).min(waiting);
                self.wires[at].drain(..n);
            }
            15 => {
                // Whatever is long is lost.
                let most = usize::from(i.u8()) * 8;
                self.wires[at].retain(|packet| packet.len() <= most);
            }
            16 => {
                // A whole batch arrives before anything is answered.
                for packet in std::mem::take(&mut self.wires[at]) {
                    self.deliver(at, &packet);
                }
            }
            17 => self.pass(Duration::from_millis(u64::from(i.u8()))),
            18 => self.pass(Duration::from_micros(u64::from(i.u8()))),
            _ => self.wait(),
        }
    }

    /// Until the next deadline.
    fn wait(&mut self) {
        let next = self.next_timeout().unwrap_or(self.now);
        self.pass(next.since(self.now).min(Duration::from_secs(2)));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for side in &mut self.sides {
            if let Some(end) = &mut side.end {
                end.timeout(self.now);
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.sides.iter().filter_map(Side::next_timeout).min()
    }

    /// The network works and the applications do their part.
    fn heal(mut self) {
        for end in self.sides.iter_mut().filter_map(|s| s.end.as_mut()) {
            end.slow = false;
            end.complete(usize::MAX);
            end.unhog();
        }
        let until = self.now + GOOD_TIME;
        let mut round = 0;
        loop {
            round += 1;
            assert!(
                round < ROUNDS && self.now < until,
                "it hangs at {:?}: {}",
                self.now,
                self.describe()
            );
            self.applications();
            self.settle();
            if self.sides.iter().all(Side::is_over) {
                break;
            }
            if self.wires.iter().all(VecDeque::is_empty) {
                let next = self.next_timeout();
                assert!(next.is_some(), "nothing will happen: {}", self.describe());
                self.pass(next.unwrap_or(self.now).since(self.now));
            } else {
                self.pass(Duration::from_millis(5));
                for to in 0..2 {
                    for packet in std::mem::take(&mut self.wires[to]) {
                        self.deliver(to, &packet);
                    }
                }
            }
        }
        let [a, b] = self.sides.map(|side| {
            let end = side.end.expect("it was there");
            assert_eq!(end.closed, Some(Reason::Finished), "{:?}", end.conn);
            let written = end.written;
            end.finish();
            (written, side.read)
        });
        assert_eq!((a.0, a.1), (b.1, b.0), "written and read");
    }

    fn describe(&self) -> String {
        let conns = self
            .sides
            .each_ref()
            .map(|s| s.end.as_ref().map(|e| &e.conn));
        format!("{conns:?}")
    }

    fn applications(&mut self) {
        for side in &mut self.sides {
            let Some(end) = &mut side.end else { continue };
            end.give_back();
            let read = end.read(usize::MAX);
            if end.conn.state().can_send() {
                // A few bytes more for those who wrote none.
                end.write(LEAST_WRITTEN.saturating_sub(end.written) as usize);
                if end.written >= LEAST_WRITTEN {
                    end.conn.shutdown();
                }
            }
            side.check(&read);
        }
    }
}
