//! A connection of any transport: what applications and the stack ask of it is
//! the same for all.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::ports::Protocol;
use crate::congestion::Algorithm;
use crate::frame::{Packet, Pool, TxDesc};
use crate::tcp::{self, State};
use crate::time::Instant;
use crate::transport::Event;
use crate::utp;
use crate::wire::checksum::Sum;
use crate::wire::template::Template;

/// What carries a stream of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Transport {
    /// TCP (RFC 9293).
    #[default]
    Tcp,
    /// uTP (BEP 29), over UDP.
    Utp,
}

impl Transport {
    /// The protocol that has its ports.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Utp => Protocol::Udp,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Utp => "uTP",
        })
    }
}

/// What is of interest of a connection over any transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vitals {
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Smoothed round-trip time, once one has been measured.
    pub srtt: Option<Duration>,
    /// Packets sent again.
    pub retransmits: u64,
    /// Bytes that the application has handed over and the peer has not
    /// acknowledged.
    pub send_queue: u32,
}

/// The machine of one connection.
///
/// Its methods are those that transports have in common; their own are reached
/// through [`tcp`](Self::tcp) and the like. For what each means see
/// [`tcp::Connection`].
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // on purpose: see `Utp`
pub enum Conn {
    /// TCP.
    Tcp(tcp::Connection),
    /// uTP: elsewhere, so that connections of TCP lie as they would alone.
    Utp(Box<utp::Connection>),
}

/// Calls the method of the same name.
macro_rules! each {
    ($conn:expr, $c:ident => $call:expr) => {
        match $conn {
            Conn::Tcp($c) => $call,
            Conn::Utp($c) => $call,
        }
    };
}

#[allow(missing_docs)] // they are those of the machines
impl Conn {
    /// The machine, if it is TCP's.
    #[inline]
    #[must_use]
    pub const fn tcp(&self) -> Option<&tcp::Connection> {
        match self {
            Self::Tcp(c) => Some(c),
            Self::Utp(_) => None,
        }
    }

    /// The machine, if it is TCP's.
    #[inline]
    pub const fn tcp_mut(&mut self) -> Option<&mut tcp::Connection> {
        match self {
            Self::Tcp(c) => Some(c),
            Self::Utp(_) => None,
        }
    }

    /// The machine, if it is uTP's.
    #[inline]
    #[must_use]
    pub fn utp(&self) -> Option<&utp::Connection> {
        match self {
            Self::Tcp(_) => None,
            Self::Utp(c) => Some(c),
        }
    }

    /// The machine, if it is uTP's.
    #[inline]
    pub fn utp_mut(&mut self) -> Option<&mut utp::Connection> {
        match self {
            Self::Tcp(_) => None,
            Self::Utp(c) => Some(c),
        }
    }

    /// Whose machine it is.
    #[inline]
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Utp(_) => Transport::Utp,
        }
    }

    /// What is of interest of any connection.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        match self {
            Self::Tcp(c) => {
                let info = c.info();
                Vitals {
                    cwnd: info.cwnd,
                    srtt: info.srtt,
                    retransmits: info.counters.retransmits,
                    send_queue: info.send_queue,
                }
            }
            Self::Utp(c) => {
                let info = c.info();
                Vitals {
                    cwnd: info.cwnd,
                    srtt: info.srtt,
                    retransmits: info.counters.retransmits,
                    send_queue: info.send_queue,
                }
            }
        }
    }

    /// Whether it is over, and only answers what is late: TIME-WAIT of TCP.
    #[inline]
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        match self {
            Self::Tcp(c) => c.state() == State::TimeWait,
            Self::Utp(c) => c.is_lingering(),
        }
    }

    /// Whether it is over, but for what may have to be sent and told.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Tcp(c) => c.state() == State::Closed,
            Self::Utp(c) => c.state() == utp::State::Closed,
        }
    }

    #[inline]
    pub fn poll_train(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        template: &Template,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
    ) -> usize {
        each!(self, c => c.poll_train(now, pool, template, budget, tx))
    }

    #[inline]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        template: &Template,
    ) -> Option<TxDesc> {
        each!(self, c => c.poll_transmit(now, pool, template))
    }

    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        each!(self, c => c.poll_event())
    }

    /// Whether [`poll_event`](Self::poll_event) may answer anything.
    #[inline]
    #[must_use]
    pub fn has_events(&self) -> bool {
        match self {
            Self::Tcp(c) => c.has_events(),
            Self::Utp(_) => true,
        }
    }

    /// [`Event::Readable`], if that is all that `poll_event` would answer.
    #[inline]
    pub fn poll_readable(&mut self) -> bool {
        match self {
            Self::Tcp(c) => c.poll_readable(),
            Self::Utp(_) => false,
        }
    }

    #[inline]
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        each!(self, c => c.poll_timeout())
    }

    #[inline]
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut Pool) {
        each!(self, c => c.handle_timeout(now, pool));
    }

    #[inline]
    #[must_use]
    pub fn waiting_ack(&self) -> Option<u32> {
        each!(self, c => c.waiting_ack())
    }

    #[inline]
    pub fn hurry_ack(&mut self, unacked: u32) -> bool {
        each!(self, c => c.hurry_ack(unacked))
    }

    #[inline]
    #[must_use]
    pub fn recv_chunk<'a>(&'a self, pool: &'a Pool) -> Option<&'a [u8]> {
        each!(self, c => c.recv_chunk(pool))
    }

    #[inline]
    #[must_use]
    pub fn recv_available(&self) -> usize {
        each!(self, c => c.recv_available())
    }

    #[inline]
    pub fn recv_consume(&mut self, pool: &mut Pool, n: usize) {
        each!(self, c => c.recv_consume(pool, n));
    }

    #[inline]
    pub fn recv_each(&mut self, pool: &mut Pool, take: &mut impl FnMut(&[u8]) -> usize) -> usize {
        each!(self, c => c.recv_each(pool, take))
    }

    #[inline]
    pub fn recv_take(&mut self) -> Option<Packet> {
        each!(self, c => c.recv_take())
    }

    #[inline]
    pub fn recv_release(&mut self, pool: &Pool, n: usize) {
        each!(self, c => c.recv_release(pool, n));
    }

    #[inline]
    pub fn drop_early(&mut self, pool: &mut Pool) {
        each!(self, c => c.drop_early(pool));
    }

    #[inline]
    pub fn send(&mut self, pool: &mut Pool, data: &[u8]) -> usize {
        each!(self, c => c.send(pool, data))
    }

    #[inline]
    #[must_use]
    pub fn send_room(&self) -> usize {
        each!(self, c => c.send_room())
    }

    #[inline]
    #[must_use]
    pub fn send_mss(&self) -> usize {
        each!(self, c => c.send_mss())
    }

    #[inline]
    pub fn prepare(&mut self, pool: &mut Pool) -> Option<Packet> {
        each!(self, c => c.prepare(pool))
    }

    /// # Errors
    /// The packet, if it cannot be sent.
    #[inline]
    pub fn send_packet(&mut self, pool: &mut Pool, packet: Packet, sum: Sum) -> Result<(), Packet> {
        each!(self, c => c.send_packet(pool, packet, sum))
    }

    #[inline]
    pub fn want_room(&mut self) {
        each!(self, c => c.want_room());
    }

    #[inline]
    #[must_use]
    pub fn wants_room(&self) -> bool {
        each!(self, c => c.wants_room())
    }

    #[inline]
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        each!(self, c => c.has_unsent())
    }

    #[inline]
    #[must_use]
    pub fn has_short_unsent(&self) -> bool {
        each!(self, c => c.has_short_unsent())
    }

    #[inline]
    #[must_use]
    pub fn has_room_to_tell(&self) -> bool {
        each!(self, c => c.has_room_to_tell())
    }

    pub fn shutdown(&mut self) {
        each!(self, c => c.shutdown());
    }

    pub fn close(&mut self, now: Instant, pool: &mut Pool) {
        each!(self, c => c.close(now, pool));
    }

    pub fn abort(&mut self, pool: &mut Pool) {
        each!(self, c => c.abort(pool));
    }

    pub fn release(&mut self, pool: &mut Pool) {
        each!(self, c => c.release(pool));
    }

    /// Bytes that the application has handed over and the peer has not
    /// acknowledged.
    #[must_use]
    pub fn send_queue(&self) -> usize {
        match self {
            Self::Tcp(c) => c.info().send_queue as usize,
            Self::Utp(c) => c.send_queue(),
        }
    }

    pub fn set_nodelay(&mut self, nodelay: bool) {
        each!(self, c => c.set_nodelay(nodelay));
    }

    pub fn set_cork(&mut self, cork: bool) {
        each!(self, c => c.set_cork(cork));
    }

    pub fn set_max_segment(&mut self, most: u16) {
        each!(self, c => c.set_max_segment(most));
    }

    pub fn set_keepalive(
        &mut self,
        now: Instant,
        idle: Option<Duration>,
        interval: Duration,
        probes: u8,
    ) {
        each!(self, c => c.set_keepalive_interval(interval));
        each!(self, c => c.set_keepalive_probes(probes));
        each!(self, c => c.set_keepalive(now, idle));
    }

    pub fn set_user_timeout(&mut self, longest: Option<Duration>) {
        each!(self, c => c.set_user_timeout(longest));
    }

    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        each!(self, c => c.set_congestion(algorithm));
    }

    pub fn set_send_buffer(&mut self, bytes: u32) {
        each!(self, c => c.set_send_buffer(bytes));
    }

    pub fn set_recv_buffer(&mut self, bytes: u32) {
        each!(self, c => c.set_recv_buffer(bytes));
    }

    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        each!(self, c => c.is_done())
    }

    #[inline]
    #[must_use]
    pub fn has_slack(&self) -> bool {
        each!(self, c => c.has_slack())
    }

    pub fn trim(&mut self) {
        each!(self, c => c.trim());
    }

    #[inline]
    #[must_use]
    pub fn last_active(&self) -> Instant {
        each!(self, c => c.last_active())
    }
}
