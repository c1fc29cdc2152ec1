use proptest::prelude::*;

use super::*;

fn blocks(list: &[(u32, u32)]) -> SackBlocks {
    let mut sack = SackBlocks::default();
    for &(left, right) in list {
        assert!(sack.push(SeqNumber(left), SeqNumber(right)));
    }
    sack
}

#[test]
fn sequence_numbers_wrap() {
    let before = SeqNumber(u32::MAX - 9);
    let after = before + 20;
    assert_eq!(after, SeqNumber(10));
    assert_eq!(after - 20, before);
    assert_eq!(after.distance(before), 20);
    assert_eq!(before.distance(after), -20);
    assert!(before.lt(after) && before.le(after) && after.gt(before) && after.ge(before));
    assert!(before.le(before) && before.ge(before) && !before.lt(before) && !before.gt(before));
    assert_eq!(before.max(after), after);
    assert_eq!(before.min(after), before);
    // Half the space apart: no panic, and a definite answer.
    assert_eq!(SeqNumber(1 << 31).distance(SeqNumber(0)), i32::MIN);
}

#[test]
fn flags_print_their_names() {
    assert_eq!(format!("{:?}", Flags::SYN | Flags::ACK), "SYN|ACK");
    assert_eq!(format!("{:?}", Flags::NONE), "-");
    assert_eq!(
        format!("{:?}", Flags(0xff)),
        "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR"
    );
    assert!(Flags(0x12).contains(Flags::SYN | Flags::ACK));
    assert!(!Flags::SYN.contains(Flags::SYN | Flags::ACK));
    assert!(Flags::SYN.intersects(Flags::SYN | Flags::ACK));
}

const SYN: [u8; 40] = [
    0x9c, 0x40, 0x00, 0x50, // ports 40000, 80
    0x01, 0x02, 0x03, 0x04, // seq
    0x00, 0x00, 0x00, 0x00, // ack
    0xa0, 0x02, 0xfa, 0xf0, // offset 10, SYN, window 64240
    0x00, 0x00, 0x00, 0x00, // checksum, urgent
    0x02, 0x04, 0x05, 0xb4, // mss 1460
    0x04, 0x02, 0x08, 0x0a, // sackOK, TS
    0xde, 0xad, 0xbe, 0xef, // val
    0x00, 0x00, 0x00, 0x00, // ecr
    0x01, 0x03, 0x03, 0x07, // nop, wscale 7
];

fn syn_header() -> Header {
    Header {
        src_port: 40000,
        dst_port: 80,
        seq: SeqNumber(0x0102_0304),
        flags: Flags::SYN,
        window: 64240,
        options: Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                val: 0xdead_beef,
                ecr: 0,
            }),
            ..Options::default()
        },
        ..Header::default()
    }
}

#[test]
fn syn_has_the_layout_of_linux() {
    let mut out = [0xee; 60];
    assert_eq!(syn_header().emit(&mut out), 40);
    assert_eq!(out[..40], SYN);
    assert_eq!(out[40..], [0xee; 20]);
    assert_eq!(Header::parse(&SYN), Ok((syn_header(), 40)));
}

/// The option bytes that are emitted for `options`.
fn emitted(options: Options) -> Vec<u8> {
    let header = Header {
        options,
        ..Header::default()
    };
    let mut out = vec![0; header.emit_len()];
    header.emit(&mut out);
    assert_eq!(usize::from(out[12] >> 4) * 4, out.len());
    out.split_off(HEADER_LEN)
}

#[test]
fn syn_without_timestamps() {
    let mut options = syn_header().options;
    options.timestamps = None;
    assert_eq!(emitted(options), [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
    options.sack_permitted = false;
    assert_eq!(emitted(options), [2, 4, 5, 0xb4, 1, 3, 3, 7]);
    options.window_scale = None;
    assert_eq!(emitted(options), [2, 4, 5, 0xb4]);
}

#[test]
fn data_segment_options() {
    let timestamps = Some(Timestamps { val: 1, ecr: 2 });
    let ts = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(
        emitted(Options {
            timestamps,
            ..Options::default()
        }),
        ts
    );
    let sack = blocks(&[(0x10, 0x20)]);
    let with_sack = [&ts[..], &[1, 1, 5, 10, 0, 0, 0, 0x10, 0, 0, 0, 0x20]].concat();
    assert_eq!(
        emitted(Options {
            timestamps,
            sack,
            ..Options::default()
        }),
        with_sack
    );
    assert_eq!(
        emitted(Options {
            sack,
            ..Options::default()
        }),
        with_sack[12..]
    );
}

#[test]
fn blocks_that_find_no_room_are_dropped() {
    let four = [(1, 2), (3, 4), (5, 6), (7, 8)];
    let mut sack = blocks(&four);
    assert!(!sack.push(SeqNumber(9), SeqNumber(10)));
    assert_eq!(sack, blocks(&four));
    let alone = emitted(Options {
        sack,
        ..Options::default()
    });
    assert_eq!((alone.len(), alone[3]), (36, 34));
    let timestamps = Some(Timestamps::default());
    let beside = emitted(Options {
        sack,
        timestamps,
        ..Options::default()
    });
    assert_eq!((beside.len(), beside[15]), (40, 26));
    assert_eq!(Options::parse(&beside).sack, blocks(&four[..3]));
    let crowded = emitted(Options {
        sack,
        ..syn_header().options
    });
    assert_eq!((crowded.len(), crowded[23]), (40, 18));
}

fn with_options(area: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; HEADER_LEN];
    segment.extend(area);
    segment.resize(segment.len().next_multiple_of(4), 0);
    segment[12] = (segment.len() as u8 / 4) << 4;
    segment
}

#[test]
fn hostile_options() {
    let parse = |area: &[u8]| Header::parse(&with_options(area)).unwrap().0.options;
    let mss = Options {
        mss: Some(9),
        ..Options::default()
    };
    // Unknown options are skipped by their length.
    assert_eq!(parse(&[254, 6, 1, 2, 3, 4, 2, 4, 0, 9]), mss);
    // After the end of options nothing counts.
    assert_eq!(parse(&[0, 2, 4, 0, 9]), Options::default());
    // Lengths of zero and one, and beyond the area, end the reading; what
    // came before stands.
    for bad in [[99, 0], [99, 1], [99, 40], [8, 200]] {
        assert_eq!(parse(&[&[2, 4, 0, 9][..], &bad, &[3, 3]].concat()), mss);
    }
    // Known kinds of a wrong length are ignored, and reading goes on.
    for wrong in [
        &[2, 3, 1][..],
        &[3, 4, 1, 1],
        &[4, 3, 1],
        &[8, 4, 1, 1],
        &[5, 5, 1, 1, 1],
    ] {
        assert_eq!(parse(&[wrong, &[2, 4, 0, 9]].concat()), mss, "{wrong:?}");
    }
    // A shift above 14 is reported as it is.
    assert_eq!(parse(&[3, 3, 255]).window_scale, Some(255));
    // A lone kind at the very end.
    assert_eq!(parse(&[1, 1, 1, 2]), Options::default());
}

#[test]
fn bad_headers() {
    assert_eq!(Header::parse(&[0; 19]), Err(Error::Truncated));
    let mut segment = [0; 24];
    segment[12] = 0x40;
    assert_eq!(Header::parse(&segment), Err(Error::BadLength));
    segment[12] = 0x70;
    assert_eq!(Header::parse(&segment), Err(Error::Truncated));
    segment[12] = 0x6f; // reserved bits are ignored
    assert_eq!(Header::parse(&segment).map(|(_, len)| len), Ok(24));
}

prop_compose! {
    fn any_options()(
        mss in any::<Option<u16>>(),
        window_scale in any::<Option<u8>>(),
        sack_permitted in any::<bool>(),
        timestamps in any::<Option<(u32, u32)>>(),
        sack in prop::collection::vec(any::<(u32, u32)>(), 0..=4),
    ) -> Options {
        Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps: timestamps.map(|(val, ecr)| Timestamps { val, ecr }),
            sack: blocks(&sack),
        }
    }
}

prop_compose! {
    fn any_header()(
        ports in any::<(u16, u16)>(),
        numbers in any::<(u32, u32)>(),
        flags in any::<u8>(),
        window in any::<u16>(),
        urgent in any::<u16>(),
        options in any_options(),
    ) -> Header {
        Header {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNumber(numbers.0),
            ack: SeqNumber(numbers.1),
            flags: Flags(flags),
            window,
            urgent,
            options,
        }
    }
}

proptest! {
    #[test]
    fn round_trip(mut header in any_header()) {
        let mut out = [0xee; 60];
        let len = header.emit(&mut out);
        prop_assert_eq!(len, header.emit_len());
        prop_assert!(len % 4 == 0 && len <= 60);
        prop_assert!(out[len..].iter().all(|&b| b == 0xee));
        let kept = header.options.sack_emitted();
        header.options.sack = blocks(&header.options.sack.iter().take(kept).map(|(l, r)| (l.0, r.0)).collect::<Vec<_>>());
        prop_assert_eq!(Header::parse(&out[..len]), Ok((header, len)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok((_, len)) = Header::parse(&bytes) {
            prop_assert!((20..=60).contains(&len) && len <= bytes.len());
        }
        Options::parse(&bytes);
    }
}
