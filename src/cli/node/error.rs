//! Why a node cannot be opened, or not go on.

use crate::engine::RunError;
use crate::engine::netlink::NetlinkError;
use crate::xdp::XdpError;

/// Why a node cannot be opened, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The interface, the steering program or a socket.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The kernel's addresses, routes and neighbours.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The interface has no address to share.
    #[error(
        "interface {0} has no address; give it one with `ip address add`, \
         or give fullbore its own with --address"
    )]
    NoAddress(String),
    /// A thread, a mailbox or a capture file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// An engine ended.
    #[error(transparent)]
    Run(#[from] RunError),
    /// An engine's thread panicked: a defect of fullbore.
    #[error("an engine ended by a panic, which is a defect of fullbore: please report it")]
    Panicked,
}

impl NodeError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
