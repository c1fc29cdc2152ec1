//! A rehearsal of the way that a request takes through the machine.
//!
//! The kernel's path of a frame drives the engine's instructions out of the
//! first-level cache, and out of what the processor has learnt of their branches.
//! Data can be asked for ahead of time, instructions only by running them. So
//! who spins, and has just sent something, has two stacks of nobody's exchange a
//! message in the meantime, in memory of their own: the next request finds the
//! way trodden.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{EngineConfig, NoClaims};
use crate::frame::{PACKET_START, Pool, Region, TxDesc};
use crate::stack::iface::{self, Interface, Mode};
use crate::stack::output::Left;
use crate::stack::route::Prefix;
use crate::stack::{self, ConnectOptions, Flow, ListenOptions, Stack, Tell, Transport};
use crate::time::Instant;
use crate::wire::eth::Mac;

/// Bytes of a message.
const MESSAGE: usize = 64;
/// Chunks of the memory, and bytes of each.
const CHUNKS: u32 = 64;
const CHUNK: u32 = 2048;
/// Largest IP packet, in bytes.
const MTU: u16 = 1500;
/// Time between two messages, by the clock of the rehearsal.
const STEP: Duration = Duration::from_micros(3);
/// Addresses for documentation (RFC 5737), which nobody has.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const PORT: u16 = 7;
const PORTS: RangeInclusive<u16> = 50_000..=50_000;
/// Segments of a connection in a turn.
const BURST: usize = 16;

/// One of the two ends.
struct End {
    stack: Stack,
    tx: VecDeque<TxDesc>,
}

/// Two ends, and a connection between them.
pub(super) struct Rehearsal {
    now: Instant,
    pool: Pool,
    ends: [End; 2],
    /// Whose turn it is.
    next: usize,
    /// Frames on their way to that end.
    wire: Vec<Vec<u8>>,
    /// Memory for such frames.
    spare: Vec<Vec<u8>>,
    /// Messages that have arrived.
    heard: u64,
}

impl Rehearsal {
    /// Two ends with the settings of an engine. They connect in the first steps.
    pub(super) fn new(config: &EngineConfig) -> Self {
        let mut pool = Pool::new(Region::anonymous(CHUNKS, CHUNK));
        let now = Instant::from_millis(1000);
        let mut ends = [0, 1].map(|n: usize| End {
            stack: stack_of(n, config, pool.max_packet()),
            tx: VecDeque::new(),
        });
        let server = SocketAddr::from((ADDRESSES[1], PORT));
        let listening = ListenOptions::new(Transport::Tcp, 1);
        // Neither is refused by a stack that is new; if so, nothing is rehearsed.
        let _ = ends[1].stack.listen(server, listening);
        let client = &mut ends[0].stack;
        let _ = client.connect(now, &mut pool, server, &ConnectOptions::default());
        Self {
            now,
            pool,
            ends,
            next: 0,
            wire: Vec::new(),
            spare: Vec::new(),
            heard: 0,
        }
    }

    /// One end takes what is on its way to it, and answers: what a turn does.
    #[inline(never)]
    pub(super) fn step(&mut self) {
        self.now += STEP;
        let (now, pool) = (self.now, &mut self.pool);
        let End { stack, tx } = &mut self.ends[self.next];
        self.next = 1 - self.next;
        for frame in self.wire.drain(..) {
            if let Some(mut packet) = pool.alloc() {
                packet.set_range(PACKET_START, frame.len() as u16);
                pool.bytes_mut(&mut packet).copy_from_slice(&frame);
                let _ = stack.receive(now, pool, packet, tx, false);
            }
            self.spare.push(frame);
        }
        if stack.iface.poll_timeout().is_some_and(|t| t <= now) {
            stack.iface.handle_timeout(now);
        }
        stack.retry_routes();
        while let Some((flow, tell)) = stack.poll_event() {
            match tell {
                Tell::Connected => say(stack, pool, flow),
                Tell::Readable if hear(stack, pool, flow) => {
                    self.heard += 1;
                    say(stack, pool, flow);
                }
                _ => {}
            }
        }
        stack.hurry_acks();
        while let Some(index) = stack.poll_output() {
            let mut left = stack.transmit(now, pool, index, BURST, tx, true);
            if left == Left::Sent {
                left = stack.transmit(now, pool, index, BURST, tx, false);
            }
            if left == Left::More {
                break;
            }
        }
        while let Some(desc) = stack.iface.poll_transmit(now, pool) {
            tx.push_back(desc);
        }
        for desc in tx.drain(..) {
            let mut frame = self.spare.pop().unwrap_or_default();
            frame.clear();
            frame.extend_from_slice(pool.tx_bytes(&desc));
            self.wire.push(frame);
            pool.complete(desc);
        }
    }
}

/// The stack of end `n`.
fn stack_of(n: usize, config: &EngineConfig, max_frame: usize) -> Stack {
    let interface = Interface::new(iface::Config {
        mode: Mode::Own,
        mac: Mac([2, 0, 0, 0, 0, n as u8]),
        mtu: MTU,
        vlan: None,
        addresses: Prefix::new(ADDRESSES[n].into(), 24).into_iter().collect(),
        routes: Vec::new(),
        verify: true,
        ttl: 64,
        seed: n as u64,
    });
    let config = stack::Config {
        tcp: Arc::clone(&config.tcp),
        utp: Arc::clone(&config.utp),
        max_flows: 1,
        ports: PORTS,
        claims: Box::new(NoClaims),
        share: (0, 1),
        seed: [n as u8; 32],
        max_frame,
    };
    Stack::new(interface, config)
}

fn say(stack: &mut Stack, pool: &mut Pool, flow: Flow) {
    if let Some(slot) = stack.flows.get_mut(flow) {
        slot.conn.send(pool, &[0x5a; MESSAGE]);
        stack.touch(flow.index() as u32);
    }
}

/// Whether there was anything to hear.
fn hear(stack: &mut Stack, pool: &mut Pool, flow: Flow) -> bool {
    let mut heard = 0;
    if let Some(slot) = stack.flows.get_mut(flow) {
        while let Some(n) = slot.conn.recv_chunk(pool).map(<[u8]>::len) {
            slot.conn.recv_consume(pool, n);
            heard += n;
        }
    }
    heard > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_goes_to_and_fro_for_ever() {
        const OPENING: u64 = 20;
        let mut rehearsal = Rehearsal::new(&EngineConfig::default());
        for n in 0..20_000 {
            // Neighbours and routes grow old, and are asked for again.
            let pause = if n % 7 == 0 { 300 } else { 0 };
            rehearsal.now += Duration::from_millis(pause);
            rehearsal.step();
            assert!(n < OPENING || !rehearsal.wire.is_empty(), "step {n}");
        }
        assert!(rehearsal.heard > 20_000 - OPENING, "{}", rehearsal.heard);
        let ledger = rehearsal.pool.ledger();
        assert!(ledger.outstanding() < 8, "{ledger}");
    }
}
