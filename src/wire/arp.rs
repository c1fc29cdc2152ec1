//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::Error;
use super::eth::{self, Mac};

/// Length of a packet, in bytes.
pub const LEN: usize = 28;

/// Hardware type 1, protocol type IPv4, address lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Ethernet address of the sender: one station's.
    pub sender_mac: Mac,
    /// Address of the sender; unspecified in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// Ethernet address of the target; means nothing in a request.
    pub target_mac: Mac,
    /// Address of the target.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Reads a packet.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` for other address kinds and operations, and
    /// when the sender's Ethernet address is not one station's.
    pub fn parse(bytes: &[u8]) -> Result<Packet, Error> {
        let b = bytes.first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let operation = match (&b[..6] == KIND.as_slice(), [b[6], b[7]]) {
            (true, [0, 1]) => Operation::Request,
            (true, [0, 2]) => Operation::Reply,
            _ => return Err(Error::Unsupported),
        };
        let sender_mac = Mac([b[8], b[9], b[10], b[11], b[12], b[13]]);
        if !sender_mac.is_unicast() {
            return Err(Error::Unsupported);
        }
        Ok(Packet {
            operation,
            sender_mac,
            sender_ip: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
            target_mac: Mac([b[18], b[19], b[20], b[21], b[22], b[23]]),
            target_ip: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
        })
    }

    /// Writes the packet and returns its length: 28.
    ///
    /// # Panics
    /// When `out` is shorter than that.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let out = &mut out[..LEN];
        out[0..6].copy_from_slice(&KIND);
        out[6] = 0;
        out[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..28].copy_from_slice(&self.target_ip.octets());
        LEN
    }

    /// A broadcast question for `target_ip`, and the Ethernet header before it.
    pub fn request(
        own_mac: Mac,
        own_ip: Ipv4Addr,
        target_ip: Ipv4Addr,
        vlan: Option<u16>,
    ) -> (eth::Header, Packet) {
        let ethernet = eth::Header {
            dst: Mac::BROADCAST,
            src: own_mac,
            vlan,
            ethertype: eth::TYPE_ARP,
        };
        let packet = Packet {
            operation: Operation::Request,
            sender_mac: own_mac,
            sender_ip: own_ip,
            target_mac: Mac::ZERO,
            target_ip,
        };
        (ethernet, packet)
    }

    /// The answer to this request: the target address is at `own_mac`.
    pub fn reply(&self, own_mac: Mac) -> Packet {
        Packet {
            operation: Operation::Reply,
            sender_mac: own_mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}
