//! Packets made by hand: what outsiders cannot do, and at which engine they
//! come in.

use super::*;

/// A peer made by hand.
struct Outsider {
    link: MemoryLink,
    pool: Pool,
    to: Mac,
}

impl Outsider {
    fn new(link: MemoryLink, to: Mac) -> Self {
        Self {
            link,
            pool: Pool::new(Region::anonymous(4096, 2048)),
            to,
        }
    }

    fn send(&mut self, from: IpAddr, port: u16, header: &Header) {
        let path = Path {
            src_mac: Mac([2, 0, 0, 0, 0, 9]),
            dst_mac: self.to,
            vlan: None,
            src: from,
            dst: SERVER.parse().unwrap(),
            ttl: 64,
            tos: 0,
        };
        let template = Template::new(&path, PROTOCOL_UDP).unwrap();
        let mut packet = self.pool.alloc().unwrap();
        packet.set_range(PACKET_START, 0);
        let ports = Ports {
            local: port,
            remote: 80,
        };
        write_bare(&mut packet, &self.pool, &template, ports, header, &[], 1);
        let mut queue = VecDeque::from([self.pool.transmit(packet)]);
        self.link
            .transmit(Instant::ZERO, &mut self.pool, &mut queue);
        assert!(queue.is_empty());
    }

    fn syn(id: u16) -> Header {
        Header {
            kind: Kind::Syn,
            conn_id: id,
            seq: SeqNr(1),
            timestamp: 5,
            ..Header::default()
        }
    }

    /// The packets of uTP that have come, with the lengths of their frames.
    fn receive(&mut self) -> Vec<(u16, usize, Header)> {
        let mut got = Vec::new();
        self.link
            .receive(Instant::ZERO, &mut self.pool, &mut got, 4096);
        let mut headers = Vec::new();
        for packet in got {
            let bytes = self.pool.bytes(&packet);
            if let Ok(Parsed::Udp {
                header, payload, ..
            }) = parse_frame(bytes, true)
            {
                let utp = Header::parse(payload.of(bytes)).unwrap();
                headers.push((header.dst_port, bytes.len(), utp));
            }
            self.pool.free(packet);
        }
        headers
    }
}

fn outsider(mut server: Host, app: Echo) -> (Node<Echo>, Outsider) {
    let (near, far) = MemoryLink::pair(4096).unwrap();
    server.frames = 16_384;
    let mut node = server.build(near, app).unwrap();
    node.turn(Instant::from_millis(1));
    let mac = node.stack().iface.mac();
    let mut outsider = Outsider::new(far, mac);
    outsider.receive();
    (node, outsider)
}

fn ip(n: u16) -> IpAddr {
    let [a, b] = n.to_be_bytes();
    IpAddr::from([10, 1, a, b])
}

#[test]
fn a_syn_gets_one_small_answer_that_is_always_the_same() {
    let (mut node, mut peer) = outsider(host(SERVER), echo());
    let mut now = Instant::from_millis(2);
    let mut answers = Vec::new();
    for _ in 0..5 {
        peer.send(ip(1), 7, &Outsider::syn(100));
        now += Duration::from_millis(10);
        node.turn(now);
        answers.extend(peer.receive());
    }
    assert_eq!(answers.len(), 5);
    let syn_len = 14 + 20 + 8 + 20;
    for (port, len, answer) in &answers {
        assert_eq!((*port, answer.kind, answer.conn_id), (7, Kind::State, 100));
        assert_eq!(answer.ack, SeqNr(1));
        assert_eq!(answer.seq, answers[0].2.seq);
        assert!(*len <= syn_len, "{len} bytes for {syn_len}");
    }
    assert_eq!(node.stack().flows.len(), 1);
    // Nothing more, but for the expiry after ten seconds, in silence.
    let mut last = now;
    while let Some(next) = node.turn(last).next {
        last = next.max(last + Duration::from_millis(1));
        if last > now + 11 * SECOND {
            break;
        }
    }
    assert_eq!(peer.receive(), []);
    assert!(node.stack().flows.is_empty());
    assert_eq!(node.app().accepted, []);
    assert_eq!(node.stack().transport_counters().1.timed_out, 1);
    // Forgotten, and the answer is still the same.
    peer.send(ip(1), 7, &Outsider::syn(100));
    node.turn(last);
    assert_eq!(peer.receive()[0].2.seq, answers[0].2.seq);
    // Another SYN gets another number.
    peer.send(ip(1), 7, &Outsider::syn(200));
    node.turn(last);
    assert_ne!(peer.receive()[0].2.seq, answers[0].2.seq);
}

#[test]
fn a_flood_of_syns_fills_the_backlog_and_no_more() {
    let mut app = echo();
    app.backlog = 32;
    let (mut node, mut peer) = outsider(host(SERVER), app);
    let mut now = Instant::from_millis(2);
    let mut answered = 0;
    for n in 0..3000 {
        peer.send(ip(n), 7, &Outsider::syn(n));
        if n % 64 == 63 {
            now += Duration::from_millis(1);
            node.turn(now);
            answered += peer.receive().len();
        }
    }
    now += Duration::from_millis(1);
    node.turn(now);
    answered += peer.receive().len();
    assert_eq!(node.stack().flows.len(), 32);
    // Those that were displaced before they could answer got nothing.
    assert!(answered <= 3000, "{answered}");
    let (_, utp) = node.stack().transport_counters();
    assert_eq!(utp.displaced, 3000 - 32);
    // In the middle of it, who answers is let in.
    peer.send(ip(9999), 7, &Outsider::syn(50));
    now += Duration::from_millis(1);
    node.turn(now);
    let answer = peer.receive().pop().unwrap().2;
    for n in 3000..3020 {
        peer.send(ip(n), 7, &Outsider::syn(n));
    }
    let data = Header {
        kind: Kind::State,
        conn_id: 51,
        seq: SeqNr(2),
        ack: answer.seq.minus(1),
        window: 100_000,
        ..Header::default()
    };
    peer.send(ip(9999), 7, &data);
    now += Duration::from_millis(1);
    node.turn(now);
    assert_eq!(node.app().accepted.len(), 1, "{answer:?}");
    // The others are gone after a while, and nothing was sent to them.
    peer.receive();
    let end = now + 12 * SECOND;
    while now < end {
        now += Duration::from_millis(100);
        node.turn(now);
    }
    assert_eq!(node.stack().flows.len(), 1);
    assert!(peer.receive().iter().all(|(_, _, h)| h.conn_id == 50));
}

#[test]
fn one_address_gets_a_part_of_the_backlog() {
    let mut app = echo();
    app.backlog = 256;
    let (mut node, mut peer) = outsider(host(SERVER), app);
    for n in 0..500 {
        peer.send(ip(1), n, &Outsider::syn(n));
    }
    for n in 0..4 {
        peer.send(ip(2), n, &Outsider::syn(n));
    }
    for ms in 2..20 {
        node.turn(Instant::from_millis(ms));
    }
    assert_eq!(node.stack().flows.len(), 32 + 4);
    assert_eq!(node.stack().drops()[DropReason::UtpAddressFull], 500 - 32);
    assert_eq!(peer.receive().len(), 36);
}

#[test]
fn an_application_can_refuse_before_anything_is_sent() {
    let (mut node, mut peer) = outsider(host(SERVER), echo());
    let bad: IpAddr = ip(66);
    node.with(|app, cx| {
        cx.unlisten_with(Transport::Utp, app.listen);
        let options = ListenOptions {
            admits: Some(Box::new(move |peer, local| {
                assert_eq!(local.port(), 80);
                peer.ip() != bad
            })),
            ..ListenOptions::new(Transport::Utp, 8)
        };
        cx.listen_with(app.listen, options).unwrap();
    });
    peer.send(ip(66), 7, &Outsider::syn(1));
    peer.send(ip(67), 7, &Outsider::syn(1));
    node.turn(Instant::from_millis(2));
    let answers = peer.receive();
    assert_eq!(answers.len(), 1);
    assert_eq!(node.stack().drops()[DropReason::UtpRefused], 1);
    assert_eq!(node.stack().flows.len(), 1);
}

#[test]
fn packets_of_no_connection_are_answered_by_resets_up_to_a_rate() {
    let (mut node, mut peer) = outsider(host(SERVER), echo());
    let stray = |kind, n: u16| Header {
        kind,
        conn_id: n,
        seq: SeqNr(n),
        ack: SeqNr(7),
        ..Header::default()
    };
    let mut got = Vec::new();
    for n in 0..1000 {
        peer.send(ip(1), 7, &stray(Kind::Data, n));
        if n % 50 == 49 {
            node.turn(Instant::from_millis(2));
            got.extend(peer.receive());
        }
    }
    assert_eq!(got.len(), 200, "the burst");
    assert!(
        got.iter()
            .all(|(_, len, h)| h.kind == Kind::Reset && *len == 62)
    );
    assert_eq!(got[0].2.conn_id, 0);
    assert_eq!((got[9].2.conn_id, got[9].2.ack), (9, SeqNr(9)));
    assert_eq!(node.stack().drops()[DropReason::RateLimited], 800);
    // A second later there may be more; not to a RESET, a SYN to nobody, or
    // what is none of uTP.
    let later = Instant::from_millis(2002);
    peer.send(ip(1), 7, &stray(Kind::Reset, 1));
    node.turn(later);
    assert_eq!(peer.receive(), []);
    node.with(|app, cx| cx.unlisten_with(Transport::Utp, app.listen));
    peer.send(ip(1), 7, &Outsider::syn(1));
    peer.send(ip(1), 7, &stray(Kind::Data, 1));
    node.turn(later);
    assert_eq!(peer.receive(), [], "the port is nobody's any more");
    assert_eq!(node.ledger().outstanding(), 0);
}

#[test]
fn a_reset_is_taken_by_either_id() {
    for sender in [false, true] {
        let (mut node, mut peer) = outsider(host(SERVER), echo());
        peer.send(ip(1), 7, &Outsider::syn(100));
        node.turn(Instant::from_millis(2));
        let answer = peer.receive().pop().unwrap().2;
        let state = Header {
            kind: Kind::State,
            conn_id: 101,
            seq: SeqNr(2),
            ack: answer.seq.minus(1),
            window: 100_000,
            ..Header::default()
        };
        peer.send(ip(1), 7, &state);
        node.turn(Instant::from_millis(3));
        assert_eq!(node.app().accepted.len(), 1);
        let reset = Header {
            kind: Kind::Reset,
            conn_id: if sender { 100 } else { 101 },
            ..state
        };
        peer.send(ip(1), 7, &reset);
        node.turn(Instant::from_millis(4));
        assert_eq!(node.app().closed, [Reason::Reset], "{sender}");
    }
}

#[test]
fn an_id_in_use_is_not_taken_over() {
    let (mut node, mut peer) = outsider(host(SERVER), echo());
    peer.send(ip(1), 7, &Outsider::syn(100));
    node.turn(Instant::from_millis(2));
    peer.receive();
    let other = Header {
        seq: SeqNr(9),
        ..Outsider::syn(100)
    };
    peer.send(ip(1), 7, &other);
    node.turn(Instant::from_millis(3));
    assert_eq!(peer.receive(), []);
    assert_eq!(node.stack().drops()[DropReason::UtpIdInUse], 1);
    assert_eq!(node.stack().flows.len(), 1);
}

#[test]
fn what_is_none_of_utp_is_dropped_in_silence() {
    let (mut node, mut peer) = outsider(host(SERVER), echo());
    let mut packet = peer.pool.alloc().unwrap();
    let path = Path {
        src_mac: Mac([2, 0, 0, 0, 0, 9]),
        dst_mac: peer.to,
        vlan: None,
        src: ip(1),
        dst: SERVER.parse().unwrap(),
        ttl: 64,
        tos: 0,
    };
    let template = Template::new(&path, PROTOCOL_UDP).unwrap();
    for (port, reason) in [
        (80, DropReason::UtpMalformed),
        (53, DropReason::UdpPortClosed),
    ] {
        packet.set_range(PACKET_START, 34 + 8 + 3);
        let bytes = peer.pool.bytes_mut(&mut packet);
        let (headers, rest) = bytes.split_at_mut(34);
        template.write(headers, 11, 0);
        rest[8..].copy_from_slice(b"abc");
        let udp = crate::wire::udp::Header {
            src_port: 9,
            dst_port: port,
            checksum: 0,
        };
        let sum = crate::wire::checksum::Sum::of(b"abc");
        udp.emit(rest, template.pseudo_sum(11), 3, sum);
        let mut queue = VecDeque::from([peer.pool.transmit(packet)]);
        peer.link
            .transmit(Instant::ZERO, &mut peer.pool, &mut queue);
        node.turn(Instant::from_millis(2));
        assert_eq!(node.stack().drops()[reason], 1, "{reason}");
        packet = peer.pool.alloc().unwrap();
    }
    peer.pool.free(packet);
    assert_eq!(peer.receive(), []);
}

/// Three engines with one address, and frames that come in at any of them.
#[test]
fn a_packet_finds_its_engine_whichever_queue_it_comes_in_by() {
    let inboxes: Vec<_> = (0..3).map(|_| Inbox::new(256).unwrap()).collect();
    let wakers: Vec<_> = inboxes.iter().map(|i| i.waker().clone()).collect();
    let mut ring = Handover::ring(&wakers, 64).into_iter();
    let (mut nodes, mut peers) = (Vec::new(), Vec::new());
    for inbox in inboxes {
        let mut host = host(SERVER);
        host.handover = ring.next();
        host.config.seed = [1; 32];
        let (near, far) = MemoryLink::pair(1024).unwrap();
        let node = host.build_with(near, echo(), inbox);
        peers.push(Outsider::new(far, node.stack().iface.mac()));
        nodes.push(node);
    }
    let turn = |nodes: &mut Vec<Node<Echo>>, ms| {
        for _ in 0..3 {
            for node in nodes.iter_mut() {
                node.turn(Instant::from_millis(ms));
            }
        }
    };
    turn(&mut nodes, 1);
    for peer in &mut peers {
        peer.receive();
    }
    peers[0].send(ip(1), 7, &Outsider::syn(100));
    turn(&mut nodes, 2);
    let answer = peers[0].receive().pop().unwrap().2;
    // All that follows comes in elsewhere.
    let state = Header {
        kind: Kind::State,
        conn_id: 101,
        seq: SeqNr(2),
        ack: answer.seq.minus(1),
        window: 100_000,
        ..Header::default()
    };
    peers[1].send(ip(1), 7, &state);
    turn(&mut nodes, 3);
    assert_eq!(nodes[0].app().accepted.len(), 1);
    assert_eq!(nodes[1].counters().handed_over, 1);
    // Of no connection at all: round once, and one answer.
    peers[2].send(
        ip(1),
        7,
        &Header {
            conn_id: 7,
            ..state
        },
    );
    turn(&mut nodes, 4);
    let got = peers.iter_mut().flat_map(Outsider::receive);
    let resets = got.filter(|(_, _, h)| h.kind == Kind::Reset).count();
    assert_eq!(resets, 1);
    let reset = Header {
        kind: Kind::Reset,
        ..state
    };
    peers[2].send(ip(1), 7, &reset);
    turn(&mut nodes, 5);
    assert_eq!(nodes[0].app().closed, [Reason::Reset]);
}
