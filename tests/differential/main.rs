//! fullbore's TCP against the kernel's: the same exchanges, field by field.
//!
//! Each case brings a connection to a state and injects one segment. Against
//! the kernel that happens in real time, over a veth pair in a namespace;
//! against fullbore in virtual time. What the two may differ in, and why, is
//! in `known.txt`; `docs/conformance.md` has the reasons at length.
//!
//! A second test has the same exchanges with fullbore on an AF_XDP socket at the
//! end of such a pair, which must answer as in memory to the last field.

mod case;
#[path = "../common/mod.rs"]
mod common;
mod engine;
mod exchange;
mod host;
#[path = "../kernel/mod.rs"]
mod kernel;
mod known;
mod linux;
mod segment;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use case::Case;
use engine::{Fullbore, Way};
use exchange::{COLLECT, Outcome, run};
use kernel::{Settings, in_namespace};
use known::Known;
use linux::Linux;

/// Floor of the retransmission time-out of both hosts: long enough for none
/// to come while answers are collected, however busy the machine is.
pub const MIN_RTO: Duration = Duration::from_secs(5);
/// Cases that run at once; nearly all of their time is waiting.
const WORKERS: usize = 96;
/// How long the kernel's answers are collected, as a multiple, in each try
/// before a case counts as a difference, or as one that is gone: on a busy
/// machine it is in no hurry.
const TRIES: [u32; 4] = [1, 3, 5, 10];
/// How often an exchange is run over AF_XDP at most if a frame is lost.
const XDP_TRIES: usize = 3;
/// Most cases that a failure lists.
const SHOWN: usize = 2000;

fn settings() -> Settings {
    let mut settings = Settings::new((segment::HOST, 24), segment::PEER);
    settings.add_ipv6(segment::HOST_V6, segment::PEER_V6);
    settings.sysctl("ipv4/tcp_rto_min_us", &MIN_RTO.as_micros().to_string());
    // No probes of a lost tail.
    settings.sysctl("ipv4/tcp_early_retrans", "0");
    settings.sysctl("ipv4/tcp_max_tw_buckets", "65536");
    settings
}

type Found = Result<Outcome, String>;

/// What fullbore does, on a host that is ready for it.
fn ours<W: Way>(host: &mut Fullbore<W>, case: &Case) -> Found {
    // Half of it where a probe would come.
    let collect = match case.start {
        case::Start::InFlight => COLLECT / 2,
        _ => COLLECT,
    };
    run(host, case, collect)
}

fn in_memory(case: &Case) -> Found {
    ours(&mut Fullbore::in_memory(case.start.buffer(), case.v6), case)
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
    let ours = in_memory(case);
    let mut difference = None;
    for times in TRIES {
        let mut host = linux.host(case.start.buffer(), case.v6);
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

/// Why a case may differ: over IPv6 for what it does over IPv4, unless it has a
/// reason of its own.
fn reason<'a>(known: &'a Known, case: &Case) -> Option<&'a str> {
    let own = known.reason(&case.to_string());
    own.or_else(|| known.reason(&case.over_ipv4().to_string()))
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
        differs != reason(&known, case).is_some()
    });
    println!(
        "{} of {} exchanges differ, {:.1} s",
        found.len(),
        cases.len(),
        start.elapsed().as_secs_f64()
    );
    let names: BTreeSet<String> = found.iter().map(|d| d.case.to_string()).collect();
    if rewrite && all {
        // Over IPv6 what differs over IPv4 as well goes without saying.
        let listed =
            |d: &&Difference| !d.case.v6 || !names.contains(&d.case.over_ipv4().to_string());
        let listed = found.iter().filter(listed).map(|d| d.case.to_string());
        let listed: Vec<String> = listed.collect();
        let fresh = known.rewritten(listed.iter().map(String::as_str));
        std::fs::write(known::path(), fresh.text()).expect("known.txt can be written");
    }
    let unexplained =
        |d: &&Difference| reason(&known, &d.case).is_none_or(|reason| reason == known::UNEXPLAINED);
    let new: Vec<&Difference> = found.iter().filter(unexplained).collect();
    let run: BTreeSet<String> = cases.iter().map(Case::to_string).collect();
    let same = cases.iter().filter(|c| reason(&known, c).is_some());
    let same = same.map(Case::to_string).filter(|c| !names.contains(c));
    let no_cases = known.cases().filter(|case| all && !run.contains(*case));
    let gone: Vec<String> = same.chain(no_cases.map(str::to_owned)).collect();
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

#[test]
#[ignore = "needs root: makes a network namespace"]
fn fullbore_answers_over_af_xdp_as_in_memory() {
    if !common::require_root() {
        return;
    }
    let (cases, _) = cases();
    let start = std::time::Instant::now();
    let (wrong, frames) = in_namespace(&engine::xdp::settings(), |wire| {
        let mut host = Fullbore::on_xdp(wire);
        let differ = cases.iter().filter_map(|case| over_xdp(&mut host, case));
        let wrong: Vec<String> = differ.collect();
        (wrong, host.frames())
    });
    println!(
        "{} exchanges over AF_XDP, {} frames in and {} out, {:.1} s",
        cases.len(),
        frames.0,
        frames.1,
        start.elapsed().as_secs_f64()
    );
    // What came in and went out there, by the socket's own account.
    let most = cases.len() as u64;
    assert!(frames.0 > most && frames.1 > most / 2, "{frames:?}");
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong.join("\n"));
}

/// What differs. A frame that the kernel has dropped is another try's matter,
/// a wrong answer is not.
fn over_xdp(host: &mut Fullbore<engine::xdp::Veth>, case: &Case) -> Option<String> {
    let full = |found: &Found| match found {
        Ok(outcome) => outcome.in_full(),
        error => text(error),
    };
    let memory = in_memory(case);
    let mut xdp = Err("frames are lost".into());
    for _ in 0..XDP_TRIES {
        host.begin(case.start.buffer(), case.v6);
        let found = ours(host, case);
        if !host.lost() {
            xdp = found;
            break;
        }
    }
    let failed = xdp.is_err() || memory.is_err();
    let (xdp, memory) = (full(&xdp), full(&memory));
    (failed || xdp != memory)
        .then(|| format!("{case}\n    AF_XDP:    {xdp}\n    in memory: {memory}"))
}
