//! The applications on an engine of ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::block::FrameBlock;
use super::{ClientApp, Message, Port, ServerApp};
use crate::engine::{
    self, Application, ConnectOptions, Context, Flow, ListenOptions, Reason, Transport,
};
use crate::frame::{Packet, Region};
use crate::time::Instant;
use crate::transfer::disk::{Completion, Mailbox};
use crate::wire::checksum::Sum;

/// How long a disk thread waits before it tries a full mailbox again.
const FULL: Duration = Duration::from_micros(20);

impl Mailbox<FrameBlock> for engine::Mailbox<Message> {
    fn post(&self, completion: Completion<FrameBlock>) -> bool {
        let mut message = Message::Disk(completion);
        loop {
            match self.send(message) {
                Ok(()) => return true,
                Err(_) if self.is_closed() => return false,
                Err(back) => message = back,
            }
            std::thread::sleep(FULL);
        }
    }
}

impl Port for Context<'_, Message> {
    type Flow = Flow;

    fn now(&self) -> Instant {
        Context::now(self)
    }

    fn recv_chunk(&self, flow: Flow) -> Option<&[u8]> {
        Context::recv_chunk(self, flow)
    }

    fn recv_consume(&mut self, flow: Flow, n: usize) {
        Context::recv_consume(self, flow, n);
    }

    fn recv_take(&mut self, flow: Flow) -> Option<Packet> {
        Context::recv_take(self, flow)
    }

    fn recv_release(&mut self, flow: Flow, n: usize) {
        Context::recv_release(self, flow, n);
    }

    fn send(&mut self, flow: Flow, data: &[u8]) -> usize {
        Context::send(self, flow, data)
    }

    fn unsent(&self, flow: Flow) -> usize {
        Context::send_queue(self, flow)
    }

    fn send_room(&self, flow: Flow) -> usize {
        Context::send_room(self, flow)
    }

    fn segment(&self, flow: Flow) -> usize {
        Context::send_mss(self, flow)
    }

    fn prepare(&mut self, flow: Flow) -> Option<Packet> {
        Context::prepare(self, flow)
    }

    fn send_packet(&mut self, flow: Flow, packet: Packet, sum: Sum) -> Result<(), Packet> {
        Context::send_packet(self, flow, packet, sum)
    }

    fn shutdown(&mut self, flow: Flow) {
        Context::shutdown(self, flow);
    }

    fn close(&mut self, flow: Flow) {
        Context::close(self, flow);
    }

    fn abort(&mut self, flow: Flow) {
        Context::abort(self, flow);
    }

    fn connect(&mut self, transport: Transport, remote: SocketAddr) -> Result<Flow, String> {
        let options = ConnectOptions {
            transport,
            ..ConnectOptions::default()
        };
        self.connect_with(remote, &options)
            .map_err(|e| e.to_string())
    }

    fn set_nodelay(&mut self, flow: Flow) {
        Context::set_nodelay(self, flow, true);
    }

    fn region(&self) -> &Arc<Region> {
        Context::region(self)
    }

    fn free(&mut self, packet: Packet) {
        Context::free(self, packet);
    }

    fn set_timer(&mut self, flow: Option<Flow>, token: u64, after: Duration) {
        Context::set_timer(self, flow, token, after);
    }

    fn stop(&mut self) {
        Context::stop(self);
    }
}

impl Application for ServerApp<Flow> {
    type Message = Message;

    fn start(&mut self, cx: &mut Context<'_, Message>) {
        self.set_mailbox(Arc::new(cx.mailbox()));
        let tcp = (Transport::Tcp, self.listen.clone(), self.backlog);
        let utp = (Transport::Utp, self.listen_utp.clone(), self.backlog_utp);
        let all = [tcp, utp]
            .into_iter()
            .flat_map(|(transport, list, backlog)| {
                list.into_iter()
                    .map(move |local| (transport, local, backlog))
            });
        for (transport, local, backlog) in all {
            let options = ListenOptions::new(transport, backlog);
            if let Err(error) = cx.listen_with(local, options) {
                self.failed(format!("cannot listen on {local}, {transport}: {error}"));
                cx.stop();
                return;
            }
        }
        self.listening();
    }

    fn accept(
        &mut self,
        cx: &mut Context<'_, Message>,
        flow: Flow,
        peer: SocketAddr,
        _: SocketAddr,
    ) -> bool {
        self.on_accept(cx, flow, peer)
    }

    fn readable(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_readable(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_writable(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_peer_closed(cx, flow);
    }

    fn closed(&mut self, cx: &mut Context<'_, Message>, flow: Flow, _: Reason) {
        self.on_closed(cx, flow);
    }

    fn message(&mut self, cx: &mut Context<'_, Message>, message: Message) {
        match message {
            Message::Disk(completion) => self.on_disk(cx, completion),
        }
    }

    fn timer(&mut self, cx: &mut Context<'_, Message>, flow: Option<Flow>, _: u64) {
        if let Some(flow) = flow {
            self.on_timer(cx, flow);
        }
    }

    fn stopping(&mut self, cx: &mut Context<'_, Message>) {
        self.on_stopping(cx);
    }
}

impl Application for ClientApp<Flow> {
    type Message = Message;

    fn start(&mut self, cx: &mut Context<'_, Message>) {
        self.set_mailbox(Arc::new(cx.mailbox()));
        self.on_start(cx);
    }

    fn connected(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_connected(cx, flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_readable(cx, flow);
    }

    fn writable(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_writable(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, Message>, flow: Flow) {
        self.on_peer_closed(cx, flow);
    }

    fn closed(&mut self, cx: &mut Context<'_, Message>, flow: Flow, reason: Reason) {
        let why = match reason {
            Reason::Finished => "it was closed",
            Reason::Reset => "the peer reset it",
            Reason::TimedOut => "no answer",
            Reason::Refused => "connection refused",
            Reason::Unreachable => "the network says that the host cannot be reached",
            Reason::Aborted => "it was aborted",
        };
        self.on_closed(cx, flow, why);
    }

    fn message(&mut self, cx: &mut Context<'_, Message>, message: Message) {
        match message {
            Message::Disk(completion) => self.on_disk(cx, completion),
        }
    }

    fn timer(&mut self, cx: &mut Context<'_, Message>, _: Option<Flow>, _: u64) {
        self.on_timer(cx);
    }

    fn stopping(&mut self, cx: &mut Context<'_, Message>) {
        self.on_stopping(cx);
    }
}
