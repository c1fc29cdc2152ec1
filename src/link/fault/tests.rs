//! The fault wrapper over a memory link.

use super::*;
use crate::frame::Region;
use crate::link::MemoryLink;

const CHUNKS: u32 = 4096;

/// A wrapped end, the plain other end, and their pools.
struct World {
    near: FaultLink<MemoryLink>,
    far: MemoryLink,
    near_pool: Pool,
    far_pool: Pool,
}

impl World {
    fn new(settings: &str) -> Self {
        let (near, far) = MemoryLink::pair(CHUNKS as usize).unwrap();
        Self {
            near: FaultLink::new(near, &settings.parse().unwrap()),
            far,
            near_pool: Pool::new(Region::anonymous(CHUNKS, 2048)),
            far_pool: Pool::new(Region::anonymous(CHUNKS, 2048)),
        }
    }

    /// Sends a packet of `len` bytes that begins with `n`, out of the wrapped
    /// end.
    fn send(&mut self, now: Instant, n: u32, len: usize) {
        let mut queue = to_send(&mut self.near_pool, &numbered(n, len));
        self.near.transmit(now, &mut self.near_pool, &mut queue);
        assert!(queue.is_empty());
    }

    /// What has come out of the wrapped end.
    fn arrived(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.near
            .transmit(now, &mut self.near_pool, &mut VecDeque::new());
        let mut got = Vec::new();
        self.far
            .receive(now, &mut self.far_pool, &mut got, usize::MAX);
        take(&mut self.far_pool, got)
    }

    /// The same into the wrapped end.
    fn send_back(&mut self, now: Instant, n: u32, len: usize) {
        let mut queue = to_send(&mut self.far_pool, &numbered(n, len));
        self.far.transmit(now, &mut self.far_pool, &mut queue);
    }

    fn arrived_back(&mut self, now: Instant, max: usize) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let n = self.near.receive(now, &mut self.near_pool, &mut got, max);
        assert_eq!(n, got.len());
        let frames = got.iter().filter(|p| !p.continues()).count();
        assert!(frames <= max);
        take(&mut self.near_pool, got)
    }

    fn assert_balanced(&self) {
        for pool in [&self.near_pool, &self.far_pool] {
            assert_eq!(pool.ledger().pool, CHUNKS, "{pool:?}");
        }
    }
}

fn numbered(n: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x55; len];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// A frame, in as many chunks as it takes.
fn to_send(pool: &mut Pool, bytes: &[u8]) -> VecDeque<TxDesc> {
    let mut packets = Vec::new();
    assert!(store(pool, bytes, &mut packets) > 0);
    packets.drain(..).map(|p| pool.transmit(p)).collect()
}

fn take(pool: &mut Pool, packets: Vec<Packet>) -> Vec<Vec<u8>> {
    let frames = packets
        .chunk_by(|part, _| part.continues())
        .map(|parts| parts.iter().flat_map(|p| pool.bytes(p).to_vec()).collect())
        .collect();
    packets.into_iter().for_each(|p| pool.free(p));
    frames
}

fn numbers(packets: &[Vec<u8>]) -> Vec<u32> {
    packets
        .iter()
        .map(|p| u32::from_be_bytes(p[..4].try_into().unwrap()))
        .collect()
}

fn us(n: u64) -> Instant {
    Instant::from_micros(n)
}

#[test]
fn without_faults_nothing_is_copied_or_changed() {
    let mut w = World::new("");
    for n in 0..1000 {
        w.send(us(n.into()), n, 100);
        w.send_back(us(n.into()), n, 100);
    }
    assert_eq!(numbers(&w.arrived(us(0))), (0..1000).collect::<Vec<_>>());
    assert_eq!(
        numbers(&w.arrived_back(us(0), 5000)),
        (0..1000).collect::<Vec<_>>()
    );
    assert_eq!(w.near.next_event(), None);
    let passed = FaultCounters {
        packets: 1000,
        ..FaultCounters::default()
    };
    assert_eq!((w.near.incoming(), w.near.outgoing()), (&passed, &passed));
    w.assert_balanced();
}

/// Packets, and when each arrived.
type Timeline = Vec<(Instant, Vec<u8>)>;

/// Ten thousand packets each way, 10 us apart: what arrives, and when.
fn run(settings: &str) -> (World, Timeline, Timeline) {
    let mut w = World::new(settings);
    let (mut out, mut back) = (Vec::new(), Vec::new());
    let mut step = |w: &mut World, now| {
        out.extend(w.arrived(now).into_iter().map(|p| (now, p)));
        back.extend(
            w.arrived_back(now, usize::MAX)
                .into_iter()
                .map(|p| (now, p)),
        );
    };
    for n in 0..10_000 {
        let now = us(u64::from(n) * 10);
        w.send(now, n, 64);
        w.send_back(now, n, 64);
        step(&mut w, now);
    }
    let mut now = us(100_000);
    while let Some(next) = w.near.next_event() {
        now = now.max(next);
        step(&mut w, now);
    }
    w.assert_balanced();
    (w, out, back)
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let faults = "loss=2%,dup=2%,reorder=5%,corrupt=1%,delay=1ms,jitter=300us,rate=1Gbit";
    let (_, out, back) = run(&format!("{faults},seed=7"));
    let (_, out2, back2) = run(&format!("{faults},seed=7"));
    assert!(out == out2 && back == back2);
    assert!(out != back, "the directions differ");
    let (_, out3, _) = run(&format!("{faults},seed=8"));
    assert!(out != out3, "and so do seeds");
}

#[test]
fn chances_come_true() {
    let (w, out, back) = run("loss=1%,dup=2%,corrupt=3%,seed=1");
    for (counters, arrived) in [(w.near.outgoing(), &out), (w.near.incoming(), &back)] {
        assert_eq!(counters.packets, 10_000);
        assert!((70..130).contains(&counters.lost), "{counters:?}");
        assert!((150..250).contains(&counters.duplicated), "{counters:?}");
        assert!((240..360).contains(&counters.corrupted), "{counters:?}");
        assert_eq!((counters.reordered, counters.overflowed), (0, 0));
        let expected = 10_000 - counters.lost + counters.duplicated;
        assert_eq!(arrived.len() as u64, expected);
    }
    let wrong_bits = |p: &[u8]| -> u32 {
        let n = u32::from_be_bytes(p[..4].try_into().unwrap());
        numbered(n, p.len())
            .iter()
            .zip(p)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum()
    };
    let harmed = out.iter().filter(|(_, p)| wrong_bits(p) > 0).count() as u64;
    // A bit of the number itself is not seen this way.
    assert!(harmed > 200 && harmed <= w.near.outgoing().corrupted);
    assert!(out.iter().all(|(_, p)| wrong_bits(p) <= 1));
}

#[test]
fn one_setting_does_not_move_anothers_throws() {
    let lost = |settings| {
        let (_, out, _) = run(settings);
        out.into_iter().map(|(_, p)| p).collect::<Vec<_>>()
    };
    assert_eq!(lost("loss=5%,seed=3"), lost("loss=5%,delay=2ms,seed=3"));
}

#[test]
fn reordered_packets_are_overtaken_and_late_by_no_more_than_asked() {
    let (w, out, _) = run("out.reorder=5%,late=100us,seed=2");
    let arrived: Vec<_> = out.iter().map(|(_, p)| p.clone()).collect();
    let order = numbers(&arrived);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        (0..10_000).collect::<Vec<_>>(),
        "none lost, none twice"
    );
    let overtaken = order.windows(2).filter(|w| w[0] > w[1]).count();
    assert!(overtaken > 200, "{overtaken}");
    assert!((400..600).contains(&w.near.outgoing().reordered));
    assert_eq!(w.near.incoming().reordered, 0);
    for (at, p) in &out {
        let sent = us(u64::from(numbers(std::slice::from_ref(p))[0]) * 10);
        // Looked at each 10 us.
        assert!(at.since(sent) <= Duration::from_micros(110));
    }
}

#[test]
fn delay_is_exact_and_jitter_keeps_the_order() {
    let mut w = World::new("delay=10ms");
    w.send(us(5), 1, 100);
    w.send_back(us(7), 2, 100);
    assert_eq!(w.arrived_back(us(7), 1), Vec::<Vec<u8>>::new());
    assert_eq!(w.near.next_event(), Some(us(10_005)));
    assert!(w.arrived(us(10_004)).is_empty());
    assert_eq!(numbers(&w.arrived(us(10_005))), [1]);
    assert_eq!(w.near.next_event(), Some(us(10_007)));
    assert_eq!(numbers(&w.arrived_back(us(10_007), 1)), [2]);
    assert_eq!(w.near.next_event(), None);
    w.assert_balanced();

    let (_, out, _) = run("jitter=1ms");
    let order: Vec<_> = out.iter().map(|(_, p)| p.clone()).collect();
    assert_eq!(numbers(&order), (0..10_000).collect::<Vec<_>>());
    let longest = out
        .iter()
        .zip(0u64..)
        .map(|((at, _), n)| at.since(us(n * 10)))
        .max()
        .unwrap();
    assert!(longest > Duration::from_micros(900) && longest <= Duration::from_millis(1));
}

#[test]
fn the_rate_limit_spaces_and_its_queue_overflows() {
    // 125 bytes at 1 Mbit/s take 1 ms.
    let mut w = World::new("out.rate=1Mbit,queue=5");
    for n in 0..8 {
        w.send(Instant::ZERO, n, 125);
    }
    assert_eq!(w.near.outgoing().overflowed, 3);
    for n in 0..5u32 {
        let at = Instant::from_millis(u64::from(n) + 1);
        assert_eq!(w.near.next_event(), Some(at));
        assert!(w.arrived(at - Duration::from_nanos(1)).is_empty());
        assert_eq!(numbers(&w.arrived(at)), [n]);
    }
    // The line was idle meanwhile: no credit is kept for that.
    w.send(Instant::from_millis(100), 9, 125);
    assert_eq!(w.near.next_event(), Some(Instant::from_millis(101)));
    assert_eq!(numbers(&w.arrived(Instant::from_millis(101))), [9]);
    w.assert_balanced();
}

#[test]
fn what_is_held_back_has_a_bound() {
    let mut w = World::new("in.delay=1s");
    for n in 0..settings::MAX_QUEUE as u32 + 10 {
        w.send_back(Instant::ZERO, n, 64);
        assert!(w.arrived_back(Instant::ZERO, 64).is_empty());
    }
    assert_eq!(w.near.incoming().overflowed, 10);
    let mut arrived = 0;
    while w.near.next_event().is_some() {
        // No more than asked for, also when more is due.
        arrived += w.arrived_back(Instant::from_millis(1000), 100).len();
    }
    assert_eq!(arrived, settings::MAX_QUEUE);
    w.assert_balanced();
}

#[test]
fn a_frame_that_may_be_sent_again_is_never_harmed() {
    let mut w = World::new("out.corrupt=100%,out.delay=1ms");
    let mut packet = w.near_pool.alloc().unwrap();
    packet.set_range(crate::frame::PACKET_START, 4);
    w.near_pool.bytes_mut(&mut packet).copy_from_slice(b"keep");
    let mut held = w.near_pool.hold(packet);
    let desc = w.near_pool.transmit_held(&mut held).unwrap();
    w.near
        .transmit(Instant::ZERO, &mut w.near_pool, &mut VecDeque::from([desc]));
    assert_eq!(
        w.near_pool.held_mut(&mut held).unwrap(),
        b"keep",
        "and free to change at once"
    );
    let arrived = w.arrived(Instant::from_millis(1));
    assert_eq!(arrived.len(), 1);
    assert_ne!(arrived[0], b"keep");
    w.near_pool.release(held);
    w.assert_balanced();
}

#[test]
fn a_full_link_below_pushes_back() {
    let (near, mut far) = MemoryLink::pair(2).unwrap();
    let mut near = FaultLink::new(near, &"loss=0%".parse().unwrap());
    let mut near_pool = Pool::new(Region::anonymous(1024, 2048));
    let mut far_pool = Pool::new(Region::anonymous(1024, 2048));
    let mut queue: VecDeque<_> = (0..600)
        .flat_map(|n| to_send(&mut near_pool, &numbered(n, 64)))
        .collect();
    let mut arrived = Vec::new();
    for _ in 0..1000 {
        near.transmit(Instant::ZERO, &mut near_pool, &mut queue);
        if arrived.is_empty() {
            assert!(
                queue.len() >= 600 - BURST - 2,
                "no more than a burst is taken"
            );
            assert_eq!(near.next_event(), Some(Instant::ZERO));
        }
        let mut got = Vec::new();
        far.receive(Instant::ZERO, &mut far_pool, &mut got, 64);
        arrived.extend(take(&mut far_pool, got));
    }
    assert_eq!(numbers(&arrived), (0..600).collect::<Vec<_>>());
    assert_eq!(near.next_event(), None);
    assert_eq!(near_pool.ledger().pool, 1024);
}

#[test]
fn frames_of_several_chunks_are_judged_as_one() {
    let mut w = World::new("loss=20%,dup=10%,reorder=10%,delay=1ms,corrupt=20%,seed=9");
    for n in 0..60u32 {
        w.send(us(n.into()), n, 5000);
        w.send_back(us(n.into()), n, 9000);
    }
    let later = Instant::from_millis(100);
    // Those that came in are judged now, and are due later.
    assert!(w.arrived_back(us(60), 5000).is_empty());
    let (out, back) = (w.arrived(later), w.arrived_back(later, 5000));
    for (frames, len, counters) in [
        (out, 5000, w.near.outgoing()),
        (back, 9000, w.near.incoming()),
    ] {
        let came = counters.packets - counters.lost + counters.duplicated;
        assert_eq!((counters.packets, frames.len() as u64), (60, came));
        assert!(frames.iter().all(|frame| frame.len() == len));
        let bad = |frame: &&Vec<u8>| frame[4..].iter().any(|byte| *byte != 0x55);
        let bad = frames.iter().filter(bad).count() as u64;
        assert!(bad > 0 && bad <= counters.corrupted, "{counters:?}");
    }
    w.assert_balanced();
}

#[test]
fn an_empty_pool_only_delays() {
    let mut w = World::new("delay=1ms");
    w.send_back(Instant::ZERO, 1, 64);
    assert!(w.arrived_back(Instant::ZERO, 8).is_empty());
    w.send(Instant::ZERO, 2, 64);
    let hoard: Vec<_> = std::iter::from_fn(|| w.near_pool.alloc()).collect();
    let later = Instant::from_millis(2);
    assert!(w.arrived_back(later, 8).is_empty() && w.arrived(later).is_empty());
    assert_eq!(w.near.next_event(), Some(Instant::from_millis(1)));
    hoard.into_iter().for_each(|p| w.near_pool.free(p));
    assert_eq!(numbers(&w.arrived_back(later, 8)), [1]);
    assert_eq!(numbers(&w.arrived(later)), [2]);
    w.assert_balanced();
}
