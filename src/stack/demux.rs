//! From a received frame to the connection, listener or refusal that it gets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::flow::{Phase, Slot, Tuple};
use super::icmp::{About, Report, ReportKind};
use super::iface::{Interface, Meta, Mode, Received};
use super::ports::Protocol;
use super::table::FlowTable;
use super::{Conn, Stack, Transport, list};
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::DropReason;
use crate::tcp::cookie::Offer;
use crate::tcp::reset::reset_for;
use crate::tcp::{Connection, State, write_bare};
use crate::time::Instant;
use crate::wire::ip::PROTOCOL_ICMPV6;
use crate::wire::tcp::{Flags, Header};
use crate::wire::utp::SeqNr;
use crate::wire::{eth, ipv6};

/// Stateless answers that may wait for the transmit ring.
const MAX_REPLIES: usize = 1024;

/// What concerns a connection that this stack does not have.
#[must_use]
#[derive(Debug)]
pub enum Foreign {
    /// A segment: its whole frame, or the first part of it.
    Frame(Packet),
    /// What an ICMP error says.
    Report(Report),
}

/// The connection of a segment that came with `meta`.
#[inline]
const fn tuple(meta: &Meta, header: &Header) -> Tuple {
    Tuple {
        local: meta.dst,
        remote: meta.src,
        local_port: header.dst_port,
        remote_port: header.src_port,
    }
}

/// The connection at `last`, if it is that of a segment with these ports and the
/// addresses `meta`, whatever the segment says.
#[inline]
fn last_flow<'a>(
    flows: &'a mut FlowTable,
    meta: Option<&Meta>,
    last: u32,
    header: &Header,
) -> Option<&'a mut Slot> {
    let meta = meta?;
    let slot = flows.at_mut(last)?;
    let t = &slot.tuple;
    let is_its = t.remote_port == header.src_port
        && t.local_port == header.dst_port
        && t.remote == meta.src
        && t.local == meta.dst;
    let state = slot.conn.tcp()?.state();
    (is_its && !matches!(state, State::TimeWait | State::Closed)).then_some(slot)
}

impl Stack {
    /// Takes a received frame, whose first byte is the Ethernet header's.
    /// Answers go to `tx`.
    ///
    /// With `pass_on`, what concerns a connection that this stack does not
    /// have is given back, for another engine may have it; otherwise it ends
    /// here.
    #[inline]
    pub fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        tx: &mut VecDeque<TxDesc>,
        pass_on: bool,
    ) -> Option<Foreign> {
        let whole = pass_on.then_some((packet.start() as u16, packet.len() as u16));
        self.foreseen = false;
        if let Some((header, payload)) = self.iface.read_again(pool, &packet) {
            // From the same station and address as the frame before.
            let mut packet = packet;
            packet.slice(payload.range());
            let meta = self.iface.recent_meta();
            if let Some(slot) = last_flow(&mut self.flows, meta, self.last, &header)
                && let Some(conn) = slot.conn.tcp_mut()
            {
                self.foreseen = conn.handle_segment(now, pool, &header, false, packet);
                list(slot, self.last, &mut self.events, &mut self.output);
                return None;
            }
            if let Some(&meta) = self.iface.recent_meta() {
                return self.segment(now, pool, &meta, &header, packet, tx, whole);
            }
            pool.free(packet); // there is one
            return None;
        }
        self.receive_other(now, pool, packet, tx, whole)
    }

    /// A frame that is not like the segment before.
    #[inline(never)]
    fn receive_other(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        packet: Packet,
        tx: &mut VecDeque<TxDesc>,
        whole: Option<(u16, u16)>,
    ) -> Option<Foreign> {
        if let Some((meta, header, payload)) = self.iface.read_datagram_again(pool, &packet) {
            let mut packet = packet;
            packet.slice(payload.range());
            return self.datagram(now, pool, &meta, &header, packet, tx, whole);
        }
        match self.iface.receive(now, pool, packet) {
            Received::Datagram(meta, header, payload) => {
                return self.datagram(now, pool, &meta, &header, payload, tx, whole);
            }
            Received::Segment(meta, header, payload) => {
                return self.segment(now, pool, &meta, &header, payload, tx, whole);
            }
            Received::Reply(desc) => self.reply(pool, desc, tx),
            Received::Report(report) => {
                if !self.report(now, pool, &report) {
                    if whole.is_some() {
                        return Some(Foreign::Report(report));
                    }
                    self.drops.count(DropReason::IcmpIgnored);
                }
            }
            Received::Done => {}
        }
        None
    }

    /// As [`receive`](Self::receive), of a frame of several parts, which are
    /// taken out of `parts`. If it is given back, so are those behind the
    /// first.
    pub fn receive_chain(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        parts: &mut Vec<Packet>,
        tx: &mut VecDeque<TxDesc>,
        pass_on: bool,
    ) -> Option<Foreign> {
        if pass_on {
            let range = |p: &Packet| (p.start() as u16, p.len() as u16, p.continues());
            self.ranges.clear();
            self.ranges.extend(parts.iter().map(range));
        }
        let (meta, header) = self.iface.receive_chain(pool, parts)?;
        let tuple = tuple(&meta, &header);
        if let Some(index) = self.find_recent(&tuple)
            && self.keeps(index, &header)
        {
            if let Some(conn) = self.flows.at_mut(index).and_then(|s| s.conn.tcp_mut()) {
                conn.handle_parts(now, pool, &header, meta.ce, parts);
                self.touch(index);
            }
            free_all(pool, parts);
            return None;
        }
        let len = parts.iter().map(Packet::len).sum();
        if parts.is_empty() {
            return None;
        }
        // Here the first part counts alone: of what begins a connection the
        // rest comes again.
        let first = Header {
            flags: header.flags.without(Flags::FIN),
            ..header
        };
        let head = parts.remove(0);
        let Some((mut packet, reason)) = self.no_flow(now, pool, &meta, &first, &tuple, head, tx)
        else {
            free_all(pool, parts);
            return None;
        };
        if pass_on && !is_plain_syn(header.flags) {
            let all = std::iter::once(&mut packet).chain(parts.iter_mut());
            for (packet, &(start, len, continues)) in all.zip(&self.ranges) {
                packet.set_range(start, len);
                packet.set_continues(continues);
            }
            return Some(Foreign::Frame(packet));
        }
        free_all(pool, parts);
        self.refuse(now, pool, &meta, &header, (packet, len), reason, tx);
        None
    }

    /// A segment for one of our addresses. `whole` is the range of its frame,
    /// if that may be passed on.
    #[allow(clippy::too_many_arguments)]
    fn segment(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        header: &Header,
        payload: Packet,
        tx: &mut VecDeque<TxDesc>,
        whole: Option<(u16, u16)>,
    ) -> Option<Foreign> {
        let tuple = tuple(meta, header);
        if let Some(index) = self.find_recent(&tuple)
            && self.keeps(index, header)
        {
            self.deliver(now, pool, index, meta.ce, header, payload);
            return None;
        }
        let (mut packet, reason) = self.no_flow(now, pool, meta, header, &tuple, payload, tx)?;
        if let Some((start, len)) = whole
            && !is_plain_syn(header.flags)
        {
            packet.set_range(start, len);
            return Some(Foreign::Frame(packet));
        }
        let len = packet.len();
        self.refuse(now, pool, meta, header, (packet, len), reason, tx);
        None
    }

    #[inline]
    fn find_recent(&mut self, tuple: &Tuple) -> Option<u32> {
        let is_it = |s: &Slot| s.tuple == *tuple && s.conn.tcp().is_some();
        if self.flows.at(self.last).is_some_and(is_it) {
            return Some(self.last);
        }
        let index = self.flows.find(tuple)?;
        self.last = index;
        Some(index)
    }

    /// Whether a segment belongs to the connection at `index`, rather than
    /// beginning a new one in its place.
    fn keeps(&mut self, index: u32, header: &Header) -> bool {
        let Some(slot) = self.flows.at(index) else {
            return false;
        };
        let Some(conn) = slot.conn.tcp() else {
            return false;
        };
        let over = match conn.state() {
            // What the application has not read yet, or not heard of, stays:
            // the peer tries again.
            State::TimeWait => slot.phase == Phase::Over && conn.time_wait_accepts(header),
            // Here only the application is not done yet.
            State::Closed => true,
            _ => false,
        };
        let reopens = over && is_plain_syn(header.flags);
        let local = slot.tuple.local();
        !(reopens && self.listeners.find(Transport::Tcp, local).is_some())
    }

    #[inline]
    fn deliver(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        index: u32,
        ce: bool,
        header: &Header,
        payload: Packet,
    ) {
        if let Some(slot) = self.flows.at_mut(index)
            && let Some(conn) = slot.conn.tcp_mut()
        {
            let foreseen = conn.handle_segment(now, pool, header, ce, payload);
            self.foreseen = foreseen && index == self.last;
            if !slot.is_listed() {
                self.touch(index);
            }
        } else {
            pool.free(payload);
        }
    }

    /// A segment of no connection, or a SYN for one in TIME-WAIT. The packet
    /// comes back if no listener wants it, with the reason.
    #[allow(clippy::too_many_arguments)]
    fn no_flow(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        header: &Header,
        tuple: &Tuple,
        packet: Packet,
        tx: &mut VecDeque<TxDesc>,
    ) -> Option<(Packet, DropReason)> {
        let Some(listener) = self.listeners.find(Transport::Tcp, tuple.local()) else {
            return Some((packet, DropReason::TcpPortClosed));
        };
        let (id, full) = (listener.id(), listener.is_full());
        let expects_cookies = listener.expects_cookies(now);
        if is_plain_syn(header.flags) {
            if let Some(old) = self.flows.find(tuple) {
                self.make_way(pool, old);
            }
            if full && !self.settings_at(tuple.local()).syn_cookies {
                self.drops.count(DropReason::TcpBacklogFull);
                pool.free(packet);
            } else if full {
                self.send_cookie(now, pool, meta, header, tuple, packet, tx);
            } else {
                self.accept(now, pool, meta, header, tuple, id, packet);
            }
            return None;
        }
        let completes =
            header.flags.contains(Flags::ACK) && !header.flags.intersects(Flags::SYN | Flags::RST);
        if completes && expects_cookies {
            return self.accept_cookie(now, pool, meta, header, tuple, id, packet);
        }
        Some((packet, DropReason::TcpPortClosed))
    }

    /// Here TIME-WAIT, or what is left of a connection, ends for a new one.
    fn make_way(&mut self, pool: &mut Pool, old: u32) {
        if self.flows.at(old).is_none_or(|s| s.phase == Phase::Over) {
            self.forget(pool, old);
        } else {
            self.flows.give_up_tuple(old);
            self.last = u32::MAX;
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn accept(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        syn: &Header,
        tuple: &Tuple,
        listener: u32,
        packet: Packet,
    ) {
        // Payload of a SYN would come again after the handshake.
        pool.free(packet);
        if !self.make_room(pool) {
            self.drops.count(DropReason::FlowTableFull);
            return;
        }
        let Some(path) = self.iface.reply_path(now, meta) else {
            self.drops.count(DropReason::NoRoute);
            return;
        };
        let tcp = self.settings_at(tuple.local());
        let conn = Connection::accept(&self.setup(now, &tcp, tuple, &path), syn);
        if let Some(index) = self.add_incoming(Conn::Tcp(conn), *tuple, listener, path) {
            self.touch(index);
        }
    }

    /// The backlog is full: answer without remembering anything (RFC 4987
    /// section 3.6).
    #[allow(clippy::too_many_arguments)]
    fn send_cookie(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        syn: &Header,
        tuple: &Tuple,
        mut packet: Packet,
        tx: &mut VecDeque<TxDesc>,
    ) {
        let Some(path) = self.iface.reply_path(now, meta) else {
            self.drops.count(DropReason::NoRoute);
            pool.free(packet);
            return;
        };
        let (local, remote) = (tuple.local(), tuple.remote());
        let offer = Offer::new(&self.settings_at(local), path.mss);
        let answer = self.cookies.syn_ack(now, local, remote, syn, &offer);
        write_bare(&mut packet, pool, &path.template, &answer, 0);
        if let Some(listener) = self.listeners.find(Transport::Tcp, local) {
            listener.sent_cookie(now);
        }
        self.counters.cookies_sent += 1;
        let desc = pool.transmit(packet);
        self.reply(pool, desc, tx);
    }

    #[allow(clippy::too_many_arguments)]
    fn accept_cookie(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        ack: &Header,
        tuple: &Tuple,
        listener: u32,
        packet: Packet,
    ) -> Option<(Packet, DropReason)> {
        let (local, remote) = (tuple.local(), tuple.remote());
        let Some(cookie) = self.cookies.decode(now, local, remote, ack) else {
            return Some((packet, DropReason::TcpCookieInvalid));
        };
        if !self.make_room(pool) {
            self.drops.count(DropReason::FlowTableFull);
            pool.free(packet);
            return None;
        }
        let Some(path) = self.iface.reply_path(now, meta) else {
            self.drops.count(DropReason::NoRoute);
            pool.free(packet);
            return None;
        };
        let tcp = self.settings_at(tuple.local());
        let setup = self.setup(now, &tcp, tuple, &path);
        let conn = Connection::accept_cookie(&setup, ack, &cookie);
        let Some(index) = self.add_incoming(Conn::Tcp(conn), *tuple, listener, path) else {
            pool.free(packet);
            return None;
        };
        self.counters.cookies_accepted += 1;
        self.deliver(now, pool, index, meta.ce, ack, packet);
        None
    }

    /// Answers a segment of no connection, which brought `len` bytes of
    /// payload, with a reset, if it is for us at all (RFC 9293 section
    /// 3.10.7.1).
    #[allow(clippy::too_many_arguments)]
    fn refuse(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        header: &Header,
        (mut packet, len): (Packet, usize),
        reason: DropReason,
        tx: &mut VecDeque<TxDesc>,
    ) {
        let ours =
            self.iface.mode == Mode::Own || self.ports.is_ours(Protocol::Tcp, header.dst_port);
        if !ours {
            self.drops.count(DropReason::Unclaimed);
            pool.free(packet);
            return;
        }
        let local = SocketAddr::new(meta.dst, header.dst_port);
        let listens = self.listeners.find(Transport::Tcp, local).is_some();
        if listens && !header.flags.contains(Flags::ACK) {
            // RFC 9293 section 3.10.7.2: in LISTEN what is neither a SYN nor an
            // acknowledgement is dropped. So is a SYN with FIN, which nobody
            // sends in earnest.
            self.drops.count(DropReason::TcpFlagsInvalid);
            pool.free(packet);
            return;
        }
        self.drops.count(reason);
        if reason == DropReason::TcpCookieInvalid {
            // Perhaps the segment after a lost one that has the cookie: a
            // reset would end a connection that the peer takes for good,
            // silence makes it send the lost one again.
            pool.free(packet);
            return;
        }
        let answer = reset_for(header, len);
        let path = answer.and_then(|_| self.iface.reply_path(now, meta));
        let (Some(answer), Some(path)) = (answer, path) else {
            pool.free(packet);
            return;
        };
        if !self.resets.take(now) {
            self.drops.count(DropReason::RateLimited);
            pool.free(packet);
            return;
        }
        self.resets_stray += 1;
        write_bare(&mut packet, pool, &path.template, &answer, 0);
        let desc = pool.transmit(packet);
        self.reply(pool, desc, tx);
    }

    pub(super) fn reply(&mut self, pool: &mut Pool, desc: TxDesc, tx: &mut VecDeque<TxDesc>) {
        if tx.len() < MAX_REPLIES {
            tx.push_back(desc);
        } else {
            self.drops.count(DropReason::TxRingFull);
            pool.complete(desc);
        }
    }

    /// What the network says about a packet of ours; `false` if there is no
    /// such connection here.
    pub fn report(&mut self, now: Instant, pool: &mut Pool, report: &Report) -> bool {
        let quoted = match report.about {
            About::Segment(seq) => seq,
            About::Packet { id, seq } => return self.report_utp(now, pool, report, id, SeqNr(seq)),
        };
        let tuple = Tuple::new(report.local, report.remote);
        let Some(index) = self.flows.find(&tuple) else {
            return false;
        };
        match report.kind {
            ReportKind::Unreachable => self.unreachable(pool, index, quoted),
            ReportKind::PathMtu { mtu } => {
                let headers = if tuple.remote.is_ipv4() { 40 } else { 60 };
                let Some(conn) = self.flows.at_mut(index).and_then(|s| s.conn.tcp_mut()) else {
                    return false;
                };
                let before = conn.longest_segment();
                conn.handle_path_mtu(now, mtu.saturating_sub(headers), quoted);
                // It was believed, so others on the same path may know.
                if conn.longest_segment() < before {
                    self.iface.learn_path_mtu(now, tuple.remote, mtu);
                }
                self.touch(index);
            }
        }
        true
    }
}

impl Interface {
    /// Whether a frame concerns all engines that have the same address: what
    /// neighbours say of themselves. In shared mode the kernel hears it, and
    /// tells each.
    #[inline]
    #[must_use]
    pub fn is_for_all(&self, frame: &[u8]) -> bool {
        const NEIGHBOUR_DISCOVERY: RangeInclusive<u8> = 133..=137;
        if self.mode != Mode::Own {
            return false;
        }
        let Ok((ethernet, at)) = eth::Header::parse(frame) else {
            return false;
        };
        match ethernet.ethertype {
            eth::TYPE_ARP => true,
            eth::TYPE_IPV6 => {
                frame.get(at + 6) == Some(&PROTOCOL_ICMPV6)
                    && frame
                        .get(at + ipv6::HEADER_LEN)
                        .is_some_and(|kind| NEIGHBOUR_DISCOVERY.contains(kind))
            }
            _ => false,
        }
    }
}

fn free_all(pool: &mut Pool, packets: &mut Vec<Packet>) {
    for packet in packets.drain(..) {
        pool.free(packet);
    }
}

/// A SYN that asks for a connection, and nothing else.
fn is_plain_syn(flags: Flags) -> bool {
    flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST | Flags::FIN)
}
