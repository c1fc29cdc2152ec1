//! Why a command failed: one line, and an exit code for scripts.

use crate::config;
use std::fmt;
use std::process::ExitCode;

/// The exit codes. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something that has no code of its own.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The interface cannot be used as asked: absent, taken, not permitted.
    Interface = 3,
    /// The other host cannot be reached, or the connection broke.
    Network = 4,
    /// The server refused the request.
    Refused = 5,
    /// What arrived is not what was sent: its digest differs.
    Digest = 6,
    /// A local file or directory cannot be read or written.
    File = 7,
    /// The server does not speak HTTP as it should.
    Protocol = 8,
    /// Interrupted by a signal.
    Interrupted = 130,
}

/// The table for `--help`.
pub const EXIT_CODES_HELP: &str = "\
Exit codes:
    0  success
    1  failure that has no code of its own
    2  the command line or the configuration is wrong
    3  the interface cannot be used as asked: absent, taken, not permitted
    4  the other host cannot be reached, or the connection broke
    5  the server refused the request
    6  the digest of what arrived differs
    7  a local file or directory cannot be read or written
    8  the server does not speak HTTP as it should
  130  interrupted by a signal";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was wrong and where; lines if it is several things.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.message.lines().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "error: {line}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_for_each_thing_that_is_wrong() {
        let one = Failure::new(Exit::Interface, "no interface eth9").hint("see `ip link`");
        assert_eq!(
            one.to_string(),
            "error: no interface eth9; hint: see `ip link`"
        );
        let two = Failure::new(Exit::Usage, "a\nb");
        assert_eq!(two.to_string(), "error: a\nerror: b");
    }

    #[test]
    fn the_help_lists_every_code() {
        for exit in [
            Exit::Failed,
            Exit::Usage,
            Exit::Interface,
            Exit::Network,
            Exit::Refused,
            Exit::Digest,
            Exit::File,
            Exit::Protocol,
            Exit::Interrupted,
        ] {
            let code = format!("\n  {:>3}  ", exit as u8);
            assert!(EXIT_CODES_HELP.contains(&code), "{code:?}");
        }
    }
}
