//! Rules of RFC 5961: what somebody who cannot see the connection sends.

use std::time::Duration;

use super::rfc9293_tests::{config, next_from_b, state};
use super::testing::Pair;
use super::*;
use crate::wire::tcp::{Flags, Header};

#[test]
fn resets_out_of_the_window_are_dropped_in_silence() {
    let mut p = Pair::connected(config(), config());
    let n = p.a.log.len();
    let (h, wnd) = (next_from_b(&mut p), p.a.c().rcv.window());
    for seq in [
        h.seq - 1,
        h.seq - 70_000,
        h.seq + wnd + 1,
        h.seq + (1 << 31),
    ] {
        for flags in [Flags::RST, Flags::RST | Flags::ACK] {
            p.inject_a(Header { seq, flags, ..h }, b"");
        }
    }
    assert_eq!((state(&p.a), p.a.log.len()), (State::Established, n));
    p.finish();
}

#[test]
fn a_syn_on_a_connection_is_challenged_whatever_its_number() {
    let mut p = Pair::connected(config(), config());
    let (h, wnd) = (next_from_b(&mut p), p.a.c().rcv.window());
    for seq in [h.seq, h.seq + 100, h.seq - 5000, h.seq + wnd + 9999] {
        for flags in [Flags::SYN, Flags::SYN | Flags::ACK] {
            let n = p.a.log.len();
            p.inject_a(Header { seq, flags, ..h }, b"");
            assert_eq!(p.a.log.len(), n + 1);
            let (_, ack, len) = p.a.log[n];
            assert_eq!((ack.flags, len), (Flags::ACK, 0));
            assert_eq!((ack.seq, ack.ack), (h.ack, h.seq));
        }
    }
    // Outside of the window too there are no more than ten a second.
    let n = p.a.log.len();
    for i in 0..100 {
        let syn = Header {
            seq: h.seq - 1000 - i,
            flags: Flags::SYN,
            ..h
        };
        p.inject_a(syn, b"");
    }
    assert_eq!(p.a.log.len(), n + 2);
    assert_eq!(state(&p.a), State::Established);
    p.finish();
}

#[test]
fn acknowledgements_outside_of_the_window_are_challenged() {
    let mut p = Pair::connected(config(), config());
    // More than any window: a young connection believes less.
    p.a.to_send = vec![7; 10 << 20];
    p.run(Duration::from_secs(30));
    assert_eq!(p.b.received.len(), p.a.to_send.len());
    let h = next_from_b(&mut p);
    let (una, nxt, max) = {
        let snd = &p.a.c().snd;
        (snd.una, snd.nxt, snd.max_wnd)
    };
    for ack in [nxt + 1, nxt + (1 << 30), una - max - 1, una - (1 << 30)] {
        let n = p.a.log.len();
        p.inject_a(Header { ack, ..h }, b"forged");
        assert_eq!(p.a.log.len(), n + 1, "a challenge");
    }
    assert!(p.a.received.is_empty());
    p.inject_a(
        Header {
            ack: una - max,
            ..h
        },
        b"old",
    );
    assert_eq!(p.a.received, b"old");
    p.finish();
}
