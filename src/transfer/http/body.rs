//! Where content begins and ends: by length, by chunks (RFC 9112 section 7.1),
//! or by the end of the connection.
//!
//! The decoder names the runs of content within the bytes it is shown and
//! copies none of them.

use std::ops::Range;

use super::digest::{self, Digests};

/// How content is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// This many bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// Everything until the peer closes; in responses only.
    UntilClose,
}

/// Content that breaks its framing. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk size that is no number, or larger than any file.
    ChunkSize,
    /// A chunk, its extension or a trailer line does not end as it must.
    ChunkEnd,
    /// Chunk extensions beyond [`MAX_EXTENSIONS`] bytes.
    Extensions,
    /// Trailers beyond [`MAX_TRAILERS`] bytes, or malformed ones.
    Trailers,
}

/// Bytes of chunk extensions tolerated in one message. They carry nothing that
/// is used here.
pub const MAX_EXTENSIONS: usize = 8 * 1024;

/// Bytes of trailer section tolerated in one message.
pub const MAX_TRAILERS: usize = 8 * 1024;

/// Sizes above this are refused, so that sums of them cannot overflow.
const MAX_CHUNK: u64 = 1 << 60;

/// What [`Body::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are dealt with, framing and content.
    pub consumed: usize,
    /// Where in the input the content lies; may be empty.
    pub data: Range<usize>,
    /// The content is complete.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data(u64),
    UntilClose,
    Size { value: u64, digits: u8 },
    Extension,
    SizeLf,
    ChunkData(u64),
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// Follows one message's content.
#[derive(Debug)]
pub struct Body {
    state: State,
    extensions: usize,
    trailers: Vec<u8>,
    line_start: usize,
    /// Size of the chunk whose size line is being read.
    chunk: u64,
}

impl Body {
    /// A decoder for content delimited by `framing`.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Data(n),
            Framing::Chunked => State::Size {
                value: 0,
                digits: 0,
            },
            Framing::UntilClose => State::UntilClose,
        };
        Self {
            state,
            extensions: 0,
            trailers: Vec::new(),
            line_start: 0,
            chunk: 0,
        }
    }

    /// Whether all content has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the end of the connection is a proper end of this content.
    #[must_use]
    pub fn may_end_here(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// How many of the bytes that come next are content, whatever they are; they
    /// can be told by [`pass`](Self::pass) instead of being shown.
    #[must_use]
    pub const fn plain(&self) -> u64 {
        match self.state {
            State::Data(left) | State::ChunkData(left) => left,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// So many bytes of content have come: fewer than [`plain`](Self::plain) says.
    pub const fn pass(&mut self, n: u64) {
        debug_assert!(n < self.plain());
        if let State::Data(left) | State::ChunkData(left) = &mut self.state {
            *left = left.saturating_sub(n);
        }
    }

    /// Goes through `input` up to the end of the first run of content. Call it
    /// again with what is left until `consumed` reaches the end or `done`.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => {
                    return Ok(Decoded {
                        consumed: at,
                        data: at..at,
                        done: true,
                    });
                }
                State::UntilClose => {
                    return Ok(Decoded {
                        consumed: input.len(),
                        data: at..input.len(),
                        done: false,
                    });
                }
                State::Data(left) | State::ChunkData(left) => {
                    let here = (input.len() - at) as u64;
                    let take = left.min(here);
                    // `take` is no more than what is in the slice.
                    let end = at + take as usize;
                    let chunked = matches!(self.state, State::ChunkData(_));
                    self.state = match (left - take, chunked) {
                        (0, false) => State::Done,
                        (0, true) => State::DataCr,
                        (n, false) => State::Data(n),
                        (n, true) => State::ChunkData(n),
                    };
                    let done = self.is_done();
                    return Ok(Decoded {
                        consumed: end,
                        data: at..end,
                        done,
                    });
                }
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok(Decoded {
                    consumed: at,
                    data: at..at,
                    done: false,
                });
            };
            at += 1;
            self.framing_byte(byte)?;
        }
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match self.state {
            State::Size { value, digits } => match (byte, (byte as char).to_digit(16)) {
                (_, Some(digit)) => {
                    let value = value.checked_mul(16).ok_or(BodyError::ChunkSize)?;
                    let value = value | u64::from(digit);
                    if digits >= 16 || value > MAX_CHUNK {
                        return Err(BodyError::ChunkSize);
                    }
                    State::Size {
                        value,
                        digits: digits + 1,
                    }
                }
                (b'\r' | b';', _) if digits > 0 => {
                    self.chunk = value;
                    if byte == b';' {
                        State::Extension
                    } else {
                        State::SizeLf
                    }
                }
                _ => return Err(BodyError::ChunkSize),
            },
            State::Extension => match byte {
                b'\r' => State::SizeLf,
                b'\n' | 0 => return Err(BodyError::ChunkEnd),
                _ => {
                    self.extensions += 1;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(BodyError::Extensions);
                    }
                    State::Extension
                }
            },
            State::SizeLf if byte == b'\n' => match self.chunk {
                0 => State::Trailer,
                n => State::ChunkData(n),
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size {
                value: 0,
                digits: 0,
            },
            State::Trailer => return self.trailer_byte(byte),
            _ => return Err(BodyError::ChunkEnd),
        };
        Ok(())
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        if self.trailers.len() >= MAX_TRAILERS {
            return Err(BodyError::Trailers);
        }
        self.trailers.push(byte);
        if byte == b'\n' {
            let line = self.trailers.get(self.line_start..).unwrap_or_default();
            if !line.ends_with(b"\r\n") {
                return Err(BodyError::ChunkEnd);
            }
            if line.len() == 2 {
                self.state = State::Done;
            }
            self.line_start = self.trailers.len();
        }
        Ok(())
    }

    /// The digests of `Repr-Digest` or else `Content-Digest` trailers, once the
    /// content is complete.
    ///
    /// # Errors
    /// [`BodyError::Trailers`] when the trailer section is malformed.
    pub fn trailer_digests(&self) -> Result<Digests, BodyError> {
        if self.trailers.len() <= 2 {
            return Ok(Digests::default());
        }
        let mut slots = [httparse::EMPTY_HEADER; 16];
        match httparse::parse_headers(&self.trailers, &mut slots) {
            Ok(httparse::Status::Complete((_, fields))) => {
                for field in fields {
                    if field.name.eq_ignore_ascii_case("repr-digest")
                        || field.name.eq_ignore_ascii_case("content-digest")
                    {
                        let text =
                            std::str::from_utf8(field.value).map_err(|_| BodyError::Trailers)?;
                        let found = digest::parse(text).map_err(|_| BodyError::Trailers)?;
                        if !found.is_empty() {
                            return Ok(found);
                        }
                    }
                }
                Ok(Digests::default())
            }
            _ => Err(BodyError::Trailers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(body: &mut Body, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize), BodyError> {
        let mut data = Vec::new();
        let mut consumed = 0;
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let step = body.decode(rest)?;
                data.extend_from_slice(&rest[step.data.clone()]);
                rest = &rest[step.consumed..];
                consumed += step.consumed;
                if step.done || rest.is_empty() {
                    break;
                }
            }
        }
        Ok((data, consumed))
    }

    #[test]
    fn content_that_is_told_counts_like_content_that_is_shown() {
        for framing in [Framing::Length(10), Framing::UntilClose, Framing::Chunked] {
            let [mut shown, mut told] = [Body::new(framing), Body::new(framing)];
            let begin: &[u8] = match framing {
                Framing::Chunked => b"a\r\n",
                _ => b"",
            };
            for body in [&mut shown, &mut told] {
                assert_eq!(body.plain() == 0, framing == Framing::Chunked);
                body.decode(begin).unwrap();
            }
            assert!(told.plain() >= 10);
            shown.decode(b"1234").unwrap();
            told.pass(4);
            assert_eq!(told.plain(), shown.plain());
            let rest = b"567890\r\n0\r\n\r\n";
            let decoded = told.decode(rest);
            assert_eq!(decoded, shown.decode(rest));
            assert_eq!(told.is_done(), shown.is_done());
            let left = decoded.unwrap().consumed;
            assert_eq!(told.decode(&rest[left..]), shown.decode(&rest[left..]));
        }
        let done = Body::new(Framing::None);
        assert_eq!(done.plain(), 0);
    }

    #[test]
    fn by_length() {
        let mut body = Body::new(Framing::Length(4));
        assert_eq!(
            body.decode(b"ab"),
            Ok(Decoded {
                consumed: 2,
                data: 0..2,
                done: false
            })
        );
        assert!(!body.may_end_here());
        assert_eq!(
            body.decode(b"cdNEXT"),
            Ok(Decoded {
                consumed: 2,
                data: 0..2,
                done: true
            })
        );
        assert!(body.is_done() && body.may_end_here());
        assert!(Body::new(Framing::Length(0)).is_done());
        assert!(Body::new(Framing::None).is_done());
    }

    #[test]
    fn until_close() {
        let mut body = Body::new(Framing::UntilClose);
        assert_eq!(decode(&mut body, &[b"ab", b"c"]), Ok((b"abc".to_vec(), 3)));
        assert!(!body.is_done() && body.may_end_here());
    }

    const CHUNKS: &[u8] =
        b"4;x=y\r\nWiki\r\n00005\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\n\r\n";

    #[test]
    fn chunks_split_anywhere() {
        for cut in 0..=CHUNKS.len() {
            let mut body = Body::new(Framing::Chunked);
            let (data, consumed) = decode(&mut body, &[&CHUNKS[..cut], &CHUNKS[cut..]]).unwrap();
            assert_eq!(data, b"Wikipedia in\r\n\r\nchunks.", "cut at {cut}");
            assert_eq!(consumed, CHUNKS.len());
            assert!(body.is_done());
        }
        let mut body = Body::new(Framing::Chunked);
        let bytes: Vec<&[u8]> = CHUNKS.chunks(1).collect();
        assert_eq!(decode(&mut body, &bytes).unwrap().0.len(), 23);
    }

    #[test]
    fn the_next_request_is_left_alone() {
        let mut body = Body::new(Framing::Chunked);
        let input = b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
        assert_eq!(decode(&mut body, &[input]), Ok((b"a".to_vec(), 11)));
    }

    #[test]
    fn malformed_chunks() {
        use BodyError::{ChunkEnd, ChunkSize};
        for (input, want) in [
            (&b"\r\n"[..], ChunkSize),
            (b";\r\n", ChunkSize),
            (b" 5\r\n", ChunkSize),
            (b"5 \r\n", ChunkSize),
            (b"0x5\r\n", ChunkSize),
            (b"+5\r\n", ChunkSize),
            (b"-5\r\n", ChunkSize),
            (b"5\nhello", ChunkSize),
            (b"ffffffffffffffff\r\n", ChunkSize),
            (b"1fffffffffffffff\r\n", ChunkSize),
            (b"00000000000000001\r\n", ChunkSize),
            (b"5\rhello", ChunkEnd),
            (b"5;a\nhello", ChunkEnd),
            (b"5;a\rb\r\n", ChunkEnd),
            (b"1\r\nab\r\n", ChunkEnd),
            (b"1\r\na\n", ChunkEnd),
            (b"1\r\na\rb", ChunkEnd),
            (b"0\r\n\n", ChunkEnd),
            (b"0\r\nA: b\n\r\n", ChunkEnd),
        ] {
            let mut body = Body::new(Framing::Chunked);
            assert_eq!(decode(&mut body, &[input]), Err(want), "{input:?}");
        }
    }

    #[test]
    fn bounded_extensions_and_trailers() {
        let mut body = Body::new(Framing::Chunked);
        let long = [b"1;".to_vec(), vec![b'x'; MAX_EXTENSIONS + 1]].concat();
        assert_eq!(decode(&mut body, &[&long]), Err(BodyError::Extensions));
        // Many small ones add up.
        let mut body = Body::new(Framing::Chunked);
        let many = b"1;xxxxxxxxxxxxxxxx\r\na\r\n".repeat(MAX_EXTENSIONS / 16 + 1);
        assert_eq!(decode(&mut body, &[&many]), Err(BodyError::Extensions));
        let mut body = Body::new(Framing::Chunked);
        let long = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_TRAILERS / 6 + 2)].concat();
        assert_eq!(decode(&mut body, &[&long]), Err(BodyError::Trailers));
    }

    #[test]
    fn digest_in_a_trailer() {
        let sum = digest::Digest::sha256([7; 32]);
        let mut body = Body::new(Framing::Chunked);
        let input = format!("0\r\nX: y\r\nRepr-Digest: {sum}\r\n\r\n");
        decode(&mut body, &[input.as_bytes()]).unwrap();
        assert_eq!(body.trailer_digests(), Ok(sum.into()));
        for (input, want) in [
            ("0\r\n\r\n", Ok(Digests::default())),
            ("0\r\nX: y\r\n\r\n", Ok(Digests::default())),
            (
                "0\r\nRepr-Digest: crc32c=:AAAA:\r\n\r\n",
                Ok(Digests::default()),
            ),
            (
                "0\r\nRepr-Digest: sha-256=:AA:\r\n\r\n",
                Err(BodyError::Trailers),
            ),
            ("0\r\nno colon\r\n\r\n", Err(BodyError::Trailers)),
        ] {
            let mut body = Body::new(Framing::Chunked);
            decode(&mut body, &[input.as_bytes()]).unwrap();
            assert_eq!(body.trailer_digests(), want, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes(input in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let cut = cut.min(input.len());
            let mut whole = Body::new(Framing::Chunked);
            let mut split = Body::new(Framing::Chunked);
            let a = decode(&mut whole, &[&input]);
            let b = decode(&mut split, &[&input[..cut], &input[cut..]]);
            prop_assert_eq!(a, b);
        }

        #[test]
        fn chunked_like_bytes(input in "([0-9a-f]{1,2}(;[a-z]{0,3})?\r\n[a-z]{0,9}\r\n){0,6}0\r\n(A: b\r\n)?\r\n") {
            let mut body = Body::new(Framing::Chunked);
            let _ = decode(&mut body, &[input.as_bytes()]);
        }

        #[test]
        fn round_trip(content in prop::collection::vec(any::<u8>(), 0..600), size in 1usize..100) {
            let mut wire = Vec::new();
            for chunk in content.chunks(size) {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut body = Body::new(Framing::Chunked);
            let (data, consumed) = decode(&mut body, &[&wire]).unwrap();
            prop_assert_eq!(data, content);
            prop_assert_eq!(consumed, wire.len());
            prop_assert!(body.is_done());
        }
    }
}
