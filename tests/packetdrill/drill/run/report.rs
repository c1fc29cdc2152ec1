//! What is told of a run: the exchange as a table, and what was not looked at.

use std::fmt;
use std::time::Duration;

/// Parts of a script that had no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Shell commands.
    pub commands: usize,
    /// Settings that the target does not know, as `name=value`.
    pub settings: Vec<String>,
    /// Statements of code that were not run, and why.
    pub statements: Vec<String>,
}

impl Ignored {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.commands > 0 {
            parts.push(format!("{} shell commands", self.commands));
        }
        if !self.settings.is_empty() {
            parts.push(self.settings.join(" "));
        }
        if !self.statements.is_empty() {
            parts.push(self.statements.join("; "));
        }
        f.write_str(&parts.join(", "))
    }
}

/// A time of a script.
pub fn seconds(at: Duration) -> String {
    format!("{}.{:06}", at.as_secs(), at.subsec_micros())
}

struct Row {
    at: Duration,
    line: Option<usize>,
    text: String,
    note: String,
}

/// Everything that has happened, in order.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// The runner did something.
    pub fn did(&mut self, at: Duration, line: usize, text: String) -> usize {
        self.push(at, Some(line), text)
    }

    /// Something came from the target.
    pub fn came(&mut self, at: Duration, text: String) -> usize {
        self.push(at, None, format!("> {text}"))
    }

    fn push(&mut self, at: Duration, line: Option<usize>, text: String) -> usize {
        self.rows.push(Row {
            at,
            line,
            text,
            note: String::new(),
        });
        self.rows.len() - 1
    }

    /// A row was what this line expected.
    pub fn matched(&mut self, row: usize, line: usize) {
        self.rows[row].line = Some(line);
    }

    /// Says something about a row.
    pub fn note(&mut self, row: usize, note: &str) {
        self.rows[row].note = note.to_owned();
    }

    /// Puts a better text into a row.
    pub fn rewrite(&mut self, row: usize, text: String) {
        self.rows[row].text = format!("> {text}");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:>12}  {:>4}  event", "time", "line")?;
        for row in &self.rows {
            let line = row.line.map_or("?".to_owned(), |l| l.to_string());
            write!(f, "  {:>12}  {line:>4}  {}", seconds(row.at), row.text)?;
            if !row.note.is_empty() {
                write!(f, "   <-- {}", row.note)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
