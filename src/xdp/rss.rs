//! Which receive queue a NIC chooses for a connection (receive-side scaling).
//!
//! A NIC hashes addresses and ports of what arrives (Toeplitz), and looks the
//! queue up in a table by the low bits. Who opens a connection can therefore
//! pick a port whose answers come to its own queue.

use std::net::{IpAddr, SocketAddr};

/// Fewest bytes of a key: IPv6 has 36 bytes to hash, and the window on the
/// key is four bytes wide.
const KEY: usize = 40;

/// How a NIC spreads connections over its receive queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rss {
    key: Vec<u8>,
    /// The queue of each value of the hash, modulo the length.
    table: Vec<u32>,
    /// Whether the ports of TCP are hashed with the addresses, by family.
    ports: [bool; 2],
}

impl Rss {
    /// The rule of a NIC that hashes with `key` and looks up in `table`;
    /// `ports` tells whether TCP's ports are hashed too, over IPv4 and over
    /// IPv6.
    ///
    /// `None` if it cannot be told how such a NIC chooses: the key is shorter
    /// than 40 bytes, or the table is empty.
    #[must_use]
    pub fn new(key: Vec<u8>, table: Vec<u32>, ports: [bool; 2]) -> Option<Self> {
        (key.len() >= KEY && !table.is_empty()).then_some(Self { key, table, ports })
    }

    /// Whether it ever chooses this queue.
    #[must_use]
    pub fn has(&self, queue: u32) -> bool {
        self.table.contains(&queue)
    }

    /// The queue to which the segments from `remote` to `local` come. `None`
    /// if ports do not decide it, or the families differ.
    #[must_use]
    pub fn queue(&self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let mut input = [0; 36];
        let (addresses, family) = match (remote.ip(), local.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                input[..4].copy_from_slice(&from.octets());
                input[4..8].copy_from_slice(&to.octets());
                (8, 0)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                input[..16].copy_from_slice(&from.octets());
                input[16..32].copy_from_slice(&to.octets());
                (32, 1)
            }
            _ => return None,
        };
        if !self.ports[family] {
            return None;
        }
        input[addresses..addresses + 2].copy_from_slice(&remote.port().to_be_bytes());
        input[addresses + 2..addresses + 4].copy_from_slice(&local.port().to_be_bytes());
        let hash = toeplitz(&self.key, &input[..addresses + 4]);
        self.table.get(hash as usize % self.table.len()).copied()
    }
}

/// The Toeplitz hash of `input`: the sum without carry of 32 bits of the key
/// for each bit that is set, taken where that bit is.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let mut bytes = key.iter().map(|&b| u64::from(b));
    let mut take = || bytes.next().unwrap_or(0);
    // The upper half is the window, the lower half what comes into it.
    let mut window = (0..4).fold(0, |w, _| w << 8 | take()) << 32;
    let mut hash = 0;
    for &byte in input {
        window |= take() << 24;
        for bit in (0..8).rev() {
            if byte >> bit & 1 == 1 {
                hash ^= (window >> 32) as u32;
            }
            window <<= 1;
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the values with which NICs are verified ("Verifying the
    /// RSS Hash Calculation" of Microsoft's NDIS documentation).
    const VERIFICATION_KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// A table that tells the low seven bits of the hash.
    fn rss() -> Rss {
        Rss::new(VERIFICATION_KEY.to_vec(), (0..128).collect(), [true; 2]).unwrap()
    }

    #[test]
    fn the_hash_is_that_of_real_devices() {
        for (remote, local, hash) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea_u32),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a),
            (
                "[3ffe:2501:200:1fff::7]:2794",
                "[3ffe:2501:200:3::1]:1766",
                0x4020_7d3d,
            ),
        ] {
            let (remote, local) = (remote.parse().unwrap(), local.parse().unwrap());
            let queue = rss().queue(local, remote);
            assert_eq!(queue, Some(hash & 127), "{remote} to {local}");
        }
    }

    #[test]
    fn what_ports_do_not_decide_is_not_known() {
        let (a, b) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let six = "[fd00::1]:1".parse().unwrap();
        assert!(rss().queue(a, b).is_some());
        assert_eq!(rss().queue(a, six), None);
        let v6 = Rss::new(VERIFICATION_KEY.to_vec(), vec![0], [false, true]).unwrap();
        assert_eq!((v6.queue(a, b), v6.queue(six, six)), (None, Some(0)));
        assert_eq!(Rss::new(vec![1; 39], vec![0], [true; 2]), None);
        assert_eq!(Rss::new(vec![1; 40], vec![], [true; 2]), None);
    }
}
