//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, unless the problem is in the command line's flags.
    pub file: Option<PathBuf>,
    /// Line and column of the place, both from 1; columns count characters.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do, if that is not plain from the message.
    pub hint: Option<String>,
}

/// Everything that is wrong, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    problems: Vec<Problem>,
}

impl Error {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        Self { problems }
    }

    /// What is wrong, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self::new(vec![Problem {
            file: Some(file.to_owned()),
            place: None,
            message: format!("cannot be read: {error}"),
            hint: None,
        }])
    }

    /// From an error of the TOML parser.
    pub(super) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let (message, hint) = explain(error.message());
        Self::new(vec![Problem {
            file: Some(file.to_owned()),
            place: error.span().map(|span| line_and_column(text, &span)),
            message,
            hint,
        }])
    }
}

/// Line and column, both from 1, of a span's start.
pub(super) fn line_and_column(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start.min(text.len())).unwrap_or("");
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Says what the parser said about names in our words, with the nearest name.
fn explain(message: &str) -> (String, Option<String>) {
    let message = message.replace('\n', " ");
    let (what, kind) = if message.starts_with("unknown field `") {
        ("unknown key", "keys here")
    } else if message.starts_with("unknown variant `") {
        ("unknown value", "values")
    } else {
        return (message, None);
    };
    let mut names = message.split('`').skip(1).step_by(2);
    let given = names.next().unwrap_or_default();
    let valid: Vec<&str> = names.collect();
    let hint = match nearest(given, &valid) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("{kind}: {}", valid.join(", ")),
    };
    (format!("{what} `{given}`"), Some(hint))
}

/// The name among `valid` that `given` is most likely a slip of.
#[must_use]
pub(crate) fn nearest<'a>(given: &str, valid: &[&'a str]) -> Option<&'a str> {
    valid
        .iter()
        .map(|&name| (strsim::jaro_winkler(&given.to_lowercase(), name), name))
        .filter(|&(likeness, _)| likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some((line, column)) = self.place {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let text = "a = 1\nbé = 2\n";
        assert_eq!(line_and_column(text, &(0..1)), (1, 1));
        assert_eq!(line_and_column(text, &(6..7)), (2, 1));
        assert_eq!(line_and_column(text, &(10..11)), (2, 4));
        assert_eq!(line_and_column(text, &(999..1000)), (3, 1));
    }

    #[test]
    fn a_slip_gets_the_nearest_name_and_nonsense_gets_all() {
        let names = ["frames", "chunk"];
        assert_eq!(nearest("frame", &names), Some("frames"));
        assert_eq!(nearest("Chunks", &names), Some("chunk"));
        assert_eq!(nearest("zebra", &names), None);
    }
}
