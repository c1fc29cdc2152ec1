//! Local ports whose answers come to the engine that opens the connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::engine::{PortClaims, Protocol};
use crate::xdp::Rss;

/// Which engine serves which queue of a NIC that spreads connections.
#[derive(Debug)]
struct Map {
    rss: Rss,
    /// The queues of each engine.
    engines: Vec<Vec<u32>>,
}

/// The ports of one engine of several.
pub struct Placed {
    claims: Box<dyn PortClaims + Send>,
    map: Arc<Map>,
    engine: usize,
}

impl Placed {
    /// Wraps the claims of all engines, whose queues are given. They are left
    /// as they are if it is not known where answers come to, or some engine's
    /// queues get none: engines have to go by one rule, so that no two of them
    /// open the same connection.
    #[must_use]
    pub fn all(
        rss: Option<Rss>,
        engines: Vec<Vec<u32>>,
        claims: Vec<Box<dyn PortClaims + Send>>,
    ) -> Vec<Box<dyn PortClaims + Send>> {
        let serves = |queues: &Vec<u32>, rss: &Rss| queues.iter().any(|&q| rss.has(q));
        let Some(rss) =
            rss.filter(|rss| engines.len() > 1 && engines.iter().all(|queues| serves(queues, rss)))
        else {
            return claims;
        };
        let map = Arc::new(Map { rss, engines });
        let placed = |(engine, claims)| {
            let map = Arc::clone(&map);
            Box::new(Self {
                claims,
                map,
                engine,
            }) as Box<dyn PortClaims + Send>
        };
        claims.into_iter().enumerate().map(placed).collect()
    }
}

impl PortClaims for Placed {
    fn claim(&mut self, protocol: Protocol, port: u16) -> io::Result<()> {
        self.claims.claim(protocol, port)
    }

    fn unclaim(&mut self, protocol: Protocol, port: u16) {
        self.claims.unclaim(protocol, port);
    }

    fn suits(&self, local: SocketAddr, remote: SocketAddr) -> Option<bool> {
        let queue = self.map.rss.queue(local, remote)?;
        Some(self.map.engines[self.engine].contains(&queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::NoClaims;

    fn all(table: Vec<u32>, engines: &[&[u32]]) -> Vec<Box<dyn PortClaims + Send>> {
        let key: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(91)).collect();
        let engines: Vec<_> = engines.iter().map(|q| q.to_vec()).collect();
        let claims = engines
            .iter()
            .map(|_| Box::new(NoClaims) as Box<dyn PortClaims + Send>)
            .collect();
        Placed::all(Rss::new(key, table, [true, false]), engines, claims)
    }

    fn ends(port: u16) -> (SocketAddr, SocketAddr) {
        (([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], 80).into())
    }

    #[test]
    fn each_port_suits_the_one_engine_that_its_answers_come_to() {
        let table = (0..128).map(|n| n % 4).collect();
        let all = all(table, &[&[0, 3], &[1]]);
        let mut suited = [0; 3];
        for port in 1024..5120 {
            let (local, remote) = ends(port);
            let who: Vec<_> = all.iter().map(|c| c.suits(local, remote)).collect();
            let engine = who.iter().position(|s| *s == Some(true));
            // The answers on queue 2 come to nobody.
            suited[engine.unwrap_or(2)] += 1;
            assert!(who.iter().filter(|s| **s == Some(true)).count() <= 1);
        }
        assert!(
            suited[0] > 1500 && suited[1] > 700 && suited[2] > 700,
            "{suited:?}"
        );
        let v6 = (
            "[fd00::1]:1".parse().unwrap(),
            "[fd00::2]:2".parse().unwrap(),
        );
        assert_eq!(all[0].suits(v6.0, v6.1), None);
    }

    #[test]
    fn all_go_by_the_same_rule() {
        let (local, remote) = ends(1024);
        // Queue 1 is none that the NIC chooses; there is one engine; nothing
        // is known.
        for all in [
            all(vec![0; 128], &[&[0], &[1]]),
            all(vec![0; 128], &[&[0]]),
            all(Vec::new(), &[&[0], &[1]]),
        ] {
            assert!(all.iter().all(|c| c.suits(local, remote).is_none()));
        }
    }
}
