//! Segments that are not what the connection's state expects, and the answer
//! that each has to get. `tests/differential` asks the kernel the same.

use std::time::Duration;

use super::testing::Pair;
use super::*;
use crate::wire::tcp::{Flags, Header, Options, SeqNumber, Timestamps};

const IRS: SeqNumber = SeqNumber(10_000);

fn pair() -> Pair {
    Pair::new(Config::default(), Config::default())
}

fn timestamps(val: u32) -> Options {
    Options {
        timestamps: Some(Timestamps { val, ecr: 0 }),
        ..Options::default()
    }
}

/// A segment from port 4000 to `b`'s port 80.
fn to_b(seq: SeqNumber, flags: Flags) -> Header {
    Header {
        src_port: 4000,
        dst_port: 80,
        seq,
        flags,
        window: 10_000,
        options: timestamps(1),
        ..Header::default()
    }
}

/// Gives `b` a segment: what it sends to that.
fn tell_b(p: &mut Pair, h: Header, payload: &[u8]) -> Vec<Header> {
    let mut bytes = vec![0; h.emit_len()];
    h.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    let before = p.b.log.len();
    p.b.deliver(p.now, &bytes);
    p.settle();
    p.b.log[before..].iter().map(|(_, h, _)| *h).collect()
}

/// `b` in SYN-RECEIVED, and its initial sequence number.
fn half_open(p: &mut Pair) -> SeqNumber {
    let answer = tell_b(p, to_b(IRS, Flags::SYN), &[]);
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].flags, Flags::SYN | Flags::ACK);
    answer[0].seq
}

/// The peer's side of a connection that `b` has accepted.
fn established(p: &mut Pair) -> Header {
    let iss = half_open(p);
    let ack = Header {
        ack: iss + 1,
        ..to_b(IRS + 1, Flags::ACK)
    };
    tell_b(p, ack, &[]);
    assert_eq!(p.b.c().state(), State::Established);
    ack
}

fn is_ack(answer: &[Header], seq: SeqNumber, ack: SeqNumber) -> bool {
    matches!(answer, [h] if h.flags == Flags::ACK && h.seq == seq && h.ack == ack)
}

/// RFC 9293 section 3.10.7.4, first check, of SYN-RECEIVED.
#[test]
fn what_a_half_open_connection_cannot_take_is_acknowledged() {
    let mut p = pair();
    let iss = half_open(&mut p);
    for flags in [Flags::ACK, Flags::ACK | Flags::FIN] {
        let h = Header {
            ack: iss + 1,
            ..to_b(IRS - 2000, flags)
        };
        let answer = tell_b(&mut p, h, b"old");
        assert!(is_ack(&answer, iss + 1, IRS + 1), "{answer:?}");
    }
    assert_eq!(p.b.c().state(), State::SynReceived);
    p.finish();
}

#[test]
fn a_repeated_syn_is_answered_again_whatever_payload_it_has() {
    let mut p = pair();
    let iss = half_open(&mut p);
    for payload in [&b""[..], b"early"] {
        let answer = tell_b(&mut p, to_b(IRS, Flags::SYN), payload);
        assert_eq!(answer.len(), 1, "{answer:?}");
        assert_eq!(answer[0].flags, Flags::SYN | Flags::ACK);
        assert_eq!((answer[0].seq, answer[0].ack), (iss, IRS + 1));
    }
    // Nobody answers a SYN-ACK by a SYN-ACK.
    let h = Header {
        ack: iss + 1,
        ..to_b(IRS, Flags::SYN | Flags::ACK)
    };
    let answer = tell_b(&mut p, h, &[]);
    assert!(is_ack(&answer, iss + 1, IRS + 1), "{answer:?}");
    assert_eq!(p.b.c().state(), State::SynReceived);
    p.finish();
}

/// RFC 5961 section 4 before RFC 7323 section 3.2: a peer that has restarted
/// need not know that there were timestamps.
#[test]
fn a_syn_without_timestamps_is_challenged() {
    let mut p = pair();
    let now = established(&mut p);
    let syn = Header {
        options: Options::default(),
        ..to_b(IRS + 777, Flags::SYN)
    };
    let answer = tell_b(&mut p, syn, &[]);
    assert!(is_ack(&answer, now.ack, IRS + 1), "{answer:?}");
    let plain = Header {
        options: Options::default(),
        ..now
    };
    assert_eq!(tell_b(&mut p, plain, b"dropped"), []);
    assert_eq!(p.b.received, b"");
    p.finish();
}

/// RFC 5961 section 5.2 lets whoever guesses use any of MAX.SND.WND numbers;
/// of these, a young connection has sent none.
#[test]
fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
    let mut p = pair();
    let now = established(&mut p);
    for old in [1, 5000] {
        let forged = Header {
            ack: now.ack - old,
            ..now
        };
        let answer = tell_b(&mut p, forged, b"forged");
        assert!(is_ack(&answer, now.ack, IRS + 1), "{answer:?}");
    }
    assert_eq!(p.b.received, b"");
    // What was sent and acknowledged may be acknowledged late.
    p.b.to_send = vec![7; 500];
    p.settle();
    let all = Header {
        ack: now.ack + 500,
        ..now
    };
    assert_eq!(tell_b(&mut p, all, &[]), []);
    tell_b(&mut p, now, b"late");
    assert_eq!(p.b.received, b"late");
    p.finish();
}

#[test]
fn payload_of_a_syn_is_no_duplicate_of_the_stream() {
    let mut p = pair();
    let iss = {
        let mut syn = to_b(IRS, Flags::SYN);
        syn.options.sack_permitted = true;
        tell_b(&mut p, syn, &[])[0].seq
    };
    let ack = Header {
        ack: iss + 1,
        ..to_b(IRS + 1, Flags::ACK)
    };
    tell_b(&mut p, ack, &[]);
    let answer = tell_b(&mut p, to_b(IRS - 3000, Flags::SYN), b"another stream");
    assert!(is_ack(&answer, iss + 1, IRS + 1), "{answer:?}");
    assert!(answer[0].options.sack.is_empty());
    p.finish();
}

/// When SYNs cross, the answer repeats the peer's SYN (RFC 9293 section 3.5,
/// figure 8). One with another number is somebody else's.
#[test]
fn crossed_syns_are_not_confirmed_by_another_syn() {
    let mut p = pair();
    p.connect();
    p.settle();
    let iss = p.a.log[0].1.seq;
    let from_b = |seq, flags| Header {
        src_port: 80,
        dst_port: 4000,
        seq,
        flags,
        ack: if flags == Flags::SYN {
            SeqNumber(0)
        } else {
            iss + 1
        },
        window: 10_000,
        ..Header::default()
    };
    p.inject_a(from_b(IRS, Flags::SYN), &[]);
    assert_eq!(p.a.c().state(), State::SynReceived);
    for other in [IRS + 1, IRS + 100] {
        p.inject_a(from_b(other, Flags::SYN | Flags::ACK), &[]);
        assert_eq!(p.a.c().state(), State::SynReceived, "{other}");
        let last = p.a.log.last().map(|l| (l.1.flags, l.1.seq));
        assert_eq!(last, Some((Flags::ACK, iss + 1)));
    }
    p.inject_a(from_b(IRS, Flags::SYN | Flags::ACK), &[]);
    assert_eq!(p.a.c().state(), State::Established);
    p.finish();
}

/// Nothing that waits for a route or a frame is lost yet: a SYN that the
/// peer's overtakes, and a SYN-ACK to a SYN that comes twice.
#[test]
fn a_syn_that_has_not_left_yet_is_not_lost() {
    let mut p = pair();
    p.connect();
    let syn = Header {
        src_port: 80,
        dst_port: 4000,
        ..to_b(IRS, Flags::SYN)
    };
    let mut bytes = vec![0; syn.emit_len()];
    syn.emit(&mut bytes);
    p.a.deliver(p.now, &bytes);
    assert_eq!(p.a.c().state(), State::SynReceived);
    assert_eq!(p.a.c().check(), Ok(()));
    p.settle();
    assert_eq!(p.a.log[0].1.flags, Flags::SYN | Flags::ACK);
    assert_eq!((p.a.log.len(), p.a.c().check()), (1, Ok(())));

    let syn = to_b(IRS, Flags::SYN);
    let mut bytes = vec![0; syn.emit_len()];
    syn.emit(&mut bytes);
    p.b.deliver(p.now, &bytes);
    p.b.deliver(p.now, &bytes);
    assert_eq!(p.b.c().check(), Ok(()));
    p.finish();
}

/// RFC 9293 section 3.5.1: an older connection of the peer's is in the way.
#[test]
fn a_syn_that_met_an_older_connection_goes_again_soon() {
    let ms = Duration::from_millis;
    let mut p = pair();
    p.faults.delay = ms(5000);
    p.connect();
    p.settle();
    let older = Header {
        src_port: 80,
        dst_port: 4000,
        ack: SeqNumber(77),
        flags: Flags::ACK,
        ..Header::default()
    };
    // The first SYN asks for ECN, the second need not.
    let sent = |p: &Pair, flag| {
        let flags = p.a.log.iter().map(|l| l.1.flags);
        flags.filter(|f| f.contains(flag)).count()
    };
    for _ in 0..3 {
        p.inject_a(older, &[]);
    }
    assert_eq!(sent(&p, Flags::RST), 3);
    p.run(ms(9));
    assert_eq!(sent(&p, Flags::SYN), 1);
    p.run(ms(2));
    assert_eq!(sent(&p, Flags::SYN), 2);
    // Not one for each: the next waits for its time-out.
    for _ in 0..3 {
        p.inject_a(older, &[]);
        p.run(ms(100));
    }
    assert_eq!((sent(&p, Flags::RST), sent(&p, Flags::SYN)), (6, 2));
    assert_eq!(p.a.c().state(), State::SynSent);
    // Which is as far off as without the haste.
    p.run(ms(600));
    assert_eq!(sent(&p, Flags::SYN), 2);
    p.run(ms(200));
    assert_eq!(sent(&p, Flags::SYN), 3);
    p.finish();
}

/// macOS resets behind its FIN with the number of the FIN, and may leave the
/// challenge without an answer.
#[test]
fn a_reset_with_the_number_of_the_fin_before_it_is_taken() {
    for closing in [false, true] {
        let mut p = pair();
        let now = established(&mut p);
        let fin = Header {
            flags: Flags::FIN | Flags::ACK,
            ..now
        };
        // Before the FIN it is one too low.
        tell_b(&mut p, to_b(IRS, Flags::RST), &[]);
        assert_eq!(p.b.c().state(), State::Established);
        tell_b(&mut p, fin, &[]);
        if closing {
            p.b.c().shutdown();
            p.settle();
        }
        let expected = [State::CloseWait, State::LastAck][usize::from(closing)];
        assert_eq!(p.b.c().state(), expected);
        assert_eq!(tell_b(&mut p, to_b(IRS, Flags::RST), &[]), []);
        assert_eq!(p.b.c().state(), expected, "two too low");
        assert_eq!(tell_b(&mut p, to_b(IRS + 1, Flags::RST), &[]), []);
        assert_eq!(p.b.closed, Some(Reason::Reset));
        p.finish();
    }
}

/// An answer with a reset behind it is not to be lost because both came at
/// once.
#[test]
fn what_came_in_order_before_a_reset_can_be_read() {
    for unread in [true, false] {
        let mut p = pair();
        let now = established(&mut p);
        p.b.read = if unread { 0 } else { usize::MAX };
        tell_b(&mut p, now, b"answer");
        let early = Header {
            seq: now.seq + 50,
            ..now
        };
        tell_b(&mut p, early, b"early");
        p.b.events.clear();
        p.b.read = usize::MAX;
        assert_eq!(tell_b(&mut p, to_b(now.seq + 6, Flags::RST), &[]), []);
        let closed = Event::Closed(Reason::Reset);
        if unread {
            assert_eq!(p.b.events, [Event::Readable, closed]);
        } else {
            assert_eq!(p.b.events, [closed]);
        }
        assert_eq!(p.b.received, b"answer");
        p.finish();
    }
}
