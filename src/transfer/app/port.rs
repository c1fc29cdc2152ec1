//! What a transfer application needs of the connections it runs on.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Transport;
use crate::frame::{Packet, Region};
use crate::time::Instant;
use crate::wire::checksum::Sum;

/// Connections as an application sees them. An engine's context is one; tests
/// have another, on the kernel's TCP.
pub trait Port {
    /// Names a connection.
    type Flow: Copy + Eq + Hash + Debug;

    /// The time of this call.
    fn now(&self) -> Instant;
    /// The next readable bytes that lie together.
    fn recv_chunk(&self, flow: Self::Flow) -> Option<&[u8]>;
    /// Drops readable bytes and opens the window by as many.
    fn recv_consume(&mut self, flow: Self::Flow, n: usize);
    /// Takes the bytes that `recv_chunk` shows in the packet they came in.
    fn recv_take(&mut self, flow: Self::Flow) -> Option<Packet>;
    /// Opens the window by bytes that were taken.
    fn recv_release(&mut self, flow: Self::Flow, n: usize);
    /// Copies bytes to be sent; answers how many.
    fn send(&mut self, flow: Self::Flow, data: &[u8]) -> usize;
    /// Bytes handed over that the peer has not acknowledged.
    fn unsent(&self, flow: Self::Flow) -> usize;
    /// Bytes that may be handed over now.
    fn send_room(&self, flow: Self::Flow) -> usize;
    /// Payload of one full segment.
    fn segment(&self, flow: Self::Flow) -> usize;
    /// An empty packet with room for one segment.
    fn prepare(&mut self, flow: Self::Flow) -> Option<Packet>;
    /// Sends a packet from `prepare`.
    ///
    /// # Errors
    /// The packet, when the connection takes no more.
    fn send_packet(&mut self, flow: Self::Flow, packet: Packet, sum: Sum) -> Result<(), Packet>;
    /// Sends the end of the stream after what is pending.
    fn shutdown(&mut self, flow: Self::Flow);
    /// Ends the connection; nothing more will be read.
    fn close(&mut self, flow: Self::Flow);
    /// Resets the connection.
    fn abort(&mut self, flow: Self::Flow);
    /// Opens a connection.
    ///
    /// # Errors
    /// One line for the user.
    fn connect(&mut self, transport: Transport, remote: SocketAddr) -> Result<Self::Flow, String>;
    /// Sends small segments at once.
    fn set_nodelay(&mut self, flow: Self::Flow);
    /// The packets' memory.
    fn region(&self) -> &Arc<Region>;
    /// Gives a packet back.
    fn free(&mut self, packet: Packet);
    /// Calls the application after a while.
    fn set_timer(&mut self, flow: Option<Self::Flow>, token: u64, after: Duration);
    /// Ends the run.
    fn stop(&mut self);
}
