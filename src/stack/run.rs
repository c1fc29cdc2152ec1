//! Runs of segments: of a batch, those that continue the one before are taken
//! together. Each is compared with that, summed, and queued; what the connection
//! and the stack note, they note once for all. It comes out as it would one by
//! one.

use std::vec::Drain;

use super::Stack;
use crate::frame::{Packet, Pool};
use crate::wire::run::Head;

impl Stack {
    /// The headers of `packet`, which is about to be
    /// [received](Self::receive), if `behind` it is a frame that may continue it.
    #[inline]
    #[must_use]
    pub fn begin_run(&self, pool: &Pool, packet: &Packet, behind: &[Packet]) -> Option<Head> {
        let next = behind.first()?;
        if next.len() == packet.len() {
            Head::of(pool.bytes(packet))
        } else {
            None
        }
    }

    /// Takes the frames of `behind` that continue the segment with these
    /// headers, which was received last: how many.
    #[inline]
    pub fn receive_run(
        &mut self,
        pool: &mut Pool,
        head: &Head,
        behind: &mut Drain<'_, Packet>,
    ) -> usize {
        if !self.foreseen {
            return 0;
        }
        let Some(run) = self.iface.run(head) else {
            return 0;
        };
        let last = self.flows.at_mut(self.last);
        let Some(conn) = last.and_then(|s| s.conn.tcp_mut()) else {
            return 0;
        };
        let (start, end) = run.payload();
        let len = (end - start) as u32;
        let most = conn.takes_run(len, pool);
        let mut seq = conn.rcv_nxt();
        let mut segments = 0;
        while segments < most
            && let Some(packet) = behind.as_slice().first()
            && !packet.continues()
            && self.iface.goes_on(pool, &run, packet, seq)
            && let Some(mut packet) = behind.next()
        {
            packet.slice(start..end);
            conn.take_run(packet, pool);
            seq += len;
            segments += 1;
        }
        conn.took_run(segments, len);
        self.iface.count_run(segments as usize);
        segments as usize
    }
}
