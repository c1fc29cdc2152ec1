//! What a torrent file says (BEP 3).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::{Digest, Sha1};

use crate::bencode::{self, Value};

/// A SHA-1 digest.
pub type Hash = [u8; 20];

/// Pieces of at most this, since a piece is kept in memory until it is whole.
const MAX_PIECE: u64 = 16 << 20;

/// A torrent of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// Digest of its description, by which peers know it.
    pub info_hash: Hash,
    /// Bytes of the file.
    pub length: u64,
    /// Bytes of each piece but the last.
    pub piece_length: u32,
    /// Digest of each piece.
    pub hashes: Vec<Hash>,
}

impl Metainfo {
    /// Reads a torrent file.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let file = Value::parse(text).map_err(|e| e.to_string())?;
        let (Some(info), Some(raw)) = (file.get("info"), file.raw("info")) else {
            return Err("no description".to_owned());
        };
        if info.get("files").is_some() {
            return Err("more than one file, which this example does not do".to_owned());
        }
        let number = |key: &str| {
            let value = info.get(key).and_then(Value::integer);
            let value = value.and_then(|v| u64::try_from(v).ok()).filter(|&v| v > 0);
            value.ok_or_else(|| format!("no `{key}`"))
        };
        let (length, piece_length) = (number("length")?, number("piece length")?);
        if piece_length > MAX_PIECE {
            return Err(format!("pieces of {piece_length} bytes"));
        }
        let hashes = info
            .get("pieces")
            .and_then(Value::bytes)
            .unwrap_or_default();
        let (hashes, rest) = hashes.as_chunks::<20>();
        let count = u32::try_from(hashes.len()).ok().map(u64::from);
        if !rest.is_empty() || count != Some(length.div_ceil(piece_length)) {
            return Err("not a hash for each piece".to_owned());
        }
        Ok(Self {
            info_hash: Sha1::digest(raw).into(),
            length,
            piece_length: piece_length as u32,
            hashes: hashes.to_vec(),
        })
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        self.hashes.len() as u32
    }

    /// Bytes of piece `index`.
    pub fn length_of(&self, index: u32) -> u32 {
        let begin = self.offset_of(index);
        self.length
            .saturating_sub(begin)
            .min(u64::from(self.piece_length)) as u32
    }

    /// Where piece `index` begins in the file.
    pub fn offset_of(&self, index: u32) -> u64 {
        u64::from(index) * u64::from(self.piece_length)
    }

    /// Whether `data` is piece `index`.
    pub fn is_piece(&self, index: u32, data: &[u8]) -> bool {
        let hash = self.hashes.get(index as usize);
        hash.is_some_and(|hash| Sha1::digest(data)[..] == hash[..])
    }

    /// A torrent file for `path`, without a tracker.
    pub fn make(path: &Path, piece_length: u32) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let mut piece = Vec::with_capacity(piece_length as usize);
        let (mut hashes, mut length) = (Vec::new(), 0);
        loop {
            piece.clear();
            let n = (&mut file)
                .take(u64::from(piece_length))
                .read_to_end(&mut piece)?;
            if n == 0 {
                break;
            }
            hashes.extend_from_slice(&Sha1::digest(&piece));
            length += n as u64;
        }
        // Keys in order, as they have to be.
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let mut out = b"d4:infod6:length".to_vec();
        bencode::write_integer(&mut out, length);
        out.extend_from_slice(b"4:name");
        bencode::write_bytes(&mut out, name);
        out.extend_from_slice(b"12:piece length");
        bencode::write_integer(&mut out, u64::from(piece_length));
        out.extend_from_slice(b"6:pieces");
        bencode::write_bytes(&mut out, &hashes);
        out.extend_from_slice(b"ee");
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        let content: Vec<u8> = (0..100_000u32).map(|i| (i * 7 / 3) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let text = Metainfo::make(&path, 1 << 15).unwrap();
        let info = Metainfo::parse(&text).unwrap();
        assert_eq!((info.pieces(), info.length), (4, 100_000));
        assert_eq!((info.length_of(2), info.length_of(3)), (1 << 15, 1696));
        assert!(info.is_piece(3, &content[3 << 15..]));
        assert!(!info.is_piece(2, &content[3 << 15..]));
        assert!(!info.is_piece(4, &content));
        // The digest is of what lies between `4:info` and the last `e`.
        let raw = &text[7..text.len() - 1];
        assert_eq!(info.info_hash, <Hash>::from(Sha1::digest(raw)));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (text, why) in [
            (
                &b"d4:infod6:lengthi5e12:piece lengthi4e6:pieces20:aaaaaaaaaaaaaaaaaaaaee"[..],
                "hash",
            ),
            (
                b"d4:infod6:lengthi5e12:piece lengthi0e6:pieces0:ee",
                "piece length",
            ),
            (
                b"d4:infod6:lengthi-5e12:piece lengthi4e6:pieces0:ee",
                "length",
            ),
            (
                b"d4:infod5:filesle12:piece lengthi4e6:pieces0:ee",
                "more than one file",
            ),
            (
                b"d4:infod6:lengthi5e12:piece lengthi99999999999e6:pieces0:ee",
                "pieces of",
            ),
            (b"d3:foo3:bare", "description"),
        ] {
            let error = Metainfo::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
