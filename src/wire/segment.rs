//! The headers of a data segment over untagged IPv4 in one pass, the checksum
//! taken from what is written and not from memory. What comes out is what
//! [`Template::write_marked`] and [`Header::emit`](super::tcp::Header::emit) write.

use super::checksum::Sum;
use super::tcp::{Flags, HEADER_LEN, SeqNumber, Timestamps};
use super::template::Template;
use super::{eth, ipv4};

/// Where TCP begins.
const TCP_AT: usize = eth::HEADER_LEN + ipv4::HEADER_LEN;
/// All headers, without and with timestamps.
const PLAIN: usize = TCP_AT + HEADER_LEN;
const STAMPED: usize = PLAIN + 12;
/// What comes before the two times: padding, kind and length.
const OPTION: u32 = 0x0101_080a;

/// What the TCP header of a data segment says.
#[derive(Clone, Copy, Debug)]
pub struct DataHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte.
    pub seq: SeqNumber,
    /// Next sequence number expected.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// Window as on the wire.
    pub window: u16,
    /// Timestamps, and no other option.
    pub timestamps: Option<Timestamps>,
}

impl Template {
    /// Bytes of all headers of a data segment, if [`write_data`](Self::write_data)
    /// can write them.
    #[inline]
    pub fn data_headers(&self, timestamps: bool) -> Option<usize> {
        match (self.len(), timestamps) {
            (TCP_AT, true) => Some(STAMPED),
            (TCP_AT, false) => Some(PLAIN),
            _ => None,
        }
    }

    /// Writes all headers of `frame`, whose payload has the sum `payload`.
    /// `ident` is the IPv4 identification, `ecn` (0 to 3) the ECN bits. Whether
    /// that could be done.
    #[inline]
    pub fn write_data(
        &self,
        frame: &mut [u8],
        header: &DataHeader,
        ident: u16,
        ecn: u8,
        payload: Sum,
    ) -> bool {
        let len = frame.len();
        if self.len() != TCP_AT {
            return false;
        }
        match header.timestamps {
            Some(t) => frame.first_chunk_mut::<STAMPED>().is_some_and(|out| {
                out[PLAIN..PLAIN + 4].copy_from_slice(&OPTION.to_be_bytes());
                out[PLAIN + 4..PLAIN + 8].copy_from_slice(&t.val.to_be_bytes());
                out[PLAIN + 8..].copy_from_slice(&t.ecr.to_be_bytes());
                let sum = u64::from(OPTION) + u64::from(t.val) + u64::from(t.ecr);
                self.write_fixed(out, len, header, (ident, ecn), sum, payload)
            }),
            None => frame
                .first_chunk_mut::<PLAIN>()
                .is_some_and(|out| self.write_fixed(out, len, header, (ident, ecn), 0, payload)),
        }
    }

    /// All but the options, whose sum is `options`.
    #[inline(always)]
    fn write_fixed<const LEN: usize>(
        &self,
        out: &mut [u8; LEN],
        frame: usize,
        h: &DataHeader,
        (ident, ecn): (u16, u8),
        options: u64,
        payload: Sum,
    ) -> bool {
        let l4_len = frame - TCP_AT;
        self.write_marked(&mut out[..TCP_AT], l4_len, ident, ecn);
        let ports = u32::from(h.src_port) << 16 | u32::from(h.dst_port);
        let offset = ((LEN - TCP_AT) / 4) as u32;
        let word = offset << 28 | u32::from(h.flags.0) << 16 | u32::from(h.window);
        let tcp = &mut out[TCP_AT..];
        tcp[0..4].copy_from_slice(&ports.to_be_bytes());
        tcp[4..8].copy_from_slice(&h.seq.0.to_be_bytes());
        tcp[8..12].copy_from_slice(&h.ack.0.to_be_bytes());
        tcp[12..16].copy_from_slice(&word.to_be_bytes());
        let words = [ports, h.seq.0, h.ack.0, word].map(u64::from);
        let sum = Sum::of_words(words.iter().sum::<u64>() + options);
        let sum = Sum::all([sum, self.pseudo_sum(l4_len), payload]);
        // The urgent pointer, which counts for nothing, is zero.
        tcp[16..20].copy_from_slice(&(u32::from(sum.finish()) << 16).to_be_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::tcp::{Header, Options};
    use crate::wire::testing::{path, tcp_frame_of};

    proptest! {
        #[test]
        fn it_is_what_the_parts_write(
            ports: (u16, u16),
            numbers: (u32, u32),
            flags: u8,
            window: u16,
            times in proptest::option::of((any::<u32>(), any::<u32>())),
            ident: u16,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let timestamps = times.map(|(val, ecr)| Timestamps { val, ecr });
            let header = Header {
                src_port: ports.0,
                dst_port: ports.1,
                seq: SeqNumber(numbers.0),
                ack: SeqNumber(numbers.1),
                flags: Flags(flags),
                window,
                options: Options { timestamps, ..Options::default() },
                ..Header::default()
            };
            let expected = tcp_frame_of(&path(false), &header, &payload, ident);
            let t = Template::new(&path(false), 6).unwrap();
            let headers = t.data_headers(timestamps.is_some()).unwrap();
            let mut frame = vec![0xee; headers];
            frame.extend_from_slice(&payload);
            let data = DataHeader {
                src_port: ports.0,
                dst_port: ports.1,
                seq: header.seq,
                ack: header.ack,
                flags: header.flags,
                window,
                timestamps,
            };
            prop_assert!(t.write_data(&mut frame, &data, ident, 0, Sum::of(&payload)));
            prop_assert_eq!(frame, expected);
        }
    }

    #[test]
    fn other_headers_are_left_alone() {
        let t = Template::new(&path(true), 6).unwrap();
        assert_eq!(t.data_headers(true), None);
        let header = DataHeader {
            src_port: 1,
            dst_port: 2,
            seq: SeqNumber(3),
            ack: SeqNumber(4),
            flags: Flags::ACK,
            window: 5,
            timestamps: None,
        };
        let mut frame = [0xee; 100];
        assert!(!t.write_data(&mut frame, &header, 1, 0, Sum::ZERO));
        assert_eq!(frame, [0xee; 100]);
        let t = Template::new(&path(false), 6).unwrap();
        assert!(!t.write_data(&mut frame[..PLAIN - 1], &header, 1, 0, Sum::ZERO));
    }
}
