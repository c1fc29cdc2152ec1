//! What can go wrong between the process and the kernel's XDP.

use std::io;

/// An error of the AF_XDP layer: what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// There is no device of that name in this network namespace.
    #[error("there is no interface `{0}` in this network namespace; `ip link` lists them")]
    NoSuchInterface(String),
    /// The device is administratively down.
    #[error("interface {0} is down; bring it up with `ip link set {0} up`")]
    InterfaceDown(String),
    /// The process lacks a capability.
    #[error(
        "not permitted to {action}: run as root, or with the capabilities \
         CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"
    )]
    NotPermitted {
        /// What was tried.
        action: String,
    },
    /// The device has fewer queues.
    #[error(
        "interface {interface} has no queue {queue}: it has {queues}, numbered from 0; \
         `ethtool -l {interface}` shows and `ethtool -L {interface}` changes them"
    )]
    NoSuchQueue {
        /// The device.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many it has.
        queues: u32,
    },
    /// Another socket holds the queue.
    #[error(
        "queue {queue} of interface {interface} is taken by another AF_XDP socket \
         (waited {waited_ms} ms for it); stop that process or choose another queue"
    )]
    QueueTaken {
        /// The device.
        interface: String,
        /// The queue.
        queue: u32,
        /// How long binding was retried.
        waited_ms: u64,
    },
    /// Frames of this MTU do not fit into a chunk, nor can they take several.
    #[error(
        "interface {interface} has an MTU of {mtu} bytes, whose frames do not fit chunks of \
         {chunk} bytes ({room} bytes of frame), and the kernel or the driver takes no frame of \
         several chunks; bind in copy mode, use a chunk size of 4096, or lower the MTU with \
         `ip link set {interface} mtu {}`", room.saturating_sub(super::socket::FRAME_OVERHEAD)
    )]
    MtuTooLarge {
        /// The device.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// Bytes of a chunk.
        chunk: u32,
        /// Bytes of a frame that a chunk takes.
        room: u32,
    },
    /// The device already has an XDP program.
    #[error(
        "interface {interface} already has an XDP program{}; detach it with \
         `ip link set {interface} xdp off`, or stop the process that holds it \
         (`bpftool net` and `bpftool link` show them)",
        program.map(|id| format!(" (id {id})")).unwrap_or_default()
    )]
    AlreadyAttached {
        /// The device.
        interface: String,
        /// The program's id, if the kernel tells.
        program: Option<u32>,
    },
    /// The driver or the kernel refused an attach mode that was forced.
    #[error("interface {interface} (driver {driver}) refuses {mode} XDP: {reason}")]
    AttachRefused {
        /// The device.
        interface: String,
        /// Its driver.
        driver: String,
        /// The mode asked for.
        mode: &'static str,
        /// The driver's or kernel's words.
        reason: String,
    },
    /// The driver or the kernel refused a bind mode that was forced.
    #[error(
        "interface {interface} (driver {driver}) refuses a {mode} AF_XDP socket \
         on queue {queue}: {reason}"
    )]
    BindRefused {
        /// The device.
        interface: String,
        /// Its driver.
        driver: String,
        /// The queue.
        queue: u32,
        /// The mode asked for.
        mode: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// The kernel did not take the steering program or its maps.
    #[error("the kernel refuses the steering program: {0}")]
    Program(String),
    /// The kernel lacks something.
    #[error("{0}")]
    Unsupported(String),
    /// A size or number that cannot be used.
    #[error("{what}: {why}")]
    Option {
        /// What was set.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Huge pages are required and there are not enough.
    #[error(
        "cannot have {} MiB of packet memory in huge pages: {reason}; reserve some with \
         `sysctl vm.nr_hugepages=N`, or use huge_pages = \"try\" or \"off\"", bytes >> 20
    )]
    HugePages {
        /// Bytes needed.
        bytes: u64,
        /// The kernel's reason.
        reason: String,
    },
    /// More addresses than the steering program has room for.
    #[error("cannot claim on address {address}: at most {limit} addresses at once")]
    TooManyAddresses {
        /// The address that did not fit.
        address: std::net::IpAddr,
        /// How many fit.
        limit: usize,
    },
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl XdpError {
    /// A failed system call, with the lack of permission told apart.
    pub(crate) fn system(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { action },
            _ => Self::System {
                action: format!("cannot {action}"),
                source,
            },
        }
    }
}
