//! The tables: rows of rules, and what can be wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Tree, matches};

/// The head of every table of rules.
const COLUMNS: [&str; 5] = ["id", "level", "rule", "where", "shown by"];
/// Levels of RFC 2119, and of documents older than it in lower case.
const LEVELS: [&str; 10] = [
    "MUST",
    "MUST NOT",
    "SHOULD",
    "SHOULD NOT",
    "RECOMMENDED",
    "MAY",
    "must",
    "should",
    "should not",
    "may",
];
/// How the last cell begins of a rule that is not kept.
const LEFT_OUT: &str = "left out:";
/// A reason is a sentence, not a word.
const REASON: usize = 15;
/// Scripts, as the last cell writes them.
const SCRIPT: &str = "packetdrill/";

/// A rule.
#[derive(Clone, Debug)]
pub struct Row {
    /// File and line.
    pub at: String,
    /// The heading of its table, such as `RFC 9293: TCP`.
    pub document: String,
    /// The RFC's number for it, or its section.
    pub id: String,
    level: String,
    rule: String,
    place: String,
    shown: String,
}

/// Reads the tables of rules in `text`. Other tables are passed over.
pub fn read_tables(file: &str, text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut document = String::new();
    let mut inside = false;
    for (line, number) in text.lines().zip(1..) {
        let at = format!("{file}:{number}");
        if let Some(heading) = line.strip_prefix("## ") {
            document = heading.trim().to_owned();
        }
        let Some(cells) = cells(line) else {
            inside = false;
            continue;
        };
        if cells == COLUMNS {
            inside = true;
            continue;
        }
        if !inside || cells.iter().all(|c| c.chars().all(|c| "-:".contains(c))) {
            continue;
        }
        let [id, level, rule, place, shown]: [String; 5] = cells
            .try_into()
            .map_err(|c: Vec<_>| format!("{at}: {} cells instead of 5", c.len()))?;
        rows.push(Row {
            at,
            document: document.clone(),
            id,
            level,
            rule,
            place,
            shown,
        });
    }
    Ok(rows)
}

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Vec<String>> {
    let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(line.split('|').map(|c| c.trim().to_owned()).collect())
}

/// What stands between backquotes; an odd one is an error of its own.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

impl Row {
    /// Everything that is wrong with the row, one line each.
    pub fn wrong(&self, tree: &Tree) -> Vec<String> {
        let mut found = Vec::new();
        if self.id.is_empty() || self.rule.is_empty() || self.document.is_empty() {
            found.push("a rule needs a document, an id and words".to_owned());
        }
        if !LEVELS.contains(&self.level.as_str()) {
            found.push(format!("`{}` is no level", self.level));
        }
        for cell in [&self.place, &self.shown] {
            if cell.matches('`').count() % 2 != 0 {
                found.push(format!("an odd backquote in `{cell}`"));
            }
        }
        for place in quoted(&self.place) {
            if let Err(why) = tree.item(place) {
                found.push(format!("where: {why}"));
            }
        }
        for shown in quoted(&self.shown) {
            let checked = match shown.strip_prefix(SCRIPT) {
                Some(script) => tree.script(script),
                None => tree.test(shown),
            };
            if let Err(why) = checked {
                found.push(format!("shown by: {why}"));
            }
        }
        if let Some(reason) = self.shown.strip_prefix(LEFT_OUT) {
            if reason.trim().len() < REASON && see(reason).is_none() {
                found.push("left out without a reason".to_owned());
            }
        } else if quoted(&self.shown).is_empty() {
            found.push("neither a test nor a reason".to_owned());
        } else if quoted(&self.place).is_empty() {
            found.push("a rule that is kept is kept somewhere".to_owned());
        }
        let name = format!("{}: {} {}", self.at, self.document, self.id);
        found.iter().map(|w| format!("{name}: {w}")).collect()
    }

    fn scripts(&self) -> impl Iterator<Item = &str> {
        quoted(&self.shown)
            .into_iter()
            .filter_map(|s| s.strip_prefix(SCRIPT))
    }
}

/// Numbers of a document that no row has: `kinds` are prefixes and how far
/// each is counted.
pub fn missing_numbers(rows: &[Row], document: &str, kinds: &[(&str, u32)]) -> Vec<String> {
    let there: BTreeSet<&str> = rows
        .iter()
        .filter(|r| r.document.starts_with(document))
        .map(|r| r.id.as_str())
        .collect();
    kinds
        .iter()
        .flat_map(|(kind, last)| (1..=*last).map(move |n| format!("{kind}-{n}")))
        .filter(|id| !there.contains(id.as_str()))
        .collect()
}

/// The id that `see MUST-1; and so on` leads to.
fn see(reason: &str) -> Option<&str> {
    let id = reason.trim().strip_prefix("see ")?;
    let id = id.split([';', ',', ' ']).next()?;
    id.contains(|c: char| c.is_ascii_digit()).then_some(id)
}

/// Reasons that lead to a row that is not there, or gives no reason itself.
pub fn dangling(rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows {
        let Some(id) = row.shown.strip_prefix(LEFT_OUT).and_then(see) else {
            continue;
        };
        let leads = rows.iter().any(|r| {
            r.document == row.document && r.id == id && !r.shown.starts_with("left out: see ")
        });
        if !leads {
            found.push(format!("{}: {} leads to {id}", row.at, row.id));
        }
    }
    found
}

/// Rows with the same document and id.
pub fn repeated(rows: &[Row]) -> Vec<String> {
    let mut first = BTreeMap::new();
    let mut twice = Vec::new();
    for row in rows {
        if let Some(before) = first.insert((&row.document, &row.id), &row.at) {
            twice.push(format!("{}: {} is at {before} too", row.at, row.id));
        }
    }
    twice
}

/// Scripts, named as below their directory, that no row cites.
pub fn uncited(rows: &[Row], scripts: &BTreeSet<String>) -> Vec<String> {
    let cited: BTreeSet<&str> = rows.iter().flat_map(Row::scripts).collect();
    let is_cited = |script: &str| cited.iter().any(|pattern| matches(pattern, script));
    scripts.iter().filter(|s| !is_cited(s)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "## RFC 1: A\n| id | level | rule | where | shown by |\n| --- | --- | --- | --- | --- |\n";

    fn tree() -> Tree {
        Tree::of(&[
            (
                "src/a.rs",
                "fn f() {}\n#[test]\nfn shows() {}\nfn helps() {}\n",
            ),
            ("tests/packetdrill/scripts/x/y.pkt", ""),
        ])
    }

    fn row(line: &str) -> Row {
        let rows = read_tables("t.md", &format!("{HEAD}{line}\n")).expect("one shape");
        assert_eq!(rows.len(), 1);
        rows[0].clone()
    }

    fn wrong(line: &str) -> String {
        row(line).wrong(&tree()).join("\n")
    }

    #[test]
    fn sound_rows_pass() {
        for line in [
            "| 1 | MUST | It does. | `a.rs::f` | `a.rs::shows` |",
            "| 1 | MUST | It does. | `a.rs::f` | `packetdrill/x/y.pkt` and so on |",
            "| 1 | MUST | It does. | `a.rs::f` | `packetdrill/x/*` |",
            "| 1 | SHOULD | It does. | | left out: nobody needs it here |",
        ] {
            assert_eq!(wrong(line), "", "{line}");
        }
        assert_eq!(
            row("| 1.2 | MUST | a | b | c |").document,
            "RFC 1: A",
            "the heading above"
        );
    }

    #[test]
    fn rotten_rows_are_found() {
        for (line, says) in [
            ("| | MUST | x | `a.rs::f` | `a.rs::shows` |", "an id"),
            ("| 1 | MUST | | `a.rs::f` | `a.rs::shows` |", "words"),
            ("| 1 | WILL | x | `a.rs::f` | `a.rs::shows` |", "no level"),
            ("| 1 | MUST | x | `b.rs::f` | `a.rs::shows` |", "b.rs"),
            ("| 1 | MUST | x | `a.rs::g` | `a.rs::shows` |", "no `g`"),
            ("| 1 | MUST | x | `a.rs` | `a.rs::shows` |", "path::item"),
            ("| 1 | MUST | x | | `a.rs::shows` |", "kept somewhere"),
            ("| 1 | MUST | x | `a.rs::f` | |", "neither"),
            ("| 1 | MUST | x | `a.rs::f` | some test |", "neither"),
            (
                "| 1 | MUST | x | `a.rs::f` | `a.rs::gone` |",
                "no test `gone`",
            ),
            (
                "| 1 | MUST | x | `a.rs::f` | `a.rs::helps` |",
                "no test `helps`",
            ),
            (
                "| 1 | MUST | x | `a.rs::f` | `packetdrill/x/z.pkt` |",
                "z.pkt",
            ),
            ("| 1 | MUST | x | `a.rs::f` | `packetdrill/z/*` |", "z/"),
            (
                "| 1 | MUST | x | `a.rs::f | `a.rs::shows` |",
                "odd backquote",
            ),
            ("| 1 | MUST | x | | left out: no |", "without a reason"),
        ] {
            let found = wrong(line);
            assert!(found.contains(says), "{line}: {found:?}");
            assert!(found.contains("t.md:4: RFC 1: A"), "{found:?}");
        }
    }

    #[test]
    fn a_missing_cell_is_an_error_and_other_tables_are_not_rules() {
        let text = format!("{HEAD}| 1 | MUST | x | `a.rs::f` |\n");
        assert!(read_tables("t.md", &text).is_err());
        let other = "| a | b |\n| --- | --- |\n| 1 | 2 |\n";
        assert!(read_tables("t.md", other).is_ok_and(|r| r.is_empty()));
    }

    #[test]
    fn a_reason_that_leads_elsewhere_has_to_arrive() {
        let line = |id, shown| format!("| {id} | MUST | x | | {shown} |\n");
        let text = format!(
            "{HEAD}{}{}{}{}",
            line("A-1", "left out: nobody needs it"),
            line("A-2", "left out: see A-1; and"),
            line("A-3", "left out: see A-9"),
            line("A-4", "left out: see A-2")
        );
        let rows = read_tables("t.md", &text).expect("one shape");
        let found = dangling(&rows).join("\n");
        assert!(
            found.contains("A-9") && found.contains("A-4 leads to A-2"),
            "{found}"
        );
        assert_eq!(dangling(&rows).len(), 2);
        assert_eq!(wrong("| 1 | MUST | x | | left out: see A-1 |"), "");
        assert!(wrong("| 1 | MUST | x | | left out: see there |").contains("reason"));
    }

    #[test]
    fn gaps_repetitions_and_uncited_scripts_are_found() {
        let line = "| MUST-1 | MUST | x | `a.rs::f` | `packetdrill/x/y.pkt`, `packetdrill/d/*` |\n";
        let text = format!("{HEAD}{line}{line}");
        let rows = read_tables("t.md", &text).expect("one shape");
        assert_eq!(missing_numbers(&rows, "RFC 1", &[("MUST", 2)]), ["MUST-2"]);
        assert_eq!(missing_numbers(&rows, "RFC 2", &[("MUST", 1)]), ["MUST-1"]);
        assert_eq!(repeated(&rows).len(), 1);
        assert_eq!(repeated(&rows[..1]).len(), 0);
        let scripts = ["x/y.pkt", "x/z.pkt", "d/a.pkt"].map(str::to_owned);
        assert_eq!(uncited(&rows, &scripts.into()), ["x/z.pkt"]);
    }
}
