//! The packetdrill language: from text to [`Script`].
//!
//! Two kinds of trouble are kept apart: text that is not of the language, and
//! features of it that this runner does not have, for which a script is
//! skipped.

mod call;
mod packet;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::ast::{Action, Direction, Event, Meta, Only, Script, Span, When};
use scan::{Comment, Scanner};

/// Why there is no [`Script`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The text is not of the language.
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The text is of the language, but the runner cannot do it.
    Unsupported {
        /// Line, from 1.
        line: usize,
        /// What it cannot do.
        what: String,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, message } => write!(f, "line {line}: {message}"),
            Self::Unsupported { line, what } => write!(f, "line {line}: unsupported: {what}"),
        }
    }
}

impl std::error::Error for ParseError {}

type Result<T> = std::result::Result<T, ParseError>;

/// Names of targets, which `#if` may choose between.
const TARGETS: [&str; 2] = ["fullbore", "linux"];

/// Reads a script.
///
/// # Errors
/// See [`ParseError`].
pub fn parse(path: &Path, text: &str) -> Result<Script> {
    let mut parser = Parser {
        scan: Scanner::new(text),
        only: Only::Everyone,
        script: Script {
            path: path.to_owned(),
            meta: Meta::default(),
            options: Vec::new(),
            events: Vec::new(),
        },
    };
    parser.options()?;
    while parser.space()? {
        let event = parser.event()?;
        parser.script.events.push(event);
    }
    if parser.only != Only::Everyone {
        return Err(parser.scan.error("#if without #end"));
    }
    Ok(parser.script)
}

struct Parser<'a> {
    scan: Scanner<'a>,
    only: Only,
    script: Script,
}

impl Parser<'_> {
    /// Skips space and comments, taking directives; whether text follows.
    fn space(&mut self) -> Result<bool> {
        while let Some(comment) = self.scan.space()? {
            self.directive(&comment)?;
        }
        Ok(!self.scan.at_end())
    }

    fn directive(&mut self, comment: &Comment) -> Result<()> {
        let text = comment.text.trim_end();
        let word = text.trim();
        if let Some(name) = text.strip_prefix("if ").map(str::trim)
            && TARGETS.contains(&name)
        {
            if self.only != Only::Everyone {
                return Err(self.scan.error("#if inside #if"));
            }
            self.only = Only::This(name.to_owned());
            return Ok(());
        }
        match (text, &self.only) {
            ("else", Only::This(name)) => {
                self.only = Only::Not(name.clone());
                return Ok(());
            }
            ("end", Only::This(_) | Only::Not(_)) => {
                self.only = Only::Everyone;
                return Ok(());
            }
            _ => {}
        }
        let Some((name, value)) = word.split_once(':') else {
            return Ok(());
        };
        let (meta, value) = (&mut self.script.meta, value.trim());
        match name {
            "linux" => meta.linux = Some(value.to_owned()),
            "fullbore" => meta.fullbore = Some(value.to_owned()),
            "needs" => meta
                .needs
                .extend(value.split_whitespace().map(str::to_owned)),
            "exact" if value == "segments" => meta.exact_segments = true,
            "fails" => meta.fails.push(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// `--name=value` lines.
    fn options(&mut self) -> Result<()> {
        while self.space()? && self.scan.take("--") {
            let text = self.scan.until(char::is_whitespace);
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            self.script
                .options
                .push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    }

    fn event(&mut self) -> Result<Event> {
        let (line, begin, only) = (self.scan.line(), self.scan.at(), self.only.clone());
        let when = match self.scan.peek() {
            // What prepares the machine may have no time.
            Some('`') => When {
                relative: true,
                span: Span::At(Duration::ZERO),
            },
            _ => self.when()?,
        };
        if !self.space()? {
            return Err(self.scan.error("a time without an event"));
        }
        let action = match self.scan.peek() {
            Some('<') => self.packet(Direction::In)?,
            Some('>') => self.packet(Direction::Out)?,
            Some('`') => Action::Shell(self.scan.delimited("`", "`")?.to_owned()),
            Some('%') => Action::Code(self.scan.delimited("%{", "}%")?.to_owned()),
            _ => Action::Call(self.call()?),
        };
        if matches!(when.span, Span::Blocking(..)) && !matches!(action, Action::Call(_)) {
            return Err(self.scan.error("only a call can block"));
        }
        let source = self.scan.since(begin);
        Ok(Event {
            line,
            text: source.split_whitespace().collect::<Vec<_>>().join(" "),
            only,
            when,
            action,
        })
    }

    fn when(&mut self) -> Result<When> {
        if self.scan.take("*") {
            return Ok(When {
                relative: false,
                span: Span::Any,
            });
        }
        let relative = self.scan.take("+");
        self.scan.blank();
        let first = self.scan.seconds()?;
        let second = |p: &mut Self| {
            p.scan.blank();
            let _ = p.scan.take("+");
            p.scan.seconds()
        };
        let span = if self.scan.take_after_blank("~") {
            Span::Range(first, second(self)?)
        } else if self.scan.take_after_blank("...") {
            Span::Blocking(first, second(self)?)
        } else {
            Span::At(first)
        };
        if let Span::Range(a, b) | Span::Blocking(a, b) = span
            && a > b
        {
            return Err(self.scan.error("the time ends before it begins"));
        }
        Ok(When { relative, span })
    }
}
