//! Datagrams.

use super::*;

#[test]
fn udp_checksums() {
    for v6 in [false, true] {
        let good = udp_frame(v6);
        let at = if v6 { 54 } else { 34 };
        let payload = |frame: &[u8]| {
            parse_frame(frame, true).map(|parsed| match parsed {
                Parsed::Udp { payload, .. } => payload.of(frame).to_vec(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(payload(&good), Ok(b"abc".to_vec()));
        let mut bad = good.clone();
        bad[at + 8] ^= 1;
        assert_eq!(payload(&bad), Err(Error::BadChecksum));
        // None at all: fine over IPv4 only.
        bad[at + 6..at + 8].copy_from_slice(&[0, 0]);
        let expected = if v6 {
            Err(Error::BadChecksum)
        } else {
            Ok(b"`bc".to_vec())
        };
        assert_eq!(payload(&bad), expected);
        // Lengths: below the header, beyond the packet, and short of it.
        for (len, expected) in [
            (7, Err(Error::BadLength)),
            (12, Err(Error::Truncated)),
            (11, Ok(b"abc".to_vec())),
        ] {
            let mut frame = good.clone();
            frame[at + 5] = len;
            assert_eq!(payload(&frame), expected);
        }
        let mut short = good.clone();
        short[at + 5] = 9;
        match parse_frame(&short, false) {
            Ok(Parsed::Udp { payload, .. }) => assert_eq!(payload.of(&short), b"a"),
            other => panic!("{other:?}"),
        }
    }
    let to_the_byte = hex("0001 0002 000b b76e 616263");
    assert_eq!(udp_frame(false)[34..], to_the_byte);
}

#[test]
fn udp_checksum_of_zero_is_sent_as_ones() {
    let header = udp::Header {
        src_port: 0,
        dst_port: 0,
        checksum: 0,
    };
    let mut out = [0; 8];
    // The length field adds 8; this pseudo sum brings the total to all ones.
    header.emit(&mut out, Sum::word(0xffff - 8), 0, Sum::ZERO);
    assert_eq!(out[6..], [0xff, 0xff]);
}
