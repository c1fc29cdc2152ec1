//! How a transfer fails, and what a script sees of it.

use crate::transfer::http::Status;

/// Why a get or a put failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Something on this machine: a file, a wrong argument.
    #[error("{0}")]
    Local(String),
    /// The server could not be reached, or went silent.
    #[error("{0}")]
    Unreachable(String),
    /// The server refused.
    #[error("the server answered {status}{}{text}", if text.is_empty() { "" } else { ": " })]
    Refused {
        /// What it answered.
        status: Status,
        /// What it had to say.
        text: String,
    },
    /// The content is not what its digest says.
    #[error("the content does not match its digest: {0}")]
    Digest(String),
    /// The user, or a signal, ended it.
    #[error("interrupted{0}")]
    Interrupted(String),
    /// The server does not speak HTTP as it should, or changed the file over
    /// and over.
    #[error("{0}")]
    Protocol(String),
}

impl ClientError {
    /// The exit code of the process, as the command line documents them: 7
    /// local, 4 unreachable, 5 refused, 6 digest mismatch, 130 interrupted, 8
    /// protocol error.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Local(_) => 7,
            Self::Unreachable(_) => 4,
            Self::Refused { .. } => 5,
            Self::Digest(_) => 6,
            Self::Interrupted(_) => 130,
            Self::Protocol(_) => 8,
        }
    }
}
