//! How connections begin, and what the application is told of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::flow::{Flow, Phase, Route, Slot, Tuple};
use super::iface::{NoRoute, Ready};
use super::listen::ListenOptions;
use super::{Conn, Stack, Transport};
use crate::frame::Pool;
use crate::tcp::{self, Connection, Setup};
use crate::time::Instant;
use crate::transport::{Event, Reason};
use crate::utp;
use crate::wire::tcp::SeqNumber;

/// Why there can be no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// There is a listener of the same transport at this address and port.
    #[error("{0} has a listener already")]
    InUse(SocketAddr),
    /// Its frames are not to be had.
    #[error("port {port} cannot be claimed: {source}")]
    NotClaimed {
        /// The port.
        port: u16,
        /// Why not.
        source: std::io::Error,
    },
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

/// Why an outgoing connection failed at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No way leads there.
    #[error("cannot reach {0}: {1}")]
    NoRoute(SocketAddr, NoRoute),
    /// All local ports that could be used are taken, or the one asked for is.
    #[error("no free local port to connect to {0}")]
    NoPort(SocketAddr),
    /// The configured number of connections exists already.
    #[error("too many connections")]
    TooManyFlows,
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

/// How a connection is to be opened, where that is not as usual.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The own address to send from, rather than the one that the route
    /// suggests (RFC 9293 section 3.9.1.1, MUST-43).
    pub local: Option<IpAddr>,
    /// The own port, rather than one that is free.
    pub port: Option<u16>,
    /// Over what.
    pub transport: Transport,
    /// Its settings over TCP, rather than those of the engine.
    pub tcp: Option<Arc<tcp::Config>>,
    /// The same over uTP.
    pub utp: Option<Arc<utp::Config>>,
}

/// What the application is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// A peer has connected.
    Accept {
        /// The peer.
        peer: SocketAddr,
        /// To where it connected.
        local: SocketAddr,
    },
    /// An outgoing connection is established.
    Connected,
    /// Payload arrived.
    Readable,
    /// There is room again.
    Writable,
    /// The peer's stream has ended.
    PeerClosed,
    /// The connection has ended.
    Closed(Reason),
}

impl Stack {
    /// Accepts connections at `local`.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(&mut self, local: SocketAddr, options: ListenOptions) -> Result<(), ListenError> {
        if self.closing {
            return Err(ListenError::Stopping);
        }
        if self.listeners.at(options.transport, local).is_some() {
            return Err(ListenError::InUse(local));
        }
        let port = local.port();
        self.ports
            .claim(options.transport.protocol(), port)
            .map_err(|source| ListenError::NotClaimed { port, source })?;
        self.listeners.add(local, options);
        Ok(())
    }

    /// Gives the connections that the listener of TCP at `local` accepts from now on
    /// settings of their own.
    pub fn tune_listener(&mut self, local: SocketAddr, tcp: Arc<tcp::Config>) {
        if let Some(listener) = self.listeners.at(Transport::Tcp, local) {
            listener.set_settings(tcp);
        }
    }

    /// Settings of connections that the listener for `local` accepts.
    pub(super) fn settings_at(&mut self, local: SocketAddr) -> Arc<tcp::Config> {
        let listener = self.listeners.find(Transport::Tcp, local);
        let own = listener.and_then(|l| l.settings()).map(Arc::clone);
        own.unwrap_or_else(|| Arc::clone(&self.tcp))
    }

    /// Accepts no more connections at `local`.
    pub fn unlisten(&mut self, transport: Transport, local: SocketAddr) {
        if let Some(listener) = self.listeners.remove(transport, local) {
            self.ports
                .unclaim(transport.protocol(), listener.local.port());
        }
    }

    /// Begins to connect to `remote`.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<Flow, ConnectError> {
        if self.closing {
            return Err(ConnectError::Stopping);
        }
        let plan = self
            .iface
            .plan(now, options.local, remote.ip())
            .map_err(|why| ConnectError::NoRoute(remote, why))?;
        if !self.make_room(pool) {
            return Err(ConnectError::TooManyFlows);
        }
        let (transport, protocol) = (options.transport, options.transport.protocol());
        let flows = &self.flows;
        // With uTP a connection id tells connections between two ports apart.
        let is_taken = |tuple: &Tuple| transport == Transport::Tcp && flows.find(tuple).is_some();
        let port = match options.port {
            None => self.ports.choose(protocol, plan.local, remote, is_taken),
            Some(port) => {
                let tuple = Tuple::new(SocketAddr::new(plan.local, port), remote);
                let free = !is_taken(&tuple) && self.ports.claim(protocol, port).is_ok();
                free.then_some(port)
            }
        };
        let port = port.ok_or(ConnectError::NoPort(remote))?;
        let tuple = Tuple::new(SocketAddr::new(plan.local, port), remote);
        let conn = match transport {
            Transport::Tcp => {
                let tcp = Arc::clone(options.tcp.as_ref().unwrap_or(&self.tcp));
                let setup = self.setup(now, &tcp, &tuple, &plan);
                Some(Conn::Tcp(Connection::connect(&setup)))
            }
            Transport::Utp => {
                let utp = Arc::clone(options.utp.as_ref().unwrap_or(&self.utp.config));
                let conn = self.open_utp(now, &utp, &tuple, &plan.for_udp());
                conn.map(|conn| Conn::Utp(Box::new(conn)))
            }
        };
        let Some(conn) = conn else {
            self.ports.unclaim(protocol, port);
            return Err(ConnectError::NoPort(remote));
        };
        let mut slot = Slot::new(conn, tuple, Phase::Connecting);
        slot.claimed = true;
        let Some(flow) = self.flows.insert(slot) else {
            self.ports.unclaim(protocol, port);
            return Err(ConnectError::TooManyFlows);
        };
        self.touch(flow.index() as u32);
        Ok(flow)
    }

    pub(super) fn setup<'a>(
        &self,
        now: Instant,
        tcp: &'a Arc<tcp::Config>,
        tuple: &Tuple,
        path: &Ready,
    ) -> Setup<'a> {
        let (local, remote) = (tuple.local(), tuple.remote());
        Setup {
            config: tcp,
            ports: tcp::Ports {
                local: tuple.local_port,
                remote: tuple.remote_port,
            },
            iss: self.isn.iss(now, local, remote),
            ts_offset: self.isn.ts_offset(local, remote),
            mss: path.mss,
            chunk: self.payload_of_chunk(path.template.len()),
            headroom: path.template.len() as u16,
            now,
        }
    }

    /// Adds an incoming connection whose segments leave by `path`.
    pub(super) fn add_incoming(
        &mut self,
        conn: Conn,
        tuple: Tuple,
        listener: u32,
        path: Ready,
    ) -> Option<u32> {
        let mut slot = Slot::new(conn, tuple, Phase::Accepting { listener });
        slot.route = Some(Route {
            template: path.template,
            generation: self.iface.generation() as u32,
            refresh: path.refresh,
        });
        // The listener has claimed the port: this only counts its users.
        let protocol = slot.conn.transport().protocol();
        slot.claimed = self.ports.claim(protocol, tuple.local_port).is_ok();
        let claimed = slot.claimed;
        let Some(flow) = self.flows.insert(slot) else {
            if claimed {
                self.ports.unclaim(protocol, tuple.local_port);
            }
            return None;
        };
        self.listeners.began(listener, tuple.remote);
        Some(flow.index() as u32)
    }

    /// The next thing to tell the application.
    pub fn poll_event(&mut self) -> Option<(Flow, Tell)> {
        loop {
            let index = *self.events.front()?;
            if let Some(slot) = self.flows.at_mut(index)
                && slot.phase == Phase::Open
                && slot.failed.is_none()
                && slot.conn.poll_readable()
            {
                slot.in_events = false;
                self.events.pop_front();
                return Some((slot.flow(index), Tell::Readable));
            }
            if let Some(tell) = self.poll_event_of(index)
                && let Some(flow) = self.flows.flow(index)
            {
                return Some((flow, tell));
            }
            self.events.pop_front();
            if let Some(slot) = self.flows.at_mut(index) {
                slot.in_events = false;
            }
        }
    }

    fn poll_event_of(&mut self, index: u32) -> Option<Tell> {
        loop {
            let slot = self.flows.at_mut(index)?;
            let phase = slot.phase;
            let event = match slot.failed {
                Some(_) if phase == Phase::Over => return None,
                Some(reason) => Event::Closed(reason),
                None => slot.conn.poll_event()?,
            };
            let told = match event {
                Event::Connected => self.established(index),
                Event::Closed(reason) => self.ended(index, reason),
                // The application does not have it.
                _ if phase != Phase::Open => None,
                Event::Readable => Some(Tell::Readable),
                Event::Writable => Some(Tell::Writable),
                Event::PeerClosed => Some(Tell::PeerClosed),
            };
            if told.is_some() {
                return told;
            }
        }
    }

    /// The handshake of the connection at `index` is over: what the application
    /// is told.
    #[inline(never)]
    fn established(&mut self, index: u32) -> Option<Tell> {
        let slot = self.flows.at_mut(index)?;
        let (phase, transport, tuple) = (slot.phase, slot.conn.transport(), slot.tuple);
        let (tell, tcp, utp) = match phase {
            Phase::Connecting => (
                Tell::Connected,
                &mut self.counters.connected,
                &mut self.utp.counters.connected,
            ),
            Phase::Accepting { listener } => {
                self.listeners.ended(listener, tuple.remote);
                let tell = Tell::Accept {
                    peer: tuple.remote(),
                    local: tuple.local(),
                };
                (
                    tell,
                    &mut self.counters.accepted,
                    &mut self.utp.counters.accepted,
                )
            }
            Phase::Open | Phase::Over => return None,
        };
        slot.phase = Phase::Open;
        match transport {
            Transport::Tcp => *tcp += 1,
            Transport::Utp => *utp += 1,
        }
        Some(tell)
    }

    /// The connection at `index` is over: what the application is told.
    #[inline(never)]
    fn ended(&mut self, index: u32, reason: Reason) -> Option<Tell> {
        let slot = self.flows.at_mut(index)?;
        let phase = std::mem::replace(&mut slot.phase, Phase::Over);
        let (transport, lingers) = (slot.conn.transport(), slot.conn.is_lingering());
        if let Phase::Accepting { listener } = phase {
            self.listeners.ended(listener, slot.tuple.remote);
        }
        self.count_end(transport, reason);
        // Whatever is left to be sent goes, then the slot.
        self.touch(index);
        if lingers {
            self.note_time_wait(index);
        }
        matches!(phase, Phase::Connecting | Phase::Open).then_some(Tell::Closed(reason))
    }

    /// Ends a connection without telling the application.
    pub fn drop_silently(&mut self, pool: &mut Pool, flow: Flow) {
        let Some(slot) = self.flows.get_mut(flow) else {
            return;
        };
        slot.phase = Phase::Over;
        slot.conn.abort(pool);
        self.touch(flow.index() as u32);
    }

    fn count_end(&mut self, transport: Transport, reason: Reason) {
        macro_rules! count {
            ($c:expr) => {{
                $c.closed += 1;
                match reason {
                    Reason::Reset | Reason::Refused => $c.resets_received += 1,
                    Reason::TimedOut => $c.timed_out += 1,
                    Reason::Aborted => $c.resets_sent += 1,
                    Reason::Finished | Reason::Unreachable => {}
                }
            }};
        }
        match transport {
            Transport::Tcp => count!(self.counters),
            Transport::Utp => count!(self.utp.counters),
        }
    }

    /// An orderly stop begins: no listeners, nothing half open.
    pub fn close(&mut self, pool: &mut Pool) {
        self.closing = true;
        while let Some(listener) = self.listeners.pop() {
            let protocol = listener.transport().protocol();
            self.ports.unclaim(protocol, listener.local.port());
        }
        let half_open: Vec<u32> = self
            .flows
            .indices()
            .filter(|&i| {
                self.flows
                    .at(i)
                    .is_some_and(|s| matches!(s.phase, Phase::Accepting { .. }))
            })
            .collect();
        for index in half_open {
            self.abort(pool, index);
        }
    }

    /// Aborts the connection at `index`.
    pub fn abort(&mut self, pool: &mut Pool, index: u32) {
        if let Some(slot) = self.flows.at_mut(index) {
            slot.conn.abort(pool);
            self.touch(index);
        }
    }

    /// Whether the application still has a connection.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.flows.indices().any(|i| {
            self.flows
                .at(i)
                .is_some_and(|s| s.phase != Phase::Over || !s.conn.is_lingering())
        })
    }

    /// A report that the segment `quoted` of a flow did not arrive.
    pub(super) fn unreachable(&mut self, pool: &mut Pool, index: u32, quoted: SeqNumber) {
        if let Some(slot) = self.flows.at_mut(index)
            && let Some(conn) = slot.conn.tcp_mut()
        {
            conn.handle_unreachable(pool, quoted);
            self.touch(index);
        }
    }
}
