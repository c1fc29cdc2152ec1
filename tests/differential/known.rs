//! The differences that are known, in `known.txt`.
//!
//! The file has a section for each reason: its name in brackets, what it is
//! in `#` lines, then the cases that it covers. A line covers all combinations
//! of the alternatives between its slashes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where new differences go until somebody has found the reason.
pub const UNEXPLAINED: &str = "unexplained";

const HEAD: &str = "\
# What Linux answers otherwise than fullbore, by reason. `differential` checks
# that it is exactly these cases; with FULLBORE_REWRITE_KNOWN=1 it writes the
# file anew, keeps the reasons, and puts what is new under [unexplained].
# The parts of a case are: state/options/flags/seq/ack/length/what is special.
";

/// Cases by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    sections: BTreeMap<String, Section>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    about: String,
    cases: BTreeSet<String>,
}

pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/known.txt")
}

impl Known {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The line that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut known = Self::default();
        let mut name = None;
        for (n, line) in text.lines().enumerate() {
            let error = |what: &str| format!("known.txt, line {}: {what}: {line}", n + 1);
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let fresh = known.sections.insert(section.into(), Section::default());
                if fresh.is_some() {
                    return Err(error("a reason that was there before"));
                }
                name = Some(section.to_owned());
                continue;
            }
            let section = name.as_ref().and_then(|n| known.sections.get_mut(n));
            match (line, section) {
                ("", _) => {}
                (line, None) if line.starts_with('#') => {}
                (_, None) => return Err(error("a case without a reason")),
                (line, Some(section)) => match line.strip_prefix('#') {
                    Some(about) => {
                        section.about += about.trim();
                        section.about.push('\n');
                    }
                    None => {
                        for case in expand(line) {
                            if !section.cases.insert(case) {
                                return Err(error("a case that was there before"));
                            }
                        }
                    }
                },
            }
        }
        Ok(known)
    }

    /// The reason of a case.
    pub fn reason(&self, case: &str) -> Option<&str> {
        let mut of = self.sections.iter().filter(|(_, s)| s.cases.contains(case));
        of.next().map(|(name, _)| name.as_str())
    }

    /// All cases.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        let cases = self.sections.values().flat_map(|s| &s.cases);
        cases.map(String::as_str)
    }

    /// The same reasons for just the cases that differ; what has none is
    /// unexplained.
    pub fn rewritten<'a>(&self, differing: impl Iterator<Item = &'a str>) -> Self {
        let mut fresh = Self::default();
        for (name, section) in &self.sections {
            let about = section.about.clone();
            let cases = BTreeSet::new();
            fresh
                .sections
                .insert(name.clone(), Section { about, cases });
        }
        for case in differing {
            let reason = self.reason(case).unwrap_or(UNEXPLAINED).to_owned();
            let section = fresh.sections.entry(reason).or_default();
            section.cases.insert(case.to_owned());
        }
        fresh.sections.retain(|_, s| !s.cases.is_empty());
        fresh
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, section) in &self.sections {
            text += &format!("\n[{name}]\n");
            for line in section.about.lines() {
                text += &format!("# {line}\n");
            }
            for line in condense(&section.cases) {
                text += &line;
                text.push('\n');
            }
        }
        text
    }
}

/// All combinations of a line's alternatives.
fn expand(line: &str) -> Vec<String> {
    let mut cases = vec![String::new()];
    for (i, part) in line.split('/').enumerate() {
        let separator = if i == 0 { "" } else { "/" };
        cases = cases
            .iter()
            .flat_map(|case| {
                let alternatives = part.split('|');
                alternatives.map(move |one| format!("{case}{separator}{one}"))
            })
            .collect();
    }
    cases
}

/// Lines that stand for exactly these cases: those that differ in one part
/// only are put together, part by part.
fn condense(cases: &BTreeSet<String>) -> Vec<String> {
    let split = |case: &String| case.split('/').map(str::to_owned).collect();
    let mut lines: BTreeSet<Vec<String>> = cases.iter().map(split).collect();
    // The states last: they agree most when the rest does.
    let parts = lines.first().map_or(0, Vec::len);
    for at in (0..parts).rev() {
        let mut groups: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        for mut line in lines {
            let part = std::mem::take(&mut line[at]);
            groups.entry(line).or_default().push(part);
        }
        lines = groups
            .into_iter()
            .map(|(mut line, alternatives)| {
                line[at] = alternatives.join("|");
                line
            })
            .collect();
    }
    lines.into_iter().map(|line| line.join("/")).collect()
}

#[test]
fn what_is_condensed_expands_to_the_same() {
    let text = "[a]\n# Why.\nX|Y/p/1|2/\nX/q/2/z\n";
    let known = Known::parse(text).unwrap();
    assert_eq!(known.cases().count(), 5);
    assert_eq!(known.reason("Y/p/2/"), Some("a"));
    assert_eq!(known.reason("Y/q/2/z"), None);
    assert_eq!(Known::parse(&known.text()).unwrap(), known);
    let fresh = known.rewritten(["X/p/1/", "Z/p/1/"].into_iter());
    assert_eq!(fresh.reason("X/p/1/"), Some("a"));
    assert_eq!(fresh.reason("Z/p/1/"), Some(UNEXPLAINED));
    assert!(Known::parse("X/p/1/").is_err());
    assert!(Known::parse("[a]\nX\nX\n").is_err());
}

#[test]
fn every_reason_is_told_in_the_documents() {
    let text = std::fs::read_to_string(path()).expect("known.txt");
    let known = Known::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let told = std::fs::read_to_string(documents).expect("docs/conformance.md");
    assert!(!known.sections.is_empty());
    for (name, section) in &known.sections {
        assert_ne!(name, UNEXPLAINED, "{:?}", section.cases);
        assert!(!section.about.is_empty(), "[{name}] says nothing");
        assert!(told.contains(&format!("- `{name}`: ")), "[{name}]");
    }
    let listed = told
        .lines()
        .filter(|l| l.starts_with("- `") && l.contains("`: "));
    assert_eq!(listed.count(), known.sections.len());
}
