//! The answer to a segment that belongs to no connection.

use crate::wire::tcp::{Flags, Header, SeqNumber};

/// The reset for `header`, which brought `payload_len` bytes of payload to a
/// port on which there is no connection (RFC 9293 section 3.10.7.1). `None`
/// if it was a reset itself.
#[must_use]
pub fn reset_for(header: &Header, payload_len: usize) -> Option<Header> {
    if header.flags.contains(Flags::RST) {
        return None;
    }
    let mut reset = Header {
        src_port: header.dst_port,
        dst_port: header.src_port,
        flags: Flags::RST,
        ..Header::default()
    };
    if header.flags.contains(Flags::ACK) {
        reset.seq = header.ack;
    } else {
        let len = payload_len as u32
            + u32::from(header.flags.contains(Flags::SYN))
            + u32::from(header.flags.contains(Flags::FIN));
        reset.seq = SeqNumber(0);
        reset.ack = header.seq + len;
        reset.flags = Flags::RST | Flags::ACK;
    }
    Some(reset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_rfc_says() {
        let syn = Header {
            src_port: 4000,
            dst_port: 80,
            seq: SeqNumber(7),
            flags: Flags::SYN,
            ..Header::default()
        };
        let r = reset_for(&syn, 0).unwrap();
        assert_eq!((r.src_port, r.dst_port), (80, 4000));
        assert_eq!(
            (r.seq, r.ack, r.flags),
            (SeqNumber(0), SeqNumber(8), Flags::RST | Flags::ACK)
        );
        let ack = Header {
            ack: SeqNumber(99),
            flags: Flags::ACK,
            ..syn
        };
        let r = reset_for(&ack, 10).unwrap();
        assert_eq!((r.seq, r.flags), (SeqNumber(99), Flags::RST));
        assert_eq!(
            reset_for(
                &Header {
                    flags: Flags::RST,
                    ..syn
                },
                0
            ),
            None
        );
    }
}
