//! The peer protocol: handshakes and messages (BEP 3).

use crate::metainfo::Hash;

/// Bytes of a handshake.
pub const HANDSHAKE: usize = 68;
/// What each handshake begins with.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Bytes that peers ask for at once.
pub const BLOCK: u32 = 16 << 10;
/// Longest request that is answered.
const MAX_BLOCK: u32 = 128 << 10;

/// A part of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    pub piece: u32,
    pub begin: u32,
    pub length: u32,
}

/// A message; what this example does not use is [`Other`](Self::Other).
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Choke,
    Unchoke,
    Interested,
    NotInterested,
    Have(u32),
    Bitfield(&'a [u8]),
    Request(Block),
    Piece {
        piece: u32,
        begin: u32,
        data: &'a [u8],
    },
    Cancel(Block),
    Other,
}

/// A peer that breaks the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// The handshake of this torrent.
pub fn handshake(info_hash: &Hash, peer_id: &Hash) -> [u8; HANDSHAKE] {
    let mut bytes = [0; HANDSHAKE];
    bytes[..20].copy_from_slice(PROTOCOL);
    // Eight bytes of zeros: no extension.
    bytes[28..48].copy_from_slice(info_hash);
    bytes[48..].copy_from_slice(peer_id);
    bytes
}

/// Whether a handshake is of this torrent.
pub fn check_handshake(bytes: &[u8; HANDSHAKE], info_hash: &Hash) -> Result<(), Broken> {
    if bytes[..20] != PROTOCOL[..] {
        return Err(Broken("another protocol"));
    }
    if bytes[28..48] != info_hash[..] {
        return Err(Broken("another torrent"));
    }
    Ok(())
}

impl<'a> Message<'a> {
    /// The message at the beginning of `input`, if it is whole, and the bytes
    /// that it takes. Messages are no longer than `longest`.
    pub fn read(input: &'a [u8], longest: usize) -> Result<Option<(Self, usize)>, Broken> {
        let Some((length, rest)) = input.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > longest {
            return Err(Broken("a message that is too long"));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let Some((&id, body)) = body.split_first() else {
            // It keeps the connection alive.
            return Ok(Some((Self::Other, 4)));
        };
        let message = match (id, body.len()) {
            (0, 0) => Self::Choke,
            (1, 0) => Self::Unchoke,
            (2, 0) => Self::Interested,
            (3, 0) => Self::NotInterested,
            (4, 4) => Self::Have(word(body, 0)),
            (5, _) => Self::Bitfield(body),
            (6, 12) => Self::Request(block(body)?),
            (7, 8..) => Self::Piece {
                piece: word(body, 0),
                begin: word(body, 4),
                data: &body[8..],
            },
            (8, 12) => Self::Cancel(block(body)?),
            (0..=8, _) => return Err(Broken("a message of a wrong length")),
            _ => Self::Other,
        };
        Ok(Some((message, 4 + length)))
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut put = |id: u8, words: &[u32], data: &[u8]| {
            let length = 1 + 4 * words.len() + data.len();
            out.extend_from_slice(&(length as u32).to_be_bytes());
            out.push(id);
            for word in words {
                out.extend_from_slice(&word.to_be_bytes());
            }
            out.extend_from_slice(data);
        };
        match self {
            Self::Choke => put(0, &[], &[]),
            Self::Unchoke => put(1, &[], &[]),
            Self::Interested => put(2, &[], &[]),
            Self::NotInterested => put(3, &[], &[]),
            Self::Have(piece) => put(4, &[*piece], &[]),
            Self::Bitfield(bits) => put(5, &[], bits),
            Self::Request(b) => put(6, &[b.piece, b.begin, b.length], &[]),
            Self::Piece { piece, begin, data } => put(7, &[*piece, *begin], data),
            Self::Cancel(b) => put(8, &[b.piece, b.begin, b.length], &[]),
            Self::Other => out.extend_from_slice(&[0; 4]),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

fn block(body: &[u8]) -> Result<Block, Broken> {
    let length = word(body, 8);
    if length == 0 || length > MAX_BLOCK {
        return Err(Broken("a block of a wrong length"));
    }
    Ok(Block {
        piece: word(body, 0),
        begin: word(body, 4),
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let block = Block {
            piece: 3,
            begin: 1 << 14,
            length: 7,
        };
        let piece = Message::Piece {
            piece: 1,
            begin: 2,
            data: b"data",
        };
        let messages = [
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(9),
            Message::Bitfield(&[0xa0, 1]),
            Message::Request(block),
            piece,
            Message::Cancel(block),
            Message::Other,
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            message.write(&mut bytes);
        }
        let mut rest = &bytes[..];
        for message in &messages {
            // No part of a message is one.
            let (_, taken) = Message::read(rest, 100).unwrap().unwrap();
            for end in 0..taken {
                assert_eq!(Message::read(&rest[..end], 100), Ok(None));
            }
            let (read, _) = Message::read(rest, 100).unwrap().unwrap();
            assert_eq!(&read, message);
            rest = &rest[taken..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        for bytes in [
            &[0, 0, 0, 101][..],
            &[0, 0, 0, 2, 0, 0],
            &[0, 0, 0, 3, 4, 0, 0],
            &[0, 0, 0, 5, 7, 0, 0, 0, 0],
            &[0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0],
        ] {
            assert!(Message::read(bytes, 100).is_err(), "{bytes:?}");
        }
        let ours = handshake(&[1; 20], &[2; 20]);
        assert_eq!(check_handshake(&ours, &[1; 20]), Ok(()));
        assert!(check_handshake(&ours, &[3; 20]).is_err());
        assert!(check_handshake(&[0; HANDSHAKE], &[1; 20]).is_err());
    }
}
