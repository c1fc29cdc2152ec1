//! uTP: from a received datagram to the connection, listener or refusal that it
//! gets.
//!
//! A SYN is answered once, by a packet no larger than itself, and the same
//! again if it comes again; nothing more goes to its sender before that has
//! shown that it got the answer. Connections that wait for this are bounded for
//! each listener and for each address. When they are as many as a listener
//! takes, the oldest makes way: who answers sooner than others make it so is
//! served during a flood, too. A packet of no connection is answered by a RESET,
//! of which there are a bounded number a second, and none in answer to a SYN or
//! to a RESET.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use siphasher::sip::SipHasher24;

use super::demux::Foreign;
use super::flow::{Phase, Slot, Tuple};
use super::icmp::{Report, ReportKind};
use super::iface::{Meta, Mode, Ready};
use super::limit::RateLimit;
use super::ports::Protocol;
use super::{Conn, Stack, Transport};
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::{DropReason, UtpCounters};
use crate::time::Instant;
use crate::utp::{self, Connection, HEADERS};
use crate::wire::udp;
use crate::wire::utp::{Header, Kind, SeqNr};

/// RESETs sent a second to packets of no connection, and the burst.
const RESETS: (u32, u32) = (1000, 200);
/// Connection ids that are tried for one connection.
const TRIES: u16 = 4096;
/// As long as this, in milliseconds, a SYN that comes again gets the same
/// answer even if it has been forgotten meanwhile.
const SAME_ANSWER: u64 = 1 << 17;

/// What only uTP needs of a stack.
pub(super) struct Router {
    pub(super) config: Arc<utp::Config>,
    pub(super) counters: UtpCounters,
    key: [u8; 16],
    /// Attempts to connect so far.
    attempts: u64,
    /// The connection of the last packet: probably the next one's too.
    last: u32,
    resets: RateLimit,
}

impl Router {
    pub(super) fn new(config: Arc<utp::Config>, key: [u8; 16]) -> Self {
        Self {
            config,
            counters: UtpCounters::default(),
            key,
            attempts: 0,
            last: 0,
            resets: RateLimit::new(RESETS.0, RESETS.1),
        }
    }

    /// What nobody outside can foresee of a connection.
    fn secret(&self, tag: u8, tuple: &Tuple, more: &[u64]) -> u64 {
        let mut h = SipHasher24::new_with_key(&self.key);
        h.write_u8(tag);
        for end in [tuple.local(), tuple.remote()] {
            match end.ip() {
                IpAddr::V4(ip) => h.write(&ip.octets()),
                IpAddr::V6(ip) => h.write(&ip.octets()),
            }
            h.write_u16(end.port());
        }
        for n in more {
            h.write_u64(*n);
        }
        h.finish()
    }
}

impl Stack {
    /// A datagram for one of our addresses. `whole` is the range of its frame,
    /// if that may be passed on.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn datagram(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        ports: &udp::Header,
        mut packet: Packet,
        tx: &mut VecDeque<TxDesc>,
        whole: Option<(u16, u16)>,
    ) -> Option<Foreign> {
        let tuple = Tuple {
            local: meta.dst,
            remote: meta.src,
            local_port: ports.dst_port,
            remote_port: ports.src_port,
        };
        let Ok(header) = Header::parse(pool.bytes(&packet)) else {
            let ours = self.ports.is_ours(Protocol::Udp, ports.dst_port);
            self.drops.count(if ours {
                DropReason::UtpMalformed
            } else {
                DropReason::UdpPortClosed
            });
            pool.free(packet);
            return None;
        };
        let found = match header.kind {
            Kind::Data | Kind::State | Kind::Fin => self.find_recent_utp(&tuple, header.conn_id),
            Kind::Reset => self
                .flows
                .find_utp(&tuple, header.conn_id)
                .or_else(|| self.flows.find_utp_sender(&tuple, header.conn_id)),
            Kind::Syn => {
                self.syn(now, pool, meta, &tuple, &header, packet);
                return None;
            }
        };
        if let Some(index) = found {
            self.deliver_utp(now, pool, index, &header, packet);
            return None;
        }
        if let Some((start, len)) = whole {
            packet.set_range(start, len);
            return Some(Foreign::Frame(packet));
        }
        self.refuse_utp(now, pool, meta, &tuple, &header, packet, tx);
        None
    }

    #[inline]
    fn find_recent_utp(&mut self, tuple: &Tuple, id: u16) -> Option<u32> {
        let is_it = |s: &Slot| s.tuple == *tuple && s.conn.utp().is_some_and(|c| c.recv_id() == id);
        if self.flows.at(self.utp.last).is_some_and(is_it) {
            return Some(self.utp.last);
        }
        let index = self.flows.find_utp(tuple, id)?;
        self.utp.last = index;
        Some(index)
    }

    #[inline]
    fn deliver_utp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        index: u32,
        header: &Header,
        packet: Packet,
    ) {
        match self.flows.at_mut(index).and_then(|s| s.conn.utp_mut()) {
            Some(conn) => {
                conn.handle_packet(now, pool, header, packet);
                self.touch(index);
            }
            None => pool.free(packet),
        }
    }

    /// Somebody wants to connect, or asks again.
    fn syn(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        tuple: &Tuple,
        syn: &Header,
        packet: Packet,
    ) {
        let id = syn.conn_id.wrapping_add(1);
        if let Some(index) = self.flows.find_utp(tuple, id) {
            let again = |s: &Slot| s.conn.utp().is_some_and(|c| c.is_of_syn(syn));
            if self.flows.at(index).is_some_and(again) {
                self.deliver_utp(now, pool, index, syn, packet);
                return;
            }
            // What only lingers gives way, as TIME-WAIT does; else whoever
            // asks has to choose another id.
            let over = |s: &Slot| s.phase == Phase::Over && s.conn.is_lingering();
            if !self.flows.at(index).is_some_and(over) {
                self.drops.count(DropReason::UtpIdInUse);
                pool.free(packet);
                return;
            }
            self.forget(pool, index);
        }
        // Its payload, if it has any, comes again.
        pool.free(packet);
        if let Err(reason) = self.accept_utp(now, pool, meta, tuple, syn) {
            self.drops.count(reason);
        }
    }

    fn accept_utp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        tuple: &Tuple,
        syn: &Header,
    ) -> Result<(), DropReason> {
        let local = tuple.local();
        let Some(listener) = self.listeners.find(Transport::Utp, local) else {
            let ours = self.ports.is_ours(Protocol::Udp, tuple.local_port);
            return Err(if ours {
                DropReason::UtpNoConnection
            } else {
                DropReason::UdpPortClosed
            });
        };
        let id = listener.id();
        if listener.is_address_full(tuple.remote) {
            return Err(DropReason::UtpAddressFull);
        }
        if !listener.wants(tuple.remote(), local) {
            return Err(DropReason::UtpRefused);
        }
        let config = listener.utp_settings().map(Arc::clone);
        let config = config.unwrap_or_else(|| Arc::clone(&self.utp.config));
        let path = self
            .iface
            .reply_path(now, meta)
            .ok_or(DropReason::NoRoute)?;
        self.displace(pool, local);
        if !self.make_room(pool) {
            return Err(DropReason::FlowTableFull);
        }
        let path = path.for_udp();
        let what = [
            u64::from(syn.conn_id) << 16 | u64::from(syn.seq.0),
            now.as_millis() / SAME_ANSWER,
        ];
        let secret = self.utp.secret(0, tuple, &what);
        let setup = self.utp_setup(now, &config, tuple, &path, 0, secret);
        let conn = Connection::accept(&setup, syn);
        let conn = Conn::Utp(Box::new(conn));
        if let Some(index) = self.add_incoming(conn, *tuple, id, path) {
            if let (Some(flow), Some(listener)) = (self.flows.flow(index), self.listeners.by_id(id))
            {
                listener.half_open.push_back(flow);
            }
            self.touch(index);
        }
        Ok(())
    }

    /// If the listener at `local` has as many half-open connections as it may,
    /// forgets the oldest.
    fn displace(&mut self, pool: &mut Pool, local: SocketAddr) {
        let flows = &self.flows;
        let Some(listener) = self.listeners.find(Transport::Utp, local) else {
            return;
        };
        let id = listener.id();
        let is_half_open = |flow: super::Flow| {
            let slot = flows.get(flow);
            slot.is_some_and(|s| s.phase == Phase::Accepting { listener: id })
        };
        let oldest = listener.oldest(is_half_open);
        if let Some(flow) = oldest {
            self.utp.counters.displaced += 1;
            self.forget(pool, flow.index() as u32);
        }
    }

    /// The connection ids and numbers of a connection to be opened. `None` if
    /// all that were tried are in use.
    pub(super) fn open_utp(
        &mut self,
        now: Instant,
        config: &Arc<utp::Config>,
        tuple: &Tuple,
        path: &Ready,
    ) -> Option<Connection> {
        self.utp.attempts += 1;
        let what = [self.utp.attempts, now.as_nanos()];
        let secret = self.utp.secret(1, tuple, &what);
        let first = (secret >> 48) as u16;
        // A connection has two ids next to each other, and is found by that
        // which it receives by: who has none of these has neither of ours, so
        // that no RESET is for two.
        let is_free = |id: u16| {
            let near = [
                id.wrapping_sub(1),
                id,
                id.wrapping_add(1),
                id.wrapping_add(2),
            ];
            near.iter()
                .all(|&n| self.flows.find_utp(tuple, n).is_none())
        };
        let id = (0..TRIES)
            .map(|n| first.wrapping_add(n.wrapping_mul(2)))
            .find(|&id| is_free(id))?;
        let setup = self.utp_setup(now, config, tuple, path, id, secret);
        Some(Connection::connect(&setup))
    }

    fn utp_setup<'a>(
        &self,
        now: Instant,
        config: &'a Arc<utp::Config>,
        tuple: &Tuple,
        path: &Ready,
        id: u16,
        secret: u64,
    ) -> utp::Setup<'a> {
        let below = path.template.len();
        let ip = (below - path.template.eth_len()) as u16;
        let chunk = self.max_frame.saturating_sub(below + HEADERS);
        utp::Setup {
            config,
            ports: utp::Ports {
                local: tuple.local_port,
                remote: tuple.remote_port,
            },
            id,
            isn: SeqNr(secret as u16),
            clock: (secret >> 16) as u32,
            mss: path.mtu.saturating_sub(ip + HEADERS as u16),
            chunk: u16::try_from(chunk).unwrap_or(u16::MAX),
            headroom: below as u16,
            now,
        }
    }

    /// Answers a packet of no connection with a RESET, if it is for us at all.
    #[allow(clippy::too_many_arguments)]
    fn refuse_utp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        meta: &Meta,
        tuple: &Tuple,
        header: &Header,
        mut packet: Packet,
        tx: &mut VecDeque<TxDesc>,
    ) {
        if !self.ports.is_ours(Protocol::Udp, tuple.local_port) {
            self.drops.count(match self.iface.mode {
                Mode::Own => DropReason::UdpPortClosed,
                Mode::Shared => DropReason::Unclaimed,
            });
            pool.free(packet);
            return;
        }
        self.drops.count(DropReason::UtpNoConnection);
        let answer = utp::reset::reset_for(header);
        let path = answer.and_then(|_| self.iface.reply_path(now, meta));
        let (Some(answer), Some(path)) = (answer, path) else {
            pool.free(packet);
            return;
        };
        if !self.utp.resets.take(now) {
            self.drops.count(DropReason::RateLimited);
            pool.free(packet);
            return;
        }
        self.resets_stray += 1;
        let ports = utp::Ports {
            local: tuple.local_port,
            remote: tuple.remote_port,
        };
        let template = path.for_udp().template;
        utp::write_bare(&mut packet, pool, &template, ports, &answer, &[], 0);
        let desc = pool.transmit(packet);
        self.reply(pool, desc, tx);
    }

    /// What the network says about a packet that was sent with the connection id
    /// `id`; `false` if there is no such connection here.
    pub(super) fn report_utp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        report: &Report,
        id: u16,
        seq: SeqNr,
    ) -> bool {
        let tuple = Tuple::new(report.local, report.remote);
        let Some(index) = self.flows.find_utp_sender(&tuple, id) else {
            return false;
        };
        let Some(conn) = self.flows.at_mut(index).and_then(|s| s.conn.utp_mut()) else {
            return false;
        };
        // Anybody may say so: RFC 5927, section 4.
        if !conn.is_in_flight(seq) {
            return true;
        }
        match report.kind {
            ReportKind::Unreachable => conn.handle_unreachable(pool),
            ReportKind::PathMtu { mtu } => {
                let headers = HEADERS as u16 + if tuple.remote.is_ipv4() { 20 } else { 40 };
                let payload = mtu.saturating_sub(headers);
                if payload < conn.longest_payload() {
                    conn.limit_payload(payload, pool);
                    // Others on the same path may know.
                    self.iface.learn_path_mtu(now, tuple.remote, mtu);
                }
            }
        }
        self.touch(index);
        true
    }
}
