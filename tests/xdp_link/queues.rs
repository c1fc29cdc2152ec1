//! Who has a queue, and several of them.

use super::*;

#[test]
#[ignore = "needs root"]
fn a_queue_is_taken_until_it_is_closed() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = attach(&net, Side::A, take_all());
    let options = LinkOptions {
        queue_wait: Duration::from_millis(200),
        ..LinkOptions::default()
    };
    let first = End::open(&net, Side::A, &steering, 0, options).unwrap();
    let error = End::open(&net, Side::A, &steering, 0, options)
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        matches!(error, XdpError::QueueTaken { queue: 0, .. }),
        "{text}"
    );
    assert!(text.contains(DEVICE) && text.contains("queue 0"), "{text}");
    // A closed link frees its queue though its memory lives on.
    let pool = first.close();
    let second = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    // So does one that is merely dropped.
    drop(second.link);
    let third = End::open(&net, Side::A, &steering, 0, LinkOptions::default()).unwrap();
    third.close();
    drop((pool, second.pool));
    let error = End::open(&net, Side::A, &steering, 1, options)
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            XdpError::NoSuchQueue {
                queue: 1,
                queues: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
#[ignore = "needs root"]
fn two_queues_have_two_sockets_and_flows_on_both() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options {
        queues: 2,
        ..Options::default()
    });
    let steering = attach(&net, Side::A, SteeringOptions::default());
    steering
        .claim(Protocol::Udp, 9, Some(Side::A.ip()))
        .unwrap();
    assert_eq!(steering.unserved_queues(), [0, 1]);
    let mut ends: Vec<End> = (0..2)
        .map(|queue| End::open(&net, Side::A, &steering, queue, LinkOptions::default()).unwrap())
        .collect();
    assert_eq!(steering.unserved_queues(), [0u32; 0]);
    let sent = 200u64;
    net.enter(Side::B, || {
        for _ in 0..sent {
            let socket = UdpSocket::bind((Side::B.ipv4(), 0)).unwrap();
            socket.send_to(b"x", (Side::A.ipv4(), 9)).unwrap();
        }
    });
    let mut flows = [0, 0];
    wait_for("all datagrams", 3 * SECOND, || {
        for (queue, end) in ends.iter_mut().enumerate() {
            flows[queue] += end.frames(Duration::ZERO).len() as u64;
        }
        flows[0] + flows[1] == sent
    });
    assert!(flows[0] > 0 && flows[1] > 0, "{flows:?}");
    ends.into_iter().for_each(|end| drop(end.close()));
}

#[test]
#[ignore = "needs root"]
fn two_sockets_share_one_memory() {
    if !require_root() {
        return;
    }
    two_sockets_close_in_order(true);
    two_sockets_close_in_order(false);
}

fn two_sockets_close_in_order(first_goes_first: bool) {
    let net = Net::pair(Options {
        queues: 2,
        ..Options::default()
    });
    let steering = attach(&net, Side::A, take_all());
    let (umem, mut pool) = net.enter(Side::A, || Umem::new(&MEMORY)).unwrap();
    let umem = Arc::new(umem);
    let options = LinkOptions {
        fill: Some(128),
        ..LinkOptions::default()
    };
    let links = [0, 1].map(|queue| {
        net.enter(Side::A, || {
            XdpLink::open(&umem, &mut pool, &steering, queue, &options)
        })
        .unwrap()
    });
    assert_eq!(pool.ledger().fill, 256);
    let [first, second] = links;
    assert_eq!((first.queue(), second.queue()), (0, 1));
    if first_goes_first {
        first.close(&mut pool);
        assert_eq!(pool.ledger().fill, 256, "they come back with the last");
        second.close(&mut pool);
    } else {
        second.close(&mut pool);
        assert_eq!(pool.ledger().fill, 128, "only its own come back");
        first.close(&mut pool);
    }
    assert_eq!(pool.ledger().pool, MEMORY.chunks);
    assert_eq!(steering.unserved_queues(), [0, 1]);
    let again = net.enter(Side::A, || {
        XdpLink::open(&umem, &mut pool, &steering, 0, &options)
    });
    assert!(again.unwrap_err().to_string().contains("new memory"));
    // Both queues are free again.
    for queue in [0, 1] {
        End::open(&net, Side::A, &steering, queue, LinkOptions::default())
            .unwrap()
            .close();
    }
}
