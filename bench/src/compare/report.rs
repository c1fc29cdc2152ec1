//! What a comparison came to: as text, JSON, and the generated part of
//! docs/performance.md with its plots.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::place::Side;
use super::{Group, Outcome, Plan, Row, plots};

/// What the generated part of the document lies between.
const MARKS: [&str; 2] = [
    "<!-- comparison: generated, do not edit -->",
    "<!-- comparison: end -->",
];
/// Where plots lie, beside the document.
const PLOTS: &str = "plots";

/// Under which conditions figures were taken.
pub struct Conditions(Vec<(&'static str, String)>);

impl Conditions {
    /// Those of the machine, before anything runs.
    #[must_use]
    pub fn of_machine(plan: &Plan) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo")
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("unknown")
            .to_owned();
        let kernel = rustix::system::uname();
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let layout = match cores[..] {
            [first, .., last] => format!(
                "{} usable, client on {}, server on {}",
                cores.len(),
                first.id,
                last.id
            ),
            _ => "one, shared by both ends".to_owned(),
        };
        let load = read("/proc/loadavg");
        let load = load.split_whitespace().take(3).collect::<Vec<_>>();
        Self(vec![
            ("processor", model),
            ("cores", layout),
            (
                "kernel",
                format!("Linux {}", kernel.release().to_string_lossy()),
            ),
            ("load before", load.join(" ")),
            ("MTU", format!("{} bytes", plan.mtu)),
            (
                "runs",
                format!(
                    "{} rounds, all in turn; {} s each, streams after {} s; files of {} MiB; \
                     {} segments over memory",
                    plan.runs,
                    plan.duration.as_secs_f64(),
                    plan.warm_up.as_secs_f64(),
                    plan.file >> 20,
                    plan.segments
                ),
            ),
        ])
    }

    /// What was found out on the way.
    pub fn add(&mut self, outcome: &Outcome) {
        if let Some(interface) = &outcome.interface {
            self.0.push(("interface", interface.clone()));
        }
        let offloads = format!(
            "tso off gso off gro off tx off; \"GRO at the receiver\": gro on there; \
             \"as it comes\": {}",
            outcome.defaults
        );
        self.0.push(("offloads", offloads));
        self.0.push((
            "addresses",
            format!(
                "kernel {} and {}; others their own",
                Side::Client.address(),
                Side::Server.address()
            ),
        ));
    }
}

/// Three significant digits.
#[must_use]
pub fn plain(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn of(outcome: &Outcome, group: Group) -> impl Iterator<Item = &Row> {
    outcome.rows.iter().filter(move |row| row.group == group)
}

/// The groups that were run.
fn groups(outcome: &Outcome) -> Vec<Group> {
    let mut groups: Vec<Group> = outcome.rows.iter().map(|row| row.group).collect();
    groups.dedup();
    groups
}

/// How many times the first row's figure, round by round.
fn ratio(outcome: &Outcome, row: &Row) -> Option<String> {
    let first = of(outcome, row.group).next()?;
    let (_, own) = row.figures.first()?;
    let (_, base) = first.figures.first()?;
    (own.len() == base.len()).then(|| {
        let ratio = own.over(base);
        format!(
            "{:.2} ({:.2} to {:.2})",
            ratio.median(),
            ratio.min(),
            ratio.max()
        )
    })
}

/// A group's table in Markdown.
fn table(outcome: &Outcome, group: Group) -> String {
    let mut text = String::new();
    let heads: Vec<&str> = of(outcome, group)
        .map(|row| {
            row.figures
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
        })
        .find(|heads| !heads.is_empty())
        .unwrap_or_default();
    let _ = write!(text, "| median (least to most), {} |", group.unit());
    for head in &heads {
        let _ = write!(text, " {head} |");
    }
    let first = of(outcome, group).next().map_or("", |row| row.name);
    let head = heads.first().unwrap_or(&"");
    let _ = writeln!(
        text,
        " {head} / {head} of {first} |\n|---{}|---|",
        "|---".repeat(heads.len())
    );
    for row in of(outcome, group) {
        let _ = write!(text, "| {} |", row.name);
        if let Some(missing) = &row.missing {
            let first_line = missing.lines().next().unwrap_or_default();
            let _ = write!(text, " {} |", first_line.replace('|', "/"));
            let _ = writeln!(text, "{}", " |".repeat(heads.len()));
            continue;
        }
        for (_, sample) in &row.figures {
            let _ = write!(
                text,
                " {} ({} to {}) |",
                plain(sample.median()),
                plain(sample.min()),
                plain(sample.max())
            );
        }
        let _ = writeln!(text, " {} |", ratio(outcome, row).unwrap_or_default());
    }
    text
}

/// The whole, in Markdown, which reads as text too.
#[must_use]
pub fn text(conditions: &Conditions, outcome: &Outcome, with_plots: bool) -> String {
    let mut text = String::new();
    for (name, value) in &conditions.0 {
        let _ = writeln!(text, "- {name}: {value}");
    }
    for group in groups(outcome) {
        let _ = writeln!(text, "\n### {}\n\n{}", group.title(), table(outcome, group));
        if with_plots {
            let _ = writeln!(text, "![{}]({PLOTS}/{}.svg)", group.title(), group.name());
        }
    }
    text
}

/// The whole for machines.
#[must_use]
pub fn json(conditions: &Conditions, outcome: &Outcome) -> Value {
    let conditions: serde_json::Map<_, _> = conditions
        .0
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect();
    let rows: Vec<_> = outcome
        .rows
        .iter()
        .map(|row| {
            let figures: serde_json::Map<_, _> = row
                .figures
                .iter()
                .map(|(name, sample)| ((*name).to_owned(), sample.json()))
                .collect();
            json!({
                "group": row.group.name(), "name": row.name, "unit": row.group.unit(),
                "figures": figures, "missing": row.missing, "failed": row.failed,
            })
        })
        .collect();
    json!({ "conditions": conditions, "rows": rows })
}

/// Writes the generated part of `performance.md` in `docs`, and the plots.
///
/// # Errors
/// The document is not there, or cannot be written.
pub fn write(docs: &Path, conditions: &Conditions, outcome: &Outcome) -> Result<(), String> {
    let path = document(docs);
    let new = replaced(docs, &text(conditions, outcome, true))?;
    let plots = docs.join(PLOTS);
    std::fs::create_dir_all(&plots).map_err(|e| format!("{}: {e}", plots.display()))?;
    for group in groups(outcome) {
        let rows: Vec<&Row> = of(outcome, group).collect();
        let drawing = plots::draw(group, &rows).map_err(|e| e.to_string())?;
        let file = plots.join(format!("{}.svg", group.name()));
        std::fs::write(&file, drawing).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    std::fs::write(&path, new).map_err(|e| format!("{}: {e}", path.display()))
}

/// Whether [`write`] will find what it needs: to be asked before minutes of
/// measurements.
///
/// # Errors
/// The document is not there, or has no generated part.
pub fn check(docs: &Path) -> Result<(), String> {
    replaced(docs, "").map(drop)
}

fn document(docs: &Path) -> PathBuf {
    docs.join("performance.md")
}

/// The document with another generated part.
fn replaced(docs: &Path, part: &str) -> Result<String, String> {
    let path = document(docs);
    let old = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let [begin, end] = MARKS;
    let parts = old
        .split_once(begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let Some((before, after)) = parts else {
        let path = path.display();
        return Err(format!("{path}: the marks of the generated part are gone"));
    };
    let part = part.trim_end();
    Ok(format!("{before}{begin}\n\n{part}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn outcome() -> Outcome {
        let row = |name, runs: &[f64]| Row {
            group: Group::Stream,
            name,
            figures: vec![("goodput", runs.iter().copied().collect::<Sample>())],
            missing: None,
            failed: false,
        };
        let mut rows = vec![
            row("kernel", &[2.0, 4.0, 3.0]),
            row("own", &[4.0, 4.0, 9.0]),
        ];
        rows.push(Row {
            figures: Vec::new(),
            missing: Some("nginx is not there".to_owned()),
            ..row("absent", &[])
        });
        Outcome {
            rows,
            interface: Some("fb0, driver veth".to_owned()),
            defaults: "tso on".to_owned(),
        }
    }

    #[test]
    fn tables_have_medians_spreads_and_ratios_of_rounds() {
        let table = table(&outcome(), Group::Stream);
        assert!(
            table.contains("| own | 4.00 (4.00 to 9.00) | 2.00 (1.00 to 3.00) |"),
            "{table}"
        );
        assert!(table.contains("| absent | nginx is not there |"), "{table}");
    }

    #[test]
    fn only_the_generated_part_is_replaced_and_plots_are_drawn() {
        let dir = std::env::temp_dir().join(format!("fullbore-report-{}", std::process::id()));
        let missing = check(&dir).unwrap_err();
        assert!(
            missing.contains("performance.md: No such file"),
            "{missing}"
        );
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("performance.md");
        let conditions = Conditions(vec![("kernel", "Linux".to_owned())]);
        std::fs::write(&path, "no marks").unwrap();
        assert!(check(&dir).unwrap_err().contains("marks"));
        assert!(write(&dir, &conditions, &outcome()).is_err());
        std::fs::write(&path, format!("a\n{}\nold\n{}\nz\n", MARKS[0], MARKS[1])).unwrap();
        check(&dir).unwrap();
        write(&dir, &conditions, &outcome()).unwrap();
        write(&dir, &conditions, &outcome()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("a\n") && text.ends_with("\nz\n"), "{text}");
        assert!(
            !text.contains("old") && text.contains("plots/stream.svg"),
            "{text}"
        );
        assert_eq!(text.matches("### ").count(), 1, "{text}");
        let plot = std::fs::read_to_string(dir.join("plots/stream.svg")).unwrap();
        assert!(plot.contains("<svg") && plot.contains("own"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
