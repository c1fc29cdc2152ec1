//! HTTP/1.1 messages (RFC 9110, RFC 9112) as pure functions and small machines.
//!
//! Nothing here reads a clock, a socket or a file. Bytes from the peer are
//! believed only after they were checked: a message whose end two recipients
//! could see in two places (RFC 9112 section 11.2) is refused, never repaired.

pub mod body;
pub mod chunk_out;
pub mod condition;
pub mod digest;
pub mod fields;
pub mod head;
pub mod range;
pub mod request;
pub mod response;
pub mod status;
pub mod target;

pub use body::{Body, BodyError, Framing};
pub use head::{HeadBuffer, HeadError};
pub use range::ByteRange;
pub use request::{Method, Request};
pub use response::Response;
pub use status::Status;

/// Why a request is not carried out: the status to answer with and one line
/// for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code of the answer.
    pub status: Status,
    /// One sentence for the person at the other end.
    pub why: &'static str,
}

impl Refusal {
    /// A refusal with `status`, explained by `why`.
    #[must_use]
    pub const fn new(status: Status, why: &'static str) -> Self {
        Self { status, why }
    }
}
