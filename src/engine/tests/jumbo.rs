//! Frames that are longer than a chunk.

use super::*;
use crate::link::{FaultLink, FaultSettings};
use crate::stats::DropReason;

fn jumbo(ip: &str, mtu: u16) -> Host {
    let mut host = host(ip);
    host.mtu = mtu;
    host
}

/// Echoes `bytes` over links with `faults`; answers the two ends.
fn echo(
    mtus: [u16; 2],
    bytes: usize,
    faults: &str,
) -> (
    Engine<FaultLink<MemoryLink>, Echo>,
    Engine<FaultLink<MemoryLink>, Client>,
) {
    let (near, far) = MemoryLink::pair(1024).unwrap();
    let settings: FaultSettings = faults.parse().unwrap();
    let near = FaultLink::new(near, &settings);
    let far = FaultLink::new(far, &"".parse().unwrap());
    let mut server = jumbo(SERVER, mtus[0]).build(near, Echo::new()).unwrap();
    let mut client = jumbo(CLIENT, mtus[1])
        .build(far, Client::new(bytes))
        .unwrap();
    let mut world = World::default();
    client.with(|app, cx| app.open(cx));
    let end = world.now() + 600 * SECOND;
    while client.app().ends.is_empty() || server.app().closed.is_empty() {
        assert!(world.now() < end, "no end with {faults}");
        world.step(&mut [&mut server as &mut dyn Turns, &mut client]);
    }
    assert_eq!(client.app().ends, [Reason::Finished], "{faults}");
    world.settle(&mut [&mut server, &mut client], 61 * SECOND);
    for ledger in [server.ledger(), client.ledger()] {
        assert_eq!(ledger.outstanding(), 0, "{ledger} with {faults}");
    }
    (server, client)
}

#[test]
fn segments_are_as_long_as_the_mtu() {
    for mtu in [1500, 1774, 1775, 3000, 4500, 9000, 16_000, 65_535] {
        let (server, client) = echo([mtu, mtu], 1 << 20, "");
        let tcp = client.stack().tcp_counters();
        assert_eq!(tcp.retransmits, 0, "MTU {mtu}");
        // Of several chunks, 16 at most, of which a fifth may be left.
        let most = (u64::from(mtu) - 52).min(16 * (1792 - 66));
        // Acknowledgements and the ends of bursts are shorter.
        let each = tcp.bytes_in / tcp.segments_out;
        let least = most / 4;
        assert!(
            (least..=most).contains(&each),
            "{each} bytes a segment of {most}"
        );
        // One at the end may find no connection.
        let received = server.stack().tcp_counters().segments_in;
        assert!(received <= tcp.segments_out && received + 2 >= tcp.segments_out);
    }
}

#[test]
fn ends_with_different_mtus_agree_on_the_smaller() {
    for mtus in [[1500, 9000], [9000, 1500], [9000, 4000]] {
        let (server, client) = echo(mtus, 300_000, "");
        assert_eq!(client.stack().tcp_counters().retransmits, 0);
        assert_eq!(server.stack().drops().total(), 0, "{mtus:?}");
    }
}

#[test]
fn what_is_lost_of_long_segments_comes_again() {
    let (mut again, mut corrupt) = (0, 0);
    for seed in 0..12 {
        let faults =
            format!("loss=2%,dup=1%,reorder=3%,corrupt=1%,delay=200us,jitter=100us,seed={seed}");
        let mtu = [9000, 3000, 20_000, 65_535][seed % 4];
        let (server, client) = echo([mtu, mtu], 400_000, &faults);
        again += client.stack().tcp_counters().retransmits;
        corrupt += client.stack().drops()[DropReason::TcpChecksum];
        corrupt += server.stack().drops()[DropReason::TcpChecksum];
    }
    assert!(
        again > 20 && corrupt > 5,
        "{again} sent again, {corrupt} corrupt"
    );
}
