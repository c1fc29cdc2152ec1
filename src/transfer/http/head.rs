//! Collecting a message head from a stream, within a limit.

/// Why a head cannot be collected. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// The first line alone is longer than the limit.
    LineTooLong,
    /// The head is longer than the limit.
    TooLarge,
    /// A line feed without a carriage return. RFC 9112 section 2.2 would let
    /// a recipient accept it; that some do and some do not is what request
    /// smuggling lives on.
    BareLineFeed,
}

/// Collects bytes until the empty line that ends a head.
#[derive(Debug)]
pub struct HeadBuffer {
    bytes: Vec<u8>,
    line_start: usize,
    limit: usize,
    skipped: usize,
}

/// Empty lines that may precede a request line (RFC 9112 section 2.2), in bytes.
const MAX_LEADING: usize = 8;

impl HeadBuffer {
    /// A buffer for heads of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            line_start: 0,
            limit,
            skipped: 0,
        }
    }

    /// Whether nothing of a head has arrived yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes collected so far; after [`push`](Self::push) answered
    /// `complete` they are a whole head with its final empty line.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the head, to collect the next one.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.line_start = 0;
        self.skipped = 0;
    }

    /// Takes bytes up to the end of the head. Answers how many were taken and
    /// whether the head is complete.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn push(&mut self, input: &[u8]) -> Result<(usize, bool), HeadError> {
        let mut rest = input;
        if self.bytes.is_empty() {
            while let Some((&first, tail)) = rest.split_first() {
                if !matches!(first, b'\r' | b'\n') || self.skipped >= MAX_LEADING {
                    break;
                }
                // A line feed must follow a carriage return here as well.
                let expected = if self.skipped.is_multiple_of(2) {
                    b'\r'
                } else {
                    b'\n'
                };
                if first != expected {
                    return Err(HeadError::BareLineFeed);
                }
                self.skipped += 1;
                rest = tail;
            }
        }
        let mut taken = input.len() - rest.len();
        while !rest.is_empty() {
            let (line, ended) = match rest.iter().position(|&b| b == b'\n') {
                Some(at) => (&rest[..=at], true),
                None => (rest, false),
            };
            if self.bytes.len() + line.len() > self.limit {
                return Err(if self.line_start == 0 {
                    HeadError::LineTooLong
                } else {
                    HeadError::TooLarge
                });
            }
            self.bytes.extend_from_slice(line);
            taken += line.len();
            rest = &rest[line.len()..];
            if ended {
                let whole = &self.bytes[self.line_start..];
                if !whole.ends_with(b"\r\n") {
                    return Err(HeadError::BareLineFeed);
                }
                if whole.len() == 2 {
                    return Ok((taken, true));
                }
                self.line_start = self.bytes.len();
            }
        }
        Ok((taken, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_behind_the_empty_line() {
        let mut head = HeadBuffer::new(100);
        let input = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
        assert_eq!(head.push(input), Ok((input.len() - 4, true)));
        assert_eq!(head.bytes(), &input[..input.len() - 4]);
        head.clear();
        assert!(head.is_empty());
    }

    #[test]
    fn any_split_gives_the_same_head() {
        let input = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..input.len() {
            let mut head = HeadBuffer::new(100);
            assert_eq!(head.push(&input[..cut]), Ok((cut, false)), "cut at {cut}");
            assert_eq!(
                head.push(&input[cut..]),
                Ok((input.len() - cut, true)),
                "cut at {cut}"
            );
            assert_eq!(head.bytes(), &input[2..]);
        }
    }

    #[test]
    fn refuses_bombs_and_bare_line_feeds() {
        let mut head = HeadBuffer::new(64);
        assert_eq!(head.push(&[b'a'; 65]), Err(HeadError::LineTooLong));
        let mut head = HeadBuffer::new(64);
        assert_eq!(head.push(b"GET / HTTP/1.1\r\n"), Ok((16, false)));
        assert_eq!(head.push(&[b'a'; 65]), Err(HeadError::TooLarge));
        for bad in [
            &b"GET / HTTP/1.1\n\n"[..],
            b"GET / HTTP/1.1\r\nA: b\n\r\n",
            b"\n",
            b"\r\r\n",
        ] {
            assert_eq!(
                HeadBuffer::new(64).push(bad),
                Err(HeadError::BareLineFeed),
                "{bad:?}"
            );
        }
        // Endless empty lines are not a way to keep a connection busy.
        assert!(
            HeadBuffer::new(64)
                .push(&b"\r\n".repeat(40))
                .is_ok_and(|(_, done)| done)
        );
    }
}
