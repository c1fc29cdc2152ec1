//! The real loop: an engine under the operating system's clock.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Application, Clock, Engine, Idle};
use crate::frame::Ledger;
use crate::link::Link;
use crate::time::Instant;

/// Longest sleep: a bound in case a wake-up does not come.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// How often the link is asked whether it still works.
const HEALTH: Duration = Duration::from_millis(200);
/// How long an engine that has nothing to do looks only for what may come from
/// others, before it makes a whole turn again.
const GLANCE: Duration = Duration::from_micros(2);
/// Looks at the link for each at the clock and at what other threads may have
/// sent, which takes as long as ten of them.
const LOOKS: u32 = 64;
/// No more packets in a turn are no stream, but may be requests.
const FEW: usize = 4;
/// A stream is as many bytes as this in [`STREAM_WINDOW`]: 4 Gbit/s. Small
/// packets, which somebody may be waiting for, do not come to that.
const STREAM_BYTES: usize = 48 << 10;
const STREAM_WINDOW: Duration = Duration::from_micros(100);
/// For so long after a message from another thread an adaptive engine takes it
/// that such threads work for it, and that they need the processor that it
/// would spin on.
const HELPED: Duration = Duration::from_millis(1);
/// How long an engine that may sleep rests between two batches of a stream,
/// beside some fifty microseconds by which the kernel is late: at 10 Gbit/s 80
/// packets come in the meantime.
const REST: Duration = Duration::from_micros(40);
/// What comes in [`STREAM_WINDOW`] is let wait for that long if the link has so
/// many times the room for it, since the kernel may be later than usual.
const ROOM: usize = 4;

/// How an engine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Who had which frames at the end. With none
    /// [`outstanding`](Ledger::outstanding) nothing was lost.
    pub ledger: Ledger,
}

/// Why an engine could not run, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The thread could not be pinned.
    #[error(
        "thread {name} cannot be pinned to core {core}: is it online and in the affinity mask?"
    )]
    NotPinned {
        /// Name of the thread.
        name: String,
        /// The core.
        core: usize,
    },
    /// The interface is gone, or no longer ours.
    #[error("the link failed: {0}")]
    Link(#[source] io::Error),
    /// Waiting failed.
    #[error("waiting for packets failed: {0}")]
    Wait(#[source] io::Error),
}

/// Runs `body` on a thread of this name (Linux shows the first 15 bytes),
/// pinned to `core` if one is given.
///
/// # Errors
/// When there can be no thread; the thread itself answers
/// [`RunError::NotPinned`] when it cannot be pinned.
pub fn spawn<T: Send + 'static>(
    name: String,
    core: Option<usize>,
    body: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> io::Result<JoinHandle<Result<T, RunError>>> {
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            if let Some(id) = core
                && !pin(id)
            {
                return Err(RunError::NotPinned { name, core: id });
            }
            body()
        })
}

/// Pins this thread; `false` if it may not run on that core.
fn pin(core: usize) -> bool {
    // Asked first: a number that no core can have makes `set_for_current`
    // abort the process.
    core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .find(|c| c.id == core)
        .is_some_and(core_affinity::set_for_current)
}

/// Whether bytes come in a stream, by how many came lately.
struct Stream {
    since: Instant,
    bytes: usize,
    packets: usize,
    flows: bool,
    /// Packets that came in the last [`STREAM_WINDOW`].
    rate: usize,
}

impl Stream {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
            packets: 0,
            flows: false,
            rate: 0,
        }
    }

    fn count(&mut self, now: Instant, packets: usize, bytes: usize) {
        self.bytes += bytes;
        self.packets += packets;
        let time = now.since(self.since);
        if time >= STREAM_WINDOW {
            let (time, window) = (time.as_nanos(), STREAM_WINDOW.as_nanos());
            // A thread that was kept from its core finds more than it missed.
            self.flows = self.bytes as u128 >= STREAM_BYTES as u128 * (time / window);
            self.rate = (self.packets as u128 * window / time) as usize;
            self.since = now;
            self.bytes = 0;
            self.packets = 0;
        }
    }
}

impl<L: Link, A: Application> Engine<L, A> {
    /// Turns until the engine has stopped: by
    /// [`Context::stop`](super::Context::stop), by
    /// [`Waker::stop`](super::Waker::stop), or since the link failed.
    ///
    /// # Errors
    /// When the link failed; connections are gone then.
    pub fn run(&mut self, clock: Clock) -> Result<Ended, RunError> {
        let mut now = clock.now();
        let mut last_work = now;
        let mut health_at = now + HEALTH;
        let mut stream = Stream::new(now);
        let mut helped_until = now;
        loop {
            let messages = self.core.counters.messages_in;
            let turn = self.turn(now);
            if turn.stopped {
                return Ok(Ended {
                    ledger: self.ledger(),
                });
            }
            if now >= health_at {
                if let Err(error) = self.link.health() {
                    self.give_up(now);
                    return Err(RunError::Link(error));
                }
                health_at = now + HEALTH;
            }
            stream.count(now, turn.received, turn.received_bytes);
            if turn.worked {
                last_work = now;
            }
            if self.core.counters.messages_in != messages {
                helped_until = now + HELPED;
            }
            let turned = now;
            now = clock.now();
            let mut helped = false;
            let spins = match self.config.idle {
                Idle::Busy => true,
                Idle::Adaptive { .. } if now < helped_until => {
                    helped = true;
                    turn.worked
                }
                Idle::Adaptive { spin } => now.since(last_work) < spin,
                Idle::Sleep => turn.worked,
            };
            if spins {
                if stream.flows && turn.received < self.config.batch {
                    if helped || self.rests(stream.rate) {
                        std::thread::sleep(REST);
                        now = clock.now();
                        continue;
                    }
                    while now.since(turned) < self.config.pace {
                        std::hint::spin_loop();
                        now = clock.now();
                    }
                } else if turn.worked {
                    // What was sent may be answered before a whole turn is over.
                    let few = (1..=FEW).contains(&turn.received);
                    if few && turn.next.is_none_or(|next| next > now) && !self.looks(now) {
                        now = self.glance(clock, now, turn.next);
                    }
                } else {
                    now = self.glance(clock, now, turn.next);
                }
                continue;
            }
            let until = turn.next.map_or(LONGEST_SLEEP, |t| t.since(now));
            let timeout = until.min(LONGEST_SLEEP);
            if !timeout.is_zero() {
                self.sleep(timeout)?;
                now = clock.now();
            }
        }
    }

    /// Whether the engine leaves the processor between two batches of a stream of
    /// so many packets in [`STREAM_WINDOW`], rather than spin.
    fn rests(&self, rate: usize) -> bool {
        let may_sleep = self.config.idle != Idle::Busy && !self.config.pace.is_zero();
        may_sleep && ROOM * rate <= self.link.room()
    }

    /// Looks again and again for packets and messages alone: until there are
    /// some, something is due, or it is time for a whole turn. A turn that finds
    /// nothing takes several times as long as such a look, and what arrives in
    /// the middle of it waits.
    fn glance(&mut self, clock: Clock, begin: Instant, next: Option<Instant>) -> Instant {
        let until = next.map_or(begin + GLANCE, |next| next.min(begin + GLANCE));
        let mut now = begin;
        while now < until {
            for _ in 0..LOOKS {
                if !self.link.is_quiet() && self.looks(now) {
                    return now;
                }
            }
            if self.has_mail() {
                return now;
            }
            now = clock.now();
        }
        now
    }

    /// Looks for packets, which the next turn takes: whether there are some.
    #[inline]
    fn looks(&mut self, now: Instant) -> bool {
        let pool = &mut self.core.pool;
        let most = self.config.batch;
        self.rx.is_empty() && self.link.receive(now, pool, &mut self.rx, most) > 0
    }

    /// Whether anything from another thread waits.
    fn has_mail(&self) -> bool {
        !self.core.inbox.is_empty()
            || self.handover.as_ref().is_some_and(|h| !h.is_empty())
            || self.feed.as_ref().is_some_and(|f| !f.is_empty())
    }

    fn sleep(&mut self, timeout: Duration) -> Result<(), RunError> {
        let waker = self.core.inbox.waker();
        let stopping = self.core.stop_asked;
        let sleeps = waker.prepare_sleep(stopping, || self.has_mail());
        if sleeps {
            let slept = self.link.wait(timeout, &[waker.fd()]);
            waker.awake();
            slept.map_err(RunError::Wait)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `packets` of `each` bytes every `step`, for a millisecond.
    fn after(step: Duration, packets: usize, each: usize) -> Stream {
        let mut now = Instant::ZERO;
        let mut stream = Stream::new(now);
        while now < Instant::from_millis(1) {
            now += step;
            stream.count(now, packets, packets * each);
        }
        stream
    }

    #[test]
    fn full_frames_in_a_row_are_a_stream_and_small_or_sparse_ones_are_not() {
        let us = Duration::from_micros;
        assert!(after(us(1), 1, 1514).flows);
        assert!(after(us(5), 5, 1514).flows);
        assert!(!after(us(1), 1, 130).flows);
        assert!(!after(us(12), 1, 1514).flows);
        // Once in a while a lot is none either.
        assert!(!after(us(500), 64, 1514).flows);
    }

    #[test]
    fn the_rate_does_not_depend_on_how_often_somebody_looks() {
        let us = Duration::from_micros;
        for (step, packets) in [(us(1), 1), (us(90), 90), (us(190), 190)] {
            assert_eq!(after(step, packets, 1514).rate, 100, "each {step:?}");
        }
        assert_eq!(after(us(190), 380, 1514).rate, 200);
    }
}
