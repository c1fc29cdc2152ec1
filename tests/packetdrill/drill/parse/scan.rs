//! Characters, numbers and words.

use std::time::Duration;

use super::{ParseError, Result};

/// A comment, without what introduced it.
pub struct Comment {
    pub text: String,
}

/// A position in a text.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        // Some editors mark the beginning.
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self { text, at }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes back to where [`at`](Self::at) was.
    pub fn rewind(&mut self, at: usize) {
        self.at = at;
    }

    pub fn since(&self, begin: usize) -> &'a str {
        &self.text[begin..self.at]
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Line of the position, from 1.
    pub fn line(&self) -> usize {
        1 + self.text[..self.at].matches('\n').count()
    }

    pub fn error(&self, message: impl Into<String>) -> ParseError {
        let near: String = self
            .rest()
            .chars()
            .take_while(|c| *c != '\n')
            .take(40)
            .collect();
        let message = message.into();
        ParseError::Syntax {
            line: self.line(),
            message: match near.trim() {
                "" => message,
                near => format!("{message}, at `{near}`"),
            },
        }
    }

    pub fn unsupported(&self, what: impl Into<String>) -> ParseError {
        ParseError::Unsupported {
            line: self.line(),
            what: what.into(),
        }
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn take(&mut self, what: &str) -> bool {
        let taken = self.rest().starts_with(what);
        if taken {
            self.at += what.len();
        }
        taken
    }

    pub fn expect(&mut self, what: &str) -> Result<()> {
        self.blank();
        if self.take(what) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{what}`")))
        }
    }

    /// Takes `what` if only spaces come before it; otherwise stays.
    pub fn take_after_blank(&mut self, what: &str) -> bool {
        let begin = self.at;
        self.blank();
        let taken = self.take(what);
        if !taken {
            self.at = begin;
        }
        taken
    }

    pub fn until(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(stop).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Skips white space, and whole comments without reading them.
    pub fn blank(&mut self) {
        while let Ok(Some(_)) = self.space() {}
    }

    /// Skips white space up to the next text or behind the next comment.
    pub fn space(&mut self) -> Result<Option<Comment>> {
        self.until(|c| !c.is_whitespace());
        let comment = if self.take("/*") {
            let Some(len) = self.rest().find("*/") else {
                return Err(self.error("a comment without end"));
            };
            self.at += len + 2;
            ""
        } else if self.take("//") || self.take("#") {
            self.until(|c| c == '\n')
        } else {
            return Ok(None);
        };
        Ok(Some(Comment {
            text: comment.to_owned(),
        }))
    }

    /// What lies between `open`, which is next, and `close`.
    pub fn delimited(&mut self, open: &str, close: &str) -> Result<&'a str> {
        self.expect(open)?;
        let rest = self.rest();
        let Some(len) = rest.find(close) else {
            return Err(self.error(format!("`{open}` without `{close}`")));
        };
        self.at += len + close.len();
        Ok(&rest[..len])
    }

    /// Letters, digits and underscores; empty when there are none.
    pub fn word(&mut self) -> &'a str {
        self.until(|c| !c.is_alphanumeric() && c != '_')
    }

    /// A number, decimal, hexadecimal or octal, perhaps with a minus.
    pub fn integer(&mut self) -> Result<i64> {
        self.blank();
        let begin = self.at;
        let minus = self.take("-");
        let word = self.word();
        let value = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(hex) => i64::from_str_radix(hex, 16),
            None if word.len() > 1 && word.starts_with('0') => i64::from_str_radix(word, 8),
            None => word.parse(),
        };
        match value {
            Ok(n) => Ok(if minus { -n } else { n }),
            Err(_) => {
                self.at = begin;
                Err(self.error("expected a number"))
            }
        }
    }

    /// A number that fits `T`.
    pub fn number<T: TryFrom<i64>>(&mut self) -> Result<T> {
        let n = self.integer()?;
        T::try_from(n).map_err(|_| self.error(format!("{n} is out of range")))
    }

    /// Seconds, with a fraction of up to nine digits: `1`, `.25`, `0.000001`.
    pub fn seconds(&mut self) -> Result<Duration> {
        let begin = self.at;
        let digits = |s: &mut Self| s.until(|c| !c.is_ascii_digit());
        let whole = digits(self);
        let mut fraction = "";
        let point = self.rest().starts_with('.') && !self.rest().starts_with("..");
        if point {
            self.at += 1;
            fraction = digits(self);
        }
        let nanos = format!("{fraction:0<9}");
        let parts = (whole.parse(), nanos.get(..9).map(str::parse));
        match parts {
            _ if whole.is_empty() && fraction.is_empty() => {}
            (Ok(secs), Some(Ok(nanos))) => return Ok(Duration::new(secs, nanos)),
            (Err(_), Some(Ok(nanos))) if whole.is_empty() => return Ok(Duration::new(0, nanos)),
            _ => {}
        }
        self.at = begin;
        Err(self.error("expected a time"))
    }
}
