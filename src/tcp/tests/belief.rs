//! What is believed of what arrives, and what is not.

use std::time::Duration;

use super::{SEC, config, state};
use crate::tcp::testing::Pair;
use crate::tcp::*;
use crate::wire::tcp::{Flags, Header, Options, Timestamps};

#[test]
fn resets_must_hit_the_next_sequence_number() {
    let mut p = Pair::connected(config(), config());
    let (seq, ack) = (p.a.c().rcv.nxt, p.a.c().snd.nxt);
    let rst = Header {
        src_port: 80,
        dst_port: 4000,
        seq,
        ack,
        flags: Flags::RST,
        ..Header::default()
    };
    let before = p.a.log.len();
    p.inject_a(
        Header {
            seq: seq + 5000,
            ..rst
        },
        b"",
    );
    assert_eq!(state(&p.a), State::Established);
    assert_eq!(p.a.log.len(), before + 1, "a challenge");
    p.inject_a(
        Header {
            seq: seq - 1,
            ..rst
        },
        b"",
    );
    assert_eq!(
        (state(&p.a), p.a.log.len()),
        (State::Established, before + 1)
    );
    p.inject_a(rst, b"");
    assert_eq!(p.a.closed, Some(Reason::Reset));
    p.finish();
}

#[test]
fn challenges_are_limited() {
    let mut p = Pair::connected(config(), config());
    let (seq, ack) = (p.a.c().rcv.nxt, p.a.c().snd.nxt);
    let before = p.a.log.len();
    for i in 0..1000 {
        let h = Header {
            src_port: 80,
            dst_port: 4000,
            seq: seq + i,
            ack,
            flags: Flags::SYN,
            ..Header::default()
        };
        let options = ts(&mut p);
        p.inject_a(Header { options, ..h }, b"");
    }
    assert_eq!(p.a.log.len() - before, 10);
    assert_eq!(state(&p.a), State::Established);
    p.finish();
}

/// Options with a timestamp that is current for `a`.
fn ts(p: &mut Pair) -> Options {
    let recent = p.a.c().ts.map_or(0, |t| t.recent);
    Options {
        timestamps: Some(Timestamps {
            val: recent,
            ecr: 0,
        }),
        ..Options::default()
    }
}

#[test]
fn old_timestamps_are_refused_and_missing_ones_dropped() {
    let mut p = Pair::connected(config(), config());
    let (seq, ack) = (p.a.c().rcv.nxt, p.a.c().snd.nxt);
    let h = Header {
        src_port: 80,
        dst_port: 4000,
        seq,
        ack,
        flags: Flags::ACK,
        window: 1000,
        ..Header::default()
    };
    let mut old = ts(&mut p);
    if let Some(t) = &mut old.timestamps {
        t.val = t.val.wrapping_sub(10);
    }
    p.inject_a(Header { options: old, ..h }, b"old");
    p.inject_a(h, b"bare");
    assert_eq!((p.a.c().counters().paws, p.a.received.len()), (1, 0));
    let good = ts(&mut p);
    p.inject_a(Header { options: good, ..h }, b"good");
    assert_eq!(p.a.received, b"good");
    p.finish();
}

#[test]
fn acknowledgements_of_nothing_sent_are_not_believed() {
    let mut p = Pair::connected(config(), config());
    let (seq, ack) = (p.a.c().rcv.nxt, p.a.c().snd.nxt);
    let h = Header {
        src_port: 80,
        dst_port: 4000,
        seq,
        ack: ack + 1000,
        flags: Flags::ACK,
        window: 1000,
        options: ts(&mut p),
        ..Header::default()
    };
    p.inject_a(h, b"x");
    assert!(p.a.received.is_empty());
    assert_eq!(p.a.c().snd.una, ack);
    p.finish();
}

/// Found by the simulation, seed 2451: the acknowledgement was due and never
/// went. RFC 9293 section 3.10.7.4, first check, in SYN-RECEIVED.
#[test]
fn what_is_not_acceptable_in_syn_received_is_answered() {
    let mut p = Pair::new(config(), config());
    p.swallow = vec![(false, 1)];
    p.connect();
    p.run(Duration::from_millis(20));
    assert_eq!(state(&p.b), State::SynReceived);
    let syn = p.a.log[0].1;
    let other = Header {
        seq: syn.seq - 1_000_000,
        ..syn
    };
    let mut bytes = vec![0; other.emit_len()];
    other.emit(&mut bytes);
    p.b.deliver(p.now, &bytes);
    p.settle();
    let answer = p.b.log.last().unwrap().1;
    assert_eq!(answer.flags, Flags::ACK);
    assert_eq!(
        (answer.seq, answer.ack),
        (p.b.log[0].1.seq + 1, syn.seq + 1)
    );
    p.run(SEC * 3);
    assert_eq!([state(&p.a), state(&p.b)], [State::Established; 2]);
    p.finish();
}
