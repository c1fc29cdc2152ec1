use proptest::prelude::*;

use super::*;

/// A packet of each kind, byte by byte.
#[test]
fn headers_are_laid_out_as_bep_29_draws_them() {
    let header = Header {
        kind: Kind::Syn,
        conn_id: 0x1234,
        timestamp: 0x0102_0304,
        timestamp_diff: 0,
        window: 0x0010_0000,
        seq: SeqNr(1),
        ack: SeqNr(0),
        ..Header::default()
    };
    let mut out = [0xee; HEADER_LEN];
    assert_eq!(header.emit(&mut out, &[]), 20);
    let syn = [
        0x41, 0x00, 0x12, 0x34, 0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00,
        0x00, 0x00, 0x01, 0x00, 0x00,
    ];
    assert_eq!(out, syn);
    assert_eq!(Header::parse(&syn), Ok(Header { len: 20, ..header }));
    for (kind, first) in [
        (Kind::Data, 0x01),
        (Kind::Fin, 0x11),
        (Kind::State, 0x21),
        (Kind::Reset, 0x31),
        (Kind::Syn, 0x41),
    ] {
        Header { kind, ..header }.emit(&mut out, &[]);
        assert_eq!(out[0], first);
        assert_eq!(Header::parse(&out).map(|h| h.kind), Ok(kind));
    }
}

/// Of ack_nr 4: packets 6, 8, 13 and 37 are there. Payload follows.
#[test]
fn a_selective_acknowledgement_lies_in_its_packet() {
    let packet = [
        0x01,
        0x01,
        0x00,
        0x02,
        0,
        0,
        0,
        5,
        0,
        0,
        0,
        6,
        0,
        0,
        0,
        7,
        0xff,
        0xff,
        0x00,
        0x04, //
        0x00,
        0x08,
        0b1000_0101,
        0,
        0,
        0,
        0b1000_0000,
        0,
        0,
        0, //
        b'd',
        b'a',
        b't',
        b'a',
    ];
    let h = Header::parse(&packet).unwrap();
    assert_eq!(
        (h.kind, h.seq, h.ack),
        (Kind::Data, SeqNr(0xffff), SeqNr(4))
    );
    assert_eq!((h.timestamp, h.timestamp_diff, h.window), (5, 6, 7));
    assert_eq!(&packet[usize::from(h.len)..], b"data");
    let bits = h.sack.of(&packet);
    let there: Vec<usize> = (0..100).filter(|&i| sack_bit(bits, i)).collect();
    assert_eq!(there, [0, 2, 7, 39]);
    let mut out = [0; 34];
    let sack = Extension {
        id: SELECTIVE_ACK,
        bytes: bits,
    };
    assert_eq!(Header::emit_len(&[sack]), 30);
    assert_eq!(h.emit(&mut out, &[sack]), 30);
    assert_eq!(out[..30], packet[..30]);
}

#[test]
fn every_length_of_a_selective_acknowledgement_is_taken() {
    for len in 0..=MAX_EXTENSION {
        let bits = vec![0x55; len];
        let sack = Extension {
            id: SELECTIVE_ACK,
            bytes: &bits,
        };
        let mut out = vec![0; Header::emit_len(&[sack])];
        Header::default().emit(&mut out, &[sack]);
        let h = Header::parse(&out).unwrap();
        assert_eq!(
            (h.sack.of(&out), usize::from(h.len)),
            (&bits[..], out.len())
        );
    }
}

/// A chain of what libtorrent sends, what is unknown, and what libutp sends.
#[test]
fn unknown_extensions_are_skipped_by_their_length() {
    let chain = [
        (99, &[1, 2, 3, 4, 5][..]),
        (CLOSE_REASON, &[0, 0, 1, 5]),
        (SELECTIVE_ACK, &[7, 0, 0, 0]),
        (SELECTIVE_ACK, &[9, 9, 9, 9]),
        (EXTENSION_BITS, &[0; 8]),
        (255, &[]),
    ]
    .map(|(id, bytes)| Extension { id, bytes });
    let mut out = vec![0; Header::emit_len(&chain)];
    Header::default().emit(&mut out, &chain);
    let h = Header::parse(&out).unwrap();
    assert_eq!(h.close_reason, Some(0x105));
    assert_eq!(h.sack.of(&out), [7, 0, 0, 0], "the first one counts");
    assert_eq!(usize::from(h.len), out.len());
    for cut in 0..out.len() {
        assert_eq!(Header::parse(&out[..cut]), Err(Error::Truncated), "{cut}");
    }
    // A close reason of another length is no close reason.
    let odd = [Extension {
        id: CLOSE_REASON,
        bytes: &[1, 2],
    }];
    Header::default().emit(&mut out, &odd);
    assert_eq!(Header::parse(&out).unwrap().close_reason, None);
}

#[test]
fn other_protocols_and_endless_chains_are_refused() {
    let mut packet = [0u8; 2000];
    Header::default().emit(&mut packet, &[]);
    for first in 0..=255u8 {
        packet[0] = first;
        let known = first & 0x0f == VERSION && first >> 4 <= 4;
        let expected = if known {
            Ok(20)
        } else {
            Err(Error::Unsupported)
        };
        assert_eq!(
            Header::parse(&packet).map(|h| h.len),
            expected,
            "{first:#x}"
        );
    }
    // Each of no length, as many as fit.
    packet[0] = 0x21;
    for byte in packet[1..].iter_mut().step_by(2) {
        *byte = 77;
    }
    packet[20..].fill(0);
    for id in packet[20..].iter_mut().step_by(2) {
        *id = 77;
    }
    assert_eq!(Header::parse(&packet), Err(Error::BadLength));
}

#[test]
fn no_delay_is_told_by_two_numbers() {
    let told = |timestamp_diff| {
        Header {
            timestamp_diff,
            ..Header::default()
        }
        .delay_sample()
    };
    assert_eq!([0, 0x7fff_ffff].map(told), [None, None]);
    assert_eq!(told(1), Some(1));
    assert_eq!(told(u32::MAX), Some(u32::MAX));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), valid: bool) {
        let mut bytes = bytes;
        if valid && let Some(first) = bytes.first_mut() {
            *first = (*first % 5) << 4 | VERSION;
        }
        if let Ok(h) = Header::parse(&bytes) {
            prop_assert!(usize::from(h.len) >= HEADER_LEN && usize::from(h.len) <= bytes.len());
            prop_assert!(h.sack.end() <= usize::from(h.len));
            prop_assert!(h.sack.len() <= MAX_EXTENSION);
        }
    }

    #[test]
    fn what_is_written_is_read(
        kind in 0u8..5,
        conn_id: u16, timestamp: u32, timestamp_diff: u32, window: u32, seq: u16, ack: u16,
        chain in proptest::collection::vec((1u8.., proptest::collection::vec(any::<u8>(), 0..256)), 0..8),
    ) {
        let kind = [Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn][usize::from(kind)];
        let header = Header {
            kind, conn_id, timestamp, timestamp_diff, window,
            seq: SeqNr(seq), ack: SeqNr(ack), ..Header::default()
        };
        let chain: Vec<Extension<'_>> =
            chain.iter().map(|(id, bytes)| Extension { id: *id, bytes }).collect();
        let mut out = vec![0; Header::emit_len(&chain)];
        prop_assert_eq!(header.emit(&mut out, &chain), out.len());
        let read = Header::parse(&out).unwrap();
        prop_assert_eq!(usize::from(read.len), out.len());
        let sack = chain.iter().find(|e| e.id == SELECTIVE_ACK && !e.bytes.is_empty());
        prop_assert_eq!(read.sack.of(&out), sack.map_or(&[][..], |e| e.bytes));
        let bare = Header { sack: Span::default(), close_reason: None, len: 0, ..read };
        prop_assert_eq!(bare, header);
    }

    #[test]
    fn sequence_numbers_wrap(from: u16, n in 0u16..0x8000) {
        let (a, b) = (SeqNr(from), SeqNr(from).plus(n));
        prop_assert_eq!(b.distance(a), i32::from(n));
        prop_assert_eq!(b.minus(n), a);
        prop_assert_eq!((a.lt(b), a.le(b), b.lt(a)), (n > 0, true, false));
    }
}
