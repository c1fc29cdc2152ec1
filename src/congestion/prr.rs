//! Proportional Rate Reduction (RFC 9937): spreads the way down to the new
//! threshold over the acknowledgments of one recovery.

/// The state of one fast recovery. All quantities are bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prr {
    smss: u32,
    ssthresh: u32,
    /// Data in flight when recovery began.
    recover_fs: u32,
    delivered: u32,
    out: u32,
    cwnd: u32,
}

impl Prr {
    /// Recovery begins.
    ///
    /// - `ssthresh`: what [`Controller::on_congestion`] returned.
    /// - `outstanding`: SND.NXT - SND.UNA after the acknowledgment that began
    ///   it, if it was one.
    /// - `sacked_before`: of those, bytes selectively acknowledged before it; they
    ///   cannot be delivered again.
    /// - `newly_acked`: bytes that it acknowledged cumulatively and that were not
    ///   selectively acknowledged before.
    /// - `in_flight`: the estimate of what is in flight now, without what is
    ///   lost. The window starts one segment above it, so that a first
    ///   retransmission can go out whatever began the recovery.
    ///
    /// If an acknowledgment began it, give that to [`on_ack`](Self::on_ack) too.
    ///
    /// [`Controller::on_congestion`]: super::Controller::on_congestion
    #[must_use]
    pub fn enter(
        smss: u32,
        ssthresh: u32,
        outstanding: u32,
        sacked_before: u32,
        newly_acked: u32,
        in_flight: u32,
    ) -> Self {
        let recover_fs = outstanding
            .saturating_sub(sacked_before)
            .saturating_add(newly_acked);
        Self {
            smss: smss.max(1),
            ssthresh,
            recover_fs: recover_fs.max(1),
            delivered: 0,
            out: 0,
            cwnd: in_flight.saturating_add(smss.max(1)),
        }
    }

    /// An acknowledgment in recovery newly delivered `delivered` bytes and
    /// leaves `in_flight` bytes in flight. `safe` says that SND.UNA advanced
    /// and no further loss showed. Returns the congestion window.
    pub fn on_ack(&mut self, delivered: u32, in_flight: u32, safe: bool) -> u32 {
        if delivered == 0 {
            return self.cwnd;
        }
        self.delivered = self.delivered.saturating_add(delivered);
        let ssthresh = u64::from(self.ssthresh);
        let flight = u64::from(in_flight);
        let smss = u64::from(self.smss);
        let mut send = if flight > ssthresh {
            // In proportion: by the end, ssthresh in flight.
            let share = u64::from(self.delivered) * ssthresh;
            let share = share.div_ceil(u64::from(self.recover_fs));
            share.saturating_sub(u64::from(self.out))
        } else {
            // More was lost than the reduction asks for: conserve what is in
            // flight, and catch up by slow start while all goes well.
            let mut send = u64::from(self.delivered.saturating_sub(self.out).max(delivered));
            if safe {
                send += smss;
            }
            send.min(ssthresh - flight)
        };
        if self.out == 0 || in_flight == 0 {
            // The first retransmission always leaves, and an empty path is
            // never waited on.
            send = send.max(smss);
        }
        self.cwnd = u32::try_from(flight + send).unwrap_or(u32::MAX);
        self.cwnd
    }

    /// The window is to end lower than first thought.
    pub fn set_ssthresh(&mut self, ssthresh: u32) {
        self.ssthresh = ssthresh;
    }

    /// `bytes` of payload were sent or sent again.
    pub fn on_sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// The congestion window as last computed.
    #[must_use]
    pub fn cwnd(&self) -> u32 {
        self.cwnd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMSS: u32 = 1000;

    /// Sends whole segments while the window allows; returns how many.
    fn send(prr: &mut Prr, in_flight: &mut u32) -> u32 {
        let mut sent = 0;
        while *in_flight + SMSS <= prr.cwnd() {
            *in_flight += SMSS;
            prr.on_sent(SMSS);
            sent += 1;
        }
        sent
    }

    #[test]
    fn one_loss_of_twenty_halves_over_the_round() {
        // Twenty segments out, the first lost, threshold ten. The third
        // selective acknowledgment begins recovery.
        let mut in_flight = 16 * SMSS;
        let mut prr = Prr::enter(SMSS, 10 * SMSS, 20 * SMSS, 2 * SMSS, 0, in_flight);
        prr.on_ack(SMSS, in_flight, false);
        assert_eq!(
            send(&mut prr, &mut in_flight),
            1,
            "the retransmission leaves at once"
        );
        let mut sent = Vec::new();
        for _ in 0..16 {
            in_flight -= SMSS;
            prr.on_ack(SMSS, in_flight, false);
            sent.push(send(&mut prr, &mut in_flight));
        }
        assert!(sent.iter().all(|&n| n <= 1), "no burst: {sent:?}");
        assert!(
            sent.windows(3).all(|w| w != [0, 0, 0]),
            "no silence: {sent:?}"
        );
        assert_eq!(in_flight, 10 * SMSS);
    }

    #[test]
    fn heavy_loss_conserves_and_then_catches_up() {
        // Of twenty segments five arrive: below the threshold of ten at once.
        let mut in_flight = 5 * SMSS;
        let mut prr = Prr::enter(SMSS, 10 * SMSS, 20 * SMSS, 0, 0, in_flight);
        for _ in 0..3 {
            in_flight -= SMSS;
            prr.on_ack(SMSS, in_flight, false);
            assert_eq!(send(&mut prr, &mut in_flight), 1, "one out for one in");
        }
        for expected in [2, 2, 2, 2, 2, 1, 1] {
            in_flight -= SMSS;
            prr.on_ack(SMSS, in_flight, true);
            assert_eq!(send(&mut prr, &mut in_flight), expected);
        }
        assert_eq!(in_flight, 10 * SMSS);
    }

    #[test]
    fn a_timer_may_begin_it_and_nothing_delivered_changes_nothing() {
        let mut prr = Prr::enter(SMSS, 10 * SMSS, 20 * SMSS, 0, 0, 19 * SMSS);
        assert_eq!(prr.cwnd(), 20 * SMSS);
        assert_eq!(prr.on_ack(0, 3 * SMSS, true), 20 * SMSS);
    }

    #[test]
    fn an_empty_path_may_be_sent_on() {
        let mut prr = Prr::enter(SMSS, 2 * SMSS, 2 * SMSS, 0, 0, 0);
        prr.on_sent(5 * SMSS);
        assert_eq!(prr.on_ack(1, 0, false), SMSS);
    }

    proptest! {
        /// In flight never exceeds the larger of the threshold and what it
        /// was at the start, whatever is delivered and lost in between; and no
        /// sizes overflow.
        #[test]
        fn the_flight_only_shrinks(
            start in 1u32..2000,
            lost_at_start in 0u32..2000,
            ssthresh in 2u32..1000,
            acks in prop::collection::vec((1u32..64, 0u32..3, any::<bool>()), 1..200),
        ) {
            let mut in_flight = start.saturating_sub(lost_at_start) * SMSS;
            let ceiling = in_flight.max(ssthresh * SMSS) + SMSS;
            let mut prr = Prr::enter(SMSS, ssthresh * SMSS, start * SMSS, 0, 0, in_flight);
            for (delivered, lost, safe) in acks {
                let delivered = (delivered * SMSS).min(in_flight);
                in_flight -= delivered;
                in_flight = in_flight.saturating_sub(lost * SMSS);
                prr.on_ack(delivered, in_flight, safe);
                send(&mut prr, &mut in_flight);
                prop_assert!(in_flight <= ceiling, "{in_flight} > {ceiling}");
            }
        }

        #[test]
        fn no_size_overflows(
            a in any::<[u32; 6]>(),
            acks in prop::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 0..100),
        ) {
            let mut prr = Prr::enter(a[0], a[1], a[2], a[3], a[4], a[5]);
            for (delivered, in_flight, safe) in acks {
                let cwnd = prr.on_ack(delivered, in_flight, safe);
                prop_assert!(delivered == 0 || cwnd >= in_flight);
                prr.on_sent(delivered);
            }
        }
    }
}
