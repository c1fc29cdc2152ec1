//! The repository's files, and what is defined in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Packetdrill scripts, below the repository.
pub const SCRIPTS: &str = "tests/packetdrill/scripts";
/// Words that come before the name of an item.
const KINDS: [&str; 9] = [
    "fn", "struct", "enum", "const", "static", "trait", "type", "mod", "union",
];

/// All files below `dir` with that extension, sorted; none if there is no
/// such directory.
pub fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Texts by path below the repository.
pub struct Tree(BTreeMap<String, String>);

impl Tree {
    pub fn open(repository: &Path) -> Self {
        let mut files = BTreeMap::new();
        for (dir, extension) in [("src", "rs"), ("tests", "rs"), ("tests", "pkt")] {
            for path in files_below(&repository.join(dir), extension) {
                let name = path.strip_prefix(repository).unwrap_or(&path);
                let text = fs::read_to_string(&path).unwrap_or_default();
                files.insert(name.display().to_string(), text);
            }
        }
        Self(files)
    }

    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |s: &str| s.to_owned();
        Self(files.iter().map(|(n, t)| (own(n), own(t))).collect())
    }

    /// The text of `path` and the item, from `path::item`. Paths are those
    /// below `src`, unless they begin with `tests/`.
    fn split<'a>(&self, reference: &'a str) -> Result<(&str, &'a str), String> {
        let (path, item) = reference
            .split_once("::")
            .ok_or_else(|| format!("`{reference}` is not of the form path::item"))?;
        let name = if path.starts_with("tests/") {
            path.to_owned()
        } else {
            format!("src/{path}")
        };
        let text = self
            .0
            .get(&name)
            .ok_or_else(|| format!("there is no file {name}"))?;
        Ok((text, item))
    }

    /// Whether `path::item` is defined: a function, type, constant, module,
    /// field or variant. `Type::item` looks for the last part.
    pub fn item(&self, reference: &str) -> Result<(), String> {
        let (text, item) = self.split(reference)?;
        let name = item.rsplit("::").next().unwrap_or(item);
        if code(text).any(|line| defines(line, name)) {
            Ok(())
        } else {
            Err(format!("there is no `{name}` in `{reference}`"))
        }
    }

    /// Whether `path::name` is a test.
    pub fn test(&self, reference: &str) -> Result<(), String> {
        let (text, name) = self.split(reference)?;
        let mut is_test = false;
        for line in code(text) {
            if line.starts_with("#[test]") {
                is_test = true;
            } else if is_test && words(line).any(|w| w == "fn") {
                if after(line, "fn") == Some(name) {
                    return Ok(());
                }
                is_test = false;
            }
        }
        Err(format!("there is no test `{name}` in `{reference}`"))
    }

    /// Whether there are scripts of that name or pattern.
    pub fn script(&self, pattern: &str) -> Result<(), String> {
        let pattern = format!("{SCRIPTS}/{pattern}");
        if self.0.keys().any(|name| matches(&pattern, name)) {
            Ok(())
        } else {
            Err(format!("there is no script {pattern}"))
        }
    }
}

/// Whether `name` is the path `pattern`, in which each `*` stands for
/// anything but `/`.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|name| {
            let end = name.find('/').unwrap_or(name.len());
            (0..=end).any(|at| name.get(at..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

/// The lines that are not comments, trimmed.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|w| !w.is_empty())
}

/// The word after `kind` in a line.
fn after<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    let mut words = words(line);
    words.find(|w| *w == kind)?;
    words.next()
}

/// Whether a line defines `name`: as an item, or as a field or variant, which
/// begin their line.
fn defines(line: &str, name: &str) -> bool {
    if KINDS.iter().any(|kind| after(line, kind) == Some(name)) {
        return true;
    }
    let mut rest = line;
    if let Some(private) = rest.strip_prefix("pub") {
        rest = private.trim_start();
        if let Some((_, behind)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            rest = behind.trim_start();
        }
    }
    rest.strip_prefix(name).is_some_and(|behind| {
        behind.starts_with([':', ',', '(']) || behind.starts_with(" {") || behind.starts_with(" =")
    }) && !rest.ends_with(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
// fn commented() {}
pub(super) fn found() {
    called(1);
}
pub struct Header {
    /// Words.
    pub(crate) window: u16,
    field: u8,
}
enum Kind {
    Bare,
    Full(u8),
    Named {
}
const LIMIT: u8 = 10;
#[test]
// Why it waits.
#[ignore = \"needs root\"]
fn shows() {}
fn shows_not() {}
    proptest! {
        #[test]
        fn holds(n in 0u8..9) {}
";

    #[test]
    fn definitions_are_told_from_uses_and_comments() {
        let tree = Tree::of(&[("src/a/b.rs", TEXT)]);
        for name in [
            "found",
            "Header",
            "window",
            "Header::field",
            "Kind::Bare",
            "Full",
            "Named",
            "LIMIT",
        ] {
            let reference = format!("a/b.rs::{name}");
            assert_eq!(tree.item(&reference), Ok(()), "{name}");
        }
        for name in ["commented", "called", "foun", "wind", "LIMI"] {
            assert!(tree.item(&format!("a/b.rs::{name}")).is_err(), "{name}");
        }
    }

    #[test]
    fn stars_stand_for_anything_within_a_name() {
        for (pattern, name) in [
            ("a/b.pkt", "a/b.pkt"),
            ("a/*", "a/b.pkt"),
            ("a/b*.pkt", "a/b.pkt"),
            ("a/*c*.pkt", "a/bcd.pkt"),
            ("*/b.pkt", "a/b.pkt"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a/*", "a/b/c.pkt"),
            ("a/b", "a/b.pkt"),
            ("a/*.pkt", "b/c.pkt"),
            ("a/*c.pkt", "a/b.pkt"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn only_what_is_marked_is_a_test() {
        let tree = Tree::of(&[("tests/c.rs", TEXT)]);
        assert_eq!(tree.test("tests/c.rs::shows"), Ok(()));
        assert_eq!(tree.test("tests/c.rs::holds"), Ok(()));
        for name in ["shows_not", "found", "show"] {
            assert!(tree.test(&format!("tests/c.rs::{name}")).is_err(), "{name}");
        }
        assert!(tree.test("c.rs::shows").is_err(), "another file");
    }
}
