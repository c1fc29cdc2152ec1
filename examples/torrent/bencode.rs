//! Bencoding, the notation of torrent files (BEP 3).

/// Lists and dictionaries within each other; more is refused.
const MAX_DEPTH: usize = 32;

/// A value, which borrows from the text it was read from.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer.
    Integer(i64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A list.
    List(Vec<Value<'a>>),
    /// A dictionary.
    Dictionary(Vec<Entry<'a>>),
}

/// An entry of a dictionary.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    key: &'a [u8],
    value: Value<'a>,
    /// The value as it was written, of which hashes are taken.
    raw: &'a [u8],
}

/// What is wrong with a text, at which byte.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    what: &'static str,
    at: usize,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Error {}

impl<'a> Value<'a> {
    /// Reads a text that is one value and nothing else.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        if reader.at < text.len() {
            return reader.fail("more than one value");
        }
        Ok(value)
    }

    /// The entry of a dictionary with this key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The same, as it was written.
    pub fn raw(&self, key: &str) -> Option<&'a [u8]> {
        self.entry(key).map(|entry| entry.raw)
    }

    fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        match self {
            Self::Dictionary(entries) => entries.iter().find(|e| e.key == key.as_bytes()),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(value) => Some(value),
            _ => None,
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, what: &'static str) -> Result<T, Error> {
        Err(Error { what, at: self.at })
    }

    fn peek(&self) -> Result<u8, Error> {
        match self.text.get(self.at) {
            Some(byte) => Ok(*byte),
            None => self.fail("the text ends early"),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        if depth > MAX_DEPTH {
            return self.fail("nested too deeply");
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::Integer)
            }
            b'l' => {
                self.at += 1;
                let mut items = Vec::new();
                while self.peek()? != b'e' {
                    items.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Ok(Value::List(items))
            }
            b'd' => {
                self.at += 1;
                let mut entries = Vec::new();
                while self.peek()? != b'e' {
                    let key = self.bytes()?;
                    let begin = self.at;
                    let value = self.value(depth + 1)?;
                    let raw = &self.text[begin..self.at];
                    entries.push(Entry { key, value, raw });
                }
                self.at += 1;
                Ok(Value::Dictionary(entries))
            }
            _ => self.bytes().map(Value::Bytes),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.number(b':')?);
        let end = length.ok().and_then(|length| self.at.checked_add(length));
        let Some(bytes) = end.and_then(|end| self.text.get(self.at..end)) else {
            return self.fail("a string beyond the end");
        };
        self.at += bytes.len();
        Ok(bytes)
    }

    /// A decimal number without needless zeros, and the byte that ends it.
    fn number(&mut self, end: u8) -> Result<i64, Error> {
        let rest = &self.text[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == end) else {
            return self.fail("a number without an end");
        };
        let text = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => {
                self.at += length + 1;
                Ok(number)
            }
            _ => self.fail("not a number"),
        }
    }
}

/// Writes a byte string.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

/// Writes an integer.
pub fn write_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(format!("i{value}e").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_what_was_written() {
        let value = Value::parse(b"d3:cow3:moo4:infod1:ai-3ee4:spaml1:a0:ee").unwrap();
        assert_eq!(value.get("cow").unwrap().bytes(), Some(&b"moo"[..]));
        assert_eq!(value.raw("info"), Some(&b"d1:ai-3ee"[..]));
        assert_eq!(
            value.get("info").unwrap().get("a").unwrap().integer(),
            Some(-3)
        );
        assert_eq!(
            value.get("spam"),
            Some(&Value::List(vec![Value::Bytes(b"a"), Value::Bytes(b"")]))
        );
        assert_eq!(value.get("egg"), None);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let deep = [b"l".repeat(100), b"e".repeat(100)].concat();
        for text in [
            &b""[..],
            b"i1",
            b"i01e",
            b"i-0e",
            b"i+1e",
            b"ie",
            b"4:abc",
            b"-1:a",
            b"99999999999999999999:a",
            b"9223372036854775807:a",
            b"l",
            b"d",
            b"d1:a",
            b"di1e1:ae",
            b"i1ei2e",
            b"x",
            &deep,
        ] {
            assert!(Value::parse(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
