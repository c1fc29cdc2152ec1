//! fullbore's TCP against the kernel's: the same exchanges, field by field.
//!
//! Each case brings a connection to a state and injects one segment. Against
//! the kernel that happens in real time, over a veth pair in a namespace;
//! against fullbore in virtual time. What the two may differ in, and why, is
//! in `known.txt`; `docs/conformance.md` has the reasons at length.

mod case;
#[path = "../common/mod.rs"]
mod common;
mod exchange;
mod host;
#[path = "../kernel/mod.rs"]
mod kernel;
mod known;
mod linux;
mod segment;
mod simulated;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use case::Case;
use exchange::{COLLECT, Outcome, run};
use kernel::{Settings, in_namespace};
use known::Known;
use linux::Linux;
use simulated::Simulated;

/// Floor of the retransmission time-out of both hosts: long enough for none
/// to come while answers are collected, however busy the machine is.
pub const MIN_RTO: Duration = Duration::from_secs(5);
/// Cases that run at once; nearly all of their time is waiting.
const WORKERS: usize = 96;
/// How long the kernel's answers are collected, as a multiple, in each try
/// before a case counts as a difference, or as one that is gone: on a busy
/// machine it is in no hurry.
const TRIES: [u32; 4] = [1, 3, 5, 10];
/// Most cases that a failure lists.
const SHOWN: usize = 2000;

fn settings() -> Settings {
    let mut settings = Settings::new((segment::HOST, 24), segment::PEER);
    settings.sysctl("ipv4/tcp_rto_min_us", &MIN_RTO.as_micros().to_string());
    // No probes of a lost tail.
    settings.sysctl("ipv4/tcp_early_retrans", "0");
    settings.sysctl("ipv4/tcp_max_tw_buckets", "65536");
    settings
}

type Found = Result<Outcome, String>;

fn fullbore(case: &Case) -> Found {
    // Half of it where a probe would come.
    let collect = match case.start {
        case::Start::InFlight => COLLECT / 2,
        _ => COLLECT,
    };
    run(&mut Simulated::new(case.start.buffer()), case, collect)
}

fn text(found: &Found) -> String {
    match found {
        Ok(outcome) => outcome.to_string(),
        Err(why) => format!("not brought to it: {why}"),
    }
}

/// Two answers to a case that are not the same.
pub struct Difference {
    pub case: Case,
    pub linux: String,
    pub fullbore: String,
}

/// Runs `cases` against both. A case is tried again while `wrong` says that
/// its result, whether there is a difference, is not what it should be.
fn compare(cases: &[Case], wrong: &(dyn Fn(&Case, bool) -> bool + Sync)) -> Vec<Difference> {
    let differences = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    in_namespace(&settings(), |wire| {
        let linux = Linux::new(wire);
        std::thread::scope(|scope| {
            scope.spawn(|| linux.distribute());
            std::thread::scope(|scope| {
                for _ in 0..WORKERS {
                    scope.spawn(|| {
                        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                            if let Some(d) = compare_one(&linux, case, wrong) {
                                differences.lock().expect("nobody panics with it").push(d);
                            }
                        }
                    });
                }
            });
            linux.stop();
        });
    });
    let mut found = differences.into_inner().expect("nobody panics with it");
    found.sort_by_key(|d| d.case.to_string());
    found
}

fn compare_one(
    linux: &Linux,
    case: &Case,
    wrong: &(dyn Fn(&Case, bool) -> bool + Sync),
) -> Option<Difference> {
    let ours = fullbore(case);
    let mut difference = None;
    for times in TRIES {
        let mut host = linux.host(case.start.buffer());
        let theirs = run(&mut host, case, COLLECT * times);
        let failed = theirs.is_err() || ours.is_err();
        let [theirs, ours] = [text(&theirs), text(&ours)];
        difference = (failed || theirs != ours).then(|| Difference {
            case: case.clone(),
            linux: theirs,
            fullbore: ours,
        });
        if !wrong(case, difference.is_some()) {
            break;
        }
    }
    difference
}

/// The cases whose names contain `FULLBORE_CASE`; all without it.
fn cases() -> (Vec<Case>, bool) {
    let part = std::env::var("FULLBORE_CASE").unwrap_or_default();
    let all = case::all().into_iter();
    let chosen = all.filter(|c| c.to_string().contains(&part)).collect();
    (chosen, part.is_empty())
}

fn report(what: &str, differences: &[&Difference]) -> String {
    let mut text = format!("{what}: {}\n", differences.len());
    for d in differences.iter().take(SHOWN) {
        text += &format!(
            "{}\n    linux:    {}\n    fullbore: {}\n",
            d.case, d.linux, d.fullbore
        );
    }
    text
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn fullbore_answers_as_linux_does_or_it_is_known_why_not() {
    if !common::require_root() {
        return;
    }
    let rewrite = std::env::var("FULLBORE_REWRITE_KNOWN").is_ok_and(|v| v == "1");
    let text = std::fs::read_to_string(known::path()).expect("known.txt");
    let known = Known::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let (cases, all) = cases();
    let start = std::time::Instant::now();
    let found = compare(&cases, &|case, differs| {
        differs != known.reason(&case.to_string()).is_some()
    });
    println!(
        "{} of {} exchanges differ, {:.1} s",
        found.len(),
        cases.len(),
        start.elapsed().as_secs_f64()
    );
    let names: BTreeSet<String> = found.iter().map(|d| d.case.to_string()).collect();
    if rewrite && all {
        let fresh = known.rewritten(names.iter().map(String::as_str));
        std::fs::write(known::path(), fresh.text()).expect("known.txt can be written");
    }
    let unexplained = |d: &&Difference| {
        let reason = known.reason(&d.case.to_string());
        reason.is_none_or(|reason| reason == known::UNEXPLAINED)
    };
    let new: Vec<&Difference> = found.iter().filter(unexplained).collect();
    let run: BTreeSet<String> = cases.iter().map(Case::to_string).collect();
    let gone: Vec<&str> = known
        .cases()
        .filter(|case| !names.contains(*case) && (all || run.contains(*case)))
        .collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{}known and gone: {}\n{}",
        report("not known", &new),
        gone.len(),
        gone.iter()
            .take(SHOWN)
            .fold(String::new(), |text, case| text + case + "\n"),
    );
}
