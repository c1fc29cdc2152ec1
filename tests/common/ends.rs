//! AF_XDP sockets at the ends of a [`Net`], and raw frames to send.

use super::{DEVICE, Net, Side};
use fullbore::frame::{Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::time;
use fullbore::xdp::{
    HugePages, Interface, LinkOptions, Steering, SteeringOptions, Umem, UmemOptions, XdpError,
    XdpLink,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Enough memory for a test.
pub const MEMORY: UmemOptions = UmemOptions {
    chunks: 2048,
    chunk_size: 2048,
    huge_pages: HugePages::Off,
    fill_ring: 512,
    completion_ring: 512,
};

/// Attaches the steering program to the device of `side`.
pub fn attach(net: &Net, side: Side, options: SteeringOptions) -> Steering {
    net.enter(side, || {
        Steering::attach(&Interface::read(DEVICE).unwrap(), options)
    })
    .unwrap()
}

/// A socket with memory of its own.
pub struct End {
    pub link: XdpLink,
    pub pool: Pool,
    start: Instant,
}

impl End {
    /// Binds to `queue` of the device that `steering` is attached to.
    pub fn open(
        net: &Net,
        side: Side,
        steering: &Steering,
        queue: u32,
        options: LinkOptions,
    ) -> Result<Self, XdpError> {
        net.enter(side, || {
            let (umem, mut pool) = Umem::new(&MEMORY)?;
            let link = XdpLink::open(&Arc::new(umem), &mut pool, steering, queue, &options)?;
            Ok(Self {
                link,
                pool,
                start: Instant::now(),
            })
        })
    }

    pub fn now(&self) -> time::Instant {
        time::Instant::ZERO + self.start.elapsed()
    }

    /// A packet with these bytes.
    pub fn packet(&mut self, bytes: &[u8]) -> Packet {
        let mut packet = self.pool.alloc().expect("a free chunk");
        packet.set_range(packet.start() as u16, bytes.len() as u16);
        self.pool.bytes_mut(&mut packet).copy_from_slice(bytes);
        packet
    }

    /// Sends one frame.
    pub fn send(&mut self, bytes: &[u8]) {
        let packet = self.packet(bytes);
        let mut queue = VecDeque::from([self.pool.transmit(packet)]);
        self.transmit(&mut queue);
        assert!(queue.is_empty());
    }

    pub fn transmit(&mut self, queue: &mut VecDeque<TxDesc>) {
        self.link.transmit(self.now(), &mut self.pool, queue);
    }

    /// Takes what has arrived.
    pub fn receive(&mut self, out: &mut Vec<Packet>) -> usize {
        self.link.receive(self.now(), &mut self.pool, out, 64)
    }

    /// Waits up to `limit` for frames; returns copies of them.
    pub fn frames(&mut self, limit: Duration) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut packets = Vec::new();
        while self.receive(&mut packets) == 0 && Instant::now() < deadline {
            self.link.wait(Duration::from_millis(20), &[]).unwrap();
        }
        let frames = packets
            .chunk_by(|part, _| part.continues())
            .map(|parts| {
                let bytes = parts.iter().flat_map(|part| self.pool.bytes(part));
                bytes.copied().collect()
            })
            .collect();
        for packet in packets {
            self.pool.free(packet);
        }
        frames
    }

    /// Closes the socket; every chunk has to be free then.
    pub fn close(mut self) -> Pool {
        assert!(
            self.link.drain(&mut self.pool, Duration::from_secs(2)),
            "{:?}",
            self.pool
        );
        let total = self.pool.ledger().total();
        self.link.close(&mut self.pool);
        assert_eq!(self.pool.ledger().pool, total, "{}", self.pool.ledger());
        self.pool
    }
}

/// Builds frames from the end `from` of a net to the other.
pub struct Frames {
    header: [u8; 12],
    from: Side,
}

impl Frames {
    pub fn new(net: &Net, from: Side) -> Self {
        let mut header = [0; 12];
        header[..6].copy_from_slice(&net.mac(from.other()));
        header[6..].copy_from_slice(&net.mac(from));
        Self { header, from }
    }

    pub fn ethernet(&self, ethertype: u16, body: &[u8]) -> Vec<u8> {
        [&self.header, &ethertype.to_be_bytes()[..], body].concat()
    }

    /// An IPv4 packet to `to`; `fragment` is the flags and offset field.
    pub fn ipv4(&self, to: Ipv4Addr, protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
        self.ethernet(
            0x0800,
            &ipv4(self.from.ipv4(), to, protocol, fragment, body),
        )
    }

    /// An IPv6 packet to `to`.
    pub fn ipv6(&self, to: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
        self.ethernet(0x86dd, &ipv6(self.from.ipv6(), to, next, body))
    }

    /// An ARP request for `target`.
    pub fn arp(&self, target: Ipv4Addr) -> Vec<u8> {
        let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
        body.extend_from_slice(&self.header[6..]);
        body.extend_from_slice(&self.from.ipv4().octets());
        body.extend_from_slice(&[0; 6]);
        body.extend_from_slice(&target.octets());
        self.ethernet(0x0806, &body)
    }

    /// A UDP datagram to `port`; the checksum is left out on IPv4 and wrong
    /// on IPv6.
    pub fn udp(&self, to: IpAddr, source: u16, port: u16, payload: &[u8]) -> Vec<u8> {
        let body = udp(source, port, payload);
        match to {
            IpAddr::V4(to) => self.ipv4(to, 17, 0, &body),
            IpAddr::V6(to) => self.ipv6(to, 17, &body),
        }
    }
}

pub fn udp(source: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let words = [source, port, length, 0].map(u16::to_be_bytes);
    [words.as_flattened(), payload].concat()
}

/// The ports and sequence number of a TCP header, as an ICMP error quotes it.
pub fn quoted_ports(source: u16, port: u16) -> Vec<u8> {
    [source.to_be_bytes(), port.to_be_bytes(), [0, 0], [0, 1]].concat()
}

pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&(20 + body.len() as u16).to_be_bytes());
    header.extend_from_slice(&[0, 1]);
    header.extend_from_slice(&fragment.to_be_bytes());
    header.extend_from_slice(&[64, protocol, 0, 0]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    let sum: u32 = header
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend_from_slice(body);
    header
}

pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend_from_slice(&(body.len() as u16).to_be_bytes());
    header.extend_from_slice(&[next, 64]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    header.extend_from_slice(body);
    header
}
