//! How connections begin, and do not.

use std::time::Duration;

use super::testing::{Pair, pattern};
use super::{Config, Event, Reason, State};
use crate::time::Instant;
use crate::wire::utp::{Header, Kind, SeqNr};

fn pair() -> Pair {
    Pair::new(Config::default(), Config::default())
}

#[test]
fn a_syn_without_answer_doubles_its_time_out_and_fails() {
    let mut p = pair();
    p.filter = |_, _| false;
    p.connect();
    let begin = p.now;
    p.run(Duration::from_secs(60));
    let at: Vec<_> = p.a.log.iter().map(|l| l.0.since(begin).as_secs()).collect();
    assert_eq!(at, [0, 3, 9], "3 s, then twice that, two more tries");
    assert!(
        p.a.log
            .iter()
            .all(|l| l.1.kind == Kind::Syn && l.1.seq == p.a.log[0].1.seq)
    );
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
    assert!(p.a.c().is_done());
    p.finish();
}

#[test]
fn its_times_and_tries_can_be_set() {
    let config = Config {
        syn_timeout: Duration::from_secs(1),
        syn_retries: 4,
        ..Config::default()
    };
    let mut p = Pair::new(config, Config::default());
    p.filter = |_, _| false;
    p.connect();
    let begin = p.now;
    p.run(Duration::from_secs(60));
    let at: Vec<_> = p.a.log.iter().map(|l| l.0.since(begin).as_secs()).collect();
    assert_eq!(at, [0, 1, 3, 7, 15]);
    assert_eq!(p.a.closed, Some(Reason::TimedOut));
}

/// The first two answers are lost.
#[test]
fn every_syn_gets_the_same_answer() {
    let mut p = pair();
    p.swallow = vec![(false, 1), (false, 2)];
    p.connect();
    p.run(Duration::from_secs(9));
    assert!(p.b.events.is_empty() && p.b.c().state() == State::SynReceived);
    let answers: Vec<Header> = p.b.log.iter().map(|l| l.1).collect();
    assert_eq!(
        answers.len(),
        2,
        "one for each, and nothing of its own accord"
    );
    let same = |h: &Header| (h.kind, h.conn_id, h.seq, h.ack, h.len);
    assert!(answers.iter().all(|h| same(h) == same(&answers[0])));
    p.run(Duration::from_secs(2));
    assert_eq!(
        p.b.log.len(),
        4,
        "the third, and an answer to what proved it"
    );
    assert!(p.a.events.contains(&Event::Connected) && p.b.events.contains(&Event::Connected));
    p.finish();
}

#[test]
fn who_says_nothing_more_is_forgotten_in_silence() {
    let mut p = pair();
    p.filter = |from_a, h| from_a && h.kind == Kind::Syn;
    p.connect();
    p.run(Duration::from_millis(100));
    // What it would have to say has to wait until the peer is proven.
    assert_eq!(p.b.c().send_room(), 0);
    p.b.to_send = pattern(1000);
    p.run(Duration::from_secs(30));
    assert_eq!(p.b.closed, Some(Reason::TimedOut));
    let syns = p.a.log.len();
    assert_eq!(
        p.b.log.len(),
        syns.min(3),
        "an answer for each SYN, no reset"
    );
    p.finish();
}

/// Only an acknowledgement of the exact number of the answer, which whoever
/// forges an address does not see.
#[test]
fn a_guess_does_not_prove_an_address() {
    let mut p = pair();
    p.filter = |from_a, h| from_a && h.kind == Kind::Syn;
    p.connect();
    p.run(Duration::from_millis(100));
    let isn = p.b.log[0].1.seq;
    let sent = p.b.log.len();
    let honest = Header {
        seq: p.a.log[0].1.seq.plus(1),
        ack: isn.minus(1),
        ..p.as_a(Kind::Data)
    };
    for guess in 0..=u16::MAX {
        if SeqNr(guess) != honest.ack {
            let ack = SeqNr(guess);
            p.inject_b(Header { ack, ..honest }, &[], b"GET");
        }
    }
    assert_eq!((p.b.c().state(), p.b.log.len()), (State::SynReceived, sent));
    assert_eq!(p.b.c().recv_available(), 0);
    p.inject_b(honest, &[], b"GET");
    assert_eq!(
        (p.b.c().state(), &p.b.received[..]),
        (State::Connected, &b"GET"[..])
    );
    p.finish();
}

/// Who connects says at once that it got the answer, and again if that is
/// lost: the other may have to begin.
#[test]
fn who_accepts_may_speak_first() {
    for lost in 0..3 {
        let mut p = pair();
        p.swallow = (0..lost).map(|n| (true, 2 + n)).collect();
        p.b.to_send = b"220 ready".to_vec();
        p.connect();
        let begin = p.now;
        assert!(p.run_until(Duration::from_secs(9), |p| p.a.received.len() == 9));
        let waited = p.now.since(begin);
        assert!(
            waited < Duration::from_millis(30 + 1000 * ((1 << lost) - 1)),
            "{waited:?}"
        );
        // Not for ever.
        p.run(Duration::from_secs(60));
        assert!(p.a.log.len() < 12, "{}", p.a.log.len());
        p.finish();
    }
}

#[test]
fn a_refusal_has_to_name_the_syn() {
    let mut p = pair();
    p.filter = |_, _| false;
    p.connect();
    p.settle();
    let syn = p.a.log[0].1;
    let reset = Header {
        kind: Kind::Reset,
        conn_id: syn.conn_id,
        ack: syn.seq,
        ..Header::default()
    };
    for ack in [syn.seq.minus(1), syn.seq.plus(1), syn.seq.plus(0x8000)] {
        p.inject_a(Header { ack, ..reset }, &[], &[]);
        assert_eq!(p.a.c().state(), State::SynSent);
    }
    p.inject_a(reset, &[], &[]);
    assert_eq!(p.a.closed, Some(Reason::Refused));
    assert_eq!(p.a.log.len(), 1);
    p.finish();
}

/// libtorrent and librqbit send none.
#[test]
fn a_window_of_zero_in_a_syn_is_none() {
    let mut p = pair();
    let syn = Header {
        kind: Kind::Syn,
        conn_id: 77,
        seq: SeqNr(9),
        timestamp: 1,
        ..Header::default()
    };
    let mut bytes = [0; 20];
    syn.emit(&mut bytes, &[]);
    p.b.deliver(p.now, &bytes);
    p.settle();
    let answer = p.b.log[0].1;
    assert_eq!((answer.conn_id, answer.ack), (77, SeqNr(9)));
    p.b.to_send = pattern(100);
    let data = Header {
        kind: Kind::Data,
        conn_id: 78,
        seq: SeqNr(10),
        ack: answer.seq.minus(1),
        window: 1 << 20,
        timestamp: 2,
        ..Header::default()
    };
    p.inject_b(data, &[], b"hello");
    let sent =
        p.b.log
            .iter()
            .find(|l| l.1.kind == Kind::Data)
            .expect("sent at once");
    assert_eq!((sent.1.seq, sent.2), (answer.seq, 100));
    p.finish();
}

#[test]
fn a_syn_that_comes_late_is_answered_within_limits() {
    let mut p = Pair::connected(Config::default(), Config::default());
    let syn = p.a.log[0].1;
    let before = p.b.log.len();
    for _ in 0..1000 {
        p.inject_b(syn, &[], &[]);
    }
    let answers = p.b.log.len() - before;
    assert!((1..=10).contains(&answers), "{answers}");
    // Another SYN with the same id is not of this connection.
    let seq = syn.seq.plus(5);
    p.now += Duration::from_secs(2);
    p.inject_b(Header { seq, ..syn }, &[], &[]);
    assert_eq!(p.b.log.len(), before + answers);
    p.finish();
}

#[test]
fn what_is_not_the_answer_does_not_connect() {
    let mut p = pair();
    p.filter = |_, _| false;
    p.connect();
    p.settle();
    let syn = p.a.log[0].1;
    let answer = Header {
        kind: Kind::State,
        conn_id: syn.conn_id,
        seq: SeqNr(500),
        ack: syn.seq,
        window: 1 << 20,
        timestamp: 5,
        ..Header::default()
    };
    for wrong in [
        Header {
            kind: Kind::Data,
            ..answer
        },
        Header {
            kind: Kind::Fin,
            ..answer
        },
        Header {
            kind: Kind::Syn,
            ..answer
        },
        Header {
            ack: syn.seq.minus(1),
            ..answer
        },
        Header {
            ack: syn.seq.plus(1),
            ..answer
        },
        Header {
            conn_id: syn.conn_id.wrapping_add(1),
            ..answer
        },
    ] {
        p.inject_a(wrong, &[], &[]);
        assert_eq!(
            (p.a.c().state(), p.a.log.len()),
            (State::SynSent, 1),
            "{wrong:?}"
        );
    }
    p.inject_a(answer, &[], &[]);
    assert_eq!(p.a.c().state(), State::Connected);
    assert!(p.a.c().poll_timeout() < Some(Instant::FAR));
    p.finish();
}
