//! Trains of new data: full packets behind each other, whose headers differ in
//! sequence number and checksum only. What is sent here comes out as it would
//! by `output` packet by packet; everything else is sent there.

use std::collections::VecDeque;

use super::connection::Connection;
use super::output::HEADERS;
use super::timers::Timer;
use crate::frame::{Pool, TxDesc};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::template::Template;
use crate::wire::udp;
use crate::wire::utp::{Header, Kind, SeqNr};

/// Where in the pattern the checksum and the sequence number are.
const CHECKSUM: usize = 6;
const SEQ: usize = udp::HEADER_LEN + 16;

/// UDP and uTP headers of a train.
struct Pattern {
    /// With neither sequence number nor checksum.
    bytes: [u8; HEADERS],
    /// The sum over those bytes and the pseudo-header.
    sum: Sum,
}

impl Pattern {
    /// For packets of `payload` bytes.
    fn new(c: &Connection, header: &Header, t: &Template, payload: usize) -> Self {
        let mut bytes = [0; HEADERS];
        let len = HEADERS + payload;
        bytes[0..2].copy_from_slice(&c.ports.local.to_be_bytes());
        bytes[2..4].copy_from_slice(&c.ports.remote.to_be_bytes());
        bytes[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        header.emit(&mut bytes[udp::HEADER_LEN..], &[]);
        let sum = Sum::of(&bytes).add(t.pseudo_sum(len));
        Self { bytes, sum }
    }

    /// Writes the headers of packet `seq`, with the sum of its payload.
    #[inline(always)] // the call costs as much as the work
    fn write(&self, out: &mut [u8], seq: SeqNr, payload: Sum) {
        let out = &mut out[..HEADERS];
        out.copy_from_slice(&self.bytes);
        out[SEQ..SEQ + 2].copy_from_slice(&seq.0.to_be_bytes());
        let checksum = match self.sum.add(payload).add(Sum::word(seq.0)).finish() {
            0 => 0xffff, // zero would mean that there is none
            checksum => checksum,
        };
        out[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl Connection {
    /// Appends up to `budget` packets of new data to `tx`, if nothing else is
    /// to be sent before; answers how many. Go on with
    /// [`poll_transmit`](Self::poll_transmit).
    pub fn poll_train(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
    ) -> usize {
        if budget == 0 || !self.sends_trains() {
            return 0;
        }
        let mss = u32::from(self.snd.mss);
        let flight = usize::from(self.packets_allowed()).saturating_sub(self.snd.sent_count());
        let pace = self.pace_room(now).div_ceil(mss) as usize;
        let budget = budget.min(flight).min(pace);
        let mut room = self.cc.cwnd().saturating_sub(self.snd.in_flight());
        room = room.min(self.snd.wnd.saturating_sub(self.snd.outstanding()));
        if room < mss || budget == 0 {
            return 0;
        }
        let header = self.header(now, Kind::Data, SeqNr(0));
        let pattern = Pattern::new(self, &header, t, mss as usize);
        let below = t.len();
        let whole = below + HEADERS + mss as usize;
        let mut sent = 0;
        while sent < budget && room >= mss {
            let ident = self.ident.wrapping_add(1);
            let seq = self.snd.nxt();
            let Some(s) = self.snd.next_unsent_mut() else {
                break;
            };
            let plain = u32::from(s.len) == mss;
            let Some(held) = s.held.as_mut().filter(|h| plain && h.len() == whole) else {
                break;
            };
            let Some(bytes) = pool.held_mut(held) else {
                break;
            };
            let (low, datagram) = bytes.split_at_mut(below);
            t.write(low, datagram.len(), ident);
            pattern.write(datagram, seq, s.sum);
            let Some(desc) = pool.transmit_held(held) else {
                break;
            };
            tx.push_back(desc);
            self.snd.sent_next(now);
            self.ident = ident;
            room -= mss;
            sent += 1;
        }
        self.sent_train(now, sent);
        sent
    }

    /// What follows from a train of so many packets.
    fn sent_train(&mut self, now: Instant, packets: usize) {
        if packets == 0 {
            return;
        }
        self.last_sent_at = now;
        let bytes = packets as u64 * u64::from(self.snd.mss);
        self.counters.packets_sent += packets as u64;
        self.counters.data_packets_sent += packets as u64;
        self.counters.bytes_sent += bytes;
        self.pending.sent_new = true;
        self.keep_pace(now, bytes as u32);
        self.ack.quick = self.ack.quick.saturating_sub((packets - 1).min(255) as u8);
        self.acknowledged();
    }

    /// Whether new data is all that there is to send, and more of it is in
    /// flight already, so that no timer has to be begun.
    fn sends_trains(&self) -> bool {
        let p = &self.pending;
        self.state.can_receive()
            && self.snd.has_sent()
            && self.snd.has_unsent()
            && self.timers.is_set(Timer::Rto)
            && self.snd.lost_count() == 0
            && !(p.reset || p.keepalive || p.tail_probe || p.force || p.first_again)
            && !self.timers.is_set(Timer::Persist)
            && self.mtu.next().is_none()
            && !self.cork
            && !self.rcv.has_sack()
    }
}
