//! The capture of a memory link, read back.

use super::*;
use crate::frame::{PACKET_START, Region};
use crate::link::MemoryLink;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::process::Command;

fn pool(chunks: u32) -> Pool {
    Pool::new(Region::anonymous(chunks, 2048))
}

fn packet(pool: &mut Pool, bytes: &[u8]) -> TxDesc {
    let mut packet = pool.alloc().unwrap();
    packet.set_range(PACKET_START, bytes.len() as u16);
    pool.bytes_mut(&mut packet).copy_from_slice(bytes);
    pool.transmit(packet)
}

/// An Ethernet frame with nothing that Wireshark knows in it.
fn frame(n: u8) -> Vec<u8> {
    let mut bytes = vec![n; 60];
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// 1,700,000,000 s after 1970.
fn origin() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// Ping-pongs five frames over a captured link.
fn exchange(capture: &Capture) {
    let (near, mut far) = MemoryLink::pair(8).unwrap();
    let mut near = capture.tap(near, "veth0 queue 0", origin());
    let (mut near_pool, mut far_pool) = (pool(8), pool(8));
    for n in 0..5u8 {
        let now = Instant::from_nanos(1_000_000_001 * u64::from(n));
        let mut queue = VecDeque::from([packet(&mut near_pool, &frame(n))]);
        near.transmit(now, &mut near_pool, &mut queue);
        let mut got = Vec::new();
        far.receive(now, &mut far_pool, &mut got, 8);
        let mut back = got.drain(..).map(|p| far_pool.transmit(p)).collect();
        far.transmit(now, &mut far_pool, &mut back);
        near.receive(now + Duration::from_nanos(5), &mut near_pool, &mut got, 8);
        assert_eq!(got.len(), 1);
        got.drain(..).for_each(|p| near_pool.free(p));
    }
    assert_eq!((near_pool.ledger().pool, far_pool.ledger().pool), (8, 8));
}

#[test]
fn both_directions_are_in_the_file_to_the_nanosecond() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wire.pcapng");
    let capture = Capture::create(&path).unwrap();
    exchange(&capture);
    exchange(&capture);
    assert_eq!(
        capture.finish().unwrap(),
        CaptureSummary {
            written: 20,
            missing: 0
        }
    );

    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let (mut interfaces, mut packets) = (0, 0u64);
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(_) => interfaces += 1,
            Block::EnhancedPacket(p) => {
                let (n, way) = ((packets / 2) % 5, packets % 2);
                let since = Duration::from_nanos(1_000_000_001 * n + 5 * way);
                assert_eq!(p.timestamp, Duration::from_secs(1_700_000_000) + since);
                assert_eq!(p.data, frame(n as u8));
                assert_eq!(u64::from(p.interface_id), packets / 10);
                let flags = if way == 0 { 0b10 } else { 0b01 };
                assert_eq!(p.options, [EnhancedPacketOption::Flags(flags)]);
                packets += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((interfaces, packets), (2, 20));
}

/// The standard output of a program that reads `path`; `None` if it is not
/// installed.
fn read_with(program: &str, arguments: &[&str], path: &Path) -> Option<String> {
    let output = match Command::new(program)
        .arg("-r")
        .arg(path)
        .args(arguments)
        .output()
    {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn other_tools_read_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wire.pcapng");
    let capture = Capture::create(&path).unwrap();
    exchange(&capture);
    capture.finish().unwrap();

    match read_with("tcpdump", &["--nano", "-tt", "-n"], &path) {
        None => assert!(
            std::env::var_os("FULLBORE_PRIVILEGED").is_none(),
            "tcpdump is missing: scripts/prerequisites installs it"
        ),
        Some(text) => {
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(
                lines.iter().filter(|l| l.starts_with("17000000")).count(),
                10,
                "{text}"
            );
            assert!(text.contains("1700000001.000000001 "), "{text}");
            assert!(text.contains("1700000004.000000009 "), "{text}");
        }
    }

    let fields = "-e frame.time_epoch -e frame.len -e frame.packet_flags_direction \
                  -e frame.interface_name";
    let mut arguments = vec!["-T", "fields"];
    arguments.extend(fields.split_whitespace());
    if let Some(text) = read_with("tshark", &arguments, &path) {
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 10, "{text}");
        assert_eq!(
            lines[2],
            "1700000001.000000001\t60\t0x00000002\tveth0 queue 0"
        );
        assert_eq!(
            lines[3],
            "1700000001.000000006\t60\t0x00000001\tveth0 queue 0"
        );
    }
}

#[test]
fn what_a_full_link_leaves_in_the_queue_is_captured_once() {
    let directory = tempfile::tempdir().unwrap();
    let capture = Capture::create(&directory.path().join("wire.pcapng")).unwrap();
    let (near, mut far) = MemoryLink::pair(2).unwrap();
    let mut near = capture.tap(near, "near", origin());
    let (mut near_pool, mut far_pool) = (pool(8), pool(8));
    let mut queue: VecDeque<_> = (0..5).map(|n| packet(&mut near_pool, &frame(n))).collect();
    let mut got = Vec::new();
    while !queue.is_empty() {
        near.transmit(Instant::ZERO, &mut near_pool, &mut queue);
        far.receive(Instant::ZERO, &mut far_pool, &mut got, 8);
    }
    got.drain(..).for_each(|p| far_pool.free(p));
    assert_eq!(
        capture.finish().unwrap(),
        CaptureSummary {
            written: 5,
            missing: 0
        }
    );
    // A link that outlives its capture goes on.
    queue.push_back(packet(&mut near_pool, &frame(6)));
    near.transmit(Instant::ZERO, &mut near_pool, &mut queue);
    assert_eq!(far.receive(Instant::ZERO, &mut far_pool, &mut got, 8), 1);
    got.drain(..).for_each(|p| far_pool.free(p));
    assert_eq!(near.missing, 1);
}

/// A file that takes nothing until told, and everything or nothing then.
struct Stubborn {
    /// The section's header is let through at once.
    writes: u32,
    gate: Receiver<()>,
    fails: bool,
}

impl Write for Stubborn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if self.writes > 1 {
            let _ = self.gate.recv();
            if self.fails {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stubborn(fails: bool) -> (Capture, Sender<()>) {
    let (open, gate) = bounded(0);
    (
        Capture::start(Stubborn {
            writes: 0,
            gate,
            fails,
        })
        .unwrap(),
        open,
    )
}

fn flood(capture: &Capture, packets: u64) {
    let (near, far) = MemoryLink::pair(1).unwrap();
    drop(far);
    let mut near = capture.tap(near, "flood", origin());
    let mut pool = pool(1);
    for n in 0..packets {
        let mut queue = VecDeque::from([packet(&mut pool, &frame(n as u8))]);
        near.transmit(Instant::from_nanos(n), &mut pool, &mut queue);
        assert!(queue.is_empty());
    }
}

#[test]
fn a_slow_file_costs_packets_not_time() {
    let (capture, open) = stubborn(false);
    let packets = 4 * QUEUE as u64;
    flood(&capture, packets);
    let missing = capture.missing();
    // What the writer's buffer and the queue hold, and no more.
    assert!(missing >= packets / 2 - 100, "{missing} missing");
    drop(open);
    let summary = capture.finish().unwrap();
    assert_eq!(summary.missing, missing);
    assert_eq!(summary.written + summary.missing, packets);
}

#[test]
fn a_failing_file_ends_the_capture_with_its_reason() {
    let (capture, open) = stubborn(true);
    flood(&capture, 10);
    drop(open);
    while !capture.shared.closed.load(Ordering::Relaxed) {
        thread::sleep(PERIOD);
    }
    flood(&capture, 3);
    assert!(capture.missing() >= 3);
    assert_eq!(
        capture.finish().unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_at_once() {
    let error = Capture::create(Path::new("/nonexistent/wire.pcapng"))
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_frame_of_several_chunks_is_one_packet() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wire.pcapng");
    let capture = Capture::create(&path).unwrap();
    let (near, mut far) = MemoryLink::pair(1).unwrap();
    let mut near = capture.tap(near, "jumbo", origin());
    let (mut near_pool, mut far_pool) = (pool(16), pool(16));
    let chain = |pool: &mut Pool, n: u8| {
        [true, true, false].map(|continues| {
            let mut desc = packet(pool, &[n; 1000]);
            desc.set_continues(continues);
            desc
        })
    };
    // Two frames behind each other, of which the link takes one at a time.
    let mut queue: VecDeque<_> = (1..3).flat_map(|n| chain(&mut near_pool, n)).collect();
    let mut got = Vec::new();
    while !queue.is_empty() {
        near.transmit(Instant::ZERO, &mut near_pool, &mut queue);
        far.receive(Instant::ZERO, &mut far_pool, &mut got, 8);
    }
    let mut back = got.drain(..).map(|p| far_pool.transmit(p)).collect();
    far.transmit(Instant::ZERO, &mut far_pool, &mut back);
    near.receive(Instant::ZERO, &mut near_pool, &mut got, 8);
    got.drain(..).for_each(|p| near_pool.free(p));
    back.drain(..).for_each(|d| far_pool.complete(d));
    assert_eq!((near_pool.ledger().pool, far_pool.ledger().pool), (16, 16));
    assert_eq!(capture.finish().unwrap().written, 3);

    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let mut lengths = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(p) = block.unwrap() {
            lengths.push(p.data.iter().map(|&n| usize::from(n)).sum::<usize>());
        }
    }
    assert_eq!(lengths, [3000, 6000, 3000]);
}
