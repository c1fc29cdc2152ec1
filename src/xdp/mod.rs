//! AF_XDP sockets, the steering program and NIC queues.
//!
//! [`Interface`] tells what a device is; [`Steering`] attaches the program
//! that decides which of its frames are ours; [`Umem`] is the memory that
//! packets lie in; [`XdpLink`] binds a socket to one queue.

mod attach;
mod chunks;
mod claims;
mod error;
mod interface;
mod link;
mod netlink;
mod program;
mod queues;
pub mod raw;
mod ring;
mod rss;
mod socket;
mod umem;

pub use attach::{AttachMode, AttachedMode};
pub use claims::Protocol;
pub use error::XdpError;
pub use interface::Interface;
pub use link::XdpLink;
pub use program::{Steering, SteeringOptions, VlanPolicy};
pub use queues::Queues;
pub use rss::Rss;
pub use socket::{BindMode, LinkOptions};
pub use umem::{HugePages, Umem, UmemOptions};
