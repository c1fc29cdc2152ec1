//! What both hosts under test can be asked.

use std::fmt;
use std::time::Duration;

use crate::segment::Segment;

/// A host with one connection at most, and a wire to it.
pub trait Host {
    /// Whether packets are IPv6.
    fn v6(&self) -> bool;

    /// The host's port and the peer's.
    fn ports(&self) -> (u16, u16);

    /// Puts a frame on the wire to the host.
    fn send(&mut self, frame: &[u8]);

    /// The next segment from the host, unless none comes within `limit`.
    fn receive(&mut self, limit: Duration) -> Option<Segment>;

    /// Begins to accept connections.
    fn listen(&mut self);

    /// Begins to connect to the peer.
    fn connect(&mut self);

    /// Accepts the connection, waiting up to `limit` for it: whether there was
    /// one.
    fn accept(&mut self, limit: Duration) -> bool;

    /// Sends `n` bytes.
    fn write(&mut self, n: usize);

    /// Ends its stream.
    fn shutdown(&mut self);

    /// Gives the connection back: nothing more is read or written.
    fn close(&mut self);

    /// How the connection stands.
    fn standing(&mut self) -> Standing;
}

/// How a connection stands at the end of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The state by the RFC's name.
    pub state: &'static str,
    /// Whether the application has the connection, or had it.
    pub accepted: bool,
    /// What the application was told that went wrong.
    pub error: Option<&'static str>,
    /// Bytes that can be read.
    pub readable: usize,
    /// The application knows that the peer's stream has ended.
    pub ended: bool,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state)?;
        if self.accepted {
            f.write_str(" accepted")?;
        }
        if let Some(error) = &self.error {
            write!(f, " error={error}")?;
        }
        if self.readable > 0 {
            write!(f, " readable={}", self.readable)?;
        }
        // With an error everything has ended.
        if self.ended && self.error.is_none() {
            f.write_str(" ended")?;
        }
        Ok(())
    }
}
