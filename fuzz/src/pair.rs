//! Two connections and a network that does with their segments what the input
//! says. When it has said everything the network works, and what was written
//! has to arrive: all of it, once, in order.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use fullbore::tcp::{Reason, State};
use fullbore::time::Instant;
use fullbore::wire::tcp::{Flags, Header, SeqNumber};

use super::connection::config;
use super::end::End;
use super::input::Input;

/// Actions taken from one input.
const STEPS: usize = 400;
/// The longest that the network misbehaves: shorter than anybody's patience.
const BAD_TIME: Duration = Duration::from_secs(20);
/// How long the rest may take, and how many rounds.
const GOOD_TIME: Duration = Duration::from_secs(4000);
const ROUNDS: usize = 100_000;
/// Most that an end writes.
const MOST: u32 = 200_000;

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

/// Whether every segment is shown: for looking into a failure.
static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FULLBORE_FUZZ_TRACE").is_some());

type Segment = (Header, usize);

struct Pair {
    ends: [End; 2],
    /// Segments on their way to each end.
    wires: [VecDeque<Segment>; 2],
    now: Instant,
}

impl Pair {
    fn new(i: &mut Input<'_>) -> Self {
        let mut end = |me, peer| {
            let mut config = config(i);
            // Nobody gives up while the network misbehaves.
            config.user_timeout = None;
            let iss = SeqNumber(u32::MAX - u32::from(i.u16()));
            End::new(config, me, peer, iss, 256)
        };
        let mut ends = [end(1, 2), end(2, 1)];
        let now = Instant::from_millis(10_000);
        ends[0].connect(now);
        // A simultaneous open.
        if i.u8() & 7 == 7 {
            ends[1].connect(now);
        }
        let mut pair = Self {
            ends,
            wires: Default::default(),
            now,
        };
        pair.settle();
        pair
    }

    fn settle(&mut self) {
        for from in 0..2 {
            let before = self.ends[1 - from].edge;
            for (h, len) in self.ends[from].settle(self.now) {
                // No byte beyond the window that was offered.
                let reset = h.flags.contains(Flags::RST);
                if let (Some(edge), false) = (before, reset) {
                    let end = h.seq + len as u32;
                    assert!(
                        end.le(edge),
                        "beyond {edge}: {h:?} {:?}",
                        self.ends[from].conn
                    );
                }
                self.wires[1 - from].push_back((h, len));
            }
        }
    }

    fn deliver(&mut self, to: usize, (h, len): Segment, ce: bool) {
        if *TRACE {
            let state = self.ends[to].state();
            let Header {
                flags,
                seq,
                ack,
                window,
                options,
                ..
            } = &h;
            eprintln!(
                "{:?} to {to} in {state:?}: {flags:?} {seq}+{len} ack {ack} win {window} {:?} {:?}",
                self.now,
                options.timestamps,
                options.sack.iter().collect::<Vec<_>>()
            );
        }
        let end = &mut self.ends[to];
        if end.conn.is_none() {
            if h.flags == Flags::SYN {
                end.accept(self.now, &h);
            }
            return;
        }
        end.segment(self.now, &h, len, ce);
    }

    fn step(&mut self, i: &mut Input<'_>) {
        let op = i.u8();
        let at = usize::from(op >> 7);
        let waiting = self.wires[at].len();
        let end = &mut self.ends[at];
        match op % 32 {
            0..=9 => {
                if let Some(segment) = self.wires[at].pop_front() {
                    self.deliver(at, segment, false);
                }
            }
            10 | 11 if waiting > 0 => {
                // Out of order.
                let n = i.below(waiting.min(256));
                if let Some(segment) = self.wires[at].remove(n) {
                    self.deliver(at, segment, op & 32 != 0);
                }
            }
            12 if waiting > 0 => {
                // Twice, or more often.
                let n = i.below(waiting.min(256));
                let segment = self.wires[at][n];
                self.deliver(at, segment, false);
            }
            13 | 14 if waiting > 0 => {
                self.wires[at].remove(i.below(waiting.min(256)));
            }
            15 => {
                // A burst is lost.
                let n = i.below(32).min(waiting);
                self.wires[at].drain(..n);
            }
            16 => {
                // A whole batch arrives before anything is answered.
                for segment in std::mem::take(&mut self.wires[at]) {
                    self.deliver(at, segment, false);
                }
            }
            17..=19 => {
                let n = u32::from(i.u16()).min(MOST.saturating_sub(end.written));
                if op & 32 != 0 {
                    end.write(n as usize);
                } else {
                    end.write_frame(n.min(1460) as usize);
                }
            }
            20 | 21 => {
                end.read(usize::from(i.u16()));
            }
            22 => end.take(),
            23 => end.give_back(),
            // Who shuts down before there is an answer has given up.
            24 if op & 0x60 == 0x60 && end.state() != State::SynSent => end.shutdown(),
            24 => end.complete(i.below(16)),
            25 => {
                end.slow = i.bool();
                if !end.slow {
                    end.complete(usize::MAX);
                }
            }
            26 if op & 32 != 0 => end.hog(i.below(32)),
            26 => end.unhog(),
            27 => {
                let (mss, quoted) = (i.u16(), end.una());
                if let Some(conn) = &mut end.conn {
                    conn.handle_path_mtu(self.now, mss, quoted);
                }
            }
            28 => self.pass(Duration::from_millis(u64::from(i.u8()))),
            29 => self.pass(Duration::from_micros(u64::from(i.u8()))),
            _ => {
                let next = self.next_timeout().unwrap_or(self.now);
                self.pass(next.since(self.now).min(Duration::from_secs(2)));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            end.timeout(self.now);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.ends.iter().filter_map(End::next_timeout).min()
    }

    /// The network works and the applications do their part.
    fn heal(mut self) {
        for end in &mut self.ends {
            end.slow = false;
            end.complete(usize::MAX);
            end.unhog();
        }
        let until = self.now + GOOD_TIME;
        let mut round = 0;
        while !self.is_over() {
            round += 1;
            assert!(
                round < ROUNDS && self.now < until,
                "it hangs at {:?}: {:?} {:?}",
                self.now,
                self.ends[0].conn,
                self.ends[1].conn
            );
            self.applications();
            self.settle();
            if self.wires.iter().all(VecDeque::is_empty) {
                let next = self.next_timeout();
                assert!(
                    next.is_some(),
                    "nothing will happen: {:?} {:?}",
                    self.ends[0].conn,
                    self.ends[1].conn
                );
                self.pass(next.unwrap_or(self.now).since(self.now));
            } else {
                self.pass(Duration::from_millis(5));
                for to in 0..2 {
                    for segment in std::mem::take(&mut self.wires[to]) {
                        self.deliver(to, segment, false);
                    }
                }
            }
        }
        let [a, b] = self.ends;
        assert_eq!(
            (a.closed, b.closed),
            (Some(Reason::Finished), Some(Reason::Finished))
        );
        assert_eq!((a.read, b.read), (b.written, a.written));
        a.finish();
        b.finish();
    }

    fn applications(&mut self) {
        for end in &mut self.ends {
            end.give_back();
            end.read(usize::MAX);
            if end.state().can_send() {
                // A few bytes more for those who wrote none.
                end.write(5000u32.saturating_sub(end.written) as usize);
                if end.written >= 5000 {
                    end.shutdown();
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ends
            .iter()
            .all(|e| e.closed.is_some() && matches!(e.state(), State::Closed | State::TimeWait))
    }
}
