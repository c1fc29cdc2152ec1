//! What is counted of connections, added up.

use super::Conn;
use crate::stats::{TcpCounters, UtpCounters};
use crate::tcp::Counters;
use crate::utp;

/// What connections have counted together.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub tcp: TcpCounters,
    pub utp: UtpCounters,
    /// Payloads that there were no frames for.
    pub unread_full: u64,
}

impl Sums {
    pub fn add(&mut self, conn: &Conn) {
        for (sum, n) in self.of(conn) {
            *sum += n;
        }
    }

    #[cold]
    pub fn take(&mut self, conn: &Conn) {
        for (sum, n) in self.of(conn) {
            *sum -= n;
        }
    }

    /// The sums that `conn` has counted something of, and what.
    #[inline]
    fn of(&mut self, conn: &Conn) -> [(&mut u64, u64); 17] {
        match conn {
            Conn::Tcp(conn) => self.of_tcp(&conn.counters()),
            Conn::Utp(conn) => self.of_utp(&conn.counters()),
        }
    }

    const fn of_tcp(&mut self, c: &Counters) -> [(&mut u64, u64); 17] {
        let s = &mut self.tcp;
        [
            (&mut s.segments_in, c.segments_received),
            (&mut s.segments_out, c.segments_sent),
            (&mut s.bytes_in, c.bytes_received),
            (&mut s.bytes_acked, c.bytes_acked),
            (&mut s.retransmits, c.retransmits),
            (&mut s.fast_retransmits, c.fast_retransmits),
            (&mut s.window_probes, c.window_probes),
            (&mut s.keepalives, c.keepalives),
            (&mut s.timeouts, c.timeouts),
            (&mut s.tail_loss_probes, c.probes),
            (&mut s.spurious, c.undone),
            (&mut s.marks_in, c.marks_received),
            (&mut s.mark_reductions, c.mark_reductions),
            (&mut s.out_of_order, c.out_of_order),
            (&mut s.duplicates, c.duplicates),
            (&mut s.challenge_acks, c.challenges),
            (&mut self.unread_full, c.no_room),
        ]
    }

    const fn of_utp(&mut self, c: &utp::Counters) -> [(&mut u64, u64); 17] {
        let s = &mut self.utp;
        [
            (&mut s.packets_in, c.packets_received),
            (&mut s.packets_out, c.packets_sent),
            (&mut s.bytes_in, c.bytes_received),
            (&mut s.bytes_acked, c.bytes_acked),
            (&mut s.retransmits, c.retransmits),
            (&mut s.fast_retransmits, c.fast_retransmits),
            (&mut s.timeouts, c.timeouts),
            (&mut s.mtu_probes, c.mtu_probes),
            (&mut s.black_holes, c.black_holes),
            (&mut s.window_probes, c.window_probes),
            (&mut s.keepalives, c.keepalives),
            (&mut s.out_of_order, c.out_of_order),
            (&mut s.duplicates, c.duplicates),
            (&mut s.out_of_window, c.out_of_window),
            (&mut s.bad_acks, c.bad_acks),
            (&mut s.bad_resets, c.bad_resets),
            (&mut self.unread_full, c.no_room),
        ]
    }
}
