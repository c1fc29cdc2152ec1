//! Packets of uTP for an engine: what may answer the last one that it sent, or
//! begin a connection, or be anything.

use fullbore::frame::{PACKET_START, Pool, Region};
use fullbore::utp::{Ports, write_bare};
use fullbore::wire::checksum::Sum;
use fullbore::wire::template::Template;
use fullbore::wire::udp;
use fullbore::wire::utp::{CLOSE_REASON, Extension, Header, Kind, SELECTIVE_ACK, SeqNr};

use super::input::Input;

/// The port at which the engine listens.
pub const PORT: u16 = 80;

/// A packet that the engine sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub ports: Ports,
    pub header: Header,
    pub payload: usize,
}

impl Sent {
    /// What is in a datagram that the engine sent, which has to be uTP's.
    pub fn read(ports: Ports, datagram: &[u8]) -> Self {
        let header = match Header::parse(datagram) {
            Ok(header) => header,
            Err(e) => panic!("sent what is no uTP: {e}: {datagram:02x?}"),
        };
        let payload = datagram.len() - usize::from(header.len);
        assert!(
            payload == 0 || header.kind == Kind::Data,
            "payload in {header:?}"
        );
        Self {
            ports,
            header,
            payload,
        }
    }
}

/// A datagram behind the headers of `template`, which is of protocol 17.
pub fn packet(i: &mut Input<'_>, last: Option<&Sent>, template: &Template, now: u32) -> Vec<u8> {
    let (with, near) = (i.u8(), i.u8());
    let kind = match with & 7 {
        0 => Kind::Syn,
        1 => Kind::Fin,
        2 => Kind::Reset,
        3 | 4 => Kind::State,
        _ => Kind::Data,
    };
    let mut header = Header {
        kind,
        conn_id: u16::from(near & 3) * 2,
        timestamp: now,
        timestamp_diff: if with & 8 != 0 { i.u32() } else { 50_000 },
        window: if with & 16 != 0 { i.u32() } else { 1 << 20 },
        seq: SeqNr(u16::from(i.u8())),
        ack: SeqNr(0),
        ..Header::default()
    };
    let mut ports = Ports {
        local: 2000 + u16::from(near & 1),
        remote: if near & 64 != 0 { i.u16() } else { PORT },
    };
    if let Some(sent) = last.filter(|_| near & 32 == 0) {
        ports = Ports {
            local: sent.ports.remote,
            remote: sent.ports.local,
        };
        let id = sent.header.conn_id;
        // Who accepts sends with the SYN's id and receives with the next.
        header.conn_id = match (sent.header.kind, sent.ports.local == PORT) {
            (Kind::Syn, _) => id,
            (_, true) => id.wrapping_add(1),
            (_, false) => id.wrapping_sub(1),
        };
        let next = sent.header.ack.plus(1);
        header.seq = next.plus(u16::from(near >> 7) * u16::from(i.u8()));
        let takes = sent.payload > 0 || matches!(sent.header.kind, Kind::Syn | Kind::Fin);
        header.ack = sent.header.seq.minus(u16::from(!takes));
        if near & 16 != 0 {
            header.ack = header.ack.minus(i.u8().into());
        }
    }
    let mut bits = [0; 12];
    let taken = i.bytes(usize::from(near >> 2 & 3) * 4);
    bits[..taken.len()].copy_from_slice(taken);
    let extensions = [
        Extension {
            id: SELECTIVE_ACK,
            bytes: &bits[..taken.len()],
        },
        Extension {
            id: CLOSE_REASON,
            bytes: &[0, 0, 0, 1],
        },
    ];
    let extensions = &extensions[usize::from(taken.is_empty())..1 + usize::from(with & 32 != 0)];
    let extensions = if taken.is_empty() && with & 32 == 0 {
        &[]
    } else {
        extensions
    };
    let len = usize::from(with >> 6) * usize::from(with >> 6) * 130;
    if len == 0 {
        // As who answers without a connection.
        let mut pool = Pool::new(Region::anonymous(1, 2048));
        let Some(mut packet) = pool.alloc() else {
            return Vec::new();
        };
        write_bare(&mut packet, &pool, template, ports, &header, extensions, 1);
        assert_eq!(packet.start(), usize::from(PACKET_START));
        let bytes = pool.bytes(&packet).to_vec();
        pool.free(packet);
        return bytes;
    }
    let mut utp = vec![0; Header::emit_len(extensions)];
    header.emit(&mut utp, extensions);
    utp.resize(utp.len() + len, 9);
    let whole = udp::HEADER_LEN + utp.len();
    let mut frame = vec![0; template.len() + udp::HEADER_LEN];
    template.write(&mut frame, whole, 1);
    let udp = udp::Header {
        src_port: ports.local,
        dst_port: ports.remote,
        checksum: 0,
    };
    let at = template.len();
    udp.emit(
        &mut frame[at..],
        template.pseudo_sum(whole),
        utp.len(),
        Sum::of(&utp),
    );
    frame.extend_from_slice(&utp);
    frame
}
