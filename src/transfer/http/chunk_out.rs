//! Sending content of unknown length: the chunked coding (RFC 9112 section 7.1).

use super::digest::Digest;

/// What goes before a chunk of `len` bytes, which must not be 0. `first` tells
/// that no chunk came before it in this message.
#[must_use]
pub fn before(len: usize, first: bool) -> Vec<u8> {
    let end_of_last = if first { "" } else { "\r\n" };
    format!("{end_of_last}{len:x}\r\n").into_bytes()
}

/// What goes after the last chunk. `first` tells that there was none; `digest`
/// becomes a `Repr-Digest` trailer.
#[must_use]
pub fn end(first: bool, digest: Option<&Digest>) -> Vec<u8> {
    let end_of_last = if first { "" } else { "\r\n" };
    let trailer = digest.map_or(String::new(), |d| format!("Repr-Digest: {d}\r\n"));
    format!("{end_of_last}0\r\n{trailer}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::{Body, Framing};
    use super::*;

    #[test]
    fn our_decoder_reads_it() {
        let sum = Digest::blake3([9; 32]);
        for chunks in [&[][..], &[&b"abc"[..], b"de"]] {
            let mut wire = Vec::new();
            for (i, chunk) in chunks.iter().enumerate() {
                wire.extend(before(chunk.len(), i == 0));
                wire.extend_from_slice(chunk);
            }
            wire.extend(end(chunks.is_empty(), Some(&sum)));
            let mut body = Body::new(Framing::Chunked);
            let (mut rest, mut data) = (&wire[..], Vec::new());
            while !body.is_done() {
                let step = body.decode(rest).unwrap();
                data.extend_from_slice(&rest[step.data]);
                rest = &rest[step.consumed..];
            }
            assert_eq!((data, rest.len()), (chunks.concat(), 0));
            assert_eq!(body.trailer_digests(), Ok(sum.into()));
        }
    }
}
