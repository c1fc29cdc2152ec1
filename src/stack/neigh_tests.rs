use super::*;
use proptest::prelude::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 66]);

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

fn own() -> Neighbours {
    Neighbours::new(false, 7)
}

fn questions(table: &mut Neighbours) -> Vec<Solicit> {
    std::iter::from_fn(|| table.poll_solicit()).collect()
}

/// Lets time pass up to `until`, answering nobody; the questions put.
fn silence(table: &mut Neighbours, until: Instant) -> Vec<Solicit> {
    let mut put = questions(table);
    while let Some(next) = table.poll_timeout().filter(|t| *t <= until) {
        table.handle_timeout(next);
        put.extend(questions(table));
    }
    put
}

fn mac_of(lookup: Lookup) -> Option<Mac> {
    match lookup {
        Lookup::Known { mac, .. } => Some(mac),
        _ => None,
    }
}

/// A table that knows the peer since `at(0)`.
fn knows() -> Neighbours {
    let mut table = own();
    assert_eq!(table.resolve(at(0), PEER), Lookup::Pending);
    table.answer(at(0), PEER, MAC, true);
    questions(&mut table);
    table
}

#[test]
fn a_question_is_put_three_times_then_given_up_and_put_anew() {
    let mut table = own();
    assert_eq!(table.resolve(at(0), PEER), Lookup::Pending);
    assert_eq!(table.resolve(at(1), PEER), Lookup::Pending);
    let everybody = Solicit {
        target: PEER,
        to: None,
    };
    let before = table.generation();
    assert_eq!(silence(&mut table, at(2_999)), [everybody; 3]);
    assert_eq!(table.resolve(at(2_999), PEER), Lookup::Pending);
    assert_eq!(table.generation(), before);
    assert_eq!(silence(&mut table, at(3_000)), []);
    assert_ne!(table.generation(), before, "those who wait are told");
    assert_eq!(table.resolve(at(3_100), PEER), Lookup::Failed);
    assert_eq!(table.poll_timeout(), None);
    assert_eq!(table.resolve(at(5_000), PEER), Lookup::Pending);
    assert_eq!(questions(&mut table), [everybody]);
}

#[test]
fn an_answer_is_good_for_its_time_then_checked_directly() {
    let mut table = knows();
    let Lookup::Known { mac, refresh } = table.resolve(at(1), PEER) else {
        panic!("not known");
    };
    assert_eq!(mac, MAC);
    assert!(
        refresh >= at(15_000) && refresh <= at(45_001),
        "{refresh:?}"
    );
    // Long after, the address is used while its owner is being asked.
    let before = table.generation();
    assert_eq!(mac_of(table.resolve(at(50_000), PEER)), Some(MAC));
    let direct = Solicit {
        target: PEER,
        to: Some(MAC),
    };
    assert_eq!(questions(&mut table), [direct]);
    table.answer(at(50_010), PEER, MAC, true);
    assert_eq!(table.state(PEER), Some((State::Reachable, MAC)));
    assert_eq!(table.generation(), before, "nothing changed for anybody");
}

#[test]
fn a_peer_that_moved_is_found_again_by_asking_everybody() {
    let mut table = knows();
    assert_eq!(mac_of(table.resolve(at(50_000), PEER)), Some(MAC));
    let put = silence(&mut table, at(53_000));
    let to: Vec<_> = put.iter().map(|s| s.to).collect();
    assert_eq!(to, [Some(MAC), Some(MAC), Some(MAC), None]);
    assert_eq!(table.resolve(at(53_001), PEER), Lookup::Pending);
    table.answer(at(53_002), PEER, OTHER, true);
    assert_eq!(mac_of(table.resolve(at(53_003), PEER)), Some(OTHER));
}

#[test]
fn claims_nobody_asked_for_create_nothing() {
    let mut table = own();
    table.answer(at(0), PEER, MAC, false);
    table.answer(at(0), PEER, MAC, true);
    assert!(table.is_empty());
    // Nor do they answer an open question, unless sent to us alone.
    assert_eq!(table.resolve(at(0), PEER), Lookup::Pending);
    table.answer(at(1), PEER, OTHER, false);
    assert_eq!(table.resolve(at(2), PEER), Lookup::Pending);
    table.answer(at(3), PEER, Mac::BROADCAST, true);
    table.answer(at(3), PEER, Mac::ZERO, true);
    assert_eq!(table.resolve(at(4), PEER), Lookup::Pending);
}

#[test]
fn a_known_address_is_not_replaced_by_claims() {
    for claim in [0, 1, 2] {
        let mut table = knows();
        let claim = |table: &mut Neighbours, now| match claim {
            0 => table.answer(now, PEER, OTHER, false),
            1 => table.answer(now, PEER, OTHER, true),
            _ => table.asked_by(now, PEER, OTHER),
        };
        claim(&mut table, at(10));
        assert_eq!(mac_of(table.resolve(at(11), PEER)), Some(MAC));
        // The owner is asked, and the claim is not its answer.
        let direct = Solicit {
            target: PEER,
            to: Some(MAC),
        };
        assert_eq!(questions(&mut table), [direct]);
        claim(&mut table, at(12));
        assert_eq!(table.state(PEER), Some((State::Probe, MAC)));
        table.answer(at(13), PEER, MAC, true);
        assert_eq!(table.state(PEER), Some((State::Reachable, MAC)));
    }
}

#[test]
fn who_asks_for_us_becomes_known_within_a_rate_limit() {
    let mut table = own();
    table.asked_by(at(0), PEER, MAC);
    assert_eq!(table.state(PEER), Some((State::Stale, MAC)));
    let ip = |n: u32| IpAddr::V4((0x0a01_0000 + n).into());
    for n in 0..10_000 {
        table.asked_by(at(0), ip(n), MAC);
    }
    assert_eq!(table.len(), CREATE_RATE.1 as usize);
    // An open question is answered by that too.
    let b = ip(20_000);
    assert_eq!(table.resolve(at(1), b), Lookup::Pending);
    table.asked_by(at(2), b, OTHER);
    assert_eq!(mac_of(table.resolve(at(3), b)), Some(OTHER));
}

#[test]
fn strangers_do_not_disturb_those_who_have_a_path() {
    let mut own = knows();
    let mut mirror = Neighbours::new(true, 7);
    mirror.resolve(at(0), PEER);
    mirror.mirror(at(0), PEER, NeighbourState::Reachable(MAC));
    let before = (own.generation(), mirror.generation());
    for n in 0..200u8 {
        let ip = IpAddr::V4([10, 9, 0, n].into());
        own.asked_by(at(1), ip, MAC);
        own.asked_by(at(2), ip, OTHER);
        mirror.mirror(at(1), ip, NeighbourState::Stale(MAC));
        mirror.mirror(at(2), ip, NeighbourState::Reachable(OTHER));
        mirror.mirror(at(3), ip, NeighbourState::Gone);
    }
    silence(&mut own, at(10_000));
    // Open questions were at their limit for a while; nothing else counts.
    assert!(own.generation() - before.0 <= PENDING as u64);
    assert_eq!(mirror.generation(), before.1);
    mirror.mirror(at(4), PEER, NeighbourState::Reachable(OTHER));
    assert_ne!(mirror.generation(), before.1);
}

#[test]
fn strangers_never_push_out_those_we_talk_to() {
    let mut table = own();
    let ip = |n: u32| IpAddr::V4((0x0a01_0000 + n).into());
    for n in 0..CAPACITY as u32 {
        table.resolve(at(0), ip(n));
        table.answer(at(0), ip(n), MAC, true);
    }
    assert_eq!(table.len(), CAPACITY);
    table.asked_by(at(10), PEER, MAC);
    assert_eq!(table.state(PEER), None);
    // But we ourselves can still reach somebody new.
    table.resolve(at(20), ip(0));
    assert_eq!(table.resolve(at(20), PEER), Lookup::Pending);
    assert_eq!(table.len(), CAPACITY);
    assert!(table.state(ip(0)).is_some(), "the one just used stays");
}

#[test]
fn open_questions_are_bounded_and_room_is_announced() {
    let mut table = own();
    let ip = |n: u32| IpAddr::V4((0x0a01_0000 + n).into());
    for n in 0..500 {
        assert_eq!(table.resolve(at(0), ip(n)), Lookup::Pending);
    }
    assert_eq!(table.len(), PENDING);
    assert_eq!(questions(&mut table).len(), PENDING);
    let before = table.generation();
    silence(&mut table, at(3_000));
    assert_ne!(table.generation(), before);
    assert_eq!(table.resolve(at(3_001), ip(499)), Lookup::Pending);
    assert_eq!(questions(&mut table).len(), 1);
}

#[test]
fn the_kernel_is_mirrored_and_asked() {
    let mut table = Neighbours::new(true, 7);
    assert_eq!(table.resolve(at(0), PEER), Lookup::Pending);
    assert_eq!(questions(&mut table).len(), 1);
    // What is on the wire does not matter here: the kernel judges it.
    table.answer(at(1), PEER, OTHER, true);
    table.asked_by(at(1), PEER, OTHER);
    assert_eq!(table.resolve(at(1), PEER), Lookup::Pending);
    table.mirror(at(2), PEER, NeighbourState::Reachable(MAC));
    assert_eq!(mac_of(table.resolve(at(3), PEER)), Some(MAC));
    assert_eq!(table.poll_timeout(), None);
    // A stale one is used and, now and then, checked.
    let before = table.generation();
    table.mirror(at(4), PEER, NeighbourState::Stale(MAC));
    assert_eq!(table.generation(), before);
    for ms in [5, 6, 7] {
        assert_eq!(mac_of(table.resolve(at(ms), PEER)), Some(MAC));
    }
    assert_eq!(questions(&mut table).len(), 1);
    assert_eq!(mac_of(table.resolve(at(40_000), PEER)), Some(MAC));
    assert_eq!(questions(&mut table).len(), 1);
    table.mirror(at(40_001), PEER, NeighbourState::Failed);
    assert_eq!(table.resolve(at(40_002), PEER), Lookup::Failed);
    table.mirror(at(40_003), PEER, NeighbourState::Gone);
    assert!(table.is_empty());
    assert_ne!(table.generation(), before);
}

#[test]
fn a_silent_kernel_is_given_up() {
    let mut table = Neighbours::new(true, 7);
    assert_eq!(table.resolve(at(0), PEER), Lookup::Pending);
    // An entry without an address is no answer.
    table.mirror(at(1), PEER, NeighbourState::Gone);
    assert_eq!(silence(&mut table, at(10_000)).len(), TRIES as usize);
    assert_eq!(table.resolve(at(3_001), PEER), Lookup::Failed);
}

#[test]
fn a_fresh_mirror_keeps_open_questions_only() {
    let mut table = Neighbours::new(true, 7);
    let b = IpAddr::V4([10, 0, 0, 3].into());
    table.mirror(at(0), PEER, NeighbourState::Reachable(MAC));
    table.resolve(at(0), b);
    table.mirror_reset();
    assert_eq!(table.state(PEER), None);
    assert_eq!(table.state(b).map(|(s, _)| s), Some(State::Incomplete));
    silence(&mut table, at(5_000));
}

#[derive(Clone, Debug)]
enum Step {
    Resolve(u8),
    Answer(u8, u8, bool),
    AskedBy(u8, u8),
    Kernel(u8, u8),
    Reset,
    Pass(u16),
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Resolve),
        3 => any::<(u8, u8, bool)>().prop_map(|(a, b, c)| Step::Answer(a, b, c)),
        3 => any::<(u8, u8)>().prop_map(|(a, b)| Step::AskedBy(a, b)),
        3 => any::<(u8, u8)>().prop_map(|(a, b)| Step::Kernel(a, b)),
        1 => Just(Step::Reset),
        3 => any::<u16>().prop_map(Step::Pass),
        2 => Just(Step::Poll),
    ]
}

proptest! {
    /// Whatever arrives: the table is bounded, its list of open questions is
    /// the entries with open questions, nobody is known by a group address,
    /// and time goes on.
    #[test]
    fn invariants_hold(mirror: bool, steps in proptest::collection::vec(step(), 1..400)) {
        let mut table = Neighbours::new(mirror, 1);
        table.capacity = 100;
        let mut now = at(0);
        let ip = |n: u8| IpAddr::V4([10, 0, 0, n].into());
        let mac = |n: u8| Mac([n & 3, 0, 0, 0, 0, n]);
        for step in steps {
            match step {
                Step::Resolve(a) => {
                    let found = table.resolve(now, ip(a));
                    if let Lookup::Known { mac, refresh } = found {
                        prop_assert!(refresh > now);
                        prop_assert!(mirror || mac.is_unicast());
                    }
                }
                Step::Answer(a, m, solicited) => table.answer(now, ip(a), mac(m), solicited),
                Step::AskedBy(a, m) => table.asked_by(now, ip(a), mac(m)),
                Step::Kernel(a, m) => table.mirror(now, ip(a), match m % 4 {
                    0 => NeighbourState::Reachable(mac(m)),
                    1 => NeighbourState::Stale(mac(m)),
                    2 => NeighbourState::Failed,
                    _ => NeighbourState::Gone,
                }),
                Step::Reset if mirror => table.mirror_reset(),
                Step::Reset => table.clear(),
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms.into());
                    table.handle_timeout(now);
                    prop_assert!(table.poll_timeout().is_none_or(|t| t > now));
                }
                Step::Poll => drop(questions(&mut table)),
            }
            prop_assert!(table.len() <= 100);
            prop_assert!(table.solicits.len() <= PENDING && table.pending.len() <= PENDING);
            let mut listed = table.pending.clone();
            listed.sort();
            let mut open: Vec<_> = table.entries.iter()
                .filter(|(_, e)| matches!(e.state, State::Incomplete | State::Probe))
                .map(|(ip, _)| *ip).collect();
            open.sort();
            prop_assert_eq!(listed, open);
        }
    }
}
