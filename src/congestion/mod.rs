//! Congestion controllers, as one enum.
//!
//! [`Controller`] owns the congestion window and the slow-start threshold, in
//! bytes. It is told what was acknowledged and what was lost; it reads no
//! clock and knows no segment. Loss recovery itself is paced by [`Prr`].
//!
//! Slow start (with the exit of [HyStart++], RFC 9406) is the same for all
//! algorithms that fill queues; they differ in how they grow afterwards and in
//! how far they back off. LEDBAT and LEDBAT++ keep queues short: all their
//! growth follows the delay.
//!
//! [HyStart++]: https://www.rfc-editor.org/rfc/rfc9406

mod algorithm;
mod cubic;
mod delay;
#[cfg(test)]
mod delay_tests;
mod hystart;
mod ledbat;
mod ledbat_plus;
#[cfg(test)]
mod ledbat_tests;
mod prr;
mod reno;
#[cfg(test)]
mod sequence_tests;
#[cfg(test)]
mod tests;
mod tolerance;
#[cfg(test)]
mod tolerance_tests;
mod westwood;
mod window;

use std::time::Duration;

use crate::time::Instant;
pub use algorithm::{Algorithm, UnknownAlgorithm};
use cubic::Cubic;
pub use delay::DelaySample;
use hystart::{HyStart, Pace};
use ledbat::Ledbat;
use ledbat_plus::LedbatPlus;
pub use prr::Prr;
use reno::Reno;
use westwood::Westwood;
use window::Window;
pub use window::{DEFAULT_INITIAL_WINDOW, MAX_CWND};

/// Segments of the window below which a train of acknowledgments tells nothing.
const LEAST_TRAIN_WINDOW: u32 = 16;

/// What one acknowledgment (or one batch of them) tells the controller.
#[derive(Clone, Copy, Debug)]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Bytes newly delivered by it: cumulatively or selectively acknowledged
    /// for the first time.
    pub acked: u32,
    /// Round-trip time measured from it, if it could be measured (never from
    /// a retransmitted segment without time stamps).
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// Mean deviation of the round-trip time (RFC 6298).
    pub rttvar: Duration,
    /// Smallest round-trip time of the connection; zero if unknown.
    pub min_rtt: Duration,
    /// Bytes in flight just before it arrived.
    pub in_flight: u32,
    /// The congestion window was what held the sender back, not the
    /// application nor the peer's window (RFC 7661).
    pub cwnd_limited: bool,
    /// The first acknowledgment of a new round trip: it covers data sent
    /// after the previous round began.
    pub round_start: bool,
    /// One-way delays, from a transport that measures them at all; otherwise
    /// the round trip stands for them.
    pub delay: Option<DelaySample>,
}

#[derive(Clone, Debug)]
enum State {
    Reno(Reno),
    Cubic(Cubic),
    // Apart: the others are small.
    Westwood(Box<Westwood>),
    Ledbat(Box<Ledbat>),
    LedbatPlus(Box<LedbatPlus>),
}

impl State {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Reno => Self::Reno(Reno::default()),
            Algorithm::Cubic => Self::Cubic(Cubic::default()),
            Algorithm::Tolerant => Self::Cubic(Cubic::tolerant()),
            Algorithm::Westwood => Self::Westwood(Box::default()),
            Algorithm::Ledbat => Self::Ledbat(Box::new(Ledbat::new())),
            Algorithm::LedbatPlusPlus => Self::LedbatPlus(Box::new(LedbatPlus::new())),
        }
    }
}

/// What [`Controller::undo`] puts back.
#[derive(Clone, Debug)]
struct Saved {
    cwnd: u32,
    ssthresh: u32,
    state: State,
    hystart: HyStart,
}

/// What made the controller back off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Loss,
    Timeout,
    Ecn,
}

/// The congestion window of one connection.
///
/// # Order of calls
/// Outside of loss recovery each acknowledgment of new data is an
/// [`on_ack`](Self::on_ack). A loss event is one
/// [`on_congestion`](Self::on_congestion); until
/// [`on_recovery_exit`](Self::on_recovery_exit), acknowledgments go to
/// [`on_ack_in_recovery`](Self::on_ack_in_recovery) and the window is what
/// [`Prr`] computes and [`set_cwnd`](Self::set_cwnd) stores. A retransmission
/// time-out is [`on_rto`](Self::on_rto), after which slow start goes on with
/// `on_ack`.
#[derive(Clone, Debug)]
pub struct Controller {
    algorithm: Algorithm,
    window: Window,
    state: State,
    hystart: HyStart,
    // Apart: few connections have one.
    saved: Option<Box<Saved>>,
    /// Most bytes in flight during the current round and the one before it.
    flight: [u32; 2],
    /// The window was the limit when last looked at.
    limited: bool,
    /// The window has left its initial value.
    started: bool,
}

impl Controller {
    /// A controller at the start of a connection.
    ///
    /// `smss` is the sender's maximum segment size in bytes, `initial_window`
    /// the initial window in segments ([`DEFAULT_INITIAL_WINDOW`], RFC 6928,
    /// with that document's limit for large segments).
    #[must_use]
    pub fn new(algorithm: Algorithm, smss: u32, initial_window: u32) -> Self {
        Self {
            algorithm,
            window: Window::new(smss, initial_window),
            state: State::new(algorithm),
            hystart: HyStart::default(),
            saved: None,
            flight: [0; 2],
            limited: false,
            started: false,
        }
    }

    /// The longest queue that LEDBAT and LEDBAT++ make, from 1 to 100 ms, which
    /// RFC 6817 has as the most; what is outside counts as the nearest. Their
    /// own are 100 and 60 ms. The others have none.
    pub fn set_delay_target(&mut self, target: Duration) {
        match &mut self.state {
            State::Reno(_) | State::Cubic(_) | State::Westwood(_) => {}
            State::Ledbat(l) => l.set_target(target),
            State::LedbatPlus(l) => l.set_target(target),
        }
    }

    /// Whether the sender spreads its window over the round trip. What it is
    /// answered looks like the answers of a longer path then.
    pub fn set_paced(&mut self, paced: bool) {
        self.hystart.set_paced(paced);
    }

    /// The congestion window in bytes, at least one segment.
    #[must_use]
    pub fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    /// The slow-start threshold in bytes; `u32::MAX` until a first back-off.
    #[must_use]
    pub fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    /// Whether the window is below the slow-start threshold.
    #[must_use]
    pub fn in_slow_start(&self) -> bool {
        self.window.in_slow_start()
    }

    /// The algorithm's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.algorithm.name()
    }

    /// New data was acknowledged outside of fast recovery.
    ///
    /// In slow start the window grows by all that was delivered, also when
    /// one acknowledgment covers many segments, provided that the window was
    /// the limit or is below twice the data recently in flight. In congestion
    /// avoidance it grows only when it was the limit (RFC 9438 §5.8). LEDBAT's
    /// may also fall.
    pub fn on_ack(&mut self, a: &AckSample) {
        self.observe(a);
        if a.acked == 0 {
            return;
        }
        self.started = true;
        let mut acked = a.acked;
        let usable = a.cwnd_limited || self.window.cwnd < self.recent_flight().saturating_mul(2);
        match &mut self.state {
            State::Reno(_) | State::Cubic(_) | State::Westwood(_) => {}
            State::Ledbat(l) => return l.on_ack(&mut self.window, a, usable),
            State::LedbatPlus(l) => return l.on_ack(&mut self.window, a, usable),
        }
        if self.in_slow_start() {
            let trains = matches!(self.state, State::Cubic(_))
                && self.window.cwnd / self.window.smss >= LEAST_TRAIN_WINDOW;
            let pace = self.hystart.on_ack(a, trains);
            if usable {
                acked = match pace {
                    Pace::Full => self.window.slow_start(acked),
                    Pace::Reduced(divisor) => self.window.slow_start(acked / divisor),
                    Pace::Exit => acked,
                };
            }
            if pace == Pace::Exit {
                self.window.ssthresh = self.window.cwnd;
            }
            if self.in_slow_start() {
                return;
            }
        }
        if !a.cwnd_limited {
            if let State::Cubic(c) = &mut self.state {
                c.pause(a.now);
            }
            return;
        }
        match &mut self.state {
            State::Reno(r) => r.grow(&mut self.window, acked),
            State::Cubic(c) => c.grow(&mut self.window, acked, a, self.hystart.has_left()),
            State::Westwood(w) => w.grow(&mut self.window, acked),
            State::Ledbat(_) | State::LedbatPlus(_) => {}
        }
    }

    /// Data was delivered during fast recovery: nothing grows, measurements
    /// go on.
    pub fn on_ack_in_recovery(&mut self, a: &AckSample) {
        self.observe(a);
    }

    /// Fast recovery begins, once per loss event. Returns the new slow-start
    /// threshold in bytes, at least two segments; the window stays and is
    /// brought down by [`Prr`].
    ///
    /// `in_flight` is the data outstanding in bytes before the lost segments
    /// are taken off.
    pub fn on_congestion(&mut self, now: Instant, in_flight: u32) -> u32 {
        self.save();
        self.back_off(now, in_flight, Signal::Loss)
    }

    /// Further `bytes` turned out to be lost in the fast recovery that
    /// [`on_congestion`](Self::on_congestion) began. Returns a lower
    /// slow-start threshold in bytes if that changes it.
    pub fn on_further_loss(&mut self, bytes: u32) -> Option<u32> {
        let (State::Cubic(c), Some(saved)) = (&mut self.state, &self.saved) else {
            return None;
        };
        let w = &mut self.window;
        let target = c.further_loss(bytes, w.smss, saved.cwnd, w.ssthresh)?;
        w.set_ssthresh(target.min(w.ssthresh));
        Some(w.ssthresh)
    }

    /// The peer echoed a congestion mark, once per round trip. As
    /// [`on_congestion`](Self::on_congestion), with the milder back-off of
    /// RFC 8511.
    pub fn on_ecn(&mut self, now: Instant, in_flight: u32) -> u32 {
        self.save();
        self.back_off(now, in_flight, Signal::Ecn)
    }

    /// Stores the window that [`Prr`] computed, in bytes; also for the window
    /// of one segment after a lost SYN (RFC 6298 §5.7 and RFC 5681 §3.1).
    pub fn set_cwnd(&mut self, cwnd: u32) {
        self.started = true;
        self.replace_cwnd(cwnd);
    }

    /// Goes on by another algorithm, from the same window and threshold.
    pub fn switch(&mut self, algorithm: Algorithm) {
        if algorithm != self.algorithm {
            self.algorithm = algorithm;
            self.state = State::new(algorithm);
            self.saved = None;
        }
    }

    /// Everything lost in this event was repaired: the window becomes the
    /// slow-start threshold (RFC 9937 §6). Not for the end of a recovery that
    /// began with a time-out.
    pub fn on_recovery_exit(&mut self, _now: Instant) {
        if self.window.ssthresh <= MAX_CWND {
            self.replace_cwnd(self.window.ssthresh);
        }
    }

    /// The retransmission timer ran out: the window becomes one segment
    /// (RFC 5681 §3.1).
    ///
    /// `first` says that this loss event has not lowered the threshold yet:
    /// false for a further time-out of the same segment and for a time-out in
    /// a recovery that [`on_congestion`](Self::on_congestion) began.
    /// `in_flight` as there.
    pub fn on_rto(&mut self, now: Instant, in_flight: u32, first: bool) {
        if first {
            self.save();
            self.back_off(now, in_flight, Signal::Timeout);
        }
        match &mut self.state {
            State::Cubic(c) => c.on_rto(),
            State::Ledbat(l) => l.on_rto(self.window.smss),
            State::Reno(_) | State::Westwood(_) | State::LedbatPlus(_) => {}
        }
        self.started = true;
        self.replace_cwnd(self.window.smss);
    }

    /// The last back-off was a mistake (RFC 3522, RFC 3708, RFC 5682):
    /// nothing had been lost. Window and threshold return to at least what
    /// they were. Without such a back-off, or the second time, nothing
    /// happens.
    pub fn undo(&mut self) {
        let Some(saved) = self.saved.take() else {
            return;
        };
        self.window.ssthresh = self.window.ssthresh.max(saved.ssthresh);
        self.hystart = saved.hystart;
        match (&mut self.state, saved.state) {
            // What was measured meanwhile stays true.
            (State::Westwood(_) | State::Ledbat(_) | State::LedbatPlus(_), _) => {}
            (state, before) => *state = before,
        }
        self.replace_cwnd(self.window.cwnd.max(saved.cwnd));
    }

    /// Nothing was sent for `idle`: when that is longer than `rto`, what the
    /// path bears is no longer known and the window falls to the restart
    /// window (RFC 5681 §4.1), LEDBAT's by a third for each `rto`. The threshold
    /// remembers three quarters of it.
    pub fn on_idle(&mut self, idle: Duration, rto: Duration) {
        if idle <= rto {
            return;
        }
        let mut restart = self.window.initial().min(self.window.cwnd);
        if let State::Ledbat(_) | State::LedbatPlus(_) = self.state {
            restart = ledbat::decayed(self.window.cwnd, idle, rto, restart);
        }
        if restart < self.window.cwnd {
            let three_quarters = self.window.cwnd - self.window.cwnd / 4;
            self.window.ssthresh = self.window.ssthresh.max(three_quarters);
        }
        self.replace_cwnd(restart);
        self.flight = [0; 2];
    }

    /// The segment size changed: learnt from the handshake, or from the path.
    /// Before any data was acknowledged the window is the initial window of
    /// the new size; later it keeps its bytes.
    pub fn set_smss(&mut self, smss: u32) {
        self.window.set_smss(smss);
        if !self.started {
            self.replace_cwnd(self.window.initial());
        }
    }

    /// A window that did not grow out of the one before: growth starts afresh.
    fn replace_cwnd(&mut self, cwnd: u32) {
        self.window.set_cwnd(cwnd);
        match &mut self.state {
            State::Reno(r) => r.restart(),
            State::Cubic(c) => c.restart_epoch(),
            State::Westwood(w) => w.restart(),
            State::Ledbat(l) => l.restart(),
            State::LedbatPlus(l) => l.restart(),
        }
    }

    fn observe(&mut self, a: &AckSample) {
        if a.round_start {
            self.flight = [0, self.flight[0]];
        }
        self.flight[0] = self.flight[0].max(a.in_flight);
        self.limited = a.cwnd_limited;
        match &mut self.state {
            State::Reno(_) => {}
            State::Cubic(c) => c.observe(a, self.window.smss),
            State::Westwood(w) => w.observe(a),
            State::Ledbat(l) => l.observe(a),
            State::LedbatPlus(l) => l.observe(a),
        }
    }

    fn recent_flight(&self) -> u32 {
        self.flight[0].max(self.flight[1])
    }

    fn save(&mut self) {
        let saved = Saved {
            cwnd: self.window.cwnd,
            ssthresh: self.window.ssthresh,
            state: self.state.clone(),
            hystart: self.hystart,
        };
        match &mut self.saved {
            Some(place) => **place = saved,
            none => *none = Some(Box::new(saved)),
        }
    }

    fn back_off(&mut self, _now: Instant, in_flight: u32, signal: Signal) -> u32 {
        self.started = true;
        self.hystart.finish();
        // A window that was not used says nothing about the path.
        let used = if self.limited {
            self.window.cwnd
        } else {
            self.recent_flight().max(in_flight).min(self.window.cwnd)
        };
        let target = match &mut self.state {
            State::Reno(r) => r.back_off(used, signal),
            State::Cubic(c) => c.back_off(&self.window, used, signal),
            State::Westwood(w) => w.back_off(used, signal),
            State::Ledbat(l) => l.back_off(used),
            State::LedbatPlus(l) => l.back_off(used),
        };
        self.window.set_ssthresh(target);
        self.window.ssthresh
    }
}
