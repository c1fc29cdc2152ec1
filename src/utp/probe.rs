//! Packets that find something out: what size the path takes, and what is
//! missing at the end of what was sent.

use super::connection::Connection;
use super::emit::write;
use super::timers::Timer;
use crate::frame::{PACKET_START, Pool, TxDesc};
use crate::time::Instant;
use crate::wire::template::Template;
use crate::wire::udp;
use crate::wire::utp::{EXTENSION_BITS, Extension, Header, Kind, MAX_EXTENSION};

/// An extension that nobody knows.
const PADDING: u8 = 0x80;

/// Packets that follow a probe of the path's size, so that its loss is found
/// without a time-out.
const FOLLOWERS: usize = 3;
/// Extensions that pad a packet, at most.
const PADDINGS: usize = 40;
/// An extension that libutp lets come first, and its length.
const FIRST_PADDING: usize = 8;

impl Connection {
    /// Sends unsent packet `i` padded to the size that is to be tried, if one
    /// is: a copy, for the packet itself may have to go again without.
    pub(super) fn send_probe(
        &mut self,
        now: Instant,
        i: usize,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        let size = self.mtu.next()?;
        let s = self.snd.get(i)?;
        let (len, sum) = (usize::from(s.len), s.sum);
        let padding = usize::from(size).checked_sub(len)?;
        let following = FOLLOWERS as u32 * u32::from(self.snd.mss);
        let needed = u32::from(size) + following;
        let room = self.cc.cwnd().saturating_sub(self.snd.in_flight());
        let window = self.snd.wnd.saturating_sub(self.snd.outstanding());
        if len == 0
            || padding < FIRST_PADDING + 4
            || !self.snd.is_plain()
            || self.snd.unsent_count() <= FOLLOWERS
            || room.min(window) < needed
        {
            return None;
        }
        static ZEROS: [u8; MAX_EXTENSION] = [0; MAX_EXTENSION];
        let mut extensions = [Extension {
            id: EXTENSION_BITS,
            bytes: &ZEROS[..FIRST_PADDING],
        }; PADDINGS];
        let (mut left, mut count) = (padding - FIRST_PADDING - 2, 1);
        while left > 0 {
            // Two bytes at the least are left for the next one.
            let whole = match left {
                n if n <= MAX_EXTENSION + 2 => n,
                n => (n - 2).min(MAX_EXTENSION + 2),
            };
            let e = extensions.get_mut(count)?;
            e.bytes = &ZEROS[..whole - 2];
            e.id = PADDING;
            left -= whole;
            count += 1;
        }
        let extensions = &extensions[..count];
        let whole = t.len() + udp::HEADER_LEN + Header::emit_len(extensions) + len;
        if whole > pool.max_packet() {
            return None;
        }
        let mut packet = pool.alloc_above(crate::transport::reserve(pool))?;
        packet.set_range(PACKET_START, whole as u16);
        let header = self.header(now, Kind::Data, self.snd.una.plus(i as u16));
        let ident = self.next_ident();
        let copied = self
            .snd
            .get_mut(i)
            .is_some_and(|s| s.payload().copy_to(&mut packet, whole - len, pool));
        if !copied {
            pool.free(packet);
            return None;
        }
        let bytes = pool.bytes_mut(&mut packet);
        write(bytes, t, self.ports, &header, extensions, ident, len, sum);
        self.mtu.sent(header.seq, size);
        self.counters.mtu_probes += 1;
        self.sent_segment(now, i, false);
        if !self.rcv.has_sack() {
            self.acknowledged();
        }
        Some(pool.transmit(packet))
    }

    /// New data if there is any and the peer has room, else the last packet
    /// again: its acknowledgement tells what is missing before it.
    pub(super) fn send_tail_probe(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
    ) -> Option<TxDesc> {
        let count = self.snd.sent_count();
        let room = self.snd.wnd.saturating_sub(self.snd.outstanding());
        let most = room.min(u32::from(self.snd.mss));
        let fresh = self.snd.next_unsent();
        let fresh = fresh.is_some_and(|s| u32::from(s.len) <= most)
            && count < usize::from(self.packets_allowed());
        let i = if fresh { count } else { count.checked_sub(1)? };
        let desc = self.send_segment(now, i, pool, t)?;
        self.counters.tail_probes += 1;
        self.probed = true;
        self.pending.tail_probe = false;
        self.timers.stop(Timer::Probe);
        self.rearm_rto(now);
        Some(desc)
    }
}
