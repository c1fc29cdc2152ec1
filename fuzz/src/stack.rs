//! A whole engine, with listeners and connections of its own over TCP and uTP, that gets
//! whatever frames the input makes. It sends only valid frames, and at the end
//! every frame is back in its pool.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fullbore::engine::{
    Application, ConnectOptions, Context, Engine, EngineConfig, Flow, Inbox, ListenOptions,
    NoClaims, Parts, Reason, Transport,
};
use fullbore::frame::{PACKET_START, Packet, Pool, Region, TxDesc};
use fullbore::link::Link;
use fullbore::stack::iface::{self, Interface, Mode};
use fullbore::time::Instant;
use fullbore::utp::Ports;
use fullbore::wire::checksum::{Sum, fill_tcp_checksum};
use fullbore::wire::eth::{self, Mac};
use fullbore::wire::ip::{Parsed, parse_frame};
use fullbore::wire::tcp::{Flags, Header, Options, SeqNumber, Timestamps};
use fullbore::wire::template::{Path, Template};
use fullbore::wire::{arp, icmpv4, ipv4};

use super::datagrams::{self, Sent};
use super::input::Input;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const FRAMES: u32 = 192;
const STEPS: usize = 120;

/// Frames to be received, and those sent.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    stuck: bool,
}

struct Feed(Rc<RefCell<Wire>>);

impl Link for Feed {
    fn receive(&mut self, _: Instant, pool: &mut Pool, out: &mut Vec<Packet>, max: usize) -> usize {
        let mut wire = self.0.borrow_mut();
        let mut n = 0;
        while n < max && pool.available() > 0 {
            let Some(bytes) = wire.incoming.pop_front() else {
                break;
            };
            if bytes.len() > pool.max_packet() {
                continue;
            }
            if let Some(mut packet) = pool.alloc() {
                packet.set_range(PACKET_START, bytes.len() as u16);
                pool.bytes_mut(&mut packet).copy_from_slice(&bytes);
                out.push(packet);
                n += 1;
            }
        }
        n
    }

    fn transmit(&mut self, _: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        let mut wire = self.0.borrow_mut();
        if wire.stuck {
            return;
        }
        for desc in queue.drain(..) {
            wire.sent.push(pool.tx_bytes(&desc).to_vec());
            pool.complete(desc);
        }
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        Ok(())
    }
}

/// Sends back what it gets.
#[derive(Default)]
struct Echo {
    flows: Vec<Flow>,
}

impl Application for Echo {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        for ip in [IpAddr::V4(OWN), IpAddr::V6(OWN6)] {
            cx.listen(SocketAddr::new(ip, 80), 3)
                .expect("nobody listens");
            let utp = ListenOptions::new(Transport::Utp, 3);
            cx.listen_with(SocketAddr::new(ip, datagrams::PORT), utp)
                .expect("nobody listens");
        }
    }

    fn accept(
        &mut self,
        _: &mut Context<'_, ()>,
        flow: Flow,
        _: SocketAddr,
        _: SocketAddr,
    ) -> bool {
        self.flows.push(flow);
        self.flows.len() < 40
    }

    fn connected(&mut self, _: &mut Context<'_, ()>, flow: Flow) {
        self.flows.push(flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        while let Some(chunk) = cx.recv_chunk(flow) {
            let chunk = chunk.to_vec();
            let n = cx.send(flow, &chunk);
            if n == 0 {
                break;
            }
            cx.recv_consume(flow, n);
        }
    }

    fn writable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.readable(cx, flow);
    }

    fn peer_closed(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        cx.close(flow);
    }

    fn closed(&mut self, _: &mut Context<'_, ()>, flow: Flow, _: Reason) {
        self.flows.retain(|f| *f != flow);
    }
}

pub fn run(data: &[u8]) {
    let mut i = Input::new(data);
    let mut world = World::new(i.bool());
    for _ in 0..STEPS {
        if i.is_empty() {
            break;
        }
        world.step(&mut i);
    }
    world.stop();
}

struct World {
    engine: Engine<Feed, Echo>,
    wire: Rc<RefCell<Wire>>,
    now: Instant,
    /// The last segment that the engine sent: its header, the length of its
    /// payload, and the frame it was in.
    last: Option<(Header, u32, Vec<u8>)>,
    /// The last packet of uTP.
    last_utp: Option<Sent>,
}

impl World {
    fn new(syn_cookies: bool) -> Self {
        let config = EngineConfig {
            max_flows: 12,
            ports: 49152..=49160,
            drain: Duration::from_secs(1),
            tcp: Arc::new(fullbore::tcp::Config {
                syn_cookies,
                ..Default::default()
            }),
            ..EngineConfig::default()
        };
        let interface = Interface::new(iface::Config {
            mode: Mode::Own,
            mac: OWN_MAC,
            mtu: 1500,
            vlan: None,
            addresses: ["10.0.0.1/24", "fd00::1/64"]
                .map(|a| a.parse().expect("an address"))
                .to_vec(),
            routes: Vec::new(),
            verify: true,
            ttl: 64,
            seed: 7,
        });
        let wire = Rc::<RefCell<Wire>>::default();
        let engine = Engine::new(
            config,
            Parts {
                link: Feed(Rc::clone(&wire)),
                pool: Pool::new(Region::anonymous(FRAMES, 2048)),
                interface,
                application: Echo::default(),
                inbox: Inbox::new(1).expect("a file descriptor"),
                claims: Box::new(NoClaims),
                feed: None,
                handover: None,
                publisher: None,
            },
        );
        let mut world = Self {
            engine,
            wire,
            now: Instant::from_millis(1000),
            last: None,
            last_utp: None,
        };
        world.turn();
        world
    }

    /// Turns, and looks at what was sent.
    fn turn(&mut self) {
        for _ in 0..4 {
            self.engine.turn(self.now);
        }
        let sent = std::mem::take(&mut self.wire.borrow_mut().sent);
        for frame in sent {
            match parse_frame(&frame, true) {
                Ok(Parsed::Tcp {
                    envelope,
                    header,
                    payload,
                }) => {
                    assert_eq!(envelope.src_mac, OWN_MAC);
                    assert!(envelope.src == IpAddr::V4(OWN) || envelope.src == IpAddr::V6(OWN6));
                    self.last = Some((header, payload.len() as u32, frame));
                }
                Ok(Parsed::Udp {
                    envelope,
                    header,
                    payload,
                }) => {
                    assert_eq!(envelope.src_mac, OWN_MAC);
                    let ports = Ports {
                        local: header.src_port,
                        remote: header.dst_port,
                    };
                    self.last_utp = Some(Sent::read(ports, payload.of(&frame)));
                }
                Ok(_) => {}
                Err(e) => panic!("sent what is no frame: {e}: {frame:02x?}"),
            }
        }
        let ledger = self.engine.ledger();
        assert_eq!(ledger.total(), FRAMES, "{ledger}");
    }

    fn step(&mut self, i: &mut Input<'_>) {
        let op = i.u8();
        let frame = match op % 16 {
            0..=4 => self.segment(i, op & 128 != 0),
            5 => self.icmp(i),
            6 => self.icmpv6(i),
            7 => arp(i),
            8 => {
                let len = usize::from(i.u8());
                i.bytes(len).to_vec()
            }
            9 => fixed_up(i),
            10 => {
                self.connect(op);
                return;
            }
            11 => {
                self.application(op, i);
                return;
            }
            12 => {
                self.wire.borrow_mut().stuck = op & 128 != 0;
                return;
            }
            13 => {
                self.now += Duration::from_millis(u64::from(i.u8()) << (op >> 4));
                self.turn();
                return;
            }
            14 => {
                // The same once more.
                let again = self.wire.borrow().incoming.back().cloned();
                again.unwrap_or_default()
            }
            _ if op & 16 != 0 => {
                let v6 = op & 128 != 0;
                let (src, dst) = if v6 {
                    (IpAddr::V6(PEER6), IpAddr::V6(OWN6))
                } else {
                    (IpAddr::V4(PEER), IpAddr::V4(OWN))
                };
                let template = Template::new(&path(src, dst, 64), 17).expect("one family");
                let now = self.now.as_micros() as u32;
                datagrams::packet(i, self.last_utp.as_ref(), &template, now)
            }
            _ => {
                self.turn();
                return;
            }
        };
        self.wire.borrow_mut().incoming.push_back(frame);
        if op & 64 == 0 {
            self.turn();
        }
    }

    /// A segment that may be acceptable.
    fn segment(&mut self, i: &mut Input<'_>, v6: bool) -> Vec<u8> {
        let with = i.u8();
        let near = i.u8();
        let mut h = Header {
            src_port: 1000 + u16::from(near & 3),
            dst_port: if near & 64 != 0 { i.u16() } else { 80 },
            seq: SeqNumber(u32::from(i.u8())),
            window: i.u16(),
            ..Header::default()
        };
        h.flags = match with & 7 {
            0 | 1 => Flags::SYN,
            2 => Flags(i.u8()),
            3 => Flags::ACK | Flags::FIN,
            4 => Flags::SYN | Flags::ACK,
            _ => Flags::ACK,
        };
        if with & 8 != 0 {
            h.options = Options {
                mss: Some(i.u16()),
                window_scale: Some(i.u8()),
                sack_permitted: true,
                ..Options::default()
            };
        }
        let mut ecr = 0;
        if let Some((last, len, _)) = &self.last
            && near & 32 == 0
        {
            // The answer to what was sent last.
            (h.src_port, h.dst_port) = (last.dst_port, last.src_port);
            let flags = last.flags.0 & (Flags::SYN | Flags::FIN).0;
            h.ack = last.seq + (len + flags.count_ones());
            if last.flags.contains(Flags::ACK) {
                h.seq = last.ack + u32::from(near >> 7) * u32::from(i.u8());
            }
            ecr = last.options.timestamps.map_or(0, |t| t.val);
        }
        if with & 16 != 0 {
            h.options.timestamps = Some(Timestamps {
                val: self.now.as_millis() as u32,
                ecr,
            });
        }
        let len = usize::from(with >> 5) * usize::from(with >> 5) * 29;
        tcp_frame(&h, &vec![7; len], v6, with & 32 != 0)
    }

    /// An ICMP message, often an error about the last segment sent.
    fn icmp(&self, i: &mut Input<'_>) -> Vec<u8> {
        let code = i.u8();
        let mtu = i.u16();
        let body = match &self.last {
            Some((_, _, frame)) if code & 128 == 0 => {
                let quoted = &frame[eth::HEADER_LEN..];
                quoted[..quoted.len().min(usize::from(i.u8()))].to_vec()
            }
            _ => {
                let len = usize::from(i.u8());
                i.bytes(len).to_vec()
            }
        };
        let message = match code % 4 {
            0 => icmpv4::Message::Echo {
                reply: code & 4 != 0,
                ident: mtu,
                seq: 1,
            },
            1 => icmpv4::Message::Other {
                kind: code >> 2,
                code: 0,
            },
            _ => icmpv4::Message::Unreachable {
                code: code >> 2 & 15,
                mtu,
                quoted: None,
            },
        };
        let mut out = vec![0; icmpv4::HEADER_LEN + body.len()];
        message.emit(&mut out, &body);
        v4_frame(1, &out)
    }

    /// Whatever bytes as an ICMPv6 message, or one about the last segment.
    fn icmpv6(&self, i: &mut Input<'_>) -> Vec<u8> {
        let kind = i.pick(&[1, 2, 128, 129, 135, 135, 136, 136, 133, 134, 137, 3]);
        let with = i.u8();
        let mut message = vec![kind, with & 1, 0, 0];
        message.extend_from_slice(&i.u32().to_be_bytes());
        if kind >= 135 {
            let target = if with & 2 != 0 { PEER6 } else { OWN6 };
            message.extend_from_slice(&target.octets());
            if with & 4 != 0 {
                message.extend_from_slice(&[1 + (with >> 3 & 1), 1]);
                message.extend_from_slice(&PEER_MAC.0);
            }
        } else if let Some((_, _, frame)) = &self.last
            && with & 2 != 0
        {
            message.extend_from_slice(&frame[eth::HEADER_LEN..]);
        }
        let len = usize::from(i.u8());
        message.extend_from_slice(i.bytes(len));
        let (src, dst) = (IpAddr::V6(PEER6), IpAddr::V6(OWN6));
        let path = path(src, dst, if with & 16 != 0 { 64 } else { 255 });
        let template = Template::new(&path, 58).expect("one family");
        let sum = template.pseudo_sum(message.len()).add(Sum::of(&message));
        message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        with_headers(&template, &message)
    }

    fn connect(&mut self, op: u8) {
        let remote = match op >> 4 & 3 {
            0 => IpAddr::V4(PEER),
            1 => IpAddr::V6(PEER6),
            2 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)),
            _ => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        };
        let options = ConnectOptions {
            transport: if op & 128 != 0 {
                Transport::Utp
            } else {
                Transport::Tcp
            },
            ..ConnectOptions::default()
        };
        self.engine.with(|_, cx| {
            let _ = cx.connect_with(SocketAddr::new(remote, 7), &options);
        });
        self.turn();
    }

    fn application(&mut self, op: u8, i: &mut Input<'_>) {
        let nth = i.below(40);
        let len = usize::from(i.u16());
        self.engine.with(|app, cx| {
            let Some(&flow) = app.flows.get(nth % app.flows.len().max(1)) else {
                return;
            };
            match op >> 4 & 7 {
                0 => cx.shutdown(flow),
                1 => cx.close(flow),
                2 => cx.abort(flow),
                _ => {
                    cx.send(flow, &vec![1; len]);
                }
            }
        });
        self.turn();
    }

    /// The engine stops within its time, whatever state it is in.
    fn stop(mut self) {
        self.wire.borrow_mut().stuck = false;
        self.engine.stop();
        let until = self.now + Duration::from_secs(10);
        loop {
            let turn = self.engine.turn(self.now);
            if turn.stopped {
                break;
            }
            let next = turn.next.unwrap_or(self.now);
            self.now = next.max(self.now + Duration::from_micros(10));
            assert!(self.now < until, "it does not stop");
        }
        let ledger = self.engine.ledger();
        assert_eq!(ledger.outstanding(), 0, "{ledger}");
    }
}

fn path(src: IpAddr, dst: IpAddr, ttl: u8) -> Path {
    Path {
        src_mac: PEER_MAC,
        dst_mac: OWN_MAC,
        vlan: None,
        src,
        dst,
        ttl,
        tos: 0,
    }
}

fn with_headers(template: &Template, l4: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; template.len()];
    template.write(&mut frame, l4.len(), 1);
    frame.extend_from_slice(l4);
    frame
}

fn tcp_frame(h: &Header, payload: &[u8], v6: bool, ecn: bool) -> Vec<u8> {
    let (src, dst) = if v6 {
        (IpAddr::V6(PEER6), IpAddr::V6(OWN6))
    } else {
        (IpAddr::V4(PEER), IpAddr::V4(OWN))
    };
    let mut path = path(src, dst, 64);
    path.tos = if ecn { 3 } else { 0 };
    let template = Template::new(&path, 6).expect("one family");
    let mut segment = vec![0; h.emit_len()];
    h.emit(&mut segment);
    let pseudo = template.pseudo_sum(segment.len() + payload.len());
    fill_tcp_checksum(&mut segment, pseudo, Sum::of(payload));
    segment.extend_from_slice(payload);
    with_headers(&template, &segment)
}

fn v4_frame(protocol: u8, l4: &[u8]) -> Vec<u8> {
    let path = path(IpAddr::V4(PEER), IpAddr::V4(OWN), 64);
    with_headers(&Template::new(&path, protocol).expect("one family"), l4)
}

/// An ARP packet, often a proper one.
fn arp(i: &mut Input<'_>) -> Vec<u8> {
    let with = i.u8();
    let mut frame = vec![0; eth::HEADER_LEN];
    let header = eth::Header {
        dst: if with & 1 != 0 {
            Mac::BROADCAST
        } else {
            OWN_MAC
        },
        src: PEER_MAC,
        vlan: None,
        ethertype: eth::TYPE_ARP,
    };
    header.emit(&mut frame);
    let packet = arp::Packet {
        operation: if with & 2 != 0 {
            arp::Operation::Request
        } else {
            arp::Operation::Reply
        },
        sender_mac: if with & 4 != 0 { OWN_MAC } else { PEER_MAC },
        sender_ip: if with & 8 != 0 { OWN } else { PEER },
        target_mac: OWN_MAC,
        target_ip: OWN,
    };
    let mut bytes = [0; arp::LEN];
    packet.emit(&mut bytes);
    if with & 128 != 0 {
        let at = i.below(arp::LEN);
        bytes[at] = i.u8();
    }
    frame.extend_from_slice(&bytes);
    frame
}

/// Whatever IPv4 header and contents, with the checksums made right.
fn fixed_up(i: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(i.u8());
    let mut packet = i.bytes(len).to_vec();
    if packet.len() < ipv4::HEADER_LEN {
        return packet;
    }
    packet[0] = 0x40 | packet[0] & 0x0f;
    packet[12..16].copy_from_slice(&PEER.octets());
    packet[16..20].copy_from_slice(&OWN.octets());
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    if (ipv4::HEADER_LEN..=packet.len()).contains(&header_len) {
        packet[10..12].fill(0);
        let sum = Sum::of(&packet[..header_len]).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let protocol = packet[9];
        let l4 = &mut packet[header_len..];
        if protocol == 6 && l4.len() >= 20 {
            let template = Template::new(&path(IpAddr::V4(PEER), IpAddr::V4(OWN), 64), 6);
            let pseudo = template.expect("one family").pseudo_sum(l4.len());
            l4[16..18].fill(0);
            fill_tcp_checksum(l4, pseudo, Sum::default());
        }
    }
    let mut frame = vec![0; eth::HEADER_LEN];
    eth::Header {
        dst: OWN_MAC,
        src: PEER_MAC,
        vlan: None,
        ethertype: eth::TYPE_IPV4,
    }
    .emit(&mut frame);
    frame.extend_from_slice(&packet);
    frame
}
