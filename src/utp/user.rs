//! What the application asks of a connection: as of one of `tcp`.

use super::connection::Connection;
use super::{Reason, State};
use crate::frame::{Packet, Pool};
use crate::time::Instant;
use crate::transport::outbox::{self, MIN_LIMIT, Outbox, Room};
use crate::wire::checksum::Sum;

/// While packets may soon be larger, no more of them is queued than this.
const SEARCHING_LIMIT: u32 = 16 << 10;

impl Connection {
    /// The first payload bytes that wait, as they lie in the frame they came
    /// in.
    #[must_use]
    pub fn recv_chunk<'a>(&'a self, pool: &'a Pool) -> Option<&'a [u8]> {
        self.rcv.chunk(pool)
    }

    /// Payload bytes that wait.
    #[must_use]
    pub const fn recv_available(&self) -> usize {
        self.rcv.available()
    }

    /// The application has read the first `n` bytes.
    pub fn recv_consume(&mut self, pool: &mut Pool, n: usize) {
        if let Some(packet) = self.rcv.consume(n, pool) {
            self.keep_spare(packet, pool);
        }
        self.offer_window(pool);
    }

    /// Shows the bytes that wait, as they lie in one frame after the other, to
    /// `take`, which answers how many of them it has read; it is not asked again
    /// once that is less than all. Answers how many were read.
    #[inline]
    pub fn recv_each(&mut self, pool: &mut Pool, take: &mut impl FnMut(&[u8]) -> usize) -> usize {
        let (read, free) = self.rcv.read(pool, take);
        if let Some(packet) = free {
            self.keep_spare(packet, pool);
        }
        if read > 0 {
            self.offer_window(pool);
        }
        read
    }

    /// Moves the first waiting packet to the application. Its bytes go on
    /// counting against the window until
    /// [`recv_release`](Self::recv_release).
    pub fn recv_take(&mut self) -> Option<Packet> {
        self.rcv.take()
    }

    /// The application has given back `n` bytes that it took.
    pub fn recv_release(&mut self, pool: &Pool, n: usize) {
        self.rcv.release(n);
        self.offer_window(pool);
    }

    /// Gives nothing back, unlike `tcp`: what was acknowledged selectively is
    /// forgotten by its sender (libutp), and would be lost.
    pub const fn drop_early(&mut self, _pool: &mut Pool) {}

    fn offer_window(&mut self, pool: &Pool) {
        self.rcv.note_room(self.payload_of_chunk(), pool);
        let opens = self.rcv.wants_update(u32::from(self.ack.rcv_mss));
        if self.state.can_receive() && opens && !self.rcv.is_over() {
            self.ack.now = true;
        }
    }

    /// Bytes that may be queued: the send buffer, but no more than twice what
    /// the congestion window can use, and of those that have not been sent no
    /// more than `unsent_buffer`, so that frames stay few and warm.
    #[must_use]
    pub fn send_room(&self) -> usize {
        if self.state.can_send() {
            self.room().left()
        } else {
            0
        }
    }

    #[inline]
    fn room(&self) -> Room {
        let searching = self.mtu.size() == self.mtu.base() && !self.mtu.is_settled();
        let least = if searching {
            SEARCHING_LIMIT
        } else {
            MIN_LIMIT
        };
        let useful = self.cc.cwnd().saturating_mul(2).max(least);
        Room {
            limit: self.config.send_buffer.max(1).min(useful),
            queued: self.snd.queued(),
            unsent_limit: self.config.unsent_buffer,
            unsent: self.snd.unsent(),
            mss: self.snd.mss,
        }
    }

    /// Payload of a full packet to send, in bytes.
    #[must_use]
    pub const fn send_mss(&self) -> usize {
        self.snd.mss as usize
    }

    /// Queues `data`, copying it into frames and summing it on the way.
    /// Answers how many bytes were taken; if that is fewer, `Writable`
    /// follows when there is room again.
    pub fn send(&mut self, pool: &mut Pool, data: &[u8]) -> usize {
        let mut taken = 0;
        if self.state.can_send() {
            let fits = &data[..self.room().takes(data.len())];
            let frame = (self.payload_start(), self.snd.mss);
            taken = outbox::write(&mut self.snd, fits, frame, pool);
        }
        self.wants_room |= taken < data.len();
        taken
    }

    /// Has `Writable` follow, as if [`send`](Self::send) had taken nothing.
    pub const fn want_room(&mut self) {
        self.wants_room = true;
    }

    /// A frame for the application to write payload into: its range is room
    /// for one full packet. `None` while frames or room are short.
    pub fn prepare(&mut self, pool: &mut Pool) -> Option<Packet> {
        let packet = if self.send_room() == 0 {
            None
        } else {
            outbox::payload_frame(self.payload_start(), self.snd.mss, pool)
        };
        self.wants_room |= packet.is_none();
        packet
    }

    /// Queues a packet from [`prepare`](Self::prepare), truncated to what was
    /// written, without copying. `sum` is the checksum over its bytes.
    ///
    /// # Errors
    /// The packet itself if the connection cannot send any more, or if the
    /// packet is empty or its range does not begin where `prepare` put it.
    pub fn send_packet(&mut self, pool: &mut Pool, packet: Packet, sum: Sum) -> Result<(), Packet> {
        // The path may have shrunk since `prepare`: such a packet goes in parts.
        let fits = packet.start() == usize::from(self.payload_start())
            && (1..=usize::from(self.chunk)).contains(&packet.len());
        if !self.state.can_send() || !fits {
            return Err(packet);
        }
        self.snd.push(packet, sum, pool);
        Ok(())
    }

    /// Room has come back: tells an application that had been refused.
    pub(super) fn tell_room(&mut self) {
        if self.wants_room && self.state.can_send() && self.room().is_worth_telling() {
            self.wants_room = false;
            self.events.writable = true;
        }
    }

    /// Whether anything waits to be sent for the first time.
    #[inline]
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.snd.has_unsent()
    }

    /// Whether what waits to be sent for the first time is short: no more than a
    /// full packet, so that it is no part of a stream.
    #[inline]
    #[must_use]
    pub fn has_short_unsent(&self) -> bool {
        self.has_unsent() && self.snd.unsent() as usize <= self.send_mss()
    }

    /// Whether the application is to be told of room: sending what had not been
    /// sent makes some, too.
    #[inline]
    #[must_use]
    pub const fn has_room_to_tell(&self) -> bool {
        self.events.writable
    }

    /// Whether the application was refused room or a frame and has not been
    /// told since that there is some.
    #[must_use]
    pub const fn wants_room(&self) -> bool {
        self.wants_room
    }

    /// Ends our stream: a FIN behind what is queued. The peer may go on
    /// sending.
    pub fn shutdown(&mut self) {
        match self.state {
            State::Connected => self.state = State::Closing,
            // It goes once the peer has shown that it is there.
            State::SynReceived if !self.fin_queued => {}
            State::SynSent => {
                self.events.closed = Some(Reason::Aborted);
                self.timers.stop_all();
                self.state = State::Closed;
                return;
            }
            _ => return,
        }
        self.fin_queued = true;
        self.snd.push_fin();
    }

    /// Ends our stream and declares that nothing more will be read: payload
    /// that arrives later resets the connection.
    pub fn close(&mut self, now: Instant, pool: &mut Pool) {
        self.recv_closed = true;
        let unread = self.rcv.available() > 0;
        self.rcv.clear(pool);
        if unread && self.state.can_receive() {
            // The peer must know that data was lost.
            self.abort(pool);
            return;
        }
        self.shutdown();
        self.maybe_finish(now, pool);
    }

    /// Ends the connection at once with a RESET.
    pub fn abort(&mut self, pool: &mut Pool) {
        if matches!(self.state, State::Closed | State::Lingering) {
            self.state = State::Closed;
        } else {
            // Who has not answered, or is not proven, hears nothing.
            self.pending.reset = self.state.can_receive();
        }
        self.recv_closed = true;
        self.end(Reason::Aborted, pool);
    }

    /// The network says that the peer cannot be reached. Believed of a SYN
    /// only: anything else may be forged, and passes.
    pub fn handle_unreachable(&mut self, pool: &mut Pool) {
        if self.state == State::SynSent && self.syns > 0 {
            self.end(Reason::Unreachable, pool);
        }
    }
}
