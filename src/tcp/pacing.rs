//! The pace of new data ([`Rate`]), or else its bursts. Retransmissions are left
//! to proportional rate reduction.

use std::time::Duration;

use super::connection::Connection;
use super::timers::Timer;
use crate::time::Instant;
use crate::transport::pace::Rate;

/// How long new data is gathered for a burst while acknowledgements come, and for how
/// much: as much as leaves in that time by [`Rate`], as in Linux.
const GATHER: Duration = Duration::from_millis(1);
/// Nor more than leaves in that part of the time that packets wait in queues, as
/// far as round trips show: short queues cannot hold long bursts.
const QUEUE_DIVISOR: u32 = 4;
/// Nor more bytes: what Linux sends at once by default.
const MAX_GATHER: u32 = 64 << 10;
/// Nor a larger part of the window: what is in flight keeps acknowledgements
/// coming.
const GATHER_DIVISOR: u32 = 3;
/// On shorter paths queues are those of interfaces.
const MIN_ROUND_TRIP: Duration = Duration::from_millis(1);

impl Connection {
    /// How fast new data may leave; `None` if there is no pace.
    fn pace(&self) -> Option<Rate> {
        if !self.config.pacing {
            return None;
        }
        Rate::of(self.rtt.srtt(), self.cc.cwnd(), self.cc.in_slow_start())
    }

    /// New data that may leave now, in bytes; at least a byte lets a segment go.
    pub(super) fn pace_room(&self, now: Instant) -> u32 {
        let ahead = self.pace_at.since(now);
        self.pace()
            .map_or(u32::MAX, |rate| rate.room(ahead, self.snd.mss))
    }

    /// Whether new data waits, with `in_flight` bytes in the network, until so much
    /// may leave that it is a burst, or until an acknowledgement comes [`GATHER`]
    /// after the last. There is no timer for it, as there is none in Linux: what is
    /// in flight, two thirds of the window at least, brings one. Where a round trip
    /// without any queue would not bring it in that time nothing waits, so that no
    /// wait is longer than that time and what packets queue.
    ///
    /// A queue that is full drops the ends of bursts, and Linux sends bursts.
    /// Who sends two segments for each acknowledgement beside it hardly ever
    /// loses one, and leaves all the giving way to others.
    pub(super) fn gathers(&self, now: Instant, in_flight: u32) -> bool {
        let cwnd = self.cc.cwnd();
        let room = cwnd.saturating_sub(in_flight);
        let most = MAX_GATHER.min(cwnd / GATHER_DIVISOR);
        let least = 2 * u32::from(self.snd.mss);
        if room >= most || most < least || in_flight == 0 {
            return false;
        }
        let since = now.since(self.last_sent_at);
        if since >= GATHER || since.is_zero() || !self.may_gather() {
            return false;
        }
        let first = self.snd.first().map_or(now, |s| s.sent_at);
        if now.since(first) + GATHER < self.rtt.min() {
            return false;
        }
        let srtt = self.rtt.srtt();
        let queue = srtt.unwrap_or_default().saturating_sub(self.rtt.min());
        let time = GATHER.min(queue / QUEUE_DIVISOR);
        let burst = Rate::of(srtt, cwnd, self.cc.in_slow_start())
            .map_or(0, |rate| rate.gives(time).min(most));
        // Otherwise it is not the congestion window that holds back.
        let allowed = (self.snd.una + self.snd.wnd).ge(self.snd.nxt + burst);
        room < burst && self.snd.unsent() >= burst && allowed
    }

    /// Those that follow the delay make no queue that could be full, and would
    /// take their bursts for one.
    fn may_gather(&self) -> bool {
        self.rtt.min() >= MIN_ROUND_TRIP
            && self.recovery.is_open()
            && !self.config.pacing
            && !self.config.congestion.follows_delay()
    }

    /// Nothing may leave now: tries again when a burst may.
    pub(super) fn wait_for_pace(&mut self) {
        let at = self.pace_at.min(self.timers.get(Timer::Retry));
        self.timers.set(Timer::Retry, at);
    }

    /// New data of `bytes` has left.
    pub(super) fn keep_pace(&mut self, now: Instant, bytes: u32) {
        if let Some(rate) = self.pace() {
            self.pace_at = self.pace_at.max(now) + rate.takes(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::rtt::Rtt;
    use super::super::testing::Pair;
    use super::*;
    use crate::congestion::Algorithm;

    const MSS: u32 = 1448;
    const US: Duration = Duration::from_micros(1);

    /// A connection with much to send and a window of 100 segments, whose round
    /// trips are 20 ms and as much in a queue, whose first segment was sent that
    /// long ago and the last just now; and 100 us after that.
    fn busy(config: Config, queue: Duration) -> (Pair, Instant) {
        let mut p = Pair::connected(config.clone(), config);
        p.a.to_send = vec![0; 1 << 20];
        p.a.app(p.now);
        let now = p.now;
        let c = p.a.conn.as_mut().unwrap();
        c.cc.set_cwnd(100 * MSS);
        c.rtt = Rtt::new();
        let least = Duration::from_millis(20);
        c.rtt.sample(now, least, &c.config);
        for _ in 0..100 {
            c.rtt.sample(now, least + queue, &c.config);
        }
        c.last_sent_at = now;
        c.snd.get_mut(0).unwrap().sent_at = now - least;
        (p, now + 100 * US)
    }

    fn gathers(p: &Pair, now: Instant, room: u32) -> bool {
        let c = p.a.conn.as_ref().unwrap();
        c.gathers(now, c.cc.cwnd() - room * MSS)
    }

    #[test]
    fn new_data_is_gathered_for_a_burst_of_a_millisecond() {
        // 100 segments in 40 ms, and twice as fast as slow start is: five.
        let (p, now) = busy(Config::default(), Duration::from_millis(20));
        assert!(gathers(&p, now, 2) && gathers(&p, now, 4) && !gathers(&p, now, 6));
        // What is being sent goes on, and nothing waits for long.
        assert!(!gathers(&p, now - 100 * US, 2));
        assert!(gathers(&p, now + 800 * US, 2) && !gathers(&p, now + 900 * US, 2));
        let idle = p.a.conn.as_ref().unwrap();
        assert!(!idle.gathers(now, 0));
    }

    #[test]
    fn it_is_not_where_it_would_not_help() {
        let queue = Duration::from_millis(20);
        let not = |config: Config, queue| {
            let (p, now) = busy(config, queue);
            !gathers(&p, now, 2)
        };
        let base = Config::default();
        assert!(not(base.clone(), Duration::ZERO), "no queue");
        assert!(not(base.clone(), 500 * US), "a short one");
        let pacing = true;
        assert!(not(
            Config {
                pacing,
                ..base.clone()
            },
            queue
        ));
        let congestion = Algorithm::Ledbat;
        assert!(not(
            Config {
                congestion,
                ..base.clone()
            },
            queue
        ));
        // Windows that are small, of us or of the peer; and little to send.
        let changed = |change: fn(&mut Connection)| {
            let (mut p, now) = busy(base.clone(), queue);
            change(p.a.conn.as_mut().unwrap());
            !gathers(&p, now, 2)
        };
        assert!(changed(|c| c.cc.set_cwnd(5 * MSS)));
        assert!(changed(|c| c.snd.wnd = 3 * MSS));
        assert!(changed(|c| c.rtt = Rtt::new()));
        // No acknowledgement can come soon.
        assert!(changed(|c| c.snd.get_mut(0).unwrap().sent_at += 2 * GATHER));
        let (mut p, now) = busy(base.clone(), queue);
        p.a.to_send.clear();
        let c = p.a.conn.as_mut().unwrap();
        while c.snd.unsent() > 3 * MSS {
            c.snd.sent_next(now);
        }
        assert!(!gathers(&p, now, 2));
    }
}
