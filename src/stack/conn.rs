//! A connection of any transport: what applications and the stack ask of it is
//! the same for all.

use std::collections::VecDeque;

use crate::frame::{Packet, Pool, TxDesc};
use crate::tcp::{self, Event, State};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::template::Template;

/// The machine of one connection.
///
/// Its methods are those that transports have in common; their own are reached
/// through [`tcp`](Self::tcp) and the like. For what each means see
/// [`tcp::Connection`].
#[derive(Debug)]
pub enum Conn {
    /// TCP.
    Tcp(tcp::Connection),
}

/// Calls the method of the same name.
macro_rules! each {
    ($conn:expr, $c:ident => $call:expr) => {
        match $conn {
            Conn::Tcp($c) => $call,
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
        }
    }

    /// The machine, if it is TCP's.
    #[inline]
    pub const fn tcp_mut(&mut self) -> Option<&mut tcp::Connection> {
        match self {
            Self::Tcp(c) => Some(c),
        }
    }

    /// Whether it is over, and only answers what is late: TIME-WAIT.
    #[inline]
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        match self {
            Self::Tcp(c) => c.state() == State::TimeWait,
        }
    }

    /// Whether it is over, but for what may have to be sent and told.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Tcp(c) => c.state() == State::Closed,
        }
    }

    /// Appends up to `budget` segments of new data to `tx`: how many. Those of
    /// transports without trains leave one by one.
    #[inline]
    pub fn poll_train(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        template: &Template,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
    ) -> usize {
        match self {
            Self::Tcp(c) => c.poll_train(now, pool, template, budget, tx),
        }
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
