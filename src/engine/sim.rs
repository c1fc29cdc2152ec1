//! Engines under a virtual clock, for tests and simulation.

use std::io;
use std::time::Duration;

use super::{
    Application, Engine, EngineConfig, Handover, Inbox, NoClaims, Parts, PortClaims, Turn,
};
use crate::frame::{Pool, Region};
use crate::link::Link;
use crate::stack::iface::{self, Interface, Mode};
use crate::stack::route::{Prefix, Route};
use crate::time::Instant;
use crate::wire::eth::Mac;

/// Anything that a [`World`] can turn: engines of whatever link and
/// application.
pub trait Turns {
    /// See [`Engine::turn`].
    fn turn(&mut self, now: Instant) -> Turn;
}

impl<L: Link, A: Application> Turns for Engine<L, A> {
    fn turn(&mut self, now: Instant) -> Turn {
        Engine::turn(self, now)
    }
}

/// A virtual clock, and the rule by which it moves: a little with each round
/// in which anything happened, and otherwise straight to the next deadline.
#[derive(Clone, Copy, Debug)]
pub struct World {
    now: Instant,
    /// How long a round of turns takes.
    pub round: Duration,
}

impl Default for World {
    fn default() -> Self {
        Self {
            // Not zero, where arithmetic on times could hide.
            now: Instant::from_millis(1000),
            round: Duration::from_micros(10),
        }
    }
}

impl World {
    /// The present.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Lets time pass without a turn.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Turns each engine once and moves the clock. `false` when nothing
    /// happened and nothing ever will.
    pub fn step(&mut self, engines: &mut [&mut dyn Turns]) -> bool {
        let mut worked = false;
        let mut next: Option<Instant> = None;
        for engine in engines {
            let turn = engine.turn(self.now);
            worked |= turn.worked;
            next = next.into_iter().chain(turn.next).min();
        }
        let soon = self.now + self.round;
        if worked {
            self.now = soon;
            return true;
        }
        let Some(next) = next else {
            return false;
        };
        self.now = next.max(soon);
        true
    }

    /// Steps until nothing happens any more, or for `limit`: whether it was
    /// the former. Engines may go on having distant deadlines (TIME-WAIT,
    /// refreshed neighbours): only those within `limit` are waited for.
    pub fn settle(&mut self, engines: &mut [&mut dyn Turns], limit: Duration) -> bool {
        let until = self.now + limit;
        while self.now < until {
            if !self.step(engines) {
                return true;
            }
        }
        false
    }
}

/// What a simulated engine is made of, besides its link and application.
pub struct Host {
    /// Its address and network.
    pub address: Prefix,
    /// Further addresses.
    pub addresses: Vec<Prefix>,
    /// Routes beyond these networks.
    pub routes: Vec<Route>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Packets in its pool, of 2048 bytes each.
    pub frames: u32,
    /// Messages in its mailbox.
    pub mailbox: usize,
    /// Settings of the engine.
    pub config: EngineConfig,
    /// Who is told about ports.
    pub claims: Box<dyn PortClaims + Send>,
    /// Other engines of the same address.
    pub handover: Option<Handover>,
}

impl Host {
    /// A host with `address`, which it does not share with the kernel.
    #[must_use]
    pub fn new(address: Prefix) -> Self {
        let last = match address.addr() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(ip) => ip.octets()[15],
        };
        Self {
            address,
            addresses: Vec::new(),
            routes: Vec::new(),
            mac: Mac([2, 0, 0, 0, 0, last]),
            mtu: 1500,
            frames: 4096,
            mailbox: 256,
            config: EngineConfig {
                seed: [last; 32],
                ..EngineConfig::default()
            },
            claims: Box::new(NoClaims),
            handover: None,
        }
    }

    /// The engine.
    ///
    /// # Errors
    /// When the operating system has no file descriptors left.
    pub fn build<L: Link, A: Application>(
        self,
        link: L,
        application: A,
    ) -> io::Result<Engine<L, A>> {
        let inbox = Inbox::new(self.mailbox)?;
        Ok(self.build_with(link, application, inbox))
    }

    /// The engine, with an inbox that was made before.
    pub fn build_with<L: Link, A: Application>(
        self,
        link: L,
        application: A,
        inbox: Inbox<A::Message>,
    ) -> Engine<L, A> {
        let interface = Interface::new(iface::Config {
            mode: Mode::Own,
            mac: self.mac,
            mtu: self.mtu,
            vlan: None,
            addresses: [vec![self.address], self.addresses].concat(),
            routes: self.routes,
            verify: true,
            ttl: 64,
            seed: u64::from(self.config.seed[0]),
        });
        Engine::new(
            self.config,
            Parts {
                link,
                pool: Pool::new(Region::anonymous(self.frames, 2048)),
                interface,
                application,
                inbox,
                claims: self.claims,
                feed: None,
                handover: self.handover,
                publisher: None,
            },
        )
    }
}
