//! Headers, and packets that are nothing else.

use super::Ports;
use super::connection::Connection;
use super::early::MAX_SACK;
use super::output::RETRY;
use super::timers::Timer;
use crate::frame::{PACKET_START, Packet, Pool, TxDesc};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::template::Template;
use crate::wire::udp;
use crate::wire::utp::{Extension, Header, Kind, SELECTIVE_ACK, SeqNr};

impl Connection {
    pub(super) fn header(&mut self, now: Instant, kind: Kind, seq: SeqNr) -> Header {
        let ack = if kind == Kind::Syn {
            SeqNr(0)
        } else {
            self.rcv.ack()
        };
        Header {
            kind,
            conn_id: if kind == Kind::Syn {
                self.recv_id
            } else {
                self.send_id
            },
            timestamp: self.micros(now),
            timestamp_diff: self.reply_diff,
            window: if kind == Kind::Reset {
                0
            } else {
                self.rcv.advertise(u32::from(self.ack.rcv_mss))
            },
            seq,
            ack,
            ..Header::default()
        }
    }

    /// A packet without payload that acknowledges everything, if one of its
    /// kind does.
    pub(super) fn emit_bare(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
        kind: Kind,
        seq: SeqNr,
    ) -> Option<TxDesc> {
        let reports = matches!(kind, Kind::State | Kind::Fin | Kind::Data);
        let desc = self.emit(now, pool, t, kind, seq, reports)?;
        if reports {
            self.acknowledged();
        }
        Some(desc)
    }

    /// A packet without payload, in the spare frame or a fresh one.
    pub(super) fn emit(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        t: &Template,
        kind: Kind,
        seq: SeqNr,
        reports: bool,
    ) -> Option<TxDesc> {
        let Some(mut packet) = self.spare.take().or_else(|| pool.alloc()) else {
            self.timers.set(Timer::Retry, now + RETRY);
            return None;
        };
        let mut bits = [0; MAX_SACK];
        let n = if reports && self.rcv.has_sack() {
            self.rcv.sack(&mut bits)
        } else {
            0
        };
        let sack = [Extension {
            id: SELECTIVE_ACK,
            bytes: &bits[..n],
        }];
        let extensions = if n > 0 { &sack[..] } else { &[] };
        let header = self.header(now, kind, seq);
        let ident = self.next_ident();
        write_bare(&mut packet, pool, t, self.ports, &header, extensions, ident);
        Some(pool.transmit(packet))
    }
}

/// Writes all headers of a packet to `bytes`, which ends with `len` bytes of
/// payload that `sum` is of.
#[allow(clippy::too_many_arguments)]
pub(super) fn write(
    bytes: &mut [u8],
    t: &Template,
    ports: Ports,
    header: &Header,
    extensions: &[Extension<'_>],
    ident: u16,
    len: usize,
    sum: Sum,
) {
    let (low, datagram) = bytes.split_at_mut(t.len());
    t.write(low, datagram.len(), ident);
    let whole = datagram.len();
    let (first, rest) = datagram.split_at_mut(udp::HEADER_LEN);
    let n = header.emit(rest, extensions);
    // Extensions have a length that may be odd.
    let headers = Sum::of(&rest[..n]);
    let sum = if n.is_multiple_of(2) {
        headers.add(sum)
    } else {
        headers.add_odd(sum)
    };
    let udp = udp::Header {
        src_port: ports.local,
        dst_port: ports.remote,
        checksum: 0,
    };
    udp.emit(first, t.pseudo_sum(whole), n + len, sum);
}

/// Writes a whole packet without payload: for connections, and for those who
/// answer without one. `t` is of protocol 17.
pub fn write_bare(
    packet: &mut Packet,
    pool: &Pool,
    t: &Template,
    ports: Ports,
    header: &Header,
    extensions: &[Extension<'_>],
    ident: u16,
) {
    let whole = t.len() + udp::HEADER_LEN + Header::emit_len(extensions);
    packet.set_range(PACKET_START, whole as u16);
    let bytes = pool.bytes_mut(packet);
    write(bytes, t, ports, header, extensions, ident, 0, Sum::ZERO);
}
