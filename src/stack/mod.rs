//! Addresses, neighbours, routes, the flow table and listeners.
//!
//! [`Stack`] takes received frames to connections and listeners, and
//! connections' segments to the path that they leave by. It calls no
//! application and knows no ring: `engine` does.

mod arp;
pub mod conn;
pub mod demux;
pub mod flow;
pub mod foresee;
pub mod icmp;
pub mod iface;
mod index;
pub mod kernel;
pub mod limit;
pub mod listen;
mod ndp;
pub mod neigh;
mod open;
pub mod output;
pub mod pmtu;
pub mod ports;
mod receive;
mod rest;
pub mod route;
mod router;
pub mod run;
mod slots;
mod sums;
pub mod table;

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher;
use std::ops::RangeInclusive;
use std::sync::Arc;

use siphasher::sip::SipHasher24;

pub use conn::{Conn, Transport, Vitals};
pub use flow::Flow;
pub use listen::ListenOptions;
pub use open::{ConnectError, ConnectOptions, ListenError, Tell};

use self::flow::{Phase, Slot, Tuple};
use self::iface::Interface;
use self::limit::RateLimit;
use self::listen::Listeners;
use self::ports::{PortClaims, Ports};
use self::table::FlowTable;
use crate::frame::Pool;
use crate::stats::{DropCounters, DropReason, StackCounters, TcpCounters, UtpCounters};
use crate::tcp::cookie::Cookies;
use crate::tcp::isn::IsnGenerator;
use crate::transport;
use crate::{tcp, utp};

/// Resets and the like sent a second to segments of no connection, and the
/// burst.
const RESETS: (u32, u32) = (1000, 200);

/// Connections looked at in a turn for frames to give back.
const RELIEVED: u32 = 32;

/// What a stack is made of, besides its interface.
pub struct Config {
    /// Settings of all connections over TCP.
    pub tcp: Arc<tcp::Config>,
    /// Settings of all connections over uTP.
    pub utp: Arc<utp::Config>,
    /// Most connections at one time, TIME-WAIT included.
    pub max_flows: usize,
    /// Local ports of outgoing connections.
    pub ports: RangeInclusive<u16>,
    /// Who is told which ports are ours.
    pub claims: Box<dyn PortClaims + Send>,
    /// Which of how many stacks with the same addresses this is: each gives
    /// its outgoing connections other ports.
    pub share: (usize, usize),
    /// What all secrets of the stack come from. Stacks that serve the queues
    /// of one interface have the same.
    pub seed: [u8; 32],
    /// Largest frame that can be sent, in bytes.
    pub max_frame: usize,
}

/// The connections of one engine on one interface.
pub struct Stack {
    /// Addresses, neighbours and routes.
    pub iface: Interface,
    /// The connections.
    pub flows: FlowTable,
    /// The listeners.
    pub listeners: Listeners,
    /// The local ports.
    pub ports: Ports,
    /// Frames dropped above the interface, by reason.
    pub drops: DropCounters,
    tcp: Arc<tcp::Config>,
    utp: router::Router,
    isn: IsnGenerator,
    cookies: Cookies,
    max_frame: usize,
    /// Connections with something to tell.
    events: VecDeque<u32>,
    /// Connections with something to send.
    output: VecDeque<u32>,
    /// Of the parts of the frame in hand: where each begins, its length, and
    /// whether another follows; kept for its memory.
    ranges: Vec<(u16, u16, bool)>,
    /// Connections whose acknowledgement waits for more of the stream, and the
    /// bytes that it was to answer when that was looked at.
    held_acks: Vec<(u32, u32)>,
    /// Connections that wait for their route.
    waiting: Vec<u32>,
    /// Connections in TIME-WAIT, the oldest first; some may be gone. Then those
    /// of uTP that linger.
    time_wait: [VecDeque<(u32, Flow)>; 2],
    /// The connection of the last segment: probably the next one's too.
    last: u32,
    /// The segment that was received last was the next of a stream that flows.
    foreseen: bool,
    seen_generation: u64,
    /// Where to go on looking for frames to give back.
    relief: u32,
    /// Connections with memory to give back.
    resting: rest::Resting,
    resets: RateLimit,
    counters: TcpCounters,
    resets_stray: u64,
    /// An orderly stop has begun: nothing new.
    closing: bool,
}

impl Stack {
    /// A stack on `iface`.
    #[must_use]
    pub fn new(iface: Interface, config: Config) -> Self {
        let key = |tag| derive(&config.seed, tag);
        Self {
            flows: FlowTable::new(config.max_flows, key(1), key(5)),
            ports: Ports::new(config.claims, config.ports, config.share, key(2)),
            isn: IsnGenerator::new(key(3)),
            cookies: Cookies::new(key(4)),
            iface,
            listeners: Listeners::default(),
            drops: DropCounters::default(),
            tcp: config.tcp,
            utp: router::Router::new(config.utp, key(6)),
            max_frame: config.max_frame,
            events: VecDeque::new(),
            output: VecDeque::new(),
            ranges: Vec::new(),
            held_acks: Vec::new(),
            waiting: Vec::new(),
            time_wait: [VecDeque::new(), VecDeque::new()],
            last: 0,
            foreseen: false,
            seen_generation: 0,
            relief: 0,
            resting: rest::Resting::default(),
            resets: RateLimit::new(RESETS.0, RESETS.1),
            counters: TcpCounters::default(),
            resets_stray: 0,
            closing: false,
        }
    }

    /// Notes that the connection at `index` may have something to tell and
    /// something to send.
    #[inline]
    pub fn touch(&mut self, index: u32) {
        if let Some(slot) = self.flows.at_mut(index) {
            list(slot, index, &mut self.events, &mut self.output);
        }
    }

    /// Forgets the connection at `index`: its frames, port and place.
    pub fn forget(&mut self, pool: &mut Pool, index: u32) {
        let Some(mut slot) = self.flows.remove(index) else {
            return;
        };
        slot.conn.release(pool);
        if slot.claimed {
            let protocol = slot.conn.transport().protocol();
            self.ports.unclaim(protocol, slot.tuple.local_port);
        }
        if let Phase::Accepting { listener } = slot.phase {
            self.listeners.ended(listener, slot.tuple.remote);
        }
    }

    /// While unread payload has all the frames that it may have, takes those of
    /// payload that is out of order from some connections, others each time:
    /// no application can read it, and the peer has it still.
    #[inline]
    pub fn relieve(&mut self, pool: &mut Pool) {
        if transport::is_short(pool) {
            self.take_early(pool);
        }
    }

    #[cold]
    fn take_early(&mut self, pool: &mut Pool) {
        for _ in 0..RELIEVED.min(self.flows.places()) {
            if let Some(slot) = self.flows.at_mut(self.relief) {
                slot.conn.drop_early(pool);
            }
            self.relief = (self.relief + 1) % self.flows.places();
        }
    }

    /// Forgets the oldest connection in TIME-WAIT; whether there was one.
    fn forget_time_wait(&mut self, pool: &mut Pool) -> bool {
        for n in 0..self.time_wait.len() {
            while let Some((index, flow)) = self.time_wait[n].pop_front() {
                if self.is_time_wait(index, flow) {
                    self.forget(pool, index);
                    return true;
                }
            }
        }
        false
    }

    fn is_time_wait(&self, index: u32, flow: Flow) -> bool {
        self.flows.flow(index) == Some(flow)
            && self.flows.at(index).is_some_and(|s| s.conn.is_lingering())
    }

    /// Makes room for one more connection; whether there is some.
    fn make_room(&mut self, pool: &mut Pool) -> bool {
        !self.flows.is_full() || self.forget_time_wait(pool)
    }

    /// Remembers a connection of which the application has heard the end.
    fn note_time_wait(&mut self, index: u32) {
        let (Some(flow), Some(slot)) = (self.flows.flow(index), self.flows.at(index)) else {
            return;
        };
        let n = slot.conn.transport() as usize;
        // All of one transport stay equally long, so those gone are at the
        // front.
        while let Some(&(index, flow)) = self.time_wait[n].front() {
            if self.is_time_wait(index, flow) {
                break;
            }
            self.time_wait[n].pop_front();
        }
        self.time_wait[n].push_back((index, flow));
    }

    /// Largest TCP payload, without options, that a chunk takes behind `below`
    /// bytes of headers and TCP's.
    fn payload_of_chunk(&self, below: usize) -> u16 {
        let fits = self
            .max_frame
            .saturating_sub(below + crate::wire::tcp::HEADER_LEN);
        u16::try_from(fits).unwrap_or(u16::MAX)
    }

    /// Frames dropped, below and above the interface.
    #[must_use]
    pub fn drops(&self) -> DropCounters {
        let mut sum = self.drops.clone();
        sum += self.iface.drops();
        sum[DropReason::UnreadFull] += self.flows.unread_full();
        sum
    }

    /// What the stack did.
    #[must_use]
    pub fn counters(&self) -> StackCounters {
        let mut counters = self.iface.counters();
        counters.resets_stray += self.resets_stray;
        counters.connections = self.flows.len() as u64;
        counters
    }

    /// What all connections did, past and present. Reads every one.
    #[must_use]
    pub fn transport_counters(&self) -> (TcpCounters, UtpCounters) {
        let (mut tcp, mut utp) = self.flows.counters();
        tcp += &self.counters;
        utp += &self.utp.counters;
        (tcp, utp)
    }

    /// The same of TCP's alone.
    #[must_use]
    pub fn tcp_counters(&self) -> TcpCounters {
        self.transport_counters().0
    }

    /// The connection over TCP between two ends.
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<Flow> {
        self.flows.find(tuple).and_then(|i| self.flows.flow(i))
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("iface", &self.iface)
            .field("flows", &self.flows.len())
            .finish_non_exhaustive()
    }
}

/// Puts the connection at `index` on the lists of those with something to tell,
/// if it has, and of those that may have something to send.
#[inline]
fn list(slot: &mut Slot, index: u32, events: &mut VecDeque<u32>, output: &mut VecDeque<u32>) {
    if !slot.in_events && slot.has_events() {
        slot.in_events = true;
        events.push_back(index);
    }
    if !slot.in_output {
        slot.in_output = true;
        output.push_back(index);
    }
}

/// A key for one purpose.
fn derive(seed: &[u8; 32], tag: u8) -> [u8; 16] {
    let (left, right) = seed.split_at(16);
    let mut key = [0; 16];
    for (half, side) in key.chunks_exact_mut(8).zip(0u8..) {
        let mut h = SipHasher24::new_with_key(left.first_chunk().unwrap_or(&[0; 16]));
        h.write(right);
        h.write(&[tag, side]);
        half.copy_from_slice(&h.finish().to_le_bytes());
    }
    key
}
