//! Rules of RFC 5927 and RFC 5461: what ICMP messages may do to a connection.

use super::rfc9293_tests::{config, state};
use super::testing::{Pair, pattern};
use super::*;

#[test]
fn unreachability_ends_a_handshake_and_nothing_else() {
    let mut p = Pair::new(config(), config());
    p.connect();
    p.settle();
    let a = &mut p.a;
    let c = a.conn.as_mut().unwrap();
    let iss = c.snd.una;
    c.handle_unreachable(&mut a.pool, iss + 1);
    c.handle_unreachable(&mut a.pool, iss - 1);
    assert_eq!(c.state(), State::SynSent, "not in flight: not believed");
    c.handle_unreachable(&mut a.pool, iss);
    p.settle();
    assert_eq!(p.a.closed, Some(Reason::Unreachable));
    p.finish();

    let mut p = Pair::connected(config(), config());
    p.a.to_send = pattern(10_000);
    p.settle();
    let a = &mut p.a;
    let c = a.conn.as_mut().unwrap();
    let una = c.snd.una;
    c.handle_unreachable(&mut a.pool, una);
    assert_eq!(state(&p.a), State::Established);
    p.run(std::time::Duration::from_secs(1));
    assert_eq!(p.b.received.len(), 10_000);
    p.finish();
}
