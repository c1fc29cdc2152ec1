//! Answers to packets that belong to no connection.

use crate::wire::utp::{Header, Kind};

/// The RESET for `header`, which came to a port where nobody knows its
/// connection: it carries the id that the packet did, as libutp does, and the
/// number of the packet that it answers. `None` if that was a RESET, or a SYN,
/// whose sender may not be where it says.
#[must_use]
pub fn reset_for(header: &Header) -> Option<Header> {
    match header.kind {
        Kind::Reset | Kind::Syn => None,
        Kind::Data | Kind::Fin | Kind::State => Some(Header {
            kind: Kind::Reset,
            conn_id: header.conn_id,
            seq: header.ack.plus(1),
            ack: header.seq,
            ..Header::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::utp::SeqNr;

    #[test]
    fn neither_reset_nor_syn_is_answered() {
        for (kind, answered) in [
            (Kind::Data, true),
            (Kind::Fin, true),
            (Kind::State, true),
            (Kind::Reset, false),
            (Kind::Syn, false),
        ] {
            let h = Header {
                kind,
                conn_id: 7,
                seq: SeqNr(9),
                ack: SeqNr(u16::MAX),
                ..Header::default()
            };
            let reset = reset_for(&h);
            assert_eq!(reset.is_some(), answered, "{kind:?}");
            if let Some(r) = reset {
                assert_eq!((r.kind, r.conn_id, r.ack), (Kind::Reset, 7, SeqNr(9)));
                assert_eq!(reset_for(&r), None);
            }
        }
    }
}
