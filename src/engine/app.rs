//! What runs on an engine.

use std::net::SocketAddr;

use super::{Context, Flow, Reason};

/// A program on top of connections. Its methods are called on the engine's
/// thread, between a batch of packets and the next, so they must not block:
/// what takes long goes to another thread and comes back as a message.
///
/// The order for one flow is: `accept` (or [`Context::connect`], then
/// `connected`), any number of `readable`, `writable` and `timer`, at most one
/// `peer_closed`, and `closed` as the last. A flow refused by `accept`, or
/// whose `connect` failed at once, gets no further call.
pub trait Application {
    /// What other threads send to this application.
    type Message: Send + 'static;

    /// The engine is about to run: time to listen and to connect.
    fn start(&mut self, cx: &mut Context<'_, Self::Message>) {
        let _ = cx;
    }

    /// A connection from `peer` to the listener at `local` is established.
    /// `false` resets it.
    fn accept(
        &mut self,
        cx: &mut Context<'_, Self::Message>,
        flow: Flow,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> bool {
        let _ = (cx, flow, peer, local);
        true
    }

    /// A connection that this application opened is established.
    fn connected(&mut self, cx: &mut Context<'_, Self::Message>, flow: Flow) {
        let _ = (cx, flow);
    }

    /// Bytes arrived: called once for all of a batch, before they are
    /// acknowledged. Bytes left unread stay; the next call comes when more
    /// arrive. If the peer resets the connection while some are unread there
    /// is one more call before [`closed`](Self::closed): what has arrived in
    /// order can be read for the time of it.
    fn readable(&mut self, cx: &mut Context<'_, Self::Message>, flow: Flow);

    /// There is room to send again, after [`Context::send`] took less than it
    /// was given or [`Context::prepare`] had nothing to give.
    fn writable(&mut self, cx: &mut Context<'_, Self::Message>, flow: Flow) {
        let _ = (cx, flow);
    }

    /// The peer will send no more: no byte comes after those that are
    /// readable now.
    fn peer_closed(&mut self, cx: &mut Context<'_, Self::Message>, flow: Flow) {
        let _ = (cx, flow);
    }

    /// The connection is over, for `reason`: the last call for `flow`.
    /// After [`Reason::Finished`] all that was sent has been acknowledged.
    fn closed(&mut self, cx: &mut Context<'_, Self::Message>, flow: Flow, reason: Reason);

    /// A message from a [`Mailbox`](super::Mailbox).
    fn message(&mut self, cx: &mut Context<'_, Self::Message>, message: Self::Message) {
        let _ = (cx, message);
    }

    /// A timer set with [`Context::set_timer`] is due. Not called for flows
    /// that have closed since.
    fn timer(&mut self, cx: &mut Context<'_, Self::Message>, flow: Option<Flow>, token: u64) {
        let _ = (cx, flow, token);
    }

    /// Called in every turn, of which a spinning engine makes one at least every
    /// two microseconds, after what arrived has been told and before what
    /// is to leave is sent: for what the application looks at by itself, such
    /// as a clock. Not called while the engine sleeps.
    #[inline]
    fn turn(&mut self, cx: &mut Context<'_, Self::Message>) {
        let _ = cx;
    }

    /// An orderly stop has begun: no connection is accepted any more, and
    /// those still open when the drain time is over are reset. Called once.
    fn stopping(&mut self, cx: &mut Context<'_, Self::Message>) {
        let _ = cx;
    }
}
