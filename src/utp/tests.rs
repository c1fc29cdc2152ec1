//! What every connection does, with nothing in its way and with everything.

use std::time::Duration;

use super::testing::{Faults, Pair, Rng, pattern};
use super::{Config, Event, Reason, State};
use crate::wire::utp::Kind;

#[test]
fn a_stream_each_way_and_an_orderly_end() {
    let mut p = Pair::connected(Config::default(), Config::default());
    p.a.to_send = pattern(300_000);
    p.b.to_send = pattern(200_000);
    (p.a.close_when_sent, p.b.close_when_sent) = (true, true);
    assert!(p.run_until(Duration::from_secs(20), |p| {
        p.a.closed.is_some() && p.b.closed.is_some()
    }));
    assert_eq!(p.b.received, p.a.to_send);
    assert_eq!(p.a.received, p.b.to_send);
    assert_eq!(
        (p.a.closed, p.b.closed),
        (Some(Reason::Finished), Some(Reason::Finished))
    );
    assert!(p.a.events.contains(&Event::PeerClosed) && p.b.events.contains(&Event::PeerClosed));
    p.run(Duration::from_secs(20));
    assert!(p.a.c().is_done() && p.b.c().is_done());
    let c = p.a.c().counters();
    assert_eq!((c.retransmits, c.timeouts, c.bad_acks), (0, 0, 0));
    p.finish();
}

/// The handshake on the wire, as every other implementation has it.
#[test]
fn the_answer_to_a_syn_consumes_no_number() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let (_, syn, _) = p.a.log[0];
    let (_, answer, _) = p.b.log[0];
    assert_eq!((syn.kind, answer.kind), (Kind::Syn, Kind::State));
    assert_eq!(answer.conn_id, syn.conn_id);
    assert_eq!(answer.ack, syn.seq);
    p.b.to_send = b"first".to_vec();
    p.a.to_send = b"second".to_vec();
    p.run(Duration::from_secs(1));
    let first = p.b.log.iter().find(|l| l.1.kind == Kind::Data).unwrap().1;
    assert_eq!(first.seq, answer.seq, "the first payload has its number");
    let second = p.a.log.iter().find(|l| l.1.kind == Kind::Data).unwrap().1;
    assert_eq!(second.seq, syn.seq.plus(1));
    assert_eq!(second.conn_id, syn.conn_id.wrapping_add(1));
    assert_eq!(
        (&p.a.received[..], &p.b.received[..]),
        (&b"first"[..], &b"second"[..])
    );
    p.finish();
}

/// Every seed is a wire of its own; it replays what it finds.
#[test]
fn streams_survive_any_wire() {
    for seed in 1..=150 {
        let mut rng = Rng::new(seed);
        let config = |rng: &mut Rng| Config {
            recv_buffer: 4_000 << rng.below(9),
            mtu_probing: rng.chance(700),
            nodelay: rng.chance(300),
            delayed_ack: Duration::from_millis(rng.below(3) * 20),
            max_packets: 8 << rng.below(8),
            reorder_packets: 8 << rng.below(8),
            ..Config::default()
        };
        let mut p = Pair::new(config(&mut rng), config(&mut rng));
        p.faults = Faults {
            loss: rng.below(80),
            duplicate: rng.below(50),
            reorder: rng.below(300),
            delay: Duration::from_micros(100 + rng.below(40_000)),
        };
        if rng.chance(300) {
            p.black_hole = 600 + rng.below(900) as usize;
            // Probing is what finds it.
            (p.a.most, p.b.most) = (1452, 1452);
            let probing = |c: &std::sync::Arc<Config>| Config {
                mtu_probing: true,
                ..(**c).clone()
            };
            p.a.config = probing(&p.a.config).into();
            p.b.config = probing(&p.b.config).into();
        }
        p.rng = Rng::new(seed + 1000);
        // Else a SYN that is lost three times ends it.
        let loss = std::mem::take(&mut p.faults.loss);
        p.connect();
        p.run(Duration::from_millis(200));
        p.faults.loss = loss;
        p.a.to_send = pattern(rng.below(400_000) as usize);
        p.b.to_send = pattern(rng.below(100_000) as usize);
        p.a.read = if rng.chance(200) { 3000 } else { usize::MAX };
        (p.a.close_when_sent, p.b.close_when_sent) = (true, true);
        let done = p.run_until(Duration::from_secs(900), |p| {
            p.a.closed.is_some() && p.b.closed.is_some()
        });
        let place = format!(
            "seed {seed}: {}/{} and {}/{} of {:?}, {:?} {:?}",
            p.b.received.len(),
            p.a.to_send.len(),
            p.a.received.len(),
            p.b.to_send.len(),
            p.faults,
            p.a.c().info(),
            p.b.c().info(),
        );
        assert!(done, "{place}");
        assert!(p.b.received == p.a.to_send, "{place}");
        assert!(p.a.received == p.b.to_send, "{place}");
        let finished = (Some(Reason::Finished), Some(Reason::Finished));
        assert_eq!((p.a.closed, p.b.closed), finished, "{place}");
        p.run(Duration::from_secs(100));
        assert!(p.a.c().is_done() && p.b.c().is_done(), "{place}");
        assert_eq!(p.a.c().state(), State::Closed);
        p.finish();
    }
}

/// A forged report that a path takes next to nothing.
#[test]
fn packets_never_become_all_headers() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let Pair { a, .. } = &mut p;
    let conn = a.conn.as_mut().expect("a connection");
    conn.limit_payload(2, &mut a.pool);
    assert_eq!(conn.longest_payload(), 150);
    p.a.to_send = vec![7; 100_000];
    assert!(p.run_until(Duration::from_secs(60), |p| p.b.received.len() == 100_000));
    let small = p.a.log.iter().filter(|(_, _, len)| *len > 0 && *len < 150);
    assert!(small.count() < 10);
    p.finish();
}
