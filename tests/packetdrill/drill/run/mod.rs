//! Runs a script against a target: its times, packets and calls.

mod calls;
mod conn;
mod expect;
mod icmp;
mod report;
mod shell;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use super::ast::{Action, Event, Script, Span};
use super::parse::{self, ParseError};
use super::python;
use super::target::{CallId, Fd, Plan, Target};
use super::wire;
use conn::Conn;
pub use report::Ignored;
use report::Table;

/// Times may be off by this much, or by [`TOLERANCE_SHARE`] of the time since
/// the event before, whichever is more.
const TOLERANCE: Duration = Duration::from_millis(4);
/// An eighth.
const TOLERANCE_SHARE: f64 = 0.125;
/// What a real clock adds to that: a busy machine lets the runner wait.
const REAL_TIME: Duration = Duration::from_millis(25);
/// How late something may be done by a real clock. The kernel's longer timers
/// are coarse, and what comes of being late shows in the answers' times.
const LATE: Duration = Duration::from_millis(200);
/// How long `*` waits: for a virtual clock, and for a real one.
const PATIENCE: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(10)];
/// The port of `...` in `bind` and `connect`.
const DEFAULT_PORT: u16 = 8080;

/// How the reason begins for which a script that says that the target differs
/// is skipped.
pub const KNOWN: &str = "known to differ";

/// How a script is judged, beyond what it says itself.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the target has sent before the last event must have been expected.
    pub strict_end: bool,
}

/// How a script ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// The report tells the line, what was expected, what came, and the whole
    /// exchange.
    Failed(String),
    /// It was not run, or its failure is expected; why.
    Skipped(String),
}

/// What running a script came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub verdict: Verdict,
    /// What of it was not looked at.
    pub ignored: Ignored,
}

impl Run {
    fn only(verdict: Verdict) -> Self {
        Self {
            verdict,
            ignored: Ignored::default(),
        }
    }
}

/// Why a run stops early.
enum Stop {
    /// The target did something else than the script says.
    Failed(Failure),
    /// The script wants something that there is not.
    Unsupported(String),
}

/// What is wrong.
struct Failure {
    what: String,
    expected: String,
    came: String,
    /// Where, if not at the present event: line and text.
    at: Option<(usize, String)>,
}

impl Stop {
    /// The same trouble, at another event than the present one.
    fn at(mut self, event: &Event) -> Self {
        if let Stop::Failed(failure) = &mut self {
            failure.at = Some((event.line, event.text.clone()));
        }
        self
    }
}

type Result<T> = std::result::Result<T, Stop>;

fn failed(what: impl Into<String>, expected: impl Into<String>, came: impl Into<String>) -> Stop {
    Stop::Failed(Failure {
        what: what.into(),
        expected: expected.into(),
        came: came.into(),
        at: None,
    })
}

/// Makes a target for one script.
pub type MakeTarget<'a> = dyn Fn(&Plan) -> std::result::Result<Box<dyn Target>, String> + 'a;

/// Reads a script and runs it.
pub fn run_file(path: &Path, settings: Settings, make: &MakeTarget<'_>) -> Run {
    match std::fs::read(path) {
        Ok(bytes) => run_text(path, &String::from_utf8_lossy(&bytes), settings, make),
        Err(e) => Run::only(Verdict::Failed(format!("{}: {e}", path.display()))),
    }
}

/// Runs the script in `text`.
pub fn run_text(path: &Path, text: &str, settings: Settings, make: &MakeTarget<'_>) -> Run {
    let script = match parse::parse(path, text) {
        Ok(script) => script,
        Err(e @ ParseError::Syntax { .. }) => {
            return Run::only(Verdict::Failed(format!("{}: {e}", path.display())));
        }
        Err(e @ ParseError::Unsupported { .. }) => {
            return Run::only(Verdict::Skipped(e.to_string()));
        }
    };
    let plan = match plan(&script) {
        Ok(plan) => plan,
        Err(why) => return Run::only(Verdict::Skipped(why)),
    };
    let mut target = match make(&plan) {
        Ok(target) => target,
        Err(e) => return Run::only(Verdict::Failed(format!("{}: {e}", path.display()))),
    };
    if let Some(need) = script.meta.needs.iter().find(|n| !target.offers(n)) {
        return Run::only(Verdict::Skipped(format!("needs {need}")));
    }
    let known = match target.name() {
        "linux" => script.meta.linux.clone(),
        _ => script.meta.fullbore.clone(),
    };
    let mut run = Runner::new(&script, &plan, target.as_mut(), settings).run();
    run.verdict = match (run.verdict, known) {
        (Verdict::Failed(_), Some(why)) => Verdict::Skipped(format!("{KNOWN}: {why}")),
        (Verdict::Passed, Some(why)) => Verdict::Failed(format!(
            "{}: passes, but is said to differ: {why}",
            path.display()
        )),
        (verdict, _) => verdict,
    };
    run
}

/// What the options of a script ask of its target.
fn plan(script: &Script) -> std::result::Result<Plan, String> {
    let mut plan = Plan {
        v6: false,
        mtu: 1500,
    };
    for (name, value) in &script.options {
        match (name.as_str(), value.as_str()) {
            ("ip_version", "ipv6") => plan.v6 = true,
            ("ip_version", "ipv4" | "ipv4-mapped-ipv6") => {}
            ("mtu", mtu) => {
                plan.mtu = mtu.parse().map_err(|_| format!("--mtu={mtu}"))?;
            }
            ("ip_version", other) => return Err(format!("--ip_version={other}")),
            _ => {}
        }
    }
    if !(576..=1500).contains(&plan.mtu) || (plan.v6 && plan.mtu < 1280) {
        return Err(format!("an MTU of {}", plan.mtu));
    }
    Ok(plan)
}

/// A packet that the target has sent and nothing has expected yet.
#[derive(Clone, Debug)]
struct Captured {
    at: Duration,
    packet: wire::Packet,
    /// Whose it is, by number; none before the script has spoken of it.
    conn: Option<u32>,
    /// Its row in the table.
    row: usize,
}

/// A call that has not answered yet.
struct Open<'a> {
    id: CallId,
    event: &'a Event,
    call: calls::Prepared<'a>,
    /// When the answer is due.
    due: Duration,
    tolerance: Duration,
}

struct Runner<'a> {
    script: &'a Script,
    target: &'a mut dyn Target,
    settings: Settings,
    conns: BTreeMap<u32, Conn>,
    /// The connection that packets without a mark belong to.
    current: Option<u32>,
    captured: VecDeque<Captured>,
    open: Vec<Open<'a>>,
    files: calls::Files,
    /// Where relative times count from.
    base: Duration,
    tolerance: (Duration, f64),
    table: Table,
    ignored: Ignored,
    secret: u32,
    mtu: u16,
    /// Length of a tick of the target's timestamps, if they are compared.
    tick: Option<Duration>,
}

/// When an event is right to happen.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Duration,
    to: Option<Duration>,
    tolerance: Duration,
}

impl<'a> Runner<'a> {
    fn new(
        script: &'a Script,
        plan: &Plan,
        target: &'a mut dyn Target,
        settings: Settings,
    ) -> Self {
        let (mut tolerance, mut tick) = ((TOLERANCE, TOLERANCE_SHARE), None);
        for (name, value) in &script.options {
            match name.as_str() {
                "tolerance_usecs" => {
                    if let Ok(us) = value.parse() {
                        tolerance.0 = Duration::from_micros(us);
                    }
                }
                "tcp_ts_tick_usecs" => {
                    let us = value.parse().ok().filter(|us| *us > 0);
                    tick = us.map(Duration::from_micros);
                }
                "tolerance_percent" => {
                    if let Ok(percent) = value.parse::<f64>() {
                        tolerance.1 = percent / 100.0;
                    }
                }
                _ => {}
            }
        }
        if !target.offers("virtual-time") {
            tolerance.0 += REAL_TIME;
        }
        // Sequence numbers that differ from script to script, and are the same
        // each time.
        let name = script.path.file_name().unwrap_or_default();
        let secret = name.as_encoded_bytes().iter().fold(0x811c_9dc5u32, |h, b| {
            (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
        });
        Self {
            script,
            target,
            settings,
            conns: BTreeMap::new(),
            current: None,
            captured: VecDeque::new(),
            open: Vec::new(),
            files: calls::Files::default(),
            base: Duration::ZERO,
            tolerance,
            table: Table::default(),
            ignored: Ignored::default(),
            secret,
            mtu: plan.mtu,
            tick,
        }
    }

    fn run(mut self) -> Run {
        let script = self.script;
        let mut verdict = Verdict::Passed;
        for event in &script.events {
            if !event.only.allows(self.target.name()) {
                continue;
            }
            if let Err(stop) = self.event(event) {
                verdict = self.judge(event.line, &event.text, stop);
                break;
            }
        }
        if matches!(verdict, Verdict::Passed)
            && let Err(stop) = self.finish()
        {
            let last = script.events.last();
            let (line, text) = last.map_or((0, ""), |e| (e.line, e.text.as_str()));
            verdict = self.judge(line, text, stop);
        }
        Run {
            verdict,
            ignored: self.ignored,
        }
    }

    fn judge(&mut self, line: usize, text: &str, stop: Stop) -> Verdict {
        match stop {
            Stop::Unsupported(what) => Verdict::Skipped(format!("line {line}: {what}")),
            Stop::Failed(failure) => {
                self.drain();
                let (line, text) = failure.at.unwrap_or((line, text.to_owned()));
                let what = failure.what;
                let mut report = format!("{}:{line}: {what}\n", self.script.path.display());
                report.push_str(&format!("  script:   {text}\n"));
                report.push_str(&format!("  expected: {}\n", failure.expected));
                report.push_str(&format!("  came:     {}\n", failure.came));
                report.push_str(&self.table.to_string());
                Verdict::Failed(report)
            }
        }
    }

    fn event(&mut self, event: &'a Event) -> Result<()> {
        let window = self.window(event);
        let packet_out = matches!(
            &event.action,
            Action::Packet(p) if p.direction == super::ast::Direction::Out
        );
        let virtual_time = self.target.offers("virtual-time");
        if !packet_out {
            self.wait(window.from)?;
            let late = self.target.now().saturating_sub(window.from);
            let bound = if virtual_time {
                window.tolerance
            } else {
                window.tolerance + LATE
            };
            if late > bound && event.when.span != Span::Any {
                return Err(failed(
                    "the script is late: the event before took too long",
                    format!("at {}", report::seconds(window.from)),
                    format!("at {}", report::seconds(self.target.now())),
                ));
            }
        }
        let happened = match &event.action {
            Action::Packet(packet) if packet_out => self.expect(event, packet, window)?,
            Action::Packet(packet) => {
                self.send(event, packet)?;
                self.target.now()
            }
            Action::Call(call) => {
                self.call(event, call, window)?;
                self.target.now()
            }
            Action::Shell(command) => {
                self.shell(event, command);
                self.target.now()
            }
            Action::Code(code) => {
                self.code(event, code)?;
                self.target.now()
            }
        };
        self.base = match event.when.span {
            // A kernel's long timers are late by up to an eighth: what comes
            // after one counts from when it went off, or it would be late too.
            Span::At(_) if packet_out && !virtual_time && window.tolerance > self.tolerance.0 => {
                happened.max(window.from)
            }
            Span::At(_) | Span::Blocking(..) => window.from,
            Span::Range(..) | Span::Any => happened,
        };
        Ok(())
    }

    fn window(&mut self, event: &Event) -> Window {
        let origin = if event.when.relative {
            self.base
        } else {
            Duration::ZERO
        };
        let (from, to) = match event.when.span {
            Span::At(at) | Span::Blocking(at, _) => (origin + at, Some(origin + at)),
            Span::Range(from, to) => (origin + from, Some(origin + to)),
            Span::Any => (self.target.now(), None),
        };
        let tolerance = match event.when.span {
            Span::At(_) | Span::Blocking(..) => self.tolerance(from.saturating_sub(self.base)),
            Span::Range(..) | Span::Any => self.tolerance.0,
        };
        Window {
            from,
            to,
            tolerance,
        }
    }

    fn tolerance(&self, since: Duration) -> Duration {
        self.tolerance.0.max(since.mul_f64(self.tolerance.1))
    }

    /// Lets time pass until `until`.
    fn wait(&mut self, until: Duration) -> Result<()> {
        loop {
            self.target.advance(until);
            self.drain();
            self.answers()?;
            if self.target.now() >= until {
                return Ok(());
            }
        }
    }

    /// Takes what the target has sent.
    fn drain(&mut self) {
        while let Some((at, bytes)) = self.target.capture() {
            match wire::Packet::parse(&bytes) {
                Ok(packet) => {
                    let conn = self.owner(&packet);
                    let text = self.show(&packet, conn);
                    let row = self.table.came(at, text);
                    self.captured.push_back(Captured {
                        at,
                        packet,
                        conn,
                        row,
                    });
                }
                Err(e) => {
                    // Nothing will match it, and the table shows why.
                    let row = self.table.came(at, format!("{e}"));
                    self.table.note(row, "malformed");
                }
            }
        }
    }

    /// The script is over: what is still open has to end as it says, and
    /// nothing may have come that it did not say.
    fn finish(&mut self) -> Result<()> {
        let end = self.base;
        while let Some(open) = self.open.first() {
            let (event, latest) = (open.event, open.due + open.tolerance);
            let before = self.open.len();
            self.wait(latest)?;
            if self.open.len() == before {
                let by = format!("by {}", report::seconds(latest));
                return Err(failed("the call has not returned", by, "no answer").at(event));
            }
        }
        self.drain();
        if !self.settings.strict_end {
            return Ok(());
        }
        match self.captured.iter().find(|c| c.at < end) {
            None => Ok(()),
            Some(extra) => {
                self.table.note(extra.row, "not in the script");
                let came = format!(
                    "{} at {}",
                    self.show(&extra.packet, extra.conn),
                    report::seconds(extra.at)
                );
                let what = "a packet that the script does not have";
                Err(failed(what, "no packet", came))
            }
        }
    }

    fn code(&mut self, event: &Event, code: &str) -> Result<()> {
        let info = self
            .files
            .connection()
            .and_then(|fd: Fd| self.target.info(fd))
            .unwrap_or_default();
        self.table
            .did(self.target.now(), event.line, "%{ }%".to_owned());
        match python::run(code, &info) {
            Ok(ran) => {
                self.ignored.statements.extend(ran.skipped);
                for line in ran.printed {
                    self.table
                        .did(self.target.now(), event.line, format!("print {line}"));
                }
                Ok(())
            }
            Err(why) => {
                let all: Vec<_> = info.iter().map(|(n, v)| format!("{n} = {v}")).collect();
                Err(failed("an assertion does not hold", why, all.join(", ")))
            }
        }
    }

    fn shell(&mut self, event: &Event, command: &str) {
        self.table.did(
            self.target.now(),
            event.line,
            format!(
                "`{}`",
                command.split_whitespace().collect::<Vec<_>>().join(" ")
            ),
        );
        let folder = self.script.path.parent().unwrap_or(Path::new(""));
        let (settings, others) = shell::read(command, folder);
        for setting in settings {
            if !self.target.configure(&setting.name, &setting.value) {
                self.ignored
                    .settings
                    .push(format!("{}={}", setting.name, setting.value));
            }
        }
        self.ignored.commands += others;
    }

    fn patience(&self) -> Duration {
        PATIENCE[usize::from(!self.target.offers("virtual-time"))]
    }
}
