//! The wire: Ethernet frames for the engine, IP packets for the runner.
//! Questions about the peer's Ethernet address are answered here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::time::Instant;

use super::super::wire;

/// The Ethernet address of the peer.
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
/// That of a simulated host whose address ends in 1.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HEADER: usize = 14;
const TYPE_ARP: [u8; 2] = [8, 6];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// What is between the two ends.
#[derive(Default)]
pub struct Shared {
    /// Frames for the engine.
    pub arriving: VecDeque<Vec<u8>>,
    /// IP packets from it.
    pub sent: Vec<Vec<u8>>,
}

/// The engine's end.
pub struct End {
    shared: Rc<RefCell<Shared>>,
    remote: IpAddr,
}

impl End {
    pub fn new(shared: Rc<RefCell<Shared>>, remote: IpAddr) -> Self {
        Self { shared, remote }
    }

    /// The frame that brings an IP packet from the peer.
    pub fn frame(&self, packet: &[u8]) -> Vec<u8> {
        let kind: [u8; 2] = if self.remote.is_ipv4() {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        [&OWN[..], &PEER[..], &kind[..], packet].concat()
    }

    /// A frame of the engine: an answer to its question, or else an IP packet
    /// for the runner.
    fn take(&self, frame: &[u8]) {
        let mut shared = self.shared.borrow_mut();
        if frame[12..HEADER] == TYPE_ARP {
            shared.arriving.extend(self.arp(frame));
        } else if self.is_neighbour_message(frame) {
            shared.arriving.extend(self.advertisement(frame));
        } else {
            shared.sent.push(frame[HEADER..].to_vec());
        }
    }

    /// The answer to an ARP request for the peer.
    fn arp(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let IpAddr::V4(remote) = self.remote else {
            return None;
        };
        let question = frame.get(HEADER..HEADER + 28)?;
        if question[24..28] != remote.octets() || question[7] != 1 {
            return None;
        }
        let mut answer = frame[..HEADER].to_vec();
        answer[..6].copy_from_slice(&OWN);
        answer[6..12].copy_from_slice(&PEER);
        answer.extend([0, 1, 8, 0, 6, 4, 0, 2]);
        answer.extend(PEER);
        answer.extend(remote.octets());
        answer.extend(&question[8..18]);
        Some(answer)
    }

    fn is_neighbour_message(&self, frame: &[u8]) -> bool {
        let (protocol, kind) = (frame.get(HEADER + 6), frame.get(HEADER + 40));
        self.remote.is_ipv6() && protocol == Some(&58) && matches!(kind, Some(133..=137))
    }

    /// The answer to a neighbour solicitation for the peer.
    fn advertisement(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = &frame[HEADER..];
        let IpAddr::V6(remote) = self.remote else {
            return None;
        };
        if packet.get(40) != Some(&SOLICITATION) || *packet.get(48..64)? != remote.octets() {
            return None;
        }
        let source: [u8; 16] = packet[8..24].try_into().ok()?;
        let mut data = remote.octets().to_vec();
        data.extend([2, 1]);
        data.extend(PEER);
        let answer = wire::Packet {
            ip: wire::Ip {
                src: self.remote,
                dst: source.into(),
                tos: 0,
                ttl: 255,
            },
            payload: wire::Payload::Icmp(wire::Icmp {
                kind: ADVERTISEMENT,
                code: 0,
                // Solicited, overriding.
                rest: 0x6000_0000,
                data,
            }),
        };
        answer.emit().ok().map(|packet| self.frame(&packet))
    }
}

impl Link for End {
    fn receive(&mut self, _: Instant, pool: &mut Pool, out: &mut Vec<Packet>, max: usize) -> usize {
        let mut shared = self.shared.borrow_mut();
        let mut received = 0;
        while received < max
            && let Some(frame) = shared.arriving.pop_front()
            && let Some(mut packet) = pool.alloc()
        {
            packet.set_range(PACKET_START, frame.len() as u16);
            pool.bytes_mut(&mut packet).copy_from_slice(&frame);
            out.push(packet);
            received += 1;
        }
        received
    }

    fn transmit(&mut self, _: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        for desc in queue.drain(..) {
            self.take(pool.tx_bytes(&desc));
            pool.complete(desc);
        }
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        Ok(())
    }
}
