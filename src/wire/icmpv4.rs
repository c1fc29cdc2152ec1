//! ICMP for IPv4 (RFC 792): echo and destination unreachable.

use super::checksum::Sum;
use super::quoted::Quoted;
use super::{Error, Span};

/// Length of a header, in bytes; the message's data follows.
pub const HEADER_LEN: usize = 8;

/// Code of destination unreachable: nobody listens on the port.
pub const CODE_PORT_UNREACHABLE: u8 = 3;
/// Code of destination unreachable: too large, and must not be fragmented.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Echo; the reply repeats identifier, number and data.
    Echo {
        /// Reply, not request.
        reply: bool,
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// Destination unreachable.
    Unreachable {
        /// Why: RFC 792, RFC 1122 section 3.2.2.1.
        code: u8,
        /// For code 4, the next hop's MTU in bytes, or 0 from a router that
        /// does not know RFC 1191.
        mtu: u16,
        /// The packet that did not arrive, when it was TCP or UDP.
        quoted: Option<Quoted>,
    },
    /// Anything else.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

impl Message {
    /// Reads a message; its data (what an echo carries, what an error quotes)
    /// is where the span says. With `verify` the checksum is checked.
    ///
    /// # Errors
    /// `Truncated`, `BadChecksum`.
    pub fn parse(bytes: &[u8], verify: bool) -> Result<(Message, Span), Error> {
        let &[kind, code, _, _, a, b, c, d] = bytes.first_chunk().ok_or(Error::Truncated)?;
        if verify && Sum::of(bytes).finish() != 0 {
            return Err(Error::BadChecksum);
        }
        let message = match (kind, code) {
            (ECHO_REQUEST | ECHO_REPLY, 0) => Message::Echo {
                reply: kind == ECHO_REPLY,
                ident: u16::from_be_bytes([a, b]),
                seq: u16::from_be_bytes([c, d]),
            },
            (UNREACHABLE, _) => Message::Unreachable {
                code,
                mtu: u16::from_be_bytes([c, d]),
                quoted: Quoted::parse_v4(&bytes[HEADER_LEN..]),
            },
            _ => Message::Other { kind, code },
        };
        Ok((message, Span::new(HEADER_LEN, bytes.len())))
    }

    /// Writes the message, checksum included, with `data` behind its header,
    /// and returns the length of both. For an error `data` is the packet it
    /// quotes, from its IP header; `quoted` is not used.
    ///
    /// # Panics
    /// When `out` is shorter than `8 + data.len()`.
    pub fn emit(&self, out: &mut [u8], data: &[u8]) -> usize {
        let len = HEADER_LEN + data.len();
        let out = &mut out[..len];
        let (kind, code, first, second) = match *self {
            Message::Echo { reply, ident, seq } => {
                let kind = if reply { ECHO_REPLY } else { ECHO_REQUEST };
                (kind, 0, ident, seq)
            }
            Message::Unreachable { code, mtu, .. } => (UNREACHABLE, code, 0, mtu),
            Message::Other { kind, code } => (kind, code, 0, 0),
        };
        out[0..4].copy_from_slice(&[kind, code, 0, 0]);
        out[4..6].copy_from_slice(&first.to_be_bytes());
        out[6..8].copy_from_slice(&second.to_be_bytes());
        out[HEADER_LEN..].copy_from_slice(data);
        let checksum = Sum::of(out).finish();
        out[2..4].copy_from_slice(&checksum.to_be_bytes());
        len
    }
}
