//! uTP's header: no bytes make the parser panic or answer a range outside of
//! them, and what is written is read back.

use fullbore::wire::utp::{Extension, HEADER_LEN, Header, Kind, SELECTIVE_ACK, sack_bit};

use super::input::Input;

pub fn run(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    if how & 1 == 0 {
        read(bytes);
    } else {
        write(&mut Input::new(bytes));
    }
}

fn read(bytes: &[u8]) {
    let Ok(h) = Header::parse(bytes) else {
        return;
    };
    let len = usize::from(h.len);
    assert!((HEADER_LEN..=bytes.len()).contains(&len));
    let sack = h.sack.of(bytes);
    assert!(sack.len() <= 255);
    assert!(sack.is_empty() || h.sack.end() <= len);
    for bit in 0..sack.len() * 8 + 16 {
        let set = sack_bit(sack, bit);
        assert!(!set || bit < sack.len() * 8);
    }
    // What is behind the headers is payload, and means nothing to them.
    assert_eq!(Header::parse(&bytes[..len]), Ok(h));
    for short in 0..len {
        assert!(Header::parse(&bytes[..short]).is_err(), "{short} of {len}");
    }
    again(&h, sack);
}

/// What is read is written and read again.
fn again(h: &Header, sack: &[u8]) {
    let content = [Extension {
        id: SELECTIVE_ACK,
        bytes: sack,
    }];
    let extensions = if sack.is_empty() {
        &[][..]
    } else {
        &content[..]
    };
    let mut out = vec![0xa5; Header::emit_len(extensions)];
    assert_eq!(h.emit(&mut out, extensions), out.len());
    let read = Header::parse(&out).expect("what was written");
    let plain = |h: &Header| Header {
        sack: Default::default(),
        close_reason: None,
        len: 0,
        ..*h
    };
    assert_eq!(plain(&read), plain(h));
    assert_eq!(read.sack.of(&out), sack);
    assert_eq!(usize::from(read.len), out.len());
    assert_eq!(read.delay_sample(), h.delay_sample());
}

fn write(i: &mut Input<'_>) {
    let kinds = [Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn];
    let header = Header {
        kind: i.pick(&kinds),
        conn_id: i.u16(),
        timestamp: i.u32(),
        timestamp_diff: i.u32(),
        window: i.u32(),
        seq: fullbore::wire::utp::SeqNr(i.u16()),
        ack: fullbore::wire::utp::SeqNr(i.u16()),
        ..Header::default()
    };
    let mut extensions = Vec::new();
    for _ in 0..i.below(70) {
        let id = i.u8().max(1);
        let len = usize::from(i.u8());
        extensions.push(Extension {
            id,
            bytes: i.bytes(len),
        });
    }
    let mut out = vec![0xa5; Header::emit_len(&extensions)];
    assert_eq!(header.emit(&mut out, &extensions), out.len());
    match Header::parse(&out) {
        Ok(read) => {
            assert!(extensions.len() <= 64);
            assert_eq!(usize::from(read.len), out.len());
            let first = extensions
                .iter()
                .find(|e| e.id == SELECTIVE_ACK && !e.bytes.is_empty());
            assert_eq!(read.sack.of(&out), first.map_or(&[][..], |e| e.bytes));
        }
        Err(_) => assert!(extensions.len() > 64),
    }
}
