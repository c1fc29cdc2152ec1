//! System calls and their arguments.

use super::super::ast::{Arg, Call, Expected};
use super::super::constants;
use super::{Parser, Result};

impl Parser<'_> {
    pub(super) fn call(&mut self) -> Result<Call> {
        let name = self.scan.word().to_owned();
        if name.is_empty() {
            return Err(self.scan.error("expected a packet, a call or a command"));
        }
        self.scan.expect("(")?;
        let args = self.args(")")?;
        self.scan.expect("=")?;
        let result = self.result()?;
        Ok(Call { name, args, result })
    }

    /// Arguments up to `close`.
    fn args(&mut self, close: &str) -> Result<Vec<Arg>> {
        let mut args = Vec::new();
        self.scan.blank();
        while !self.scan.take(close) {
            args.push(self.arg()?);
            self.scan.blank();
            if !self.scan.take(",") {
                self.scan.expect(close)?;
                break;
            }
            self.scan.blank();
        }
        Ok(args)
    }

    fn arg(&mut self) -> Result<Arg> {
        self.scan.blank();
        if self.scan.take("...") {
            return Ok(Arg::Any);
        }
        match self.scan.peek() {
            Some('"') => Ok(Arg::Str(self.scan.delimited("\"", "\"")?.to_owned())),
            Some('[') => {
                self.scan.expect("[")?;
                Ok(Arg::List(self.args("]")?))
            }
            Some('{') => self.structure(),
            _ => self.number_or_name(),
        }
    }

    /// `{name=value, name(length)=value, value}`.
    fn structure(&mut self) -> Result<Arg> {
        self.scan.expect("{")?;
        let mut fields = Vec::new();
        self.scan.blank();
        while !self.scan.take("}") {
            let begin = self.scan.at();
            let mut name = self.scan.word();
            self.scan.blank();
            if !name.is_empty() && self.scan.take("(") {
                let _ = self.args(")")?;
                self.scan.blank();
            }
            let named = self.scan.take("=") || self.scan.take(":");
            if !named {
                self.scan.rewind(begin);
                name = "";
            }
            fields.push((name.to_owned(), self.arg()?));
            self.scan.blank();
            if !self.scan.take(",") {
                self.scan.expect("}")?;
                break;
            }
            self.scan.blank();
        }
        Ok(Arg::Struct(fields))
    }

    /// A sum of bits: `A | B | 4`.
    fn number_or_name(&mut self) -> Result<Arg> {
        let mut value = self.one()?;
        loop {
            if !self.scan.take_after_blank("|") {
                return Ok(value);
            }
            self.scan.blank();
            value = match (value, self.one()?) {
                (Arg::Int(a), Arg::Int(b)) => Arg::Int(a | b),
                _ => return Err(self.scan.error("only numbers can be joined by `|`")),
            };
        }
    }

    fn one(&mut self) -> Result<Arg> {
        let numeric = |c: char| c.is_ascii_digit() || c == '-';
        if self.scan.peek().is_some_and(numeric) {
            return Ok(Arg::Int(self.scan.integer()?));
        }
        let begin = self.scan.at();
        let name = self.scan.word();
        if name.is_empty() {
            return Err(self.scan.error("expected an argument"));
        }
        self.scan.blank();
        if self.scan.take("(") {
            let args = self.args(")")?;
            return match (name, args.as_slice()) {
                // Byte order is nothing that scripts need to know.
                ("htons" | "htonl", [value]) => Ok(value.clone()),
                ("inet_addr", [address]) => Ok(address.clone()),
                ("inet_pton", [.., address]) => Ok(address.clone()),
                _ => Err(self.scan.unsupported(format!("function {name}"))),
            };
        }
        match constants::value(name) {
            Some(value) => Ok(Arg::Int(value)),
            None => {
                self.scan.rewind(begin);
                Err(self.scan.unsupported(format!("constant {name}")))
            }
        }
    }

    /// `...`, `5`, `0x2 (flags O_RDWR)`, `-1 EAGAIN (Resource ...)`.
    fn result(&mut self) -> Result<Expected> {
        self.scan.blank();
        if self.scan.take("...") {
            return Ok(Expected::Any);
        }
        let Arg::Int(value) = self.number_or_name()? else {
            return Err(self.scan.error("expected a result"));
        };
        let begin = self.scan.at();
        self.scan.blank();
        let name = self.scan.word();
        let error = name
            .starts_with('E')
            .then(|| constants::errno(name))
            .flatten();
        let expected = match error {
            Some(number) if value == -1 => Expected::Error(number, name.to_owned()),
            _ if name.starts_with('E') => {
                return Err(self.scan.unsupported(format!("error {name}")));
            }
            _ => {
                self.scan.rewind(begin);
                Expected::Value(value)
            }
        };
        // The words that explain a result.
        if self.scan.take_after_blank("(") {
            self.scan.until(|c| c == ')' || c == '\n');
            self.scan.expect(")")?;
        }
        Ok(expected)
    }
}
