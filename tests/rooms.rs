//! Dependencies between the modules of the library point one way, as
//! docs/architecture.md draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use, besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("stats", &[]),
    ("wire", &[]),
    ("frame", &[]),
    // What threads share is made of; checked by `models/`.
    ("sync", &[]),
    ("congestion", &["time"]),
    ("transport", &["frame", "wire"]),
    (
        "tcp",
        &["congestion", "frame", "stats", "time", "transport", "wire"],
    ),
    (
        "utp",
        &["congestion", "frame", "stats", "time", "transport", "wire"],
    ),
    (
        "stack",
        &[
            "congestion",
            "frame",
            "stats",
            "tcp",
            "time",
            "transport",
            "utp",
            "wire",
        ],
    ),
    ("link", &["frame", "stats", "sync", "time"]),
    ("xdp", &["frame", "link", "stats", "time"]),
    (
        "engine",
        &[
            "congestion",
            "frame",
            "link",
            "stack",
            "stats",
            "sync",
            "tcp",
            "time",
            "transport",
            "utp",
            "wire",
        ],
    ),
    // `wire` for the checksum of content that is summed as it is copied.
    ("transfer", &["engine", "frame", "stats", "time", "wire"]),
    // `link` for the notation of faults, which are plain values.
    ("config", &["link"]),
    (
        "cli",
        &[
            "config",
            "congestion",
            "engine",
            "frame",
            "link",
            "stack",
            "stats",
            "tcp",
            "time",
            "transfer",
            "transport",
            "utp",
            "wire",
            "xdp",
        ],
    ),
];

/// Every Rust file below `dir` that is part of the product, not of its tests.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && !is_test(name.trim_end_matches(".rs")) {
            found.push(path);
        }
    }
    found
}

fn is_test(stem: &str) -> bool {
    stem == "tests" || stem.ends_with("_tests") || stem.starts_with("test_")
}

/// The modules named by `crate::` paths in code, tests left out.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut used = BTreeSet::new();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for (at, _) in line.match_indices("crate::") {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &line[at + "crate::".len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if !name.is_empty() {
                used.insert(name);
            }
        }
    }
    used
}

#[test]
fn dependencies_point_one_way() {
    let may_use: BTreeMap<&str, BTreeSet<&str>> = MAY_USE
        .iter()
        .map(|(room, others)| (*room, others.iter().copied().collect()))
        .collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms = BTreeSet::new();
    let mut wrong = Vec::new();
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap();
        let room = relative
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        if matches!(room, "lib" | "main") {
            continue;
        }
        rooms.insert(room.to_owned());
        let Some(allowed) = may_use.get(room) else {
            wrong.push(format!(
                "{}: `{room}` is not in the table",
                relative.display()
            ));
            continue;
        };
        for other in used(&fs::read_to_string(&path).unwrap()) {
            if other != room && !allowed.contains(other.as_str()) {
                wrong.push(format!("{}: `{room}` uses `{other}`", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> = may_use.keys().map(|&room| room.to_owned()).collect();
    assert_eq!(rooms, listed, "the table lists rooms that are not there");
}

#[test]
fn the_table_has_no_cycle() {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < MAY_USE.len() {
        let ready: Vec<&str> = MAY_USE
            .iter()
            .filter(|(room, others)| {
                !done.contains(room) && others.iter().all(|o| done.contains(o))
            })
            .map(|(room, _)| *room)
            .collect();
        assert!(!ready.is_empty(), "a cycle among those not in {done:?}");
        done.extend(ready);
    }
}

#[test]
fn paths_are_found_in_code_and_not_in_comments_or_tests() {
    let text = "// crate::a\nuse crate::b::C;\nlet x = crate::c::d(); mycrate::e\n\
                pub(in crate::f) fn g() {}\n#[cfg(test)]\nuse crate::h;\n";
    let found: Vec<_> = used(text).into_iter().collect();
    assert_eq!(found, ["b", "c", "f"]);
}
