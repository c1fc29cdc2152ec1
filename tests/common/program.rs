//! The `fullbore` command, run in a [`Net`].

use super::{DEVICE, Net, Process, Side, wait_for};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The program under test; other packages bring one of their own.
pub const PROGRAM: &str = match option_env!("CARGO_BIN_EXE_fullbore") {
    Some(path) => path,
    None => "fullbore",
};

/// `fullbore` in the namespace of `side`, with `verb` and without a claim to
/// a core of its own, since tests run beside each other.
pub fn fullbore(net: &Net, side: Side, verb: &str) -> Command {
    let mut command = net.command(side, PROGRAM);
    command.args([verb, "--on", DEVICE, "--idle", "sleep", "--cores", "none"]);
    command.stdin(Stdio::null());
    command
}

/// What a finished program left.
#[derive(Debug)]
pub struct Run {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// Asserts that it failed with `code` and one line that has each of
    /// `words`.
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        // What was found comes first when the failure is later than the start.
        let errors: Vec<_> = self
            .stderr
            .lines()
            .filter(|l| l.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{self:?}");
        assert_eq!(self.stderr.lines().last(), Some(errors[0]), "{self:?}");
        for word in words {
            assert!(errors[0].contains(word), "no {word:?}: {self:?}");
        }
    }

    /// Asserts that it succeeded.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// Whether a program is attached to the device of `side`.
pub fn attached(net: &Net, side: Side) -> bool {
    net.run(side, "ip", &["link", "show", "dev", DEVICE])
        .contains("xdp")
}

/// Asserts that nothing is left attached to the device of `side`.
pub fn detached(net: &Net, side: Side) {
    wait_for("the program to be detached", Duration::from_secs(2), || {
        !attached(net, side)
    });
}

/// A running `fullbore serve` in namespace A.
pub struct Serving {
    /// The process.
    pub process: Process,
    logs: tempfile::TempDir,
}

impl Serving {
    /// Serves `dir`; waits until it does.
    pub fn start(net: &Net, dir: &Path, args: &[&str]) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let file = |name| std::fs::File::create(logs.path().join(name)).unwrap();
        let mut command = fullbore(net, Side::A, "serve");
        command.arg(dir).args(["--stats", "json"]).args(args);
        command.stdout(file("out")).stderr(file("err"));
        let process = Process::start(&mut command);
        let mut serving = Self { process, logs };
        wait_for("fullbore to serve", Duration::from_secs(10), || {
            if let Some(status) = serving.process.child().try_wait().unwrap() {
                panic!("{status}: {}", serving.stderr());
            }
            serving.stderr().contains("serving ")
        });
        serving
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.logs.path().join("err")).unwrap()
    }

    /// The last whole line of statistics.
    fn statistics(&self) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.logs.path().join("out")).unwrap();
        let whole = &text[..text.rfind('\n')?];
        Some(serde_json::from_str(whole.lines().last()?).unwrap())
    }

    /// A counter, by its JSON pointer; 0 before the first line.
    pub fn counter(&self, pointer: &str) -> u64 {
        self.statistics().map_or(0, |s| {
            let value = s.pointer(pointer).and_then(serde_json::Value::as_u64);
            value.unwrap_or_else(|| panic!("no {pointer} in {s}"))
        })
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(&self.process, rustix::process::Signal::TERM);
    }

    /// Waits for an end in order after SIGTERM, checks that every frame came
    /// back, and returns the counters.
    pub fn finish(self, net: &Net) -> serde_json::Value {
        self.terminate();
        self.finish_terminated(net)
    }

    /// The same when SIGTERM has been sent.
    pub fn finish_terminated(mut self, net: &Net) -> serde_json::Value {
        let status = self.process.child().wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        assert!(!self.stderr().contains("error: "), "{}", self.stderr());
        detached(net, Side::A);
        let last = self.statistics().expect("statistics");
        assert_eq!(last["last"], true);
        let total = last["total"].clone();
        // What the kernel holds for receiving is given back with the socket.
        let frames = |owner: &str| total["frames"][owner].as_u64().unwrap();
        let home = frames("pool") + frames("fill");
        assert_eq!(home, frames("total"), "{total}");
        total
    }
}

/// Sends a signal.
pub fn signal(process: &Process, signal: rustix::process::Signal) {
    let id = i32::try_from(process.id()).unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}

/// `len` bytes, the same for the same seed.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
