//! `docs/conformance.md` and the tables below `docs/conformance/` say which
//! rule of which RFC is where in the code and what shows it. Here the tables
//! are read and every reference in them is followed: they cannot rot.

mod map;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use map::{Row, read_tables};
use source::{SCRIPTS, Tree, files_below};

/// What RFC 9293 numbers in its text and appendix B: each has to have a row.
const NUMBERED: [(&str, u32); 4] = [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files with tables, the index first.
fn documents() -> Vec<PathBuf> {
    let docs = repository().join("docs");
    let mut found = files_below(&docs.join("conformance"), "md");
    assert!(!found.is_empty(), "no tables below docs/conformance");
    found.insert(0, docs.join("conformance.md"));
    found
}

fn all_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in documents() {
        let name = path.strip_prefix(repository()).unwrap_or(&path);
        let text = fs::read_to_string(&path).expect("readable");
        rows.extend(read_tables(&name.display().to_string(), &text).expect("tables of one shape"));
    }
    rows
}

#[test]
fn every_reference_leads_somewhere() {
    let tree = Tree::open(repository());
    let wrong: Vec<String> = all_rows().iter().flat_map(|row| row.wrong(&tree)).collect();
    assert!(
        wrong.is_empty(),
        "{} defects:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_numbered_requirement_of_rfc_9293_has_a_row() {
    let rows = all_rows();
    let missing = map::missing_numbers(&rows, "RFC 9293", &NUMBERED);
    assert!(missing.is_empty(), "no row for {}", missing.join(", "));
}

#[test]
fn no_rule_has_two_rows() {
    let twice = map::repeated(&all_rows());
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}

#[test]
fn no_reason_leads_nowhere() {
    let dangling = map::dangling(&all_rows());
    assert!(dangling.is_empty(), "{}", dangling.join("\n"));
}

#[test]
fn every_script_is_cited() {
    let scripts = files_below(&repository().join(SCRIPTS), "pkt");
    let scripts: BTreeSet<String> = scripts
        .iter()
        .filter_map(|p| p.strip_prefix(repository().join(SCRIPTS)).ok())
        .map(|p| p.display().to_string())
        .collect();
    let uncited = map::uncited(&all_rows(), &scripts);
    assert!(
        uncited.is_empty(),
        "no row of docs/conformance cites\n{}",
        uncited.join("\n")
    );
}

#[test]
fn the_index_links_every_file_and_names_every_document() {
    let index = fs::read_to_string(repository().join("docs/conformance.md")).expect("an index");
    for path in files_below(&repository().join("docs/conformance"), "md") {
        let link = format!(
            "(conformance/{})",
            path.file_name().unwrap_or_default().display()
        );
        assert!(index.contains(&link), "no link to {link}");
    }
    let documents: BTreeSet<String> = all_rows().into_iter().map(|r| r.document).collect();
    let missing: Vec<_> = documents
        .iter()
        .filter(|d| !index.contains(d.split(':').next().unwrap_or(d)))
        .collect();
    assert!(missing.is_empty(), "the index does not name {missing:?}");
}
