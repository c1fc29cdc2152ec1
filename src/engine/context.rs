//! What an application can do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, TimerId};
use super::{Flow, Mailbox};
use crate::congestion::Algorithm;
use crate::frame::{Packet, Region, prefetch};
use crate::stack::flow::Slot;
use crate::stack::{
    Conn, ConnectError, ConnectOptions, ListenError, ListenOptions, Transport, Vitals,
};
use crate::stats::Snapshot;
use crate::tcp::{self, Info};
use crate::time::Instant;
use crate::utp;
use crate::wire::checksum::Sum;

/// An engine as its application sees it, for the time of one call.
///
/// Everything that names a [`Flow`] that has closed does nothing, and answers
/// with nothing (`None`, zero, or the packet given back).
pub struct Context<'a, M> {
    pub(super) core: &'a mut Core<M>,
}

impl<M: Send> Context<'_, M> {
    /// Time of this batch.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core.now
    }

    // -- connections ------------------------------------------------------

    /// Accepts connections over TCP at `local`; the unspecified address stands for
    /// all own addresses of its family. At most `backlog` connections wait to
    /// be established; beyond that SYN cookies take their place.
    ///
    /// # Errors
    /// When the port is taken, or not to be had from the steering program.
    pub fn listen(&mut self, local: SocketAddr, backlog: usize) -> Result<(), ListenError> {
        self.listen_with(local, ListenOptions::new(Transport::Tcp, backlog))
    }

    /// As [`listen`](Self::listen), over another transport or in another way.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn listen_with(
        &mut self,
        local: SocketAddr,
        options: ListenOptions,
    ) -> Result<(), ListenError> {
        self.core.stack.listen(local, options)
    }

    /// Accepts no more connections over TCP at `local`. Those accepted stay.
    pub fn unlisten(&mut self, local: SocketAddr) {
        self.unlisten_with(Transport::Tcp, local);
    }

    /// The same over any transport.
    pub fn unlisten_with(&mut self, transport: Transport, local: SocketAddr) {
        self.core.stack.unlisten(transport, local);
    }

    /// Opens a connection over TCP; [`connected`](super::Application::connected) or
    /// [`closed`](super::Application::closed) follows.
    ///
    /// # Errors
    /// When nothing could even be sent.
    pub fn connect(&mut self, remote: SocketAddr) -> Result<Flow, ConnectError> {
        let core = &mut *self.core;
        let options = ConnectOptions::default();
        core.stack
            .connect(core.now, &mut core.pool, remote, &options)
    }

    /// As [`connect`](Self::connect), from the own address `local`.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    pub fn connect_from(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
    ) -> Result<Flow, ConnectError> {
        let options = ConnectOptions {
            local: Some(local),
            ..ConnectOptions::default()
        };
        self.connect_with(remote, &options)
    }

    /// As [`connect`](Self::connect), over another transport, from an own
    /// address or port, or with settings, that are not the usual ones.
    ///
    /// # Errors
    /// When nothing could even be sent, or the address is no own one of the
    /// same family, or the port is taken.
    pub fn connect_with(
        &mut self,
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<Flow, ConnectError> {
        let core = &mut *self.core;
        core.stack
            .connect(core.now, &mut core.pool, remote, options)
    }

    /// Gives the connections that the listener of TCP at `local` accepts from now on
    /// settings of their own.
    pub fn tune_listener(&mut self, local: SocketAddr, tcp: Arc<tcp::Config>) {
        self.core.stack.tune_listener(local, tcp);
    }

    /// Sends what is pending, then the end of the stream (FIN). The peer may
    /// go on sending.
    pub fn shutdown(&mut self, flow: Flow) {
        self.with(flow, |conn, _| conn.shutdown());
    }

    /// As [`shutdown`](Self::shutdown), and nothing more will be read: what
    /// is unread, or still arrives, resets the connection (RFC 9293 section
    /// 3.6.1). [`closed`](super::Application::closed) follows.
    pub fn close(&mut self, flow: Flow) {
        let now = self.core.now;
        self.with(flow, |conn, pool| conn.close(now, pool));
    }

    /// Resets the connection: pending data is lost both ways.
    /// [`closed`](super::Application::closed) follows.
    pub fn abort(&mut self, flow: Flow) {
        self.with(flow, Conn::abort);
    }

    /// Whether to send small segments at once (no Nagle algorithm).
    pub fn set_nodelay(&mut self, flow: Flow, nodelay: bool) {
        self.with(flow, |conn, _| conn.set_nodelay(nodelay));
    }

    /// Whether to hold small segments back until they are full, for up to
    /// 200 ms.
    pub fn set_cork(&mut self, flow: Flow, cork: bool) {
        self.with(flow, |conn, _| conn.set_cork(cork));
    }

    /// Caps the payload of segments, options included, in bytes.
    pub fn set_max_segment(&mut self, flow: Flow, most: u16) {
        self.with(flow, |conn, _| conn.set_max_segment(most));
    }

    /// Idle time before the first keepalive probe, or none; then the time
    /// between probes, and the unanswered ones that end the connection.
    pub fn set_keepalive(
        &mut self,
        flow: Flow,
        idle: Option<Duration>,
        interval: Duration,
        probes: u8,
    ) {
        let now = self.core.now;
        self.with(flow, |conn, _| {
            conn.set_keepalive(now, idle, interval, probes);
        });
    }

    /// Longest time that sent data may stay unacknowledged (RFC 5482);
    /// `None` leaves it to the number of retries.
    pub fn set_user_timeout(&mut self, flow: Flow, longest: Option<Duration>) {
        self.with(flow, |conn, _| conn.set_user_timeout(longest));
    }

    /// Changes the congestion controller; the window stays.
    pub fn set_congestion(&mut self, flow: Flow, algorithm: Algorithm) {
        self.with(flow, |conn, _| conn.set_congestion(algorithm));
    }

    /// Changes the most that waits for acknowledgement, in bytes.
    pub fn set_send_buffer(&mut self, flow: Flow, bytes: u32) {
        self.with(flow, |conn, _| conn.set_send_buffer(bytes));
    }

    /// Changes the most that waits to be read, in bytes. A window that the
    /// peer has been told is not taken back.
    pub fn set_recv_buffer(&mut self, flow: Flow, bytes: u32) {
        self.with(flow, |conn, _| conn.set_recv_buffer(bytes));
    }

    /// Sends the packets of a connection with this Differentiated Services
    /// codepoint, 0 to 63, from now on; right after
    /// [`connect`](Self::connect), from the SYN on.
    pub fn set_dscp(&mut self, flow: Flow, dscp: u8) {
        if let Some(slot) = self.core.stack.flows.get_mut(flow) {
            slot.set_dscp(dscp);
        }
    }

    /// Begins to load the memory of a connection that is going to be used soon.
    /// Changes nothing; worth it for who goes through many connections, a few
    /// of them ahead.
    #[inline]
    pub fn foresee(&self, flow: Flow) {
        self.core.stack.flows.prefetch(flow.index() as u32);
    }

    /// The peer's address and port.
    #[must_use]
    pub fn peer(&self, flow: Flow) -> Option<SocketAddr> {
        self.slot(flow).map(|s| s.tuple.remote())
    }

    /// The own address and port.
    #[must_use]
    pub fn local(&self, flow: Flow) -> Option<SocketAddr> {
        self.slot(flow).map(|s| s.tuple.local())
    }

    /// What carries the connection.
    #[must_use]
    pub fn transport(&self, flow: Flow) -> Option<Transport> {
        self.slot(flow).map(|s| s.conn.transport())
    }

    /// Bytes handed over that the peer has not acknowledged.
    #[must_use]
    pub fn send_queue(&self, flow: Flow) -> usize {
        self.slot(flow).map_or(0, |s| s.conn.send_queue())
    }

    /// What is of interest of a connection over any transport.
    #[must_use]
    pub fn vitals(&self, flow: Flow) -> Option<Vitals> {
        self.slot(flow).map(|s| s.conn.vitals())
    }

    /// A look into a connection over uTP.
    #[must_use]
    pub fn utp_info(&self, flow: Flow) -> Option<utp::Info> {
        Some(self.slot(flow)?.conn.utp()?.info())
    }

    /// A look into a connection over TCP.
    #[must_use]
    pub fn info(&self, flow: Flow) -> Option<Info> {
        Some(self.slot(flow)?.conn.tcp()?.info())
    }

    // -- receiving --------------------------------------------------------

    /// The next bytes of the stream, as many as lie together in memory;
    /// `None` when there are none.
    #[inline]
    #[must_use]
    pub fn recv_chunk(&self, flow: Flow) -> Option<&[u8]> {
        self.slot(flow)?.conn.recv_chunk(&self.core.pool)
    }

    /// Drops the first `n` readable bytes and opens the window by as much.
    #[inline]
    pub fn recv_consume(&mut self, flow: Flow, n: usize) {
        self.with(flow, |conn, pool| conn.recv_consume(pool, n));
    }

    /// Shows the next bytes of the stream to `take`, as many at a time as lie
    /// together in memory. It answers how many it has read, which are dropped, and
    /// is asked again unless it left some. Opens the window by all that was read,
    /// and answers that. Costs less than
    /// [`recv_chunk`](Self::recv_chunk) and [`recv_consume`](Self::recv_consume)
    /// for each part.
    #[inline]
    pub fn recv_each(&mut self, flow: Flow, mut take: impl FnMut(&[u8]) -> usize) -> usize {
        self.with(flow, |conn, pool| conn.recv_each(pool, &mut take))
            .unwrap_or(0)
    }

    /// Bytes that can be read.
    #[inline]
    #[must_use]
    pub fn recv_available(&self, flow: Flow) -> usize {
        self.slot(flow).map_or(0, |s| s.conn.recv_available())
    }

    /// Takes the next bytes in the packet that they arrived in, to give them
    /// to another thread say. They count against the window until
    /// [`recv_release`](Self::recv_release); the packet comes back by
    /// [`free`](Self::free), also when the flow has closed meanwhile.
    #[must_use = "a packet that is dropped is lost to its pool"]
    pub fn recv_take(&mut self, flow: Flow) -> Option<Packet> {
        self.with(flow, |conn, _| conn.recv_take()).flatten()
    }

    /// Opens the window by `n` bytes that were taken with
    /// [`recv_take`](Self::recv_take).
    pub fn recv_release(&mut self, flow: Flow, n: usize) {
        self.with(flow, |conn, pool| conn.recv_release(pool, n));
    }

    // -- sending ----------------------------------------------------------

    /// Copies `data` to be sent: how many bytes were taken. When not all,
    /// [`writable`](super::Application::writable) follows.
    pub fn send(&mut self, flow: Flow, data: &[u8]) -> usize {
        let taken = if self.has_to_queue(flow) {
            0
        } else {
            self.with(flow, |conn, pool| conn.send(pool, data))
                .unwrap_or(0)
        };
        if taken < data.len() {
            self.note_starved(flow);
        }
        taken
    }

    /// Bytes that [`send`](Self::send) would take, if there are frames.
    #[inline]
    #[must_use]
    pub fn send_room(&self, flow: Flow) -> usize {
        self.slot(flow).map_or(0, |s| s.conn.send_room())
    }

    /// Payload of one full segment, in bytes.
    #[inline]
    #[must_use]
    pub fn send_mss(&self, flow: Flow) -> usize {
        self.slot(flow).map_or(0, |s| s.conn.send_mss())
    }

    /// A packet whose range is room for one full segment: fill it, here or
    /// on another thread, shorten it with [`Packet::truncate`], and give it
    /// to [`send_packet`](Self::send_packet). `None` when the send buffer or
    /// the pool has no room; [`writable`](super::Application::writable)
    /// follows.
    #[must_use = "a packet that is dropped is lost to its pool"]
    pub fn prepare(&mut self, flow: Flow) -> Option<Packet> {
        let packet = if self.has_to_queue(flow) {
            None
        } else {
            let core = &mut *self.core;
            let conn = &mut core.stack.flows.get_mut(flow)?.conn;
            conn.prepare(&mut core.pool)
        };
        if packet.is_none() {
            self.note_starved(flow);
        }
        packet
    }

    /// Sends a packet from [`prepare`](Self::prepare) without copying it.
    /// `sum` is the Internet checksum's sum of its bytes.
    ///
    /// # Errors
    /// The packet, when the flow has closed or can send no more; it is to be
    /// given to [`free`](Self::free).
    pub fn send_packet(&mut self, flow: Flow, packet: Packet, sum: Sum) -> Result<(), Packet> {
        let core = &mut *self.core;
        let Some(slot) = core.stack.flows.get_mut(flow) else {
            return Err(packet);
        };
        slot.conn.send_packet(&mut core.pool, packet, sum)?;
        core.stack.touch(flow.index() as u32);
        Ok(())
    }

    // -- packets ----------------------------------------------------------

    /// The packets' memory, for threads that fill and read them.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        self.core.pool.region()
    }

    /// The bytes of a packet.
    #[inline]
    #[must_use]
    pub fn bytes<'a>(&'a self, packet: &'a Packet) -> &'a [u8] {
        self.core.pool.bytes(packet)
    }

    /// The bytes of a packet, to write.
    #[inline]
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, packet: &'a mut Packet) -> &'a mut [u8] {
        self.core.pool.bytes_mut(packet)
    }

    /// Gives a packet back.
    #[inline]
    pub fn free(&mut self, packet: Packet) {
        self.core.pool.free(packet);
    }

    // -- timers, messages, the engine -------------------------------------

    /// Calls [`timer`](super::Application::timer) with `token` after
    /// `after`, once; not if `flow` has closed by then. It may come late by
    /// up to [`Wheel::TICK`](super::Wheel::TICK).
    pub fn set_timer(&mut self, flow: Option<Flow>, token: u64, after: Duration) -> TimerId {
        self.core.timers.set(self.core.now, flow, token, after)
    }

    /// Cancels a timer; does nothing if it was due or cancelled already.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.core.timers.cancel(timer);
    }

    /// A sender of messages to this application.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox<M> {
        self.core.inbox.mailbox()
    }

    /// Begins an orderly stop of this engine.
    pub fn stop(&mut self) {
        self.core.stop_asked = true;
    }

    /// Whether an orderly stop was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.core.stop_asked
    }

    /// The counters. Looks at every connection and frame: for reports.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.core.fill(&mut snapshot);
        snapshot
    }

    #[inline]
    fn slot(&self, flow: Flow) -> Option<&Slot> {
        self.core.stack.flows.get(flow)
    }

    /// Changes a connection, which may then have something to send or tell.
    #[inline]
    fn with<R>(
        &mut self,
        flow: Flow,
        change: impl FnOnce(&mut Conn, &mut crate::frame::Pool) -> R,
    ) -> Option<R> {
        let core = &mut *self.core;
        let slot = core.stack.flows.get_mut(flow)?;
        if !slot.in_output {
            // The application's own idea: nothing has used it in this turn.
            prefetch(slot);
        }
        let result = change(&mut slot.conn, &mut core.pool);
        if !slot.is_listed() {
            core.stack.touch(flow.index() as u32);
        }
        Some(result)
    }

    /// Whether others wait for frames, so that this connection, which could
    /// send, waits behind them: who has frames already must not be given the
    /// next ones for ever.
    #[inline]
    fn has_to_queue(&mut self, flow: Flow) -> bool {
        let core = &mut *self.core;
        if core.starved.is_empty() || core.feeding {
            return false;
        }
        match core.stack.flows.get_mut(flow) {
            Some(slot) if slot.conn.send_room() > 0 => {
                slot.conn.want_room();
                true
            }
            _ => false,
        }
    }

    /// The application was refused: if for want of frames, not of room, no
    /// acknowledgement will bring them.
    fn note_starved(&mut self, flow: Flow) {
        let core = &mut *self.core;
        if let Some(slot) = core.stack.flows.get_mut(flow)
            && !slot.starved
            && slot.conn.send_room() > 0
        {
            slot.starved = true;
            core.starved.push_back(flow);
        }
    }
}
