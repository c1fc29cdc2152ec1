//! How an engine is told to run.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::{tcp, utp};

/// What an engine does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Looks again at once, always: the shortest delay, and a core of its
    /// own.
    Busy,
    /// Looks again at once for `spin` after the last work, then sleeps until
    /// something arrives or is due. While other threads send it messages it
    /// sleeps at once, and between the batches of a stream as well: they may
    /// need the processor that it would spin on.
    Adaptive {
        /// How long to look.
        spin: Duration,
    },
    /// Sleeps at once.
    Sleep,
}

impl Default for Idle {
    fn default() -> Self {
        Self::Adaptive {
            spin: Duration::from_micros(50),
        }
    }
}

/// Settings of an engine. The default suits tests and small servers.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Settings of its connections over TCP.
    pub tcp: Arc<tcp::Config>,
    /// Settings of its connections over uTP.
    pub utp: Arc<utp::Config>,
    /// Most connections at one time, TIME-WAIT included.
    pub max_flows: usize,
    /// Packets received in a turn: 1 to 4096.
    pub batch: usize,
    /// Packets that may wait for the transmit ring: also how many are sent before
    /// the engine looks for acknowledgements again.
    pub tx_queue: usize,
    /// Local ports of outgoing connections. RFC 6335 sets 49152 to 65535
    /// aside.
    pub ports: RangeInclusive<u16>,
    /// What all secrets come from: sequence numbers, cookies, hash keys. The
    /// same for the engines of one interface, random in production.
    pub seed: [u8; 32],
    /// How long an orderly stop waits for connections to finish.
    pub drain: Duration,
    /// What to do when there is nothing to do.
    pub idle: Idle,
    /// Under a stream of packets (4 Gbit/s), the least time between two looks at
    /// the receive ring: a reader that looks at each packet alone takes the
    /// ring's memory away from its writer. An engine that may sleep does that for
    /// some 90 us instead, if its link has four times the room for what comes
    /// meanwhile. Zero looks at once.
    pub pace: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            tcp: Arc::default(),
            utp: Arc::default(),
            max_flows: 65_536,
            batch: 64,
            tx_queue: 128,
            ports: 49152..=65535,
            seed: [0; 32],
            drain: Duration::from_secs(10),
            idle: Idle::default(),
            pace: Duration::from_micros(10),
        }
    }
}
